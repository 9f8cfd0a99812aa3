/* SPDX-License-Identifier: Apache-2.0 */
/* The life of what was asked. An answer may end its session: an ask is taken out of everything before. */
#include "config.h"

#include "frontends/sdk/askspriv.h"

#include "base/log.h"
#include "frontends/sdk/takers.h"

#include <errno.h>
#include <stdlib.h>

/* How much later than the broker, which counts from when it got the frame, a time is over here. */
#define SLACK_MS 250u
/* Of one client: each is many lines. */
#define LISTS_AT_ONCE 4u

/* May wait for a link; may be done twice; is answered by many lines. */
static const struct ask_kind {
    bool may_wait, may_repeat, is_list;
} ask_kinds[] = {
    [REQUEST_ASK] = {.may_wait = true},
    [REQUEST_RESULT] = {.may_wait = true, .may_repeat = true},
    [REQUEST_WITHDRAW] = {.may_wait = true, .may_repeat = true},
    [REQUEST_REPLY] = {.may_wait = true, .may_repeat = true},
    [REQUEST_SETTLE] = {.may_wait = true, .may_repeat = true},
    [REQUEST_QUEUES] = {.is_list = true},
    [REQUEST_PEEK] = {.is_list = true},
    [REQUEST_PURGE] = {0},
    [REQUEST_REDRIVE] = {0},
    [REQUEST_WHO] = {.is_list = true},
};

static const struct ask_kind *
ask_kind_of(const struct ask *ask)
{
    return &ask_kinds[ask->op];
}

void
asks_init(struct asks *asks)
{
    *asks = (struct asks){0};
    numbers_init(&asks->numbers);
    list_init(&asks->held);
    list_init(&asks->sent);
    buf_init(&asks->scratch, 0);
}

/* ---- Ends. ---- */

static void
ask_drop_frame(struct ask *ask)
{
    ask->hub->asks.n_bytes -= ask->n_frame;
    free(ask->frame);
    ask->frame = NULL;
    ask->n_frame = 0;
}

static void
ask_leave_session(struct ask *ask)
{
    struct party *party = ask->session == NULL ? NULL : ask->session->party;

    if (party == NULL)
        return;
    list_remove(&ask->in_session);
    party->n_asks -= ask->is_counted;
    party->n_lists -= ask_kind_of(ask)->is_list;
    ask->session = NULL;
}

/* Nothing knows of it any more; its bytes are still there. */
static void
ask_detach(struct ask *ask)
{
    struct asks *asks = &ask->hub->asks;

    ask_leave_session(ask);
    loop_timer_stop(ask->hub->fe->loop, &ask->timer);
    numbers_remove(&asks->numbers, ask->number);
    asks->n--;
    if (!list_empty(&ask->in_queue) && !ask->is_sent)
        asks->n_held--;
    list_remove(&ask->in_queue);
    ask_drop_frame(ask);
}

static void
ask_free(struct ask *ask)
{
    ask_detach(ask);
    free(ask);
}

static void
ask_fill(const struct ask *ask, struct answer *answer)
{
    answer->id = ask_id(ask);
    answer->of = ask->op;
    answer->outcome = ask->outcome;
    if (answer->token.n == 0)
        answer->token = ask_token(ask);
}

void
ask_end(struct ask *ask, struct answer *answer)
{
    struct session *s = ask->session;

    ask_detach(ask);
    ask_fill(ask, answer);
    if (s != NULL) {
        s->fe->counters.request_errors += answer->type == ANSWER_ERROR;
        s->ops->on_answer(s, answer);
    }
    free(ask);
}

void
ask_fail(struct ask *ask, enum error_code code, struct slice text)
{
    struct answer answer = {.type = ANSWER_ERROR, .code = code, .text = text};

    ask_end(ask, &answer);
}

bool
ask_tell(struct ask *ask, struct answer *answer)
{
    const struct numbers *numbers = &ask->hub->asks.numbers;
    uint64_t number = ask->number;
    uint8_t id[REQUEST_ID_MAX];

    if (ask->session == NULL)
        return true;
    ask_fill(ask, answer);
    memcpy(id, ask->bytes, ask->n_id); /* the ask may end in the call */
    answer->id = slice_of(id, ask->n_id);
    ask->session->ops->on_answer(ask->session, answer);
    return numbers_find(numbers, number) != NULL;
}

void
asks_fini(struct asks *asks)
{
    struct list *const lists[] = {&asks->held, &asks->sent};

    for (unsigned i = 0; i < 2; i++) {
        while (!list_empty(lists[i]))
            ask_free(list_entry(lists[i]->next, struct ask, in_queue));
    }
    numbers_fini(&asks->numbers);
    buf_fini(&asks->scratch);
}

/* ---- Times. ---- */

static void
ask_send_abandon(struct ask *ask)
{
    struct hub *hub = ask->hub;

    if (!ask->is_sent || hub->phase == HUB_AWAY || (ask->op != REQUEST_ASK && ask->op != REQUEST_RESULT))
        return;
    frame_put_abandon(hub->sink.begin(hub->sink.arg), &(struct frame_abandon){.req = ask->number});
    hub->sink.commit(hub->sink.arg);
}

