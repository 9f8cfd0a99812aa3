/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses and prepares the runtime directory. */
#include "config.h"

#include "cli/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
may_write(const char *path)
{
    return access(path, W_OK | X_OK) == 0;
}

/* The folder is there and ours to write, or its parent is. */
static bool
is_usable(const char *path)
{
    char parent[256];
    struct stat st;

    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) && may_write(path);
    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        return may_write(".");
    *slash = '\0';
    return may_write(parent[0] != '\0' ? parent : "/");
}

int
rundir_choose(const char *configured, bool is_default, char *ret, size_t ret_size, bool *ret_is_own,
    char *ret_what, size_t what_size)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    int n;

    *ret_is_own = is_default && !is_usable(configured);
    if (!*ret_is_own)
        n = snprintf(ret, ret_size, "%s", configured);
    else if (xdg != NULL && xdg[0] == '/' && strlen(xdg) + strlen("/busbar") <= RUNDIR_MAX && may_write(xdg))
        n = snprintf(ret, ret_size, "%s/busbar", xdg);
    else
        n = snprintf(ret, ret_size, "/tmp/busbar-%u", (unsigned)getuid());
    if (n > RUNDIR_MAX || (size_t)n >= ret_size) {
        (void)snprintf(ret_what, what_size,
            "runtime_dir %.60s... has %d bytes, but the path of a socket must fit in 107: choose one of at "
            "most %d",
            configured, n, RUNDIR_MAX);
        return -ENAMETOOLONG;
    }
    return 0;
}

bool
rundir_choose_store(const char *configured, bool is_default, char *ret, size_t ret_size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char folder[256];
    int n = -1;

    (void)snprintf(folder, sizeof folder, "%s", configured);
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    if (!is_default || is_usable(folder))
        return false;
    if (state != NULL && state[0] == '/')
        n = snprintf(ret, ret_size, "%s/busbar/busbar.db", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(ret, ret_size, "%s/.local/state/busbar/busbar.db", home);
    return n > 0 && (size_t)n < ret_size;
}

int
rundir_prepare(const char *path, char *ret_what, size_t what_size)
{
    struct stat st;

    if (mkdir(path, 0750) < 0 && errno != EEXIST) {
        int r = -errno;
        (void)snprintf(ret_what, what_size, "runtime_dir %s cannot be made: %s", path, strerror(-r));
        return r;
    }
    /* Not lstat(): /run may be a link. In /tmp the owner tells a folder that a stranger put there. */
    if (stat(path, &st) < 0) {
        int r = -errno;
        (void)snprintf(ret_what, what_size, "runtime_dir %s: %s", path, strerror(-r));
        return r;
    }
    if (!S_ISDIR(st.st_mode)) {
        (void)snprintf(ret_what, what_size, "runtime_dir %s is not a folder", path);
        return -ENOTDIR;
    }
    if (!may_write(path)) {
        (void)snprintf(ret_what, what_size, "runtime_dir %s may not be written to by this user", path);
        return -EACCES;
    }
    if ((st.st_mode & S_IWOTH) != 0 || (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0)) {
        (void)snprintf(ret_what, what_size,
            "runtime_dir %s is somebody else's, or everybody may write to it: choose another", path);
        return -EPERM;
    }
    return 0;
}
