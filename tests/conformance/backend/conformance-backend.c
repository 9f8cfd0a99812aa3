/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend has to do, run for each of the registry (or for the one named in argv[1]). The cases
 * know a backend only by its ops; an answer may come at once or later from the loop, so each case waits for
 * it with a deadline.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/backend.h"
#include "backends/memory/memory.h"
#include "backends/sqlite/sqlite.h"
#include "base/loop.h"

#define DEADLINE_MS 5000
#define N_TOPICS 8
#define MAX_SEEN 20000
#define CACHE (1u << 20)

static const struct backend_ops *ops; /* set by main(), before the cases fork */
static uint64_t variant_cache;        /* likewise: of a store that keeps the recent ones in memory */

struct appended {
    struct fixture *f;
    bool is_done;
    int error;
    enum append_outcome outcome;
    uint64_t seq;
};

struct topic {
    unsigned number;
    struct store_topic *store;
};

struct fixture {
    struct loop *loop;
    struct backend *b;
    struct topic topics[N_TOPICS];
    struct record *delivered[MAX_SEEN];
    size_t n_delivered;
    struct loop_timer deadline;
    bool is_waiting;
    char folder[32]; /* of the files of a store that has any; "" */
};

/* One read and what came of it. */
struct reading {
    struct fixture *f;
    unsigned wanted; /* a bit for each topic */
    unsigned n_asked[N_TOPICS];
    struct record *seen[MAX_SEEN];
    size_t n_seen;
    uint64_t gap[N_TOPICS], gap_unnamed;
    size_t n_before_gap; /* records that came before a gap was told: must stay 0 */
    bool is_done, is_cut_short;
    int error;
    uint64_t upto;
};

static const struct store_limits roomy = {.messages = 1000};

/* ---- The fixture. ---- */

static void
on_record(struct record *record, void *arg)
{
    struct fixture *f = arg;

    ck_assert_uint_lt(f->n_delivered, MAX_SEEN);
    f->delivered[f->n_delivered++] = record_ref(record);
}

/* An answer came. It may have come before anybody waited. */
static void
stop_waiting(struct fixture *f)
{
    if (f->is_waiting)
        loop_stop(f->loop);
}

static void
on_appended(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg)
{
    struct appended *a = cookie;

    ck_assert(!a->is_done);
    *a = (struct appended){a->f, true, error, outcome, seq};
    stop_waiting(a->f);
}

static void
on_deadline(void *arg)
{
    ck_abort_msg("no answer came before the deadline");
}

static void
stop_loop(void *arg)
{
    loop_stop(arg);
}

static void
run_ms(struct fixture *f, uint64_t ms)
{
    struct loop_timer timer = {.fn = stop_loop, .arg = f->loop};

    loop_timer_start(f->loop, &timer, ms);
    ck_assert_int_eq(loop_run(f->loop), 0);
}

static void
wait_for(struct fixture *f, const bool *is_done)
{
    loop_timer_start(f->loop, &f->deadline, DEADLINE_MS);
    f->is_waiting = true;
    while (!*is_done)
        ck_assert_int_eq(loop_run(f->loop), 0);
    f->is_waiting = false;
    loop_timer_stop(f->loop, &f->deadline);
}

/* With next to no cache: what it is asked for comes from the file. */
static void
open_sqlite(struct fixture *f, const struct store_host *host, uint64_t bytes_max, uint64_t key_window_ms,
    uint64_t keys_max)
{
    char path[64];
    struct sqlite_options options = {
        .path = path,
        .sync = SQLITE_SYNC_NONE,
        .cache_bytes = variant_cache,
        .queue_max = 100000,
        .queue_bytes = 1 << 30,
        .bytes_max = bytes_max,
        .key_window_ms = key_window_ms,
        .keys_max = keys_max,
    };

    /* In memory if there is such a place: the disk is not what is tested. */
    snprintf(f->folder, sizeof(f->folder), "/dev/shm/bb-store-XXXXXX");
    if (mkdtemp(f->folder) == NULL) {
        snprintf(f->folder, sizeof(f->folder), "/tmp/bb-store-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(f->folder));
    }
    snprintf(path, sizeof(path), "%s/store.db", f->folder);
    ck_assert_int_eq(ops->open(&options, f->loop, host, &f->b), 0);
}

static void
remove_files(struct fixture *f)
{
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"};
    char path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", f->folder, names[i]);
        (void)unlink(path);
    }
    ck_assert_int_eq(rmdir(f->folder), 0);
}

