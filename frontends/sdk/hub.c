/* SPDX-License-Identifier: Apache-2.0 */
/* The hub's life, the frames that are its own, and what happens to everything when the link comes and goes.
 */
#include "config.h"

#include "frontends/sdk/hubpriv.h"

#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Requests to the broker, by number. ---- */

int
hub_req_new(struct hub *hub, struct hub_req **ret, uint64_t *ret_number)
{
    struct hub_req *req = calloc(1, sizeof *req);
    size_t slot = 0;

    if (req == NULL)
        return -ENOMEM;
    while (slot < hub->n_req_slots && hub->reqs[slot] != NULL)
        slot++;
    if (slot == hub->n_req_slots) {
        size_t n = hub->n_req_slots == 0 ? 16 : hub->n_req_slots * 2;
        struct hub_req **reqs = realloc(hub->reqs, n * sizeof(struct hub_req *));

        if (reqs == NULL) {
            free(req);
            return -ENOMEM;
        }
        for (size_t i = hub->n_req_slots; i < n; i++)
            reqs[i] = NULL;
        hub->reqs = reqs;
        hub->n_req_slots = n;
    }
    hub->reqs[slot] = req;
    *ret = req;
    *ret_number = slot + 1;
    return 0;
}

struct hub_req *
hub_req_find(struct hub *hub, uint64_t number)
{
    return number >= 1 && number <= hub->n_req_slots ? hub->reqs[number - 1] : NULL;
}

void
hub_req_free(struct hub *hub, uint64_t number)
{
    free(hub->reqs[number - 1]);
    hub->reqs[number - 1] = NULL;
}

/* ---- Lists of topics. ---- */

static void
hub_answer_list(struct session *s, struct slice id, enum answer_type type, enum error_code code)
{
    struct answer answer = {.type = type, .id = id, .code = code};

    if (type == ANSWER_ERROR)
        s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
}

void
hub_list(struct hub *hub, struct session *s, const struct request *r)
{
    struct hub_req *req;
    uint64_t number;

    if (hub->phase != HUB_LIVE) {
        hub_answer_list(s, r->id, ANSWER_ERROR, ERROR_UNAVAILABLE);
        return;
    }
    if (hub->n_lists >= LISTS_MAX) {
        hub_answer_list(s, r->id, ANSWER_ERROR, ERROR_LIMIT_REACHED);
        return;
    }
    if (hub_req_new(hub, &req, &number) < 0) {
        hub_answer_list(s, r->id, ANSWER_ERROR, ERROR_INTERNAL);
        return;
    }
    req->session = s;
    req->is_list = true;
    req->n_id = (uint8_t)r->id.n;
    if (r->id.n > 0)
        memcpy(req->id, r->id.p, r->id.n);
    s->n_lists++;
    hub->n_lists++;
    frame_put_list(hub->sink.begin(hub->sink.arg),
        &(struct frame_list){.req = number, .filter = r->filters[0], .after = r->after, .limit = r->limit});
    hub->sink.commit(hub->sink.arg);
}

static struct hub_req *
hub_find_list(struct hub *hub, uint64_t number, const char *frame_name)
{
    struct hub_req *req = hub_req_find(hub, number);

    if (req != NULL && req->is_list)
        return req;
    log_error(
        "the broker sent %s for request %llu, which was not asked", frame_name, (unsigned long long)number);
    return NULL;
}

static int
hub_on_listed(struct hub *hub, const struct frame *frame)
{
    const struct frame_listed *f = &frame->listed;
    struct hub_req *req = hub_find_list(hub, f->req, "LISTED");

    if (req == NULL)
        return -EPROTO;
    if (req->session != NULL) {
        struct answer answer = {.type = ANSWER_TOPIC,
            .id = slice_of(req->id, req->n_id),
            .topic = f->topic,
            .position = {.epoch = hub->position.epoch, .seq = f->seq},
            .n_kept = f->n_kept,
            .n_bytes = f->n_bytes,
            .n_links = f->n_links};

        req->session->ops->on_answer(req->session, &answer);
    }
    return 0;
}

static int
hub_on_list_end(struct hub *hub, const struct frame *frame)
{
    struct hub_req *req = hub_find_list(hub, frame->list_end.req, "LIST_END");
    struct answer answer = {.type = ANSWER_TOPICS_END, .count = frame->list_end.more};
    struct session *s;
    uint8_t id[REQUEST_ID_MAX];

    if (req == NULL)
        return -EPROTO;
    s = req->session;
    memcpy(id, req->id, sizeof id);
    answer.id = slice_of(id, req->n_id);
    hub_req_free(hub, frame->list_end.req);
    hub->n_lists--;
    if (s != NULL) {
        s->n_lists--;
        s->ops->on_answer(s, &answer);
    }
    return 0;
}

/* ---- Work. ---- */

void
hub_settle(struct hub *hub, struct session *s, const struct request *r)
{
    /* A lease that somebody else was given is as good as one's own: only who was given it knows it. */
    asks_settle(hub, s, r, takers_holder(hub, s, r->token));
}

