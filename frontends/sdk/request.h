/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client asks and what it is answered, in no protocol's words. A dialect makes a struct request from
 * bytes and bytes from a struct answer; session.c does what is asked. Everything in them is borrowed for the
 * call.
 */
#ifndef SDK_REQUEST_H
#define SDK_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "frontends/sdk/position.h"
#include "wire/errors.h"
#include "wire/frame.h"

/* An id is the client's own, kept and given back as the raw token that it sent (JSON: a number or a quoted
 * string). */
#define REQUEST_ID_MAX 64
/* A dialect whose subscriptions have longer names asks for more (session.id_max); never more than this. */
#define REQUEST_SUB_ID_MAX (16u * 1024)
#define REQUEST_TIME_MESSAGES 1000u
/* One subscription may name several filters: they share one order and one cursor. */
#define REQUEST_FILTERS_MAX 64

enum request_op {
    REQUEST_HELLO, /* who are you, what are your limits */
    REQUEST_SUB,
    REQUEST_UNSUB,
    REQUEST_PUB,
    REQUEST_PING,
    REQUEST_TOPICS, /* list */
    /* Request and reply. */
    REQUEST_ASK,      /* "request" */
    REQUEST_RESULT,   /* of an asynchronous one */
    REQUEST_WITHDRAW, /* "cancel": likewise */
    REQUEST_REPLY,    /* a responder's */
    /* Queues. */
    REQUEST_SETTLE, /* "ack", "nack", "extend" */
    REQUEST_QUEUES, /* list */
    REQUEST_PEEK,
    REQUEST_PURGE,
    REQUEST_REDRIVE,
    /* Presence. */
    REQUEST_WHO,  /* "presence": who is there */
    REQUEST_JOIN, /* without a subscription of its own: dialects that part the two */
    REQUEST_LEAVE,
};

/* What a SUB takes part in beside getting messages. */
enum request_role {
    ROLE_SUBSCRIBER,
    ROLE_CONSUMER,  /* takes its share of a queue: filters[0] is a topic */
    ROLE_RESPONDER, /* answers requests on filters[0] */
};

/* As in the SETTLE frame. */
enum settle_outcome { SETTLE_DONE, SETTLE_RETRY, SETTLE_EXTEND, SETTLE_DEAD };

enum request_from { FROM_LIVE, FROM_SINCE, FROM_LAST, FROM_TIME };

struct request {
    enum request_op op;
    struct slice id; /* empty: none; of SUB and UNSUB it names the subscription */

    /* SUB */
    const struct slice *filters;
    size_t n_filters;
    enum request_from from;
    struct slice since; /* FROM_SINCE, also of PEEK (after it): a cursor, not yet parsed */
    uint64_t last;      /* FROM_LAST: messages of each topic */
    uint64_t since_ms;  /* FROM_TIME: in milliseconds since 1970; as far as it is kept, and at most
                         * REQUEST_TIME_MESSAGES of each topic */
    bool tells_live;    /* ANSWER_LIVE is wanted */
    bool wants_latest;  /* the broker is asked: what others were told of may be on its way to this process */

    enum request_role role;
    struct slice group;    /* CONSUMER, RESPONDER; also QUEUES (after), PEEK, PURGE, REDRIVE */
    uint32_t prefetch;     /* CONSUMER, RESPONDER: so much at once; 0: the usual */
    bool outlives_session; /* CONSUMER: its leases do */
    bool wants_presence;   /* SUBSCRIBER: who is there on its filters, which are topics, and events */
    struct slice member;   /* and it is there itself as this one; empty: only looks. Also JOIN, LEAVE */
    struct slice info;     /* of the member: JSON, or empty. Also JOIN */

    /* PUB, ASK, REPLY */
    struct slice topic; /* also of PEEK, PURGE, REDRIVE, WHO, JOIN, LEAVE */
    enum message_kind kind;
    bool is_retain;
    bool is_whisper; /* PUB: the topic is one of WHISPER_PREFIX, which else nobody publishes to */
    struct slice type, headers, key, body; /* as in struct message */
    struct slice once;                     /* idempotency key; empty: `key` may serve as one */
    uint64_t ttl_ms, delay_ms;             /* PUB; delay_ms also of SETTLE_RETRY */

