/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop. A turn is: wait for descriptors, run their callbacks and the due timers, then the hooks that
 * were armed meanwhile.
 *
 * The timer wheel is hierarchical: level L has 64 slots of 64^L ticks. A timer due at tick T stands at the
 * level of the highest six-bit digit in which T differs from the wheel's current tick C, in the slot that
 * the digit names. As T > C, that slot is always ahead of C's own digit, no slot is ever used twice round,
 * and whatever stands at a lower level is due sooner: so the next slot to look at is the first used one of
 * the lowest used level, found by one bit scan. When C reaches a slot, its timers are due (level 0) or move
 * to lower levels. Nothing ticks while no timer is due: libevent is asked to wake us at the next slot.
 */
#include "config.h"

#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define DIGIT_BITS 6u
#define N_SLOTS 64u
#define N_LEVELS 11u /* enough for every 64-bit tick */
#define MAX_DELAY_MS (UINT64_MAX / 4)

struct loop_signal {
    struct loop_signal *next;
    struct event *event;
    void (*fn)(int signal, void *arg);
    void *arg;
    int signal;
};

struct loop {
    struct event_base *base;
    bool is_running;
    bool is_stopping;

    bool is_clock_read; /* in this turn */
    uint64_t now_ms;
    int64_t wall_ms;

    struct loop_hook *armed, **armed_end; /* for the end of this turn */
    struct loop_hook *due;                /* being run now */

    struct event *wake;         /* at wake_tick; pending only while a timer is armed */
    uint64_t wake_tick;         /* 0: not pending */
    uint64_t tick;              /* the wheel's current tick; all armed timers are due later */
    size_t n_timers;            /* armed: on the wheel or in expired */
    bool is_firing;             /* in loop_on_wake(), which sets the next wake-up when it is done */
    struct loop_timer *expired; /* being fired now */
    uint64_t used[N_LEVELS];    /* a bit for each slot that holds a timer */
    struct loop_timer *slots[N_LEVELS * N_SLOTS];

    struct loop_signal *signals;
};

static void loop_on_wake(evutil_socket_t fd, short what, void *arg);

int
loop_new(struct loop **ret)
{
    struct event_config *config = event_config_new();
    struct loop *loop = calloc(1, sizeof *loop);

    if (config == NULL || loop == NULL)
        goto fail;
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) != 0)
        goto fail;
    loop->base = event_base_new_with_config(config);
    if (loop->base == NULL)
        goto fail;
    loop->wake = event_new(loop->base, -1, 0, loop_on_wake, loop);
    if (loop->wake == NULL)
        goto fail;
    loop->armed_end = &loop->armed;
    event_config_free(config);
    *ret = loop;
    return 0;
fail:
    if (config != NULL)
        event_config_free(config);
    loop_free(loop);
    return -ENOMEM;
}

struct loop *
loop_free(struct loop *loop)
{
    if (loop == NULL)
        return NULL;
    while (loop->signals != NULL) {
        struct loop_signal *s = loop->signals;

        loop->signals = s->next;
        event_free(s->event);
        free(s);
    }
    if (loop->wake != NULL)
        event_free(loop->wake);
    if (loop->base != NULL)
        event_base_free(loop->base);
    free(loop);
    return NULL;
}

struct event_base *
loop_base(struct loop *loop)
{
    return loop->base;
}

/* ---- clock ---- */

static void
loop_read_clock(struct loop *loop)
{
    struct timespec now;

    /* Neither can fail with these clocks and a good pointer. */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    loop->now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    loop->wall_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    loop->is_clock_read = loop->is_running; /* outside loop_run() there are no turns */
}

/* The first to ask in a turn has the clock read: libevent runs callbacks right after it has waited, so
 * there is no moment of ours between the two. The cached reading is no part of what const promises. */
static void
loop_need_clock(const struct loop *loop)
{
    if (!loop->is_clock_read)
        loop_read_clock((struct loop *)loop);
}

uint64_t
loop_now_ms(const struct loop *loop)
{
    loop_need_clock(loop);
    return loop->now_ms;
}

int64_t
loop_wall_ms(const struct loop *loop)
{
    loop_need_clock(loop);
    return loop->wall_ms;
}

/* ---- hooks ---- */

void
loop_defer(struct loop *loop, struct loop_hook *hook)
{
    if (hook->is_armed)
        return;
    hook->is_armed = true;
    hook->next = NULL;
    *loop->armed_end = hook;
    loop->armed_end = &hook->next;
}