static struct fixture *
fixture_new(uint64_t bytes_max, uint64_t key_window_ms, uint64_t keys_max)
{
    struct memory_options options = {
        .bytes_max = bytes_max, .key_window_ms = key_window_ms, .keys_max = keys_max};
    struct fixture *f = calloc(1, sizeof(*f));
    struct store_host host = {.on_record = on_record, .on_appended = on_appended, .arg = f};

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(loop_new(&f->loop), 0);
    f->deadline = (struct loop_timer){.fn = on_deadline};
    if (ops == &backend_sqlite)
        open_sqlite(f, &host, bytes_max, key_window_ms, keys_max);
    else
        ck_assert_int_eq(ops->open(&options, f->loop, &host, &f->b), 0);
    if (ops->restore != NULL)
        ck_assert_int_eq(ops->restore(f->b), 0);
    return f;
}

static struct fixture *
fixture_usual(void)
{
    return fixture_new(0, 120000, 1000);
}

static void
fixture_free(struct fixture *f)
{
    for (size_t i = 0; i < f->n_delivered; i++)
        record_unref(f->delivered[i]);
    ops->close(f->b);
    if (f->folder[0] != '\0')
        remove_files(f);
    loop_free(f->loop);
    free(f);
}

static void
open_topic(struct fixture *f, unsigned n, const struct store_limits *limits)
{
    char name[32];

    snprintf(name, sizeof(name), "topic/%u", n);
    f->topics[n].number = n;
    ck_assert_int_eq(ops->topic_open(f->b, slice_str(name), &f->topics[n], limits, &f->topics[n].store), 0);
}

static struct appended
append_record(struct fixture *f, unsigned n, struct record *record, struct store_origin origin)
{
    struct appended a = {.f = f};

    ck_assert_int_eq(ops->append_take(f->b, f->topics[n].store, record, origin, &a), 0);
    wait_for(f, &a.is_done);
    ck_assert_int_eq(a.error, 0);
    return a;
}

static struct appended
append_as(struct fixture *f, unsigned n, const char *key, struct slice body, uint8_t flags,
    struct store_origin origin)
{
    struct record *record = record_new(slice_str("t"), slice_str("h"), slice_str(key), body);

    ck_assert_ptr_nonnull(record);
    record->flags = flags;
    record->kind = 1;
    return append_record(f, n, record, origin);
}

static struct appended
append_once(struct fixture *f, unsigned n, const char *key, const char *once)
{
    struct record *record =
        record_new_once(slice_str("t"), slice_str("h"), slice_str(key), slice_str(once), slice_str("x"));

    ck_assert_ptr_nonnull(record);
    return append_record(f, n, record, (struct store_origin){0});
}

static uint64_t
append(struct fixture *f, unsigned n, const char *body)
{
    struct appended a = append_as(f, n, "", slice_str(body), 0, (struct store_origin){0});

    ck_assert_int_eq(a.outcome, APPEND_OK);
    return a.seq;
}

/* ---- Reads. ---- */

static bool
reading_wants(void *topic, void *arg)
{
    struct reading *r = arg;
    unsigned n = ((struct topic *)topic)->number;

    r->n_asked[n]++;
    return (r->wanted >> n & 1) != 0;
}

static void
reading_on_record(struct record *record, void *arg)
{
    struct reading *r = arg;

    ck_assert(!r->is_done);
    ck_assert_uint_lt(r->n_seen, MAX_SEEN);
    if (r->n_seen > 0)
        ck_assert_uint_gt(record->seq, r->seen[r->n_seen - 1]->seq);
    r->seen[r->n_seen++] = record_ref(record);
}

static void
reading_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct reading *r = arg;

    ck_assert(!r->is_done);
    r->n_before_gap += r->n_seen;
    if (topic == NULL)
        r->gap_unnamed = seq;
    else
        r->gap[((struct topic *)topic)->number] = seq;
}

static void
reading_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct reading *r = arg;

    ck_assert(!r->is_done);
    r->is_done = true;
    r->error = error;
    r->upto = upto;
    r->is_cut_short = is_cut_short;
    stop_waiting(r->f);
}

static void
reading_reset(struct reading *r)
{
    for (size_t i = 0; i < r->n_seen; i++)
        record_unref(r->seen[i]);
    memset(r, 0, sizeof(*r));
}

static void
read_with(struct fixture *f, struct reading *r, unsigned wanted, struct store_read read)
{
    reading_reset(r);
    r->wanted = wanted;
    r->f = f;
    read.wants = reading_wants;
    read.on_record = reading_on_record;
    read.on_gap = reading_on_gap;
    read.on_done = reading_on_done;
    read.arg = r;
    ck_assert_int_eq(ops->read(f->b, &read), 0);
    wait_for(f, &r->is_done);
    ck_assert_int_eq(r->error, 0);
    ck_assert_uint_eq(r->n_before_gap, 0);
}

static void
read_since(struct fixture *f, struct reading *r, unsigned wanted, uint64_t since)
{
    read_with(f, r, wanted, (struct store_read){.since = since});
    ck_assert(!r->is_cut_short);
    ck_assert_uint_eq(r->upto, ops->last_seq(f->b));
}

