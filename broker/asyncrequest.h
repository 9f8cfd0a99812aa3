/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous requests: kept until a responder takes them, and their replies until somebody asks. Everything
 * that has to outlive the broker is in the store, as messages of two kinds of topics that clients cannot
 * reach:
 *
 *     $requests/TOPIC   a queue; its group `responders` has the responders of TOPIC for members
 *     $replies/ID       its retained value says what became of one: it waits; the reply; why there is none
 *
 *     REQUEST -> pending at $replies/ID, then the request on $requests/TOPIC -> ACCEPTED
 *     a responder has room -> CALL -> REPLY -> the reply at $replies/ID -> REPLIED to each RESULT that waits
 *
 * A call is the id, the seq of the request and which delivery it is, with a code that only we can make: so a
 * REPLY finds its way by what it says alone, also after a restart.
 */
#ifndef BROKER_ASYNCREQUEST_H
#define BROKER_ASYNCREQUEST_H

#include "broker/consumers.h"
#include "broker/queuegroup.h"

struct asyncrequests;
struct broker;
struct frame;
struct peer;
struct record;
struct setting;

/* Queues of requests: what is different in them. */
extern const struct queue_kind asyncrequest_queue_kind;

struct asyncrequest_figures {
    uint64_t n_accepted, n_answered, n_failed, n_withdrawn; /* failed: the reply is an error */
    uint64_t n_waiting;                                     /* RESULTs, now */
};

int asyncrequests_new(struct broker *broker, struct asyncrequests **ret);
struct asyncrequests *asyncrequests_free(struct asyncrequests *async); /* no peer is left */
const struct asyncrequest_figures *asyncrequests_figures(const struct asyncrequests *async);

/* A REQUEST with flag 1 that was checked. ERROR_NONE: its answer comes; else why there will be none. */
enum error_code asyncrequest_start(
    struct peer *peer, const struct frame *f, const struct setting *setting, const char **ret_message);
int asyncrequest_on_result(struct peer *peer, const struct frame *f);
int asyncrequest_on_withdraw(struct peer *peer, const struct frame *f);
/* The asker of a RESULT left. */
void asyncrequest_abandon(struct peer *peer, uint64_t req);

/* Is this the call of an asynchronous request? Then REPLY and HOLD are for these. */
bool asyncrequest_is_call(struct slice call);
int asyncrequest_on_reply(struct peer *peer, const struct frame *f);
int asyncrequest_on_hold(struct consumer *c, struct slice call);
/* A responder is gone. */
void asyncrequest_on_gone(struct consumer *c, enum consumer_end why);

/* A record was accepted. */
void asyncrequest_on_record(struct broker *broker, const struct record *record);

void asyncrequest_init_peer(struct peer *peer);
void asyncrequest_drop_peer(struct peer *peer);
void asyncrequest_fini_peer(struct peer *peer);

#endif
