/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker answers. An answer to something that is over is late, not wrong. */
#include "config.h"

#include "frontends/sdk/askspriv.h"

#include "base/log.h"
#include "frontends/sdk/message.h"
#include "frontends/sdk/takers.h"

#include <errno.h>

/* 0 and the ask, NULL if it is over; -EPROTO: it was never asked, or something else was. */
static int
ask_find(struct hub *hub, uint64_t number, const char *frame_name, unsigned ops, struct ask **ret)
{
    struct ask *ask = numbers_find(&hub->asks.numbers, number);

    if (ask == NULL ? numbers_was_given(&hub->asks.numbers, number) : (ops >> ask->op & 1u) != 0) {
        *ret = ask;
        return 0;
    }
    log_error(
        "the broker sent %s for request %llu, which was not asked", frame_name, (unsigned long long)number);
    return -EPROTO;
}

#define OP(name) (1u << REQUEST_##name)

static enum message_kind
ask_kind(uint64_t kind)
{
    return kind <= MESSAGE_JSON ? (enum message_kind)kind : MESSAGE_BINARY;
}

int
asks_on_accepted(struct hub *hub, const struct frame *frame)
{
    const struct frame_accepted *f = &frame->accepted;
    struct answer answer = {.type = ANSWER_ACCEPTED, .token = f->id, .time_ms = f->expires_ms};
    struct ask *ask;
    int r = ask_find(hub, f->req, "ACCEPTED", OP(ASK), &ask);

    if (r == 0 && ask != NULL)
        ask_end(ask, &answer);
    return r;
}

int
asks_on_replied(struct hub *hub, const struct frame *frame)
{
    const struct frame_replied *f = &frame->replied;
    struct message m = {.kind = ask_kind(f->kind), .type = f->type, .headers = f->headers, .body = f->body};
    struct answer answer = {.type = ANSWER_REPLY, .message = &m};
    struct ask *ask;
    int r = ask_find(hub, f->req, "REPLIED", OP(ASK) | OP(RESULT), &ask);

    if (r < 0 || ask == NULL)
        return r;
    if (f->code.n > 0)
        ask_fail(ask, error_code_find(f->code), f->message);
    else
        ask_end(ask, &answer);
    return 0;
}

int
asks_on_settled(struct hub *hub, const struct frame *frame)
{
    const struct frame_settled *f = &frame->settled;
    struct answer answer = {.type = ANSWER_DONE, .count = f->count};
    struct ask *ask;
    int r;

    if (members_asked(f->req))
        return members_on_settled(hub, frame);
    r = ask_find(hub, f->req, "SETTLED",
        OP(WITHDRAW) | OP(REPLY) | OP(SETTLE) | OP(PEEK) | OP(PURGE) | OP(REDRIVE), &ask);
    if (r < 0 || ask == NULL)
        return r;
    if (ask->op == REQUEST_REPLY || (ask->op == REQUEST_SETTLE && ask->outcome != SETTLE_EXTEND))
        takers_forget(hub, ask_token(ask));
    if (f->code.n > 0)
        ask_fail(ask, error_code_find(f->code), f->message);
    else if (ask->fault != NULL)
        ask_fail(ask, ask->fault->code, slice_str(ask->fault->text));
    else
        ask_end(ask, &answer);
    return 0;
}

/* ---- Lists. ---- */

int
asks_on_queue(struct hub *hub, const struct frame *frame)
{
    const struct frame_queue *f = &frame->queue;
    const struct queue_figures figures = {.topic = f->topic,
        .group = f->group,
        .n_ready = f->n_ready,
        .n_leased = f->n_leased,
        .n_delayed = f->n_delayed,
        .n_done = f->n_done,
        .n_dead = f->n_dead,
        .n_lost = f->n_lost,
        .oldest_ms = f->oldest_ms,
        .n_consumers = f->n_consumers};
    struct answer answer = {.type = ANSWER_QUEUE, .queue = &figures, .topic = f->topic};
    struct ask *ask;
    int r = ask_find(hub, f->req, "QUEUE", OP(QUEUES), &ask);

    if (r == 0 && ask != NULL)
        (void)ask_tell(ask, &answer);
    return r;
}

/* The last line of a list. */
static int
asks_on_list_end(struct hub *hub, uint64_t req, const char *frame_name, unsigned ops, struct answer *answer)
{
    struct ask *ask;
    int r = ask_find(hub, req, frame_name, ops, &ask);

    if (r == 0 && ask != NULL)
        ask_end(ask, answer);
    return r;
}

int
asks_on_queues_end(struct hub *hub, const struct frame *frame)
{
    struct answer answer = {.type = ANSWER_QUEUES_END, .count = frame->queues_end.more};

    return asks_on_list_end(hub, frame->queues_end.req, "QUEUES_END", OP(QUEUES), &answer);
}

int
asks_on_peeked(struct hub *hub, const struct frame *frame)
{
    const struct frame_peeked *f = &frame->peeked;
    char cursor[CURSOR_MAX];
    const struct message m = {
        .cursor = slice_of(cursor, cursor_format(cursor, (struct position){hub->position.epoch, f->seq})),
        .seq = f->seq,
        .time_ms = f->time_ms,
        .kind = ask_kind(f->kind),
        .type = f->type,
        .headers = f->headers,
        .key = f->key,
        .body = f->body};
    struct answer answer = {.type = ANSWER_PEEKED,
        .message = &m,
        .queue_state = f->state <= 2 ? (unsigned)f->state : 0,
        .n_deliveries = f->n_deliveries,
        .time_ms = f->until_ms};
    struct ask *ask;
    int r = ask_find(hub, f->req, "PEEKED", OP(PEEK), &ask);

    if (r == 0 && ask != NULL)
        (void)ask_tell(ask, &answer);
    return r;
}

int
asks_on_peek_end(struct hub *hub, const struct frame *frame)
{
    struct answer answer = {.type = ANSWER_PEEK_END, .count = frame->peek_end.more};

    return asks_on_list_end(hub, frame->peek_end.req, "PEEK_END", OP(PEEK), &answer);
}

int
asks_on_present(struct hub *hub, const struct frame *frame)
{
    const struct frame_present *f = &frame->present;
    struct answer answer = {.type = ANSWER_PRESENT,
        .token = f->id,
        .body = f->info,
        .n_links = f->n_connections,
        .time_ms = f->since_ms};
    struct ask *ask;
    int r;

    if (members_asked(f->req))
        return members_on_present(hub, frame);
    r = ask_find(hub, f->req, "PRESENT", OP(WHO), &ask);
    if (r == 0 && ask != NULL)
        (void)ask_tell(ask, &answer);
    return r;
}

int
asks_on_who_end(struct hub *hub, const struct frame *frame)
{
    const struct frame_who_end *f = &frame->who_end;
    struct answer answer = {.type = ANSWER_WHO_END,
        .n_kept = f->count,
        .count = f->more,
        .presence = f->mode <= PRESENCE_COUNT ? (enum presence_mode)f->mode : PRESENCE_OFF,
        .position = {hub->position.epoch, f->seq}};

    if (members_asked(f->req))
        return members_on_who_end(hub, frame);
    return asks_on_list_end(hub, f->req, "WHO_END", OP(WHO), &answer);
}
