/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subscriptions of sessions, from the request to the end.
 *
 *     WAITING ── all filters live, nothing to replay ─────────────────────────────→ LIVE
 *        └─────→ QUEUED → ASKED ── last page ─────────────────────────────────────→ LIVE
 *                   ↑        └── more ──→ DRAINING ──┐
 *                   └────────────────────────────────┘
 */
#include "config.h"

#include "frontends/sdk/hubpriv.h"

#include "wire/names.h"

#include <errno.h>
#include <stdlib.h>

/* An id counts once more for so many bytes: it is kept with each subscription. */
#define ID_WEIGHT_BYTES 512u

/* ---- Answers. ---- */

bool
sub_answer(struct sub *sub, struct answer *answer)
{
    struct hub *hub = sub_hub(sub);
    struct session *s = sub->session;
    struct sub_watch watch;
    uint8_t id[REQUEST_SUB_ID_MAX];

    /* The sub may end in the call, and its id with it. */
    memcpy(id, sub_id(sub).p, sub->n_id);
    answer->id = slice_of(id, sub->n_id);
    sub_watch_begin(&watch, sub);
    s->ops->on_answer(s, answer);
    return sub_watch_end(hub, &watch);
}

static void
session_answer(struct session *s, const struct request *r, enum answer_type type, enum error_code code)
{
    struct answer answer = {.type = type, .id = r->id, .code = code, .topic = r->topic};

    if (type == ANSWER_ERROR)
        s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
}

/* ---- States. ---- */

void
sub_set_state(struct sub *sub, enum sub_state state)
{
    struct hub *hub = sub_hub(sub);
    struct list *const lists[] = {
        [SUB_WAITING] = &hub->waiting,
        [SUB_QUEUED] = &hub->queued,
        [SUB_ASKED] = &hub->asked,
        [SUB_DRAINING] = &hub->draining,
        [SUB_LIVE] = &hub->live,
    };

    list_remove(&sub->in_state);
    list_push_back(lists[state], &sub->in_state);
    sub->state = (uint8_t)state;
}

/* Where every live sub stands. While a link resumes, what it brings is delivered at once and the hub's own
 * position stays where it must resume from if the link breaks again: nobody is told that one, since clients
 * would go back behind what they have, and who joins then is not given what was delivered before. */
static struct position
live_position(const struct hub *hub)
{
    struct position position = hub->position;

    if (hub->seq > position.seq)
        position.seq = hub->seq;
    return position;
}

struct position
sub_position(const struct sub *sub)
{
    struct position position = live_position(sub_hub(sub));

    for (unsigned i = 0; i < sub->n_members; i++) {
        if (sub->members[i].filter->since > position.seq)
            position.seq = sub->members[i].filter->since;
    }
    return position;
}

/* What can be said without asking: nothing came since, of any of its filters. It is so for most long-polls.
 */
static bool
sub_is_quiet(const struct sub *sub)
{
    const struct hub *hub = sub_hub(sub);
    const struct join *join = sub->join;
    bool is_quiet = join->from == FROM_TIME;

    if (join->wants_latest)
        return false;
    if (join->from == FROM_SINCE)
        is_quiet = hub->phase == HUB_LIVE && join->since.epoch == hub->position.epoch &&
                   join->since.seq >= hub->whole_from && join->since.seq <= sub_position(sub).seq;
    for (unsigned i = 0; is_quiet && i < sub->n_members; i++) {
        const struct filter *f = sub->members[i].filter;

        if (join->from == FROM_TIME)
            is_quiet = f->quiet_ms < join->since_ms;
        else
            is_quiet = join->since.seq >= f->since && join->since.seq >= f->last_seq;
    }
    return is_quiet;
}

