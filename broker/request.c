/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and their replies: see request.h. */
#include "config.h"

#include "broker/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memguard.h"
#include "base/rand.h"
#include "broker/asyncrequest.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/payload.h"
#include "broker/responders.h"
#include "broker/settings.h"
#include "wire/errors.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define FLAG_ASYNC 1u
#define TIMEOUT_MAX_MS (24u * 3600 * 1000)
/* Of what a responder says about its failure. */
#define FAILURE_MAX 1024u
/* A request under way, about, without its body. */
#define REQUEST_BYTES 512u
/* "c", the broker's boot, "-", the number: both in hexadecimal. */
#define CALL_TEXT_MAX 40u

struct requests {
    struct broker *broker;
    uint64_t boot; /* random: calls of another broker are not ours */
    uint64_t next_call;
    struct table calls;   /* struct ask by its call */
    struct table waiting; /* struct queue_of by topic */
    struct list orphans;  /* struct queue_of: without a responder, while the grace time lasts */
    struct loop_timer grace_timer;
    struct request_figures figures;
};

/* What a request carries, kept while it waits. */
struct ask_body {
    uint64_t kind;
    struct slice type, headers, key, body; /* into data[] */
    size_t n;
    uint8_t data[];
};

/* A request under way. It waits (queue_of), or a responder has it. */
struct ask {
    uint64_t req;               /* first: the key in its asker's table */
    uint64_t call;              /* the key in requests.calls */
    struct peer *asker;         /* NULL: it left, but the responder still has the call */
    struct consumer *responder; /* NULL: it waits */
    struct queue_of *queue;     /* NULL: it does not */
    struct ask_body *body;      /* while it waits */
    struct list link;           /* in queue->asks, or the responder's `out` */
    uint64_t due_ms;
    uint64_t max_reply;
    struct requests *requests;
    struct loop_timer timer;
};

/* The requests that wait on one topic, the oldest first. */
struct queue_of {
    struct demand demand; /* started as long as it exists */
    struct requests *requests;
    struct list asks;
    struct list in_orphans;
    uint16_t n_topic;
    char topic[];
};

/* ---- Keys. ---- */

static struct slice
ask_key_of(const void *value)
{
    const struct ask *ask = value;

    return slice_of(&ask->req, sizeof(ask->req));
}

static struct slice
call_key_of(const void *value)
{
    const struct ask *ask = value;

    return slice_of(&ask->call, sizeof(ask->call));
}

static struct slice
queue_key_of(const void *value)
{
    const struct queue_of *queue = value;

    return slice_of(queue->topic, queue->n_topic);
}

static struct slice
call_text(const struct ask *ask, char text[CALL_TEXT_MAX])
{
    int n = snprintf(text, CALL_TEXT_MAX, "c%016" PRIx64 "-%" PRIx64, ask->requests->boot, ask->call);

    return slice_of(text, (size_t)n);
}

/* The request that a call stands for, if this responder has it. */
static struct ask *
call_find(struct requests *rq, const struct consumer *responder, struct slice text)
{
    char copy[CALL_TEXT_MAX], again[CALL_TEXT_MAX];
    struct ask *ask;
    uint64_t call;

    if (text.n <= 18 || text.n >= sizeof(copy))
        return NULL;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    call = strtoull(copy + 18, NULL, 16);
    ask = table_find(&rq->calls, slice_of(&call, sizeof(call)));
    /* What we would have written, and not only what reads like it. */
    if (ask == NULL || ask->responder != responder || !slice_equal(call_text(ask, again), text))
        return NULL;
    return ask;
}

/* ---- Answers. ---- */

static void
put_replied(struct peer *peer, uint64_t req, enum error_code code, struct slice message)
{
    if (message.n == 0 && code != ERROR_NONE)
        message = slice_str(error_code_sentence(code));
    frame_put_replied(outbox_begin(peer),
        &(struct frame_replied){.req = req, .code = slice_str(error_code_name(code)), .message = message});
    outbox_end(peer);
}

