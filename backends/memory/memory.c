/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend that keeps messages in the broker's own memory, and loses them with it: each start is a new
 * epoch. The model is in memstore.h, reads are in memread.c, repeats in dedupe.c. Everything happens before a
 * call returns.
 */
#include "config.h"

#include "backends/memory/memory.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "backends/backend.h"
#include "backends/memory/memstore.h"
#include "base/loop.h"
#include "base/rand.h"

#define TICK_DEDUPE_BUDGET 1000u

/* ---- Limits, shared by topics. ---- */

static struct slice
limits_key_of(const void *value)
{
    const struct memory_limits *shared = value;

    return slice_of(&shared->limits, sizeof(shared->limits));
}

/* Copied field by field over zeroes: the padding is part of the key. */
static void
limits_copy(struct store_limits *to, const struct store_limits *from)
{
    memset(to, 0, sizeof(*to));
    to->messages = from->messages;
    to->age_ms = from->age_ms;
    to->bytes = from->bytes;
    to->keeps_last_retained = from->keeps_last_retained;
    to->keeps_no_retained = from->keeps_no_retained;
    to->is_unrecoverable = from->is_unrecoverable;
    if (to->messages > UINT32_MAX / 2)
        to->messages = UINT32_MAX / 2;
}

static struct memory_limits *
limits_share(struct backend *b, const struct store_limits *limits)
{
    struct store_limits key;
    struct memory_limits *shared;

    limits_copy(&key, limits);
    shared = table_find(&b->limits, slice_of(&key, sizeof(key)));
    if (shared == NULL) {
        shared = calloc(1, sizeof(*shared));
        if (shared == NULL)
            return NULL;
        limits_copy(&shared->limits, limits);
        if (table_insert(&b->limits, shared) < 0) {
            free(shared);
            return NULL;
        }
    }
    shared->n_users++;
    return shared;
}

static void
limits_unshare(struct backend *b, struct memory_limits *shared)
{
    assert(shared->n_users > 0);
    if (--shared->n_users > 0)
        return;
    table_remove(&b->limits, limits_key_of(shared));
    free(shared);
}

/* ---- The ring of a topic. ---- */

static int
ring_resize(struct store_topic *topic, uint32_t n_ring)
{
    struct record **ring = malloc(n_ring * sizeof(ring[0]));

    if (ring == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < topic->n; i++)
        ring[i] = memory_topic_at(topic, i);
    free(topic->ring);
    topic->ring = ring;
    topic->n_ring = n_ring;
    topic->head = 0;
    return 0;
}

static int
ring_reserve(struct store_topic *topic)
{
    if (topic->n < topic->n_ring)
        return 0;
    return ring_resize(topic, topic->n_ring == 0 ? 1 : topic->n_ring * 2);
}

static void
ring_shrink(struct store_topic *topic)
{
    if (topic->n == 0) {
        free(topic->ring);
        topic->ring = NULL;
        topic->n_ring = topic->head = 0;
    } else if (topic->n_ring > 16 && topic->n < topic->n_ring / 4) {
        (void)ring_resize(topic, topic->n_ring / 2); /* no memory: it stays as large as it is */
    }
}

/* Out of the list of those that keep something, without losing the place of memory_tick() in it. */
static void
kept_remove(struct backend *b, struct store_topic *topic)
{
    if (b->tick_at == &topic->in_kept)
        b->tick_at = topic->in_kept.next;
    list_remove(&topic->in_kept);
}

static void
topic_evict_oldest(struct backend *b, struct store_topic *topic)
{
    struct record *oldest = memory_topic_at(topic, 0);
    size_t size = record_size(oldest);

    topic->evicted_seq = oldest->seq;
    topic->head = (topic->head + 1) & (topic->n_ring - 1);
    topic->n--;
    topic->bytes -= size;
    b->stats.n_bytes -= size;
    b->stats.n_records--;
    b->stats.n_evicted++;
    record_unref(oldest);
    if (topic->n == 0)
        kept_remove(b, topic);
}

void
memory_topic_trim(struct backend *b, struct store_topic *topic, int64_t wall_ms)
{
    const struct store_limits *limits = &topic->shared->limits;
    uint32_t before = topic->n;

    while (topic->n > 0) {
        bool is_over =
            topic->n > limits->messages || (limits->bytes > 0 && topic->bytes > limits->bytes) ||
            (limits->age_ms > 0 && wall_ms - memory_topic_at(topic, 0)->time_ms >= (int64_t)limits->age_ms);

        if (!is_over)
            break;
        topic_evict_oldest(b, topic);
    }
    if (topic->n < before)
        ring_shrink(topic);
}

