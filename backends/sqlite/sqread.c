/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads, the loop's side. A read collects the topics that it is about, with the figures that the loop knows.
 * If all that it wants is in the cache it is answered at once; else the reader thread gets it. Whichever way:
 * what was evicted meanwhile is told as a gap and left out, so the answer is what memory would have given at
 * the moment when it is given, up to the seq that was the last when the read was collected.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>

/* ---- What it is about. ---- */

int
reading_add_source(struct reading *r, struct store_topic *topic)
{
    if (r->n_sources == r->sources_room) {
        size_t room = r->sources_room == 0 ? 8 : r->sources_room * 2;
        struct read_source *sources = realloc(r->sources, room * sizeof(sources[0]));

        if (sources == NULL)
            return -ENOMEM;
        r->sources = sources;
        r->sources_room = room;
    }
    r->sources[r->n_sources++] =
        (struct read_source){.topic = topic, .mark = topic->x != NULL ? topic->x->mark_done : 0};
    return 0;
}

static bool
is_concerned(const struct reading *r, const struct store_topic *topic)
{
    return r->read.last > 0 ? topic->now.n > 0
                            : topic->now.last_seq > r->read.since || topic->now.evicted_seq > r->read.since;
}

static int
collect_named(struct reading *r)
{
    int error = 0;

    for (size_t i = 0; i < r->read.n_topics && error == 0; i++) {
        struct store_topic *topic = r->read.topics[i];

        if (topic == NULL)
            r->tells_unnamed = r->read.last == 0;
        else if (is_concerned(r, topic))
            error = reading_add_source(r, topic);
    }
    return error;
}

static int
collect_all(struct backend *b, struct reading *r)
{
    r->tells_unnamed = r->read.last == 0;
    for (struct list *it = b->recent.prev; it != &b->recent; it = it->prev) {
        struct store_topic *topic = list_entry(it, struct store_topic, in_recent);
        int error;

        if (topic->now.last_seq == 0 || (r->read.last == 0 && topic->now.last_seq <= r->read.since))
            break; /* so have all before it */
        if (!is_concerned(r, topic) || !wide_wants(r, topic))
            continue;
        error = reading_add_source(r, topic);
        if (error < 0)
            return error;
    }
    return 0;
}

/* ---- From the cache. ---- */

/* What has expired stays in the cache until it is pushed out. */
static bool
has_ended(const struct backend *b, const struct record *record)
{
    return record->expires_ms != 0 && record->expires_ms <= loop_wall_ms(b->loop);
}

/* The place of the first of the last so many before `end` that are not too old and have not expired; how many
 * these are. */
static uint32_t
last_cached(const struct backend *b, const struct reading *r, const struct store_topic *topic, uint32_t end,
    uint64_t *ret_n)
{
    uint64_t n = 0, last = r->read.last;

    if (r->read.since_ms == 0 && (topic->x == NULL || topic->x->n_cached_ends == 0)) {
        *ret_n = last < end ? last : end;
        return end - (uint32_t)*ret_n;
    }
    for (; end > 0 && n < last; end--) {
        const struct record *record = topic_cached(topic, end - 1)->at->record;

        if (record->time_ms < r->read.since_ms)
            break;
        n += !has_ended(b, record);
    }
    *ret_n = n;
    return end;
}

static bool
source_is_cached(const struct backend *b, const struct reading *r, const struct store_topic *topic)
{
    bool has_ends = topic->x != NULL && topic->x->n_cached_ends > 0;
    uint64_t n = topic->n_cached;

    if (r->read.last == 0)
        return r->read.since >= b->cache_floor || (!has_ends && n >= topic->now.n);
    if (r->read.since_ms > 0 && topic->n_cached > 0 &&
        topic_cached(topic, 0)->at->record->time_ms < r->read.since_ms)
        return true; /* what is not cached is older still */
    if (has_ends)
        (void)last_cached(b, r, topic, topic->n_cached, &n);
    return n >= r->read.last || (!has_ends && n >= topic->now.n);
}

static bool
all_are_cached(const struct backend *b, const struct reading *r)
{
    for (size_t i = 0; i < r->n_sources; i++)
        if (!source_is_cached(b, r, r->sources[i].topic))
            return false;
    return true;
}

