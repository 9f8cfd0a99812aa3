/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work queues: each group of a topic gets every message of it, and gives each to one of its members, until
 * one has done it. What a group has done is kept in the store; the state of one group is queuecore.h's.
 *
 *     record -> queue_on_record() ---.                          SETTLE -> queue_on_settle()
 *     store  -> queueread.c ---------+-> queuecore -> queuegive.c -> DISPATCH   |
 *                                    |       ^  \                               v
 *                                    |       |   '-> queuedead.c       queuesave.c -> store -> SETTLED
 *
 * Everything that can wait is done once in a turn of the loop, for each group that something happened to
 * (queue.c): leases that ended, giving out, dead letters, reading ahead, saving.
 */
#ifndef BROKER_QUEUE_H
#define BROKER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "base/slice.h"

struct broker;
struct consumer_ops;
struct frame;
struct peer;
struct queues;
struct topic;

/* In record.flags: it was put back into one queue, that of the group in its headers. The link does not show
 * it. */
#define RECORD_FOR_GROUP 0x80u

/* Members of queues as consumers. */
extern const struct consumer_ops queue_consumer_ops;

/* Figures for $sys, since the start. */
struct queue_totals {
    uint64_t n_groups, n_leased, cache_bytes;         /* now */
    uint64_t n_given, n_given_again, n_done, n_ended; /* ended: leases whose time was over */
    uint64_t n_dead, n_lost, n_expired;
    uint64_t n_refused; /* publishes to full queues */
};

int queues_new(struct broker *broker, struct queues **ret);
struct queues *queues_free(struct queues *queues); /* no consumer is left, and the store is closed */
/* The store is open and restored; the first frontend is there. */
void queues_start(struct broker *broker);
void queues_on_served(struct broker *broker);
/* The broker stops: what the store does not know yet is told it. */
void queues_stop(struct broker *broker);
const struct queue_totals *queues_totals(struct queues *queues);

/* For struct store_host. */
int queue_on_group(void *topic, struct slice name, struct store_group *store,
    const struct store_group_state *state, void **ret_cookie, void *arg);
int queue_on_group_item(void *group, const struct store_item *item, void *arg);
void queue_on_saved(void *cookie, int error, void *arg);
void queue_on_record(struct record *record);

/* The topic is there, or its setting is another one. tells_store: that does not know that it is held. 0 or
 * -ENOMEM. */
int queue_on_setting(struct broker *broker, struct topic *topic, bool tells_store);
/* It is about to go. */
void queue_on_topic_gone(struct topic *topic);

/* May one more be published? Counts an append that is under way, if the topic has a queue. */
bool queue_is_full(struct broker *broker, const struct topic *topic);

int queue_on_settle(struct peer *peer, const struct frame *f);
int queue_on_queues(struct peer *peer, const struct frame *f);
int queue_on_peek(struct peer *peer, const struct frame *f);
int queue_on_purge(struct peer *peer, const struct frame *f);
int queue_on_redrive(struct peer *peer, const struct frame *f);

#endif