static void
put_settled(struct peer *peer, uint64_t req, enum error_code code, const char *message)
{
    if (req == 0)
        return;
    if (code == ERROR_NONE)
        message = "";
    else if (message == NULL)
        message = error_code_sentence(code);
    frame_put_settled(outbox_begin(peer),
        &(struct frame_settled){.req = req,
            .code = code == ERROR_NONE ? slice_of(NULL, 0) : slice_str(error_code_name(code)),
            .message = slice_str(message),
            .count = code == ERROR_NONE});
    outbox_end(peer);
}

/* ---- The end of a request. ---- */

static void
queue_free(struct queue_of *queue)
{
    struct requests *rq = queue->requests;

    demand_stop(rq->broker, &queue->demand);
    list_remove(&queue->in_orphans);
    (void)table_remove(&rq->waiting, queue_key_of(queue));
    free(queue);
}

/* It does not wait any more. The queue may be gone after. */
static void
ask_leave_queue(struct ask *ask)
{
    struct queue_of *queue = ask->queue;

    ask->queue = NULL;
    list_remove(&ask->link);
    ask->requests->figures.n_waiting--;
    if (ask->asker != NULL)
        ask->asker->asks_bytes -= ask->body->n;
    free(ask->body);
    ask->body = NULL;
    if (list_empty(&queue->asks))
        queue_free(queue);
}

static void
ask_forget_asker(struct ask *ask)
{
    if (ask->asker == NULL)
        return;
    (void)table_remove(&ask->asker->asks, ask_key_of(ask));
    ask->asker = NULL;
}

/* The responder has room for another after; it may be given that within this. */
static void
ask_free(struct ask *ask)
{
    struct requests *rq = ask->requests;
    struct consumer *responder = ask->responder;

    loop_timer_stop(rq->broker->loop, &ask->timer);
    if (ask->queue != NULL)
        ask_leave_queue(ask);
    ask_forget_asker(ask);
    if (responder != NULL) {
        list_remove(&ask->link);
        (void)table_remove(&rq->calls, call_key_of(ask));
        rq->figures.n_open--;
    }
    free(ask);
    if (responder != NULL)
        consumer_note_back(responder);
}

static void
count_failure(struct request_figures *figures, enum error_code code)
{
    switch (code) {
    case ERROR_NO_RESPONDER:
        figures->n_alone++;
        break;
    case ERROR_RESPONDER_GONE:
        figures->n_gone++;
        break;
    case ERROR_TIMEOUT:
        figures->n_timeout++;
        break;
    case ERROR_RESPONDER_FAILED:
    case ERROR_TOO_SLOW:
        figures->n_failed++;
        break;
    default:
        figures->n_refused++;
        break;
    }
}

/* Tells the asker that there is no reply, and why. */
static void
ask_fail(struct ask *ask, enum error_code code, struct slice message)
{
    if (ask->asker != NULL) {
        count_failure(&ask->requests->figures, code);
        if (peer_is_attached(ask->asker))
            put_replied(ask->asker, ask->req, code, message);
    }
    ask_free(ask);
}

static void
ask_on_timeout(void *arg)
{
    struct ask *ask = arg;
    const char *message = NULL;

    if (ask->queue != NULL)
        message = "All responders were busy until the time was over.";
    ask_fail(ask, ERROR_TIMEOUT, slice_str(message));
}

/* ---- To a responder. ---- */

static void
put_call(struct ask *ask, struct consumer *responder, struct slice topic, const struct ask_body *body)
{
    struct peer *peer = responder->peer;
    uint64_t now_ms = loop_now_ms(peer->broker->loop);
    char text[CALL_TEXT_MAX];

    frame_put_call(outbox_begin(peer), &(struct frame_call){
                                           .consumer = responder->number,
                                           .call = call_text(ask, text),
                                           .topic = topic,
                                           .timeout_ms = ask->due_ms > now_ms ? ask->due_ms - now_ms : 0,
                                           .n_deliveries = 1,
                                           .kind = body->kind,
                                           .type = body->type,
                                           .headers = body->headers,
                                           .key = body->key,
                                           .body = body->body,
                                       });
    outbox_end(peer);
}

