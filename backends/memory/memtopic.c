/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a topic keeps in memory: its ring, the ends of lives in it, the retained value; and all ways in which
 * something goes: limits, the time of a message, the mark of a queue.
 */
#include "config.h"

#include "backends/memory/memstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define EXPIRE_MAX 10000u /* records in one tick */

struct memory_extra *
memory_topic_extra(struct store_topic *topic)
{
    struct memory_extra *extra = topic->extra;

    if (extra == NULL) {
        extra = calloc(1, sizeof(*extra));
        if (extra == NULL)
            return NULL;
        extra->topic = topic;
        extra->hold_above = UINT64_MAX;
        list_init(&extra->in_evicted);
        topic->extra = extra;
    }
    return extra;
}

/* ---- The ring. ---- */

static int
ring_resize(struct store_topic *topic, uint32_t n_ring)
{
    struct memory_place *ring = malloc(n_ring * sizeof(ring[0]));

    if (ring == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < topic->n_places; i++)
        ring[i] = *memory_topic_place(topic, i);
    if (topic->n_ring > 1)
        free(topic->ring.many);
    topic->ring.many = ring;
    topic->n_ring = n_ring;
    topic->head = 0;
    return 0;
}

static int
ring_reserve(struct store_topic *topic)
{
    return topic->n_places < topic->n_ring ? 0 : ring_resize(topic, topic->n_ring * 2);
}

static void
ring_shrink(struct store_topic *topic)
{
    if (topic->n_places == 0) {
        if (topic->n_ring > 1)
            free(topic->ring.many);
        topic->n_ring = 1;
        topic->head = 0;
    } else if (topic->n_ring > 16 && topic->n_places < topic->n_ring / 4) {
        (void)ring_resize(topic, topic->n_ring / 2); /* no memory: it stays as large as it is */
    }
}

/* Empty places are let go at both ends, and all of them when they are more than the records. */
static void
ring_tidy(struct store_topic *topic)
{
    uint32_t n = 0;

    while (topic->n_places > 0 && memory_topic_at(topic, 0) == NULL) {
        topic->head = (topic->head + 1) & (topic->n_ring - 1);
        topic->n_places--;
    }
    while (topic->n_places > 0 && memory_topic_at(topic, topic->n_places - 1) == NULL)
        topic->n_places--;
    if (topic->n_places <= 2u * topic->n + 16)
        return;
    for (uint32_t i = 0; i < topic->n_places; i++)
        if (memory_topic_at(topic, i) != NULL)
            *memory_topic_place(topic, n++) = *memory_topic_place(topic, i);
    topic->n_places = n;
}

uint32_t
memory_topic_first_above(const struct store_topic *topic, uint64_t since)
{
    uint32_t low = 0, high = topic->n_places;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (memory_topic_seq_at(topic, middle) > since)
            high = middle;
        else
            low = middle + 1;
    }
    while (low < topic->n_places && memory_topic_at(topic, low) == NULL)
        low++;
    return low;
}

/* ---- The lists. ---- */

/* Out of the list of those that keep something, without losing the place of memory_tick() in it. */
static void
kept_remove(struct backend *b, struct store_topic *topic)
{
    if (b->tick_at == &topic->in_kept)
        b->tick_at = topic->in_kept.next;
    list_remove(&topic->in_kept);
}

static bool
oldest_is_held(const struct store_topic *topic)
{
    return topic->shared->limits.is_held && memory_topic_seq_at(topic, 0) > memory_topic_hold_above(topic);
}

/* Where it belongs now: in `kept`, in `held`, or in neither. */
static void
topic_list(struct backend *b, struct store_topic *topic)
{
    bool is_held = topic->n > 0 && oldest_is_held(topic);

    if (topic->n > 0 && !list_empty(&topic->in_kept) && is_held == topic->is_in_held)
        return;
    kept_remove(b, topic);
    topic->is_in_held = is_held;
    if (topic->n > 0)
        list_push_back(is_held ? &b->held : &b->kept, &topic->in_kept);
}

