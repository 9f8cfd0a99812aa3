/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend has to do about time: messages that expire, messages that are kept aside until they are
 * due, and topics of which nothing outlives the store.
 */
#include "config.h"

#include "tests/conformance/backend/storefixture.h"

#include <errno.h>

#include "backends/dedupe.h"

#define PAST 1 /* milliseconds since 1970 */

static int64_t
in_ms(const struct fixture *f, int64_t ms)
{
    return loop_wall_ms(f->loop) + ms;
}

static struct record *
record_of(const char *body, const char *key, int64_t expires_ms, int64_t due_ms)
{
    struct record *record = record_new(slice_str("t"), slice_str("h"), slice_str(key), slice_str(body));

    ck_assert_ptr_nonnull(record);
    record->kind = 1;
    record->expires_ms = expires_ms;
    record->due_ms = due_ms;
    return record;
}

static uint64_t
append_until(struct fixture *f, unsigned n, const char *body, int64_t expires_ms)
{
    struct appended a = append_record(f, n, record_of(body, "", expires_ms, 0), (struct store_origin){0});

    ck_assert_int_eq(a.outcome, APPEND_OK);
    return a.seq;
}

static struct appended
append_later(struct fixture *f, unsigned n, const char *body, int64_t due_ms)
{
    return append_record(f, n, record_of(body, "", 0, due_ms), (struct store_origin){0});
}

static struct store_stats
stats_of(struct fixture *f)
{
    struct store_stats stats;

    ops->stats(f->b, &stats);
    return stats;
}

/* Ticks until so many messages are kept aside, or in histories. */
static void
tick_until(struct fixture *f, uint64_t n_records, uint64_t n_scheduled)
{
    loop_timer_start(f->loop, &f->deadline, DEADLINE_MS);
    while (stats_of(f).n_records != n_records || stats_of(f).n_scheduled != n_scheduled) {
        ops->tick(f->b, 100);
        run_ms(f, 1);
    }
    loop_timer_stop(f->loop, &f->deadline);
}

static void
read_last(struct fixture *f, struct reading *r, unsigned wanted, uint64_t n)
{
    read_with(f, r, wanted, (struct store_read){.last = n});
}

/* ---- The end of a life. ---- */

START_TEST(expired_is_delivered_once_and_never_read)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append(f, 0, "a");
    append_until(f, 0, "b", PAST);
    append(f, 0, "c");
    append_until(f, 1, "d", PAST);
    append(f, 1, "e");
    append_until(f, 0, "f", PAST);
    ck_assert_uint_eq(f->n_delivered, 6); /* who is there gets it: what came before is in order */
    ck_assert_uint_eq(f->delivered[2]->prev, 2);
    read_since(f, &r, 3, 0);
    check_seen(&r, "a c e");
    ck_assert_uint_eq(r.gap[0] + r.gap[1] + r.gap_unnamed, 0);
    ck_assert_uint_eq(r.seen[1]->prev, 2);
    read_since(f, &r, 3, 1);
    check_seen(&r, "c e");
    read_since(f, &r, 3, 5);
    check_seen(&r, "");
    ck_assert_uint_eq(r.upto, 6);
    read_last(f, &r, 3, 1);
    check_seen(&r, "c e");
    read_last(f, &r, 3, 2);
    check_seen(&r, "a c e");
    read_with(f, &r, 3, (struct store_read){.since = 0, .max_records = 2});
    check_seen(&r, "a c");
    ck_assert(r.is_cut_short);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(message_is_there_until_its_end_and_not_after)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};
    int64_t end_ms = in_ms(f, 400);

    open_topic(f, 0, &roomy);
    append_until(f, 0, "a", end_ms);
    append(f, 0, "b");
    read_since(f, &r, 1, 0);
    if (loop_wall_ms(f->loop) < end_ms) { /* a machine may be slow */
        check_seen(&r, "a b");
        ck_assert_int_eq(r.seen[0]->expires_ms, end_ms);
        ck_assert_int_eq(r.seen[1]->expires_ms, 0);
    }
    run_ms(f, 600);
    read_since(f, &r, 1, 0);
    check_seen(&r, "b");
    ck_assert_uint_eq(r.gap[0], 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(expired_is_trimmed_by_the_tick)
{
    struct fixture *f = fixture_usual();
    uint64_t n, bytes;

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    for (unsigned i = 0; i < 50; i++)
        append_until(f, 0, "x", PAST);
    append_until(f, 1, "y", in_ms(f, 50));
    ck_assert(!ops->topic_is_idle(f->b, f->topics[1].store) || loop_wall_ms(f->loop) > in_ms(f, 0));
    tick_until(f, 0, 0);
    ops->topic_stats(f->b, f->topics[0].store, NULL, &n, &bytes);
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_uint_eq(stats_of(f).n_bytes, 0);
    ck_assert_uint_eq(stats_of(f).n_expired, 51);
    ck_assert_uint_eq(stats_of(f).n_evicted, 0);
    ck_assert(ops->topic_is_idle(f->b, f->topics[0].store));
    fixture_free(f);
}
END_TEST

START_TEST(expired_takes_no_place_and_leaves_no_gap)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &(struct store_limits){.messages = 2});
    append_until(f, 0, "1", PAST);
    append(f, 0, "2");
    append_until(f, 0, "3", PAST);
    append_until(f, 0, "4", PAST);
    append(f, 0, "5");
    read_since(f, &r, 1, 0);
    check_seen(&r, "2 5");
    ck_assert_uint_eq(r.gap[0], 0);
    append(f, 0, "6");
    read_since(f, &r, 1, 0);
    check_seen(&r, "5 6");
    ck_assert_uint_eq(r.gap[0], 2);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

