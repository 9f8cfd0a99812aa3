/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of takers.h share:
 *
 *     takers.c   consumers, and what they were given
 *     parked.c   what waits for clients that do not read
 */
#ifndef SDK_TAKERSPRIV_H
#define SDK_TAKERSPRIV_H

#include "frontends/sdk/hubpriv.h"
#include "frontends/sdk/takers.h"

/* Given to a client, and not known to be settled. */
struct work {
    struct taker *taker;
    struct list in_taker;
    uint8_t n_token;
    uint8_t token[];
};

/* A DISPATCH or a CALL. */
struct parked {
    struct list in_taker;
    uint64_t at_ms; /* when it came */
    uint32_t n;
    uint8_t frame[];
};

struct taker {
    struct hub *hub;
    struct session *session;
    uint64_t number;
    struct list in_session, in_all;
    struct list works; /* the oldest first */
    uint32_t n_works, credit;
    struct list parked; /* of struct parked: given, but not told yet, for the client does not read */
    struct list in_parked;
    struct position since;
    bool is_responder, outlives_session;
    bool is_answered; /* the client knows that it is one */
    uint16_t n_id, n_topic;
    uint8_t n_group;
    uint8_t bytes[]; /* id, topic, group */
};

static inline struct slice
taker_id(const struct taker *t)
{
    return slice_of(t->bytes, t->n_id);
}

static inline struct slice
taker_topic(const struct taker *t)
{
    return slice_of(t->bytes + t->n_id, t->n_topic);
}

static inline struct slice
taker_group(const struct taker *t)
{
    return slice_of(t->bytes + t->n_id + t->n_topic, t->n_group);
}

/* ---- takers.c ---- */

/* Tells the client of a DISPATCH or a CALL that came so long ago. */
void taker_tell(struct taker *t, const struct frame *frame, uint64_t ago_ms);
/* Its end, for a reason that the client is told. */
void taker_fail(struct taker *t, enum error_code code, struct slice text);

/* ---- parked.c ---- */

/* What comes for it is to wait. */
bool taker_is_behind(const struct taker *t);
/* Keeps it for later. 0 or -ENOMEM. The taker may be gone after, if it keeps too much. */
int taker_park(struct taker *t, const struct frame *frame);
void taker_drop_parked(struct taker *t);

#endif
