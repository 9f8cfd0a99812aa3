/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous requests, from the asker to a responder and back to where their outcome is kept: see
 * asyncrequest.h. Those who come for it: asyncresult.c.
 */
#include "config.h"

#include "broker/asyncrequest.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "broker/asyncstate.h"
#include "broker/broker.h"
#include "broker/headers.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/payload.h"
#include "broker/publish.h"
#include "broker/responders.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/names.h"

/* A call is held for a little longer than anybody waits for its reply: the two clocks do not tick together,
 * and who held it last must not be followed by somebody with no time at all. */
#define PAST_EXPIRY_MS 50u
#define GROUP_NAME "responders"
#define ID_HEADER "busbar-request"
#define FAILURE_MAX 1024u
/* A queue that nothing was in for so long goes. */
#define IDLE_MS 30000u
/* In one turn, for one queue. */
#define TURN_ITEMS 512u

/* What a queue of requests has beside what all have; its `work`. */
struct request_queue {
    struct queue_group *g;
    struct demand demand;
    struct list holders; /* struct call_holder */
    struct loop_timer idle_timer;
};

/* What one responder has of one queue. */
struct call_holder {
    struct queue_holder holder;
    struct queue_group *g;
    struct consumer *consumer;
    struct list in_consumer, in_queue;
};

static struct slice
asked_topic(const struct queue_group *g)
{
    struct slice name = topic_name(g->qt->topic);
    const size_t n = strlen(REQUESTS_PREFIX);

    return slice_of(name.p + n, name.n - n);
}

/* $requests/TOPIC; empty if that is too long. */
static struct slice
queue_topic_name(struct slice asked, char text[TOPIC_MAX_BYTES])
{
    const size_t n = strlen(REQUESTS_PREFIX);

    if (n + asked.n > TOPIC_MAX_BYTES)
        return slice_of(NULL, 0);
    memcpy(text, REQUESTS_PREFIX, n);
    memcpy(text + n, asked.p, asked.n);
    return slice_of(text, n + asked.n);
}

static struct queue_group *
find_queue(struct broker *broker, struct slice asked)
{
    char text[TOPIC_MAX_BYTES];
    struct slice name = queue_topic_name(asked, text);
    struct topic *topic = name.n > 0 ? topic_find(broker, name) : NULL;

    return topic != NULL ? queue_find(topic, slice_str(GROUP_NAME)) : NULL;
}

bool
asyncrequest_is_call(struct slice call)
{
    return call.n > 0 && call.p[0] == 'r';
}

/* ---- What responders have. ---- */

/* NULL if memory ran out. */
static struct call_holder *
holder_get(struct queue_group *g, struct consumer *c)
{
    struct request_queue *rq = g->work;
    struct call_holder *h;

    for (struct list *it = c->kept.next; it != &c->kept; it = it->next) {
        h = list_entry(it, struct call_holder, in_consumer);
        if (h->g == g)
            return h;
    }
    h = calloc(1, sizeof(*h));
    if (h == NULL)
        return NULL;
    queue_holder_init(g->broker->queues, &h->holder);
    h->g = g;
    h->consumer = c;
    list_init(&h->in_consumer);
    list_init(&h->in_queue);
    list_push_back(&c->kept, &h->in_consumer);
    list_push_back(&rq->holders, &h->in_queue);
    return h;
}

static void
holder_free(struct call_holder *h)
{
    list_remove(&h->in_consumer);
    list_remove(&h->in_queue);
    free(h);
}

/* One of its calls is over. */
static void
on_ended(struct queue_group *g, struct queue_holder *holder)
{
    struct call_holder *h = list_entry(holder, struct call_holder, holder);
    struct consumer *c = h->consumer;

    (void)g;
    if (list_empty(&holder->leases))
        holder_free(h);
    consumer_note_back(c);
}

/* The item is done with, whoever has it. */
static void
end_item(struct queue_group *g, struct queue_item *item)
{
    struct queue_holder *holder = item->state == QUEUE_LEASED ? item->holder : NULL;

    queuecore_done(&g->core, item);
    queue_note_back(g, holder);
    queue_wake(g);
}

