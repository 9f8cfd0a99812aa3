/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery of one joiner: what it missed, or the last messages, or the kept values, before what is live.
 *
 * A replay comes in pages, so that neither this process nor the client's queue holds more than a part of it:
 * a page is collected until its RECOVERED, which also says for the first page what the client must be told
 * before; then it is delivered, and the next is asked for when the client has read most of it. Messages that
 * come live meanwhile are left out and remembered by their seq: the sub goes live only when a page reaches
 * past all of them.
 */
#include "config.h"

#include "frontends/sdk/hubpriv.h"

#include "base/log.h"
#include "base/siphash.h"
#include "frontends/sdk/block.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Asking. ---- */

/* A quarter of the queue for the page, and the next when less than another quarter waits. */
static size_t
recover_page_bytes(const struct hub *hub)
{
    return hub->fe->limits->queue_bytes / 4;
}

static void
join_drop_page(struct join *join)
{
    block_unref(join->page);
    join->page = NULL;
    join->n_page = 0;
    join->page_first = 0;
    join->page_last = 0;
    join->is_cut = false;
    join->has_met_gap = false;
    gaplist_clear(&join->gaps);
    told_gaps_clear(&join->met);
}

void
join_free(struct join *join)
{
    if (join == NULL)
        return;
    join_drop_page(join);
    told_gaps_clear(&join->told);
    free(join);
}

void
recover_ask(struct sub *sub)
{
    sub_set_state(sub, SUB_QUEUED);
    recover_pump(sub_hub(sub));
}

static void
recover_put(struct sub *sub, uint64_t req)
{
    struct hub *hub = sub_hub(sub);
    struct join *join = sub->join;
    struct slice filters[REQUEST_FILTERS_MAX];
    struct frame_recover f = {.req = req, .mode = RECOVER_SINCE, .count = join->count};
    struct position since = join->is_answered ? join->reached : join->since;

    if (!join->is_answered && join->from == FROM_LAST) {
        f.mode = RECOVER_LAST;
        f.count = join->last;
    } else if (!join->is_answered && join->from == FROM_TIME) {
        f.mode = RECOVER_TIME;
        f.count = REQUEST_TIME_MESSAGES;
        f.seq = join->since_ms;
    } else if (join->is_spilling || (!join->is_answered && join->from == FROM_LIVE)) {
        f.mode = RECOVER_RETAINED;
        f.count = 0;
    }
    if (f.mode == RECOVER_SINCE) {
        f.epoch = since.epoch;
        f.seq = since.seq;
    }
    join->mode = (enum recover_mode)f.mode;
    if (!join->is_spilling)
        join->asked_at = sub_position(sub).seq;
    for (unsigned i = 0; i < sub->n_members; i++)
        filters[i] = filter_text(sub->members[i].filter);
    buf_reset(&hub->scratch);
    strs_from(&hub->scratch, &f.filters, filters, sub->n_members);
    frame_put_recover(hub->sink.begin(hub->sink.arg), &f);
    hub->sink.commit(hub->sink.arg);
}

void
recover_pump(struct hub *hub)
{
    while (hub->phase == HUB_LIVE && hub->n_asked < RECOVERS_MAX && !list_empty(&hub->queued)) {
        struct sub *sub = list_entry(hub->queued.next, struct sub, in_state);
        struct hub_req *req;
        uint64_t number;

        if (hub_req_new(hub, &req, &number) < 0) {
            sub_fail(sub, ERROR_INTERNAL, slice_str("no memory"));
            continue;
        }
        req->sub = sub;
        sub->join->req = number;
        sub_set_state(sub, SUB_ASKED);
        hub->n_asked++;
        recover_put(sub, number);
    }
}

void
recover_on_down(struct hub *hub)
{
    hub->n_asked = 0;
    while (!list_empty(&hub->asked)) {
        struct sub *sub = list_entry(hub->asked.prev, struct sub, in_state);

        /* What came of this page was not delivered; it comes again. In the order in which they were asked. */
        join_drop_page(sub->join);
        sub->join->req = 0;
        sub_set_state(sub, SUB_QUEUED);
        list_remove(&sub->in_state);
        list_push_front(&hub->queued, &sub->in_state);
    }
}

/* ---- Draining. ---- */

static bool
recover_is_drained(const struct sub *sub)
{
    const struct session *s = sub->session;

    return s->ops->queued == NULL || s->ops->queued(sub->session) <= recover_page_bytes(sub_hub(sub));
}

void
recover_poll_draining(struct hub *hub)
{
    list_for_each_safe(it, following, &hub->draining)
    {
        struct sub *sub = list_entry(it, struct sub, in_state);

        if (recover_is_drained(sub))
            sub_set_state(sub, SUB_QUEUED);
    }
    recover_pump(hub);
    if (!list_empty(&hub->draining) && hub->drain_timer.pprev == NULL)
        loop_timer_start(hub->fe->loop, &hub->drain_timer, DRAIN_POLL_MS);
}