/* The place of the topic's first cached record above seq; n_cached: there is none. */
static uint32_t
first_above(const struct store_topic *topic, uint64_t seq)
{
    uint32_t low = 0, high = topic->n_cached;

    if (high == 0 || topic_cached(topic, high - 1)->seq <= seq)
        return high; /* the usual case: it is up to date */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (topic_cached(topic, middle)->seq > seq)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The first that is wanted; NULL: none is. */
static struct cached *
source_first(
    const struct backend *b, const struct reading *r, const struct store_topic *topic, uint32_t *ret_n)
{
    uint32_t end = first_above(topic, r->upto), n;
    uint64_t n_last;

    if (r->read.last == 0)
        n = first_above(topic, r->read.since);
    else
        n = last_cached(b, r, topic, end, &n_last);
    if (n >= end)
        return NULL;
    *ret_n = n;
    return topic_cached(topic, n)->at;
}

/* What is too old may not be given, and has to be told as a gap: that is the writer's to say. */
static bool
source_needs_trim(struct backend *b, const struct reading *r, struct store_topic *topic)
{
    const struct cached *first;
    uint32_t n;

    if (topic->n_trims > 0)
        return true;
    if (topic->limits.age_ms == 0)
        return false;
    if (r->read.last == 0 && r->read.since >= b->cache_floor) {
        first = source_first(b, r, topic, &n);
        if (first == NULL || loop_wall_ms(b->loop) - first->record->time_ms < (int64_t)topic->limits.age_ms)
            return false;
    }
    return store_trim_by_age(b, topic);
}

static void
heap_sink(struct read_source *heap, size_t n, size_t i)
{
    struct read_source moved = heap[i];

    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].at->record->seq < heap[child].at->record->seq)
            child++;
        if (moved.at->record->seq <= heap[child].at->record->seq)
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

static bool
is_enough(const struct store_read *read, uint64_t n, uint64_t bytes)
{
    return n > 0 && ((read->max_records > 0 && n >= read->max_records) ||
                        (read->max_bytes > 0 && bytes >= read->max_bytes));
}

/* It is no more in any list: the host may do anything from here. */
static void
reading_done(struct backend *b, struct reading *r, int error, uint64_t upto, bool is_cut_short)
{
    struct store_read read = r->read;

    reading_free(r);
    b->is_calling = false;
    read.on_done(error, upto, is_cut_short, read.arg);
    b->is_calling = true;
}

static void
give_cached(struct backend *b, struct reading *r)
{
    const struct store_read *read = &r->read;
    struct read_source *heap = r->sources;
    uint64_t n = 0, bytes = 0, upto = r->upto;
    size_t n_heap = 0;

    for (size_t i = 0; i < r->n_sources; i++) {
        uint32_t n_first = 0;
        struct cached *first = source_first(b, r, r->sources[i].topic, &n_first);

        if (first != NULL)
            heap[n_heap++] = (struct read_source){.topic = r->sources[i].topic, .at = first, .n_at = n_first};
    }
    for (size_t i = n_heap / 2; i-- > 0;)
        heap_sink(heap, n_heap, i);
    while (n_heap > 0) {
        struct cached *c = heap[0].at;

        if (is_enough(read, n, bytes) && !has_ended(b, c->record)) {
            reading_done(b, r, 0, upto, true);
            return;
        }
        if (!has_ended(b, c->record)) {
            n++;
            bytes += record_size(c->record);
            upto = c->record->seq;
            read->on_record(c->record, read->arg);
        }
        if (++heap[0].n_at < heap[0].topic->n_cached)
            heap[0].at = topic_cached(heap[0].topic, heap[0].n_at)->at;
        else
            heap[0].at = NULL;
        if (heap[0].at == NULL || heap[0].at->record->seq > r->upto)
            heap[0] = heap[--n_heap];
        if (n_heap > 0)
            heap_sink(heap, n_heap, 0);
    }
    reading_done(b, r, 0, r->upto, false);
}

/* ---- From the file. ---- */