/* All topics together: what was appended to the longest ago goes first. */
static void
memory_trim_all(struct backend *b)
{
    while (b->options.bytes_max > 0 && b->stats.n_bytes > b->options.bytes_max && !list_empty(&b->kept)) {
        struct store_topic *topic = list_entry(b->kept.next, struct store_topic, in_kept);

        while (topic->n > 0 && b->stats.n_bytes > b->options.bytes_max)
            topic_evict_oldest(b, topic);
        ring_shrink(topic);
    }
}

/* ---- The life of the store. ---- */

static void
memory_configure(struct backend *b, const void *conf)
{
    b->options = *(const struct memory_options *)conf;
    b->dedupe.key_window_ms = b->options.key_window_ms;
    b->dedupe.keys_max = b->options.keys_max;
    memory_trim_all(b);
}

static int
memory_open(const void *conf, struct loop *loop, const struct store_host *host, struct backend **ret)
{
    struct backend *b = calloc(1, sizeof(*b));

    if (b == NULL)
        return -ENOMEM;
    b->host = *host;
    b->loop = loop;
    dedupe_init(&b->dedupe);
    table_init(&b->limits, limits_key_of);
    list_init(&b->recent);
    list_init(&b->kept);
    b->tick_at = &b->kept;
    do {
        rand_bytes(&b->epoch, sizeof(b->epoch));
        b->epoch &= (UINT64_C(1) << 53) - 1; /* so that a client's JSON number can hold it */
    } while (b->epoch == 0);
    memory_configure(b, conf);
    *ret = b;
    return 0;
}

static void
topic_free(struct backend *b, struct store_topic *topic)
{
    while (topic->n > 0)
        topic_evict_oldest(b, topic);
    free(topic->ring);
    record_unref(topic->retained);
    list_remove(&topic->in_recent);
    limits_unshare(b, topic->shared);
    free(topic);
    b->stats.n_topics--;
}

static void
memory_close(struct backend *b)
{
    list_for_each_safe(it, following, &b->recent)
        topic_free(b, list_entry(it, struct store_topic, in_recent));
    dedupe_fini(&b->dedupe);
    table_fini(&b->limits);
    free(b->heap);
    free(b);
}

static uint64_t
memory_epoch(const struct backend *b)
{
    return b->epoch;
}

static uint64_t
memory_last_seq(const struct backend *b)
{
    return b->last_seq;
}

/* ---- Topics. ---- */

static int
memory_topic_open(struct backend *b, struct slice name, void *cookie, const struct store_limits *limits,
    struct store_topic **ret)
{
    struct store_topic *topic = calloc(1, sizeof(*topic));

    assert(!b->is_calling);
    if (topic == NULL)
        return -ENOMEM;
    topic->shared = limits_share(b, limits);
    if (topic->shared == NULL) {
        free(topic);
        return -ENOMEM;
    }
    topic->cookie = cookie;
    topic->id = b->next_id++;
    topic->evicted_seq = b->dropped_seq;
    list_init(&topic->in_kept);
    list_init(&topic->in_recent);
    list_push_front(&b->recent, &topic->in_recent);
    b->stats.n_topics++;
    *ret = topic;
    return 0;
}

static void
topic_set_retained(struct store_topic *topic, struct record *record)
{
    record_unref(topic->retained);
    topic->retained = record;
}

static void
memory_topic_limit(struct backend *b, struct store_topic *topic, const struct store_limits *limits)
{
    struct memory_limits *shared = limits_share(b, limits);

    assert(!b->is_calling);
    if (shared == NULL)
        return; /* no memory: the old limits stay */
    limits_unshare(b, topic->shared);
    topic->shared = shared;
    if (limits->keeps_no_retained)
        topic_set_retained(topic, NULL);
    memory_topic_trim(b, topic, loop_wall_ms(b->loop));
}

static void
memory_topic_drop(struct backend *b, struct store_topic *topic)
{
    assert(!b->is_calling);
    if (topic->last_seq > b->dropped_seq && !topic->shared->limits.is_unrecoverable)
        b->dropped_seq = topic->last_seq;
    topic_free(b, topic);
}

static struct record *
memory_retained(struct backend *b, struct store_topic *topic)
{
    return topic->retained != NULL ? record_ref(topic->retained) : NULL;
}

static void
memory_topic_stats(struct backend *b, const struct store_topic *topic, uint64_t *ret_last, uint64_t *ret_n,
    uint64_t *ret_bytes)
{
    if (ret_last != NULL)
        *ret_last = topic->last_seq;
    if (ret_n != NULL)
        *ret_n = topic->n;
    if (ret_bytes != NULL)
        *ret_bytes = topic->bytes;
}

/* ---- Appending. ---- */

/* Was it appended before? Everything that can fail happens here or in append_reserve(). */
static int
append_check(struct backend *b, struct store_topic *topic, const struct record *record,
    struct store_origin origin, enum append_outcome *ret, uint64_t *ret_seq)
{
    uint64_t now_ms = loop_now_ms(b->loop);
    int r;

