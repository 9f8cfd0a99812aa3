/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the file in whatever state it is, and sets it aside if it cannot be used. The bus starts with
 * whatever there is:
 *
 *     good                       as it is
 *     damaged, newer             set aside, an empty store
 *     good, cannot be written    as it is; the writer refuses everything and tries again
 *     nothing, cannot be made    an empty store, likewise
 *     another program's          not touched; an empty store, likewise
 *     cannot be read             the broker ends: an empty store would void the cursors of all clients,
 *                                although nothing is lost
 *
 * The writer's next tries are here too. It never goes on with another file than was loaded.
 */
#include "config.h"

#include "backends/sqlite/sqload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* ---- The folder and the lock. ---- */

static int
make_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];

    if (slash == NULL || slash == path)
        return 0;
    if ((size_t)(slash - path) >= sizeof(folder))
        return -ENAMETOOLONG;
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    for (char *at = folder + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(folder, 0755) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return -errno;
        *at = '/';
    }
    return mkdir(folder, 0750) < 0 && errno != EEXIST && errno != EROFS ? -errno : 0;
}

/* One broker writes to one file: a second would give the same numbers again. */
static int
take_lock(const char *path, int *ret)
{
    char name[4200];
    int fd, r;

    (void)snprintf(name, sizeof(name), "%s.lock", path);
    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    *ret = fd;
    return 0;
}

/* ---- Suspicion: a file that was found damaged while it was used. ---- */

static void
suspect_name(const char *path, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s.suspect", path);
}

void
load_note_suspect(const char *path)
{
    char name[4200];
    int fd;

    suspect_name(path, name, sizeof(name));
    fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd >= 0)
        (void)close(fd);
}

static bool
is_suspect(const char *path)
{
    char name[4200];

    suspect_name(path, name, sizeof(name));
    return unlink(name) == 0;
}

/* ---- Setting aside. ---- */

static int
set_aside(const char *path, bool is_newer)
{
    char name[4300];
    int r = sqdb_set_aside(path, is_newer ? "newer" : "damaged", name, sizeof(name));

    if (r == 0)
        log_error("%s: %s: it is set aside as %s; the bus begins with an empty store and a new epoch", path,
            is_newer ? "a newer version of busbar wrote it" : "the file is damaged", name);
    return r;
}

static int
set_aside_suspect(const char *path)
{
    int r;

    if (!is_suspect(path) || access(path, F_OK) < 0)
        return 0;
    r = set_aside(path, false);
    if (r < 0)
        load_note_suspect(path);
    return r;
}

/* ---- The start. ---- */

/* An enum sqdb_found, *ret_why says why nothing can be written; or negative errno. */
static int
open_any(struct backend *b, int cannot, int *ret_why)
{
    int r = SQDB_FOUND_DAMAGED;

    *ret_why = cannot == 0 ? set_aside_suspect(b->w.path) : 0;
    for (unsigned i = 0; i < 2 && *ret_why == 0; i++) {
        r = load_file(b, cannot, ret_why);
        if (r != SQDB_FOUND_DAMAGED && r != SQDB_FOUND_NEWER)
            break;
        *ret_why = cannot < 0 ? cannot : set_aside(b->w.path, r == SQDB_FOUND_NEWER);
    }
    return r;
}

static void
say_found(const char *path, int found, int why)
{
    static const char empty[] = "the bus begins with an empty store, and refuses publishes until";

    switch (found) {
    case SQDB_FOUND_GOOD:
        log_error(
            "%s: nothing can be written to it: %s; publishes are refused until it can", path, strerror(-why));
        break;
    case SQDB_FOUND_NOTHING:
        log_error("%s: it is not there and cannot be made: %s; %s it can", path, strerror(-why), empty);
        break;
    case SQDB_FOUND_FOREIGN:
        log_error("%s: this is no store of busbar's but something else, and is not touched; %s it is moved "
                  "away, or "
                  "store.path names another place",
            path, empty);
        break;
    default:
        log_error("%s: it is %s, and cannot be set aside: %s; %s it can", path,
            found == SQDB_FOUND_NEWER ? "of a newer version" : "damaged", strerror(-why), empty);
    }
}

int
load_open(struct backend *b)
{
    struct writer *w = &b->w;
    int r, why = 0, cannot = make_folder(w->path);

    if (cannot == 0)
        cannot = take_lock(w->path, &w->lock_fd);
    if (cannot == -EWOULDBLOCK) {
        log_error("%s: another broker uses this file", w->path);
        return cannot;
    }
    r = open_any(b, cannot, &why);
    if (r < 0) {
        log_error("%s: it cannot be read: %s", w->path, strerror(-r));
        return r;
    }
    if (r == SQDB_FOUND_FOREIGN)
        why = -EEXIST;
    if (r != SQDB_FOUND_GOOD)
        b->epoch = w->epoch = load_new_epoch();
    if (why == 0)
        return 0;
    say_found(w->path, r, why);
    w->is_failing = true;
    w->reopen_error = why;
    sqdb_close(&w->d); /* the writer tries anew */
    return 0;
}

/* ---- The writer's next tries. ---- */

/* It must be as it was when it was loaded. */
static int
reopen_check(struct writer *w)
{
    uint64_t epoch = 0, last_seq = 0;
    int r = sqdb_state_get(&w->d, "epoch", &epoch);

    if (r >= 0)
        r = sqdb_state_get(&w->d, "last_seq", &last_seq);
    if (r >= 0 && (epoch != w->file_epoch || last_seq != w->file_seq))
        r = -ESTALE;
    return r < 0 ? r : load_write_state(w);
}

static int
reopen_found(struct writer *w, int found, int why)
{
    int r;

    switch (found) {
    case SQDB_FOUND_GOOD:
        r = why < 0 ? why : reopen_check(w);
        if (r < 0)
            sqdb_close(&w->d);
        return r;
    case SQDB_FOUND_NOTHING:
        return why;
    case SQDB_FOUND_DAMAGED:
        return -EUCLEAN;
    case SQDB_FOUND_NEWER:
        return -ESTALE;
    case SQDB_FOUND_FOREIGN:
        return -EEXIST;
    default:
        return found;
    }
}

int
load_reopen(struct writer *w)
{
    bool is_empty = w->file_epoch == 0;
    int r = w->lock_fd < 0 ? make_folder(w->path) : 0, why = 0;

    if (r == 0 && w->lock_fd < 0)
        r = take_lock(w->path, &w->lock_fd);
    if (r == 0 && is_empty)
        r = set_aside_suspect(w->path);
    if (r < 0)
        return r;
    r = sqdb_open(&w->d, w->path, is_empty, 0, &why);
    if (is_empty && (r == SQDB_FOUND_DAMAGED || r == SQDB_FOUND_NEWER)) {
        r = set_aside(w->path, r == SQDB_FOUND_NEWER);
        if (r < 0)
            return r;
        r = sqdb_open(&w->d, w->path, true, 0, &why);
    }
    return reopen_found(w, r, why);
}
