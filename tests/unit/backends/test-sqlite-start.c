/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store in a file finds at its start, and while it runs, and has to stand: a full disk, files that
 * may not be written to, are damaged, of a later version or another program.
 */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(a_second_broker_is_kept_out)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0), *t;

    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, s->limits, &t), -EWOULDBLOCK);
    store_free(s);
}
END_TEST

/* ---- Files that cannot be used. ---- */

static void
execute(const char *sql)
{
    sqlite3 *db;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

START_TEST(file_of_a_newer_version_is_set_aside)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    uint64_t epoch = ops->epoch(s->b);

    append(s, 0, "x", 0);
    store_free(s);
    execute("PRAGMA user_version = 1000");
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_ne(ops->epoch(s->b), epoch);
    ck_assert_uint_eq(ops->last_seq(s->b), 0);
    ck_assert_uint_eq(count_files("store.db.newer-"), 1);
    ck_assert_int_eq(append(s, 0, "x", 0).error, 0);
    store_free(s);
}
END_TEST

START_TEST(machine_that_went_down_makes_a_new_epoch_unless_all_was_synced)
{
    for (int sync = SQLITE_SYNC_NONE; sync <= SQLITE_SYNC_ALWAYS; sync++) {
        struct store *s = store_new((enum sqlite_sync)sync, 0);
        uint64_t epoch = ops->epoch(s->b);

        append(s, 0, "x", 0);
        store_free(s);
        execute("UPDATE state SET value = 12345 WHERE name = 'machine_run'");
        s = store_new((enum sqlite_sync)sync, 0);
        ck_assert_uint_eq(ops->epoch(s->b), epoch); /* it was closed in good order */
        store_free(s);
        execute("UPDATE state SET value = 12345 WHERE name = 'machine_run';"
                "UPDATE state SET value = 0 WHERE name = 'is_closed'");
        s = store_new((enum sqlite_sync)sync, 0);
        ck_assert_int_eq(ops->epoch(s->b) == epoch, sync == SQLITE_SYNC_ALWAYS);
        ck_assert_uint_eq(ops->last_seq(s->b), 1);
        store_free(s);
        empty_folder();
    }
}
END_TEST

static void
damage(uint64_t *random)
{
    int fd = open(path, O_RDWR);
    struct stat st;
    unsigned n = (unsigned)(next_random(random) % 3) * 20 + 1;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    for (unsigned i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)next_random(random);

        ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)(next_random(random) % (uint64_t)st.st_size)), 1);
    }
    if (next_random(random) % 4 == 0)
        ck_assert_int_eq(ftruncate(fd, (off_t)(next_random(random) % (uint64_t)st.st_size)), 0);
    close(fd);
}

/* Groups with items, messages that expire, and some that are due soon or much later. */
static void
fill_queues(struct store *s)
{
    struct store_item items[100];
    struct append a[100] = {0};

    for (unsigned i = 0; i < 100; i++) {
        struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), slice_str("queued"));

        items[i] = (struct store_item){.seq = i + 1, .n_deliveries = i, .state = i % 3};
        record->expires_ms = i % 3 == 0 ? loop_wall_ms(s->loop) + 20 : 0;
        record->due_ms = i % 3 == 1 ? loop_wall_ms(s->loop) + 20 : i % 3 == 2 ? INT64_MAX : 0;
        ck_assert_int_eq(push_record(s, &a[i], i % 5, record, 0), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        static const char *const names[] = {"a", "b", "c", "d"};

        ck_assert_int_eq(save(s, group_of(s, i % 2, names[i]), items, 100, i), 0);
    }
    for (unsigned i = 0; i < 100; i++)
        wait_for(s, &a[i].is_done);
}

static void
use_queues(struct store *s)
{
    struct store_item item = {.seq = 50, .state = ITEM_DONE};

    for (unsigned i = 0; i < s->n_groups; i++)
        (void)save(s, s->groups[i].store, &item, 1, 40);
    ops->tick(s->b, 1000);
    run_ms(s, 50); /* some are due */
}

/* The number that says whose file it is was hit: it is somebody else's, and left alone. */
static bool
is_foreign(void)
{
    uint8_t id[4] = {0};
    int fd = open(path, O_RDONLY);
    bool is_ours = pread(fd, id, 4, 68) == 4 && memcmp(id, "Busb", 4) == 0;

    close(fd);
    return !is_ours;
}