void
hub_reply(struct hub *hub, struct session *s, const struct request *r, const struct reply_fault *fault)
{
    uint64_t consumer = takers_holder(hub, s, r->token);
    struct answer answer = {
        .type = ANSWER_ERROR, .id = r->id, .code = ERROR_CALL_UNKNOWN, .of = r->op, .token = r->token};

    if (consumer != 0) {
        asks_reply(hub, s, r, consumer, fault);
        return;
    }
    s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
}

/* ---- The link comes and goes. ---- */

void
hub_on_attached(struct hub *hub)
{
    hub->phase = HUB_RESUMING;
    for (size_t i = 0; i < hub->n_filter_slots; i++) {
        struct filter *f = hub->filters[i];

        if (f == NULL)
            continue;
        if (f->n_members == 0) {
            filter_free(f); /* nobody has come back for it */
            continue;
        }
        filter_ask(f);
    }
    takers_list(hub);
    members_list(hub);
}

void
hub_pump(struct hub *hub)
{
    asks_pump(hub);
}

void
hub_on_down(struct hub *hub)
{
    if (hub->phase == HUB_AWAY)
        return;
    hub->phase = HUB_AWAY;
    hub->has_told_gap = false;
    bus_topic_forget_all(hub);
    recover_on_down(hub);
    for (size_t i = 0; i < hub->n_filter_slots; i++) {
        if (hub->filters[i] != NULL && hub->filters[i]->state == FILTER_ASKED)
            hub->filters[i]->state = FILTER_NEW;
    }
    for (size_t i = 0; i < hub->n_req_slots; i++) {
        struct hub_req *req = hub->reqs[i];

        hub->reqs[i] = NULL;
        hub->n_lists -= req != NULL && req->is_list;
        if (req != NULL && req->session != NULL) {
            req->session->n_lists--;
            hub_answer_list(req->session, slice_of(req->id, req->n_id), ANSWER_ERROR, ERROR_UNAVAILABLE);
        }
        free(req);
    }
    members_on_down(hub);
    asks_on_down(hub);
}

void
hub_on_position(struct hub *hub, uint64_t seq)
{
    if (hub->phase == HUB_LIVE && seq > hub->position.seq)
        hub->position.seq = seq;
}

static int
hub_on_gap(struct hub *hub, const struct frame *frame)
{
    const struct frame_gap *f = &frame->gap;

    if (f->req != 0)
        return recover_on_gap(hub, f);
    gaplist_add(&hub->gaps, f->topic);
    hub->whole_from = f->seq > hub->seq ? f->seq : hub->seq;
    bus_topic_note_gap(hub, f->topic, f->seq);
    return 0;
}

void
hub_tell_gaps(struct hub *hub)
{
    struct gaplist gaps = hub->gaps;

    if (gaps.n == 0)
        return;
    hub->gaps = (struct gaplist){0};
    hub->has_told_gap = true;
    sub_tell_gaps(hub, &gaps);
    gaplist_clear(&gaps);
}

/* The epoch is another one: nothing that was known of seqs holds. */
static void
hub_reset(struct hub *hub, struct position position)
{
    log_notice("the store of the bus is another one: clients are told that their cursors are void");
    hub->position = position;
    hub->seq = position.seq;
    for (size_t i = 0; i < hub->n_topic_slots; i++) {
        if (hub->topics[i] != NULL)
            hub->topics[i]->last_seq = 0;
    }
    for (size_t i = 0; i < hub->n_filter_slots; i++) {
        if (hub->filters[i] != NULL && hub->filters[i]->state == FILTER_LIVE)
            hub->filters[i]->since = hub->filters[i]->last_seq = position.seq;
    }
    gaplist_clear(&hub->gaps);
    sub_tell_reset(hub);
}

/* What joiners had left out was of the old link or the old store; they ask again and see. */
static void
hub_forget_ignored(struct hub *hub)
{
    struct list *const lists[] = {&hub->waiting, &hub->queued, &hub->draining};

    for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (const struct list *it = lists[i]->next; it != lists[i]; it = it->next)
            list_entry(it, struct sub, in_state)->join->ignored = 0;
    }
}

static int
hub_on_resumed(struct hub *hub, const struct frame *frame)
{
    const struct frame_resumed *f = &frame->resumed;
    struct position position = {.epoch = f->epoch, .seq = f->seq};

    if (f->epoch == 0 || f->state > STATE_RESET) {
        log_error("the broker sent a RESUMED that makes no sense");
        return -EPROTO;
    }
    hub->base = f->seq;
    hub->whole_from = f->seq;
    if (f->state == STATE_RESET) {
        hub_forget_ignored(hub);
        hub_reset(hub, position);
    } else {
        hub->position = position;
        if (hub->seq < f->seq)
            hub->seq = f->seq;
        if (hub->gaps.n == 0 && f->state == STATE_GAP && !hub->has_told_gap)
            gaplist_add(&hub->gaps, (struct slice){0});
        hub_tell_gaps(hub);
    }
    hub->has_told_gap = false;
    hub->phase = HUB_LIVE;
    for (size_t i = 0; i < hub->n_filter_slots; i++) {
        if (hub->filters[i] != NULL && hub->filters[i]->state == FILTER_NEW)
            filter_ask(hub->filters[i]);
    }
    sub_proceed_all(hub);
    members_on_resumed(hub);
    recover_poll_draining(hub);
    return 0;
}