/* The bodies of what was read, as "a b c". */
static void
check_seen(const struct reading *r, const char *expected)
{
    char got[4096] = "";
    size_t n = 0;

    for (size_t i = 0; i < r->n_seen && n < sizeof(got) - 64; i++)
        n += (size_t)snprintf(
            got + n, sizeof(got) - n, "%s%.*s", i > 0 ? " " : "", SLICE_ARG(r->seen[i]->body));
    ck_assert_str_eq(got, expected);
}

/* ---- Numbers and order. ---- */

START_TEST(seq_counts_over_all_topics_and_prev_along_each)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    ck_assert_uint_ne(ops->epoch(f->b), 0);
    ck_assert_uint_eq(ops->last_seq(f->b), 0);
    ck_assert_uint_eq(append(f, 0, "a"), 1);
    ck_assert_uint_eq(append(f, 1, "b"), 2);
    ck_assert_uint_eq(append(f, 0, "c"), 3);
    ck_assert_uint_eq(ops->last_seq(f->b), 3);
    ck_assert_uint_eq(f->n_delivered, 3);
    ck_assert_uint_eq(f->delivered[0]->prev, 0);
    ck_assert_uint_eq(f->delivered[1]->prev, 0);
    ck_assert_uint_eq(f->delivered[2]->prev, 1);
    ck_assert_ptr_eq(f->delivered[1]->topic, &f->topics[1]);
    ck_assert_int_gt(f->delivered[0]->time_ms, INT64_C(1500000000000));
    fixture_free(f);
}
END_TEST

START_TEST(record_comes_back_as_it_was_given)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    append_as(f, 0, "k", slice_of("a\0b", 3), RECORD_RETAIN, (struct store_origin){7, 1});
    read_since(f, &r, 1, 0);
    ck_assert_uint_eq(r.n_seen, 1);
    ck_assert(slice_is(r.seen[0]->type, "t"));
    ck_assert(slice_is(r.seen[0]->headers, "h"));
    ck_assert(slice_is(r.seen[0]->key, "k"));
    ck_assert(slice_equal(r.seen[0]->body, slice_of("a\0b", 3)));
    ck_assert_uint_eq(r.seen[0]->flags, RECORD_RETAIN);
    ck_assert_uint_eq(r.seen[0]->kind, 1);
    ck_assert_ptr_eq(r.seen[0]->topic, &f->topics[0]);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(epochs_differ)
{
    struct fixture *f = fixture_usual(), *g = fixture_usual();

    ck_assert_uint_ne(ops->epoch(f->b), ops->epoch(g->b));
    ck_assert_uint_lt(ops->epoch(f->b), UINT64_C(1) << 53);
    fixture_free(f);
    fixture_free(g);
}
END_TEST

/* ---- Reading. ---- */