/* As the file has it now; 0: it cannot be read. */
static uint64_t
epoch_in_file(void)
{
    char uri[700];
    sqlite3 *db;
    sqlite3_stmt *stmt = NULL;
    uint64_t epoch = 0;

    snprintf(uri, sizeof(uri), "file:%s?immutable=1", path);
    if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT value FROM state WHERE name = 'epoch'", -1, &stmt, NULL) ==
            SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        epoch = (uint64_t)sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return epoch;
}

/* A new epoch says that what was there is gone: the file was set aside, as damaged or (its version was hit)
 * as newer, or left alone. But for the epoch itself: nothing can tell that it was another number. */
static void
check_new_epoch(struct store *s, bool was_foreign, uint64_t epoch_found)
{
    if (was_foreign || ops->epoch(s->b) == epoch_found)
        return;
    ck_assert_uint_gt(count_files("store.db.damaged-") + count_files("store.db.newer-"), 0);
    ck_assert_int_eq(append(s, 4, "y", 5001).error, 0);
}

/* Seeds 0 to 3 of 400 that were tried; the others are those where a number in the head or the epoch was hit.
 */
START_TEST(damaged_file_never_keeps_the_bus_from_starting)
{
    static const unsigned seeds[] = {0, 1, 2, 3, 111, 162, 240};

    uint64_t random = 0x2545f4914f6cdd1du * (uint64_t)(seeds[_i] + 1);

    for (unsigned round = 0; round < 12; round++) {
        struct store *s = store_new(SQLITE_SYNC_NONE, 0);
        uint64_t epoch = ops->epoch(s->b);
        struct reading r = {0};
        uint64_t epoch_found;
        bool was_foreign;

        for (unsigned i = 0; i < 300; i++)
            append(
                s, i % 20, "some text that is long enough to fill a few pages of the file, so to say", i + 1);
        fill_queues(s);
        store_free(s);
        damage(&random);
        was_foreign = is_foreign();
        epoch_found = epoch_in_file();
        s = store_start_again();
        use_queues(s);
        (void)read_all(s, &r, 0);
        (void)append(s, 3, "x", 5000);
        if (s->is_broken) { /* found only while it was used: the next start sets it aside */
            store_free(s);
            s = store_new(SQLITE_SYNC_NONE, 0);
            ck_assert_uint_eq(count_files("store.db.damaged-") > 0, 1);
            ck_assert_uint_ne(ops->epoch(s->b), epoch);
        } else if (ops->epoch(s->b) != epoch) {
            check_new_epoch(s, was_foreign, epoch_found);
        }
        store_free(s);
        empty_folder();
    }
}
END_TEST

/* ---- Disks that do not take it. ---- */

static void
set_file_limit(rlim_t limit)
{
    struct rlimit both;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &both), 0);
    both.rlim_cur = limit;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &both), 0);
}

START_TEST(full_disk_refuses_and_loses_nothing)
{
    static char body[20000];
    struct store *s = store_new((enum sqlite_sync)(_i % 3), 0);
    struct store_stats stats;
    struct reading r = {0};
    uint64_t n_kept = 0, last = 0, pub = 1;
    struct append a;

    signal(SIGXFSZ, SIG_IGN);
    memset(body, 'x', sizeof(body) - 1);
    for (unsigned round = 0; round < 3; round++) {
        set_file_limit((rlim_t)(round + 1) * 1000000);
        do {
            a = append(s, pub % 3, body, pub);
            if (a.error == 0) {
                ck_assert_uint_eq(a.seq, last + 1);
                last = a.seq;
                n_kept++;
                pub++;
            }
            ck_assert_uint_lt(n_kept, 1000);
        } while (a.error == 0);
        ck_assert_int_lt(append(s, pub % 3, body, pub).error, 0);
        ck_assert_uint_eq(ops->last_seq(s->b), last);
        set_file_limit(RLIM_INFINITY);
        a = append(s, pub % 3, "small", pub); /* the same publish again: not a repeat */
        ck_assert_int_eq(a.error, 0);
        ck_assert_int_eq(a.outcome, APPEND_OK);
        ck_assert_uint_eq(a.seq, ++last);
        n_kept++;
        pub++;
    }
    ops->stats(s->b, &stats);
    ck_assert_uint_ge(stats.n_failed, 6);
    ck_assert_uint_eq(stats.n_records, n_kept);
    store_free(s);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, n_kept);
    store_free(s);
}
END_TEST