void
sub_proceed(struct sub *sub)
{
    struct hub *hub = sub_hub(sub);
    bool wants_more = sub->join->from != FROM_LIVE;
    struct answer answer = {.type = ANSWER_SUBSCRIBED, .state = STATE_LIVE};

    if (hub->phase == HUB_RESUMING || hub->position.epoch == 0)
        return;
    for (unsigned i = 0; i < sub->n_members; i++) {
        const struct filter *f = sub->members[i].filter;

        if (f->state != FILTER_LIVE)
            return;
        wants_more = wants_more || f->may_retain;
    }
    if (sub->is_events) {
        members_on_ready(sub);
        return;
    }
    if (wants_more && !sub_is_quiet(sub)) {
        if (hub->phase == HUB_LIVE)
            recover_ask(sub);
        return;
    }
    if (sub->join->from == FROM_SINCE)
        answer.state = STATE_RECOVERED;
    answer.position = sub_position(sub);
    if (sub_answer(sub, &answer))
        sub_go_live(sub);
}

void
sub_proceed_all(struct hub *hub)
{
    struct list todo;

    list_init(&todo);
    list_take_all(&todo, &hub->waiting);
    while (!list_empty(&todo)) {
        struct sub *sub = list_entry(todo.next, struct sub, in_state);

        sub_set_state(sub, SUB_WAITING);
        sub_proceed(sub);
    }
}

void
sub_go_live(struct sub *sub)
{
    struct hub *hub = sub_hub(sub);
    struct session *s = sub->session;
    bool is_single = s->n_subs == 1 && sub->n_members == 1, tells_live;
    struct answer answer = {.type = ANSWER_LIVE, .position = sub_position(sub)};

    for (unsigned i = 0; i < sub->n_members; i++) {
        struct member *m = &sub->members[i];

        list_remove(&m->in_owner);
        if (fanout_join(m, is_single) < 0) {
            sub_fail(sub, ERROR_INTERNAL, slice_str("no memory"));
            return;
        }
    }
    tells_live = sub->join->tells_live;
    join_free(sub->join);
    sub_set_state(sub, SUB_LIVE);
    sub->last_seq = hub->seq;
    s->is_single = is_single;
    if (tells_live && !sub_answer(sub, &answer))
        return;
    if (s->party != NULL && !sub->is_events)
        members_on_live(sub);
}

/* A session that had one live sub of one filter gets others beside it, or is back to one. */
static void
session_settle(struct session *s)
{
    struct sub *sub;
    bool is_single;

    if (s->n_subs == 0) {
        s->is_single = false;
        return;
    }
    sub = list_entry(s->subs.next, struct sub, in_session);
    if (s->is_single && s->n_subs > 1) {
        /* It was given what waited for it before (session_give_pending()). */
        fanout_set_single(&sub->members[0], false);
        sub->last_seq = sub_hub(sub)->seq;
        s->is_single = false;
        return;
    }
    is_single = s->n_subs == 1 && sub->n_members == 1 && sub->state == SUB_LIVE;
    if (is_single && !s->is_single) {
        fanout_set_single(&sub->members[0], true);
        s->is_single = true;
    }
}

/* Gives a single what the turn brought so far. False if the session is gone after. */
static bool
session_give_pending(struct session *s)
{
    struct sub *sub = list_entry(s->subs.next, struct sub, in_session);
    struct hub *hub = sub_hub(sub);
    struct sub_watch watch;

    sub_watch_begin(&watch, sub);
    fanout_deliver_pending(&sub->members[0]);
    return sub_watch_end(hub, &watch);
}

/* ---- Beginning. ---- */

static struct sub *
sub_find(const struct session *s, struct slice id)
{
    for (const struct list *it = s->subs.next; it != &s->subs; it = it->next) {
        struct sub *sub = list_entry(it, struct sub, in_session);

        if (!sub->is_events && slice_equal(sub_id(sub), id))
            return sub;
    }
    return NULL;
}

/* What it takes of limits.subscriptions_per_client besides its filters: nothing while it is short. */
static uint32_t
id_weight(struct slice id)
{
    return (uint32_t)(id.n / ID_WEIGHT_BYTES);
}

