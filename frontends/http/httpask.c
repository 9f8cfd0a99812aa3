/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to responders:
 *
 *     POST   /requests/{topic}                               the reply, or 503 504 502
 *     POST   /requests/{topic}    Prefer: respond-async      202 and where to ask for it (RFC 7240,
 * section 4.1) GET    /requests/id/{id}?wait=30                       the reply, or 202: not yet GET
 * /requests/id/{id}    Accept: text/event-stream  one event when the reply is there DELETE /requests/id/{id}
 * it is not wanted any more
 *
 * The stream asks again and again, each time for as long as it may be silent; its one event has the id of the
 * request, so that a browser which connects again after it is told by 204 to stop.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "frontends/http/httpencode.h"
#include "frontends/http/httpmessage.h"
#include "frontends/http/httpserver.h"
#include "wire/names.h"

#define REQUEST_URL "/requests/id/"
/* How much later than the broker we give up: it is the one that should say so. */
#define GRACE_MS 5000u

struct ask {
    struct exchange x;
    struct request request; /* valid until session_request() took it; slices into `held` after -EAGAIN */
    struct buf held;
    bool is_taken;
    bool is_stream, is_open; /* the head of the stream was sent */
    enum answer_type type;   /* what it became; ANSWER_ERROR with code */
    struct http_stored reply;
    uint64_t expires_ms; /* of ANSWER_ACCEPTED */
    char token[REQUEST_ID_MAX + 1];
    enum error_code code;
    struct buf text;
};

static struct ask *
ask_of(struct exchange *x)
{
    return (struct ask *)x;
}

static void
ask_fail(struct ask *a, enum error_code code, struct slice text)
{
    a->type = ANSWER_ERROR;
    a->code = code;
    buf_reset(&a->text);
    buf_put_slice(&a->text, text);
    exchange_done(&a->x, 0);
}

static void
ask_try(struct ask *a)
{
    int r = session_request(&a->x.session, &a->request);

    if (r == -EAGAIN && a->held.n == 0)
        r = http_request_hold(&a->held, &a->request) == 0 ? -EAGAIN : -ENOMEM;
    if (r == 0)
        a->is_taken = true;
    else if (r != -EAGAIN)
        ask_fail(a, ERROR_INTERNAL, slice_str("The request could not be taken."));
}

/* --- the stream ------------------------------------------------------------------------------------- */

static void
stream_put(struct ask *a, const char *text)
{
    struct buf *out = &a->x.hc->server->out;

    buf_reset(out);
    http_put_sse(out, a->x.reply.minor >= 1, slice_str(text));
    conn_send_copy(&a->x.hc->c, buf_slice(out));
}

static void
stream_open(struct ask *a)
{
    struct httpresp r = {
        .status = 200,
        .ending = HTTPRESP_STREAM,
        .content_type = "text/event-stream",
        .headers = slice_str("Cache-Control: no-cache\r\nVary: Accept\r\nX-Accel-Buffering: no\r\n"),
    };

    if (a->is_open)
        return;
    a->is_open = true;
    http_respond(a->x.hc, &a->x.reply, &r, slice_str(""));
}

static void
stream_finish(struct ask *a)
{
    struct buf text;
    struct message m = {.kind = a->reply.kind,
        .topic = slice_str(""),
        .type = buf_slice(&a->reply.type),
        .headers = buf_slice(&a->reply.headers),
        .body = buf_slice(&a->reply.body)};

    stream_open(a);
    buf_init(&text, 0);
    buf_printf(&text, "id: %s\nevent: %s\ndata: ", a->token, a->type == ANSWER_REPLY ? "reply" : "error");
    if (a->type == ANSWER_REPLY) {
        buf_put_byte(&text, '{');
        http_put_content(&text, &m);
        buf_put_str(&text, "}\n");
    } else {
        http_put_error(&text, a->code, buf_slice(&a->text)); /* ends its line itself */
    }
    buf_put_str(&text, "\n");
    buf_reset(&a->x.hc->server->out);
    http_put_sse(&a->x.hc->server->out, a->x.reply.minor >= 1, buf_slice(&text));
    httpresp_put_end(&a->x.hc->server->out, a->x.reply.minor);
    conn_send_copy(&a->x.hc->c, buf_slice(&a->x.hc->server->out));
    buf_fini(&text);
    http_close_after_response(a->x.hc);
}