void
recover_on_drain_timer(void *arg)
{
    recover_poll_draining(arg);
}

/* ---- A page. ---- */

/* The sub of a frame's req; NULL with 0: it left. */
static int
recover_sub(struct hub *hub, uint64_t number, const char *frame_name, struct sub **ret)
{
    struct hub_req *req = hub_req_find(hub, number);

    if (req == NULL || req->is_list) {
        log_error("the broker sent %s for request %llu, which was not asked", frame_name,
            (unsigned long long)number);
        return -EPROTO;
    }
    *ret = req->sub;
    return 0;
}

int
recover_on_gap(struct hub *hub, const struct frame_gap *f)
{
    struct sub *sub;
    uint64_t topic = f->topic.n > 0 ? siphash13(hub->value_key, f->topic.p, f->topic.n) | 1 : 0;
    int r = recover_sub(hub, f->req, "GAP", &sub);

    if (r < 0 || sub == NULL)
        return r;
    sub->join->has_met_gap = true;
    if (told_gaps_has(&sub->join->told, topic, f->seq))
        return 0; /* each page meets it anew */
    gaplist_add(&sub->join->gaps, f->topic);
    told_gaps_add(&sub->join->met, topic, f->seq);
    return 0;
}

/* The kept values are more than a page: what is there is delivered at once, after the answer. */
static bool
recover_spill_retained(struct sub *sub)
{
    struct join *join = sub->join;
    struct session *s = sub->session;
    struct block *page = join->page;
    struct answer answer = {.type = ANSWER_SUBSCRIBED,
        .state = STATE_LIVE,
        .position = {.epoch = sub_hub(sub)->position.epoch, .seq = join->asked_at}};
    uint64_t n = join->n_page;
    struct hub *hub = sub_hub(sub);
    struct sub_watch watch;

    join->page = NULL;
    join->n_page = 0;
    join->is_spilling = true;
    if (!join->is_answered) {
        join->is_answered = true;
        join->reached = answer.position;
        if (!sub_answer(sub, &answer)) {
            block_unref(page);
            return false;
        }
    }
    hub->fe->counters.delivered += n;
    sub_watch_begin(&watch, sub);
    s->ops->on_deliver(s, page, 0, (uint32_t)page->buf.n);
    block_unref(page);
    return sub_watch_end(hub, &watch);
}

/* Room in the page for one more message; false if it is to be left out. */
static bool
recover_has_room(struct sub *sub)
{
    struct join *join = sub->join;

    if (join->is_cut)
        return false;
    if (join->page == NULL || join->page->buf.n < recover_page_bytes(sub_hub(sub)))
        return true;
    if (join->mode == RECOVER_RETAINED)
        return recover_spill_retained(sub);
    join->is_cut = true;
    return false;
}

int
recover_on_replay(struct hub *hub, const struct frame *frame)
{
    const struct frame_replay *f = &frame->replay;
    const struct bus_topic *t = bus_topic_find(hub, f->handle);
    char cursor[CURSOR_MAX];
    struct sub *sub;
    struct join *join;
    int r = recover_sub(hub, f->req, "REPLAY", &sub);

    if (r < 0)
        return r;
    if (t == NULL) {
        log_error("the broker replays topic %llu, which it never named", (unsigned long long)f->handle);
        return -EPROTO;
    }
    if (sub == NULL || !recover_has_room(sub))
        return 0;
    join = sub->join;
    if (join->page == NULL && (join->page = block_new()) == NULL)
        return -ENOMEM;
    struct message m = {
        .topic = bus_topic_name(t),
        .cursor = slice_of(cursor, cursor_format(cursor, (struct position){hub->position.epoch, f->seq})),
        .seq = f->seq,
        .time_ms = f->time_ms,
        .kind = (enum message_kind)f->kind,
        /* Behind the kept values comes what is new since they were asked for. */
        .is_retained = join->mode == RECOVER_RETAINED && f->seq <= join->asked_at,
        .type = f->type,
        .headers = f->headers,
        .key = f->key,
        .body = f->body,
    };
    uint32_t at = (uint32_t)join->page->buf.n;
    sub->session->encoder->put_message(sub->session->encoder, &join->page->buf, &m, sub_id(sub));
    if (buf_failed(&join->page->buf)) {
        log_error("no memory for a replay");
        return -ENOMEM;
    }
    join->page->epoch = hub->position.epoch;
    (void)block_add_mark(
        join->page, &(struct block_mark){.at = at,
                        .n = (uint32_t)join->page->buf.n - at,
                        .handle = (uint32_t)f->handle & (HANDLES_MAX - 1),
                        .policy = t->policy,
                        .is_replay = true,
                        .tag = t->tag,
                        .group = join->number,
                        .seq = f->seq,
                        .value = hub_value_of(hub, t->policy, join->number, t->tag, f->key)});
    if (join->n_page++ == 0)
        join->page_first = f->seq;
    join->page_last = f->seq;
    return 0;
}