START_TEST(read_merges_the_wanted_topics_by_seq)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    for (unsigned i = 0; i < 3; i++)
        open_topic(f, i, &roomy);
    append(f, 0, "a1");
    append(f, 1, "b2");
    append(f, 2, "c3");
    append(f, 1, "b4");
    append(f, 0, "a5");
    read_since(f, &r, 3, 0);
    check_seen(&r, "a1 b2 b4 a5");
    read_since(f, &r, 3, 2);
    check_seen(&r, "b4 a5");
    read_since(f, &r, 4, 3);
    check_seen(&r, "");
    read_since(f, &r, 7, 5);
    check_seen(&r, "");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(read_asks_once_for_each_topic_that_changed)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    for (unsigned i = 0; i < 4; i++)
        open_topic(f, i, &roomy);
    append(f, 0, "old");
    append(f, 1, "x");
    append(f, 2, "y");
    append(f, 1, "z");
    read_since(f, &r, 15, 1);
    ck_assert_uint_eq(r.n_asked[0], 0); /* nothing new there */
    ck_assert_uint_eq(r.n_asked[1], 1);
    ck_assert_uint_eq(r.n_asked[2], 1);
    ck_assert_uint_eq(r.n_asked[3], 0); /* nothing ever there */
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(read_of_named_topics_looks_at_no_other)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};
    struct store_topic *named[2];

    for (unsigned i = 0; i < 3; i++)
        open_topic(f, i, &roomy);
    append(f, 0, "a");
    append(f, 1, "b");
    append(f, 2, "c");
    append(f, 0, "d");
    named[0] = f->topics[2].store;
    named[1] = f->topics[0].store;
    read_with(f, &r, 0, (struct store_read){.since = 0, .topics = named, .n_topics = 2});
    check_seen(&r, "a c d");
    ck_assert_uint_eq(r.n_asked[0] + r.n_asked[1] + r.n_asked[2], 0);
    read_with(f, &r, 0, (struct store_read){.last = 1, .topics = named, .n_topics = 2});
    check_seen(&r, "c d");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(read_cut_short_goes_on_where_it_stopped)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    for (unsigned i = 0; i < 5; i++) {
        append(f, 0, "a");
        append(f, 1, "b");
    }
    read_with(f, &r, 3, (struct store_read){.since = 0, .max_records = 4});
    check_seen(&r, "a b a b");
    ck_assert(r.is_cut_short);
    ck_assert_uint_eq(r.upto, 4);
    read_with(f, &r, 3, (struct store_read){.since = 4, .max_records = 6});
    check_seen(&r, "a b a b a b");
    ck_assert(!r.is_cut_short); /* exactly as many as there were */
    ck_assert_uint_eq(r.upto, 10);
    read_with(f, &r, 3, (struct store_read){.since = 0, .max_bytes = 1});
    check_seen(&r, "a"); /* at least one, however small the bound */
    ck_assert(r.is_cut_short);
    ck_assert_uint_eq(r.upto, 1);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(upto_is_the_stores_last_seq_even_if_nothing_matched)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append(f, 0, "a");
    append(f, 1, "b");
    read_with(f, &r, 1, (struct store_read){.since = 0, .max_records = 1});
    ck_assert(!r.is_cut_short);
    ck_assert_uint_eq(r.upto, 2);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(read_of_the_last_n_takes_n_of_each_topic_without_gaps)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &(struct store_limits){.messages = 3});
    open_topic(f, 1, &roomy);
    for (const char *body = "123456"; *body != '\0'; body++)
        append_as(f, 0, "", slice_of(body, 1), 0, (struct store_origin){0});
    append(f, 1, "b");
    read_with(f, &r, 3, (struct store_read){.last = 2, .since = 100});
    check_seen(&r, "5 6 b");
    ck_assert_uint_eq(r.gap[0], 0);
    read_with(f, &r, 3, (struct store_read){.last = 10});
    check_seen(&r, "4 5 6 b");
    ck_assert_uint_eq(r.gap[0], 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

/* ---- Eviction and gaps. ---- */

START_TEST(count_limit_evicts_the_oldest_and_the_gap_is_exact)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &(struct store_limits){.messages = 2});
    open_topic(f, 1, &roomy);
    append(f, 0, "1");
    append(f, 1, "2");
    append(f, 0, "3");
    append(f, 0, "4");
    append(f, 0, "5");
    read_since(f, &r, 3, 0);
    check_seen(&r, "2 4 5");
    ck_assert_uint_eq(r.gap[0], 3);
    ck_assert_uint_eq(r.gap[1], 0);
    read_since(f, &r, 3, 2);
    ck_assert_uint_eq(r.gap[0], 3);
    read_since(f, &r, 3, 3); /* the reader had the last one that was evicted */
    check_seen(&r, "4 5");
    ck_assert_uint_eq(r.gap[0], 0);
    read_since(f, &r, 2, 0); /* a gap of a topic that is not wanted is not told */
    ck_assert_uint_eq(r.gap[0], 0);
    ck_assert_uint_eq(r.gap_unnamed, 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(bytes_limit_evicts_the_oldest)
{
    struct fixture *f = fixture_usual();
    struct record *one = record_new(slice_str("t"), slice_str("h"), slice_str(""), slice_str("xx"));
    struct store_limits limits = {.messages = 100, .bytes = 3 * record_size(one)};
    struct reading r = {0};
    uint64_t n, bytes;

    record_unref(one);
    open_topic(f, 0, &limits);
    for (int i = 0; i < 5; i++)
        append(f, 0, "xx");
    read_since(f, &r, 1, 0);
    check_seen(&r, "xx xx xx");
    ck_assert_uint_eq(r.gap[0], 2);
    ops->topic_stats(f->b, f->topics[0].store, NULL, &n, &bytes);
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_le(bytes, limits.bytes);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(age_limit_evicts_and_a_reader_sees_it_without_a_tick)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};
    uint64_t n;

    open_topic(f, 0, &(struct store_limits){.messages = 100, .age_ms = 100});
    append(f, 0, "old");
    run_ms(f, 200);
    append(f, 0, "new");
    read_since(f, &r, 1, 0);
    check_seen(&r, "new");
    ck_assert_uint_eq(r.gap[0], 1);
    run_ms(f, 200);
    loop_timer_start(f->loop, &f->deadline, DEADLINE_MS);
    do {
        ops->tick(f->b, 100);
        run_ms(f, 1);
        ops->topic_stats(f->b, f->topics[0].store, NULL, &n, NULL);
    } while (n > 0);
    loop_timer_stop(f->loop, &f->deadline);
    read_since(f, &r, 1, 1);
    ck_assert_uint_eq(r.gap[0], 2);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(message_without_history_counts_as_evicted_at_once)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &(struct store_limits){0});
    append(f, 0, "1");
    append(f, 0, "2");
    ck_assert_uint_eq(f->n_delivered, 2);
    ck_assert_uint_eq(f->delivered[1]->prev, 1);
    read_since(f, &r, 1, 1);
    check_seen(&r, "");
    ck_assert_uint_eq(r.gap[0], 2);
    read_since(f, &r, 1, 2);
    ck_assert_uint_eq(r.gap[0], 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(new_limits_trim_at_once)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    append(f, 0, "1");
    append(f, 0, "2");
    append(f, 0, "3");
    ops->topic_limit(f->b, f->topics[0].store, &(struct store_limits){.messages = 1});
    read_since(f, &r, 1, 0);
    check_seen(&r, "3");
    ck_assert_uint_eq(r.gap[0], 2);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(dropped_topic_leaves_an_unnamed_gap)
{
    struct fixture *f = fixture_usual();
    struct store_topic *named[2] = {NULL};
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append(f, 1, "1");
    append(f, 0, "2");
    append(f, 1, "3");
    ops->topic_drop(f->b, f->topics[0].store);
    read_since(f, &r, 2, 1);
    check_seen(&r, "3");
    ck_assert_uint_eq(r.gap_unnamed, 2);
    ck_assert_uint_eq(r.gap[1], 0);
    read_since(f, &r, 2, 2);
    ck_assert_uint_eq(r.gap_unnamed, 0);
    /* The reader of a topic that was there all the time is not concerned; that of an unknown name is. */
    named[0] = f->topics[1].store;
    read_with(f, &r, 0, (struct store_read){.since = 1, .topics = named, .n_topics = 1});
    ck_assert_uint_eq(r.gap_unnamed, 0);
    ck_assert_uint_eq(r.gap[1], 0);
    read_with(f, &r, 0, (struct store_read){.since = 1, .topics = named, .n_topics = 2});
    ck_assert_uint_eq(r.gap_unnamed, 2);
    /* The name comes back: it may be the one that was dropped. */
    open_topic(f, 0, &roomy);
    named[0] = f->topics[0].store;
    read_with(f, &r, 0, (struct store_read){.since = 1, .topics = named, .n_topics = 1});
    ck_assert_uint_eq(r.gap[0], 2);
    append(f, 0, "4");
    ck_assert_uint_eq(f->delivered[f->n_delivered - 1]->prev, 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(drop_of_the_unused_and_the_unrecoverable_is_silent)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &(struct store_limits){.is_unrecoverable = true});
    append(f, 1, "1");
    ops->topic_drop(f->b, f->topics[0].store);
    ops->topic_drop(f->b, f->topics[1].store);
    read_since(f, &r, 3, 0);
    ck_assert_uint_eq(r.gap_unnamed, 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(limit_of_the_whole_store_evicts_what_was_idle_longest)
{
    struct record *one = record_new(slice_str("t"), slice_str("h"), slice_str(""), slice_str("x1"));
    struct fixture *f = fixture_new(4 * record_size(one), 0, 0);
    struct store_stats stats;
    struct reading r = {0};

    record_unref(one);
    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append(f, 0, "a1");
    append(f, 0, "a2");
    append(f, 0, "a3");
    append(f, 1, "b4");
    append(f, 1, "b5");
    append(f, 1, "b6");
    read_since(f, &r, 3, 0);
    check_seen(&r, "a3 b4 b5 b6");
    ck_assert_uint_eq(r.gap[0], 2);
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_records, 4);
    ck_assert_uint_eq(stats.n_evicted, 2);
    ck_assert_uint_eq(stats.n_topics, 2);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

/* ---- Retained values. ---- */

static void
check_retained(struct fixture *f, unsigned n, const char *expected)
{
    struct record *record = ops->retained(f->b, f->topics[n].store);

    if (expected == NULL) {
        ck_assert_ptr_null(record);
        return;
    }
    ck_assert_ptr_nonnull(record);
    ck_assert_msg(slice_is(record->body, expected), "%.*s, not %s", SLICE_ARG(record->body), expected);
    record_unref(record);
}

static void
append_flagged(struct fixture *f, unsigned n, const char *body)
{
    append_as(f, n, "", slice_str(body), RECORD_RETAIN, (struct store_origin){0});
}

START_TEST(retained_value_is_the_last_flagged_one)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &(struct store_limits){0});
    check_retained(f, 0, NULL);
    append_flagged(f, 0, "one");
    append(f, 0, "two");
    check_retained(f, 0, "one");
    append_flagged(f, 0, "three");
    check_retained(f, 0, "three");
    append_flagged(f, 0, "");
    check_retained(f, 0, NULL);
    fixture_free(f);
}
END_TEST

START_TEST(retained_value_follows_the_topics_setting)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &(struct store_limits){.keeps_last_retained = true});
    open_topic(f, 1, &(struct store_limits){.keeps_no_retained = true, .messages = 5});
    append(f, 0, "any");
    check_retained(f, 0, "any");
    append(f, 0, "");
    check_retained(f, 0, NULL);
    append_flagged(f, 1, "flagged");
    check_retained(f, 1, NULL);
    append_flagged(f, 0, "kept");
    ops->topic_limit(f->b, f->topics[0].store, &(struct store_limits){.keeps_no_retained = true});
    check_retained(f, 0, NULL);
    fixture_free(f);
}
END_TEST

