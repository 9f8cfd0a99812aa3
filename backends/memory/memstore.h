/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the memory backend, shared by its files.
 *
 * Each topic has a ring of its kept records, oldest first. Two lists hold topics in the order of their last
 * append: `recent` all of them, those without any message first, so that a read since S looks at those that
 * changed since and no others; `kept` those that keep any, for trimming. An append moves its topic to the end
 * of both, so both stay in order.
 */
#ifndef BACKENDS_MEMORY_MEMSTORE_H
#define BACKENDS_MEMORY_MEMSTORE_H

#include "backends/backend.h"
#include "backends/dedupe.h"
#include "backends/memory/memory.h"
#include "base/list.h"
#include "base/table.h"

/* The same limits hold for very many topics: they are shared. */
struct memory_limits {
    struct store_limits limits; /* first, and without stray bytes: it is the key */
    uint64_t n_users;
};

struct store_topic {
    void *cookie;
    struct memory_limits *shared;
    struct record **ring;
    uint32_t n_ring; /* 0 or a power of two */
    uint32_t head;   /* index of the oldest */
    uint32_t n;
    uint32_t id; /* for idempotency keys; a topic that is dropped and opened again gets another */
    uint64_t bytes;
    uint64_t last_seq;
    uint64_t evicted_seq; /* the highest that was on this topic and is not kept */
    struct record *retained;
    struct list in_recent, in_kept;
};

/* A topic in a read: its next record is at ring position `at` and has `seq`. */
struct memory_source {
    uint64_t seq;
    struct store_topic *topic;
    uint32_t at;
};

struct backend {
    struct store_host host;
    struct loop *loop;
    struct memory_options options;
    struct dedupe dedupe;
    struct table limits;
    struct list recent, kept;
    struct list *tick_at; /* in kept: where memory_tick() goes on */
    uint64_t epoch, last_seq;
    uint64_t dropped_seq; /* the highest seq among dropped topics */
    uint32_t next_id;
    bool is_calling;            /* inside a callback of a read: nothing may be changed now */
    struct memory_source *heap; /* of the read that runs; kept for the next one */
    size_t n_heap, heap_room;
    struct store_stats stats;
};

static inline struct record *
memory_topic_at(const struct store_topic *topic, uint32_t i)
{
    return topic->ring[(topic->head + i) & (topic->n_ring - 1)];
}

/* Evicts what the topic's limits do not allow any more. */
void memory_topic_trim(struct backend *b, struct store_topic *topic, int64_t wall_ms);

int memory_read(struct backend *b, const struct store_read *read);

#endif
