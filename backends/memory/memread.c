/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of the memory backend: the rings of the wanted topics are merged by seq through a heap. Setting it up
 * costs one question for each topic that changed since the position, however many topics there are.
 */
#include "config.h"

#include "backends/memory/memstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/loop.h"

/* So many places for topics stay allocated between reads. */
#define HEAP_KEPT 4096u

static int
heap_add(struct backend *b, struct store_topic *topic, uint32_t at)
{
    if (b->n_heap == b->heap_room) {
        size_t room = b->heap_room == 0 ? 64 : b->heap_room * 2;
        struct memory_source *heap = realloc(b->heap, room * sizeof(heap[0]));

        if (heap == NULL)
            return -ENOMEM;
        b->heap = heap;
        b->heap_room = room;
    }
    b->heap[b->n_heap++] = (struct memory_source){memory_topic_at(topic, at)->seq, topic, at};
    return 0;
}

static void
heap_sink(struct memory_source *heap, size_t n, size_t i)
{
    struct memory_source moved = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].seq < heap[child].seq)
            child++;
        if (moved.seq <= heap[child].seq)
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

/* The position of the last but n. */
static uint32_t
topic_last(const struct store_topic *topic, uint64_t n)
{
    uint32_t at = topic->n_places;

    if (n >= topic->n)
        return 0;
    if (topic->n == topic->n_places)
        return topic->n - (uint32_t)n;
    while (n > 0)
        n -= memory_topic_at(topic, --at)->record != NULL;
    return at;
}

/* The place of the first that is not older, as far as they are in the order of time; not before `at`. */
static uint32_t
topic_from_time(const struct store_topic *topic, uint32_t at, int64_t since_ms)
{
    uint32_t from = topic->n_places;

    while (from > at) {
        const struct record *record = memory_topic_at(topic, from - 1)->record;

        if (record != NULL && record->time_ms < since_ms)
            break;
        from--;
    }
    return from;
}

static int
source_add(struct backend *b, const struct store_read *read, struct store_topic *topic)
{
    uint32_t at;

    memory_topic_trim(b, topic, loop_wall_ms(b->loop));
    if (read->last > 0) {
        at = topic_last(topic, read->last);
        if (read->since_ms > 0)
            at = topic_from_time(topic, at, read->since_ms);
    } else {
        if (topic->evicted_seq > read->since && !topic->shared->limits.is_unrecoverable)
            read->on_gap(topic->cookie, topic->evicted_seq, read->arg);
        at = memory_topic_first_above(topic, read->since);
    }
    return at < topic->n_places ? heap_add(b, topic, at) : 0;
}

static int
collect_named(struct backend *b, const struct store_read *read)
{
    bool is_told = read->last > 0 || b->dropped_seq <= read->since;

    for (size_t i = 0; i < read->n_topics; i++) {
        int r;

        if (read->topics[i] != NULL) {
            r = source_add(b, read, read->topics[i]);
            if (r < 0)
                return r;
        } else if (!is_told) {
            read->on_gap(NULL, b->dropped_seq, read->arg);
            is_told = true;
        }
    }
    return 0;
}

static int
collect_last_of(struct backend *b, const struct store_read *read, struct list *topics)
{
    list_for_each_safe(it, following, topics)
    {
        struct store_topic *topic = list_entry(it, struct store_topic, in_kept);
        int r = read->wants(topic->cookie, read->arg) ? source_add(b, read, topic) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* Trimming may take a topic from `kept` to `held`, never back: so none is met twice. */
static int
collect_last(struct backend *b, const struct store_read *read)
{
    int r = collect_last_of(b, read, &b->held);

    return r == 0 ? collect_last_of(b, read, &b->kept) : r;
}

static int
collect_since(struct backend *b, const struct store_read *read)
{
    if (b->dropped_seq > read->since)
        read->on_gap(NULL, b->dropped_seq, read->arg);
    for (struct list *it = b->recent.prev; it != &b->recent; it = it->prev) {
        struct store_topic *topic = list_entry(it, struct store_topic, in_recent);
        int r;

        if (topic->last_seq <= read->since)
            break;
        r = read->wants(topic->cookie, read->arg) ? source_add(b, read, topic) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* The end of the read: whoever asked may do anything again, read on too. */
static void
read_end(struct backend *b, const struct store_read *read, int error, uint64_t upto, bool is_cut_short)
{
    b->is_calling = false;
    b->n_heap = 0;
    if (b->heap_room > HEAP_KEPT) {
        free(b->heap);
        b->heap = NULL;
        b->heap_room = 0;
    }
    read->on_done(error, upto, is_cut_short, read->arg);
}

/* To its next record. False: that was the last. */
static bool
source_move(struct memory_source *s)
{
    while (++s->at < s->topic->n_places)
        if (memory_topic_at(s->topic, s->at)->record != NULL)
            return true;
    return false;
}

static void
give_merged(struct backend *b, const struct store_read *read)
{
    uint64_t n = 0, bytes = 0, upto = b->last_seq;

    for (size_t i = b->n_heap / 2; i-- > 0;)
        heap_sink(b->heap, b->n_heap, i);
    while (b->n_heap > 0) {
        struct memory_source *first = &b->heap[0];
        struct record *record;

        if (n > 0 && ((read->max_records > 0 && n >= read->max_records) ||
                         (read->max_bytes > 0 && bytes >= read->max_bytes))) {
            read_end(b, read, 0, upto, true);
            return;
        }
        record = memory_topic_at(first->topic, first->at)->record;
        n++;
        bytes += record_size(record);
        upto = record->seq;
        read->on_record(record, read->arg);
        if (source_move(first))
            first->seq = memory_topic_at(first->topic, first->at)->seq;
        else
            *first = b->heap[--b->n_heap];
        if (b->n_heap > 0)
            heap_sink(b->heap, b->n_heap, 0);
    }
    read_end(b, read, 0, b->last_seq, false);
}

int
memory_read(struct backend *b, const struct store_read *asked)
{
    struct store_read read = *asked;
    int r;

    assert(!b->is_calling);
    b->is_calling = true;
    b->n_heap = 0;
    if (read.topics != NULL)
        r = collect_named(b, &read);
    else if (read.last > 0)
        r = collect_last(b, &read);
    else
        r = collect_since(b, &read);
    /* A gap may have been told already: the failure has to come by on_done(). */
    if (r < 0)
        read_end(b, &read, r, read.since, true);
    else
        give_merged(b, &read);
    return 0;
}