void
asyncrequest_on_gone(struct consumer *c, enum consumer_end why)
{
    (void)why;
    while (!list_empty(&c->kept)) {
        struct call_holder *h = list_entry(c->kept.next, struct call_holder, in_consumer);
        struct queue_group *g = h->g;

        if (g->broker->is_stopping)
            queuecore_orphan_all(&h->holder);
        else
            queuecore_return_all(&g->core, &h->holder, 0, loop_now_ms(g->broker->loop));
        holder_free(h);
        queue_wake(g);
    }
}

/* ---- Giving out. ---- */

static void
put_call(struct queue_group *g, const struct queue_item *item, struct consumer *c, struct slice id,
    uint64_t timeout_ms)
{
    const struct record *record = item->record;
    struct asynccall call = {.seq = item->seq, .n_deliveries = item->n_deliveries};
    char text[ASYNC_CALL_TEXT_MAX];

    memcpy(call.id, id.p, ASYNC_ID_TEXT);
    frame_put_call(outbox_begin(c->peer), &(struct frame_call){
                                              .consumer = c->number,
                                              .call = asynccall_put(g->broker->queues->key, &call, text),
                                              .topic = asked_topic(g),
                                              .timeout_ms = timeout_ms,
                                              .n_deliveries = item->n_deliveries,
                                              .kind = record->kind,
                                              .type = record_type(record),
                                              .headers = record_headers(record),
                                              .key = record_key(record),
                                              .body = record_body(record),
                                          });
    outbox_end(c->peer);
}

/* Does anybody still wait for it? Else it is done with. */
static bool
is_wanted(struct queue_group *g, struct queue_item *item, struct slice id)
{
    struct async_outcome outcome;
    bool is_pending;

    async_look(g->broker, id, &outcome);
    is_pending = outcome.state == ASYNC_PENDING && !async_is_decided(g->broker, id) &&
                 outcome.expires_ms > loop_wall_ms(g->broker->loop);
    record_unref(outcome.record);
    if (!is_pending)
        end_item(g, item);
    return is_pending;
}

/* The item has its record. 1: it was given out; 0: it was not wanted any more, and is gone; -ENOMEM. */
static int
give_to(struct queue_group *g, struct queue_item *item, struct consumer *c)
{
    struct broker *broker = g->broker;
    uint64_t now_ms = loop_now_ms(broker->loop), left_ms;
    struct slice id = headers_find(record_headers(item->record), ID_HEADER);
    struct call_holder *h;

    if (!is_wanted(g, item, id))
        return 0;
    h = holder_get(g, c);
    if (h == NULL)
        return -ENOMEM;
    left_ms = (uint64_t)(item->record->expires_ms - loop_wall_ms(broker->loop));
    queuecore_lease(&g->core, item, &h->holder, now_ms + left_ms + PAST_EXPIRY_MS, now_ms);
    put_call(g, item, c, id, left_ms);
    broker->queues->totals.n_given++;
    broker->queues->totals.n_given_again += item->n_deliveries > 1;
    if (broker->queues->totals.cache_bytes > broker->options.queue_cache / 2)
        queuecore_set_record(&g->core, item, NULL);
    consumer_note_out(c);
    return 1;
}

/* The next that can be given out now, with its record; NULL: none, or its record is being read. */
static struct queue_item *
next_item(struct queue_group *g)
{
    struct queue_item *item;

    while ((item = queuecore_ready(&g->core)) != NULL) {
        if (item->record == NULL) {
            queue_fetch(g, item);
            return NULL; /* the next turn, if it came at once */
        }
        if (queue_has_record(g, item))
            return item;
    }
    return NULL;
}

static bool
has_work(const struct queue_group *g)
{
    return g->core.n_givable > 0 || g->n_unread > 0 || !g->is_exact;
}

