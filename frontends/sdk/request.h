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
/* One subscription may name several filters: they share one order and one cursor. */
#define REQUEST_FILTERS_MAX 64

enum request_op {
    REQUEST_HELLO, /* who are you, what are your limits */
    REQUEST_SUB,
    REQUEST_UNSUB,
    REQUEST_PUB,
    REQUEST_PING,
    REQUEST_TOPICS, /* list */
};

enum request_from { FROM_LIVE, FROM_SINCE, FROM_LAST };

struct request {
    enum request_op op;
    struct slice id; /* empty: none; of SUB and UNSUB it names the subscription */

    /* SUB */
    const struct slice *filters;
    size_t n_filters;
    enum request_from from;
    struct slice since; /* FROM_SINCE: a cursor, not yet parsed */
    uint64_t last;      /* FROM_LAST: messages of each topic */

    /* PUB */
    struct slice topic;
    enum message_kind kind;
    bool is_retain;
    struct slice type, headers, key, body; /* as in struct message */

    /* TOPICS: filters[0] */
    struct slice after;
    uint64_t limit;
};

enum answer_type {
    ANSWER_WELCOME,    /* to HELLO: position, text: the frontend's name, count: limits.message_bytes */
    ANSWER_SUBSCRIBED, /* state, position, gaps */
    ANSWER_UNSUBSCRIBED,
    ANSWER_PUBLISHED, /* position */
    ANSWER_PONG,
    ANSWER_TOPIC,      /* one line of a list: topic, position (last), n_kept, n_bytes, n_links */
    ANSWER_TOPICS_END, /* count is 1 if there are more */
    ANSWER_ERROR,      /* code, text */
    ANSWER_STATE,      /* unasked, of one subscription: state, position, gaps: what happened to its stream */
    ANSWER_DROPPED, /* unasked: count messages of topic were dropped because this client reads too slowly */
    ANSWER_CLOSING, /* the connection is about to be closed by us: code, text */
};

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
};

/* Where a decoder puts what it had to unescape, and the filters. One for each frontend, reset for each
 * request. */
struct request_scratch {
    struct buf text; /* reserve before use: slices into it must not move */
    struct buf headers;
    struct slice filters[REQUEST_FILTERS_MAX];
};

#endif