static void
append_retained(struct fixture *f, unsigned n, const char *body, int64_t expires_ms)
{
    struct record *record = record_of(body, "", expires_ms, 0);

    record->flags = RECORD_RETAIN;
    append_record(f, n, record, (struct store_origin){0});
}

START_TEST(retained_value_expires)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &(struct store_limits){0});
    open_topic(f, 1, &roomy);
    append_retained(f, 0, "gone", PAST);
    check_retained(f, 0, NULL);
    append_retained(f, 0, "soon", in_ms(f, 100));
    append_retained(f, 0, "stays", 0);
    append_retained(f, 1, "soon", in_ms(f, 100));
    ck_assert(!ops->topic_is_idle(f->b, f->topics[0].store));
    run_ms(f, 200);
    check_retained(f, 0, "stays");
    check_retained(f, 1, NULL);
    tick_until(f, 0, 0);
    ck_assert(ops->topic_is_idle(f->b, f->topics[1].store));
    append_retained(f, 1, "again", 0);
    check_retained(f, 1, "again");
    fixture_free(f);
}
END_TEST

START_TEST(expired_does_not_come_back_with_a_restart)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    append_until(f, 0, "a", PAST);
    append(f, 0, "b");
    append_until(f, 0, "c", in_ms(f, 100));
    append_retained(f, 0, "d", in_ms(f, 100));
    append_until(f, 0, "e", in_ms(f, 3600 * 1000));
    if (fixture_reopen(f)) {
        run_ms(f, 200);
        read_since(f, &r, 1, 0);
        check_seen(&r, "b e");
        ck_assert_uint_eq(r.gap[0], 0);
        check_retained(f, 0, NULL);
        tick_until(f, 2, 0);
        read_since(f, &r, 1, 0);
        check_seen(&r, "b e");
        ck_assert_int_gt(r.seen[1]->expires_ms, in_ms(f, 0));
        reading_reset(&r);
    }
    fixture_free(f);
}
END_TEST

