/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PUBLISH: checked against the topic's settings, appended to the store, answered when the store has it. What
 * the store hands back in order (on_record) is what is delivered: broker/outbox.h.
 */
#ifndef BROKER_PUBLISH_H
#define BROKER_PUBLISH_H

#include <stdint.h>

#include "backends/backend.h"

struct broker;
struct frame;
struct peer;
struct topic;

int publish_on_name(struct peer *peer, const struct frame *f);
int publish_on_publish(struct peer *peer, const struct frame *f);

/* The store's answer to an append; arg is the broker. */
void publish_on_appended(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg);

/* The store may have room again: the hook of struct broker. */
void publish_on_room(void *arg);

/* Puts the PUBLISHED that has been growing, if there is one. */
void publish_flush_run(struct peer *peer);

/* A publish of the broker's own, JSON, kept as the retained value; failure is logged. An empty body clears
 * the value. */
void publish_own(struct broker *broker, struct slice topic, struct slice json);
/* The same, of bytes that are no JSON. */
void publish_own_bytes(struct broker *broker, struct slice topic, struct slice bytes);

/* A record of the broker's own, as it is; takes one reference. fn is called when the store has answered,
 * perhaps before this returns. 0, or negative errno: it will not be. */
typedef void (*publish_done_fn)(void *arg, int error, enum append_outcome outcome, uint64_t seq);
int publish_take(
    struct broker *broker, struct topic *topic, struct record *record, publish_done_fn fn, void *arg);

/* The link is gone. */
void publish_drop_peer(struct peer *peer);
void publish_fini(struct broker *broker);

#endif