/* Where clients may not subscribe, wildcards may be held that match, and get nothing of it. */
static bool
may_respond(const struct queue_group *g)
{
    return g->qt->topic->setting->may_respond;
}

/* A responder has room. */
static bool
demand_on_room(struct demand *demand, struct consumer *responder)
{
    struct request_queue *rq = list_entry(demand, struct request_queue, demand);
    struct queue_group *g = rq->g;
    struct queue_item *item;
    int r = 0;

    while (r == 0 && may_respond(g) && !queue_is_held_back(g) && (item = next_item(g)) != NULL)
        r = give_to(g, item, responder);
    if (r > 0) {
        queue_wake(g);
        return true;
    }
    /* What is read when its turn comes is offered to them then. */
    demand_stop(g->broker, demand);
    queue_wake(g);
    return false;
}

static void
demand_on_alone(struct demand *demand)
{
    (void)demand; /* it waits for another one */
}

static void
give(struct queue_group *g)
{
    struct request_queue *rq = g->work;
    struct queue_item *item = NULL;
    struct consumer *c;
    unsigned n = 0;

    if (!may_respond(g))
        return;
    while ((item = next_item(g)) != NULL && n++ < TURN_ITEMS) {
        c = responders_pick(g->broker, asked_topic(g), NULL);
        if (c == NULL)
            break;
        if (give_to(g, item, c) < 0)
            break; /* when a responder has room again */
    }
    if (n > TURN_ITEMS)
        queue_wake(g);
    else if (has_work(g) && !demand_is_started(&rq->demand) &&
             demand_start(g->broker, &rq->demand, asked_topic(g)) < 0)
        log_error("memory ran out: requests on %.*s wait", SLICE_ARG(asked_topic(g)));
}

static bool
has_takers(const struct queue_group *g)
{
    return may_respond(g) && responders_has_any(g->broker, asked_topic(g));
}

/* ---- The end of one that nobody answered. ---- */

static int
bury(struct queue_group *g, struct queue_item *item)
{
    struct slice id = headers_find(record_headers(item->record), ID_HEADER);
    struct async_outcome outcome;
    enum error_code code;

    async_look(g->broker, id, &outcome);
    if (outcome.state != ASYNC_PENDING || async_is_decided(g->broker, id) ||
        outcome.expires_ms <= loop_wall_ms(g->broker->loop)) {
        record_unref(outcome.record);
        end_item(g, item);
        return 0;
    }
    item->is_busy = true;
    g->n_burying++;
    code = async_decide(outcome.topic, g->broker, id,
        async_error_new(ERROR_RESPONDER_GONE,
            slice_str("Each responder that had the request was lost before it answered.")),
        g->qt->topic->setting,
        &(struct decision_about){.group = g->number, .seq = item->seq, .is_burial = true});
    record_unref(outcome.record);
    if (code == ERROR_NONE)
        return 0;
    item->is_busy = false;
    g->n_burying--;
    return -EAGAIN;
}

void
async_on_decided(struct broker *broker, const struct decision_about *about, int error)
{
    struct queue_group *g = about->group != 0 ? queue_find_number(broker, about->group) : NULL;
    struct queue_item *item = g != NULL ? queuecore_find(&g->core, about->seq) : NULL;

    if (g != NULL && about->is_burial) {
        queue_buried(g, about->seq, error);
    } else if (item != NULL && item->is_busy) {
        item->is_busy = false;
        if (error == 0)
            end_item(g, item);
    }
    if (about->req != 0)
        queue_answer(links_find(broker, about->slot, about->session), about->req,
            error == 0 ? ERROR_NONE : ERROR_STORE_FAILED, NULL, 1);
}

/* ---- The life of a queue. ---- */

static void
on_idle_timer(void *arg)
{
    struct request_queue *rq = arg;
    struct queue_group *g = rq->g;
    struct broker *broker = g->broker;
    uint64_t n_kept;

    broker->store_ops->topic_stats(broker->store, g->qt->topic->store, NULL, &n_kept, NULL);
    if (n_kept == 0 && g->core.n_items == 0 && g->qt->n_appending == 0 && g->saving == NULL &&
        !g->is_reading) {
        queue_drop(g);
        return;
    }
    loop_timer_start(broker->loop, &rq->idle_timer, IDLE_MS);
}

