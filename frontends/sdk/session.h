/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client as the bus sees it: its subscriptions, its publishes under way, its limits. A transport embeds
 * one in its connection (or in one held poll), hands it requests, and gets answers and deliveries back
 * through ops.
 */
#ifndef SDK_SESSION_H
#define SDK_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "frontends/sdk/encoder.h"
#include "frontends/sdk/request.h"

struct block;
struct frontend;
struct session;

struct session_ops {
    /* Deliveries, encoded by the session's encoder, in the order of seq. A stream transport passes them to
     * conn_send(). */
    void (*on_deliver)(struct session *s, struct block *block, uint32_t at, uint32_t n);
    /* An answer to a request, or an unasked one. A stream transport usually calls frontend_send_answer(). */
    void (*on_answer)(struct session *s, const struct answer *answer);
    /* Publishing is possible again after session_request() said -EAGAIN: conn_resume(). */
    void (*on_unblocked)(struct session *s);
    /* How many bytes wait for this client: a stream transport gives conn's out_bytes. Replays and what was
     * dropped are sent as this shrinks. May be NULL: nothing ever waits. */
    size_t (*queued)(struct session *s);
};

/* What a session has of requests, queues and presence; an idle client does not pay for it. */
struct party {
    struct list asks;                 /* asks.h: requests to the broker without an answer yet */
    struct list takers;               /* takers.h: its shares of work */
    struct list attendances, watches; /* members.h */
    uint32_t n_asks;                  /* those that count in limits.requests_per_client */
    uint32_t n_lists;                 /* those that are answered by many lines */
    uint32_t n_takers;
    uint64_t n_parked_bytes; /* in limits.work_bytes */
    uint32_t n_presences;    /* in limits.presences_per_client */
};

struct session {
    const struct session_ops *ops;
    const struct encoder *encoder;
    struct frontend *fe;
    struct list subs;      /* hub's */
    struct list publishes; /* uplink's: publishes that wait for an answer */
    struct list in_blocked;
    struct list in_slow; /* frontend's slow_sessions */
    uint32_t n_subs;
    uint32_t n_filters; /* of all its subscriptions, each with its filter_weight() and its id's weight */
    uint16_t id_max;    /* of a subscription's id: REQUEST_ID_MAX, if the transport does not raise it */
    uint8_t n_lists;    /* REQUEST_TOPICS without an answer yet */
    bool is_blocked : 1;
    bool is_slow : 1;   /* messages were dropped since it last was told */
    bool is_single : 1; /* hub's: exactly one subscription, live, of one filter */
    uint64_t n_dropped;
    struct party *party; /* NULL for one that only publishes and subscribes */
};

void session_init(
    struct session *s, struct frontend *fe, const struct encoder *encoder, const struct session_ops *ops);
/* Ends its subscriptions, what it asked for and its shares of work; its publishes, replies and acks go on,
 * unanswered. */
void session_fini(struct session *s);

/* The message of ERROR_TOPIC_INVALID or ERROR_FILTER_INVALID; wrong as topic_name_error() or filter_error()
 * says it. */
#define SESSION_NAME_ERROR_MAX 256
void session_name_error(char ret[SESSION_NAME_ERROR_MAX], enum error_code code, const char *wrong);

/* Does what is asked; the answer comes by on_answer(), perhaps before this returns, perhaps much later. 0:
 * taken or answered. -EAGAIN (only for PUB): the hold buffer is full; keep the bytes, pause the connection,
 * and give the same request again after on_unblocked(). */
int session_request(struct session *s, const struct request *request);

/* It is given things unasked: it has subscriptions, or takes work. */
bool session_is_listening(const struct session *s);
/* Nothing more comes from this client, though it may still read: what it was given to do goes to others, for
 * it can neither answer a request nor settle a lease any more. */
void session_end_input(struct session *s);
/* Answers are still to come, other than to publishes. */
bool session_is_asking(const struct session *s);
/* Made with the first call; NULL if memory ran out. */
struct party *session_party(struct session *s);

/* What conn's on_overflow of a stream transport calls: each message that waits is treated as its topic's
 * policy says. Counts; tells the client later if session_tell_dropped() is not called before. */
struct conn;
enum conn_room;
enum conn_room session_overflow(struct session *s, struct conn *c);

/* The client is to be told of n more deliveries that it does not get. */
void session_note_dropped(struct session *s, uint64_t n);

/* Sends it now: from conn's on_dropped, so that the client reads it where the hole is. */
void session_tell_dropped(struct session *s);

#endif
