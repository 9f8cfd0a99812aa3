/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend has to do, run for each of the registry (or for the one named in argv[1]). What time
 * does to messages and what groups are, is in files beside this one.
 */
#include "config.h"

#include "tests/conformance/backend/storefixture.h"

#include "backends/sqlite/sqlite.h"

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
    ck_assert(slice_is(record_type(r.seen[0]), "t"));
    ck_assert(slice_is(record_headers(r.seen[0]), "h"));
    ck_assert(slice_is(record_key(r.seen[0]), "k"));
    ck_assert(slice_equal(record_body(r.seen[0]), slice_of("a\0b", 3)));
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
    read_with(f, &r, 3, (struct store_read){.last = 2, .since_ms = 1});
    check_seen(&r, "5 6 b");
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

static struct appended
append_once(struct fixture *f, unsigned n, const char *key, const char *once)
{
    struct record *record =
        record_new_once(slice_str("t"), slice_str("h"), slice_str(key), slice_str(once), slice_str("x"));

    ck_assert_ptr_nonnull(record);
    return append_record(f, n, record, (struct store_origin){0});
}

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
    ck_assert(slice_is(record_key(r.seen[0]), "thing"));
    ck_assert(slice_is(record_body(r.seen[0]), "x"));
    ck_assert(slice_is(record_key(r.seen[1]), "order-1"));
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
    suite_add_tcase(s, case_wide());
    if (ops->group_open != NULL) {
        suite_add_tcase(s, case_times());
        suite_add_tcase(s, case_groups());
    }
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
