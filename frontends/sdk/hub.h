/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub: which sessions of this process want which filters, and the fan-out to them. It knows no socket and
 * no link: frames for the broker go to a sink, frames from the broker come by hub_on_frame() from the uplink.
 *
 *     filter    one for each filter text that anybody here subscribed to; asked of the broker once
 *     sub       one subscription of one session: an id and some filters
 *     group     the subs of one filter with the same encoder and the same id: a message is encoded once for
 * them
 *
 * A session with exactly one sub of one filter ("single") gets its group's whole block once at the end of the
 * turn; the others get each message when it is handled, so that all that a client gets is in the order of
 * seq.
 *
 * The cursor in ANSWER_SUBSCRIBED is the position that has been reached before the messages that follow it. A
 * client that keeps the newest cursor it saw, of answers and of messages, never skips anything.
 */
#ifndef SDK_HUB_H
#define SDK_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontends/sdk/position.h"
#include "frontends/sdk/request.h"
#include "wire/frame.h"

struct frontend;
struct hub;
struct reply_fault;
struct session;

/* Where frames for the broker go. Used only between hub_on_attached() and hub_on_down(). */
struct hub_sink {
    struct buf *(*begin)(void *arg); /* where to put the frames of one group */
    void (*commit)(void *arg);
    /* So much waits for the transport that what can wait should; hub_pump() follows. May be NULL: never. */
    bool (*is_full)(void *arg);
    void *arg;
};

int hub_new(struct frontend *fe, const struct hub_sink *sink, struct hub **ret);
struct hub *hub_free(struct hub *hub); /* all sessions have ended; NULL is fine */

/* ---- For sessions. ---- */

/* What the request says was checked but for filters and limits; everything is answered by the session's
 * on_answer(). */
void hub_subscribe(struct hub *hub, struct session *s, const struct request *r, struct position since);
void hub_unsubscribe(struct hub *hub, struct session *s, struct slice id);
void hub_list(struct hub *hub, struct session *s, const struct request *r);
/* SETTLE and REPLY, of work that this session or another was given. */
void hub_settle(struct hub *hub, struct session *s, const struct request *r);
void hub_reply(struct hub *hub, struct session *s, const struct request *r, const struct reply_fault *fault);
/* The session ends: nothing of it is left. */
void hub_leave(struct hub *hub, struct session *s);
/* Deliveries of one group from one seq on were thrown away (struct block_mark). */
struct hub_hole {
    uint32_t group;
    uint64_t epoch, seq;
};
/* The holes stand in the order of the queue. The subscriptions that they are in go on from there, from what
 * is kept, when the client has read its queue. 0 or -ENOMEM: end it. */
int hub_set_back(struct hub *hub, struct session *s, const struct hub_hole *holes, size_t n);
/* The name of a topic in a mark of a block; empty if it is not known any more. */
struct slice hub_topic_name(const struct hub *hub, uint32_t handle, uint32_t tag);

/* Gives to single members what this turn brought. At the end of each turn. */
void hub_flush(struct hub *hub);
/* After that has been written: goes on with replays whose clients have read what they had. */
void hub_after_writes(struct hub *hub);

/* Subscriptions, shares of work among them. */
size_t hub_n_subs(const struct hub *hub);
size_t hub_n_filters(const struct hub *hub);
/* What was asked of the broker and has no answer yet; shares of work; connections that are there, on each
 * topic. */
size_t hub_n_asks(const struct hub *hub);
size_t hub_n_takers(const struct hub *hub);
size_t hub_n_present(const struct hub *hub);
/* Where the stream of this frontend is. */
struct position hub_position(const struct hub *hub);

/* ---- For the uplink. ---- */

/* The link stands: the sink works, and the hub lists its filters. RESUME follows. */
void hub_on_attached(struct hub *hub);
/* RESUME was sent, or the link's queue has room again: what waited for that goes. */
void hub_pump(struct hub *hub);
/* The end of the link: handles and requests under way are void. */
void hub_on_down(struct hub *hub);

/* The link is at `seq` without holes (the position of a batch). */
void hub_on_position(struct hub *hub, uint64_t seq);

/* A frame from the broker. 0; -ENOTSUP: not one for the hub; -EPROTO: it makes no sense or proves that
 * something was missed, and was logged: drop the link and resume. */
int hub_on_frame(struct hub *hub, const struct frame *f);

#endif