/* Which were alive when the read began must be seen, which were over must not. */
static void
check_alive(struct fixture *f, struct reading *r, const int64_t *ends, size_t n)
{
    int64_t began_ms = in_ms(f, 0);
    size_t seen = 0;

    read_since(f, r, 3, 0);
    for (size_t i = 0; i < n; i++) {
        bool is_seen = seen < r->n_seen && r->seen[seen]->seq == i + 1;

        seen += is_seen;
        if (ends[i] <= began_ms)
            ck_assert_msg(!is_seen, "%zu had expired and was seen", i + 1);
        else if (ends[i] > in_ms(f, 0))
            ck_assert_msg(is_seen, "%zu was alive and was not seen", i + 1);
    }
    ck_assert_uint_eq(seen, r->n_seen);
    ck_assert_uint_eq(r->gap[0] + r->gap[1], 0);
}

START_TEST(lives_end_in_any_order)
{
    enum { N = 600 };
    struct fixture *f = fixture_usual();
    struct reading *r = calloc(1, sizeof(*r));
    uint64_t random = 88172645463325252u + (uint64_t)_i;
    int64_t ends[N];

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    for (size_t i = 0; i < N; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        ends[i] = random % 10 == 0 ? INT64_MAX : in_ms(f, (int64_t)(random >> 20) % 1500);
        append_until(f, (unsigned)(random >> 10) % 2, "x", ends[i] == INT64_MAX ? 0 : ends[i]);
    }
    for (unsigned i = 0; i < 20; i++) {
        check_alive(f, r, ends, N);
        run_ms(f, 100);
        if (i % 3 == 0)
            ops->tick(f->b, 100);
        if (i == 10)
            (void)fixture_reopen(f);
    }
    check_alive(f, r, ends, N);
    reading_reset(r);
    free(r);
    fixture_free(f);
}
END_TEST

/* ---- Against a naive model: what is expired at once, between what is not. ---- */

struct model {
    struct {
        unsigned topic;
        bool is_expired, is_evicted;
    } records[MAX_SEEN];
    size_t n;
};

static void
model_trim(struct model *m, unsigned topic, uint64_t max)
{
    uint64_t n = 0;

    for (size_t i = m->n; i-- > 0;)
        if (m->records[i].topic == topic && !m->records[i].is_expired && !m->records[i].is_evicted &&
            ++n > max)
            m->records[i].is_evicted = true;
}

static void
model_check(const struct model *m, struct fixture *f, struct reading *r, unsigned wanted, uint64_t since)
{
    uint64_t gap[N_TOPICS] = {0};
    size_t n = 0;

    read_since(f, r, wanted, since);
    for (size_t i = (size_t)since; i < m->n; i++) {
        unsigned topic = m->records[i].topic;

        if ((wanted >> topic & 1) == 0 || m->records[i].is_expired)
            continue;
        if (m->records[i].is_evicted) {
            gap[topic] = i + 1;
            continue;
        }
        ck_assert_uint_lt(n, r->n_seen);
        ck_assert_uint_eq(r->seen[n++]->seq, i + 1);
    }
    ck_assert_uint_eq(n, r->n_seen);
    for (unsigned i = 0; i < N_TOPICS; i++)
        ck_assert_uint_eq(r->gap[i], gap[i]);
}

START_TEST(random_lives_agree_with_a_naive_model)
{
    struct fixture *f = fixture_usual();
    struct model *m = calloc(1, sizeof(*m));
    struct reading *r = calloc(1, sizeof(*r));
    uint64_t random = 88172645463325252u + (uint64_t)_i;

    for (unsigned i = 0; i < N_TOPICS; i++)
        open_topic(f, i, &(struct store_limits){.messages = i * i});
    for (unsigned step = 0; step < 3000; step++) {
        unsigned topic;

        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        topic = (unsigned)(random >> 8) % N_TOPICS;
        if ((random >> 20) % 100 < 80) {
            bool is_expired = topic > 0 && (random >> 40) % 3 == 0; /* no history: evicted at once */

            m->records[m->n].topic = topic;
            m->records[m->n++].is_expired = is_expired;
            ck_assert_uint_eq(append_until(f, topic, "x", is_expired ? PAST : 0), m->n);
            model_trim(m, topic, topic * topic);
        } else if ((random >> 20) % 100 < 83) {
            ops->tick(f->b, 100);
        } else {
            uint64_t back = (random >> 33) % 60;

            model_check(m, f, r, (unsigned)(random >> 40) % 256, m->n > back ? m->n - back : 0);
        }
    }
    reading_reset(r);
    free(r);
    free(m);
    fixture_free(f);
}
END_TEST