static int
compare_sources(const void *a, const void *b)
{
    const struct read_source *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

void
reading_hand_over(struct backend *b, struct reading *r)
{
    list_remove(&r->in_queue);
    r->state = READING_ASKED;
    (void)pthread_mutex_lock(&b->lock);
    list_push_back(&b->asked, &r->in_queue);
    (void)pthread_cond_signal(&b->reader_wake);
    (void)pthread_mutex_unlock(&b->lock);
}

static void
reading_ask(struct backend *b, struct reading *r)
{
    size_t n = 0;

    /* Those that keep nothing, or were never written, are nothing to read; but their gaps are told in the
     * end. */
    for (size_t i = 0; i < r->n_sources; i++) {
        struct read_source *source = &r->sources[i];
        const struct topic_figures *now = &source->topic->now;

        source->id = now->n > 0 ? now->id : 0;
        source->from =
            r->read.last == 0 && r->read.since > now->evicted_seq ? r->read.since : now->evicted_seq;
        n += source->id != 0;
    }
    qsort(r->sources, r->n_sources, sizeof(r->sources[0]), compare_sources);
    reading_hand_over(b, r);
}

static void
give_found(struct backend *b, struct reading *r)
{
    const struct store_read *read = &r->read;

    for (size_t i = 0; i < r->n_found; i++) {
        struct found *found = &r->found[i];

        if (found->seq <= found->topic->now.evicted_seq)
            continue; /* it went meanwhile: the gap was told */
        if (has_ended(b, found->record))
            continue;
        found->record->topic = found->topic->cookie;
        read->on_record(found->record, read->arg);
    }
    reading_done(b, r, 0, r->found_upto, r->is_cut_short);
}

/* ---- The steps of a read. ---- */

static void
tell_gaps(struct backend *b, const struct reading *r)
{
    const struct store_read *read = &r->read;

    if (read->last > 0)
        return;
    for (size_t i = 0; i < r->n_sources; i++) {
        const struct store_topic *topic = r->sources[i].topic;

        if (topic->now.evicted_seq > read->since && !topic->limits.is_unrecoverable)
            read->on_gap(topic->cookie, topic->now.evicted_seq, read->arg);
    }
    if (r->tells_unnamed && b->dropped_seq > read->since)
        read->on_gap(NULL, b->dropped_seq, read->arg);
}

/* A read waits for the marks of before that may take away what it is about, and for no later ones. */
static bool
reading_note_marks(struct reading *r)
{
    bool has_any = false;

    for (size_t i = 0; i < r->n_sources; i++) {
        struct read_source *source = &r->sources[i];
        const struct topic_extra *x = source->topic->x;

        if (x == NULL || x->mark_sent == x->mark_done ||
            (r->read.last == 0 && r->read.since >= x->trim_asked))
            continue;
        source->mark = x->mark_sent;
        has_any = true;
    }
    return has_any;
}

void
reading_start_trims(struct backend *b, struct reading *r)
{
    for (size_t i = 0; i < r->n_sources; i++)
        (void)source_needs_trim(b, r, r->sources[i].topic);
    if (reading_note_marks(r))
        store_end_ride(b);
}

static int
reading_collect(struct backend *b, struct reading *r)
{
    int error;

    r->upto = b->last_seq;
    r->wall_ms = loop_wall_ms(b->loop);
    error = r->read.topics != NULL ? collect_named(r) : collect_all(b, r);
    if (error < 0)
        return error;
    reading_start_trims(b, r);
    r->state = READING_TRIMS;
    return 0;
}

static bool
reading_waits_for_trims(const struct reading *r)
{
    for (size_t i = 0; i < r->n_sources; i++) {
        const struct read_source *source = &r->sources[i];

        if (source->topic->n_trims > 0)
            return true;
        if (source->topic->x != NULL && (int32_t)(source->topic->x->mark_done - source->mark) < 0)
            return true;
    }
    return false;
}

/* True: it is gone, or the reader has it. */
static bool
reading_end_or_wait(struct backend *b, struct reading *r, int outcome)
{
    if (outcome == WIDE_NOT)
        outcome = reading_collect(b, r);
    if (outcome < 0)
        reading_done(b, r, outcome, r->read.since, true);
    return outcome < 0 || outcome == WIDE_ASKED;
}

/* What the reader brought. True: it is gone. */
static bool
reading_take_found(struct backend *b, struct reading *r)
{
    if (r->error < 0) {
        store_check_broken(b, r->error);
        return reading_end_or_wait(b, r, r->error);
    }
    if (r->is_wide)
        return reading_end_or_wait(b, r, wide_on_found(b, r));
    tell_gaps(b, r);
    give_found(b, r);
    return true;
}

/* True: it went on, or is gone. */
static bool
reading_step(struct backend *b, struct reading *r)
{
    if (r->state == READING_FOUND) {
        if (r->needs_batch > b->batch)
            return false;
        if (reading_take_found(b, r))
            return true;
    }
    if (r->state == READING_NEW && reading_end_or_wait(b, r, wide_begin(b, r)))
        return true;
    if (reading_waits_for_trims(r))
        return false;
    if (r->state == READING_PAGE) {
        wide_tell_gaps(b, r);
        give_found(b, r);
    } else if (all_are_cached(b, r)) {
        tell_gaps(b, r);
        give_cached(b, r);
    } else {
        reading_ask(b, r);
    }
    return true;
}

void
read_go_on(struct backend *b)
{
    bool has_moved;

    if (b->is_going_on || b->is_calling)
        return; /* the one that runs comes to it */
    if (b->is_delivering) {
        loop_defer(b->loop, &b->reads_hook);
        return;
    }
    b->is_going_on = b->is_calling = true;
    do {
        has_moved = false;
        list_for_each_safe(it, following, &b->reads)
        {
            has_moved |= reading_step(b, list_entry(it, struct reading, in_queue));
        }
    } while (has_moved && !list_empty(&b->reads));
    b->is_going_on = b->is_calling = false;
}

int
read_start(struct backend *b, const struct store_read *read)
{
    struct reading *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return -ENOMEM;
    r->read = *read;
    r->number = ++b->n_reads;
    list_init(&r->in_queue);
    list_push_back(&b->reads, &r->in_queue);
    read_go_on(b);
    return 0;
}

void
reading_free(struct reading *r)
{
    list_remove(&r->in_queue);
    for (size_t i = 0; i < r->n_found; i++)
        record_unref(r->found[i].record);
    free(r->found);
    free(r->sources);
    free(r);
}

void
read_cancel_all(struct backend *b)
{
    list_take_all(&b->reads, &b->asked);
    list_take_all(&b->reads, &b->read_done);
    list_for_each_safe(it, following, &b->reads)
    {
        struct reading *r = list_entry(it, struct reading, in_queue);

        reading_done(b, r, -ECANCELED, r->read.since, true);
    }
}