START_TEST(file_that_may_not_be_written_is_read_until_it_may)
{
    struct store *s = store_new(SQLITE_SYNC_NONE, 0);
    struct reading r = {0};
    bool is_root = geteuid() == 0;
    struct append a;

    append(s, 0, "x", 0);
    store_free(s);
    (void)unlink("store.db.lock");
    ck_assert_int_eq(chmod(path, 0444), 0);
    if (is_root) { /* who may write to everything is somebody else for a while */
        char lock[160];

        snprintf(lock, sizeof(lock), "%s.lock", path);
        (void)unlink(lock);
        ck_assert_int_eq(chmod(folder, 0777), 0);
        ck_assert_int_eq(seteuid(65534), 0);
    }
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->last_seq(s->b), 1);
    ck_assert_int_eq(append(s, 0, "y", 0).error, -EROFS);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, 1);
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chmod(path, 0666), 0);
    for (unsigned i = 0; i < 2; i++) { /* made by who might not write, like the file */
        char other[160];

        snprintf(other, sizeof(other), "%s%s", path, i == 0 ? "-wal" : "-shm");
        (void)chmod(other, 0666);
    }
    if (is_root)
        ck_assert_int_eq(seteuid(65534), 0);
    for (unsigned tries = 0; tries < 200; tries++) {
        run_ms(s, 50);
        a = append(s, 0, "y", 0);
        if (a.error == 0)
            break;
    }
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.seq, 2);
    store_free(s);
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
}
END_TEST
/* ---- The bus starts whatever there is. ---- */

/* A disk of our own at the folder, as long as this process lives. False: nobody lets us. */
static bool
has_small_disk(void)
{
    uid_t uid = geteuid();
    char map[64];
    int fd;

    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) < 0) {
        fprintf(stderr, "skipped: no disk of our own: %s\n", strerror(errno));
        return false;
    }
    if (uid != 0) {
        fd = open("/proc/self/uid_map", O_WRONLY);
        ck_assert_int_gt(write(fd, map, (size_t)snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid)), 0);
        close(fd);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("bb", folder, "tmpfs", 0, "size=2m") < 0) {
        fprintf(stderr, "skipped: no disk of our own: %s\n", strerror(errno));
        return false;
    }
    return true;
}

static char *
beside(const char *name)
{
    static char names[4][160];
    static unsigned n;
    char *ret = names[n++ % 4];

    snprintf(ret, sizeof(names[0]), "%s/%s", folder, name);
    return ret;
}

enum hindrance { FULL, READ_ONLY };

static void
hinder(enum hindrance what)
{
    static const char zeroes[4096];
    int fd;

    if (what == READ_ONLY) {
        ck_assert_int_eq(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, "size=2m"), 0);
        return;
    }
    fd = open(beside("filler"), O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    while (write(fd, zeroes, sizeof(zeroes)) > 0)
        ;
    ck_assert_int_eq(errno, ENOSPC);
    close(fd);
}

static void
clear_the_way(enum hindrance what)
{
    if (what == READ_ONLY)
        ck_assert_int_eq(mount(NULL, folder, NULL, MS_REMOUNT, "size=2m"), 0);
    else
        ck_assert_int_eq(unlink(beside("filler")), 0);
}

static void
copy(const char *from, const char *to)
{
    char command[400];

    snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
    ck_assert_int_eq(system(command), 0);
}

enum left { LEFT_NOTHING, LEFT_CLOSED, LEFT_KILLED, LEFT_KILLED_WITHOUT_INDEX, LEFT_DAMAGED, N_LEFT };

