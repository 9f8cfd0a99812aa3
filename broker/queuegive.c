/* SPDX-License-Identifier: Apache-2.0 */
/* Members of queues, and giving out: one after the other among those that have room. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"

/* In one turn, for one group: the others want theirs. */
#define TURN_ITEMS 2048u
#define TURN_BYTES (1024u * 1024)
/* Items that are passed over because the wrong member has room, or their records are being read. */
#define SKIPPED_MAX 256u

/* ---- Giving. ---- */

bool
queue_has_record(struct queue_group *g, struct queue_item *item)
{
    const struct record *record = item->record;

    if (record == NULL) {
        queue_fetch(g, item); /* with a store in memory it comes at once, and the item may be gone after */
        return false;
    }
    if (record->expires_ms != 0 && record->expires_ms <= loop_wall_ms(g->broker->loop)) {
        queuecore_done(&g->core, item);
        g->broker->queues->totals.n_expired++;
        return false;
    }
    return true;
}

static void
put_dispatch(struct queue_member *m, const struct queue_item *item)
{
    struct queue_group *g = m->group;
    const struct record *record = item->record;
    struct peer *peer = m->consumer->peer;
    char text[LEASE_TEXT_MAX];

    frame_put_dispatch(outbox_begin(peer), &(struct frame_dispatch){
                                               .consumer = m->consumer->number,
                                               .lease = queue_lease_text(g, item, text),
                                               .n_deliveries = item->n_deliveries,
                                               .lease_ms = queue_setting(g)->lease_ms,
                                               .topic = topic_name(g->qt->topic),
                                               .seq = record->seq,
                                               .time_ms = (uint64_t)record->time_ms,
                                               .kind = record->kind,
                                               .type = record_type(record),
                                               .headers = record_headers(record),
                                               .key = record_key(record),
                                               .body = record_body(record),
                                           });
    outbox_end(peer);
}

/* The member whose turn it is. NULL: there is none for this item now; *ret_has_any: for others there is. */
static struct queue_member *
pick(struct queue_group *g, const struct queue_item *item, bool *ret_has_any)
{
    bool avoids = item->avoid != 0 && item->until_ms != 0 && g->n_members > 1;

    *ret_has_any = false;
    list_for_each_safe(it, following, &g->roomy)
    {
        struct queue_member *m = list_entry(it, struct queue_member, in_roomy);

        if (!consumer_has_room(m->consumer)) {
            list_remove(&m->in_roomy); /* it says so when it has */
            continue;
        }
        *ret_has_any = true;
        if (!avoids || m->holder.id != item->avoid)
            return m;
    }
    return NULL;
}

static void
give_to(struct queue_member *m, struct queue_item *item)
{
    struct queue_group *g = m->group;
    struct queues *queues = g->broker->queues;
    uint64_t now_ms = loop_now_ms(g->broker->loop);

    queuecore_lease(&g->core, item, &m->holder, now_ms + queue_setting(g)->lease_ms, now_ms);
    put_dispatch(m, item);
    queues->totals.n_given++;
    queues->totals.n_given_again += item->n_deliveries > 1;
    if (queues->totals.cache_bytes > g->broker->options.queue_cache / 2)
        queuecore_set_record(&g->core, item, NULL); /* read again if it comes back */
    list_remove(&m->in_roomy);
    list_push_back(&g->roomy, &m->in_roomy);
    consumer_note_out(m->consumer);
}

void
queue_give(struct queue_group *g)
{
    unsigned n_given = 0, n_skipped = 0;
    size_t n_bytes = 0;
    struct queue_item *item, *next;
    bool has_any;

    for (item = queuecore_ready(&g->core); item != NULL && !list_empty(&g->roomy); item = next) {
        struct queue_member *m = pick(g, item, &has_any);

        next = queuecore_ready_after(&g->core, item);
        if ((m == NULL && !has_any) || (item->n_deliveries == 0 && queue_is_crowded(g)))
            return;
        if (n_given >= TURN_ITEMS || n_bytes >= TURN_BYTES) {
            queue_wake(g);
            return;
        }
        if (m != NULL && item->record == NULL) {
            queue_fetch(g, item);
            if (!g->is_fetching)
                return; /* it came, or is gone; and so may be the next one: again in the next turn */
            m = NULL;
        }
        if (m == NULL) {
            if (++n_skipped >= SKIPPED_MAX)
                return;
            continue;
        }
        if (!queue_has_record(g, item))
            continue; /* expired */
        n_bytes += record_size(item->record);
        n_given++;
        give_to(m, item);
    }
}