static int
on_open(struct queue_group *g)
{
    struct request_queue *rq = calloc(1, sizeof(*rq));

    if (rq == NULL)
        return -ENOMEM;
    rq->g = g;
    rq->demand = (struct demand){.on_room = demand_on_room, .on_alone = demand_on_alone};
    list_init(&rq->holders);
    rq->idle_timer = (struct loop_timer){.fn = on_idle_timer, .arg = rq};
    loop_timer_start(g->broker->loop, &rq->idle_timer, IDLE_MS);
    g->work = rq;
    return 0;
}

static void
on_close(struct queue_group *g)
{
    struct request_queue *rq = g->work;

    if (rq == NULL)
        return;
    g->work = NULL;
    loop_timer_stop(g->broker->loop, &rq->idle_timer);
    demand_stop(g->broker, &rq->demand);
    while (!list_empty(&rq->holders)) {
        struct call_holder *h = list_entry(rq->holders.next, struct call_holder, in_queue);

        queuecore_orphan_all(&h->holder);
        holder_free(h);
    }
    free(rq);
}

const struct queue_kind asyncrequest_queue_kind = {
    .on_open = on_open,
    .on_close = on_close,
    .has_takers = has_takers,
    .waits_for_takers = true,
    .give = give,
    .bury = bury,
    .on_ended = on_ended,
};

/* ---- REQUEST. ---- */

/* Two appends: the outcome, which is pending, and the request. */
struct acceptance {
    char id[ASYNC_ID_TEXT]; /* first: it is the key */
    bool is_once;           /* in async->accepting */
    bool is_pending;        /* the outcome is kept */
    struct broker *broker;
    uint64_t session, req;
    unsigned slot, n_open;
    int error;
    int64_t expires_ms;
};

static void
put_accepted(const struct acceptance *a)
{
    struct peer *peer = links_find(a->broker, a->slot, a->session);

    if (peer == NULL || !peer_is_attached(peer))
        return;
    if (a->error == 0) {
        frame_put_accepted(outbox_begin(peer),
            &(struct frame_accepted){
                .req = a->req, .id = slice_of(a->id, ASYNC_ID_TEXT), .expires_ms = (uint64_t)a->expires_ms});
    } else {
        frame_put_replied(
            outbox_begin(peer), &(struct frame_replied){.req = a->req,
                                    .code = slice_str(error_code_name(ERROR_STORE_FAILED)),
                                    .message = slice_str(error_code_sentence(ERROR_STORE_FAILED))});
    }
    outbox_end(peer);
}

static void
acceptance_free(struct acceptance *a)
{
    if (a->is_once)
        (void)table_remove(&a->broker->async->accepting, slice_of(a->id, ASYNC_ID_TEXT));
    free(a);
}

static void
ignore_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    (void)arg;
    (void)error;
    (void)outcome;
    (void)seq;
}

/* Its outcome is kept and the request is not: who asks again must not be told that it waits. */
static void
forget_pending(const struct acceptance *a)
{
    char reply[ASYNC_REPLY_TOPIC_MAX];
    struct topic *topic = topic_find(a->broker, async_reply_topic(slice_of(a->id, ASYNC_ID_TEXT), reply));
    const struct slice none = slice_of(NULL, 0);
    struct record *record = topic != NULL ? record_new_once(none, none, none, none, none) : NULL;

    if (record == NULL)
        return;
    record->kind = MESSAGE_BINARY;
    record->flags = MESSAGE_RETAIN;
    (void)publish_take(a->broker, topic, record, ignore_done, NULL);
}

static void
acceptance_end(struct acceptance *a)
{
    if (a->error < 0 && a->is_pending)
        forget_pending(a);
    a->broker->async->figures.n_accepted += a->error == 0;
    put_accepted(a);
    acceptance_free(a);
}