/* --- answers ---------------------------------------------------------------------------------------- */

static void
ask_on_answer(struct session *s, const struct answer *answer)
{
    struct ask *a = ask_of(exchange_of(s));

    if (answer->type == ANSWER_ERROR && answer->code == ERROR_PENDING && a->is_stream &&
        !a->x.hc->server->fe->is_stopping) {
        stream_open(a);
        stream_put(a, ":\n\n");
        a->request.timeout_ms = a->x.hc->server->options->keepalive_interval_ms;
        ask_try(a);
        return;
    }
    if (answer->type == ANSWER_ERROR || answer->type == ANSWER_CLOSING) {
        ask_fail(a, answer->code, answer->text);
        return;
    }
    a->type = answer->type;
    if (answer->type == ANSWER_REPLY) {
        http_stored_set(&a->reply, answer->message);
    } else if (answer->type == ANSWER_ACCEPTED && answer->token.n <= REQUEST_ID_MAX) {
        memcpy(a->token, answer->token.p, answer->token.n);
        a->token[answer->token.n] = '\0';
        a->expires_ms = answer->time_ms;
    }
    exchange_done(&a->x, 0);
}

static void
ask_on_unblocked(struct session *s)
{
    struct ask *a = ask_of(exchange_of(s));
    if (!a->is_taken)
        ask_try(a);
}

static void
ask_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    (void)s; /* it never subscribes */
    (void)block;
    (void)at;
    (void)n;
}

/* Of one that waits: where to ask, and when again. */
static void
respond_waiting(struct ask *a)
{
    struct httpresp r = {.status = 202, .content_type = "application/json"};
    struct buf lines, json;

    buf_init(&lines, 0);
    buf_init(&json, 0);
    buf_printf(
        &lines, "Location: " REQUEST_URL "%s\r\nRetry-After: 1\r\nCache-Control: no-store\r\n", a->token);
    if (a->type == ANSWER_ACCEPTED)
        buf_put_str(&lines, "Preference-Applied: respond-async\r\n");
    buf_printf(&json, "{\"request\":\"%s\",\"state\":\"pending\"", a->token);
    if (a->expires_ms > 0)
        buf_printf(&json, ",\"expires\":%llu", (unsigned long long)a->expires_ms);
    buf_put_str(&json, "}\n");
    r.headers = buf_slice(&lines);
    if (buf_failed(&lines) || buf_failed(&json))
        http_respond_code(a->x.hc, &a->x.reply, ERROR_INTERNAL, slice_str("out of memory"));
    else
        http_respond(a->x.hc, &a->x.reply, &r, buf_slice(&json));
    buf_fini(&lines);
    buf_fini(&json);
}

static void
ask_finish(struct exchange *x)
{
    struct ask *a = ask_of(x);
    struct httpresp gone = {.status = 204, .ending = HTTPRESP_NONE};

    if (a->is_stream && (a->is_open || a->type == ANSWER_REPLY))
        stream_finish(a);
    else if (a->type == ANSWER_REPLY)
        http_stored_respond(x->hc, &x->reply, &a->reply, slice_str(""));
    else if (a->type == ANSWER_ACCEPTED || (a->type == ANSWER_ERROR && a->code == ERROR_PENDING))
        respond_waiting(a);
    else if (a->type == ANSWER_ERROR)
        http_respond_code(x->hc, &x->reply, a->code, buf_slice(&a->text));
    else
        http_respond(x->hc, &x->reply, &gone, slice_str(""));
}

static void
ask_on_timer(struct exchange *x)
{
    ask_fail(ask_of(x), ERROR_TIMEOUT, slice_str(""));
}

/* Whoever half-closes after asking still wants to be told; but nobody waits at the end of a stream. */
static void
ask_on_eof(struct exchange *x)
{
    if (ask_of(x)->is_stream)
        conn_close(&x->hc->c, NULL);
}

static void
ask_on_stop(struct exchange *x)
{
    struct ask *a = ask_of(x);

    if (a->request.op == REQUEST_RESULT)
        ask_fail(a, ERROR_PENDING, slice_str("")); /* it asks again */
    else if (!a->is_taken)
        ask_fail(a, ERROR_SHUTTING_DOWN, slice_str(""));
}