/* ---- Members. ---- */

static int
refuse(struct consumer *c, enum error_code code, const char *message)
{
    consumer_refuse(c, code, message);
    return 0;
}

/* From where a group that is new begins. */
static uint64_t
first_floor(const struct broker *broker, const struct topic *topic, uint64_t epoch, uint64_t seq)
{
    if (epoch == 0 || epoch != broker->store_ops->epoch(broker->store))
        return topic->setting->queue.is_queue && epoch == 0 ? 0 : broker->last_seq;
    return seq < broker->last_seq ? seq : broker->last_seq;
}

static int
member_start(struct consumer *c, uint64_t epoch, uint64_t seq)
{
    struct broker *broker = c->peer->broker;
    struct queue_member *m;
    struct queue_group *g;
    struct topic *topic;
    int r = topic_get(broker, consumer_topic(c), &topic);

    if (r == 0)
        r = queue_open(broker, topic, consumer_group(c), first_floor(broker, topic, epoch, seq), &g);
    if (r == -ENOSPC)
        return refuse(c, ERROR_LIMIT_REACHED,
            "There are too many topics (broker.topics_max) or queues (broker.queues_max).");
    if (r == -ENOTSUP)
        return refuse(c, ERROR_UNAVAILABLE, "This store has no queues.");
    if (r < 0)
        return refuse(c, ERROR_STORE_FAILED, NULL);
    m = calloc(1, sizeof(*m));
    if (m == NULL)
        return -ENOMEM;
    m->group = g;
    m->consumer = c;
    queue_holder_init(broker->queues, &m->holder);
    m->holder.is_outlived = c->outlived;
    list_init(&m->in_roomy);
    list_init(&m->in_group);
    list_push_back(&g->members, &m->in_group);
    g->n_members++;
    c->work = m;
    consumer_confirm(c, g->core.floor);
    queue_wake(g);
    return 0;
}

static void
member_on_room(struct consumer *c)
{
    struct queue_member *m = c->work;

    if (list_empty(&m->in_roomy))
        list_push_back(&m->group->roomy, &m->in_roomy);
    queue_wake(m->group);
}

static int
member_on_hold(struct consumer *c, struct slice text)
{
    struct queue_member *m = c->work;
    struct queue_group *g = m->group;
    struct broker *broker = g->broker;
    uint64_t now_ms = loop_now_ms(broker->loop);
    struct queue_holder *displaced;
    struct lease lease;

    if (!lease_get(broker->queues->key, text, &lease) || lease.group != g->number ||
        queuecore_hold(&g->core, lease.seq, lease.n_deliveries, &m->holder,
            now_ms + queue_setting(g)->lease_ms, now_ms, &displaced) == NULL)
        return 0; /* it is over; who settles it is told */
    queue_note_back(g, displaced);
    consumer_note_out(c);
    queue_wake(g);
    return 0;
}

/* Its leases have ended, or go on without it. */
static void
member_free(struct queue_member *m)
{
    struct queue_group *g = m->group;

    list_remove(&m->in_group);
    list_remove(&m->in_roomy);
    g->n_members--;
    free(m);
}

static void
member_on_gone(struct consumer *c, enum consumer_end why)
{
    struct queue_member *m = c->work;
    struct queue_group *g;

    (void)why;
    if (m == NULL)
        return;
    c->work = NULL;
    g = m->group;
    if (m->holder.is_outlived || g->broker->is_stopping)
        queuecore_orphan_all(&m->holder);
    else
        queuecore_return_all(&g->core, &m->holder, QUEUE_AVOID_MS, loop_now_ms(g->broker->loop));
    member_free(m);
    queue_wake(g);
}

void
queue_leave_all(struct queue_group *g, enum error_code code, const char *message)
{
    while (!list_empty(&g->members)) {
        struct queue_member *m = list_entry(g->members.next, struct queue_member, in_group);
        struct consumer *c = m->consumer;

        c->work = NULL;
        queuecore_return_all(&g->core, &m->holder, 0, loop_now_ms(g->broker->loop));
        member_free(m);
        consumer_refuse(c, code, message);
    }
}

const struct consumer_ops queue_consumer_ops = {
    .start = member_start,
    .on_room = member_on_room,
    .on_hold = member_on_hold,
    .on_gone = member_on_gone,
};
