/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action Cable's pings: each connection one every few seconds, spread over slots so that a tenth of a second
 * has only its share of them. One timer, and one encoded frame for each second, whoever gets it. While there
 * are no such connections nothing runs.
 */
#ifndef FRONTENDS_WS_WSCABLEPING_H
#define FRONTENDS_WS_WSCABLEPING_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"

struct block;

#define WSCABLE_PING_SLOTS 20u

struct wscable_pings {
    struct loop *loop;
    /* Called for each member whose turn it is; it may leave, and no other. */
    void (*fn)(struct list *member);
    struct loop_timer timer; /* armed while there are members */
    struct list slots[WSCABLE_PING_SLOTS];
    unsigned at;     /* the slot whose turn is next */
    unsigned next;   /* where the next member goes */
    size_t n;        /* members */
    uint64_t due_ms; /* when it is */
    uint64_t interval_ms;
    struct block *block; /* the ping of `second` */
    uint64_t second;
};

void wscable_pings_init(
    struct wscable_pings *p, struct loop *loop, uint64_t interval_ms, void (*fn)(struct list *member));
void wscable_pings_fini(struct wscable_pings *p);
void wscable_pings_set_interval(struct wscable_pings *p, uint64_t interval_ms);
void wscable_pings_join(struct wscable_pings *p, struct list *member);
/* Also of one that is no member. */
void wscable_pings_leave(struct wscable_pings *p, struct list *member);
/* A whole frame with the time of now, borrowed until the next call; NULL without memory. */
struct block *wscable_pings_block(struct wscable_pings *p);

#endif