static bool
sub_has_filter(const struct sub *sub, const struct filter *f)
{
    for (unsigned i = 0; i < sub->n_members; i++) {
        if (sub->members[i].filter == f)
            return true;
    }
    return false;
}

/* Its members, with the filters that they are for; a filter that is named twice counts once. */
static int
sub_add_members(struct sub *sub, const struct request *r)
{
    for (size_t i = 0; i < r->n_filters; i++) {
        struct filter *f = filter_get(sub_hub(sub), r->filters[i]);
        struct member *m = &sub->members[sub->n_members];

        if (f == NULL)
            return -ENOMEM;
        if (sub_has_filter(sub, f))
            continue;
        *m = (struct member){.filter = f, .index = sub->n_members};
        list_push_back(&f->joining, &m->in_owner);
        filter_note_member(f);
        sub->n_members++;
        sub->session->n_filters += filter_weight(r->filters[i]);
    }
    return 0;
}

static struct sub *
sub_new(struct hub *hub, struct session *s, const struct request *r, struct position since)
{
    struct sub *sub = malloc(sizeof *sub + r->n_filters * sizeof(struct member) + r->id.n);
    struct join *join = malloc(sizeof *join);

    if (sub == NULL || join == NULL) {
        free(sub);
        free(join);
        return NULL;
    }
    *sub = (struct sub){.session = s, .n_id = (uint16_t)r->id.n, .join = join};
    *join = (struct join){.number = ++hub->last_group,
        .from = r->from,
        .since = since,
        .last = r->last,
        .count = PAGE_FIRST,
        .since_ms = r->since_ms,
        .tells_live = r->tells_live,
        .wants_latest = r->wants_latest};
    list_init(&sub->in_state);
    list_push_back(&s->subs, &sub->in_session);
    s->n_subs++;
    s->n_filters += id_weight(r->id);
    hub->n_subs++;
    if (sub_add_members(sub, r) < 0) {
        sub_free(sub);
        return NULL;
    }
    /* Behind the members that there are: n_members may be less than was asked for. */
    if (r->id.n > 0)
        memcpy(&sub->members[sub->n_members], r->id.p, r->id.n);
    sub_set_state(sub, SUB_WAITING);
    session_settle(s);
    return sub;
}

struct sub *
sub_new_events(struct sub *main, struct slice filter)
{
    const struct request r = {.op = REQUEST_SUB, .id = sub_id(main), .filters = &filter, .n_filters = 1};
    struct hub *hub = sub_hub(main);
    struct sub *sub = sub_new(hub, main->session, &r, (struct position){0});

    if (sub == NULL)
        return NULL;
    sub->is_events = true;
    hub->n_subs--; /* no client's */
    return sub;
}

static bool
session_has_room(const struct session *s, const struct request *r)
{
    uint64_t weight = s->n_filters + id_weight(r->id);

    for (size_t i = 0; i < r->n_filters; i++)
        weight += filter_weight(r->filters[i]);
    return weight <= s->fe->limits->subscriptions_per_client;
}

void
hub_subscribe(struct hub *hub, struct session *s, const struct request *r, struct position since)
{
    struct sub *sub;

    if (sub_find(s, r->id) != NULL || takers_has(s, r->id)) {
        session_answer(s, r, ANSWER_ERROR, ERROR_SUBSCRIPTION_EXISTS);
        return;
    }
    if (!session_has_room(s, r)) {
        struct answer answer = {.type = ANSWER_ERROR,
            .id = r->id,
            .code = ERROR_LIMIT_REACHED,
            .text = slice_str("limits.subscriptions_per_client: this client holds too many subscriptions")};

        s->fe->counters.request_errors++;
        s->ops->on_answer(s, &answer);
        return;
    }
    if (r->role != ROLE_SUBSCRIBER) {
        takers_subscribe(hub, s, r, since);
        return;
    }
    if (s->is_single && !session_give_pending(s))
        return;
    sub = sub_new(hub, s, r, since);
    if (sub != NULL && r->wants_presence && members_watch(sub, r) < 0) {
        sub_free(sub);
        session_settle(s);
        sub = NULL;
    }
    if (sub == NULL)
        session_answer(s, r, ANSWER_ERROR, ERROR_INTERNAL);
    else
        sub_proceed(sub);
}