/* What a broker left behind; how many messages are in it. */
static uint64_t
leave(enum left what, uint64_t *ret_epoch)
{
    static const char *const parts[] = {"store.db", "store.db-wal", "store.db-shm"};
    struct store *s;

    if (what == LEFT_NOTHING)
        return 0;
    s = store_new(SQLITE_SYNC_NONE, 0);
    *ret_epoch = ops->epoch(s->b);
    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(append(s, i % 3, "x", i + 1).error, 0);
    for (unsigned i = 0; i < 3 && what != LEFT_CLOSED && what != LEFT_DAMAGED; i++)
        copy(beside(parts[i]), beside(parts[i] + strlen("store.")));
    store_free(s);
    if (what == LEFT_CLOSED)
        return 20;
    if (what == LEFT_DAMAGED) {
        ck_assert_int_eq(truncate(path, 5000), 0);
        return 0;
    }
    for (unsigned i = 0; i < 3; i++) /* as it was while it ran: who is killed closes nothing */
        ck_assert_int_eq(rename(beside(parts[i] + strlen("store.")), beside(parts[i])), 0);
    if (what == LEFT_KILLED)
        return 20;
    ck_assert_int_eq(unlink(beside("store.db-shm")), 0);
    return 20;
}

static void
check_messages(struct store *s, uint64_t n)
{
    struct reading r = {0};

    ck_assert_uint_eq(ops->last_seq(s->b), n);
    ck_assert_int_eq(read_all(s, &r, 0), 0);
    ck_assert_uint_eq(r.n, n);
}

static void
is_closed_is(const char *value)
{
    char sql[200];
    sqlite3 *db;
    sqlite3_stmt *row;

    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    snprintf(sql, sizeof(sql), "SELECT 1 FROM state WHERE name = 'is_closed' AND value = %s", value);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(row), SQLITE_ROW);
    sqlite3_finalize(row);
    sqlite3_close(db);
}

/* What is there can be read, nothing can be published, until it goes on by itself. */
START_TEST(bus_starts_when_nothing_can_be_written)
{
    enum hindrance hindrance = _i % 2 == 0 ? FULL : READ_ONLY;
    enum left left = (enum left)(_i / 2);
    uint64_t before = 0, epoch, n;
    struct append a;
    struct store *s, *t;

    if (!has_small_disk())
        return;
    n = leave(left, &before);
    if (_i / 2 % 2 == 0) /* the lock's file is not there either */
        (void)unlink(beside("store.db.lock"));
    hinder(hindrance);
    if (left == LEFT_KILLED_WITHOUT_INDEX && hindrance == READ_ONLY) { /* SQLite cannot read that */
        ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){0}, &s), -EIO);
        return;
    }
    s = store_new(SQLITE_SYNC_NONE, 0);
    epoch = ops->epoch(s->b);
    ck_assert_uint_ne(epoch, 0);
    ck_assert_int_eq(epoch == before, left != LEFT_NOTHING && left != LEFT_DAMAGED);
    for (unsigned i = 0; i < 3; i++) {
        check_messages(s, n);
        ck_assert_int_eq(append(s, 0, "y", 0).error, hindrance == FULL ? -ENOSPC : -EROFS);
        run_ms(s, 600); /* it is tried again meanwhile */
    }
    clear_the_way(hindrance);
    a = append_at_last(s);
    ck_assert_int_eq(a.error, 0);
    ck_assert_uint_eq(a.seq, n + 1);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    check_messages(s, n + 1);
    is_closed_is("0");
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, s->limits, &t), -EWOULDBLOCK);
    store_free(s);
    ck_assert_int_eq(count_files("store.db.damaged-") > 0, left == LEFT_DAMAGED);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    check_messages(s, n + 1);
    store_free(s);
}
END_TEST

/* The same new epoch at each start, until it can be written down. */
START_TEST(epoch_after_the_machine_went_down_lasts_when_it_cannot_be_written)
{
    uint64_t before, epoch;
    struct store *s;

    if (!has_small_disk())
        return;
    leave(LEFT_CLOSED, &before);
    execute("UPDATE state SET value = 12345 WHERE name = 'machine_run';"
            "UPDATE state SET value = 0 WHERE name = 'is_closed'");
    hinder(READ_ONLY);
    s = store_new(SQLITE_SYNC_NONE, 0);
    epoch = ops->epoch(s->b);
    ck_assert_uint_ne(epoch, before);
    store_free(s);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    clear_the_way(READ_ONLY);
    ck_assert_uint_eq(append_at_last(s).seq, 21);
    store_free(s);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    check_messages(s, 21);
    store_free(s);
}
END_TEST