/* ---- The end of a page. ---- */

/* Before the first page: how it was joined, and the position before what follows. */
static struct answer
recover_first_answer(const struct join *join, const struct frame_recovered *f)
{
    struct answer a = {
        .type = ANSWER_SUBSCRIBED, .state = (enum recover_state)f->state, .position = {f->epoch, f->seq}};

    if (join->from == FROM_LIVE) {
        a.state = STATE_LIVE;
        a.position.seq = join->asked_at; /* kept values are older, and what follows them is above */
        return a;
    }
    if (join->from == FROM_SINCE && a.state == STATE_LIVE)
        a.state = STATE_RECOVERED;
    if (a.state == STATE_RECOVERED && join->gaps.n > 0)
        a.state = STATE_GAP;
    if (join->n_page > 0)
        a.position.seq =
            join->from == FROM_SINCE && a.state == STATE_RECOVERED ? join->since.seq : join->page_first - 1;
    if (a.state == STATE_GAP) {
        a.gaps = join->gaps.items;
        a.n_gaps = join->gaps.n;
    }
    return a;
}

/* Before a later page: only what went wrong. False: there is nothing to tell. */
static bool
recover_later_answer(const struct join *join, const struct frame_recovered *f, struct answer *ret)
{
    struct answer a = {
        .type = ANSWER_STATE, .state = (enum recover_state)f->state, .position = {f->epoch, f->seq}};

    if (a.state == STATE_GAP && join->has_met_gap && join->gaps.n == 0)
        return false; /* told with a page before */
    if (a.state != STATE_RESET && a.state != STATE_GAP && join->gaps.n == 0)
        return false;
    if (a.state != STATE_RESET) {
        a.state = STATE_GAP;
        a.gaps = join->gaps.items;
        a.n_gaps = join->gaps.n;
        if (join->n_page > 0)
            a.position.seq = join->page_first - 1;
    }
    *ret = a;
    return true;
}

/* Tells, delivers. False if the sub is gone. */
static bool
recover_give_page(struct sub *sub, const struct frame_recovered *f)
{
    struct hub *hub = sub_hub(sub);
    struct join *join = sub->join;
    struct session *s = sub->session;
    struct block *page = join->page;
    struct gaplist gaps = join->gaps; /* slices in the answer: they outlive the join */
    uint64_t n = join->n_page;
    struct answer answer = {0};
    struct sub_watch watch;
    bool is_told = true, is_there = true;

    if (!join->is_answered)
        answer = recover_first_answer(join, f);
    else
        is_told = recover_later_answer(join, f, &answer);
    if (f->state == STATE_RESET)
        told_gaps_clear(&join->told); /* they were of another epoch */
    told_gaps_take(&join->told, &join->met);
    join->is_answered = true;
    join->has_met_gap = false;
    join->page = NULL;
    join->gaps = (struct gaplist){0};
    if (is_told)
        is_there = sub_answer(sub, &answer);
    if (is_there && page != NULL) {
        hub->fe->counters.delivered += n;
        sub_watch_begin(&watch, sub);
        s->ops->on_deliver(s, page, 0, (uint32_t)page->buf.n);
        is_there = sub_watch_end(hub, &watch);
    }
    block_unref(page);
    gaplist_clear(&gaps);
    return is_there;
}

/* The next page is as large as the client's queue allows. */
static void
recover_adapt_count(struct join *join)
{
    if (join->is_cut)
        join->count = join->n_page > 0 ? join->n_page : 1;
    else if (join->count < PAGE_MAX)
        join->count *= 2;
}

int
recover_on_recovered(struct hub *hub, const struct frame *frame)
{
    const struct frame_recovered *f = &frame->recovered;
    struct sub *sub;
    struct join *join;
    struct position reached = {f->epoch, f->seq};
    bool has_more = f->more != 0;
    int r = recover_sub(hub, f->req, "RECOVERED", &sub);

    if (r < 0)
        return r;
    hub_req_free(hub, f->req);
    hub->n_asked--;
    if (sub == NULL) {
        recover_pump(hub);
        return 0;
    }
    join = sub->join;
    join->req = 0;
    sub_set_state(sub, SUB_DRAINING);
    if (join->is_cut) {
        reached.seq = join->page_last;
        has_more = true;
    }
    join->is_spilling = false;
    recover_adapt_count(join);
    if (recover_give_page(sub, f)) {
        join->reached = reached;
        join_drop_page(join);
        if (!has_more && join->ignored <= reached.seq)
            sub_go_live(sub);
        else
            loop_defer(hub->fe->loop, &hub->fe->turn_hook); /* looked at when this page was written */
    }
    recover_pump(hub);
    return 0;
}