/* 0 or -ENOMEM: nothing has changed. */
static int
ask_give(struct ask *ask, struct consumer *responder, struct slice topic, const struct ask_body *body)
{
    struct requests *rq = ask->requests;
    int r;

    ask->call = rq->next_call;
    r = table_insert(&rq->calls, ask);
    if (r < 0)
        return r;
    rq->next_call++;
    rq->figures.n_open++;
    put_call(ask, responder, topic, body);
    if (ask->queue != NULL)
        ask_leave_queue(ask);
    ask->responder = responder;
    list_push_back(&responder->out, &ask->link);
    consumer_note_out(responder);
    return 0;
}

/* ---- Waiting. ---- */

/* A responder has room: it gets the oldest. */
static bool
queue_on_room(struct demand *demand, struct consumer *responder)
{
    struct queue_of *queue = list_entry(demand, struct queue_of, demand);
    struct ask *ask = list_entry(queue->asks.next, struct ask, link);

    if (ask->due_ms <= loop_now_ms(ask->requests->broker->loop))
        ask_on_timeout(ask); /* its timer is about to fire */
    else if (ask_give(ask, responder, queue_key_of(queue), ask->body) < 0)
        ask_fail(ask, ERROR_INTERNAL, slice_of(NULL, 0)); /* memory ran out; the queue may be gone */
    return true;
}

/* Nobody answers this topic: they are told. Frees the queue. */
static void
queue_fail(struct queue_of *queue)
{
    /* It goes with its last. */
    for (bool is_last = false; !is_last;) {
        struct ask *ask = list_entry(queue->asks.next, struct ask, link);

        is_last = ask->link.next == &queue->asks;
        ask_fail(ask, ERROR_NO_RESPONDER, slice_of(NULL, 0));
    }
}

static void
queue_on_alone(struct demand *demand)
{
    queue_fail(list_entry(demand, struct queue_of, demand));
}

static void
requests_on_grace(void *arg)
{
    struct requests *rq = arg;
    struct list orphans;

    list_init(&orphans);
    list_take_all(&orphans, &rq->orphans);
    while (!list_empty(&orphans)) {
        struct queue_of *queue = list_entry(orphans.next, struct queue_of, in_orphans);

        list_remove(&queue->in_orphans);
        if (!responders_has_any(rq->broker, queue_key_of(queue)))
            queue_fail(queue);
    }
}

/* 0 or -ENOMEM. */
static int
queue_new(struct requests *rq, struct slice topic, struct queue_of **ret)
{
    struct queue_of *queue = calloc(1, sizeof(*queue) + topic.n);

    if (queue == NULL)
        return -ENOMEM;
    queue->demand = (struct demand){.on_room = queue_on_room, .on_alone = queue_on_alone};
    queue->requests = rq;
    list_init(&queue->asks);
    list_init(&queue->in_orphans);
    queue->n_topic = (uint16_t)topic.n;
    memcpy(queue->topic, topic.p, topic.n);
    if (table_insert(&rq->waiting, queue) < 0) {
        free(queue);
        return -ENOMEM;
    }
    if (demand_start(rq->broker, &queue->demand, topic) < 0) {
        queue_free(queue);
        return -ENOMEM;
    }
    *ret = queue;
    return 0;
}

static void
copy_part(uint8_t **at, struct slice *to, struct slice from)
{
    if (from.n > 0)
        memcpy(*at, from.p, from.n);
    *to = slice_of(*at, from.n);
    *at += from.n;
}

static struct ask_body *
body_copy(const struct ask_body *from)
{
    size_t n = from->type.n + from->headers.n + from->key.n + from->body.n;
    struct ask_body *body = malloc(sizeof(*body) + n);
    uint8_t *at;

    if (body == NULL)
        return NULL;
    *body = (struct ask_body){.kind = from->kind, .n = n};
    at = body->data;
    copy_part(&at, &body->type, from->type);
    copy_part(&at, &body->headers, from->headers);
    copy_part(&at, &body->key, from->key);
    copy_part(&at, &body->body, from->body);
    return body;
}

