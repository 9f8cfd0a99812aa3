/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept at $replies/ID, the retained value of that topic: what became of an asynchronous request. It
 * is decided once: whoever comes later finds it decided, also while the store has not kept it yet.
 *
 *     body      first byte p: it waits; r: the reply; e: there is none; then the topic, the reply, the
 * message key       of p: until when it waits; of e: the error's code type, headers, kind    of r: the
 * reply's
 */
#ifndef BROKER_ASYNCSTATE_H
#define BROKER_ASYNCSTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/table.h"
#include "broker/asynccall.h"
#include "broker/asyncrequest.h"
#include "wire/errors.h"

struct frame_reply;
struct setting;
struct topic;

struct asyncrequests {
    struct broker *broker;
    struct table decisions; /* struct decision by id: under way */
    struct table waits;     /* struct async_wait by id: asyncresult.c */
    struct table accepting; /* struct acceptance by id, of those with a `once`: asyncrequest.c */
    struct asyncrequest_figures figures;
};

enum async_state { ASYNC_UNKNOWN, ASYNC_PENDING, ASYNC_REPLY, ASYNC_ERROR };

struct async_outcome {
    enum async_state state;
    struct topic *topic;   /* $replies/ID */
    struct record *record; /* a reference, the caller's; what follows points into it */
    struct slice asked;    /* PENDING: the topic */
    int64_t expires_ms;    /* PENDING: wall clock */
    enum error_code code;  /* ERROR */
    struct slice body;     /* of the reply; ERROR: the message */
};

/* Who gets to know when a decision is kept. */
struct decision_about {
    uint64_t group, seq; /* the call that it ends; 0: none */
    bool is_burial;      /* of a request that was given out too often */
    uint64_t session, req;
    unsigned slot; /* SETTLED is put to these; req 0: to nobody */
};

void async_look(struct broker *broker, struct slice id, struct async_outcome *ret);
void async_read(const struct record *record, struct async_outcome *ret);
bool async_is_decided(const struct broker *broker, struct slice id);

/* NULL if memory ran out. */
struct record *async_pending_new(struct slice asked, int64_t expires_ms);
struct record *async_reply_new(const struct frame_reply *f);
struct record *async_error_new(enum error_code code, struct slice message);

/* Takes the record; NULL: memory ran out. topic is $replies/ID. ERROR_NONE: it is on its way. */
enum error_code async_decide(struct topic *topic, struct broker *broker, struct slice id,
    struct record *record, const struct setting *setting, const struct decision_about *about);

/* asyncrequest.c: a decision about a call is kept (error 0), or could not be. */
void async_on_decided(struct broker *broker, const struct decision_about *about, int error);

/* asyncresult.c */
void async_waits_init(struct asyncrequests *async);
void async_waits_fini(struct asyncrequests *async);

/* $replies/ID as text. */
#define ASYNC_REPLY_TOPIC_MAX 64u
struct slice async_reply_topic(struct slice id, char text[ASYNC_REPLY_TOPIC_MAX]);

#endif