static void
ask_fini(struct exchange *x)
{
    struct ask *a = ask_of(x);

    buf_fini(&a->held);
    buf_fini(&a->text);
    http_stored_fini(&a->reply);
}

static const struct exchange_ops ask_ops = {
    .finish = ask_finish,
    .on_timer = ask_on_timer,
    .on_eof = ask_on_eof,
    .on_stop = ask_on_stop,
    .fini = ask_fini,
};

static const struct session_ops ask_session_ops = {
    .on_deliver = ask_on_deliver,
    .on_answer = ask_on_answer,
    .on_unblocked = ask_on_unblocked,
};

/* timer_ms 0: none; somebody else sees to it that there is an answer. */
static void
ask_start(struct http_conn *hc, const struct http_reply *reply, const struct request *request, bool is_stream,
    uint64_t timer_ms)
{
    struct ask *a = exchange_new(hc, reply, sizeof *a, &ask_ops, &http_poll_encoder, &ask_session_ops);

    if (a == NULL)
        return;
    buf_init(&a->held, 0);
    buf_init(&a->text, 0);
    http_stored_init(&a->reply);
    a->request = *request;
    a->is_stream = is_stream;
    if (request->token.n <= REQUEST_ID_MAX && request->token.n > 0) {
        memcpy(a->token, request->token.p, request->token.n);
        a->request.token = slice_of(a->token, request->token.n); /* it is asked again */
    }
    if (timer_ms > 0)
        exchange_timer(&a->x, timer_ms);
    ask_try(a);
}

/* --- addresses -------------------------------------------------------------------------------------- */

static bool
prefers_async(const struct httpreq *req)
{
    return httpreq_has_token(req, "prefer", "respond-async");
}

void
http_ask_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic)
{
    struct request request = {.op = REQUEST_ASK, .id = slice_str("1"), .topic = topic};
    struct http_problem problem = {0};

    if (http_message_read(hc, &request, &problem) < 0 ||
        http_time_read(hc, NULL, "timeout", &request.timeout_ms, &problem) < 0) {
        http_respond_code(hc, reply, problem.code, slice_str(problem.text));
        return;
    }
    request.is_async = prefers_async(&hc->server->req);
    ask_start(hc, reply, &request, false, request.timeout_ms > 0 ? request.timeout_ms + GRACE_MS : 0);
}

static void
result_start(struct http_conn *hc, const struct http_reply *reply, struct slice id)
{
    const struct http_options *options = hc->server->options;
    const struct httpreq *req = &hc->server->req;
    const struct slice *seen = httpreq_header(req, "last-event-id");
    struct request request = {.op = REQUEST_RESULT, .id = slice_str("1"), .token = id};
    struct httpresp stop = {.status = 204, .ending = HTTPRESP_NONE};
    struct http_problem problem = {0};
    bool is_stream = httpreq_has_token(req, "accept", "text/event-stream");

    if (is_stream && seen != NULL && slice_equal(*seen, id)) {
        http_respond(hc, reply, &stop, slice_str(""));
        return;
    }
    if (http_time_read(hc, NULL, "wait", &request.timeout_ms, &problem) < 0) {
        http_respond_code(hc, reply, problem.code, slice_str(problem.text));
        return;
    }
    if (is_stream)
        request.timeout_ms = 0; /* at first, so that the stream begins, or is refused, at once */
    else if (request.timeout_ms > options->poll_wait_max_ms)
        request.timeout_ms = options->poll_wait_max_ms;
    ask_start(
        hc, reply, &request, is_stream && !reply->is_head, is_stream ? 0 : request.timeout_ms + GRACE_MS);
}

void
http_request_id(struct http_conn *hc, const struct http_reply *reply, struct slice id)
{
    struct request request = {.op = REQUEST_WITHDRAW, .id = slice_str("1"), .token = id};

    if (id.n == 0 || id.n > REQUEST_ID_MAX)
        http_respond_code(hc, reply, ERROR_NOT_FOUND, slice_str("There is no request with this id."));
    else if (hc->server->req.method == HTTPREQ_DELETE)
        ask_start(hc, reply, &request, false, GRACE_MS);
    else
        result_start(hc, reply, id);
}