/* Takes the hook out of a list; true if it was there. */
static bool
loop_unlink_hook(struct loop_hook **list, const struct loop_hook *hook)
{
    for (; *list != NULL; list = &(*list)->next) {
        if (*list == hook) {
            *list = hook->next;
            return true;
        }
    }
    return false;
}

void
loop_cancel(struct loop *loop, struct loop_hook *hook)
{
    if (!hook->is_armed)
        return;
    hook->is_armed = false;
    if (loop_unlink_hook(&loop->due, hook))
        return;
    (void)loop_unlink_hook(&loop->armed, hook);
    loop->armed_end = &loop->armed;
    while (*loop->armed_end != NULL)
        loop->armed_end = &(*loop->armed_end)->next;
}

static void
loop_run_hooks(struct loop *loop)
{
    loop->due = loop->armed;
    loop->armed = NULL;
    loop->armed_end = &loop->armed;
    while (loop->due != NULL) {
        struct loop_hook *hook = loop->due;

        loop->due = hook->next;
        hook->next = NULL;
        hook->is_armed = false;
        hook->fn(hook->arg);
    }
}

/* ---- timers ---- */

static inline uint64_t
loop_due_tick(const struct loop_timer *timer)
{
    return timer->due_ms / LOOP_TICK_MS + (timer->due_ms % LOOP_TICK_MS != 0);
}

static void
loop_link_timer(struct loop_timer **list, struct loop_timer *timer)
{
    timer->next = *list;
    timer->pprev = list;
    if (timer->next != NULL)
        timer->next->pprev = &timer->next;
    *list = timer;
}

static void
loop_unlink_timer(struct loop_timer *timer)
{
    *timer->pprev = timer->next;
    if (timer->next != NULL)
        timer->next->pprev = timer->pprev;
    timer->next = NULL;
    timer->pprev = NULL;
}

/* The timer's tick is later than the wheel's. */
static void
loop_place_timer(struct loop *loop, struct loop_timer *timer, uint64_t tick)
{
    unsigned level = (63u - (unsigned)__builtin_clzll(tick ^ loop->tick)) / DIGIT_BITS;
    unsigned digit = (unsigned)(tick >> level * DIGIT_BITS) & (N_SLOTS - 1);

    loop_link_timer(&loop->slots[level * N_SLOTS + digit], timer);
    loop->used[level] |= UINT64_C(1) << digit;
}

/* Finds the first slot in use: its tick and its index. False if there is none. */
static bool
loop_next_slot(const struct loop *loop, uint64_t *ret_tick, unsigned *ret_slot)
{
    for (unsigned level = 0; level < N_LEVELS; level++) {
        unsigned shift = level * DIGIT_BITS, digit;
        uint64_t above; /* the digits above this level, which are the wheel's */

        if (loop->used[level] == 0)
            continue;
        digit = (unsigned)__builtin_ctzll(loop->used[level]);
        above = shift + DIGIT_BITS >= 64 ? 0 : loop->tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        *ret_tick = above | (uint64_t)digit << shift;
        *ret_slot = level * N_SLOTS + digit;
        return true;
    }
    return false;
}

/* Has libevent wake us at this tick. */
static void
loop_wake_at(struct loop *loop, uint64_t tick)
{
    uint64_t now_ms = loop_now_ms(loop), due_ms = tick * LOOP_TICK_MS;
    uint64_t delay_ms = due_ms > now_ms ? due_ms - now_ms : 1;
    struct timeval tv;

    if (delay_ms > 3600000)
        delay_ms = 3600000; /* no harm in a look once an hour, and no overflow anywhere */
    tv.tv_sec = (time_t)(delay_ms / 1000);
    tv.tv_usec = (suseconds_t)(delay_ms % 1000 * 1000);
    loop->wake_tick = tick;
    if (event_add(loop->wake, &tv) != 0)
        abort(); /* libevent grew its heap and memory is gone: without timers nothing here is right */
}

static void
loop_wake_update(struct loop *loop)
{
    uint64_t tick;
    unsigned slot;

    if (!loop_next_slot(loop, &tick, &slot)) {
        (void)event_del(loop->wake);
        loop->wake_tick = 0;
        return;
    }
    if (loop->wake_tick != tick)
        loop_wake_at(loop, tick);
}