static void
request_on_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct acceptance *a = arg;

    (void)outcome;
    (void)seq;
    if (error < 0)
        a->error = error;
    if (--a->n_open == 0)
        acceptance_end(a);
}

static void
pending_on_done(void *arg, int error, enum append_outcome outcome, uint64_t seq)
{
    struct acceptance *a = arg;

    a->is_pending = error >= 0;
    request_on_done(a, error, outcome, seq);
}

/* The request as it is kept: with its id among the headers. NULL if memory ran out. */
static struct record *
request_record_new(const struct frame_request *f, const struct acceptance *a)
{
    const struct header header = {ID_HEADER, slice_of(a->id, ASYNC_ID_TEXT)};
    struct record *record = NULL;
    struct buf headers;

    buf_init(&headers, 0);
    if (headers_put(&headers, f->headers, ID_HEADER, &header, 1))
        record = record_new_once(f->type, buf_slice(&headers), f->key, slice_of(NULL, 0), f->body);
    buf_fini(&headers);
    if (record != NULL) {
        record->kind = (uint8_t)f->kind;
        record->expires_ms = a->expires_ms;
    }
    return record;
}

/* Both topics, and the group. */
static enum error_code
open_topics(struct broker *broker, struct slice asked, struct slice id, struct topic **ret_queue,
    struct topic **ret_reply, const char **ret_message)
{
    char text[TOPIC_MAX_BYTES], reply[ASYNC_REPLY_TOPIC_MAX];
    struct slice name = queue_topic_name(asked, text);
    struct queue_group *g;
    int r;

    if (name.n == 0) {
        *ret_message = "The topic's name is too long for asynchronous requests.";
        return ERROR_TOPIC_INVALID;
    }
    r = topic_get(broker, name, ret_queue);
    if (r == 0)
        r = queue_open(broker, *ret_queue, slice_str(GROUP_NAME), 0, &g);
    if (r == 0 && queue_is_full(broker, *ret_queue))
        return ERROR_QUEUE_FULL;
    if (r == 0)
        r = topic_get(broker, async_reply_topic(id, reply), ret_reply);
    if (r == -ENOSPC) {
        *ret_message = "There are too many topics (broker.topics_max) or queues (broker.queues_max).";
        return ERROR_LIMIT_REACHED;
    }
    if (r == -ENOTSUP) {
        *ret_message = "This store keeps no requests.";
        return ERROR_UNAVAILABLE;
    }
    return r == 0 ? ERROR_NONE : ERROR_STORE_FAILED;
}

static enum error_code
accept(struct acceptance *a, const struct frame_request *f, struct topic *queue, struct topic *reply,
    const struct setting *setting)
{
    struct broker *broker = a->broker;
    struct record *pending = async_pending_new(f->topic, a->expires_ms), *request = request_record_new(f, a);
    int r;

    if (pending == NULL || request == NULL) {
        record_unref(pending);
        record_unref(request);
        acceptance_free(a);
        return ERROR_INTERNAL;
    }
    pending->expires_ms = a->expires_ms + (int64_t)setting->reply_ttl_ms;
    a->n_open = 2;
    r = publish_take(broker, reply, pending, pending_on_done, a);
    if (r < 0) {
        record_unref(request);
        acceptance_free(a);
        return ERROR_STORE_FAILED;
    }
    r = publish_take(broker, queue, request, request_on_done, a);
    if (r < 0)
        request_on_done(a, r, APPEND_OK, 0);
    return ERROR_NONE;
}

