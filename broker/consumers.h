/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumers: clients that take work, each known by its frontend's number on its link. This module knows which
 * there are, how much each takes at once, and when one may be given something; what they are given is the
 * business of their mode, by its struct consumer_ops: members of queues (broker/queue.h) and responders
 * (broker/responders.h).
 *
 *     CONSUME -> start() -> consumer_confirm() -> on_room(): consumer_note_out() ... consumer_note_back()
 *                       \-> consumer_refuse()                                     -> on_gone()
 */
#ifndef BROKER_CONSUMERS_H
#define BROKER_CONSUMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "wire/errors.h"

struct frame;
struct peer;

enum consumer_mode { CONSUMER_QUEUE = 0, CONSUMER_RESPONDER = 1, CONSUMER_MODES = 2 };

/* More makes no difference. */
#define CONSUMER_CREDIT_MAX 65535u
/* Of a lease or a call; what is longer is none of ours. */
#define LEASE_MAX_BYTES 64u

enum consumer_end {
    CONSUMER_LEFT, /* UNCONSUME, or the broker ended it: nobody holds what it had */
    CONSUMER_LOST, /* its link is gone; its frontend may come back and HOLD what it had */
};

struct consumer {
    uint64_t number; /* first: it is the key */
    struct peer *peer;
    const struct consumer_ops *ops;
    struct list in_peer;
    uint32_t credit; /* how much it takes at once */
    uint32_t n_out;  /* how much it has: at most its credit, more after a HOLD */
    uint32_t weight;
    bool is_confirmed;
    bool outlived;    /* by its leases: flag 1 */
    struct list out;  /* what it has: the mode's */
    struct list kept; /* of a responder: its asynchronous requests, by queue */
    void *work;       /* the mode's, from start() to on_gone() */
    uint16_t n_topic, n_group;
    char text[];
};

static inline struct slice
consumer_topic(const struct consumer *c)
{
    return slice_of(c->text, c->n_topic);
}

static inline struct slice
consumer_group(const struct consumer *c)
{
    return slice_of(c->text + c->n_topic, c->n_group);
}

struct consumer_ops {
    /* A CONSUME came that is well-formed: the topic is one (of a responder: a filter), the group is one or
     * empty, the link has room for it. It calls consumer_confirm() or consumer_refuse(), now or later. epoch
     * and seq as in the frame. 0, or negative errno: the link is dropped, on_gone() is called. */
    int (*start)(struct consumer *c, uint64_t epoch, uint64_t seq);
    /* It has room (again): may be given work while consumer_has_room(), within this call or later. Also
     * called when it had room before. */
    void (*on_room)(struct consumer *c);
    /* Before RESUME of its link: it has this lease or call from before. 0 or negative errno: the link is
     * dropped. */
    int (*on_hold)(struct consumer *c, struct slice lease);
    /* After RESUME, before the first on_room(): there are no more HOLDs on this link. May be NULL. */
    void (*on_resumed)(struct peer *peer);
    /* The end of one that was started; it is freed after. */
    void (*on_gone)(struct consumer *c, enum consumer_end why);
};

/* Puts CONSUMING; on_room() may be called from inside. */
void consumer_confirm(struct consumer *c, uint64_t seq);
/* Puts UNCONSUMABLE and frees it, without on_gone(): at any time, also long after it was confirmed,
 * but from inside on_room() and on_gone() only that of the same consumer. message
 * NULL: the code's own sentence. */
void consumer_refuse(struct consumer *c, enum error_code code, const char *message);

/* May it be given one more now? Not before RESUME, not without credit, not while its link does not read. If
 * not, on_room() tells when it may. */
bool consumer_has_room(const struct consumer *c);
void consumer_note_out(struct consumer *c);
/* It has settled one (or that is over): on_room() is called from inside if it has room. */
void consumer_note_back(struct consumer *c);

/* By number; NULL if there is none. */
struct consumer *consumer_find(const struct peer *peer, uint64_t number);

int consumers_on_consume(struct peer *peer, const struct frame *f);
int consumers_on_unconsume(struct peer *peer, const struct frame *f);
int consumers_on_credit(struct peer *peer, const struct frame *f);
int consumers_on_hold(struct peer *peer, const struct frame *f);

/* A peer's beginning; its RESUME; its link takes frames again after it was full; its end, and that of its
 * memory. */
void consumers_init_peer(struct peer *peer);
void consumers_on_resume(struct peer *peer);
void consumers_go_on(struct peer *peer);
void consumers_drop_peer(struct peer *peer);
void consumers_fini_peer(struct peer *peer);

#endif
