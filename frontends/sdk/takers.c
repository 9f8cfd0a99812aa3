/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers as their clients see them: begun, given work, ended. */
#include "config.h"

#include "frontends/sdk/takerspriv.h"

#include "base/log.h"
#include "frontends/sdk/message.h"
#include "wire/names.h"

#include <errno.h>
#include <stdlib.h>

#define FLAG_OUTLIVES 1u

static struct slice
work_key(const void *value)
{
    const struct work *w = value;

    return slice_of(w->token, w->n_token);
}

static void
takers_on_parked_timer(void *arg)
{
    takers_poll_parked(arg);
}

void
takers_init(struct hub *hub)
{
    struct takers *takers = &hub->takers;

    *takers = (struct takers){.parked_timer = {.fn = takers_on_parked_timer, .arg = hub}};
    numbers_init(&takers->numbers);
    list_init(&takers->all);
    list_init(&takers->parked);
    table_init(&takers->works, work_key);
}

/* ---- Work. ---- */

static void
work_free(struct work *w)
{
    (void)table_remove(&w->taker->hub->takers.works, work_key(w));
    list_remove(&w->in_taker);
    w->taker->n_works--;
    free(w);
}

/* The broker keeps to the credit. What is above it was given to others meanwhile, for its time was over: the
 * oldest. What the client has settled and the broker has not confirmed yet may come on top. */
static void
taker_forget_oldest(struct taker *t)
{
    while (t->n_works > 2 * t->credit + TAKERS_PREFETCH)
        work_free(list_entry(t->works.next, struct work, in_taker));
}

static int
taker_note_work(struct taker *t, struct slice token)
{
    struct takers *takers = &t->hub->takers;
    struct work *w = table_find(&takers->works, token);

    if (token.n == 0 || token.n > UINT8_MAX)
        return -EPROTO;
    if (w != NULL)
        work_free(w);
    w = malloc(sizeof *w + token.n);
    if (w == NULL)
        return -ENOMEM;
    *w = (struct work){.taker = t, .n_token = (uint8_t)token.n};
    memcpy(w->token, token.p, token.n);
    if (table_insert(&takers->works, w) < 0) {
        free(w);
        return -ENOMEM;
    }
    list_push_back(&t->works, &w->in_taker);
    t->n_works++;
    taker_forget_oldest(t);
    return 0;
}

uint64_t
takers_holder(const struct hub *hub, const struct session *s, struct slice token)
{
    const struct work *w = table_find(&hub->takers.works, token);

    return w != NULL && w->taker->session == s ? w->taker->number : 0;
}

void
takers_forget(struct hub *hub, struct slice token)
{
    struct work *w = table_find(&hub->takers.works, token);

    if (w != NULL)
        work_free(w);
}

/* ---- Beginning and end. ---- */

static void
taker_put_consume(const struct taker *t, struct buf *out)
{
    frame_put_consume(out, &(struct frame_consume){.consumer = t->number,
                               .topic = taker_topic(t),
                               .group = taker_group(t),
                               .mode = t->is_responder,
                               .flags = t->outlives_session ? FLAG_OUTLIVES : 0,
                               .credit = t->credit,
                               .epoch = t->since.epoch,
                               .seq = t->since.seq});
}

static void
taker_free(struct taker *t)
{
    struct hub *hub = t->hub;
    struct session *s = t->session;

    while (!list_empty(&t->works))
        work_free(list_entry(t->works.next, struct work, in_taker));
    taker_drop_parked(t);
    numbers_remove(&hub->takers.numbers, t->number);
    list_remove(&t->in_session);
    list_remove(&t->in_all);
    hub->takers.n--;
    s->party->n_takers--;
    s->n_filters -= filter_weight(taker_topic(t));
    free(t);
}

static void
taker_put_unconsume(const struct taker *t)
{
    struct hub *hub = t->hub;

    if (hub->phase == HUB_AWAY)
        return;
    frame_put_unconsume(hub->sink.begin(hub->sink.arg), &(struct frame_unconsume){.consumer = t->number});
    hub->sink.commit(hub->sink.arg);
}

/* The client does not want it any more. */
static void
taker_end(struct taker *t)
{
    taker_put_unconsume(t);
    taker_free(t);
}

void
takers_fini(struct hub *hub)
{
    struct takers *takers = &hub->takers;

    loop_timer_stop(hub->fe->loop, &takers->parked_timer);
    while (!list_empty(&takers->all))
        taker_free(list_entry(takers->all.next, struct taker, in_all));
    table_fini(&takers->works);
    numbers_fini(&takers->numbers);
}