/* Gives it its id. Has it been asked before? Then it is not asked again: ERROR_NONE, and *ret_known. */
static enum error_code
name_request(struct acceptance *a, const struct frame_request *f, bool *ret_known, const char **ret_message)
{
    struct broker *broker = a->broker;
    struct slice id = slice_of(a->id, ASYNC_ID_TEXT);
    struct async_outcome outcome;

    *ret_known = false;
    if (f->once.n == 0) {
        async_id_new(a->id);
        return ERROR_NONE;
    }
    queues_load_key(broker);
    async_id_once(broker->queues->key, f->topic, f->once, a->id);
    if (table_find(&broker->async->accepting, id) != NULL) {
        *ret_message = "The same request is being accepted just now: try again.";
        return ERROR_UNAVAILABLE;
    }
    async_look(broker, id, &outcome);
    *ret_known = outcome.state != ASYNC_UNKNOWN;
    if (outcome.state == ASYNC_PENDING)
        a->expires_ms = outcome.expires_ms;
    record_unref(outcome.record);
    if (*ret_known)
        return ERROR_NONE;
    a->is_once = table_insert(&broker->async->accepting, a) == 0;
    return a->is_once ? ERROR_NONE : ERROR_INTERNAL;
}

enum error_code
asyncrequest_start(
    struct peer *peer, const struct frame *f, const struct setting *setting, const char **ret_message)
{
    struct broker *broker = peer->broker;
    uint64_t ttl_ms = f->request.timeout_ms;
    struct topic *queue, *reply;
    struct acceptance *a;
    enum error_code code;
    bool is_known;

    *ret_message = NULL;
    if (ttl_ms == 0 || ttl_ms > setting->request_ttl_ms)
        ttl_ms = setting->request_ttl_ms;
    a = calloc(1, sizeof(*a));
    if (a == NULL)
        return ERROR_INTERNAL;
    *a = (struct acceptance){.broker = broker,
        .session = peer->session,
        .slot = peer->slot,
        .req = f->request.req,
        .expires_ms = loop_wall_ms(broker->loop) + (int64_t)ttl_ms};
    code = name_request(a, &f->request, &is_known, ret_message);
    if (code == ERROR_NONE && is_known) {
        put_accepted(a);
        free(a);
        return ERROR_NONE;
    }
    if (code == ERROR_NONE && broker->topics.n_replies >= broker->options.kept_requests_max) {
        *ret_message = "There are too many asynchronous requests and replies (broker.kept_requests_max).";
        code = ERROR_LIMIT_REACHED;
    }
    if (code == ERROR_NONE)
        code = open_topics(
            broker, f->request.topic, slice_of(a->id, ASYNC_ID_TEXT), &queue, &reply, ret_message);
    if (code != ERROR_NONE) {
        acceptance_free(a);
        return code;
    }
    return accept(a, &f->request, queue, reply, setting);
}

/* ---- REPLY, HOLD. ---- */

/* Without half a character at the end. */
static struct slice
cut_text(struct slice text, size_t max)
{
    if (text.n <= max)
        return text;
    while (max > 0 && (text.p[max] & 0xc0) == 0x80)
        max--;
    return slice_of(text.p, max);
}

static struct record *
record_of_reply(const struct frame_reply *f, const struct setting *setting, enum error_code *ret_code,
    const char **ret_message)
{
    struct payload payload = {.kind = f->kind, .type = f->type, .headers = f->headers, .body = f->body};

    if (f->code.n > 0)
        return async_error_new(ERROR_RESPONDER_FAILED, cut_text(f->message, FAILURE_MAX));
    *ret_code = payload_check(&payload, setting->max_message, ret_message);
    if (*ret_code != ERROR_NONE)
        return async_error_new(
            ERROR_RESPONDER_FAILED, slice_str("The responder's reply was too large, or no valid one."));
    return async_reply_new(f);
}

/* The call is good and its request waits for this. What the responder is told now, or ERROR_NONE: it will be.
 */
static enum error_code
proceed_reply(struct peer *peer, struct queue_group *g, struct queue_item *item, struct topic *reply,
    struct slice id, const struct frame_reply *f, const char **ret_message)
{
    struct broker *broker = g->broker;
    const struct setting *setting = g->qt->topic->setting;
    enum error_code why = ERROR_NONE, code;
    struct record *record = record_of_reply(f, setting, &why, ret_message);
    struct decision_about about = {.group = g->number,
        .seq = item->seq,
        .session = peer->session,
        .slot = peer->slot,
        .req = why == ERROR_NONE ? f->req : 0};

