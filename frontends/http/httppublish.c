/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST and PUT of a topic: the body is the message, as it is (httpmessage.c). Busbar-Meta-Name: v becomes the
 * message's header `name`, Busbar-Retain: true (and PUT) keeps the message as the topic's value, Busbar-TTL
 * and Busbar-Delay say how long it is good and when it is due, Idempotency-Key makes a repetition harmless,
 * Busbar-Key is the message's key. The answer waits for the broker's.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/http/httpencode.h"
#include "frontends/http/httpmessage.h"
#include "frontends/http/httpserver.h"

struct publish {
    struct exchange x;
    struct request request; /* valid until session_request() took it; slices into `held` after -EAGAIN */
    struct buf held;
    bool is_taken;
    struct position position; /* the broker's answer */
    uint64_t due_ms;          /* not 0: it is kept until then, and has no position yet */
    enum error_code code;
    struct buf text;
};

static int
collect_retain(const struct httpreq *req, struct request *ret, struct http_problem *ret_problem)
{
    const struct slice *h = httpreq_header(req, "busbar-retain");

    ret->is_retain = req->method == HTTPREQ_PUT;
    if (h == NULL)
        return 0;
    if (httpreq_is_name(*h, "true") || slice_is(*h, "1"))
        ret->is_retain = true;
    else if (httpreq_is_name(*h, "false") || slice_is(*h, "0"))
        ret->is_retain = false;
    else
        return http_problem_set(ret_problem, ERROR_REQUEST_INVALID, "Busbar-Retain is true or false.");
    return 0;
}

/* --- the exchange ----------------------------------------------------------------------------------- */

static struct publish *
publish_of(struct exchange *x)
{
    return (struct publish *)x;
}

/* What was taken is answered by the uplink, which then has done with it; what was not, from within
 * publish_try(). */
static void
publish_done(struct publish *p)
{
    if (p->is_taken)
        exchange_finish(&p->x);
    else
        exchange_done(&p->x, 0);
}

static void
publish_fail(struct publish *p, enum error_code code, struct slice text)
{
    p->code = code;
    buf_put_slice(&p->text, text);
    publish_done(p);
}

static void
publish_try(struct publish *p)
{
    int r = session_request(&p->x.session, &p->request);

    if (r == -EAGAIN && p->held.n == 0)
        r = http_request_hold(&p->held, &p->request) == 0 ? -EAGAIN : -ENOMEM;
    if (r == 0)
        p->is_taken = true;
    else if (r != -EAGAIN)
        publish_fail(p, ERROR_INTERNAL, slice_str("The message could not be taken."));
}

static void
publish_on_answer(struct session *s, const struct answer *answer)
{
    struct publish *p = publish_of(exchange_of(s));

    if (answer->type == ANSWER_PUBLISHED) {
        p->position = answer->position;
        publish_done(p);
    } else if (answer->type == ANSWER_SCHEDULED) {
        p->due_ms = answer->time_ms;
        publish_done(p);
    } else if (answer->type == ANSWER_ERROR) {
        publish_fail(p, answer->code, answer->text);
    }
}

static void
publish_on_unblocked(struct session *s)
{
    struct publish *p = publish_of(exchange_of(s));
    if (!p->is_taken)
        publish_try(p);
}

static void
publish_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    (void)s; /* it never subscribes */
    (void)block;
    (void)at;
    (void)n;
}

static void
publish_finish(struct exchange *x)
{
    struct publish *p = publish_of(x);
    struct httpresp r = {.status = 200, .content_type = "application/json"};
    struct buf *json = &x->hc->server->json;
    char cursor[CURSOR_MAX];

    if (p->code != ERROR_NONE) {
        http_respond_code(x->hc, &x->reply, p->code, buf_slice(&p->text));
        return;
    }
    buf_reset(json);
    if (p->due_ms > 0) {
        r.status = 202;
        buf_put_str(json, "{\"due\":");
        buf_put_u64(json, p->due_ms);
        buf_put_str(json, "}\n");
    } else {
        buf_put_str(json, "{\"cursor\":\"");
        buf_put(json, cursor, cursor_format(cursor, p->position));
        buf_put_str(json, "\"}\n");
    }
    http_respond(x->hc, &x->reply, &r, buf_slice(json));
}

static void
publish_on_timer(struct exchange *x)
{
    (void)x; /* the uplink has a limit for how long it holds a publish */
}

/* Whoever half-closes after asking still wants to be told. */
static void
publish_on_eof(struct exchange *x)
{
    (void)x;
}

static void
publish_on_stop(struct exchange *x)
{
    struct publish *p = publish_of(x);
    if (!p->is_taken)
        publish_fail(p, ERROR_SHUTTING_DOWN, slice_str(""));
}

static void
publish_fini(struct exchange *x)
{
    struct publish *p = publish_of(x);
    buf_fini(&p->held);
    buf_fini(&p->text);
}

static const struct exchange_ops publish_ops = {
    .finish = publish_finish,
    .on_timer = publish_on_timer,
    .on_eof = publish_on_eof,
    .on_stop = publish_on_stop,
    .fini = publish_fini,
};

static const struct session_ops publish_session_ops = {
    .on_deliver = publish_on_deliver,
    .on_answer = publish_on_answer,
    .on_unblocked = publish_on_unblocked,
};

void
http_publish_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic)
{
    const struct httpreq *req = &hc->server->req;
    struct request request = {.op = REQUEST_PUB, .id = slice_str("1"), .topic = topic};
    struct http_problem problem = {0};

    if (collect_retain(req, &request, &problem) < 0 || http_message_read(hc, &request, &problem) < 0 ||
        http_time_read(hc, "Busbar-TTL", "ttl", &request.ttl_ms, &problem) < 0 ||
        http_time_read(hc, "Busbar-Delay", "delay", &request.delay_ms, &problem) < 0) {
        http_respond_code(hc, reply, problem.code, slice_str(problem.text));
        return;
    }
    struct publish *p =
        exchange_new(hc, reply, sizeof *p, &publish_ops, &http_poll_encoder, &publish_session_ops);
    if (p == NULL)
        return;
    buf_init(&p->held, 0);
    buf_init(&p->text, 0);
    p->request = request;
    publish_try(p);
}
