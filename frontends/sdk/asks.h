/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients asked of the broker and has not been answered: requests and their results, what became of
 * work, questions about queues and presence. Of the hub; the numbers are the `req` of the frames.
 *
 *     held     the link is away, or its queue is full: kept until it can be sent, within limits
 *     sent     on this link
 *
 * When the link is lost, what may be done twice is sent again on the next one; the rest is answered once, by
 * an error that says that nobody knows whether it was done. A request that has a time is answered within it,
 * whatever happens.
 */
#ifndef SDK_ASKS_H
#define SDK_ASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "frontends/sdk/numbers.h"
#include "frontends/sdk/request.h"

struct hub;
struct session;

struct asks {
    struct numbers numbers;
    struct list held, sent; /* of struct ask */
    size_t n, n_held;       /* of all; of held */
    size_t n_bytes;         /* kept, of all of them */
    struct buf scratch;
};

void asks_init(struct asks *asks);
void asks_fini(struct asks *asks);

/* Everything is answered by the session's on_answer(). What the request says was checked. */
void asks_request(struct hub *hub, struct session *s, const struct request *r);  /* ASK */
void asks_result(struct hub *hub, struct session *s, const struct request *r);   /* RESULT */
void asks_withdraw(struct hub *hub, struct session *s, const struct request *r); /* WITHDRAW */
/* `consumer` 0: somebody who has no share of the work. A lease that it has is not counted against its limit.
 */
void asks_settle(struct hub *hub, struct session *s, const struct request *r, uint64_t consumer);
/* Not NULL: the reply cannot be passed on. The asker is told so in its place, and the responder when that is
 * settled. */
struct reply_fault {
    enum error_code code;
    const char *text;    /* of it, to the responder; empty: the code's own sentence */
    const char *failure; /* to the asker, as the message of responder_failed */
};
void asks_reply(struct hub *hub, struct session *s, const struct request *r, uint64_t consumer,
    const struct reply_fault *fault);
void asks_queues(struct hub *hub, struct session *s, const struct request *r);
void asks_peek(struct hub *hub, struct session *s, const struct request *r, uint64_t seq);
void asks_purge(struct hub *hub, struct session *s, const struct request *r); /* and REDRIVE */
void asks_who(struct hub *hub, struct session *s, const struct request *r);

void asks_leave(struct hub *hub, struct session *s);
/* The link stands and RESUME was sent; or its queue has room again. */
void asks_pump(struct hub *hub);
void asks_on_down(struct hub *hub);

struct frame;
int asks_on_accepted(struct hub *hub, const struct frame *frame);
int asks_on_replied(struct hub *hub, const struct frame *frame);
int asks_on_settled(struct hub *hub, const struct frame *frame);
int asks_on_queue(struct hub *hub, const struct frame *frame);
int asks_on_queues_end(struct hub *hub, const struct frame *frame);
int asks_on_peeked(struct hub *hub, const struct frame *frame);
int asks_on_peek_end(struct hub *hub, const struct frame *frame);
int asks_on_present(struct hub *hub, const struct frame *frame);
int asks_on_who_end(struct hub *hub, const struct frame *frame);

#endif
