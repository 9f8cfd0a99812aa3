/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of a process: libevent's base, plus what libevent lacks: hooks that run at the end of
 * each turn (where batches and blocks are written), one clock reading per turn, and one shared timer
 * wheel. Modules use plain libevent `struct event`s on loop_base() for their descriptors.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct loop;

/* One hook; embedded in its user. It runs at the end of a turn in which loop_defer() was called for it,
 * once, and may be armed again from inside (it then runs in the next turn, which comes at once). */
struct loop_hook {
    void (*fn)(void *arg);
    void *arg;
    struct loop_hook *next; /* the loop's */
    bool is_armed;          /* the loop's */
};

/* A timer on the wheel; embedded in its user, zero-initialised apart from fn and arg. Resolution is
 * LOOP_TICK_MS; arming and stopping are O(1), so idle timers of 10,000 connections cost nothing. */
#define LOOP_TICK_MS 50
struct loop_timer {
    void (*fn)(void *arg);
    void *arg;
    struct loop_timer *next, **pprev; /* the wheel's; pprev is NULL when not armed */
    uint64_t due_ms;
};

int loop_new(struct loop **ret);
struct loop *loop_free(struct loop *loop); /* NULL is fine; returns NULL */
struct event_base *loop_base(struct loop *loop);

/* Runs until loop_stop(). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

void loop_defer(struct loop *loop, struct loop_hook *hook);
void loop_cancel(struct loop *loop, struct loop_hook *hook);

/* Milliseconds of CLOCK_MONOTONIC, read once per turn; and of the wall clock, likewise. */
uint64_t loop_now_ms(const struct loop *loop);
int64_t loop_wall_ms(const struct loop *loop);

/* Fires once, not before delay_ms have passed; arming an armed timer moves it. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);

/* Calls fn in the loop for SIGTERM, SIGINT, SIGHUP, ... Each signal once. */
int loop_on_signal(struct loop *loop, int signal, void (*fn)(int signal, void *arg), void *arg);

#endif
