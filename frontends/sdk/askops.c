/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask, as frames. */
#include "config.h"

#include "frontends/sdk/askspriv.h"

/* Of a request that does not say how long it waits; and of the answer that one is kept. */
#define TIMEOUT_USUAL_MS 30000u
#define ACCEPT_MS 30000u

void
asks_request(struct hub *hub, struct session *s, const struct request *r)
{
    struct ask *ask = ask_new(hub, s, r, true);
    uint64_t timeout_ms = r->timeout_ms > 0 || r->is_async ? r->timeout_ms : TIMEOUT_USUAL_MS;

    if (ask == NULL)
        return;
    s->fe->counters.asks++;
    ask_start(ask,
        &(struct frame){.type = FRAME_REQUEST,
            .request = {.req = ask->number,
                .topic = r->topic,
                .flags = r->is_async ? 1 : 0,
                .timeout_ms = timeout_ms,
                .kind = r->kind,
                .type = r->type,
                .headers = r->headers,
                .key = r->key,
                .once = r->is_async ? r->once : slice_of(NULL, 0),
                .body = r->body}},
        r->is_async ? ACCEPT_MS : timeout_ms);
}

void
asks_result(struct hub *hub, struct session *s, const struct request *r)
{
    struct ask *ask = ask_new(hub, s, r, true);

    if (ask == NULL)
        return;
    /* Without a wait the broker still has some time to look. */
    ask_start(ask,
        &(struct frame){
            .type = FRAME_RESULT, .result = {.req = ask->number, .id = r->token, .wait_ms = r->timeout_ms}},
        r->timeout_ms > 0 ? r->timeout_ms : ACCEPT_MS);
}

void
asks_withdraw(struct hub *hub, struct session *s, const struct request *r)
{
    struct ask *ask = ask_new(hub, s, r, true);

    if (ask != NULL)
        ask_start(ask,
            &(struct frame){.type = FRAME_WITHDRAW, .withdraw = {.req = ask->number, .id = r->token}}, 0);
}

void
asks_settle(struct hub *hub, struct session *s, const struct request *r, uint64_t consumer)
{
    /* A lease that it has is settled once: it is counted there. */
    struct ask *ask = ask_new(hub, s, r, consumer == 0 || r->outcome == SETTLE_EXTEND);

    if (ask != NULL)
        ask_start(ask,
            &(struct frame){.type = FRAME_SETTLE,
                .settle = {.req = ask->number,
                    .consumer = consumer,
                    .lease = r->token,
                    .outcome = r->outcome,
                    .delay_ms = r->delay_ms,
                    .reason = r->failure}},
            0);
}

void
asks_reply(struct hub *hub, struct session *s, const struct request *r, uint64_t consumer,
    const struct reply_fault *fault)
{
    struct ask *ask = ask_new(hub, s, r, false);
    struct frame f = {.type = FRAME_REPLY};

    if (ask == NULL)
        return;
    f.reply = (struct frame_reply){.req = ask->number, .consumer = consumer, .call = r->token};
    f.reply.message = fault != NULL ? slice_str(fault->failure) : r->failure;
    if (f.reply.message.n > 0)
        f.reply.code = slice_str(error_code_name(ERROR_RESPONDER_FAILED));
    if (fault == NULL) {
        f.reply.kind = r->kind;
        f.reply.type = r->type;
        f.reply.headers = r->headers;
        f.reply.body = r->body;
    }
    ask->fault = fault;
    ask_start(ask, &f, 0);
}

void
asks_queues(struct hub *hub, struct session *s, const struct request *r)
{
    struct ask *ask = ask_new(hub, s, r, true);

    if (ask != NULL)
        ask_start(ask,
            &(struct frame){.type = FRAME_QUEUES,
                .queues = {.req = ask->number,
                    .filter = r->filters[0],
                    .after = r->after,
                    .after_group = r->group,
                    .limit = r->limit}},
            0);
}

void
asks_peek(struct hub *hub, struct session *s, const struct request *r, uint64_t seq)
{
    struct ask *ask = ask_new(hub, s, r, true);

    if (ask != NULL)
        ask_start(ask,
            &(struct frame){.type = FRAME_PEEK,
                .peek = {.req = ask->number,
                    .topic = r->topic,
                    .group = r->group,
                    .seq = seq,
                    .count = r->limit}},
            0);
}

void
asks_purge(struct hub *hub, struct session *s, const struct request *r)
{
    struct ask *ask = ask_new(hub, s, r, true);
    struct frame f = {.type = FRAME_PURGE};

    if (ask == NULL)
        return;
    if (r->op == REQUEST_PURGE) {
        f.purge = (struct frame_purge){
            .req = ask->number, .topic = r->topic, .group = r->group, .flags = r->drops_group ? 1 : 0};
    } else {
        f.type = FRAME_REDRIVE;
        f.redrive = (struct frame_redrive){
            .req = ask->number, .topic = r->topic, .group = r->group, .count = r->limit};
    }
    ask_start(ask, &f, 0);
}

void
asks_who(struct hub *hub, struct session *s, const struct request *r)
{
    struct ask *ask = ask_new(hub, s, r, true);

    if (ask != NULL)
        ask_start(ask,
            &(struct frame){.type = FRAME_WHO,
                .who = {.req = ask->number, .topic = r->topic, .after = r->after, .limit = r->limit}},
            0);
}
