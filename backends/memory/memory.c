/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The backend that keeps messages in the broker's own memory, and loses them with it: each start is a new
 * epoch. The model is in memstore.h, what a topic keeps in memtopic.c, reads are in memread.c, repeats in
 * dedupe.c. Everything happens before a call returns.
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
    to->is_held = from->is_held;
    to->is_unrecoverable = from->is_unrecoverable;
    to->is_volatile = from->is_volatile;
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

/* ---- The life of the store. ---- */

static void
memory_configure(struct backend *b, const void *conf)
{
    b->options = *(const struct memory_options *)conf;
    b->dedupe.key_window_ms = b->options.key_window_ms;
    b->dedupe.keys_max = b->options.keys_max;
    memory_trim_all(b, loop_wall_ms(b->loop));
}

static uint64_t
record_seq_of(const struct list *member)
{
    return list_entry(member, struct record, in_all)->seq;
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
    list_init(&b->held);
    list_init(&b->evicted);
    seqlist_init(&b->all, record_seq_of);
    b->tick_at = &b->kept;
    b->aside_timer = (struct loop_timer){.fn = memory_aside_on_timer, .arg = b};
    memory_groups_init(b);
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
    memory_topic_empty(b, topic);
    list_remove(&topic->in_recent);
    if (topic->extra != NULL)
        list_remove(&topic->extra->in_evicted);
    free(topic->extra);
    limits_unshare(b, topic->shared);
    free(topic);
    b->stats.n_topics--;
}

