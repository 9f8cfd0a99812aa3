/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/loop.h"

#include "tests/unit/base/suite.h"

#include "base/fdlimit.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What a test's callbacks share. */
struct fixture {
    struct loop *loop;
    struct loop_timer a, b;
    struct loop_hook first, second;
    char order[64]; /* one letter for each thing that happened */
    unsigned n;
    uint64_t at_ms;
    int pipe[2];
};

static void
mark(struct fixture *f, char c)
{
    size_t n = strlen(f->order);

    if (n + 1 < sizeof f->order)
        f->order[n] = c;
}

static struct fixture *
fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof *f);

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(loop_new(&f->loop), 0);
    return f;
}

static void
fixture_free(struct fixture *f)
{
    f->loop = loop_free(f->loop);
    free(f);
}

static uint64_t
monotonic_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
on_stop(void *arg)
{
    struct fixture *f = arg;

    mark(f, 's');
    f->at_ms = monotonic_ms();
    loop_stop(f->loop);
}

static void
on_mark_a(void *arg)
{
    mark(arg, 'a');
}

START_TEST(test_timers_are_never_early)
{
    struct fixture *f = fixture_new();

    for (uint64_t delay_ms = 0; delay_ms < 160; delay_ms += 23) {
        uint64_t start_ms = monotonic_ms();

        f->a = (struct loop_timer){.fn = on_stop, .arg = f};
        loop_timer_start(f->loop, &f->a, delay_ms);
        ck_assert_int_eq(loop_run(f->loop), 0);
        ck_assert_uint_ge(f->at_ms, start_ms + delay_ms);
        ck_assert_ptr_null(f->a.pprev);
    }
    fixture_free(f);
}
END_TEST

START_TEST(test_timers_move_and_stop)
{
    struct fixture *f = fixture_new();
    uint64_t start_ms = monotonic_ms();

    f->a = (struct loop_timer){.fn = on_mark_a, .arg = f};
    f->b = (struct loop_timer){.fn = on_stop, .arg = f};
    loop_timer_stop(f->loop, &f->a); /* never armed */
    loop_timer_start(f->loop, &f->a, 10);
    loop_timer_start(f->loop, &f->b, 10);
    loop_timer_start(f->loop, &f->b, 200);
    loop_timer_stop(f->loop, &f->a);
    loop_timer_stop(f->loop, &f->a);
    ck_assert_ptr_null(f->a.pprev);
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_str_eq(f->order, "s");
    ck_assert_uint_ge(f->at_ms, start_ms + 200);
    fixture_free(f);
}
END_TEST

static void
on_restart_self(void *arg)
{
    struct fixture *f = arg;

    mark(f, 'r');
    if (++f->n < 3)
        loop_timer_start(f->loop, &f->a, 10);
    else
        loop_stop(f->loop);
}

START_TEST(test_a_timer_may_start_itself)
{
    struct fixture *f = fixture_new();

    f->a = (struct loop_timer){.fn = on_restart_self, .arg = f};
    loop_timer_start(f->loop, &f->a, 10);
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_str_eq(f->order, "rrr");
    fixture_free(f);
}
END_TEST

/* Two timers due together, each of which stops and frees the other: one alone may run. */
struct rival {
    struct loop_timer timer;
    struct rival *other;
    struct fixture *f;
};

static void
on_rival(void *arg)
{
    struct rival *self = arg;
    struct fixture *f = self->f;

    mark(f, 'x');
    loop_timer_stop(f->loop, &self->other->timer);
    free(self->other);
    free(self);
    loop_stop(f->loop);
}

START_TEST(test_a_timer_may_free_itself_and_others)
{
    struct fixture *f = fixture_new();
    struct rival *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);

    *a = (struct rival){.timer = {.fn = on_rival, .arg = a}, .other = b, .f = f};
    *b = (struct rival){.timer = {.fn = on_rival, .arg = b}, .other = a, .f = f};
    loop_timer_start(f->loop, &a->timer, 10);
    loop_timer_start(f->loop, &b->timer, 10);
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_str_eq(f->order, "x");
    fixture_free(f);
}
END_TEST