/* ---- The ends of lives. ---- */

static void
lives_sink(struct memory_lives *l, uint32_t at)
{
    struct memory_life moved = l->heap[at];

    for (uint32_t child; (child = 2 * at + 1) < l->n; at = child) {
        if (child + 1 < l->n && l->heap[child + 1].expires_ms < l->heap[child].expires_ms)
            child++;
        if (moved.expires_ms <= l->heap[child].expires_ms)
            break;
        l->heap[at] = l->heap[child];
    }
    l->heap[at] = moved;
}

static void
lives_add(struct memory_lives *l, struct memory_life life)
{
    uint32_t at = l->n++;

    while (at > 0 && life.expires_ms < l->heap[(at - 1) / 2].expires_ms) {
        l->heap[at] = l->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    l->heap[at] = life;
}

/* Forgets those of what was evicted. */
static void
lives_tidy(struct store_topic *topic)
{
    struct memory_lives *l = memory_topic_lives(topic);
    uint64_t first = topic->n > 0 ? memory_topic_seq_at(topic, 0) : UINT64_MAX;
    uint32_t n = 0;

    for (uint32_t i = 0; i < l->n; i++)
        if (l->heap[i].seq >= first)
            l->heap[n++] = l->heap[i];
    l->n = n;
    for (uint32_t i = n / 2; i-- > 0;)
        lives_sink(l, i);
}

static int
lives_reserve(struct backend *b, struct store_topic *topic)
{
    struct memory_lives *l = memory_topic_lives(topic);
    struct memory_life *heap;
    uint32_t room;

    if (l == NULL) {
        struct memory_extra *extra = memory_topic_extra(topic);

        l = extra != NULL ? calloc(1, sizeof(*l)) : NULL;
        if (l == NULL)
            return -ENOMEM;
        l->topic = topic;
        extra->lives = l;
    }
    if (!heap_has(&l->in_lives) && heap_reserve(&b->lives, 1) < 0)
        return -ENOMEM;
    if (l->n < l->room)
        return 0;
    lives_tidy(topic);
    if (l->n < l->room / 2)
        return 0;
    room = l->room == 0 ? 1 : l->room * 2;
    heap = realloc(l->heap, room * sizeof(heap[0]));
    if (heap == NULL)
        return l->n < l->room ? 0 : -ENOMEM;
    l->heap = heap;
    l->room = room;
    return 0;
}

/* Its place among the topics follows its next end. There is room for it. */
static void
lives_move(struct backend *b, struct store_topic *topic)
{
    struct memory_lives *l = memory_topic_lives(topic);
    const struct record *retained = topic->retained;
    int64_t next_ms = INT64_MAX;

    if (l == NULL)
        return;
    if (l->n > 0)
        next_ms = l->heap[0].expires_ms;
    if (retained != NULL && retained->expires_ms != 0 && retained->expires_ms < next_ms)
        next_ms = retained->expires_ms;
    if (next_ms == INT64_MAX)
        heap_remove(&b->lives, &l->in_lives);
    else if (heap_has(&l->in_lives))
        heap_move(&b->lives, &l->in_lives, next_ms, topic->id);
    else
        heap_push(&b->lives, &l->in_lives, next_ms, topic->id);
    if (l->n == 0) {
        free(l->heap);
        l->heap = NULL;
        l->room = 0;
    }
}

/* ---- Going. ---- */

/* It is in no place any more. */
static void
record_drop(struct backend *b, struct store_topic *topic, struct record *record)
{
    size_t size = record_size(record);

    topic->n--;
    topic->bytes -= size;
    b->stats.n_bytes -= size;
    b->stats.n_records--;
    seqlist_remove(&b->all, &record->in_all);
    record_unref(record);
}

/* The ring is not tidy after. */
static void
place_empty(struct backend *b, struct store_topic *topic, uint32_t at)
{
    struct record *record = memory_topic_at(topic, at);

    memory_topic_place(topic, at)->bits = record->seq << 1 | 1;
    record_drop(b, topic, record);
}

static void
place_empty_oldest(struct backend *b, struct store_topic *topic)
{
    struct record *record = memory_topic_at(topic, 0);

    topic->head = (topic->head + 1) & (topic->n_ring - 1);
    topic->n_places--;
    record_drop(b, topic, record);
    if (topic->n_places != topic->n)
        ring_tidy(topic);
}

void
memory_topic_note_evicted(struct backend *b, struct store_topic *topic)
{
    struct memory_extra *extra = memory_topic_extra(topic);

    if (extra != NULL) {
        extra->evicted_at = b->last_seq;
        list_move_back(&b->evicted, &extra->in_evicted);
    } else if (topic->evicted_seq > b->dropped_seq && !topic->shared->limits.is_unrecoverable) {
        b->dropped_seq = topic->evicted_seq; /* without a name, but told */
    }
}

static void
topic_evict_oldest(struct backend *b, struct store_topic *topic)
{
    topic->evicted_seq = memory_topic_seq_at(topic, 0);
    memory_topic_note_evicted(b, topic);
    place_empty_oldest(b, topic);
    b->stats.n_evicted++;
}

static void
topic_expire_one(struct backend *b, struct store_topic *topic, uint64_t seq)
{
    uint32_t at = memory_topic_first_above(topic, seq - 1);

    if (at == topic->n_places || memory_topic_seq_at(topic, at) != seq)
        return; /* it was evicted before */
    place_empty(b, topic, at);
    b->stats.n_expired++;
    ring_tidy(topic);
}

/* Of its records at most `budget`; how many. */
static unsigned
topic_expire(struct backend *b, struct store_topic *topic, int64_t wall_ms, unsigned budget)
{
    struct memory_lives *l = memory_topic_lives(topic);
    unsigned n = 0;

    if (l == NULL || !heap_has(&l->in_lives) || l->in_lives.key > wall_ms)
        return 0;
    while (l->n > 0 && l->heap[0].expires_ms <= wall_ms && n < budget) {
        uint64_t seq = l->heap[0].seq;

        l->heap[0] = l->heap[--l->n];
        lives_sink(l, 0);
        topic_expire_one(b, topic, seq);
        n++;
    }
    if (topic->retained != NULL && topic->retained->expires_ms != 0 &&
        topic->retained->expires_ms <= wall_ms) {
        record_unref(topic->retained);
        topic->retained = NULL;
    }
    lives_move(b, topic);
    return n;
}

static bool
topic_is_over(const struct store_topic *topic, int64_t wall_ms)
{
    const struct store_limits *limits = &topic->shared->limits;

    return topic->n > limits->messages || (limits->bytes > 0 && topic->bytes > limits->bytes) ||
           (limits->age_ms > 0 && wall_ms - memory_topic_at(topic, 0)->time_ms >= (int64_t)limits->age_ms);
}

void
memory_topic_trim(struct backend *b, struct store_topic *topic, int64_t wall_ms)
{
    (void)topic_expire(b, topic, wall_ms, UINT32_MAX);
    while (topic->n > 0 && !oldest_is_held(topic) && topic_is_over(topic, wall_ms))
        topic_evict_oldest(b, topic);
    ring_shrink(topic);
    topic_list(b, topic);
}

void
memory_topic_trim_upto(struct backend *b, struct store_topic *topic, uint64_t upto)
{
    while (topic->n > 0 && memory_topic_seq_at(topic, 0) <= upto)
        topic_evict_oldest(b, topic);
    ring_shrink(topic);
    topic_list(b, topic);
}

void
memory_trim_all(struct backend *b, int64_t wall_ms)
{
    while (b->options.bytes_max > 0 && b->stats.n_bytes > b->options.bytes_max && !list_empty(&b->kept)) {
        struct store_topic *topic = list_entry(b->kept.next, struct store_topic, in_kept);

        (void)topic_expire(b, topic, wall_ms, UINT32_MAX);
        while (topic->n > 0 && !oldest_is_held(topic) && b->stats.n_bytes > b->options.bytes_max)
            topic_evict_oldest(b, topic);
        ring_shrink(topic);
        topic_list(b, topic);
    }
}

void
memory_expire(struct backend *b, int64_t wall_ms, unsigned budget)
{
    unsigned n_records = 0;

    while (budget-- > 0 && n_records < EXPIRE_MAX) {
        struct heap_node *next = heap_top(&b->lives);
        struct store_topic *topic;

        if (next == NULL || next->key > wall_ms)
            return;
        topic = heap_entry(next, struct memory_lives, in_lives)->topic;
        n_records += topic_expire(b, topic, wall_ms, EXPIRE_MAX - n_records);
        ring_shrink(topic);
        topic_list(b, topic);
    }
}

void
memory_topic_empty(struct backend *b, struct store_topic *topic)
{
    while (topic->n > 0) {
        place_empty_oldest(b, topic);
        b->stats.n_evicted++;
    }
    ring_shrink(topic);
    topic_list(b, topic);
    memory_topic_forget_retained(b, topic);
    if (memory_topic_lives(topic) == NULL)
        return;
    heap_remove(&b->lives, &topic->extra->lives->in_lives);
    free(topic->extra->lives->heap);
    free(topic->extra->lives);
    topic->extra->lives = NULL;
}

/* ---- Coming. ---- */

/* Is the next one kept at all? */
static bool
topic_keeps(const struct backend *b, const struct store_topic *topic)
{
    const struct store_limits *limits = &topic->shared->limits;

    return limits->messages > 0 || (limits->is_held && memory_topic_hold_above(topic) <= b->last_seq);
}

int
memory_topic_reserve(struct backend *b, struct store_topic *topic, const struct record *record)
{
    int r = topic_keeps(b, topic) ? ring_reserve(topic) : 0;

    return r == 0 && record->expires_ms != 0 ? lives_reserve(b, topic) : r;
}

void
memory_topic_keep(struct backend *b, struct store_topic *topic, struct record *record)
{
    size_t size = record_size(record);

    list_move_back(&b->recent, &topic->in_recent);
    if (record->prev == 0 && topic->evicted_seq > 0) /* what was dropped may have been its own */
        memory_topic_note_evicted(b, topic);
    if (topic->shared->limits.messages == 0 &&
        !(topic->shared->limits.is_held && record->seq > memory_topic_hold_above(topic))) {
        topic->evicted_seq = record->seq;
        memory_topic_note_evicted(b, topic);
        b->stats.n_evicted++;
        return;
    }
    assert(topic->n_places < topic->n_ring);
    topic->n_places++;
    memory_topic_place(topic, topic->n_places - 1)->bits = (uintptr_t)record_ref(record);
    record->store = topic;
    seqlist_push(&b->all, &record->in_all);
    topic->n++;
    topic->bytes += size;
    b->stats.n_bytes += size;
    b->stats.n_records++;
    if (record->expires_ms != 0) {
        lives_add(memory_topic_lives(topic), (struct memory_life){record->expires_ms, record->seq});
        lives_move(b, topic);
    }
    if (b->kept.prev != &topic->in_kept)
        kept_remove(b, topic); /* to the end of the list */
    memory_topic_trim(b, topic, record->time_ms);
    memory_trim_all(b, record->time_ms);
}

void
memory_topic_forget_retained(struct backend *b, struct store_topic *topic)
{
    record_unref(topic->retained);
    topic->retained = NULL;
    lives_move(b, topic);
}

void
memory_topic_retain(struct backend *b, struct store_topic *topic, struct record *record)
{
    const struct store_limits *limits = &topic->shared->limits;

    if (limits->keeps_no_retained || !(limits->keeps_last_retained || (record->flags & RECORD_RETAIN) != 0))
        return;
    record_unref(topic->retained);
    topic->retained = record->n_body > 0 ? record_ref(record) : NULL;
    lives_move(b, topic);
}