/* ---- End. ---- */

void
sub_free(struct sub *sub)
{
    struct hub *hub = sub_hub(sub);
    struct session *s = sub->session;

    if (s->party != NULL && !sub->is_events)
        members_unwatch(sub, true);
    for (struct sub_watch *w = hub->watches; w != NULL; w = w->outer) {
        if (w->sub == sub)
            w->sub = NULL;
    }
    if (sub->state == SUB_ASKED) {
        struct hub_req *req = hub_req_find(hub, sub->join->req);

        if (req != NULL) {
            req->sub = NULL; /* RECOVERED frees it */
            frame_put_cancel(hub->sink.begin(hub->sink.arg), &(struct frame_cancel){.req = sub->join->req});
            hub->sink.commit(hub->sink.arg);
        }
    }
    for (unsigned i = 0; i < sub->n_members; i++) {
        struct member *m = &sub->members[i];

        if (m->group != NULL)
            fanout_leave(m);
        else
            list_remove(&m->in_owner);
        s->n_filters -= filter_weight(filter_text(m->filter));
        filter_note_left(m->filter);
    }
    s->n_subs--;
    s->n_filters -= (uint32_t)(sub->n_id / ID_WEIGHT_BYTES);
    hub->n_subs -= !sub->is_events;
    list_remove(&sub->in_session);
    list_remove(&sub->in_state);
    if (sub->state != SUB_LIVE)
        join_free(sub->join);
    free(sub);
    if (s->n_subs == 0)
        s->is_single = false;
}

void
sub_fail(struct sub *sub, enum error_code code, struct slice text)
{
    struct session *s = sub->session;
    uint8_t id[REQUEST_SUB_ID_MAX];
    struct answer answer = {.type = ANSWER_ERROR, .id = slice_of(id, sub->n_id), .code = code, .text = text};

    if (sub->is_events)
        sub = members_main(sub);
    memcpy(id, sub_id(sub).p, sub->n_id);
    sub_free(sub);
    session_settle(s);
    s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
}

void
hub_unsubscribe(struct hub *hub, struct session *s, struct slice id)
{
    struct answer answer = {.type = ANSWER_UNSUBSCRIBED, .id = id, .position = hub->position};
    struct sub *sub = sub_find(s, id);

    if (sub == NULL && takers_unsubscribe(hub, s, id))
        return;
    if (sub == NULL) {
        answer.type = ANSWER_ERROR;
        answer.code = ERROR_SUBSCRIPTION_UNKNOWN;
        s->fe->counters.request_errors++;
        s->ops->on_answer(s, &answer);
        return;
    }
    if (s->is_single && !session_give_pending(s))
        return;
    sub_free(sub);
    session_settle(s);
    s->ops->on_answer(s, &answer);
}

void
hub_leave(struct hub *hub, struct session *s)
{
    if (hub == NULL)
        return;
    if (s->party != NULL)
        members_leave(hub, s);
    while (!list_empty(&s->subs))
        sub_free(list_entry(s->subs.next, struct sub, in_session));
    s->is_single = false;
    if (s->party != NULL) {
        asks_leave(hub, s);
        takers_leave(hub, s);
    }
    for (size_t i = 0; s->n_lists > 0 && i < hub->n_req_slots; i++) {
        if (hub->reqs[i] != NULL && hub->reqs[i]->session == s) {
            hub->reqs[i]->session = NULL;
            s->n_lists--;
        }
    }
}

