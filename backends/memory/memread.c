/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of the memory backend. Of few topics: their rings are merged by seq through a heap. Setting it up
 * costs one question for each topic that changed since the position, however many topics there are. Of very
 * many, piece by piece, that would be paid for each piece: all records are walked along in the order of seq,
 * and who meets too many that are not wanted goes on by the heap.
 */
#include "config.h"

#include "backends/memory/memstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/loop.h"

/* So many places for topics stay allocated between reads. */
#define HEAP_KEPT 4096u
/* Did no more topics change, they are merged. */
#define FEW_TOPICS 4u
/* To look at a record that is not wanted costs a fraction of what it costs to look at a topic. */
#define SKIPPED_FOR_TOPIC 4u
#define SKIPPED_MIN 256u
#define SKIPPED_MAX 65536u

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
    b->heap[b->n_heap++] = (struct memory_source){memory_topic_seq_at(topic, at), topic, at};
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
        n -= memory_topic_at(topic, --at) != NULL;
    return at;
}

/* The place of the first that is not older, as far as they are in the order of time; not before `at`. */
static uint32_t
topic_from_time(const struct store_topic *topic, uint32_t at, int64_t since_ms)
{
    uint32_t from = topic->n_places;

    while (from > at) {
        const struct record *record = memory_topic_at(topic, from - 1);

        if (record != NULL && record->time_ms < since_ms)
            break;
        from--;
    }
    return from;
}

static void
tell_gap(const struct store_read *read, const struct store_topic *topic)
{
    if (topic->evicted_seq > read->since && !topic->shared->limits.is_unrecoverable)
        read->on_gap(topic->cookie, topic->evicted_seq, read->arg);
}