/* ---- Kept aside. ---- */

static void
check_scheduled(struct appended a, int64_t due_ms)
{
    ck_assert_int_eq(a.outcome, APPEND_SCHEDULED);
    ck_assert_int_eq((int64_t)a.seq, due_ms);
}

START_TEST(scheduled_comes_when_it_is_due)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};
    int64_t due_ms = in_ms(f, 200);
    struct appended a;

    open_topic(f, 0, &roomy);
    a = append_later(f, 0, "later", due_ms);
    ck_assert_int_eq(a.outcome, APPEND_SCHEDULED);
    ck_assert_uint_eq(a.seq, (uint64_t)due_ms);
    ck_assert_uint_eq(append(f, 0, "now"), 1);
    ck_assert_uint_eq(stats_of(f).n_scheduled, 1);
    ck_assert_uint_gt(stats_of(f).n_scheduled_bytes, 0);
    read_since(f, &r, 1, 0);
    check_seen(&r, "now");
    ck_assert(!ops->topic_is_idle(f->b, f->topics[0].store));
    tick_until(f, 2, 0);
    ck_assert_int_ge(in_ms(f, 0), due_ms);
    ck_assert_uint_eq(f->n_delivered, 2);
    ck_assert_uint_eq(f->delivered[1]->seq, 2);
    ck_assert_uint_eq(f->delivered[1]->prev, 1);
    ck_assert_int_eq(f->delivered[1]->due_ms, 0);
    ck_assert_int_ge(f->delivered[1]->time_ms, due_ms);
    ck_assert(slice_is(record_headers(f->delivered[1]), "h"));
    ck_assert_ptr_eq(f->delivered[1]->topic, &f->topics[0]);
    ck_assert_uint_eq(ops->last_seq(f->b), 2);
    read_since(f, &r, 1, 0);
    check_seen(&r, "now later");
    ck_assert_uint_eq(stats_of(f).n_scheduled_bytes, 0);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(scheduled_come_in_the_order_of_their_time)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};
    int64_t now_ms = in_ms(f, 0);

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append_later(f, 0, "d", now_ms + 400);
    append_later(f, 1, "b", now_ms + 300);
    append_later(f, 0, "c", now_ms + 300); /* the same time: as they came */
    append_later(f, 1, "a", now_ms + 200);
    append_later(f, 1, "e", now_ms + 500);
    tick_until(f, 5, 0);
    read_since(f, &r, 3, 0);
    check_seen(&r, "a b c d e");
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(due_in_the_past_is_appended_at_once)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &roomy);
    ck_assert_int_eq(append_later(f, 0, "x", PAST).outcome, APPEND_OK);
    ck_assert_uint_eq(f->n_delivered, 1);
    ck_assert_int_eq(f->delivered[0]->due_ms, 0);
    fixture_free(f);
}
END_TEST

/* Also with another delay, or none. */
START_TEST(repeat_of_a_scheduled_publish_is_answered_as_such)
{
    struct fixture *f = fixture_usual();
    struct store_origin origin = {7, 1}, other = {8, 1}, later = {9, 1};
    int64_t due_ms;

    open_topic(f, 0, &roomy);
    due_ms = in_ms(f, 200);
    for (unsigned i = 0; i < 2; i++) {
        check_scheduled(append_record(f, 0, record_of("x", "k", 0, due_ms), origin), due_ms);
        check_scheduled(append_record(f, 0, record_of("x", "k", 0, due_ms + 40), origin), due_ms);
        check_scheduled(append_record(f, 0, record_of("x", "k", 0, due_ms + 50), other), due_ms);
        check_scheduled(append_record(f, 0, record_of("x", "k", 0, 0), other), due_ms);
        ck_assert_uint_eq(stats_of(f).n_scheduled, 1 - i);
        tick_until(f, 1, 0); /* and then it is the same */
    }
    ck_assert_uint_eq(stats_of(f).n_repeated, 7);
    ck_assert_uint_eq(f->n_delivered, 1);
    if (fixture_reopen(f)) {
        check_scheduled(append_record(f, 0, record_of("x", "", 0, in_ms(f, 100)), origin), due_ms);
        check_scheduled(append_record(f, 0, record_of("x", "k", 0, 0), later), due_ms);
        check_scheduled(append_record(f, 0, record_of("x", "", 0, 0), later), due_ms);
        ck_assert_uint_eq(stats_of(f).n_scheduled, 0);
    }
    fixture_free(f);
}
END_TEST

