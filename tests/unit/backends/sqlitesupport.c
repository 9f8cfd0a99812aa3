/* SPDX-License-Identifier: Apache-2.0 */
/* See sqlitesupport.h. */
#include "config.h"

#include "tests/unit/backends/sqlitesupport.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct backend_ops *const ops = &backend_sqlite;

char folder[64], path[128];

/* ---- A store. ---- */

static void
on_record(struct record *record, void *arg)
{
    struct store *s = arg;

    ck_assert_uint_gt(record->seq, s->last_seq);
    s->last_seq = record->seq;
    s->n_records++;
}

static void
on_appended(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg)
{
    struct append *a = cookie;
    struct store *s = a->s;

    ck_assert(!a->is_done);
    a->is_done = true;
    a->error = error;
    a->outcome = outcome;
    a->seq = seq;
    s->n_under_way--;
    if (s->on_answer != NULL)
        s->on_answer(a);
    if (s->is_waiting)
        loop_stop(s->loop);
}

static int
on_topic(struct slice name, struct store_topic *topic, void **ret_cookie, struct store_limits *ret_limits,
    void *arg)
{
    struct store *s = arg;
    unsigned n;

    if (sscanf((const char *)name.p, "topic/%u", &n) != 1 || n >= TOPICS_MAX || s->topics[n].store != NULL)
        return -EUCLEAN;
    s->topics[n] = (struct topic){n, topic};
    s->n_restored++;
    *ret_cookie = &s->topics[n];
    *ret_limits = s->limits;
    return 0;
}

static void
on_broken(void *arg)
{
    ((struct store *)arg)->is_broken = true;
}

static void
on_deadline(void *arg)
{
    ck_abort_msg("no answer came before the deadline");
}

int
store_try(enum sqlite_sync sync, uint64_t cache, struct store_limits limits, struct store **ret)
{
    struct store *s = calloc(1, sizeof(*s));
    struct store_host host = {.on_record = on_record,
        .on_appended = on_appended,
        .on_topic = on_topic,
        .on_broken = on_broken,
        .arg = s};
    struct sqlite_options options = {
        .path = path,
        .sync = sync,
        .sync_interval_ms = 10,
        .cache_bytes = cache,
        .queue_max = 1000,
        .queue_bytes = 1 << 30,
        .key_window_ms = 120000,
        .keys_max = 1000,
    };
    int r;

    ck_assert_ptr_nonnull(s);
    s->limits = limits;
    ck_assert_int_eq(loop_new(&s->loop), 0);
    s->deadline = (struct loop_timer){.fn = on_deadline};
    r = ops->open(&options, s->loop, &host, &s->b);
    if (r == 0)
        r = ops->restore(s->b);
    if (r < 0 && s->b != NULL)
        ops->close(s->b);
    if (r < 0) {
        loop_free(s->loop);
        free(s);
        return r;
    }
    s->last_seq = ops->last_seq(s->b);
    *ret = s;
    return 0;
}

struct store *
store_start_again(void)
{
    struct store *s;
    int r = store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000000}, &s);

    if (r == -EUCLEAN)
        r = store_try(SQLITE_SYNC_NONE, 0, (struct store_limits){.messages = 1000000}, &s);
    ck_assert_int_eq(r, 0);
    return s;
}

struct store *
store_new(enum sqlite_sync sync, uint64_t cache)
{
    struct store *s;

    ck_assert_int_eq(store_try(sync, cache, (struct store_limits){.messages = 1000000}, &s), 0);
    return s;
}

void
store_free(struct store *s)
{
    ops->close(s->b);
    loop_free(s->loop);
    free(s);
}

void
wait_for(struct store *s, const bool *is_done)
{
    loop_timer_start(s->loop, &s->deadline, DEADLINE_MS);
    s->is_waiting = true;
    while (!*is_done)
        ck_assert_int_eq(loop_run(s->loop), 0);
    s->is_waiting = false;
    loop_timer_stop(s->loop, &s->deadline);
}

static void
stop_loop(void *arg)
{
    loop_stop(arg);
}

