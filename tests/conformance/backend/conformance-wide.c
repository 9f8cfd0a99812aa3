/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every backend has to do for a read of many topics piece by piece, whichever way it takes to their
 * records: by the topics, or along all records in their order.
 */
#include "config.h"

#include "tests/conformance/backend/storefixture.h"

#include <stdio.h>

#define N_MESSAGES 400u

/* All of it by pieces of so many: each topic is asked for once in each piece, and the bodies add up to the
 * same. */
static void
check_pieces(struct fixture *f, struct reading *r, unsigned wanted, uint64_t since, uint64_t piece, size_t n)
{
    size_t n_seen = 0;
    uint64_t last = since;

    do {
        read_with(f, r, wanted, (struct store_read){.since = since, .max_records = piece});
        for (size_t i = 0; i < r->n_seen; i++) {
            unsigned topic = ((struct topic *)r->seen[i]->topic)->number;

            ck_assert(wanted >> topic & 1);
            ck_assert_uint_gt(r->seen[i]->seq, last);
            last = r->seen[i]->seq;
        }
        for (unsigned i = 0; i < N_TOPICS; i++)
            ck_assert_uint_le(r->n_asked[i], 1);
        ck_assert_uint_le(r->n_seen, piece);
        ck_assert(!r->is_cut_short || r->upto > since);
        ck_assert_uint_le(last, r->upto);
        n_seen += r->n_seen;
        since = r->upto;
    } while (r->is_cut_short);
    ck_assert_uint_eq(since, ops->last_seq(f->b));
    ck_assert_uint_eq(n_seen, n);
}

static void
open_all(struct fixture *f, const struct store_limits *limits)
{
    for (unsigned i = 0; i < N_TOPICS; i++)
        open_topic(f, i, limits);
}

START_TEST(pieces_of_many_topics_are_in_order_and_whole)
{
    struct fixture *f = fixture_usual();
    struct reading *r = calloc(1, sizeof(*r));

    open_all(f, &roomy);
    for (unsigned i = 0; i < N_MESSAGES; i++)
        append(f, i * 7 % N_TOPICS, "x");
    check_pieces(f, r, 0xff, 0, 1, N_MESSAGES);
    check_pieces(f, r, 0xff, 0, 7, N_MESSAGES);
    check_pieces(f, r, 0xff, 0, N_MESSAGES, N_MESSAGES);
    check_pieces(f, r, 0xff, 0, 10 * N_MESSAGES, N_MESSAGES);
    check_pieces(f, r, 0xa5, 0, 7, N_MESSAGES / 2);
    check_pieces(f, r, 0xa5, N_MESSAGES / 2, 7, N_MESSAGES / 4);
    check_pieces(f, r, 0xff, N_MESSAGES - 1, 7, 1);
    reading_reset(r);
    free(r);
    fixture_free(f);
}
END_TEST

/* Among very many that are not wanted. */
START_TEST(few_messages_among_many_are_found)
{
    struct fixture *f = fixture_usual();
    struct reading *r = calloc(1, sizeof(*r));

    open_all(f, &roomy);
    append(f, 7, "first");
    for (unsigned i = 0; i < 3 * N_MESSAGES; i++) {
        append(f, i % (N_TOPICS - 1), "x");
        if (i == 2 * N_MESSAGES)
            append(f, 7, "middle");
    }
    append(f, 7, "last");
    check_pieces(f, r, 0x80, 0, 1, 3);
    check_pieces(f, r, 0x80, 0, 2, 3);
    read_since(f, r, 0x80, 0);
    check_seen(r, "first middle last");
    read_since(f, r, 0, 0);
    check_seen(r, "");
    reading_reset(r);
    free(r);
    fixture_free(f);
}
END_TEST

/* What has become too old since nobody looked is not given, and is told. */
START_TEST(too_old_among_many_is_a_gap)
{
    struct fixture *f = fixture_usual();
    struct reading *r = calloc(1, sizeof(*r));

    open_all(f, &roomy);
    open_topic(f, 7, &(struct store_limits){.messages = 100, .age_ms = 100});
    append(f, 0, "a");
    append(f, 7, "old");
    append(f, 7, "older than wanted");
    append(f, 1, "b");
    run_ms(f, 200);
    for (unsigned i = 2; i < 7; i++)
        append(f, i, "x");
    read_since(f, r, 0x3, 0);
    check_seen(r, "a b");
    ck_assert_uint_eq(r->gap[7], 0); /* nobody asked for it */
    read_since(f, r, 0x83, 0);
    check_seen(r, "a b");
    ck_assert_uint_eq(r->gap[7], 3);
    append(f, 7, "new");
    read_since(f, r, 0x83, 0);
    check_seen(r, "a b new");
    ck_assert_uint_eq(r->gap[7], 3);
    reading_reset(r);
    free(r);
    fixture_free(f);
}
END_TEST

/* Who was told of gaps by the read before may be spared them, but is told what went since. */
START_TEST(gaps_after_the_read_before_are_told)
{
    const struct store_limits two = {.messages = 2};
    struct fixture *f = fixture_usual();
    struct reading *r = calloc(1, sizeof(*r));
    uint64_t told_at;

    open_all(f, &two);
    for (unsigned i = 0; i < 3 * N_TOPICS; i++) /* the first round is evicted: 1 to 8 */
        append(f, i % N_TOPICS, "x");
    read_with(f, r, 0xff, (struct store_read){.since = 0, .max_records = 3});
    for (unsigned i = 0; i < N_TOPICS; i++)
        ck_assert_uint_eq(r->gap[i], i + 1);
    told_at = ops->last_seq(f->b);
    append(f, 2, "y");
    append(f, 5, "y");
    read_with(f, r, 0xff, (struct store_read){.since = 2, .max_records = 3, .told_at = told_at});
    ck_assert_uint_eq(r->gap[2], N_TOPICS + 3);
    ck_assert_uint_eq(r->gap[5], N_TOPICS + 6);
    ck_assert_uint_eq(r->gap[1], 0); /* it is not above */
    ck_assert(r->gap[3] == 0 || r->gap[3] == 4);
    reading_reset(r);
    free(r);
    fixture_free(f);
}
END_TEST

TCase *
case_wide(void)
{
    TCase *t = tcase_create("wide");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, pieces_of_many_topics_are_in_order_and_whole);
    tcase_add_test(t, few_messages_among_many_are_found);
    tcase_add_test(t, too_old_among_many_is_a_gap);
    tcase_add_test(t, gaps_after_the_read_before_are_told);
    return t;
}