START_TEST(scheduled_survives_a_restart_and_comes_once)
{
    struct fixture *f = fixture_usual();
    struct reading r = {0};

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy); /* nothing else is on it */
    append(f, 0, "1");
    append_later(f, 1, "3", in_ms(f, 400));
    append_later(f, 0, "2", in_ms(f, 100));
    append_record(f, 0, record_of("over", "", in_ms(f, 99), in_ms(f, 100)), (struct store_origin){0});
    append_later(f, 0, "much later", in_ms(f, 3600 * 1000));
    if (!fixture_reopen(f)) {
        fixture_free(f);
        return;
    }
    ck_assert(f->topics[1].is_restored);
    ck_assert(!ops->topic_is_idle(f->b, f->topics[1].store));
    ck_assert_uint_ge(stats_of(f).n_scheduled, 2);
    tick_until(f, 3, 1);
    read_since(f, &r, 3, 0);
    check_seen(&r, "1 2 3");
    ck_assert(fixture_reopen(f));
    tick_until(f, 3, 1);
    run_ms(f, 100);
    ck_assert_uint_eq(ops->last_seq(f->b), 3);
    read_since(f, &r, 3, 0);
    check_seen(&r, "1 2 3");
    ck_assert_uint_eq(stats_of(f).n_scheduled, 1);
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

START_TEST(scheduled_that_expired_before_is_forgotten)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &roomy);
    append_record(f, 0, record_of("x", "", in_ms(f, 50), in_ms(f, 100)), (struct store_origin){0});
    tick_until(f, 0, 0);
    ck_assert_uint_eq(f->n_delivered, 0);
    ck_assert_uint_eq(ops->last_seq(f->b), 0);
    ck_assert_uint_eq(stats_of(f).n_expired, 1);
    fixture_free(f);
}
END_TEST

START_TEST(scheduled_becomes_the_retained_value_when_it_is_due)
{
    struct fixture *f = fixture_usual();
    struct record *record = record_of("later", "", 0, in_ms(f, 150));

    open_topic(f, 0, &roomy);
    record->flags = RECORD_RETAIN;
    append_record(f, 0, record, (struct store_origin){0});
    append_flagged(f, 0, "now");
    check_retained(f, 0, "now");
    tick_until(f, 2, 0);
    check_retained(f, 0, "later");
    fixture_free(f);
}
END_TEST

START_TEST(scheduled_goes_with_its_topic)
{
    struct fixture *f = fixture_usual();

    open_topic(f, 0, &roomy);
    open_topic(f, 1, &roomy);
    append_later(f, 0, "x", in_ms(f, 1000));
    append_later(f, 1, "y", in_ms(f, 1000));
    append_later(f, 0, "z", in_ms(f, 900));
    ops->topic_drop(f->b, f->topics[0].store);
    tick_until(f, 1, 0);
    ck_assert_uint_eq(f->n_delivered, 1);
    ck_assert(slice_is(record_body(f->delivered[0]), "y"));
    fixture_free(f);
}
END_TEST