/* 0 or -ENOMEM. */
static int
ask_wait(struct ask *ask, struct slice topic, const struct ask_body *body, bool is_orphan)
{
    struct requests *rq = ask->requests;
    struct queue_of *queue = table_find(&rq->waiting, topic);
    struct ask_body *copy = body_copy(body);

    if (copy == NULL || (queue == NULL && queue_new(rq, topic, &queue) < 0)) {
        free(copy);
        return -ENOMEM;
    }
    if (is_orphan && list_empty(&queue->in_orphans)) {
        list_push_back(&rq->orphans, &queue->in_orphans);
        loop_timer_start(rq->broker->loop, &rq->grace_timer, broker_grace_left_ms(rq->broker));
    }
    ask->body = copy;
    ask->queue = queue;
    ask->asker->asks_bytes += copy->n;
    rq->figures.n_waiting++;
    list_push_back(&queue->asks, &ask->link);
    return 0;
}

/* ---- REQUEST. ---- */

static enum error_code
check_request(const struct peer *peer, const struct frame_request *f, const struct setting **ret_setting,
    const char **ret_message)
{
    struct broker *broker = peer->broker;
    const struct setting *setting;

    *ret_message = NULL;
    if (topic_name_error(f->topic) != NULL)
        return ERROR_TOPIC_INVALID;
    if (f->topic.p[0] == '$') {
        *ret_message = "Topics that begin with '$' are the bus's own.";
        return ERROR_NOT_ALLOWED;
    }
    *ret_setting = setting = settings_find(broker->settings, f->topic);
    if (!setting->may_publish) {
        *ret_message = "The settings of this topic do not allow clients to ask.";
        return ERROR_NOT_ALLOWED;
    }
    if (peer->asks.n_used >= broker->options.requests_max) {
        *ret_message = "There are too many requests under way (broker.requests_max).";
        return ERROR_LIMIT_REACHED;
    }
    if (memguard_take(broker->memory, REQUEST_BYTES + f->body.n + f->headers.n)) {
        broker->counters.refused_memory++;
        *ret_message = "The broker's memory is nearly used up: try again later.";
        return ERROR_LIMIT_REACHED;
    }
    return payload_check(
        &(struct payload){
            .kind = f->kind, .type = f->type, .headers = f->headers, .key = f->key, .body = f->body},
        setting->max_message, ret_message);
}

static int
ask_new(struct peer *peer, const struct frame_request *f, const struct setting *setting, struct ask **ret)
{
    uint64_t timeout_ms = f->timeout_ms < TIMEOUT_MAX_MS ? f->timeout_ms : TIMEOUT_MAX_MS;
    struct ask *ask = calloc(1, sizeof(*ask));
    int r;

    if (ask == NULL)
        return -ENOMEM;
    ask->req = f->req;
    ask->asker = peer;
    ask->requests = peer->broker->requests;
    ask->max_reply = setting->max_message;
    ask->due_ms = loop_now_ms(peer->broker->loop) + timeout_ms;
    list_init(&ask->link);
    r = table_insert(&peer->asks, ask);
    if (r < 0) {
        free(ask);
        return r;
    }
    ask->timer = (struct loop_timer){.fn = ask_on_timeout, .arg = ask};
    loop_timer_start(peer->broker->loop, &ask->timer, timeout_ms);
    *ret = ask;
    return 0;
}

/* To a responder, or to wait for one. ERROR_NONE, or why there will be no reply. */
static enum error_code
proceed_request(
    struct ask *ask, const struct frame_request *f, const struct setting *setting, const char **ret_message)
{
    struct peer *peer = ask->asker;
    struct broker *broker = peer->broker;
    struct ask_body body = {
        .kind = f->kind, .type = f->type, .headers = f->headers, .key = f->key, .body = f->body};
    struct consumer *responder = NULL;
    bool has_any = false, is_orphan;