void
loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    uint64_t tick;

    if (timer->pprev != NULL)
        loop_timer_stop(loop, timer);
    timer->due_ms = loop_now_ms(loop) + (delay_ms > MAX_DELAY_MS ? MAX_DELAY_MS : delay_ms);
    if (loop->n_timers == 0 && loop->tick < loop->now_ms / LOOP_TICK_MS)
        loop->tick = loop->now_ms / LOOP_TICK_MS; /* nothing stands on the wheel: it may turn freely */
    tick = loop_due_tick(timer);
    if (tick <= loop->tick)
        tick = loop->tick + 1;
    loop_place_timer(loop, timer, tick);
    loop->n_timers++;
    if (!loop->is_firing && (loop->wake_tick == 0 || tick < loop->wake_tick))
        loop_wake_at(loop, tick);
}

void
loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    struct loop_timer **list = timer->pprev;

    if (list == NULL)
        return;
    loop_unlink_timer(timer);
    loop->n_timers--;
    if (list >= loop->slots && list < loop->slots + N_LEVELS * N_SLOTS && *list == NULL) {
        size_t slot = (size_t)(list - loop->slots);

        loop->used[slot / N_SLOTS] &= ~(UINT64_C(1) << slot % N_SLOTS);
    }
    /* A wake-up that is now too early is left to come: idle timers are moved often and fire seldom. */
    if (loop->n_timers == 0 && loop->wake_tick != 0) {
        (void)event_del(loop->wake);
        loop->wake_tick = 0;
    }
}

/* The wheel has come to this slot: each of its timers is due, or moves to a lower level. */
static void
loop_open_slot(struct loop *loop, unsigned slot)
{
    struct loop_timer *timers = loop->slots[slot];

    loop->slots[slot] = NULL;
    loop->used[slot / N_SLOTS] &= ~(UINT64_C(1) << slot % N_SLOTS);
    while (timers != NULL) {
        struct loop_timer *timer = timers;
        uint64_t tick = loop_due_tick(timer);

        timers = timer->next;
        if (tick <= loop->tick)
            loop_link_timer(&loop->expired, timer);
        else
            loop_place_timer(loop, timer, tick);
    }
}

static void
loop_fire_expired(struct loop *loop)
{
    while (loop->expired != NULL) {
        struct loop_timer *timer = loop->expired;

        loop_unlink_timer(timer);
        loop->n_timers--;
        timer->fn(timer->arg); /* it may be freed now */
    }
}

static void
loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    uint64_t now_tick = loop_now_ms(loop) / LOOP_TICK_MS, tick;
    unsigned slot;

    loop->wake_tick = 0;
    loop->is_firing = true;
    while (loop_next_slot(loop, &tick, &slot) && tick <= now_tick) {
        loop->tick = tick;
        loop_open_slot(loop, slot);
        loop_fire_expired(loop);
    }
    if (loop->tick < now_tick)
        loop->tick = now_tick;
    loop->is_firing = false;
    loop_wake_update(loop);
}

/* ---- signals ---- */

static void
loop_on_event_signal(evutil_socket_t fd, short what, void *arg)
{
    struct loop_signal *s = arg;

    s->fn(s->signal, s->arg);
}

int
loop_on_signal(struct loop *loop, int signal, void (*fn)(int signal, void *arg), void *arg)
{
    struct loop_signal *s;

    for (s = loop->signals; s != NULL; s = s->next) {
        if (s->signal == signal)
            return -EEXIST;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = (struct loop_signal){.fn = fn, .arg = arg, .signal = signal};
    s->event = event_new(loop->base, signal, EV_SIGNAL | EV_PERSIST, loop_on_event_signal, s);
    if (s->event == NULL || event_add(s->event, NULL) != 0) {
        if (s->event != NULL)
            event_free(s->event);
        free(s);
        return -EINVAL;
    }
    s->next = loop->signals;
    loop->signals = s;
    return 0;
}

/* ---- turns ---- */

int
loop_run(struct loop *loop)
{
    int r = 0;

    loop->is_running = true;
    while (!loop->is_stopping) {
        int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;

        if (loop->armed != NULL)
            flags |= EVLOOP_NONBLOCK;
        loop->is_clock_read = false;
        if (event_base_loop(loop->base, flags) < 0) {
            r = -EIO;
            break;
        }
        loop_run_hooks(loop);
    }
    loop->is_stopping = false;
    loop->is_running = false;
    loop->is_clock_read = false;
    return r;
}

void
loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}