struct many {
    struct loop_timer timer;
    struct fixture *f;
    uint64_t armed_ms, delay_ms;
    bool is_stopped;
};

static void
on_many(void *arg)
{
    struct many *m = arg;

    ck_assert(!m->is_stopped);
    ck_assert_uint_ge(loop_now_ms(m->f->loop), m->armed_ms + m->delay_ms);
    if (--m->f->n == 0)
        loop_stop(m->f->loop);
}

/* 100,000 timers over levels 0 and 1 of the wheel (one level is 3.2 s), every third stopped again, and some
 * that are hours and centuries away. */
START_TEST(test_many_timers)
{
    const unsigned n = 100000;
    struct fixture *f = fixture_new();
    struct many *all = calloc(n, sizeof *all);

    ck_assert_ptr_nonnull(all);
    for (unsigned i = 0; i < n; i++) {
        struct many *m = &all[i];

        *m = (struct many){.timer = {.fn = on_many, .arg = m}, .f = f, .armed_ms = loop_now_ms(f->loop)};
        m->delay_ms = i % 1000 == 0 ? UINT64_C(3600000) << (i / 1000 % 40) : (uint64_t)i * 7919 % 4000;
        m->is_stopped = i % 3 == 0 || i % 1000 == 0;
        loop_timer_start(f->loop, &m->timer, m->delay_ms);
        if (i % 3 == 0)
            loop_timer_stop(f->loop, &m->timer);
        if (!m->is_stopped)
            f->n++;
    }
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_uint_eq(f->n, 0);
    for (unsigned i = 0; i < n; i++) {
        ck_assert(all[i].is_stopped || all[i].timer.pprev == NULL);
        loop_timer_stop(f->loop, &all[i].timer);
    }
    fixture_free(f);
    free(all);
}
END_TEST

START_TEST(test_no_timer_no_wake_up)
{
    struct fixture *f = fixture_new();

    f->a = (struct loop_timer){.fn = on_stop, .arg = f};
    ck_assert_int_eq(event_base_get_num_events(loop_base(f->loop), EVENT_BASE_COUNT_ADDED), 0);
    loop_timer_start(f->loop, &f->a, 1000);
    ck_assert_int_eq(event_base_get_num_events(loop_base(f->loop), EVENT_BASE_COUNT_ADDED), 1);
    loop_timer_stop(f->loop, &f->a);
    ck_assert_int_eq(event_base_get_num_events(loop_base(f->loop), EVENT_BASE_COUNT_ADDED), 0);
    fixture_free(f);
}
END_TEST

static void
on_second(void *arg)
{
    struct fixture *f = arg;

    mark(f, '2');
    if (++f->n == 3)
        loop_stop(f->loop);
}

static void
on_first(void *arg)
{
    struct fixture *f = arg;

    mark(f, '1');
    loop_defer(f->loop, &f->first); /* again: in the next turn, which comes at once */
    loop_defer(f->loop, &f->second);
}

START_TEST(test_hooks)
{
    struct fixture *f = fixture_new();
    uint64_t start_ms = monotonic_ms();

    f->first = (struct loop_hook){.fn = on_first, .arg = f};
    f->second = (struct loop_hook){.fn = on_second, .arg = f};
    loop_defer(f->loop, &f->first);
    loop_defer(f->loop, &f->second);
    loop_defer(f->loop, &f->first); /* armed already */
    ck_assert_int_eq(loop_run(f->loop), 0);
    /* In turns 1, 3 and 5 the second hook is still to run when the first arms it: once is enough. */
    ck_assert_str_eq(f->order, "12112112");
    ck_assert_uint_lt(monotonic_ms() - start_ms, 5000);
    fixture_free(f);
}
END_TEST

static void
on_cancel_second(void *arg)
{
    struct fixture *f = arg;

    mark(f, 'c');
    loop_cancel(f->loop, &f->second);
    loop_stop(f->loop);
}