/* `above`: since what it has not been given; gaps are told if that is where the read began. */
static int
source_add(struct backend *b, const struct store_read *read, struct store_topic *topic, uint64_t above)
{
    uint32_t at;

    memory_topic_trim(b, topic, loop_wall_ms(b->loop));
    if (read->last > 0) {
        at = topic_last(topic, read->last);
        if (read->since_ms > 0)
            at = topic_from_time(topic, at, read->since_ms);
    } else {
        if (above == read->since)
            tell_gap(read, topic);
        at = memory_topic_first_above(topic, above);
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
            r = source_add(b, read, read->topics[i], read->since);
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
        int r = read->wants(topic->cookie, read->arg) ? source_add(b, read, topic, 0) : 0;

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

/* Asked once for each topic of a read, whichever way it is met. */
static bool
topic_is_wanted(struct backend *b, const struct store_read *read, struct store_topic *topic)
{
    if (topic->asked >> 1 != b->n_reads)
        topic->asked = b->n_reads << 1 | (uint32_t)read->wants(topic->cookie, read->arg);
    return (topic->asked & 1) != 0;
}

static void
tell_unnamed_gap(const struct backend *b, const struct store_read *read)
{
    if (b->dropped_seq > read->since)
        read->on_gap(NULL, b->dropped_seq, read->arg);
}

static int
collect_above(struct backend *b, const struct store_read *read, uint64_t above)
{
    for (struct list *it = b->recent.prev; it != &b->recent; it = it->prev) {
        struct store_topic *topic = list_entry(it, struct store_topic, in_recent);
        int r;

        if (topic->last_seq <= above)
            break;
        r = topic_is_wanted(b, read, topic) ? source_add(b, read, topic, above) : 0;
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
        if (memory_topic_at(s->topic, s->at) != NULL)
            return true;
    return false;
}

static bool
is_full(const struct store_read *read, uint64_t n, uint64_t bytes)
{
    return n > 0 && ((read->max_records > 0 && n >= read->max_records) ||
                        (read->max_bytes > 0 && bytes >= read->max_bytes));
}

/* n records of so many bytes, up to upto, were given before. */
static void
give_merged(struct backend *b, const struct store_read *read, uint64_t n, uint64_t bytes, uint64_t upto)
{

    for (size_t i = b->n_heap / 2; i-- > 0;)
        heap_sink(b->heap, b->n_heap, i);
    while (b->n_heap > 0) {
        struct memory_source *first = &b->heap[0];
        struct record *record;

        if (is_full(read, n, bytes)) {
            read_end(b, read, 0, upto, true);
            return;
        }
        record = memory_topic_at(first->topic, first->at);
        n++;
        bytes += record_size(record);
        upto = record->seq;
        read->on_record(record, read->arg);
        if (source_move(first))
            first->seq = memory_topic_seq_at(first->topic, first->at);
        else
            *first = b->heap[--b->n_heap];
        if (b->n_heap > 0)
            heap_sink(b->heap, b->n_heap, 0);
    }
    read_end(b, read, 0, b->last_seq, false);
}

/* ---- In the order of seq. ---- */

struct walk {
    uint64_t upto; /* everything wanted up to it is in the page */
    uint64_t bytes, n_skipped;
    bool is_full, is_lost; /* too many were not wanted: the rest is to be merged */
};

static int
page_add(struct backend *b, struct record *record)
{
    if (b->n_page == b->page_room) {
        size_t room = b->page_room == 0 ? 64 : b->page_room * 2;
        struct record **page = realloc(b->page, room * sizeof(page[0]));

        if (page == NULL)
            return -ENOMEM;
        b->page = page;
        b->page_room = room;
    }
    b->page[b->n_page++] = record_ref(record);
    return 0;
}

static bool
is_over(const struct record *record, int64_t wall_ms)
{
    uint64_t age_ms = record->store->shared->limits.age_ms;

    return (age_ms > 0 && wall_ms - record->time_ms >= (int64_t)age_ms) ||
           (record->expires_ms != 0 && record->expires_ms <= wall_ms);
}

/* The one at `at`, if it may still be given; else the next that there is. */
static struct list *
walk_trim(struct backend *b, struct list *at, int64_t wall_ms)
{
    struct record *record = list_entry(at, struct record, in_all);
    uint64_t seq = record->seq;

    if (!is_over(record, wall_ms))
        return at;
    memory_topic_trim(b, record->store, wall_ms);
    return seqlist_above(&b->all, seq - 1);
}

/* Fills the page. What is too old goes before it is looked at, so that its gap can be told. */
static int
walk_along(struct backend *b, const struct store_read *read, struct walk *w)
{
    int64_t wall_ms = loop_wall_ms(b->loop);
    uint64_t skipped_max = SKIPPED_FOR_TOPIC * b->stats.n_topics + SKIPPED_MIN;
    struct list *at = seqlist_above(&b->all, read->since), *trimmed;

    if (skipped_max > SKIPPED_MAX)
        skipped_max = SKIPPED_MAX;
    for (; at != &b->all.all; at = at->next) {
        struct record *record = list_entry(at, struct record, in_all);
        int r;

        if (!topic_is_wanted(b, read, record->store)) {
            w->is_lost = ++w->n_skipped > skipped_max;
            if (w->is_lost)
                return 0;
            w->upto = record->seq;
            continue;
        }
        trimmed = walk_trim(b, at, wall_ms);
        if (trimmed != at) {
            at = trimmed->prev; /* perhaps the head */
            continue;
        }
        w->is_full = is_full(read, b->n_page, w->bytes);
        if (w->is_full)
            return 0;
        r = page_add(b, record);
        if (r < 0)
            return r;
        w->bytes += record_size(record);
        w->upto = record->seq;
    }
    w->upto = b->last_seq;
    return 0;
}

static void
tell_gaps(struct backend *b, const struct store_read *read)
{
    tell_unnamed_gap(b, read);
    for (struct list *it = b->evicted.prev; it != &b->evicted; it = it->prev) {
        const struct memory_extra *extra = list_entry(it, struct memory_extra, in_evicted);
        struct store_topic *topic = extra->topic;

        if (extra->evicted_at <= read->since || extra->evicted_at < read->told_at)
            return; /* so have all before it */
        if (topic->evicted_seq > read->since && topic_is_wanted(b, read, topic))
            tell_gap(read, topic);
    }
}

static void
page_give(struct backend *b, const struct store_read *read, bool is_given)
{
    for (size_t i = 0; i < b->n_page; i++) {
        if (is_given)
            read->on_record(b->page[i], read->arg);
        record_unref(b->page[i]);
    }
    b->n_page = 0;
}

static void
read_in_order(struct backend *b, const struct store_read *read)
{
    struct walk w = {.upto = read->since};
    uint64_t n;
    int r;

    r = walk_along(b, read, &w);
    if (r == 0 && w.is_lost)
        r = collect_above(b, read, w.upto);
    if (r < 0) {
        page_give(b, read, false);
        read_end(b, read, r, read->since, true);
        return;
    }
    tell_gaps(b, read);
    n = b->n_page;
    page_give(b, read, true);
    if (w.is_lost)
        give_merged(b, read, n, w.bytes, w.upto);
    else
        read_end(b, read, 0, w.upto, w.is_full);
}

static bool
has_few_topics(const struct backend *b, uint64_t since)
{
    const struct list *it = b->recent.prev;

    for (unsigned n = 0; n <= FEW_TOPICS; n++, it = it->prev)
        if (it == &b->recent || list_entry(it, struct store_topic, in_recent)->last_seq <= since)
            return true;
    return false;
}

/* ---- The read. ---- */

/* After two thousand million of them: no topic may have the number of a read to come. */
static void
reads_number_anew(struct backend *b)
{
    list_for_each_safe(it, following, &b->recent) list_entry(it, struct store_topic, in_recent)->asked = 0;
    b->n_reads = 1;
}

int
memory_read(struct backend *b, const struct store_read *asked)
{
    struct store_read read = *asked;
    int r;

    assert(!b->is_calling);
    b->is_calling = true;
    b->n_heap = 0;
    if (++b->n_reads > INT32_MAX)
        reads_number_anew(b);
    if (read.topics != NULL) {
        r = collect_named(b, &read);
    } else if (read.last > 0) {
        r = collect_last(b, &read);
    } else if (!has_few_topics(b, read.since)) {
        read_in_order(b, &read);
        return 0;
    } else {
        tell_unnamed_gap(b, &read);
        r = collect_above(b, &read, read.since);
    }
    /* A gap may have been told already: the failure has to come by on_done(). */
    if (r < 0)
        read_end(b, &read, r, read.since, true);
    else
        give_merged(b, &read, 0, 0, b->last_seq);
    return 0;
}