/* The broker should have said so. */
static void
ask_on_timer(void *arg)
{
    struct ask *ask = arg;

    ask_send_abandon(ask);
    if (!ask->is_sent)
        ask_fail(
            ask, ERROR_UNAVAILABLE, slice_str("The broker could not be reached in time: it was not asked."));
    else if (ask->op == REQUEST_RESULT)
        ask_fail(ask, ERROR_PENDING, slice_str(""));
    else
        ask_fail(ask, ERROR_TIMEOUT,
            slice_str(
                ask->is_async ? "The broker did not answer: whether the request is kept is unknown." : ""));
}

static uint64_t
ask_time_left(const struct ask *ask)
{
    uint64_t now = loop_now_ms(ask->hub->fe->loop);

    return ask->due_ms > now ? ask->due_ms - now : 1;
}

/* ---- Sending. ---- */

static void
ask_pack(struct buf *out, const struct frame *f)
{
    switch (f->type) {
    case FRAME_REQUEST:
        frame_put_request(out, &f->request);
        break;
    case FRAME_RESULT:
        frame_put_result(out, &f->result);
        break;
    case FRAME_WITHDRAW:
        frame_put_withdraw(out, &f->withdraw);
        break;
    case FRAME_REPLY:
        frame_put_reply(out, &f->reply);
        break;
    case FRAME_SETTLE:
        frame_put_settle(out, &f->settle);
        break;
    case FRAME_QUEUES:
        frame_put_queues(out, &f->queues);
        break;
    case FRAME_PEEK:
        frame_put_peek(out, &f->peek);
        break;
    case FRAME_PURGE:
        frame_put_purge(out, &f->purge);
        break;
    case FRAME_REDRIVE:
        frame_put_redrive(out, &f->redrive);
        break;
    case FRAME_WHO:
        frame_put_who(out, &f->who);
        break;
    default:
        break;
    }
}

/* A copy of the packed frame, if there is room for it. */
static bool
ask_keep(struct ask *ask, struct slice packed)
{
    const struct limits_options *limits = ask->hub->fe->limits;
    struct asks *asks = &ask->hub->asks;

    if (asks->n_bytes + packed.n > limits->request_hold_bytes || packed.n > UINT32_MAX)
        return false;
    ask->frame = malloc(packed.n);
    if (ask->frame == NULL)
        return false;
    memcpy(ask->frame, packed.p, packed.n);
    ask->n_frame = (uint32_t)packed.n;
    asks->n_bytes += packed.n;
    return true;
}

static bool
asks_may_send(const struct hub *hub)
{
    return hub->phase != HUB_AWAY && (hub->sink.is_full == NULL || !hub->sink.is_full(hub->sink.arg));
}

/* May it be sent again, when nobody knows whether it was done? */
static bool
ask_may_repeat(const struct ask *ask)
{
    return ask->is_once || ask_kind_of(ask)->may_repeat;
}

static void
ask_send(struct ask *ask, const struct frame *f)
{
    struct hub *hub = ask->hub;
    struct buf *out = hub->sink.begin(hub->sink.arg);
    size_t at = out->n;

    ask_pack(out, f);
    /* What cannot be kept is lost with the link, and said to be. */
    if (ask->frame == NULL && ask_may_repeat(ask) && !buf_failed(out))
        (void)ask_keep(ask, slice_of(out->p + at, out->n - at));
    ask->is_sent = true;
    list_push_back(&hub->asks.sent, &ask->in_queue);
    hub->sink.commit(hub->sink.arg);
}

static void
ask_hold(struct ask *ask, const struct frame *f)
{
    struct asks *asks = &ask->hub->asks;

    buf_reset(&asks->scratch);
    ask_pack(&asks->scratch, f);
    if (asks->n_held >= ask->hub->fe->limits->requests_held || buf_failed(&asks->scratch) ||
        !ask_keep(ask, buf_slice(&asks->scratch))) {
        ask_fail(ask, ERROR_UNAVAILABLE, slice_str(""));
        return;
    }
    buf_trim(&asks->scratch);
    asks->n_held++;
    list_push_back(&asks->held, &ask->in_queue);
}

void
ask_start(struct ask *ask, const struct frame *f, uint64_t time_ms)
{
    struct loop *loop = ask->hub->fe->loop;

    if (time_ms > 0) {
        ask->due_ms = loop_now_ms(loop) + time_ms;
        loop_timer_start(loop, &ask->timer, time_ms + SLACK_MS);
    }
    if (asks_may_send(ask->hub) && list_empty(&ask->hub->asks.held))
        ask_send(ask, f);
    else if (ask_kind_of(ask)->may_wait)
        ask_hold(ask, f);
    else
        ask_fail(ask, ERROR_UNAVAILABLE, slice_str("The broker cannot be reached now; try again."));
}