/* Of a live one: what comes is left out from now on. */
static int
sub_set_back(struct sub *sub, struct position to)
{
    struct hub *hub = sub_hub(sub);
    struct join *join = malloc(sizeof *join);

    if (join == NULL)
        return -ENOMEM;
    *join = (struct join){.number = ++hub->last_group,
        .from = FROM_SINCE,
        .since = to,
        .is_answered = true,
        .reached = to,
        .ignored = hub->seq,
        .count = PAGE_FIRST};
    for (unsigned i = 0; i < sub->n_members; i++) {
        struct member *m = &sub->members[i];

        fanout_leave(m);
        list_push_back(&m->filter->joining, &m->in_owner);
    }
    sub->join = join;
    sub->session->is_single = false; /* after: a single leaves its group as one */
    if (sub->is_events) {
        sub_set_state(sub, SUB_WAITING);
        members_on_ready(sub);
        return 0;
    }
    sub_set_state(sub, SUB_DRAINING);
    return 0;
}

/* The first hole of any of its filters. */
static const struct hub_hole *
sub_find_hole(const struct sub *sub, const struct hub_hole *holes, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        for (unsigned i = 0; i < sub->n_members; i++)
            if (sub->members[i].group != NULL && sub->members[i].group->number == holes[k].group)
                return &holes[k];
    }
    return NULL;
}

int
hub_set_back(struct hub *hub, struct session *s, const struct hub_hole *holes, size_t n)
{
    int r = 0;

    for (const struct list *it = s->subs.next; it != &s->subs && r == 0; it = it->next) {
        struct sub *sub = list_entry(it, struct sub, in_session);
        const struct hub_hole *hole = sub->state == SUB_LIVE ? sub_find_hole(sub, holes, n) : NULL;

        if (hole != NULL)
            r = sub_set_back(sub, (struct position){.epoch = hole->epoch, .seq = hole->seq - 1});
    }
    loop_defer(hub->fe->loop, &hub->fe->turn_hook);
    return r;
}

/* ---- What happened to the stream. ---- */

/* Calls tell() for each live sub; any of them may end meanwhile. */
static void
sub_tell_all(
    struct hub *hub, bool (*tell)(struct sub *sub, const struct gaplist *gaps), const struct gaplist *gaps)
{
    struct list todo;

    /* What was delivered comes before what is told. */
    hub_flush(hub);
    list_init(&todo);
    list_take_all(&todo, &hub->live);
    while (!list_empty(&todo)) {
        struct sub *sub = list_entry(todo.next, struct sub, in_state);

        list_remove(&sub->in_state);
        list_push_back(&hub->live, &sub->in_state);
        (void)tell(sub, gaps);
    }
}

static bool
sub_tell_one_reset(struct sub *sub, const struct gaplist *gaps)
{
    struct answer answer = {.type = ANSWER_STATE, .state = STATE_RESET, .position = sub_hub(sub)->position};

    sub->last_seq = answer.position.seq; /* the new store counts from where it likes */
    if (sub->is_events)
        return true;
    return sub_answer(sub, &answer);
}

void
sub_tell_reset(struct hub *hub)
{
    sub_tell_all(hub, sub_tell_one_reset, NULL);
}

static bool
sub_matches(const struct sub *sub, struct slice topic)
{
    for (unsigned i = 0; i < sub->n_members; i++) {
        if (topic.n == 0 || filter_matches(filter_text(sub->members[i].filter), topic))
            return true;
    }
    return false;
}

static bool
sub_tell_one_gap(struct sub *sub, const struct gaplist *gaps)
{
    struct answer answer = {
        .type = ANSWER_STATE, .state = STATE_GAP, .position = live_position(sub_hub(sub))};
    struct slice names[GAPLIST_MAX];

    if (sub->is_events)
        return true; /* who watches is told anew who is there */
    for (size_t i = 0; i < gaps->n && answer.n_gaps < GAPLIST_MAX; i++) {
        if (sub_matches(sub, gaps->items[i]))
            names[answer.n_gaps++] = gaps->items[i];
    }
    if (answer.n_gaps == 0)
        return true;
    answer.gaps = names;
    return sub_answer(sub, &answer);
}

void
sub_tell_gaps(struct hub *hub, const struct gaplist *gaps)
{
    sub_tell_all(hub, sub_tell_one_gap, gaps);
}