    *ret = APPEND_OK;
    if (origin.boot != 0) {
        r = dedupe_check_pub(&b->dedupe, origin.boot, origin.pub, now_ms, ret_seq);
        if (r < 0)
            return r;
        if (r != DEDUPE_NEW) {
            *ret = r == DEDUPE_REPEATED ? APPEND_REPEATED : APPEND_FORGOTTEN;
            return 0;
        }
    }
    if (record_once(record).n > 0) {
        *ret_seq = dedupe_find_key(&b->dedupe, topic->id, record_once(record), now_ms);
        if (*ret_seq != 0) {
            *ret = APPEND_REPEATED;
            if (origin.boot != 0)
                dedupe_note_pub(&b->dedupe, origin.boot, origin.pub, *ret_seq);
        }
    }
    return 0;
}

/* The topic keeps the record, or evicts it at once. The ring has room. */
static void
topic_keep(struct backend *b, struct store_topic *topic, struct record *record)
{
    size_t size = record_size(record);

    list_remove(&topic->in_recent);
    list_push_back(&b->recent, &topic->in_recent);
    if (topic->shared->limits.messages == 0) {
        topic->evicted_seq = record->seq;
        b->stats.n_evicted++;
        return;
    }
    topic->ring[(topic->head + topic->n) & (topic->n_ring - 1)] = record_ref(record);
    topic->n++;
    topic->bytes += size;
    b->stats.n_bytes += size;
    b->stats.n_records++;
    kept_remove(b, topic);
    list_push_back(&b->kept, &topic->in_kept);
    memory_topic_trim(b, topic, record->time_ms);
    memory_trim_all(b);
}

static void
topic_retain(struct store_topic *topic, struct record *record)
{
    const struct store_limits *limits = &topic->shared->limits;

    if (limits->keeps_no_retained || !(limits->keeps_last_retained || (record->flags & RECORD_RETAIN) != 0))
        return;
    topic_set_retained(topic, record->body.n > 0 ? record_ref(record) : NULL);
}

static int
append_new(struct backend *b, struct store_topic *topic, struct record *record, struct store_origin origin)
{
    uint64_t seq = b->last_seq + 1;
    int r = topic->shared->limits.messages > 0 ? ring_reserve(topic) : 0;

    if (r == 0 && record_once(record).n > 0)
        r = dedupe_note_key(&b->dedupe, topic->id, record_once(record), seq, loop_now_ms(b->loop));
    if (r < 0)
        return r;
    if (origin.boot != 0)
        dedupe_note_pub(&b->dedupe, origin.boot, origin.pub, seq);
    b->last_seq = seq;
    record->seq = seq;
    record->prev = topic->last_seq;
    record->time_ms = loop_wall_ms(b->loop);
    record->topic = topic->cookie;
    topic->last_seq = seq;
    topic_keep(b, topic, record);
    topic_retain(topic, record);
    return 0;
}

static int
memory_append_take(struct backend *b, struct store_topic *topic, struct record *record,
    struct store_origin origin, void *cookie)
{
    enum append_outcome outcome;
    uint64_t seq = 0;
    int r;

    assert(!b->is_calling);
    r = append_check(b, topic, record, origin, &outcome, &seq);
    if (r == 0 && outcome == APPEND_OK) {
        r = append_new(b, topic, record, origin);
        seq = record->seq;
    }
    if (r == 0) {
        if (outcome == APPEND_OK)
            b->host.on_record(record, b->host.arg);
        else
            b->stats.n_repeated++;
        b->host.on_appended(cookie, 0, outcome, seq, b->host.arg);
    }
    record_unref(record);
    return r;
}

/* ---- Now and then. ---- */

/* Walks round the topics that keep something. Readers do not wait for it: a read trims what it meets. */
static void
memory_tick(struct backend *b, unsigned budget)
{
    int64_t wall_ms = loop_wall_ms(b->loop);

    for (uint64_t n = b->stats.n_topics; n > 0 && budget > 0 && !list_empty(&b->kept); n--, budget--) {
        struct list *at = b->tick_at == &b->kept ? b->kept.next : b->tick_at;

        b->tick_at = at->next;
        memory_topic_trim(b, list_entry(at, struct store_topic, in_kept), wall_ms);
    }
    dedupe_expire(&b->dedupe, loop_now_ms(b->loop), TICK_DEDUPE_BUDGET);
}

static void
memory_stats(const struct backend *b, struct store_stats *ret)
{
    *ret = b->stats;
}

const struct backend_ops backend_memory = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .epoch = memory_epoch,
    .last_seq = memory_last_seq,
    .topic_open = memory_topic_open,
    .topic_limit = memory_topic_limit,
    .topic_drop = memory_topic_drop,
    .append_take = memory_append_take,
    .read = memory_read,
    .retained = memory_retained,
    .topic_stats = memory_topic_stats,
    .tick = memory_tick,
    .stats = memory_stats,
    .configure = memory_configure,
};
