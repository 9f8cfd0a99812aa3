/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The most recent records, so that a reader that is nearly up to date needs no disk. All topics together hold
 * at most cache_bytes; what goes first is the oldest of all.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <stdlib.h>

static size_t
cached_size(const struct cached *c)
{
    return record_size(c->record) + sizeof(*c);
}

static void
cached_free(struct backend *b, struct cached *c)
{
    b->cache_bytes -= cached_size(c);
    c->topic->n_cached--;
    list_remove(&c->in_all);
    list_remove(&c->in_topic);
    record_unref(c->record);
    free(c);
}

void
cache_init(struct backend *b)
{
    list_init(&b->cache);
    b->cache_floor = b->last_seq;
}

void
cache_shrink(struct backend *b)
{
    while (b->cache_bytes > b->options.cache_bytes && !list_empty(&b->cache)) {
        struct cached *oldest = list_entry(b->cache.next, struct cached, in_all);

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
    if (c == NULL) { /* nothing below it can be answered from here */
        while (!list_empty(&b->cache))
            cached_free(b, list_entry(b->cache.next, struct cached, in_all));
        b->cache_floor = record->seq;
        return;
    }
    *c = (struct cached){.record = record_ref(record), .topic = topic};
    list_push_back(&b->cache, &c->in_all);
    list_push_back(&topic->cached, &c->in_topic);
    topic->n_cached++;
    b->cache_bytes += cached_size(c);
}

void
cache_trim(struct backend *b, struct store_topic *topic)
{
    while (!list_empty(&topic->cached)) {
        struct cached *oldest = list_entry(topic->cached.next, struct cached, in_topic);

        if (oldest->record->seq > topic->now.evicted_seq)
            return;
        cached_free(b, oldest);
    }
}

void
cache_forget(struct backend *b, struct store_topic *topic)
{
    while (!list_empty(&topic->cached))
        cached_free(b, list_entry(topic->cached.next, struct cached, in_topic));
}