START_TEST(retained_value_outlives_its_place_in_the_history)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &(struct store_limits){.messages = 1});
    append_flagged(f, 0, "kept");
    append(f, 0, "x");
    append(f, 0, "y");
    check_retained(f, 0, "kept");
    fixture_free(f);
}
END_TEST

/* ---- Repeats. ---- */

static struct appended
publish(struct fixture *f, uint64_t boot, uint64_t pub)
{
    return append_as(f, 0, "", slice_str("p"), 0, (struct store_origin){boot, pub});
}

START_TEST(repeat_of_a_publish_number_is_answered_and_not_appended)
{
    struct fixture *f = fixture_usual();
    struct store_stats stats;

    open_topic(f, 0, &roomy);
    ck_assert_uint_eq(publish(f, 9, 1).seq, 1);
    ck_assert_uint_eq(publish(f, 9, 2).seq, 2);
    ck_assert_uint_eq(publish(f, 8, 1).seq, 3); /* another boot: other numbers */
    ck_assert_int_eq(publish(f, 9, 1).outcome, APPEND_REPEATED);
    ck_assert_uint_eq(publish(f, 9, 1).seq, 1);
    ck_assert_uint_eq(publish(f, 9, 2).seq, 2);
    ck_assert_uint_eq(ops->last_seq(f->b), 3);
    ck_assert_uint_eq(f->n_delivered, 3);
    ops->stats(f->b, &stats);
    ck_assert_uint_eq(stats.n_repeated, 3);
    fixture_free(f);
}
END_TEST