/* What has changed since it was packed. */
static void
ask_refresh(const struct ask *ask, struct frame *f)
{
    if (f->type == FRAME_REQUEST && !ask->is_async)
        f->request.timeout_ms = ask_time_left(ask);
    else if (f->type == FRAME_RESULT && f->result.wait_ms > 0)
        f->result.wait_ms = ask_time_left(ask);
    else if (f->type == FRAME_SETTLE && takers_find(ask->hub, f->settle.consumer) == NULL)
        f->settle.consumer = 0; /* it left: on this link it never was one */
}

static void
ask_send_kept(struct ask *ask)
{
    struct mp cursor = mp_of(slice_of(ask->frame, ask->n_frame));
    struct frame f;

    if (frame_next(&cursor, &f, NULL) != FRAME_OK) {
        ask_fail(ask, ERROR_INTERNAL, slice_str(""));
        return;
    }
    ask_refresh(ask, &f);
    ask_send(ask, &f);
    if (!ask_may_repeat(ask))
        ask_drop_frame(ask);
}

void
asks_pump(struct hub *hub)
{
    struct asks *asks = &hub->asks;

    while (!list_empty(&asks->held) && asks_may_send(hub)) {
        struct ask *ask = list_entry(asks->held.next, struct ask, in_queue);

        list_remove(&ask->in_queue);
        asks->n_held--;
        ask_send_kept(ask);
    }
}

/* ---- The link's end. ---- */

static const char *
ask_lost_text(const struct ask *ask)
{
    if (ask_kind_of(ask)->is_list)
        return "The link to the broker was lost before the answer was complete; ask again.";
    return "The link to the broker was lost before it answered: whether it was done is unknown.";
}

void
asks_on_down(struct hub *hub)
{
    struct asks *asks = &hub->asks;
    struct list todo, again;

    list_init(&todo);
    list_init(&again);
    list_take_all(&todo, &asks->sent);
    while (!list_empty(&todo)) {
        struct ask *ask = list_entry(todo.next, struct ask, in_queue);

        if (ask->frame == NULL) {
            ask_fail(ask, ERROR_UNAVAILABLE, slice_str(ask_lost_text(ask)));
            continue;
        }
        list_remove(&ask->in_queue);
        list_push_back(&again, &ask->in_queue);
        ask->is_sent = false;
        asks->n_held++;
    }
    /* Before what was held while the link stood. */
    list_take_all(&again, &asks->held);
    list_take_all(&asks->held, &again);
}

/* ---- Sessions. ---- */

static struct ask *
ask_refuse(struct session *s, const struct request *r, enum error_code code, const char *text)
{
    struct answer answer = {.type = ANSWER_ERROR,
        .id = r->id,
        .code = code,
        .text = slice_str(text),
        .of = r->op,
        .token = r->token};

    s->fe->counters.request_errors++;
    s->ops->on_answer(s, &answer);
    return NULL;
}

struct ask *
ask_new(struct hub *hub, struct session *s, const struct request *r, bool is_counted)
{
    struct party *party = session_party(s);
    bool is_list = ask_kinds[r->op].is_list;
    struct ask *ask;

    if (is_counted && party != NULL && party->n_asks >= s->fe->limits->requests_per_client)
        return ask_refuse(s, r, ERROR_LIMIT_REACHED,
            "limits.requests_per_client: wait for the answers to your earlier requests");
    if (is_list && party != NULL && party->n_lists >= LISTS_AT_ONCE)
        return ask_refuse(s, r, ERROR_LIMIT_REACHED, "wait for the answers to your earlier lists");
    ask = party == NULL ? NULL : malloc(sizeof *ask + r->id.n + r->token.n);
    if (ask == NULL)
        return ask_refuse(s, r, ERROR_INTERNAL, "");
    *ask = (struct ask){.hub = hub,
        .session = s,
        .op = r->op,
        .outcome = r->outcome,
        .is_async = r->is_async,
        .is_once = r->is_async && r->once.n > 0,
        .is_counted = is_counted,
        .n_id = (uint8_t)r->id.n,
        .n_token = (uint8_t)r->token.n};
    if (r->id.n > 0)
        memcpy(ask->bytes, r->id.p, r->id.n);
    if (r->token.n > 0)
        memcpy(ask->bytes + r->id.n, r->token.p, r->token.n);
    ask->timer = (struct loop_timer){.fn = ask_on_timer, .arg = ask};
    list_init(&ask->in_queue);
    ask->number = numbers_add(&hub->asks.numbers, ask);
    if (ask->number == 0) {
        free(ask);
        return ask_refuse(s, r, ERROR_INTERNAL, "");
    }
    hub->asks.n++;
    list_push_back(&party->asks, &ask->in_session);
    party->n_asks += is_counted;
    party->n_lists += is_list;
    return ask;
}

void
asks_leave(struct hub *hub, struct session *s)
{
    (void)hub;
    while (!list_empty(&s->party->asks)) {
        struct ask *ask = list_entry(s->party->asks.next, struct ask, in_session);

        if (ask->op == REQUEST_SETTLE || ask->op == REQUEST_REPLY || ask->op == REQUEST_WITHDRAW) {
            ask_leave_session(ask); /* it is done, though nobody is told */
            continue;
        }
        ask_send_abandon(ask);
        ask_free(ask);
    }
}