static void
memory_close(struct backend *b)
{
    memory_aside_forget(b, NULL);
    memory_groups_fini(b);
    list_for_each_safe(it, following, &b->recent)
        topic_free(b, list_entry(it, struct store_topic, in_recent));
    dedupe_fini(&b->dedupe);
    table_fini(&b->limits);
    heap_fini(&b->lives);
    heap_fini(&b->aside);
    seqlist_fini(&b->all);
    free(b->heap);
    free(b->page);
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
    topic->n_ring = 1;
    if (!limits->is_held || memory_topic_extra(topic) != NULL)
        topic->shared = limits_share(b, limits);
    if (topic->shared == NULL) {
        free(topic->extra);
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
memory_topic_limit(struct backend *b, struct store_topic *topic, const struct store_limits *limits)
{
    bool has_extra = !limits->is_held || memory_topic_extra(topic) != NULL;
    struct memory_limits *shared = has_extra ? limits_share(b, limits) : NULL;

    assert(!b->is_calling);
    if (shared == NULL)
        return; /* no memory: the old limits stay */
    limits_unshare(b, topic->shared);
    topic->shared = shared;
    if (limits->keeps_no_retained)
        memory_topic_forget_retained(b, topic);
    memory_topic_trim(b, topic, loop_wall_ms(b->loop));
}

static void
memory_topic_drop(struct backend *b, struct store_topic *topic)
{
    assert(!b->is_calling);
    assert(topic->extra == NULL || topic->extra->n_groups == 0);
    if (topic->last_seq > b->dropped_seq && !topic->shared->limits.is_unrecoverable)
        b->dropped_seq = topic->last_seq;
    memory_aside_forget(b, topic);
    topic_free(b, topic);
}

static void
memory_topic_hold(struct backend *b, struct store_topic *topic, uint64_t above)
{
    struct memory_extra *extra = memory_topic_extra(topic);

    assert(!b->is_calling);
    if (extra == NULL)
        return; /* then it has not got the limits that hold, either */
    extra->hold_above = above;
    memory_topic_trim(b, topic, loop_wall_ms(b->loop));
}

static void
memory_topic_trim_now(struct backend *b, struct store_topic *topic, uint64_t upto)
{
    assert(!b->is_calling);
    memory_topic_trim_upto(b, topic, upto);
}

static struct record *
memory_retained(struct backend *b, struct store_topic *topic)
{
    struct record *retained = topic->retained;

    if (retained == NULL || (retained->expires_ms != 0 && retained->expires_ms <= loop_wall_ms(b->loop)))
        return NULL;
    return record_ref(retained);
}

static bool
memory_topic_is_idle(struct backend *b, struct store_topic *topic)
{
    assert(!b->is_calling);
    memory_topic_trim(b, topic, loop_wall_ms(b->loop));
    return topic->n == 0 && topic->retained == NULL &&
           (topic->extra == NULL || (topic->extra->n_aside == 0 && topic->extra->n_groups == 0));
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

/* Was it appended before, or kept aside? */
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
        if (r != DEDUPE_NEW)
            *ret = r == DEDUPE_REPEATED ? APPEND_REPEATED : APPEND_FORGOTTEN;
    }
    if (*ret == APPEND_OK && record_once(record).n > 0) {
        *ret_seq = dedupe_find_key(&b->dedupe, topic->id, record_once(record), now_ms);
        if (*ret_seq != 0) {
            *ret = APPEND_REPEATED;
            if (origin.boot != 0)
                dedupe_note_pub(&b->dedupe, origin.boot, origin.pub, *ret_seq);
        }
    }
    if (*ret == APPEND_REPEATED && dedupe_is_aside(*ret_seq, ret_seq))
        *ret = APPEND_SCHEDULED;
    return 0;
}

int
memory_append(struct backend *b, struct store_topic *topic, struct record *record)
{
    int r = memory_topic_reserve(b, topic, record);

    if (r < 0)
        return r;
    record->seq = ++b->last_seq;
    record->prev = topic->last_seq;
    record->time_ms = loop_wall_ms(b->loop);
    record->due_ms = 0;
    record->topic = topic->cookie;
    topic->last_seq = record->seq;
    memory_topic_keep(b, topic, record);
    memory_topic_retain(b, topic, record);
    return 0;
}

/* Everything that can fail happens before anything is changed. */
static int
append_new(struct backend *b, struct store_topic *topic, struct record *record, struct store_origin origin)
{
    int r = memory_topic_reserve(b, topic, record);

    if (r == 0 && record_once(record).n > 0)
        r = dedupe_note_key(
            &b->dedupe, topic->id, record_once(record), b->last_seq + 1, loop_now_ms(b->loop));
    if (r == 0)
        r = memory_append(b, topic, record);
    if (r == 0 && origin.boot != 0)
        dedupe_note_pub(&b->dedupe, origin.boot, origin.pub, record->seq);
    return r;
}

static int
append_aside(struct backend *b, struct store_topic *topic, struct record *record, struct store_origin origin)
{
    int r = topic->shared->limits.is_volatile ? -EINVAL : memory_aside_take(b, topic, record);
    uint64_t aside = dedupe_aside(record->due_ms);

    if (r < 0)
        return r;
    if (record_once(record).n > 0) /* without memory for it a repeat is not seen, but the message is there */
        (void)dedupe_note_key(&b->dedupe, topic->id, record_once(record), aside, loop_now_ms(b->loop));
    if (origin.boot != 0)
        dedupe_note_pub(&b->dedupe, origin.boot, origin.pub, aside);
    return 0;
}

static int
memory_append_take(struct backend *b, struct store_topic *topic, struct record *record,
    struct store_origin origin, void *cookie)
{
    enum append_outcome outcome;
    uint64_t seq = 0;
    bool is_new;
    int r;

    assert(!b->is_calling);
    r = append_check(b, topic, record, origin, &outcome, &seq);
    is_new = outcome == APPEND_OK;
    if (r == 0 && is_new && record->due_ms > loop_wall_ms(b->loop)) {
        seq = (uint64_t)record->due_ms;
        r = append_aside(b, topic, record, origin);
        outcome = APPEND_SCHEDULED;
    } else if (r == 0 && is_new) {
        r = append_new(b, topic, record, origin);
        seq = record->seq;
    }
    if (r == 0) {
        b->stats.n_repeated += !is_new;
        if (outcome == APPEND_OK)
            b->host.on_record(record, b->host.arg);
        b->host.on_appended(cookie, 0, outcome, seq, b->host.arg);
    }
    record_unref(record);
    return r;
}

/* ---- Now and then. ---- */

/* Walks round the topics that keep something that may be trimmed. Readers do not wait for it: a read trims
 * what it meets. */
static void
memory_tick(struct backend *b, unsigned budget)
{
    int64_t wall_ms = loop_wall_ms(b->loop);
    unsigned expire_budget = budget;

    for (uint64_t n = b->stats.n_topics; n > 0 && budget > 0 && !list_empty(&b->kept); n--, budget--) {
        struct list *at = b->tick_at == &b->kept ? b->kept.next : b->tick_at;

        b->tick_at = at->next;
        memory_topic_trim(b, list_entry(at, struct store_topic, in_kept), wall_ms);
    }
    memory_expire(b, wall_ms, expire_budget);
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
    .topic_is_idle = memory_topic_is_idle,
    .topic_hold = memory_topic_hold,
    .topic_trim = memory_topic_trim_now,
    .group_open = memory_group_open,
    .group_drop = memory_group_drop,
    .group_save = memory_group_save,
    .append_take = memory_append_take,
    .read = memory_read,
    .retained = memory_retained,
    .topic_stats = memory_topic_stats,
    .tick = memory_tick,
    .stats = memory_stats,
    .configure = memory_configure,
};
