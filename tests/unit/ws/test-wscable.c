/* SPDX-License-Identifier: Apache-2.0 */
/* What Action Cable's connections share: pings, and the sessions that may come back. */
#include "config.h"

#include "frontends/sdk/block.h"
#include "frontends/ws/wscableping.h"
#include "frontends/ws/wscablestore.h"
#include "tests/unit/base/suite.h"

#include <stdio.h>
#include <string.h>

#define N_MEMBERS 100u
#define INTERVAL_MS 1000u

static struct {
    struct loop *loop;
    struct wscable_pings pings;
    struct list members[N_MEMBERS];
    unsigned n_pings[N_MEMBERS];
    unsigned n_calls, n_before; /* all; at the last look */
    unsigned n_most;            /* in a twentieth of the interval, about */
    bool leaves;                /* members whose turn it is */
    struct loop_timer look, end;
} f;

static void
on_ping(struct list *member)
{
    size_t i = (size_t)(member - f.members);

    ck_assert_uint_lt(i, N_MEMBERS);
    ck_assert_ptr_nonnull(wscable_pings_block(&f.pings));
    f.n_pings[i]++;
    f.n_calls++;
    if (f.leaves)
        wscable_pings_leave(&f.pings, member);
}

static void
on_look(void *arg)
{
    unsigned n = f.n_calls - f.n_before;

    (void)arg;
    if (n > f.n_most)
        f.n_most = n;
    f.n_before = f.n_calls;
    loop_timer_start(f.loop, &f.look, LOOP_TICK_MS);
}

static void
on_end(void *arg)
{
    (void)arg;
    loop_stop(f.loop);
}

static void
run(uint64_t ms)
{
    f.end = (struct loop_timer){.fn = on_end};
    loop_timer_start(f.loop, &f.end, ms);
    ck_assert_int_ge(loop_run(f.loop), 0);
}

static void
setup(void)
{
    memset(&f, 0, sizeof f);
    ck_assert_int_eq(loop_new(&f.loop), 0);
    wscable_pings_init(&f.pings, f.loop, INTERVAL_MS, on_ping);
    for (unsigned i = 0; i < N_MEMBERS; i++) {
        list_init(&f.members[i]);
        wscable_pings_join(&f.pings, &f.members[i]);
    }
}

static void
teardown(void)
{
    wscable_pings_fini(&f.pings);
    f.loop = loop_free(f.loop);
}

START_TEST(test_pings_are_spread)
{
    setup();
    f.look = (struct loop_timer){.fn = on_look};
    loop_timer_start(f.loop, &f.look, LOOP_TICK_MS);
    run(3 * INTERVAL_MS + INTERVAL_MS / 2);
    for (unsigned i = 0; i < N_MEMBERS; i++)
        ck_assert_msg(f.n_pings[i] >= 2 && f.n_pings[i] <= 4, "%u has %u", i, f.n_pings[i]);
    /* A machine that is busy may be late with some; a herd would be all of them. */
    ck_assert_uint_lt(f.n_most, N_MEMBERS / 2);
    for (unsigned i = 0; i < N_MEMBERS; i++)
        wscable_pings_leave(&f.pings, &f.members[i]);
    teardown();
}
END_TEST

START_TEST(test_pings_stop)
{
    setup();
    f.leaves = true;
    run(2 * INTERVAL_MS);
    ck_assert_uint_eq(f.n_calls, N_MEMBERS);
    ck_assert_uint_eq(f.pings.n, 0);
    ck_assert_ptr_null(f.pings.timer.pprev);
    wscable_pings_leave(&f.pings, &f.members[0]); /* that is no member */
    ck_assert_uint_eq(f.pings.n, 0);
    wscable_pings_join(&f.pings, &f.members[0]);
    run(2 * INTERVAL_MS);
    ck_assert_uint_eq(f.n_calls, N_MEMBERS + 1);
    teardown();
}
END_TEST

START_TEST(test_one_ping_for_a_second)
{
    struct block *block;

    setup();
    block = wscable_pings_block(&f.pings);
    ck_assert_ptr_nonnull(block);
    ck_assert_ptr_eq(wscable_pings_block(&f.pings), block);
    ck_assert_uint_eq(block->buf.n, 2 + strlen("{\"type\":\"ping\",\"message\":1234567890}"));
    for (unsigned i = 0; i < N_MEMBERS; i++)
        wscable_pings_leave(&f.pings, &f.members[i]);
    teardown();
}
END_TEST

