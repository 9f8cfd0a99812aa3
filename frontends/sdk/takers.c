/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers as their clients see them: begun, given work, ended. */
#include "config.h"

#include "frontends/sdk/takers.h"

#include "base/log.h"
#include "frontends/sdk/hubpriv.h"
#include "frontends/sdk/message.h"
#include "wire/names.h"

#include <errno.h>
#include <stdlib.h>

#define FLAG_OUTLIVES 1u

/* Given to a client, and not known to be settled. */
struct work {
    struct taker *taker;
    struct list in_taker;
    uint8_t n_token;
    uint8_t token[];
};

struct taker {
    struct hub *hub;
    struct session *session;
    uint64_t number;
    struct list in_session, in_all;
    struct list works; /* the oldest first */
    uint32_t n_works, credit;
    struct position since;
    bool is_responder, outlives_session;
    bool is_answered; /* the client knows that it is one */
    uint16_t n_id, n_topic;
    uint8_t n_group;
    uint8_t bytes[]; /* id, topic, group */
};

static inline struct slice
taker_id(const struct taker *t)
{
    return slice_of(t->bytes, t->n_id);
}

static inline struct slice
taker_topic(const struct taker *t)
{
    return slice_of(t->bytes + t->n_id, t->n_topic);
}

static inline struct slice
taker_group(const struct taker *t)
{
    return slice_of(t->bytes + t->n_id + t->n_topic, t->n_group);
}

static struct slice
work_key(const void *value)
{
    const struct work *w = value;

    return slice_of(w->token, w->n_token);
}

void
takers_init(struct takers *takers)
{
    *takers = (struct takers){0};
    numbers_init(&takers->numbers);
    list_init(&takers->all);
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
    numbers_remove(&hub->takers.numbers, t->number);
    list_remove(&t->in_session);
    list_remove(&t->in_all);
    hub->takers.n--;
    s->party->n_takers--;
    s->n_filters -= filter_weight(taker_topic(t));
    free(t);
}

/* The client does not want it any more. */
static void
taker_end(struct taker *t)
{
    struct hub *hub = t->hub;

    if (hub->phase != HUB_AWAY) {
        frame_put_unconsume(hub->sink.begin(hub->sink.arg), &(struct frame_unconsume){.consumer = t->number});
        hub->sink.commit(hub->sink.arg);
    }
    taker_free(t);
}

void
takers_fini(struct takers *takers)
{
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
    struct answer answer = {.type = ANSWER_ERROR, .code = error_code_find(f->code), .text = f->message};
    uint8_t id[REQUEST_SUB_ID_MAX];
    struct session *s;
    struct taker *t;
    int r = taker_find(hub, f->consumer, "UNCONSUMABLE", &t);

    if (r < 0 || t == NULL)
        return r;
    answer.id = slice_of(id, t->n_id);
    put(id, taker_id(t));
    s = t->session;
    taker_free(t);
    s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
    return 0;
}

/* Gives it to the client. */
static int
taker_give(struct taker *t, struct answer *answer)
{
    uint8_t id[REQUEST_SUB_ID_MAX];
    int r = taker_note_work(t, answer->token);

    if (r < 0) {
        log_error("the broker gave out work that cannot be kept: %s", strerror(-r));
        return r;
    }
    answer->id = slice_of(id, t->n_id);
    put(id, taker_id(t));
    t->session->ops->on_answer(t->session, answer);
    return 0;
}

/* It crossed with the end of its consumer. A lease that outlives it would be nobody's. */
static void
taker_give_back(struct hub *hub, struct slice lease)
{
    frame_put_settle(
        hub->sink.begin(hub->sink.arg), &(struct frame_settle){.lease = lease, .outcome = SETTLE_RETRY});
    hub->sink.commit(hub->sink.arg);
}

int
takers_on_dispatch(struct hub *hub, const struct frame *frame)
{
    const struct frame_dispatch *f = &frame->dispatch;
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
    struct answer answer = {.type = ANSWER_WORK,
        .message = &m,
        .token = f->lease,
        .n_deliveries = f->n_deliveries,
        .time_ms = f->lease_ms};
    struct taker *t;
    int r = taker_find(hub, f->consumer, "DISPATCH", &t);

    if (r < 0)
        return r;
    if (t == NULL) {
        taker_give_back(hub, f->lease);
        return 0;
    }
    hub->fe->counters.leases++;
    return taker_give(t, &answer);
}

int
takers_on_call(struct hub *hub, const struct frame *frame)
{
    const struct frame_call *f = &frame->call;
    const struct message m = {.topic = f->topic,
        .kind = f->kind <= MESSAGE_JSON ? (enum message_kind)f->kind : MESSAGE_BINARY,
        .type = f->type,
        .headers = f->headers,
        .key = f->key,
        .body = f->body};
    struct answer answer = {.type = ANSWER_CALL,
        .message = &m,
        .token = f->call,
        .n_deliveries = f->n_deliveries,
        .time_ms = f->timeout_ms};
    struct taker *t;
    int r = taker_find(hub, f->consumer, "CALL", &t);

    if (r < 0 || t == NULL)
        return r;
    hub->fe->counters.calls++;
    return taker_give(t, &answer);
}