    if (record != NULL && record_body(record).p[0] == 'e')
        broker->async->figures.n_failed++;
    else
        broker->async->figures.n_answered++;
    item->is_busy = true;
    code = async_decide(reply, broker, id, record, setting, &about);
    if (code != ERROR_NONE)
        item->is_busy = false;
    return code != ERROR_NONE ? code : why;
}

/* Nobody wants this reply any more. If the responder has the call, that is over. */
static void
end_unwanted(struct peer *peer, uint64_t consumer, const struct asynccall *call)
{
    struct consumer *c = consumer_find(peer, consumer);

    if (c == NULL)
        return;
    for (struct list *it = c->kept.next; it != &c->kept; it = it->next) {
        struct call_holder *h = list_entry(it, struct call_holder, in_consumer);
        struct queue_item *item = queuecore_find(&h->g->core, call->seq);

        if (item != NULL && item->state == QUEUE_LEASED && item->holder == &h->holder &&
            item->n_deliveries == call->n_deliveries && !item->is_busy) {
            end_item(h->g, item);
            return;
        }
    }
}

int
asyncrequest_on_reply(struct peer *peer, const struct frame *f)
{
    struct broker *broker = peer->broker;
    struct async_outcome outcome = {0};
    struct queue_item *item = NULL;
    struct queue_group *g = NULL;
    const char *message = NULL;
    enum error_code code = ERROR_CALL_UNKNOWN;
    struct asynccall call;
    struct slice id = slice_of(call.id, ASYNC_ID_TEXT);

    if (asynccall_get(broker->queues->key, f->reply.call, &call)) {
        async_look(broker, id, &outcome);
        if (outcome.state == ASYNC_PENDING && outcome.expires_ms > loop_wall_ms(broker->loop))
            g = find_queue(broker, outcome.asked);
        if (g != NULL)
            item = queue_claim(
                g, &(struct lease){.group = g->number, .seq = call.seq, .n_deliveries = call.n_deliveries});
        if (item != NULL && (item->is_busy || async_is_decided(broker, id)))
            item = NULL;
        if (item == NULL)
            end_unwanted(peer, f->reply.consumer, &call);
    }
    if (item != NULL)
        code = proceed_reply(peer, g, item, outcome.topic, id, &f->reply, &message);
    record_unref(outcome.record);
    if (code != ERROR_NONE)
        queue_answer(peer, f->reply.req, code, message, 0);
    return 0;
}

int
asyncrequest_on_hold(struct consumer *c, struct slice text)
{
    struct broker *broker = c->peer->broker;
    uint64_t now_ms = loop_now_ms(broker->loop);
    struct queue_holder *displaced = NULL;
    struct async_outcome outcome;
    struct queue_group *g = NULL;
    struct queue_item *item = NULL;
    struct call_holder *h = NULL;
    struct asynccall call;

    if (!asynccall_get(broker->queues->key, text, &call))
        return 0;
    async_look(broker, slice_of(call.id, ASYNC_ID_TEXT), &outcome);
    if (outcome.state == ASYNC_PENDING && outcome.expires_ms > loop_wall_ms(broker->loop))
        g = find_queue(broker, outcome.asked);
    if (g != NULL)
        h = holder_get(g, c);
    if (h != NULL)
        item = queuecore_hold(&g->core, call.seq, call.n_deliveries, &h->holder,
            now_ms + (uint64_t)(outcome.expires_ms - loop_wall_ms(broker->loop)) + PAST_EXPIRY_MS, now_ms,
            &displaced);
    record_unref(outcome.record);
    if (item != NULL) {
        consumer_note_out(c);
        queue_note_back(g, displaced);
        queue_wake(g);
    } else if (h != NULL && list_empty(&h->holder.leases)) {
        holder_free(h);
    }
    return 0;
}