START_TEST(number_that_was_passed_over_is_not_a_repeat)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &roomy);
    publish(f, 9, 1);
    publish(f, 9, 5000); /* those between were refused before they came here */
    ck_assert_int_eq(publish(f, 9, 4999).outcome, APPEND_OK);
    ck_assert_int_eq(publish(f, 9, 4999).outcome, APPEND_REPEATED);
    ck_assert_int_eq(publish(f, 9, 1).outcome, APPEND_REPEATED);
    fixture_free(f);
}
END_TEST

START_TEST(window_of_publish_numbers_is_at_least_65536)
{
    struct fixture *f = fixture_usual();
    uint64_t pub;

    open_topic(f, 0, &(struct store_limits){.messages = 1});
    for (pub = 1; pub <= 16000; pub++)
        ck_assert_uint_eq(publish(f, 9, pub).seq, pub);
    for (pub = 1; pub <= 16000; pub += 321)
        ck_assert_uint_eq(publish(f, 9, pub).seq, pub);
    ck_assert_int_eq(publish(f, 9, 65536).outcome, APPEND_OK);
    ck_assert_uint_eq(publish(f, 9, 1).seq, 1);
    ck_assert_int_eq(publish(f, 9, 1000000).outcome, APPEND_OK);
    ck_assert_int_eq(publish(f, 9, 1).outcome, APPEND_FORGOTTEN);
    ck_assert_uint_eq(publish(f, 9, 1).seq, 0);
    fixture_free(f);
}
END_TEST

START_TEST(key_makes_a_publish_happen_once)
{
    struct fixture *f = fixture_usual();
    struct appended a;

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    a = append_as(f, 0, "order-1", slice_str("x"), 0, (struct store_origin){5, 1});
    ck_assert_int_eq(a.outcome, APPEND_OK);
    a = append_as(f, 0, "order-1", slice_str("x"), 0, (struct store_origin){6, 1}); /* by another frontend */
    ck_assert_int_eq(a.outcome, APPEND_REPEATED);
    ck_assert_uint_eq(a.seq, 1);
    a = append_as(f, 0, "order-1", slice_str("x"), 0, (struct store_origin){6, 1}); /* both kinds of repeat */
    ck_assert_uint_eq(a.seq, 1);
    a = append_as(
        f, 1, "order-1", slice_str("x"), 0, (struct store_origin){0}); /* another topic: another key */
    ck_assert_int_eq(a.outcome, APPEND_OK);
    a = append_as(f, 0, "order-2", slice_str("x"), 0, (struct store_origin){0});
    ck_assert_int_eq(a.outcome, APPEND_OK);
    ck_assert_uint_eq(f->n_delivered, 3);
    fixture_free(f);
}
END_TEST