START_TEST(test_hooks_are_cancelled)
{
    struct fixture *f = fixture_new();

    f->first = (struct loop_hook){.fn = on_cancel_second, .arg = f};
    f->second = (struct loop_hook){.fn = on_second, .arg = f};
    loop_cancel(f->loop, &f->second);
    loop_defer(f->loop, &f->first);
    loop_defer(f->loop, &f->second);
    loop_cancel(f->loop, &f->second); /* the last one: the next goes after the first */
    loop_defer(f->loop, &f->second);
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_str_eq(f->order, "c"); /* cancelled while the hooks run */
    ck_assert(!f->second.is_armed);
    fixture_free(f);
}
END_TEST

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fixture *f = arg;
    char c;

    ck_assert_int_eq(read(fd, &c, 1), 1);
    mark(f, c);
    f->at_ms = loop_now_ms(f->loop);
    if (c == 'z')
        loop_stop(f->loop);
    else
        loop_defer(f->loop, &f->first);
}

static void
on_write_z(void *arg)
{
    struct fixture *f = arg;

    mark(f, 'h');
    ck_assert_uint_eq(loop_now_ms(f->loop), f->at_ms); /* the same turn, the same time */
    ck_assert_int_eq(write(f->pipe[1], "z", 1), 1);
}

START_TEST(test_descriptors_then_hooks)
{
    struct fixture *f = fixture_new();
    struct event *event;

    ck_assert_int_eq(pipe(f->pipe), 0);
    event = event_new(loop_base(f->loop), f->pipe[0], EV_READ | EV_PERSIST, on_readable, f);
    ck_assert_int_eq(event_add(event, NULL), 0);
    f->first = (struct loop_hook){.fn = on_write_z, .arg = f};
    ck_assert_int_eq(write(f->pipe[1], "a", 1), 1);
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_str_eq(f->order, "ahz");
    event_free(event);
    (void)close(f->pipe[0]);
    (void)close(f->pipe[1]);
    fixture_free(f);
}
END_TEST

START_TEST(test_clock)
{
    struct fixture *f = fixture_new();
    int64_t wall_ms = (int64_t)time(NULL) * 1000;
    uint64_t before_ms = monotonic_ms(), now_ms = loop_now_ms(f->loop);

    ck_assert_uint_ge(now_ms, before_ms);
    ck_assert_uint_le(now_ms, monotonic_ms());
    ck_assert_int_lt(llabs(loop_wall_ms(f->loop) - wall_ms), 60000);
    fixture_free(f);
}
END_TEST

static void
on_signal(int signal, void *arg)
{
    struct fixture *f = arg;

    mark(f, signal == SIGHUP ? 'h' : 't');
    if (signal == SIGTERM)
        loop_stop(f->loop);
    else
        (void)raise(SIGTERM);
}

START_TEST(test_signals)
{
    struct fixture *f = fixture_new();

    ck_assert_int_eq(loop_on_signal(f->loop, SIGHUP, on_signal, f), 0);
    ck_assert_int_eq(loop_on_signal(f->loop, SIGTERM, on_signal, f), 0);
    ck_assert_int_eq(loop_on_signal(f->loop, SIGTERM, on_signal, f), -EEXIST);
    (void)raise(SIGHUP);
    ck_assert_int_eq(loop_run(f->loop), 0);
    ck_assert_str_eq(f->order, "ht");
    fixture_free(f);
}
END_TEST

START_TEST(test_fdlimit)
{
    uint64_t limit = 0, again = 0;

    ck_assert_int_eq(fdlimit_raise(&limit), 0);
    ck_assert_uint_gt(limit, 0);
    ck_assert_int_eq(fdlimit_raise(&again), 0);
    ck_assert_uint_eq(limit, again);
    ck_assert_int_eq(fdlimit_raise(NULL), 0);
    ck_assert_ptr_null(loop_free(NULL));
}
END_TEST

SUITE_MAIN("loop", test_timers_are_never_early, test_timers_move_and_stop, test_a_timer_may_start_itself,
    test_a_timer_may_free_itself_and_others, test_many_timers, test_no_timer_no_wake_up, test_hooks,
    test_hooks_are_cancelled, test_descriptors_then_hooks, test_clock, test_signals, test_fdlimit)
