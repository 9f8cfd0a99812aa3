/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting frames on a peer's link. A message is packed once for all links: the handle of its topic is the
 * same everywhere, and each link is told the name (TOPIC) before it meets a handle the first time. The queue
 * itself is the link's; how long it may grow is decided by catchup.c and links.c.
 */
#ifndef BROKER_OUTBOX_H
#define BROKER_OUTBOX_H

#include <stdint.h>

#include "base/slice.h"

struct broker;
struct buf;
struct peer;
struct record;
struct topic;

/* Around each group of frames that must not be split. Failure ends the link. */
struct buf *outbox_begin(struct peer *peer);
void outbox_end(struct peer *peer);

/* A record that was accepted, to all that want it and are live. */
void outbox_deliver(struct broker *broker, struct record *record);

/* One record to a link that catches up; one of a replay. */
void outbox_put_message(struct peer *peer, const struct record *record);
void outbox_put_replay(struct peer *peer, uint64_t req, const struct record *record);

/* The topic is about to go: its handle stands for nothing any more. */
void outbox_forget_topic(struct broker *broker, const struct topic *topic);

/* Live links learn the position by their next batch. */
void outbox_tell_position(struct broker *broker);

#endif