/* A key that only names a thing comes again and again; what `once` says is not kept with the message. */
START_TEST(key_may_name_a_thing_and_another_make_it_happen_once)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    ck_assert_uint_eq(append_once(f, 0, "thing", "").seq, 1);
    ck_assert_uint_eq(append_once(f, 0, "thing", "").seq, 2);
    ck_assert_uint_eq(append_once(f, 0, "thing", "order-1").seq, 3);
    ck_assert_int_eq(append_once(f, 0, "other", "order-1").outcome, APPEND_REPEATED);
    ck_assert_uint_eq(append_once(f, 0, "other", "order-1").seq, 3);
    ck_assert_uint_eq(append_as(f, 0, "order-1", slice_str("x"), 0, (struct store_origin){0}).seq, 3);
    ck_assert_uint_eq(append_once(f, 0, "order-1", "").seq, 4);
    read_since(f, &r, 1, 2);
    ck_assert_uint_eq(r.n_seen, 2);
    ck_assert(slice_is(r.seen[0]->key, "thing"));
    ck_assert(slice_is(r.seen[0]->body, "x"));
    ck_assert(slice_is(r.seen[1]->key, "order-1"));
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(key_is_forgotten_after_its_window_or_when_there_are_too_many)
{
    struct fixture *f = fixture_new(0, 100, 3);

    open_topic(f, 0, &roomy);
    append_as(f, 0, "k", slice_str("x"), 0, (struct store_origin){0});
    run_ms(f, 200);
    ck_assert_int_eq(append_as(f, 0, "k", slice_str("x"), 0, (struct store_origin){0}).outcome, APPEND_OK);
    append_as(f, 0, "l", slice_str("x"), 0, (struct store_origin){0});
    append_as(f, 0, "m", slice_str("x"), 0, (struct store_origin){0});
    append_as(f, 0, "n", slice_str("x"), 0, (struct store_origin){0});
    ck_assert_int_eq(append_as(f, 0, "k", slice_str("x"), 0, (struct store_origin){0}).outcome, APPEND_OK);
    fixture_free(f);
}
END_TEST

/* ---- Against a naive model. ---- */

struct model_record {
    unsigned topic;
    uint64_t seq;
    bool is_kept;
};

struct model {
    struct model_record records[MAX_SEEN];
    size_t n;
    uint64_t max_messages[N_TOPICS], last[N_TOPICS], opened_after[N_TOPICS], dropped;
    bool is_open[N_TOPICS];
};

static void
model_trim(struct model *m, unsigned topic)
{
    uint64_t n = 0;

    for (size_t i = m->n; i-- > 0;)
        if (m->records[i].topic == topic && m->records[i].is_kept && ++n > m->max_messages[topic])
            m->records[i].is_kept = false;
}

static void
model_check_read(struct model *m, struct fixture *f, struct reading *r, unsigned wanted, uint64_t since)
{
    size_t n = 0;

    read_since(f, r, wanted, since);
    for (size_t i = 0; i < m->n; i++) {
        const struct model_record *record = &m->records[i];

        if ((wanted >> record->topic & 1) == 0 || record->seq <= since || !record->is_kept)
            continue;
        ck_assert_uint_lt(n, r->n_seen);
        ck_assert_uint_eq(r->seen[n++]->seq, record->seq);
    }
    ck_assert_uint_eq(r->n_seen, n);
    for (unsigned t = 0; t < N_TOPICS; t++) {
        uint64_t evicted = m->opened_after[t];

        if (!m->is_open[t] || (wanted >> t & 1) == 0 || m->last[t] <= since)
            continue;
        for (size_t i = 0; i < m->n; i++)
            if (m->records[i].topic == t && !m->records[i].is_kept && m->records[i].seq > evicted)
                evicted = m->records[i].seq;
        ck_assert_uint_eq(r->gap[t], evicted > since ? evicted : 0);
    }
    ck_assert_uint_eq(r->gap_unnamed, m->dropped > since ? m->dropped : 0);
}

static void
model_drop(struct model *m, struct fixture *f, unsigned topic)
{
    ops->topic_drop(f->b, f->topics[topic].store);
    m->is_open[topic] = false;
    if (m->last[topic] > m->dropped)
        m->dropped = m->last[topic];
    for (size_t i = 0; i < m->n; i++)
        if (m->records[i].topic == topic)
            m->records[i].is_kept = false;
    m->last[topic] = 0;
}