    if (setting->may_subscribe) /* else wildcards may be held that match, and get nothing of it */
        responder = responders_pick(broker, f->topic, &has_any);
    if (responder != NULL)
        return ask_give(ask, responder, f->topic, &body) == 0 ? ERROR_NONE : ERROR_INTERNAL;
    is_orphan = !has_any;
    if (is_orphan && !(peer->is_older && broker_grace_left_ms(broker) > 0 && setting->may_subscribe))
        return ERROR_NO_RESPONDER;
    if (peer->asks_bytes + f->body.n + f->headers.n > broker->options.requests_bytes) {
        *ret_message = "All responders are busy, and too much waits for them (broker.requests_bytes).";
        return ERROR_LIMIT_REACHED;
    }
    return ask_wait(ask, f->topic, &body, is_orphan) == 0 ? ERROR_NONE : ERROR_INTERNAL;
}

static int
refuse(struct peer *peer, uint64_t req, enum error_code code, const char *message)
{
    count_failure(&peer->broker->requests->figures, code);
    put_replied(peer, req, code, slice_str(message));
    return 0;
}

int
request_on_request(struct peer *peer, const struct frame *f)
{
    const struct frame_request *asked = &f->request;
    const struct setting *setting;
    const char *message;
    enum error_code code;
    struct ask *ask;
    int r;

    if (asked->req == 0 || asked->flags > FLAG_ASYNC || asked->kind > MESSAGE_JSON)
        return peer_complain(peer, f, "number, flags or kind that do not exist");
    if (table_find(&peer->asks, slice_of(&asked->req, sizeof(asked->req))) != NULL)
        return peer_complain(peer, f, "request %llu is in use", (unsigned long long)asked->req);
    peer->broker->requests->figures.n_asked++;
    code = check_request(peer, asked, &setting, &message);
    if (code != ERROR_NONE)
        return refuse(peer, asked->req, code, message);
    if ((asked->flags & FLAG_ASYNC) != 0) {
        code = asyncrequest_start(peer, f, setting, &message);
        return code == ERROR_NONE ? 0 : refuse(peer, asked->req, code, message);
    }
    r = ask_new(peer, asked, setting, &ask);
    if (r < 0)
        return r;
    code = proceed_request(ask, asked, setting, &message);
    if (code != ERROR_NONE)
        ask_fail(ask, code, slice_str(message));
    return 0;
}

int
request_on_abandon(struct peer *peer, const struct frame *f)
{
    uint64_t req = f->abandon.req;
    struct ask *ask = table_find(&peer->asks, slice_of(&req, sizeof(req)));

    if (ask == NULL) { /* of a RESULT, or its REPLIED was on the way */
        asyncrequest_abandon(peer, req);
        return 0;
    }
    ask->requests->figures.n_abandoned++;
    if (ask->responder == NULL)
        ask_free(ask);
    else
        ask_forget_asker(ask);
    return 0;
}

/* ---- REPLY. ---- */

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

/* The asker's link is so full of what it does not read that it can be sent errors only. */
static bool
is_choked(const struct peer *peer)
{
    return link_backlog(peer->link) > 4 * peer_mark(peer);
}

static void
put_reply(struct ask *ask, const struct frame_reply *f)
{
    frame_put_replied(outbox_begin(ask->asker), &(struct frame_replied){
                                                    .req = ask->req,
                                                    .kind = f->kind,
                                                    .type = f->type,
                                                    .headers = f->headers,
                                                    .body = f->body,
                                                });
    outbox_end(ask->asker);
    ask->requests->figures.n_replied++;
}

/* The answer that the asker waits for. What the responder is told: ERROR_NONE, or why it was not passed on.
 */
static enum error_code
proceed_reply(struct ask *ask, const struct frame_reply *f, const char **ret_message)
{
    struct payload payload = {.kind = f->kind, .type = f->type, .headers = f->headers, .body = f->body};
    enum error_code code = ERROR_NONE;

    *ret_message = NULL;
    if (f->code.n > 0) {
        ask_fail(ask, ERROR_RESPONDER_FAILED, cut_text(f->message, FAILURE_MAX));
        return ERROR_NONE;
    }
    code = payload_check(&payload, ask->max_reply, ret_message);
    if (code != ERROR_NONE) {
        ask_fail(
            ask, ERROR_RESPONDER_FAILED, slice_str("The responder's reply was too large, or no valid one."));
        return code;
    }
    if (is_choked(ask->asker)) {
        ask_fail(ask, ERROR_TOO_SLOW, slice_of(NULL, 0));
        return ERROR_NONE;
    }
    put_reply(ask, f);
    ask_free(ask);
    return ERROR_NONE;
}

