/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at queues and emptying them: QUEUES, PEEK, PURGE. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define LIMIT_MAX 1000u
#define FLAG_DROP 1u
/* Of one PEEK; and of one read for it. */
#define PEEK_BYTES (1024u * 1024)
#define CHUNK_BYTES (256u * 1024)

/* ---- QUEUES. ---- */

uint64_t
queue_count_ready(const struct queue_group *g)
{
    const struct queuecore *q = &g->core;
    /* What was restored is counted among the unread, too. */
    uint64_t known = q->n_early < g->n_unread ? q->n_early : g->n_unread;

    return q->n_ready + q->n_blocked + g->n_unread - known;
}

/* The time of the oldest message that is not done, as far as it is known. */
static uint64_t
oldest_ms(const struct queue_group *g)
{
    const struct list *first = g->core.order.next;
    int64_t time_ms = 0;

    if (first != &g->core.order)
        time_ms = list_entry(first, struct queue_item, in_order)->time_ms;
    if (time_ms == 0 && g->n_unread > 0 && g->unread_ms > 1)
        time_ms = g->unread_ms;
    return (uint64_t)time_ms;
}

static void
put_queue(struct peer *peer, uint64_t req, const struct queue_group *g)
{
    frame_put_queue(outbox_begin(peer), &(struct frame_queue){
                                            .req = req,
                                            .topic = topic_name(g->qt->topic),
                                            .group = queue_name(g),
                                            .n_ready = queue_count_ready(g),
                                            .n_leased = g->core.n_leased,
                                            .n_delayed = g->core.n_waiting,
                                            .n_done = g->figures.n_done,
                                            .n_dead = g->figures.n_dead,
                                            .n_lost = g->figures.n_lost,
                                            .oldest_ms = oldest_ms(g),
                                            .n_consumers = g->n_members,
                                        });
    outbox_end(peer);
}

/* What all that match begin with. */
static struct slice
literal_part(struct slice filter)
{
    size_t n = 0;

    while (n < filter.n && filter.p[n] != '+' && filter.p[n] != '#')
        n++;
    if (n < filter.n && n > 0)
        n--; /* "a/#" is "a", too */
    return slice_of(filter.p, n);
}

int
queue_on_queues(struct peer *peer, const struct frame *f)
{
    const struct frame_queues *asked = &f->queues;
    const struct queues *queues = peer->broker->queues;
    uint64_t limit = asked->limit < LIMIT_MAX ? asked->limit : LIMIT_MAX, n = 0;
    struct slice literal = literal_part(asked->filter);
    bool has_more = false;
    size_t at;

    if (filter_error(asked->filter) != NULL)
        return peer_complain(peer, f, "%s", filter_error(asked->filter));
    at = queue_sorted_at(queues, literal, slice_of(NULL, 0));
    if (asked->after.n > 0 && queue_sorted_at(queues, asked->after, asked->after_group) > at)
        at = queue_sorted_at(queues, asked->after, asked->after_group);
    for (; at < queues->n_sorted && !has_more; at++) {
        const struct queue_group *g = queues->sorted[at];
        struct slice name = topic_name(g->qt->topic);

        if (name.n < literal.n || memcmp(name.p, literal.p, literal.n) != 0)
            break; /* they stand side by side */
        if (g->qt->topic->setting->is_hidden || !filter_matches(asked->filter, name) ||
            (slice_equal(name, asked->after) && slice_equal(queue_name(g), asked->after_group)))
            continue;
        has_more = n == limit;
        if (n++ < limit)
            put_queue(peer, asked->req, g);
    }
    frame_put_queues_end(outbox_begin(peer), &(struct frame_queues_end){.req = asked->req, .more = has_more});
    outbox_end(peer);
    peer_update_pause(peer);
    return 0;
}

/* ---- PEEK. ---- */

struct peek {
    struct broker *broker;
    struct peer *peer;     /* not freed while this reads */
    struct queue_group *g; /* likewise */
    struct list in_queues;
    struct loop_hook hook; /* reads on */
    uint64_t req, since, left;
    size_t n_bytes;
};

static bool
peek_is_wanted(const struct peek *peek)
{
    return peer_is_attached(peek->peer) && !peek->g->is_dropped;
}

static void
peek_end(struct peek *peek, bool has_more)
{
    struct peer *peer = peek->peer;

    if (peer_is_attached(peer)) {
        frame_put_peek_end(outbox_begin(peer), &(struct frame_peek_end){.req = peek->req, .more = has_more});
        outbox_end(peer);
    }
    list_remove(&peek->in_queues);
    queue_user_drop(peek->g);
    peer->n_peeks--;
    peer->n_reads--;
    free(peek);
    if (peer_is_attached(peer))
        peer_update_pause(peer);
    else
        peer_free_late(peer);
}

static void
put_peeked(struct peek *peek, const struct record *record)
{
    struct broker *broker = peek->broker;
    const struct queue_item *item = queuecore_find(&peek->g->core, record->seq);
    struct frame_peeked peeked = {
        .req = peek->req,
        .seq = record->seq,
        .time_ms = (uint64_t)record->time_ms,
        .kind = record->kind,
        .type = record_type(record),
        .headers = record_headers(record),
        .key = record_key(record),
        .body = record_body(record),
    };

    if (item != NULL) {
        peeked.n_deliveries = item->n_deliveries;
        if (item->state == QUEUE_LEASED || item->state == QUEUE_WAITING) {
            peeked.state = item->state == QUEUE_LEASED ? 1 : 2;
            peeked.until_ms =
                item->until_ms + (uint64_t)loop_wall_ms(broker->loop) - loop_now_ms(broker->loop);
        }
    }
    frame_put_peeked(outbox_begin(peek->peer), &peeked);
    outbox_end(peek->peer);
}