START_TEST(random_operations_agree_with_a_naive_model)
{
    struct fixture *f = fixture_usual();
    struct model *m = calloc(1, sizeof(*m));
    struct reading *r = calloc(1, sizeof(*r));
    uint64_t random = 88172645463325252u + (uint64_t)_i;

    for (unsigned step = 0; step < 6000; step++) {
        unsigned topic, what;

        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        topic = (unsigned)(random >> 8) % N_TOPICS;
        what = (unsigned)(random >> 20) % 100;
        if (!m->is_open[topic]) {
            m->max_messages[topic] = (random >> 30) % 6;
            open_topic(f, topic, &(struct store_limits){.messages = m->max_messages[topic]});
            m->is_open[topic] = true;
            m->opened_after[topic] = m->dropped;
        } else if (what < 80) {
            struct model_record *record = &m->records[m->n++];

            *record = (struct model_record){topic, append(f, topic, "x"), true};
            ck_assert_uint_eq(f->delivered[f->n_delivered - 1]->prev, m->last[topic]);
            m->last[topic] = record->seq;
            model_trim(m, topic);
        } else if (what < 82) {
            m->max_messages[topic] = (random >> 30) % 6;
            ops->topic_limit(
                f->b, f->topics[topic].store, &(struct store_limits){.messages = m->max_messages[topic]});
            model_trim(m, topic);
        } else if (what == 82) {
            model_drop(m, f, topic);
        } else {
            uint64_t last = ops->last_seq(f->b), back = (random >> 33) % 40;

            model_check_read(m, f, r, (unsigned)(random >> 40) % 256, last > back ? last - back : 0);
        }
    }
    reading_reset(r);
    free(r);
    free(m);
    fixture_free(f);
}
END_TEST

static Suite *
suite_new(void)
{
    Suite *s =
        suite_create(ops == &backend_sqlite && variant_cache == 0 ? "sqlite, from the file" : ops->name);
    TCase *t = tcase_create("backend");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, seq_counts_over_all_topics_and_prev_along_each);
    tcase_add_test(t, record_comes_back_as_it_was_given);
    tcase_add_test(t, epochs_differ);
    tcase_add_test(t, read_merges_the_wanted_topics_by_seq);
    tcase_add_test(t, read_asks_once_for_each_topic_that_changed);
    tcase_add_test(t, read_of_named_topics_looks_at_no_other);
    tcase_add_test(t, read_cut_short_goes_on_where_it_stopped);
    tcase_add_test(t, upto_is_the_stores_last_seq_even_if_nothing_matched);
    tcase_add_test(t, read_of_the_last_n_takes_n_of_each_topic_without_gaps);
    tcase_add_test(t, count_limit_evicts_the_oldest_and_the_gap_is_exact);
    tcase_add_test(t, bytes_limit_evicts_the_oldest);
    tcase_add_test(t, age_limit_evicts_and_a_reader_sees_it_without_a_tick);
    tcase_add_test(t, message_without_history_counts_as_evicted_at_once);
    tcase_add_test(t, new_limits_trim_at_once);
    tcase_add_test(t, dropped_topic_leaves_an_unnamed_gap);
    tcase_add_test(t, drop_of_the_unused_and_the_unrecoverable_is_silent);
    tcase_add_test(t, limit_of_the_whole_store_evicts_what_was_idle_longest);
    tcase_add_test(t, retained_value_is_the_last_flagged_one);
    tcase_add_test(t, retained_value_follows_the_topics_setting);
    tcase_add_test(t, retained_value_outlives_its_place_in_the_history);
    tcase_add_test(t, repeat_of_a_publish_number_is_answered_and_not_appended);
    tcase_add_test(t, number_that_was_passed_over_is_not_a_repeat);
    tcase_add_test(t, window_of_publish_numbers_is_at_least_65536);
    tcase_add_test(t, key_makes_a_publish_happen_once);
    tcase_add_test(t, key_may_name_a_thing_and_another_make_it_happen_once);
    tcase_add_test(t, key_is_forgotten_after_its_window_or_when_there_are_too_many);
    tcase_add_loop_test(t, random_operations_agree_with_a_naive_model, 0, 5);
    suite_add_tcase(s, t);
    return s;
}

int
main(int argc, char **argv)
{
    char names[256];
    int n_failed = 0;

    snprintf(names, sizeof(names), "%s", argc > 1 ? argv[1] : backend_names());
    for (char *name = strtok(names, ", "); name != NULL; name = strtok(NULL, ", ")) {
        SRunner *runner;

        ops = backend_find(slice_str(name));
        if (ops == NULL) {
            fprintf(stderr, "there is no backend %s; known are: %s\n", name, backend_names());
            return 2;
        }
        for (variant_cache = ops == &backend_sqlite ? 0 : CACHE;; variant_cache = CACHE) {
            runner = srunner_create(suite_new());
            srunner_run_all(runner, CK_NORMAL);
            n_failed += srunner_ntests_failed(runner);
            srunner_free(runner);
            if (variant_cache == CACHE)
                break;
        }
    }
    return n_failed == 0 ? 0 : 1;
}
