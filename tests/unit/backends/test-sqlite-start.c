/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store in a file finds at its start, and while it runs, and has to stand: a full disk, files that
 * may not be written to, are damaged, of a later version or another program.
 */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
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

START_TEST(database_of_another_program_is_left_alone)
{
    struct store *s;

    execute("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
    ck_assert_int_eq(store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){0}, &s), -EEXIST);
    execute("SELECT a FROM theirs");
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

START_TEST(damaged_file_never_keeps_the_bus_from_starting)
{
    uint64_t random = 0x2545f4914f6cdd1du * (uint64_t)(_i + 1);

    for (unsigned round = 0; round < 12; round++) {
        struct store *s = store_new(SQLITE_SYNC_NONE, 0);
        uint64_t epoch = ops->epoch(s->b);
        struct reading r = {0};

        for (unsigned i = 0; i < 300; i++)
            append(
                s, i % 20, "some text that is long enough to fill a few pages of the file, so to say", i + 1);
        store_free(s);
        damage(&random);
        s = store_start_again();
        (void)read_all(s, &r, 0);
        (void)append(s, 3, "x", 5000);
        if (s->is_broken) { /* found only while it was used: the next start sets it aside */
            store_free(s);
            s = store_new(SQLITE_SYNC_NONE, 0);
            ck_assert_uint_eq(count_files("store.db.damaged-") > 0, 1);
            ck_assert_uint_ne(ops->epoch(s->b), epoch);
        } else if (ops->epoch(s->b) != epoch) {
            ck_assert_uint_gt(count_files("store.db.damaged-"), 0);
        }
        if (!s->is_broken && ops->epoch(s->b) != epoch)
            ck_assert_int_eq(append(s, 4, "y", 5001).error, 0);
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
int
main(void)
{
    Suite *s = suite_create("sqlite-start");

    add(s, "a_second_broker_is_kept_out", a_second_broker_is_kept_out, 1);
    add(s, "file_of_a_newer_version_is_set_aside", file_of_a_newer_version_is_set_aside, 1);
    add(s, "database_of_another_program_is_left_alone", database_of_another_program_is_left_alone, 1);
    add(s, "machine_that_went_down_makes_a_new_epoch_unless_all_was_synced",
        machine_that_went_down_makes_a_new_epoch_unless_all_was_synced, 1);
    add(s, "damaged_file_never_keeps_the_bus_from_starting", damaged_file_never_keeps_the_bus_from_starting,
        4);
    add(s, "full_disk_refuses_and_loses_nothing", full_disk_refuses_and_loses_nothing, 3);
    add(s, "file_that_may_not_be_written_is_read_until_it_may",
        file_that_may_not_be_written_is_read_until_it_may, 1);
    return run_suite(s);
}