static uint8_t *
put(uint8_t *to, struct slice s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

static struct taker *
taker_new(struct hub *hub, struct session *s, const struct request *r, struct position since)
{
    struct party *party = session_party(s);
    struct slice topic = r->filters[0];
    struct taker *t;

    if (party == NULL || (t = malloc(sizeof *t + r->id.n + topic.n + r->group.n)) == NULL)
        return NULL;
    *t = (struct taker){.hub = hub,
        .session = s,
        .credit = r->prefetch > 0 ? r->prefetch : TAKERS_PREFETCH,
        .since = since,
        .is_responder = r->role == ROLE_RESPONDER,
        .outlives_session = r->outlives_session,
        .n_id = (uint16_t)r->id.n,
        .n_topic = (uint16_t)topic.n,
        .n_group = (uint8_t)r->group.n};
    put(put(put(t->bytes, r->id), topic), r->group);
    list_init(&t->works);
    list_init(&t->parked);
    list_init(&t->in_parked);
    t->number = numbers_add(&hub->takers.numbers, t);
    if (t->number == 0) {
        free(t);
        return NULL;
    }
    list_push_back(&hub->takers.all, &t->in_all);
    list_push_back(&party->takers, &t->in_session);
    hub->takers.n++;
    party->n_takers++;
    s->n_filters += filter_weight(topic);
    return t;
}

void
takers_subscribe(struct hub *hub, struct session *s, const struct request *r, struct position since)
{
    struct taker *t = taker_new(hub, s, r, since);

    if (t == NULL) {
        struct answer answer = {.type = ANSWER_ERROR, .id = r->id, .code = ERROR_INTERNAL};

        s->fe->counters.request_errors++;
        s->ops->on_answer(s, &answer);
        return;
    }
    if (hub->phase == HUB_AWAY)
        return; /* listed when the link stands */
    taker_put_consume(t, hub->sink.begin(hub->sink.arg));
    hub->sink.commit(hub->sink.arg);
}

static struct taker *
taker_of(const struct session *s, struct slice id)
{
    if (s->party == NULL)
        return NULL;
    for (const struct list *it = s->party->takers.next; it != &s->party->takers; it = it->next) {
        struct taker *t = list_entry(it, struct taker, in_session);

        if (slice_equal(taker_id(t), id))
            return t;
    }
    return NULL;
}

bool
takers_has(const struct session *s, struct slice id)
{
    return taker_of(s, id) != NULL;
}

bool
takers_unsubscribe(struct hub *hub, struct session *s, struct slice id)
{
    struct answer answer = {.type = ANSWER_UNSUBSCRIBED, .id = id, .position = hub->position};
    struct taker *t = taker_of(s, id);

    if (t == NULL)
        return false;
    taker_end(t);
    s->ops->on_answer(s, &answer);
    return true;
}

void
takers_leave(struct hub *hub, struct session *s)
{
    (void)hub;
    while (!list_empty(&s->party->takers))
        taker_end(list_entry(s->party->takers.next, struct taker, in_session));
}

/* The client is told that it is none any more. */
static void
taker_free_and_tell(struct taker *t, enum error_code code, struct slice text)
{
    struct answer answer = {.type = ANSWER_ERROR, .code = code, .text = text};
    struct session *s = t->session;
    uint8_t id[REQUEST_SUB_ID_MAX];

    answer.id = slice_of(id, t->n_id);
    put(id, taker_id(t));
    taker_free(t);
    s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
}

void
taker_fail(struct taker *t, enum error_code code, struct slice text)
{
    taker_put_unconsume(t);
    taker_free_and_tell(t, code, text);
}

/* ---- The link. ---- */

void
takers_list(struct hub *hub)
{
    for (const struct list *it = hub->takers.all.next; it != &hub->takers.all; it = it->next) {
        const struct taker *t = list_entry(it, struct taker, in_all);

        /* Group by group: no batch is too large however many leases there are. */
        taker_put_consume(t, hub->sink.begin(hub->sink.arg));
        hub->sink.commit(hub->sink.arg);
        for (const struct list *w = t->works.next; w != &t->works; w = w->next) {
            frame_put_hold(
                hub->sink.begin(hub->sink.arg), &(struct frame_hold){.consumer = t->number,
                                                    .lease = work_key(list_entry(w, struct work, in_taker))});
            hub->sink.commit(hub->sink.arg);
        }
    }
}

struct taker *
takers_find(const struct hub *hub, uint64_t number)
{
    return numbers_find(&hub->takers.numbers, number);
}

/* ---- Frames. ---- */

/* 0 and the taker, NULL if it left; -EPROTO: there never was one. */
static int
taker_find(struct hub *hub, uint64_t number, const char *frame_name, struct taker **ret)
{
    struct taker *t = numbers_find(&hub->takers.numbers, number);

    if (t == NULL && !numbers_was_given(&hub->takers.numbers, number)) {
        log_error("the broker sent %s for consumer %llu, which there never was", frame_name,
            (unsigned long long)number);
        return -EPROTO;
    }
    *ret = t;
    return 0;
}

int
takers_on_consuming(struct hub *hub, const struct frame *frame)
{
    const struct frame_consuming *f = &frame->consuming;
    struct answer answer = {.type = ANSWER_SUBSCRIBED,
        .state = STATE_LIVE,
        .position = {.epoch = hub->position.epoch, .seq = f->seq}};
    uint8_t id[REQUEST_SUB_ID_MAX];
    struct taker *t;
    int r = taker_find(hub, f->consumer, "CONSUMING", &t);

    if (r < 0 || t == NULL || t->is_answered)
        return r;
    t->is_answered = true;
    answer.id = slice_of(id, t->n_id);
    put(id, taker_id(t)); /* it may end in the call */
    t->session->ops->on_answer(t->session, &answer);
    return 0;
}

int
takers_on_unconsumable(struct hub *hub, const struct frame *frame)
{
    const struct frame_unconsumable *f = &frame->unconsumable;
    struct taker *t;
    int r = taker_find(hub, f->consumer, "UNCONSUMABLE", &t);

    if (r == 0 && t != NULL)
        taker_free_and_tell(t, error_code_find(f->code), f->message);
    return r;
}

static void
taker_tell_work(struct taker *t, const struct frame_dispatch *f, uint64_t ago_ms, struct answer *answer)
{
    struct hub *hub = t->hub;
    char cursor[CURSOR_MAX];
    const struct message m = {.topic = f->topic,
        .cursor = slice_of(cursor, cursor_format(cursor, (struct position){hub->position.epoch, f->seq})),
        .seq = f->seq,
        .time_ms = f->time_ms,
        .kind = f->kind <= MESSAGE_JSON ? (enum message_kind)f->kind : MESSAGE_BINARY,
        .type = f->type,
        .headers = f->headers,
        .key = f->key,
        .body = f->body};

    hub->fe->counters.leases++;
    *answer = (struct answer){.type = ANSWER_WORK,
        .id = answer->id,
        .message = &m,
        .token = f->lease,
        .n_deliveries = f->n_deliveries,
        .time_ms = f->lease_ms - ago_ms};
    t->session->ops->on_answer(t->session, answer);
}

static void
taker_tell_call(struct taker *t, const struct frame_call *f, uint64_t ago_ms, struct answer *answer)
{
    const struct message m = {.topic = f->topic,
        .kind = f->kind <= MESSAGE_JSON ? (enum message_kind)f->kind : MESSAGE_BINARY,
        .type = f->type,
        .headers = f->headers,
        .key = f->key,
        .body = f->body};

    t->hub->fe->counters.calls++;
    *answer = (struct answer){.type = ANSWER_CALL,
        .id = answer->id,
        .message = &m,
        .token = f->call,
        .n_deliveries = f->n_deliveries,
        .time_ms = f->timeout_ms - ago_ms};
    t->session->ops->on_answer(t->session, answer);
}

void
taker_tell(struct taker *t, const struct frame *frame, uint64_t ago_ms)
{
    bool is_call = frame->type == FRAME_CALL;
    uint64_t time_ms = is_call ? frame->call.timeout_ms : frame->dispatch.lease_ms;
    uint8_t id[REQUEST_SUB_ID_MAX]; /* it may end in the call */
    struct answer answer = {.id = slice_of(id, t->n_id)};

    if (ago_ms > 0 && ago_ms >= time_ms)
        return; /* too late: somebody else has it */
    put(id, taker_id(t));
    if (is_call)
        taker_tell_call(t, &frame->call, ago_ms, &answer);
    else
        taker_tell_work(t, &frame->dispatch, ago_ms, &answer);
}

/* It is the client's from now on, whether or not it can be told at once. */
static int
taker_give(struct taker *t, const struct frame *frame, struct slice token)
{
    int r = taker_note_work(t, token);

    if (r == 0 && taker_is_behind(t))
        r = taker_park(t, frame);
    else if (r == 0)
        taker_tell(t, frame, 0);
    if (r < 0)
        log_error("the broker gave out work that cannot be kept: %s", strerror(-r));
    return r;
}

/* It crossed with the end of its consumer. A lease that outlives it would be nobody's. */
static void
taker_give_back(struct hub *hub, struct slice lease)
{
    frame_put_settle(hub->sink.begin(hub->sink.arg),
        &(struct frame_settle){
            .lease = lease, .outcome = SETTLE_RETRY, .delay_ms = 1}); /* 0 is the topic's queue.retry_delay */
    hub->sink.commit(hub->sink.arg);
}

int
takers_on_dispatch(struct hub *hub, const struct frame *frame)
{
    struct taker *t;
    int r = taker_find(hub, frame->dispatch.consumer, "DISPATCH", &t);

    if (r < 0)
        return r;
    if (t != NULL)
        return taker_give(t, frame, frame->dispatch.lease);
    taker_give_back(hub, frame->dispatch.lease);
    return 0;
}

int
takers_on_call(struct hub *hub, const struct frame *frame)
{
    struct taker *t;
    int r = taker_find(hub, frame->call.consumer, "CALL", &t);

    return r < 0 || t == NULL ? r : taker_give(t, frame, frame->call.call);
}
