/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/http/httpserver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "frontends/http/httpencode.h"
#include "frontends/http/httpmain.h"
#include "frontends/http/httpstatic.h"
#include "frontends/sdk/tls.h"

/* The next request of a pipeline is not read while more than this of the answers before it waits. */
#define MAX_UNSENT 4096

static void on_timer(void *arg);

static struct http_conn *
conn_of(struct conn *c)
{
    return (struct http_conn *)c;
}

/* --- phases ----------------------------------------------------------------------------------------- */

static uint64_t
phase_time_ms(const struct http_options *options, enum http_phase phase)
{
    switch (phase) {
    case HTTP_IDLE:
        return options->idle_timeout_ms;
    case HTTP_HEAD:
        return options->header_timeout_ms;
    case HTTP_BODY:
        return options->body_timeout_ms;
    default:
        return 0;
    }
}

/* Each phase has its time as a whole: a byte now and then does not begin it anew. */
static void
enter(struct http_conn *hc, enum http_phase phase)
{
    struct loop *loop = hc->server->fe->loop;

    if (hc->phase == phase && hc->timer.pprev != NULL)
        return;
    hc->phase = phase;
    uint64_t ms = phase_time_ms(hc->server->options, phase);
    if (ms > 0)
        loop_timer_start(loop, &hc->timer, ms);
    else
        loop_timer_stop(loop, &hc->timer);
}

/* After the last response of a connection. */
void
http_close_after_response(struct http_conn *hc)
{
    enter(hc, HTTP_CLOSING);
    conn_close_soon(&hc->c, NULL);
}

/* --- responses -------------------------------------------------------------------------------------- */

void
http_respond(struct http_conn *hc, const struct http_reply *reply, struct httpresp *r, struct slice body)
{
    struct http_server *server = hc->server;
    struct buf *out = &server->out;

    r->minor = reply->minor;
    r->is_keep_alive = reply->is_keep_alive && !server->fe->is_stopping;
    r->cors = reply->cors;
    if (r->ending == HTTPRESP_LENGTH)
        r->n_body = body.n;
    httpdate_set(&server->date, loop_wall_ms(server->fe->loop));
    buf_reset(out);
    httpresp_put_head(out, r, &server->date);
    if (!reply->is_head && r->ending == HTTPRESP_LENGTH)
        buf_put_slice(out, body);
    if (buf_failed(out)) {
        conn_close(&hc->c, "out of memory");
        return;
    }
    if (r->status >= 400 && hc->exchange == NULL)
        server->fe->counters.request_errors++;
    conn_send_copy(&hc->c, buf_slice(out));
    if (!r->is_keep_alive && r->ending != HTTPRESP_STREAM)
        http_close_after_response(hc);
}

void
http_respond_error(struct http_conn *hc, const struct http_reply *reply, int status, enum error_code code,
    struct slice text, struct slice headers)
{
    struct httpresp r = {.status = status, .content_type = "application/json", .headers = headers};
    struct buf body;

    buf_init(&body, 0);
    http_put_error(&body, code, text);
    http_respond(hc, reply, &r, buf_slice(&body));
    buf_fini(&body);
}

void
http_respond_code(
    struct http_conn *hc, const struct http_reply *reply, enum error_code code, struct slice text)
{
    int status = error_code_http(code);
    bool is_later = status == 503 || status == 429;
    http_respond_error(hc, reply, status, code, text, slice_str(is_later ? "Retry-After: 1\r\n" : ""));
}

/* A request that was refused by the parser: nothing behind it can be believed. */
static void
respond_refused(struct http_conn *hc, int status, const char *reason)
{
    struct http_reply reply = {.minor = 1};
    enum error_code code = status == 413   ? ERROR_MESSAGE_TOO_LARGE
                           : status == 505 ? ERROR_VERSION_UNSUPPORTED
                           : status == 408 ? ERROR_TIMEOUT
                                           : ERROR_REQUEST_INVALID;

    hc->server->fe->counters.closed_bad_input++;
    http_respond_error(hc, &reply, status, code, slice_str(reason), slice_str(""));
}

/* --- exchanges -------------------------------------------------------------------------------------- */

struct exchange *
exchange_of(struct session *s)
{
    return list_entry(s, struct exchange, session);
}

void *
exchange_new(struct http_conn *hc, const struct http_reply *reply, size_t size,
    const struct exchange_ops *ops, const struct encoder *encoder, const struct session_ops *session_ops)
{
    struct exchange *x = malloc(size); /* glibc's calloc() does not look at what was freed last */

    if (x == NULL) {
        http_respond_code(hc, reply, ERROR_INTERNAL, slice_str("out of memory"));
        return NULL;
    }
    *x = (struct exchange){.ops = ops, .hc = hc, .reply = *reply};
    memset((uint8_t *)x + sizeof *x, 0, size - sizeof *x);
    list_init(&x->in_done);
    session_init(&x->session, hc->server->fe, encoder, session_ops);
    buf_init(&x->cors, 0);
    if (reply->cors.p == hc->server->cors.p) { /* which the next request writes anew */
        buf_put_slice(&x->cors, reply->cors);
        x->reply.cors = buf_slice(&x->cors);
    }
    hc->exchange = x;
    enter(hc, HTTP_BUSY);
    conn_pause(&hc->c);
    return x;
}

