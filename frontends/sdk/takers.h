/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares of work that clients take: members of the groups of queues, and responders to requests. Of the hub.
 * To the client each is a subscription with an id, beside those of sub.c; to the broker a consumer, listed
 * again on each new link with the leases and calls that it holds.
 *
 * What a client was given and has not settled is remembered by its token until the broker has said that it is
 * settled; nobody else's reply to a call is taken. How much that is at once, its prefetch says.
 */
#ifndef SDK_TAKERS_H
#define SDK_TAKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/slice.h"
#include "base/table.h"
#include "frontends/sdk/numbers.h"
#include "frontends/sdk/position.h"
#include "frontends/sdk/request.h"

/* How much at once, if a client does not say, and at most. */
#define TAKERS_PREFETCH 16u
#define TAKERS_PREFETCH_MAX 1000u

struct frame;
struct hub;
struct session;
struct taker;

struct takers {
    struct numbers numbers;
    struct list all;    /* of struct taker */
    struct table works; /* of struct work, by token */
    struct list parked; /* of struct taker: what waits for its client */
    struct loop_timer parked_timer;
    size_t n;
};

void takers_init(struct hub *hub);
void takers_fini(struct hub *hub);
/* Those who read again are given what waits for them. */
void takers_poll_parked(struct hub *hub);

/* A SUB with the role of a consumer or a responder, whose names, prefetch and id were checked and whose id is
 * not in use. */
void takers_subscribe(struct hub *hub, struct session *s, const struct request *r, struct position since);
bool takers_has(const struct session *s, struct slice id);
/* False: there is none with that id. */
bool takers_unsubscribe(struct hub *hub, struct session *s, struct slice id);
void takers_leave(struct hub *hub, struct session *s);

/* The consumer of this session that has been given this; 0: none. */
uint64_t takers_holder(const struct hub *hub, const struct session *s, struct slice token);
/* The broker has settled it. */
void takers_forget(struct hub *hub, struct slice token);
struct taker *takers_find(const struct hub *hub, uint64_t number);

/* The link stands, RESUME follows. */
void takers_list(struct hub *hub);

int takers_on_consuming(struct hub *hub, const struct frame *frame);
int takers_on_unconsumable(struct hub *hub, const struct frame *frame);
int takers_on_dispatch(struct hub *hub, const struct frame *frame);
int takers_on_call(struct hub *hub, const struct frame *frame);

#endif