int
request_on_reply(struct peer *peer, const struct frame *f)
{
    struct requests *rq = peer->broker->requests;
    const struct frame_reply *reply = &f->reply;
    struct consumer *responder = consumer_find(peer, reply->consumer);
    const char *message = NULL;
    enum error_code code = ERROR_CALL_UNKNOWN;
    struct ask *ask;

    if (reply->kind > MESSAGE_JSON)
        return peer_complain(peer, f, "kind %llu", (unsigned long long)reply->kind);
    if (asyncrequest_is_call(reply->call))
        return asyncrequest_on_reply(peer, f);
    ask = responder != NULL ? call_find(rq, responder, reply->call) : NULL;
    if (ask != NULL && ask->asker != NULL) {
        code = proceed_reply(ask, reply, &message);
    } else {
        rq->figures.n_late++;
        if (ask != NULL)
            ask_free(ask);
    }
    put_settled(peer, reply->req, code, message);
    return 0;
}

/* ---- Responders. ---- */

static int
request_start(struct consumer *c, uint64_t epoch, uint64_t seq)
{
    int r = responders_add(c);

    (void)epoch;
    (void)seq;
    if (r == 0)
        consumer_confirm(c, c->peer->broker->last_seq);
    return r;
}

static int
request_on_hold(struct consumer *c, struct slice call)
{
    if (asyncrequest_is_call(call))
        return asyncrequest_on_hold(c, call);
    /* A call of before: whoever asked was told responder_gone when the link went, or by its frontend that the
     * broker did. Its REPLY is answered by call_unknown. */
    return 0;
}

static void
request_on_gone(struct consumer *c, enum consumer_end why)
{
    responders_remove(c);
    asyncrequest_on_gone(c, why);
    while (!list_empty(&c->out))
        ask_fail(list_entry(c->out.next, struct ask, link), ERROR_RESPONDER_GONE, slice_of(NULL, 0));
}

const struct consumer_ops request_consumer_ops = {
    .start = request_start,
    .on_room = responders_on_room,
    .on_hold = request_on_hold,
    .on_gone = request_on_gone,
};

/* ---- Life. ---- */

int
requests_new(struct broker *broker, struct requests **ret)
{
    struct requests *rq = calloc(1, sizeof(*rq));

    if (rq == NULL)
        return -ENOMEM;
    rq->broker = broker;
    rq->next_call = 1;
    rand_bytes(&rq->boot, sizeof(rq->boot));
    table_init(&rq->calls, call_key_of);
    table_init(&rq->waiting, queue_key_of);
    list_init(&rq->orphans);
    rq->grace_timer = (struct loop_timer){.fn = requests_on_grace, .arg = rq};
    *ret = rq;
    return 0;
}

struct requests *
requests_free(struct requests *rq)
{
    if (rq == NULL)
        return NULL;
    loop_timer_stop(rq->broker->loop, &rq->grace_timer);
    table_fini(&rq->calls);
    table_fini(&rq->waiting);
    free(rq);
    return NULL;
}

const struct request_figures *
requests_figures(const struct requests *rq)
{
    return &rq->figures;
}

void
request_init_peer(struct peer *peer)
{
    table_init(&peer->asks, ask_key_of);
}

void
request_drop_peer(struct peer *peer)
{
    struct table gone = peer->asks;
    struct ask *ask;
    size_t at = 0;

    table_init(&peer->asks, ask_key_of);
    while ((ask = table_next(&gone, &at)) != NULL) {
        if (ask->responder == NULL)
            ask_free(ask); /* takes itself out of the new table, where it is not */
        else
            ask->asker = NULL;
    }
    table_fini(&gone);
}

void
request_fini_peer(struct peer *peer)
{
    table_fini(&peer->asks);
}