static void
exchange_free(struct exchange *x)
{
    if (x == NULL)
        return;
    list_remove(&x->in_done);
    session_fini(&x->session);
    if (x->ops->fini != NULL)
        x->ops->fini(x);
    buf_fini(&x->cors);
    free(x);
}

void
exchange_done(struct exchange *x, unsigned n_turns)
{
    struct http_server *server = x->hc->server;

    if (!list_empty(&x->in_done))
        return;
    x->n_turns = (uint8_t)n_turns;
    list_push_back(&server->done, &x->in_done);
    loop_defer(server->fe->loop, &server->done_hook);
}

void
exchange_timer(struct exchange *x, uint64_t delay_ms)
{
    loop_timer_start(x->hc->server->fe->loop, &x->hc->timer, delay_ms);
}

void
exchange_finish(struct exchange *x)
{
    struct http_conn *hc = x->hc;

    list_remove(&x->in_done);
    if (!hc->c.is_closed && hc->phase != HTTP_CLOSING)
        x->ops->finish(x);
    hc->exchange = NULL;
    exchange_free(x);
    if (hc->c.is_closed || hc->phase == HTTP_CLOSING)
        return;
    if (hc->has_eof) {
        http_close_after_response(hc);
        return;
    }
    enter(hc, HTTP_IDLE);
    conn_resume(&hc->c);
}

static void
finish_exchanges(void *arg)
{
    struct http_server *server = arg;

    list_for_each_safe(it, following, &server->done)
    {
        struct exchange *x = list_entry(it, struct exchange, in_done);
        if (x->n_turns > 0)
            x->n_turns--;
        else
            exchange_finish(x);
    }
    if (!list_empty(&server->done))
        loop_defer(server->fe->loop, &server->done_hook);
}

/* --- the connection's events ------------------------------------------------------------------------ */

/* What is unsent of earlier answers is so much that the client must read first. */
static bool
must_drain(struct http_conn *hc)
{
    if (hc->c.out_bytes <= MAX_UNSENT)
        return false;
    conn_flush(&hc->c);
    if (hc->c.is_closed || hc->c.out_bytes <= MAX_UNSENT)
        return false;
    hc->is_draining = true;
    conn_pause(&hc->c);
    return true;
}

static struct httpreq_limits
limits_of(const struct http_server *server)
{
    uint64_t body = server->options->body_bytes, message = server->fe->limits->message_bytes;
    size_t head = (size_t)server->options->header_bytes;

    return (struct httpreq_limits){
        .max_line = head / 2,
        .max_head = head,
        .max_body = (size_t)(body < message ? body : message),
    };
}

static void
await_more(struct http_conn *hc, size_t n_left)
{
    if (hc->parse.wants_continue) {
        hc->parse.wants_continue = false;
        conn_send_copy(&hc->c, httpresp_continue());
    }
    enter(hc, hc->parse.n_head > 0 ? HTTP_BODY : n_left > 0 ? HTTP_HEAD : HTTP_IDLE);
}

static ssize_t
on_bytes(struct conn *c, uint8_t *data, size_t n)
{
    struct http_conn *hc = conn_of(c);
    struct httpreq_limits limits = limits_of(hc->server);
    struct httpreq *req = &hc->server->req;
    size_t used = 0;

    for (;;) {
        if (c->is_closed || hc->phase == HTTP_CLOSING)
            return (ssize_t)n; /* nobody wants it */
        if (hc->exchange != NULL || hc->is_draining)
            return (ssize_t)used;
        int r = httpreq_parse(&hc->parse, &limits, data + used, n - used, req);
        if (r == HTTPREQ_MORE) {
            await_more(hc, n - used);
            return (ssize_t)used;
        }
        if (r != 0) {
            respond_refused(hc, r == HTTPREQ_REFUSED ? req->status : 400,
                r == HTTPREQ_REFUSED ? req->reason : "the request changed while it was read");
            return (ssize_t)n;
        }
        used += req->n_used;
        hc->phase = HTTP_BUSY; /* whatever comes next begins its own time */
        hc->has_asked = true;
        http_handle(hc);
        if (hc->exchange == NULL)
            hc->server->fe->counters.requests++; /* the session counts what an exchange asks of it */
        if (hc->exchange == NULL && hc->phase != HTTP_CLOSING && !c->is_closed && must_drain(hc))
            enter(hc, HTTP_BODY); /* a client that does not read its answers has as long as one that does not
                                     send */
    }
}

static void
on_eof(struct conn *c)
{
    struct http_conn *hc = conn_of(c);

    hc->has_eof = true;
    if (hc->phase == HTTP_CLOSING)
        return;
    if (hc->exchange != NULL)
        hc->exchange->ops->on_eof(hc->exchange);
    else
        conn_close_soon(c, hc->phase == HTTP_IDLE ? NULL : "the client left within a request");
}

