/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a queue gets its messages from: as they are published, while the queue is read to its end and short;
 * else from the store, ahead of the work by a bounded number. Records that were let go, or were known by
 * their seq alone, are read again when their turn comes.
 */
#include "config.h"

#include <errno.h>

#include "base/log.h"
#include "broker/broker.h"
#include "broker/headers.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"

/* Below so many that could be given out more are read, so many at once. */
#define AHEAD_LOW 512u
#define AHEAD_MAX 1024u
#define READ_BYTES (256u * 1024)
#define FETCH_RECORDS 64u
#define RETRY_MS 200u

static bool
has_takers(const struct queue_group *g)
{
    return g->kind->has_takers(g);
}

bool
queue_is_crowded(const struct queue_group *g)
{
    return g->core.n_items - g->core.n_givable >= queue_setting(g)->max_unsettled;
}

static bool
keeps_records(const struct queue_group *g)
{
    const struct broker *broker = g->broker;

    return broker->queues->totals.cache_bytes < broker->options.queue_cache;
}

/* A message that was put back for another group alone. */
static bool
is_for_other(const struct queue_group *g, const struct record *record)
{
    return (record->flags & RECORD_FOR_GROUP) != 0 &&
           !slice_equal(headers_find(record_headers(record), "busbar-group"), queue_name(g));
}

/* 1: it is to be done; 0: it was known to be done; -ENOMEM. */
static int
group_add(struct queue_group *g, struct record *record)
{
    int r = queuecore_add(&g->core, record, keeps_records(g));

    if (r == 1 && is_for_other(g, record)) {
        struct queue_item *item = queuecore_find(&g->core, record->seq);

        if (item->state == QUEUE_READY)
            queuecore_done(&g->core, item);
    }
    return r;
}

void
queue_note_record(struct queue_group *g, struct record *record)
{
    bool is_at_end = g->is_exact && g->n_unread == 0 && !g->is_reading;

    if (!is_at_end || !has_takers(g) || g->core.n_givable >= AHEAD_MAX || queue_is_crowded(g) ||
        group_add(g, record) < 0) {
        if (g->n_unread++ == 0)
            g->unread_ms = record->time_ms;
    }
    if (g->kind->waits_for_takers || has_takers(g))
        queue_wake(g);
}

/* ---- Reading ahead. ---- */

static void
ahead_on_record(struct record *record, void *arg)
{
    struct queue_group *g = arg;
    int r;

    if (g->is_dropped || g->has_failed || record->seq <= g->core.n_read)
        return;
    g->unread_ms = record->time_ms; /* what is left is not older */
    if (g->is_looking)
        return;
    r = group_add(g, record);
    if (r < 0) {
        log_error("memory ran out for the group %.*s", SLICE_ARG(queue_name(g)));
        g->has_failed = true; /* from here on it is read again */
    } else if (r > 0 && g->n_unread > 0) {
        g->n_unread--;
    }
}

static void
ahead_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct queue_group *g = arg;

    (void)topic;
    if (!g->is_dropped && seq > g->core.n_read)
        g->has_gap = true;
}

/* Messages that are known, and not there any more. A queue evicts none, so they have expired. */
static void
note_missing(struct queue_group *g, uint64_t n)
{
    if (queue_setting(g)->is_queue)
        g->broker->queues->totals.n_expired += n;
    else
        queue_lost(g, n);
}

/* The reading is at the end: what was still to be read is not there any more. */
static void
note_end(struct queue_group *g)
{
    if (g->n_unread > 0 && g->has_gap)
        queue_lost(g, g->is_exact ? g->n_unread : 1);
    else if (g->n_unread > 0 && g->is_exact)
        g->broker->queues->totals.n_expired += g->n_unread;
    g->n_unread = 0;
    g->has_gap = false;
    g->is_exact = true;
}