/* ---- Frames, by number. ---- */

int
hub_on_frame(struct hub *hub, const struct frame *f)
{
    static int (*const handlers[FRAME_N])(struct hub * hub, const struct frame *frame) = {
        [FRAME_TOPIC] = bus_topic_on_topic,
        [FRAME_FORGET] = bus_topic_on_forget,
        [FRAME_SUBSCRIBED] = filter_on_subscribed,
        [FRAME_UNSUBSCRIBABLE] = filter_on_unsubscribable,
        [FRAME_RESUMED] = hub_on_resumed,
        [FRAME_GAP] = hub_on_gap,
        [FRAME_REPLAY] = recover_on_replay,
        [FRAME_RECOVERED] = recover_on_recovered,
        [FRAME_MESSAGE] = fanout_on_message,
        [FRAME_LISTED] = hub_on_listed,
        [FRAME_LIST_END] = hub_on_list_end,
        [FRAME_CONSUMING] = takers_on_consuming,
        [FRAME_UNCONSUMABLE] = takers_on_unconsumable,
        [FRAME_DISPATCH] = takers_on_dispatch,
        [FRAME_CALL] = takers_on_call,
        [FRAME_ACCEPTED] = asks_on_accepted,
        [FRAME_REPLIED] = asks_on_replied,
        [FRAME_SETTLED] = asks_on_settled,
        [FRAME_QUEUE] = asks_on_queue,
        [FRAME_QUEUES_END] = asks_on_queues_end,
        [FRAME_PEEKED] = asks_on_peeked,
        [FRAME_PEEK_END] = asks_on_peek_end,
        [FRAME_PRESENT] = asks_on_present,
        [FRAME_WHO_END] = asks_on_who_end,
    };

    return handlers[f->type] == NULL ? -ENOTSUP : handlers[f->type](hub, f);
}

/* ---- Life. ---- */

static struct slice
group_key(const void *value)
{
    const struct group *g = value;

    return slice_of(g->key, g->n_key);
}

int
hub_new(struct frontend *fe, const struct hub_sink *sink, struct hub **ret)
{
    struct hub *hub = calloc(1, sizeof *hub);

    if (hub == NULL)
        return -ENOMEM;
    if (filtertree_new(&hub->tree) < 0) {
        free(hub);
        return -ENOMEM;
    }
    hub->fe = fe;
    hub->sink = *sink;
    hub->generation = 1;
    hub->drain_timer = (struct loop_timer){.fn = recover_on_drain_timer, .arg = hub};
    table_init(&hub->groups, group_key);
    rand_bytes(hub->value_key, sizeof hub->value_key);
    buf_init(&hub->scratch, 0);
    list_init(&hub->active);
    list_init(&hub->dead);
    list_init(&hub->waiting);
    list_init(&hub->queued);
    list_init(&hub->asked);
    list_init(&hub->draining);
    list_init(&hub->live);
    asks_init(&hub->asks);
    takers_init(hub);
    members_init(hub);
    *ret = hub;
    return 0;
}

struct hub *
hub_free(struct hub *hub)
{
    if (hub == NULL)
        return NULL;
    loop_timer_stop(hub->fe->loop, &hub->drain_timer);
    asks_fini(&hub->asks);
    takers_fini(hub);
    members_fini(hub);
    bus_topic_forget_all(hub);
    for (size_t i = 0; i < hub->n_filter_slots; i++) {
        if (hub->filters[i] != NULL)
            filter_free(hub->filters[i]);
    }
    free(hub->filters);
    for (size_t i = 0; i < hub->n_req_slots; i++)
        free(hub->reqs[i]);
    free(hub->reqs);
    gaplist_clear(&hub->gaps);
    filtertree_free(hub->tree);
    table_fini(&hub->groups);
    buf_fini(&hub->scratch);
    free(hub);
    return NULL;
}

void
hub_after_writes(struct hub *hub)
{
    if (!list_empty(&hub->draining))
        recover_poll_draining(hub);
    if (!list_empty(&hub->takers.parked))
        takers_poll_parked(hub);
}

size_t
hub_n_subs(const struct hub *hub)
{
    return hub->n_subs + hub->takers.n;
}

size_t
hub_n_asks(const struct hub *hub)
{
    return hub->asks.n;
}

size_t
hub_n_takers(const struct hub *hub)
{
    return hub->takers.n;
}

size_t
hub_n_present(const struct hub *hub)
{
    return hub->members.n_attendances;
}

size_t
hub_n_filters(const struct hub *hub)
{
    return hub->n_filters;
}

struct position
hub_position(const struct hub *hub)
{
    return hub->position;
}