START_TEST(what_is_no_store_is_left_alone_until_it_is_gone)
{
    bool is_folder = _i == 1;
    struct store *s;
    uint64_t epoch;

    if (is_folder)
        ck_assert_int_eq(mkdir(path, 0700), 0);
    else
        execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
    s = store_new(SQLITE_SYNC_NONE, 0);
    epoch = ops->epoch(s->b);
    check_messages(s, 0);
    ck_assert_int_eq(append(s, 0, "x", 0).error, -EEXIST);
    run_ms(s, 600);
    ck_assert_int_eq(append(s, 0, "x", 0).error, -EEXIST);
    if (!is_folder)
        execute("SELECT a FROM theirs");
    ck_assert_int_eq(rename(path, beside("theirs")), 0);
    ck_assert_int_eq(append_at_last(s).error, 0);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    check_messages(s, 1);
    store_free(s);
    if (is_folder)
        ck_assert_int_eq(rmdir(beside("theirs")), 0);
}
END_TEST

/* It has numbers of its own: who goes on there would give some of them again. */
START_TEST(bus_does_not_go_on_with_another_file)
{
    struct store *s;
    uint64_t epoch;

    if (!has_small_disk())
        return;
    leave(LEFT_CLOSED, &epoch);
    ck_assert_int_eq(rename(path, beside("elsewhere")), 0);
    hinder(FULL);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_ne(ops->epoch(s->b), epoch);
    ck_assert_int_eq(append(s, 0, "x", 0).error, -ENOSPC);
    ck_assert_int_eq(rename(beside("elsewhere"), path), 0);
    clear_the_way(FULL);
    ck_assert_int_eq(append_at_last(s).error, -ESTALE);
    ck_assert(s->is_broken);
    store_free(s);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    check_messages(s, 20);
    store_free(s);
}
END_TEST

/* There may be messages in it: an empty store would void the cursors of all clients. */
START_TEST(file_that_cannot_be_read_ends_the_start)
{
    bool is_root = geteuid() == 0;
    struct store *s;
    uint64_t epoch;

    leave(LEFT_CLOSED, &epoch);
    ck_assert_int_eq(chmod(folder, 0777), 0);
    ck_assert_int_eq(chmod(path, 0), 0);
    ck_assert_int_eq(chmod(beside("store.db.lock"), 0666), 0);
    if (is_root)
        ck_assert_int_eq(seteuid(65534), 0);
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){0}, &s), -EACCES);
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
    s = store_new(SQLITE_SYNC_NONE, 0);
    ck_assert_uint_eq(ops->epoch(s->b), epoch);
    check_messages(s, 20);
    store_free(s);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("sqlite-start");

    add(s, "a_second_broker_is_kept_out", a_second_broker_is_kept_out, 1);
    add(s, "file_of_a_newer_version_is_set_aside", file_of_a_newer_version_is_set_aside, 1);
    add(s, "bus_starts_when_nothing_can_be_written", bus_starts_when_nothing_can_be_written, 2 * N_LEFT);
    add(s, "epoch_after_the_machine_went_down_lasts_when_it_cannot_be_written",
        epoch_after_the_machine_went_down_lasts_when_it_cannot_be_written, 1);
    add(s, "what_is_no_store_is_left_alone_until_it_is_gone", what_is_no_store_is_left_alone_until_it_is_gone,
        2);
    add(s, "bus_does_not_go_on_with_another_file", bus_does_not_go_on_with_another_file, 1);
    add(s, "file_that_cannot_be_read_ends_the_start", file_that_cannot_be_read_ends_the_start, 1);
    add(s, "machine_that_went_down_makes_a_new_epoch_unless_all_was_synced",
        machine_that_went_down_makes_a_new_epoch_unless_all_was_synced, 1);
    add(s, "damaged_file_never_keeps_the_bus_from_starting", damaged_file_never_keeps_the_bus_from_starting,
        7);
    add(s, "full_disk_refuses_and_loses_nothing", full_disk_refuses_and_loses_nothing, 3);
    add(s, "file_that_may_not_be_written_is_read_until_it_may",
        file_that_may_not_be_written_is_read_until_it_may, 1);
    return run_suite(s);
}