static void
ahead_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct queue_group *g = arg;
    uint64_t vanished = g->core.n_vanished;

    g->broker->n_reads--;
    g->is_reading = false;
    if (g->is_looking) {
        g->is_looking = false;
        queue_wake(g);
    } else if (!g->is_dropped && error == 0 && !g->has_failed) {
        queuecore_read_upto(&g->core, upto);
        note_missing(g, g->core.n_vanished - vanished);
        if (!is_cut_short && upto >= g->qt->last_seq)
            note_end(g);
        queue_wake(g);
    } else if (!g->is_dropped) {
        g->retry_at_ms = loop_now_ms(g->broker->loop) + RETRY_MS;
        queue_wake(g);
    }
    queue_user_drop(g);
}

static void
read_on(struct queue_group *g, uint64_t max_records)
{
    struct broker *broker = g->broker;
    int r;

    g->is_reading = true;
    g->has_failed = false;
    broker->n_reads++;
    queue_user_add(g);
    r = broker->store_ops->read(broker->store, &(struct store_read){
                                                   .topics = &g->qt->topic->store,
                                                   .n_topics = 1,
                                                   .since = g->core.n_read,
                                                   .max_records = max_records,
                                                   .max_bytes = READ_BYTES,
                                                   .on_record = ahead_on_record,
                                                   .on_gap = ahead_on_gap,
                                                   .on_done = ahead_on_done,
                                                   .arg = g,
                                               });
    if (r < 0)
        ahead_on_done(r, 0, false, g);
}

void
queue_read_ahead(struct queue_group *g)
{
    if (g->is_reading || g->retry_at_ms != 0 || (g->is_exact && g->n_unread == 0))
        return;
    if (has_takers(g)) {
        if (g->core.n_givable < AHEAD_LOW && !queue_is_crowded(g))
            read_on(g, AHEAD_MAX);
    } else if (g->unread_ms == 0 && g->n_unread > 0) {
        g->is_looking = true; /* how old is what nobody has come for yet? */
        g->unread_ms = 1;
        read_on(g, 1);
    }
}

void
queue_let_go(struct queue_group *g)
{
    if (g->core.record_bytes == 0 || has_takers(g))
        return;
    for (struct queue_item *item = queuecore_ready(&g->core); item != NULL;
         item = queuecore_ready_after(&g->core, item))
        queuecore_set_record(&g->core, item, NULL);
}

/* ---- Records one by one. ---- */

static void
fetch_on_record(struct record *record, void *arg)
{
    struct queue_group *g = arg;
    struct queue_item *item = g->is_dropped ? NULL : queuecore_find(&g->core, record->seq);

    if (item != NULL && item->record == NULL && (item->state == QUEUE_READY || item->state == QUEUE_DYING))
        queuecore_set_record(&g->core, item, record);
}

static void
fetch_on_gap(void *topic, uint64_t seq, void *arg)
{
    (void)topic;
    (void)seq;
    (void)arg;
}

static void
fetch_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct queue_group *g = arg;
    struct queue_item *item = g->is_dropped ? NULL : queuecore_find(&g->core, g->fetched);

    (void)upto;
    (void)is_cut_short;
    g->broker->n_reads--;
    g->is_fetching = false;
    if (item != NULL && error == 0 && item->record == NULL &&
        (item->state == QUEUE_READY || item->state == QUEUE_DYING)) {
        queuecore_done(&g->core, item);
        note_missing(g, 1);
    }
    if (!g->is_dropped && error < 0)
        g->retry_at_ms = loop_now_ms(g->broker->loop) + RETRY_MS;
    queue_wake(g);
    queue_user_drop(g);
}

void
queue_fetch(struct queue_group *g, struct queue_item *item)
{
    struct broker *broker = g->broker;
    int r;

    if (g->is_fetching || g->retry_at_ms != 0)
        return;
    g->is_fetching = true;
    g->fetched = item->seq;
    broker->n_reads++;
    queue_user_add(g);
    r = broker->store_ops->read(broker->store, &(struct store_read){
                                                   .topics = &g->qt->topic->store,
                                                   .n_topics = 1,
                                                   .since = item->seq - 1,
                                                   .max_records = FETCH_RECORDS,
                                                   .max_bytes = READ_BYTES,
                                                   .on_record = fetch_on_record,
                                                   .on_gap = fetch_on_gap,
                                                   .on_done = fetch_on_done,
                                                   .arg = g,
                                               });
    if (r < 0)
        fetch_on_done(r, 0, false, g);
}