/* Event streams may lose messages by policy; every other response is sent whole or not at all. */
static enum conn_room
on_overflow(struct conn *c)
{
    struct http_conn *hc = conn_of(c);

    if (hc->exchange == NULL || !hc->exchange->ops->is_stream)
        return CONN_ROOM_NONE;
    return session_overflow(&hc->exchange->session, c);
}

static void
on_dropped(struct conn *c)
{
    struct http_conn *hc = conn_of(c);

    if (hc->exchange != NULL)
        session_tell_dropped(&hc->exchange->session);
}

static void
on_drained(struct conn *c)
{
    struct http_conn *hc = conn_of(c);

    if (!hc->is_draining)
        return;
    hc->is_draining = false;
    if (hc->server->fe->is_stopping) { /* its answers said so */
        http_close_after_response(hc);
        return;
    }
    enter(hc, HTTP_IDLE);
    conn_resume(c);
}

static void
on_closed(struct conn *c, const char *reason)
{
    struct http_conn *hc = conn_of(c);

    (void)reason;
    loop_timer_stop(hc->server->fe->loop, &hc->timer);
    exchange_free(hc->exchange);
    free(hc);
}

static const struct conn_ops http_conn_ops = {
    .on_bytes = on_bytes,
    .on_eof = on_eof,
    .on_overflow = on_overflow,
    .on_dropped = on_dropped,
    .on_drained = on_drained,
    .on_closed = on_closed,
};

static void
on_timer(void *arg)
{
    struct http_conn *hc = arg;

    if (hc->c.is_closed)
        return;
    if (hc->exchange != NULL) {
        hc->exchange->ops->on_timer(hc->exchange);
        return;
    }
    hc->server->fe->counters.closed_timeout++;
    if (hc->phase == HTTP_IDLE || hc->is_draining)
        conn_close(&hc->c, hc->is_draining ? "the client does not read its answers" : NULL);
    else
        respond_refused(
            hc, 408, hc->phase == HTTP_HEAD ? "the headers took too long" : "the body took too long");
}

static void
on_accept(struct frontend *fe, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg)
{
    struct http_server *server = arg;
    struct http_conn *hc = malloc(sizeof *hc);

    (void)peer;
    (void)peer_n;
    if (hc == NULL) {
        (void)close(fd);
        return;
    }
    *hc = (struct http_conn){.server = server};
    hc->timer.fn = on_timer;
    hc->timer.arg = hc;
    if (conn_open_take(&hc->c, fe, fd, &http_conn_ops) < 0) {
        free(hc);
        return;
    }
    hc->phase = HTTP_CLOSING; /* so that enter() sees a change */
    enter(hc, HTTP_IDLE);
}

/* --- the process ------------------------------------------------------------------------------------ */

int
http_server_start(struct frontend *fe, const void *options, void **ret_state)
{
    struct http_server *server = calloc(1, sizeof *server);

    if (server == NULL)
        return -ENOMEM;
    server->fe = fe;
    server->options = options;
    buf_init(&server->out, 0);
    buf_init(&server->json, 0);
    buf_init(&server->cors, 0);
    buf_init(&server->broadcast_key, 0);
    list_init(&server->done);
    server->done_hook = (struct loop_hook){.fn = finish_exchanges, .arg = server};
    int r = httpstatic_new(server->options, http_main_of(fe), &server->files);
    if (r == 0)
        r = http_broadcast_load(server);
    if (r == 0)
        r = listeners_open(fe,
            &(struct listeners_spec){.listen = &server->options->listen,
                .tls = &server->options->tls,
                .is_http = true,
                .on_accept = on_accept,
                .arg = server},
            &server->listeners);
    if (r < 0) {
        http_server_free(server);
        return r;
    }
    *ret_state = server;
    return 0;
}

void
http_server_stop(struct frontend *fe, void *state)
{
    struct http_server *server = state;

    (void)fe;
    listeners_stop(&server->listeners);
}

/* A request that is under way is answered, with `Connection: close`; the first of a connection is waited for.
 */
bool
http_server_leave(struct frontend *fe, struct conn *c)
{
    struct http_conn *hc = conn_of(c);

    (void)fe;
    if (hc->exchange != NULL)
        hc->exchange->ops->on_stop(hc->exchange);
    else if (hc->phase == HTTP_IDLE && hc->has_asked)
        http_close_after_response(hc);
    return hc->phase != HTTP_IDLE;
}

void
http_server_reload(struct frontend *fe, void *state, const void *options)
{
    struct http_server *server = state;

    server->options = options;
    tls_reload(fe->tls, &server->options->tls);
    httpstatic_set_options(server->files, options);
    if (http_broadcast_load(server) < 0)
        log_error("the key of http.broadcast stays as it was");
}

void
http_server_free(void *state)
{
    struct http_server *server = state;

    if (server == NULL)
        return;
    loop_cancel(server->fe->loop, &server->done_hook);
    listeners_close(&server->listeners);
    server->files = httpstatic_free(server->files);
    buf_fini(&server->out);
    buf_fini(&server->json);
    buf_fini(&server->cors);
    http_broadcast_forget(server);
    free(server);
}