static void
peek_on_record(struct record *record, void *arg)
{
    struct peek *peek = arg;

    if (peek->left == 0 || !peek_is_wanted(peek))
        return;
    peek->since = record->seq;
    if (queuecore_is_done(&peek->g->core, record->seq))
        return;
    put_peeked(peek, record);
    peek->left--;
    peek->n_bytes += record_size(record);
}

static void
peek_on_gap(void *topic, uint64_t seq, void *arg)
{
    (void)topic;
    (void)seq;
    (void)arg;
}

static void
peek_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct peek *peek = arg;

    peek->broker->n_reads--;
    if (error < 0 || !peek_is_wanted(peek) || peek->left == 0 || !is_cut_short ||
        peek->n_bytes >= PEEK_BYTES) {
        peek_end(peek, is_cut_short || error < 0 || (peek->left == 0 && peek->since < upto));
        return;
    }
    loop_defer(peek->broker->loop, &peek->hook);
}

static void
peek_read(void *arg)
{
    struct peek *peek = arg;
    struct broker *broker = peek->broker;
    int r = -ECANCELED;

    broker->n_reads++;
    if (peek_is_wanted(peek))
        r = broker->store_ops->read(broker->store, &(struct store_read){
                                                       .topics = &peek->g->qt->topic->store,
                                                       .n_topics = 1,
                                                       .since = peek->since,
                                                       .max_bytes = CHUNK_BYTES,
                                                       .on_record = peek_on_record,
                                                       .on_gap = peek_on_gap,
                                                       .on_done = peek_on_done,
                                                       .arg = peek,
                                                   });
    if (r < 0)
        peek_on_done(r, 0, false, peek);
}

static int
peek_start(struct peer *peer, const struct frame_peek *asked, struct queue_group *g)
{
    struct peek *peek = calloc(1, sizeof(*peek));

    if (peek == NULL)
        return -ENOMEM;
    *peek = (struct peek){.broker = peer->broker,
        .peer = peer,
        .g = g,
        .hook = {.fn = peek_read, .arg = peek},
        .req = asked->req,
        .since = asked->seq > g->core.floor ? asked->seq : g->core.floor,
        .left = asked->count < LIMIT_MAX ? asked->count : LIMIT_MAX};
    list_init(&peek->in_queues);
    list_push_back(&peer->broker->queues->peeks, &peek->in_queues);
    queue_user_add(g);
    peer->n_peeks++;
    peer->n_reads++;
    peer_update_pause(peer);
    loop_defer(peer->broker->loop, &peek->hook);
    return 0;
}

void
queue_peeks_fini(struct queues *queues)
{
    while (!list_empty(&queues->peeks)) {
        struct peek *peek = list_entry(queues->peeks.next, struct peek, in_queues);

        loop_cancel(queues->broker->loop, &peek->hook);
        peek_end(peek, true);
    }
}

int
queue_on_peek(struct peer *peer, const struct frame *f)
{
    struct queue_group *g = queue_find_named(peer->broker, f->peek.topic, f->peek.group);

    if (g != NULL && !g->qt->topic->setting->may_subscribe) {
        queue_answer(peer, f->peek.req, ERROR_NOT_ALLOWED,
            "The settings of this topic do not allow clients to subscribe.", 0);
        return 0;
    }
    if (g != NULL && f->peek.count > 0)
        return peek_start(peer, &f->peek, g);
    frame_put_peek_end(outbox_begin(peer), &(struct frame_peek_end){.req = f->peek.req});
    outbox_end(peer);
    return 0;
}

/* ---- PURGE. ---- */

int
queue_on_purge(struct peer *peer, const struct frame *f)
{
    const struct frame_purge *asked = &f->purge;
    struct queue_group *g = queue_find_named(peer->broker, asked->topic, asked->group);
    uint64_t count;

    if (asked->flags > FLAG_DROP)
        return peer_complain(peer, f, "flags %llu", (unsigned long long)asked->flags);
    if (g == NULL) {
        queue_answer(peer, asked->req, ERROR_NOT_FOUND, "There is no such queue.", 0);
        return 0;
    }
    count = queue_count_ready(g) + g->core.n_waiting;
    log_notice("%s: the group %.*s of %.*s is %s: %llu messages waited", peer->name, SLICE_ARG(queue_name(g)),
        SLICE_ARG(topic_name(g->qt->topic)), asked->flags & FLAG_DROP ? "removed" : "purged",
        (unsigned long long)count);
    if ((asked->flags & FLAG_DROP) != 0) {
        queue_leave_all(g, ERROR_NOT_FOUND, "The queue was removed.");
        queue_drop(g);
        queue_answer(peer, asked->req, ERROR_NONE, NULL, count);
        return 0;
    }
    (void)queuecore_purge(&g->core, g->qt->last_seq);
    g->n_unread = 0;
    g->has_gap = false;
    g->is_exact = true;
    queue_answer_saved(g, peer->slot, peer->session, asked->req, count);
    queue_wake(g);
    return 0;
}
