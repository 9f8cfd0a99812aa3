/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the memory backend, shared by its files.
 *
 * Each topic has a ring of its kept records, oldest first; one that expired between others leaves an empty
 * place. Lists hold topics in the order of their last append: `recent` all of them, those without any message
 * first, so that a read since S looks at those that changed since and no others; `kept` those that keep any,
 * for trimming; `held` those whose oldest may not be trimmed. An append moves its topic to the end, so they
 * stay in order. `evicted` has those that lost something, in the order in which they did; `all` is all
 * records in the order of seq: for reads of very many topics.
 *
 * What has an end of its life is in a heap of its topic, the topic with its next one in the heap `lives`.
 * What is kept aside until it is due is in the heap `aside`.
 */
#ifndef BACKENDS_MEMORY_MEMSTORE_H
#define BACKENDS_MEMORY_MEMSTORE_H

#include "backends/backend.h"
#include "backends/dedupe.h"
#include "backends/memory/memory.h"
#include "backends/seqlist.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/table.h"

/* The same limits hold for very many topics: they are shared. */
struct memory_limits {
    struct store_limits limits; /* first, and without stray bytes: it is the key */
    uint64_t n_users;
};

/* A record; or of one that has expired, which is never at either end of the ring, its seq: then the lowest
 * bit is set. */
struct memory_place {
    uint64_t bits;
};

struct memory_life {
    int64_t expires_ms;
    uint64_t seq; /* not kept any more if it is below the ring's first */
};

/* What of a topic has an end. */
struct memory_lives {
    struct heap_node in_lives; /* by the next of them, the retained value among them */
    struct store_topic *topic;
    struct memory_life *heap;
    uint32_t n, room;
};

/* What most topics have not: made when it is needed, and kept as long as the topic. */
struct memory_extra {
    struct store_topic *topic;
    struct list in_evicted;
    uint64_t evicted_at;        /* the store's last seq when evicted_seq changed the last time */
    struct memory_lives *lives; /* NULL: none ever */
    uint64_t hold_above;
    uint32_t n_aside, n_groups;
};

struct store_topic {
    void *cookie;
    struct memory_limits *shared;
    union {
        struct memory_place one; /* if n_ring is 1 */
        struct memory_place *many;
    } ring;
    uint32_t n_ring; /* a power of two */
    uint32_t head;   /* index of the oldest */
    uint32_t n_places;
    uint32_t n : 31;         /* records in them */
    uint32_t is_in_held : 1; /* in_kept is in the list `held` */
    uint32_t id;    /* for idempotency keys and groups; one that is dropped and opened again gets another */
    uint32_t asked; /* by a read in the order of seq: its number, times two, and whether it wants the topic */
    uint64_t bytes;
    uint64_t last_seq;
    uint64_t evicted_seq; /* the highest that was on this topic and is not kept, though it had not expired */
    struct record *retained;
    struct memory_extra *extra; /* NULL: there was no need */
    struct list in_recent, in_kept;
};
/* There may be a million: 128 bytes of the heap. */
_Static_assert(sizeof(struct store_topic) <= 120, "each topic pays for this");

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
    struct list recent, kept, held, evicted;
    struct seqlist all;   /* records */
    struct list *tick_at; /* in kept: where memory_tick() goes on */
    struct heap lives;
    struct heap aside;
    uint64_t next_aside; /* of two that are due in the same millisecond the first comes first */
    struct loop_timer aside_timer;
    struct table groups;
    uint64_t epoch, last_seq;
    uint64_t dropped_seq; /* the highest seq among dropped topics */
    uint32_t next_id;
    bool is_calling;            /* inside a callback of a read: nothing may be changed now */
    struct memory_source *heap; /* of the read that runs; kept for the next one */
    size_t n_heap, heap_room;
    struct record **page; /* likewise, of a read in the order of seq */
    size_t n_page, page_room;
    uint32_t n_reads; /* by which they are told apart: below 2^31 */
    struct store_stats stats;
};

static inline struct memory_place *
memory_topic_place(struct store_topic *topic, uint32_t i)
{
    return topic->n_ring == 1 ? &topic->ring.one : &topic->ring.many[(topic->head + i) & (topic->n_ring - 1)];
}

/* NULL: it has expired. */
static inline struct record *
memory_topic_at(const struct store_topic *topic, uint32_t i)
{
    uint64_t bits = memory_topic_place((struct store_topic *)topic, i)->bits;

    return (bits & 1) != 0 ? NULL : (struct record *)(uintptr_t)bits;
}

static inline uint64_t
memory_topic_seq_at(const struct store_topic *topic, uint32_t i)
{
    const struct record *record = memory_topic_at(topic, i);

    return record != NULL ? record->seq : memory_topic_place((struct store_topic *)topic, i)->bits >> 1;
}

static inline struct memory_lives *
memory_topic_lives(const struct store_topic *topic)
{
    return topic->extra != NULL ? topic->extra->lives : NULL;
}

static inline uint64_t
memory_topic_hold_above(const struct store_topic *topic)
{
    return topic->extra != NULL ? topic->extra->hold_above : UINT64_MAX;
}

/* memory.c */
/* Numbers the record and keeps it; it was checked, and is no repeat. 0 or -ENOMEM, then nothing happened. */
int memory_append(struct backend *b, struct store_topic *topic, struct record *record);

/* memtopic.c */
/* Makes it if need be; NULL if memory ran out. */
struct memory_extra *memory_topic_extra(struct store_topic *topic);
/* Room for one more, so that memory_topic_keep() and memory_topic_retain() cannot fail. */
int memory_topic_reserve(struct backend *b, struct store_topic *topic, const struct record *record);
void memory_topic_keep(struct backend *b, struct store_topic *topic, struct record *record);
void memory_topic_retain(struct backend *b, struct store_topic *topic, struct record *record);
void memory_topic_forget_retained(struct backend *b, struct store_topic *topic);
/* It is told as a gap from now on. */
void memory_topic_note_evicted(struct backend *b, struct store_topic *topic);
/* The ring's position of the first record above since; n_places if there is none. */
uint32_t memory_topic_first_above(const struct store_topic *topic, uint64_t since);
/* Takes away what has expired, and evicts what the topic's limits do not allow any more. */
void memory_topic_trim(struct backend *b, struct store_topic *topic, int64_t wall_ms);
/* Those up to it, whatever the limits say. */
void memory_topic_trim_upto(struct backend *b, struct store_topic *topic, uint64_t upto);
/* All topics together: what was appended to the longest ago goes first. */
void memory_trim_all(struct backend *b, int64_t wall_ms);
/* What has expired, of at most `budget` topics. */
void memory_expire(struct backend *b, int64_t wall_ms, unsigned budget);
/* Frees all that it keeps. */
void memory_topic_empty(struct backend *b, struct store_topic *topic);

/* memaside.c */
int memory_aside_take(struct backend *b, struct store_topic *topic, struct record *record);
void memory_aside_on_timer(void *arg);
void memory_aside_forget(struct backend *b, struct store_topic *topic); /* NULL: of all topics */

/* memgroup.c */
void memory_groups_init(struct backend *b);
void memory_groups_fini(struct backend *b);
int memory_group_open(struct backend *b, struct store_topic *topic, struct slice name,
    const struct store_group_state *state, void *cookie, struct store_group **ret);
void memory_group_drop(struct backend *b, struct store_group *group);
int memory_group_save(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
    const struct store_group_state *state, void *cookie);

/* memread.c */
int memory_read(struct backend *b, const struct store_read *read);

#endif