    /* ASK, RESULT, REPLY, WITHDRAW, SETTLE */
    uint64_t timeout_ms; /* ASK: 0: the usual; RESULT: how long to wait for it */
    bool is_async;       /* ASK */
    struct slice token;  /* the call, the lease, or the id of an asynchronous request */
    struct slice
        failure; /* REPLY: not empty: why there is no answer. SETTLE_RETRY, SETTLE_DEAD: the reason */
    enum settle_outcome outcome;
    bool drops_group; /* PURGE: the group goes, too */

    /* TOPICS, QUEUES: filters[0]; WHO */
    struct slice after;
    uint64_t limit; /* also of PEEK, REDRIVE: 0: the usual; of REDRIVE: all */
};

enum answer_type {
    ANSWER_WELCOME,    /* to HELLO: position, text: the frontend's name, count: limits.message_bytes */
    ANSWER_SUBSCRIBED, /* state, position, gaps */
    ANSWER_UNSUBSCRIBED,
    ANSWER_PUBLISHED, /* position */
    ANSWER_PONG,
    ANSWER_TOPIC,      /* one line of a list: topic, position (last), n_kept, n_bytes, n_links */
    ANSWER_TOPICS_END, /* count is 1 if there are more */
    ANSWER_SCHEDULED,  /* to a PUB with a delay: time_ms, when it will be published */
    ANSWER_REPLY,      /* to ASK and RESULT: message (kind, type, headers, body) */
    ANSWER_ACCEPTED,   /* to an asynchronous ASK: token, time_ms: when it is given up */
    ANSWER_DONE,  /* to WITHDRAW, REPLY, SETTLE, PURGE, REDRIVE, JOIN, LEAVE: of (the request's op), outcome,
                     count */
    ANSWER_QUEUE, /* one line of a list: queue */
    ANSWER_QUEUES_END, /* count is 1 if there are more */
    ANSWER_PEEKED,     /* one line: message, queue_state, n_deliveries, time_ms: until when */
    ANSWER_PEEK_END,   /* count is 1 if there are more */
    ANSWER_PRESENT, /* one line: token (the member), body (its info), n_links: connections, time_ms: since */
    ANSWER_WHO_END, /* n_kept: members in all, count is 1 if there are more, presence, position */
    ANSWER_WORK,    /* unasked, of a consumer: message, token (the lease), n_deliveries, time_ms: how long the
                       lease is */
    ANSWER_CALL,    /* unasked, of a responder: message, token (the call), n_deliveries, time_ms: how long one
                       waits */
    ANSWER_ERROR,   /* code, text; of and token if it was a SETTLE or a REPLY */
    ANSWER_LIVE,    /* of a SUB with tells_live: all that it asked for was delivered, what follows is live */
    ANSWER_STATE,   /* unasked, of one subscription: state, position, gaps: what happened to its stream */
    ANSWER_DROPPED, /* unasked: count messages of topic were dropped because this client reads too slowly */
    ANSWER_CLOSING, /* the connection is about to be closed by us: code, text */
};

/* What a queue holds, as in the QUEUE frame. */
struct queue_figures {
    struct slice topic, group;
    uint64_t n_ready, n_leased, n_delayed, n_done, n_dead, n_lost, oldest_ms, n_consumers;
};

struct message;

struct answer {
    enum answer_type type;
    struct slice id; /* the request's, or the subscription's */
    enum recover_state state;
    struct position position;
    const struct slice
        *gaps; /* names of topics of which messages are missing; an empty name: of unknown ones */
    size_t n_gaps;
    enum error_code code;
    struct slice text; /* of an error: what was wrong and what to do; empty: the code's own sentence */
    struct slice topic;
    uint64_t count, n_kept, n_bytes, n_links;
    enum request_op of;
    enum settle_outcome outcome;
    const struct message *message;
    struct slice token, body;
    uint64_t n_deliveries, time_ms;
    unsigned queue_state;        /* as in the PEEKED frame */
    enum presence_mode presence; /* of WHO_END */
    const struct queue_figures *queue;
};

/* Where a decoder puts what it had to unescape, and the filters. One for each frontend, reset for each
 * request. */
struct request_scratch {
    struct buf text; /* reserve before use: slices into it must not move */
    struct buf headers;
    struct slice filters[REQUEST_FILTERS_MAX];
};

#endif
