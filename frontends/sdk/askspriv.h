/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of asks.h share:
 *
 *     asks.c         life: held, sent, sent again, answered
 *     askops.c       requests to frames
 *     askanswers.c   frames to answers
 */
#ifndef SDK_ASKSPRIV_H
#define SDK_ASKSPRIV_H

#include "base/loop.h"
#include "frontends/sdk/asks.h"
#include "frontends/sdk/hubpriv.h"

struct ask {
    struct hub *hub;
    uint64_t number;
    struct session *session; /* NULL: it left, and this goes on */
    struct list in_session, in_queue;
    struct loop_timer timer; /* armed if it has a time */
    uint64_t due_ms;
    enum request_op op;
    enum settle_outcome outcome;
    bool is_async, is_counted, is_sent;
    bool is_once; /* the broker sees that it was asked before */
    uint8_t n_id, n_token;
    const struct reply_fault *fault; /* what its responder is told once it is settled; NULL: it is done */
    uint32_t n_frame;
    uint8_t *frame;  /* packed, while it may have to be sent (again) */
    uint8_t bytes[]; /* id, token */
};

static inline struct slice
ask_id(const struct ask *ask)
{
    return slice_of(ask->bytes, ask->n_id);
}

/* The lease, the call, the name of a request. */
static inline struct slice
ask_token(const struct ask *ask)
{
    return slice_of(ask->bytes + ask->n_id, ask->n_token);
}

/* NULL: it was answered by an error. is_counted: in limits.requests_per_client. */
struct ask *ask_new(struct hub *hub, struct session *s, const struct request *r, bool is_counted);
/* Sends it, or holds it, or answers that neither can be. time_ms: how long the answer may take, 0 for as long
 * as it does. The frame is of this ask's number. */
void ask_start(struct ask *ask, const struct frame *f, uint64_t time_ms);
/* The last answer, to whoever still waits; id, of and so on are filled in. Frees it. */
void ask_end(struct ask *ask, struct answer *answer);
void ask_fail(struct ask *ask, enum error_code code, struct slice text);
/* One of several answers. False if the ask is gone after. */
bool ask_tell(struct ask *ask, struct answer *answer);

#endif
