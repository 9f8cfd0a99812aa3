/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The most recent records, so that a reader that is nearly up to date needs no disk. All topics together hold
 * at most cache_bytes; what goes first is the oldest of all.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RING_MIN 4u

/* With its place in the ring, which may be half empty. */
static size_t
cached_size(const struct cached *c)
{
    return record_size(c->record) + sizeof(*c) + 2 * sizeof(struct cached_place);
}

/* ---- The ring of a topic. ---- */

static int
ring_resize(struct store_topic *topic, uint32_t room)
{
    struct cached_place *ring = malloc(room * sizeof(ring[0]));

    if (ring == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < topic->n_cached; i++)
        ring[i] = *topic_cached(topic, i);
    free(topic->cached);
    topic->cached = ring;
    topic->cached_at = 0;
    topic->cached_room = room;
    return 0;
}

static int
ring_push(struct store_topic *topic, struct cached *c, uint64_t seq)
{
    if (topic->n_cached == topic->cached_room) {
        int error = ring_resize(topic, topic->cached_room > 0 ? topic->cached_room * 2 : RING_MIN);

        if (error < 0)
            return error;
    }
    topic->n_cached++;
    *topic_cached(topic, topic->n_cached - 1) = (struct cached_place){.seq = seq, .at = c};
    return 0;
}

static void
ring_shift(struct store_topic *topic)
{
    topic->cached_at++;
    topic->n_cached--;
    if (topic->n_cached == 0) {
        free(topic->cached);
        topic->cached = NULL;
        topic->cached_at = topic->cached_room = 0;
    } else if (topic->cached_room > RING_MIN && topic->n_cached <= topic->cached_room / 4) {
        (void)ring_resize(topic, topic->cached_room / 2); /* it stays too large */
    }
}

/* ---- The cache. ---- */

/* The oldest of its topic: what is oldest of all is that too. */
static void
cached_free(struct backend *b, struct cached *c)
{
    assert(topic_cached(c->topic, 0)->at == c);
    b->cache_bytes -= cached_size(c);
    if (c->record->expires_ms != 0)
        c->topic->x->n_cached_ends--;
    ring_shift(c->topic);
    seqlist_remove(&b->cache, &c->in_all);
    record_unref(c->record);
    free(c);
}

static uint64_t
seq_of(const struct list *member)
{
    return list_entry(member, struct cached, in_all)->record->seq;
}

void
cache_init(struct backend *b)
{
    seqlist_init(&b->cache, seq_of);
    b->cache_floor = b->last_seq;
}

void
cache_shrink(struct backend *b)
{
    while (b->cache_bytes > b->options.cache_bytes && !list_empty(&b->cache.all)) {
        struct cached *oldest = list_entry(b->cache.all.next, struct cached, in_all);

        b->cache_floor = oldest->record->seq;
        cached_free(b, oldest);
    }
}

void
cache_add(struct backend *b, struct store_topic *topic, struct record *record)
{
    struct cached *c;

    if (record->seq <= topic->now.evicted_seq)
        return; /* it went with the commit that it came with */
    c = malloc(sizeof(*c));
    if (c == NULL || ring_push(topic, c, record->seq) < 0) { /* nothing below it can be answered from here */
        free(c);
        while (!list_empty(&b->cache.all))
            cached_free(b, list_entry(b->cache.all.next, struct cached, in_all));
        b->cache_floor = record->seq;
        return;
    }
    *c = (struct cached){.record = record_ref(record), .topic = topic};
    seqlist_push(&b->cache, &c->in_all);
    b->cache_bytes += cached_size(c);
    if (record->expires_ms != 0)
        topic->x->n_cached_ends++;
}

void
cache_trim(struct backend *b, struct store_topic *topic)
{
    while (topic->n_cached > 0) {
        const struct cached_place *oldest = topic_cached(topic, 0);

        if (oldest->seq > topic->now.evicted_seq)
            return;
        cached_free(b, oldest->at);
    }
}

void
cache_forget(struct backend *b, struct store_topic *topic)
{
    while (topic->n_cached > 0)
        cached_free(b, topic_cached(topic, 0)->at);
}