START_TEST(many_scheduled_for_one_moment_all_come)
{
    enum { N = 3000 };
    struct fixture *f = fixture_usual();
    int64_t due_ms = in_ms(f, 2000);
    struct appended *a = calloc(N, sizeof(*a));
    char body[16];

    open_topic(f, 0, &(struct store_limits){.messages = N});
    for (unsigned i = 0; i < N; i++) {
        snprintf(body, sizeof(body), "%u", i);
        a[i].f = f;
        ck_assert_int_eq(ops->append_take(f->b, f->topics[0].store, record_of(body, "", 0, due_ms),
                             (struct store_origin){0}, &a[i]),
            0);
    }
    for (unsigned i = 0; i < N; i++) {
        wait_for(f, &a[i].is_done);
        ck_assert_int_eq(a[i].outcome, APPEND_SCHEDULED);
    }
    tick_until(f, N, 0);
    for (unsigned i = 0; i < N; i++) {
        snprintf(body, sizeof(body), "%u", i);
        ck_assert(slice_is(record_body(f->delivered[i]), body));
    }
    free(a);
    fixture_free(f);
}
END_TEST

/* ---- Nothing outlives the store. ---- */

START_TEST(volatile_topic_leaves_nothing)
{
    struct fixture *f = fixture_usual();
    struct store_limits limits = {.is_volatile = true, .is_unrecoverable = true};
    struct record *record = record_of("x", "", 0, in_ms(f, 60000));
    struct reading r = {0};
    struct appended a = {.f = f};

    open_topic(f, 0, &limits);
    open_topic(f, 1, &roomy);
    append_flagged(f, 0, "a");
    check_retained(f, 0, "a");
    append(f, 1, "b");
    append(f, 0, "c");
    ck_assert_uint_eq(f->n_delivered, 3);
    ck_assert_uint_eq(f->delivered[2]->prev, 1);
    read_since(f, &r, 3, 0);
    check_seen(&r, "b");
    ck_assert_uint_eq(r.gap[0], 0); /* nobody recovers it */
    ck_assert_int_eq(
        ops->append_take(f->b, f->topics[0].store, record, (struct store_origin){0}, &a), -EINVAL);
    ck_assert_int_eq(append_as(f, 0, "k", slice_str("x"), 0, (struct store_origin){3, 1}).seq, 4);
    ck_assert_int_eq(append_as(f, 0, "k", slice_str("x"), 0, (struct store_origin){3, 1}).seq, 4);
    if (fixture_reopen(f)) {
        ck_assert(!f->topics[0].is_restored);
        ck_assert(f->topics[1].is_restored);
        ck_assert_uint_ge(ops->last_seq(f->b), 4); /* numbers are not given again */
        open_topic(f, 0, &limits);
        check_retained(f, 0, NULL);
        read_since(f, &r, 3, 0);
        check_seen(&r, "b");
        ck_assert_uint_eq(r.gap[0] + r.gap[1], 0);
    }
    reading_reset(&r);
    fixture_free(f);
}
END_TEST

TCase *
case_times(void)
{
    TCase *t = tcase_create("times");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, expired_is_delivered_once_and_never_read);
    tcase_add_test(t, message_is_there_until_its_end_and_not_after);
    tcase_add_test(t, expired_is_trimmed_by_the_tick);
    tcase_add_test(t, expired_takes_no_place_and_leaves_no_gap);
    tcase_add_test(t, retained_value_expires);
    tcase_add_test(t, expired_does_not_come_back_with_a_restart);
    tcase_add_loop_test(t, lives_end_in_any_order, 0, 2);
    tcase_add_loop_test(t, random_lives_agree_with_a_naive_model, 0, 3);
    tcase_add_test(t, scheduled_comes_when_it_is_due);
    tcase_add_test(t, scheduled_come_in_the_order_of_their_time);
    tcase_add_test(t, due_in_the_past_is_appended_at_once);
    tcase_add_test(t, repeat_of_a_scheduled_publish_is_answered_as_such);
    tcase_add_test(t, scheduled_survives_a_restart_and_comes_once);
    tcase_add_test(t, scheduled_that_expired_before_is_forgotten);
    tcase_add_test(t, scheduled_becomes_the_retained_value_when_it_is_due);
    tcase_add_test(t, scheduled_goes_with_its_topic);
    tcase_add_test(t, many_scheduled_for_one_moment_all_come);
    tcase_add_test(t, volatile_topic_leaves_nothing);
    return t;
}