void
run_ms(struct store *s, uint64_t ms)
{
    struct loop_timer timer = {.fn = stop_loop, .arg = s->loop};

    loop_timer_start(s->loop, &timer, ms);
    ck_assert_int_eq(loop_run(s->loop), 0);
}

struct store_topic *
topic_of(struct store *s, unsigned n)
{
    char name[32];

    if (s->topics[n].store == NULL) {
        snprintf(name, sizeof(name), "topic/%u", n);
        s->topics[n].number = n;
        ck_assert_int_eq(
            ops->topic_open(s->b, slice_str(name), &s->topics[n], &s->limits, &s->topics[n].store), 0);
    }
    return s->topics[n].store;
}

int
push(struct store *s, struct append *a, unsigned topic, struct slice body, uint64_t pub)
{
    struct record *record = record_new(slice_str(""), slice_str(""), slice_str(""), body);
    int r;

    ck_assert_ptr_nonnull(record);
    record->kind = 1;
    a->s = s;
    s->n_under_way++;
    r = ops->append_take(
        s->b, topic_of(s, topic), record, (struct store_origin){.boot = pub != 0 ? BOOT : 0, .pub = pub}, a);
    if (r < 0)
        s->n_under_way--;
    return r;
}

struct append
append(struct store *s, unsigned topic, const char *body, uint64_t pub)
{
    struct append a = {0};

    ck_assert_int_eq(push(s, &a, topic, slice_str(body), pub), 0);
    wait_for(s, &a.is_done);
    return a;
}

/* ---- Reading it. ---- */

static bool
reading_wants(void *topic, void *arg)
{
    struct reading *r = arg;

    return r->wants == NULL || r->wants(((struct topic *)topic)->number);
}

static void
reading_on_record(struct record *record, void *arg)
{
    struct reading *r = arg;

    r->n++;
    if (r->on_record != NULL)
        r->on_record(record, r->arg);
}

static void
reading_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct reading *r = arg;

    if (topic == NULL)
        r->gap_unnamed = seq;
    else
        r->gap[((struct topic *)topic)->number] = seq;
}

static void
reading_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct reading *r = arg;

    r->is_done = true;
    r->error = error;
    r->upto = upto;
    r->is_cut_short = is_cut_short;
    if (r->s->is_waiting)
        loop_stop(r->s->loop);
}

void
reading_start(struct store *s, struct reading *r, uint64_t since, size_t max_bytes)
{
    struct store_read read = {
        .wants = reading_wants,
        .since = since,
        .max_bytes = max_bytes,
        .on_record = reading_on_record,
        .on_gap = reading_on_gap,
        .on_done = reading_on_done,
        .arg = r,
    };

    r->s = s;
    r->is_done = false;
    ck_assert_int_eq(ops->read(s->b, &read), 0);
}

int
read_all(struct store *s, struct reading *r, uint64_t since)
{
    do {
        reading_start(s, r, since, 16384);
        wait_for(s, &r->is_done);
        since = r->upto;
    } while (r->error == 0 && r->is_cut_short);
    return r->error;
}

/* ---- Files. ---- */

void
empty_folder(void)
{
    DIR *d = opendir(folder);
    struct dirent *entry;

    ck_assert_ptr_nonnull(d);
    while ((entry = readdir(d)) != NULL)
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
}

void
set_up(void)
{
    /* In memory if there is such a place: what is tested here is not the disk. */
    snprintf(folder, sizeof(folder), "/dev/shm/bb-sqlite-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        snprintf(folder, sizeof(folder), "/tmp/bb-sqlite-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(folder));
    }
    snprintf(path, sizeof(path), "%s/store.db", folder);
}

void
tear_down(void)
{
    empty_folder();
    (void)rmdir(folder);
}

unsigned
count_files(const char *prefix)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    while ((entry = readdir(d)) != NULL)
        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

uint64_t
next_random(uint64_t *random)
{
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return *random;
}
void
add(Suite *s, const char *name, const TTest *test, int n)
{
    TCase *t = tcase_create(name);

    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, test, 0, n);
    suite_add_tcase(s, t);
}

int
run_suite(Suite *s)
{
    SRunner *runner = srunner_create(s);
    int n_failed;

    srunner_run_all(runner, CK_NORMAL);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
