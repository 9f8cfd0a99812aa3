/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests: each goes to exactly one responder of its topic, and its asker gets exactly one REPLIED, whatever
 * dies in between. Nothing of it is stored: when the broker dies, the frontends tell their askers.
 *
 *     REQUEST -> a responder has room -> CALL -> REPLY -> REPLIED
 *             \-> all are busy: waits ->/    \-> responder gone, or time over -> REPLIED with a code
 *
 * A responder's room comes back with its REPLY, or when the time of the call is over: one that never answers
 * does not block for ever. Asynchronous requests are somebody else's: broker/asyncrequest.h.
 */
#ifndef BROKER_REQUEST_H
#define BROKER_REQUEST_H

#include "broker/consumers.h"

struct broker;
struct frame;
struct peer;
struct requests;

/* Responders as consumers. */
extern const struct consumer_ops request_consumer_ops;

/* Figures for $sys. */
struct request_figures {
    uint64_t n_asked, n_replied, n_failed; /* failed: the responder said so, or its reply was not fit */
    uint64_t n_alone, n_gone, n_timeout, n_refused, n_abandoned;
    uint64_t n_late;            /* replies that nobody waited for */
    uint64_t n_open, n_waiting; /* now: given to a responder; not yet */
};

int requests_new(struct broker *broker, struct requests **ret);
struct requests *requests_free(struct requests *requests); /* no peer is left */
const struct request_figures *requests_figures(const struct requests *requests);

int request_on_request(struct peer *peer, const struct frame *f);
int request_on_abandon(struct peer *peer, const struct frame *f);
int request_on_reply(struct peer *peer, const struct frame *f);

void request_init_peer(struct peer *peer);
/* The link is gone: its clients do not wait any more. Before consumers_drop_peer(). */
void request_drop_peer(struct peer *peer);
void request_fini_peer(struct peer *peer);

#endif