static void
put(struct wscable_store *s, unsigned id, size_t n)
{
    char name[16], content[4096];

    (void)snprintf(name, sizeof name, "%u", id);
    memset(content, 'a' + (int)(id % 26), sizeof content);
    ck_assert_uint_le(n, sizeof content);
    wscable_store_put(s, slice_str(name), slice_of((const uint8_t *)content, n));
}

/* Whether it was there; then it has that length. */
static bool
take(struct wscable_store *s, unsigned id, size_t n)
{
    char name[16];
    struct buf out;
    bool is_there;

    (void)snprintf(name, sizeof name, "%u", id);
    buf_init(&out, 0);
    is_there = wscable_store_take(s, slice_str(name), &out);
    ck_assert_uint_eq(out.n, is_there ? n : 0);
    ck_assert(!is_there || n == 0 || out.p[n - 1] == 'a' + id % 26);
    buf_fini(&out);
    return is_there;
}

START_TEST(test_store_keeps_the_newest)
{
    struct wscable_store s;

    setup();
    wscable_store_init(&s, f.loop);
    put(&s, 0, 10); /* before there is a limit nothing is kept */
    ck_assert(!take(&s, 0, 10));
    wscable_store_limit(&s, 3, 10000, 60000);
    for (unsigned i = 1; i <= 5; i++)
        put(&s, i, 100 * i);
    ck_assert_uint_eq(wscable_store_n(&s), 3);
    ck_assert(!take(&s, 1, 100));
    ck_assert(!take(&s, 2, 200));
    ck_assert(take(&s, 4, 400));
    ck_assert(!take(&s, 4, 400)); /* once */
    ck_assert(take(&s, 3, 300));
    ck_assert(take(&s, 5, 500));
    ck_assert_uint_eq(s.n_bytes, 0);
    ck_assert_ptr_nonnull(s.by_age.next);
    put(&s, 6, 0);
    ck_assert(take(&s, 6, 0));
    wscable_store_fini(&s);
    wscable_store_fini(&s); /* twice does nothing */
    teardown();
}
END_TEST

START_TEST(test_store_by_bytes)
{
    struct wscable_store s;

    setup();
    wscable_store_init(&s, f.loop);
    wscable_store_limit(&s, 1000, 3000, 60000);
    for (unsigned i = 0; i < 100; i++) {
        put(&s, i, 500);
        ck_assert_uint_le(s.n_bytes, 3000);
    }
    ck_assert_uint_eq(wscable_store_n(&s), 4);
    ck_assert(take(&s, 99, 500));
    ck_assert(take(&s, 96, 500));
    ck_assert(!take(&s, 95, 500));
    put(&s, 200, 4000); /* more than all may take: nothing else goes for it */
    ck_assert(!take(&s, 200, 4000));
    ck_assert_uint_eq(wscable_store_n(&s), 2);
    wscable_store_limit(&s, 1000, 700, 60000);
    ck_assert_uint_eq(wscable_store_n(&s), 1);
    ck_assert(take(&s, 98, 500));
    put(&s, 201, 500);
    wscable_store_limit(&s, 0, 3000, 60000);
    ck_assert_uint_eq(wscable_store_n(&s), 0);
    wscable_store_fini(&s);
    teardown();
}
END_TEST

START_TEST(test_store_by_time)
{
    struct wscable_store s;

    setup();
    wscable_store_init(&s, f.loop);
    wscable_store_limit(&s, 1000, 3000, 300);
    put(&s, 1, 500);
    run(150);
    put(&s, 2, 500);
    ck_assert_uint_ge(wscable_store_n(&s), 1);
    run(1000);
    ck_assert_uint_eq(wscable_store_n(&s), 0);
    ck_assert_ptr_null(s.timer.pprev);
    put(&s, 3, 500); /* left there for fini */
    wscable_store_fini(&s);
    teardown();
}
END_TEST

SUITE_MAIN("wscable", test_pings_are_spread, test_pings_stop, test_one_ping_for_a_second,
    test_store_keeps_the_newest, test_store_by_bytes, test_store_by_time)
