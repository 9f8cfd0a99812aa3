/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event streams (EventSource of the HTML standard). The response begins when the subscription stands or was
 * refused, so that a refusal is a proper status; if neither comes soon (the broker is away), it begins all
 * the same, and the client waits inside it.
 */
#include "config.h"

#include "frontends/http/httpencode.h"
#include "frontends/http/httpserver.h"
#include "frontends/sdk/block.h"
#include "wire/names.h"

/* How long the subscription may take before the response begins without it. */
#define OPEN_AFTER_MS 1000

struct stream {
    struct exchange x;
    bool is_open;  /* the head was sent */
    bool has_sent; /* something since the last comment */
    enum error_code code;
    struct buf text; /* of an error before the head */
};

static struct stream *
stream_of(struct exchange *x)
{
    return (struct stream *)x;
}

static bool
is_chunked(const struct stream *st)
{
    return st->x.reply.minor >= 1;
}

static void
send_text(struct stream *st, struct slice text)
{
    struct buf *out = &st->x.hc->server->out;

    buf_reset(out);
    http_put_sse(out, is_chunked(st), text);
    conn_send_copy(&st->x.hc->c, buf_slice(out));
    st->has_sent = true;
}

/* How soon the client is to come back. */
static void
send_retry(struct stream *st)
{
    struct buf text;

    buf_init(&text, 0);
    buf_put_str(&text, "retry: ");
    buf_put_u64(&text, st->x.hc->server->options->retry_delay_ms);
    buf_put_str(&text, "\n\n");
    send_text(st, buf_slice(&text));
    buf_fini(&text);
}

static void
stream_open(struct stream *st)
{
    struct http_server *server = st->x.hc->server;
    struct httpresp r = {
        .status = 200,
        .ending = HTTPRESP_STREAM,
        .content_type = "text/event-stream",
        .headers = slice_str("Cache-Control: no-cache\r\nVary: Accept\r\nX-Accel-Buffering: no\r\n"),
    };

    if (st->is_open)
        return;
    st->is_open = true;
    http_respond(st->x.hc, &st->x.reply, &r, slice_str(""));
    send_retry(st);
    exchange_timer(&st->x, server->options->keepalive_interval_ms);
}

/* Says why, ends the body, and lets the connection go. */
static void
stream_end(struct stream *st, const struct answer *answer)
{
    struct buf *out = &st->x.hc->server->out;

    buf_reset(out);
    if (answer != NULL)
        st->x.session.encoder->put_answer(st->x.session.encoder, out, answer);
    httpresp_put_end(out, st->x.reply.minor);
    conn_send_copy(&st->x.hc->c, buf_slice(out));
    http_close_after_response(st->x.hc);
}

static void
stream_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct stream *st = stream_of(exchange_of(s));

    if (st->x.hc->phase == HTTP_CLOSING)
        return; /* its end was sent */
    stream_open(st);
    st->has_sent = true;
    conn_send(&st->x.hc->c, block, at, n);
}

static void
stream_on_answer(struct session *s, const struct answer *a)
{
    struct stream *st = stream_of(exchange_of(s));

    if (st->x.hc->phase == HTTP_CLOSING)
        return;
    if (a->type == ANSWER_ERROR || a->type == ANSWER_CLOSING) {
        if (st->is_open) {
            stream_end(st, a);
        } else if (st->code == ERROR_NONE) {
            st->code = a->code;
            buf_put_slice(&st->text, a->text);
            exchange_done(&st->x, 0);
        }
        return;
    }
    stream_open(st);
    frontend_send_answer(s->fe, &st->x.hc->c, s, a);
    st->has_sent = true;
}

static void
stream_on_unblocked(struct session *s)
{
    (void)s; /* it never publishes */
}

/* Only a stream that could not begin is finished as an exchange; the others end with their connection. */
static void
stream_finish(struct exchange *x)
{
    struct stream *st = stream_of(x);
    http_respond_code(x->hc, &x->reply, st->code, buf_slice(&st->text));
}

static void
stream_on_timer(struct exchange *x)
{
    struct stream *st = stream_of(x);

    if (!st->is_open) {
        stream_open(st);
        return;
    }
    if (!st->has_sent)
        send_text(st, slice_str(":\n\n"));
    st->has_sent = false;
    exchange_timer(x, x->hc->server->options->keepalive_interval_ms);
}

static void
stream_on_eof(struct exchange *x)
{
    conn_close(&x->hc->c, NULL);
}

/* Not an error status for one that has not begun: EventSource would not come back after it. */
static void
stream_on_stop(struct exchange *x)
{
    struct stream *st = stream_of(x);
    struct answer answer = {.type = ANSWER_CLOSING, .code = ERROR_SHUTTING_DOWN};

    if (x->hc->phase == HTTP_CLOSING || st->code != ERROR_NONE)
        return;
    if (st->is_open)
        send_retry(st);
    else
        stream_open(st);
    stream_end(st, &answer);
}

static void
stream_fini(struct exchange *x)
{
    buf_fini(&stream_of(x)->text);
}

static const struct exchange_ops stream_ops = {
    .is_stream = true,
    .finish = stream_finish,
    .on_timer = stream_on_timer,
    .on_eof = stream_on_eof,
    .on_stop = stream_on_stop,
    .fini = stream_fini,
};

static size_t
stream_queued(struct session *s)
{
    return exchange_of(s)->hc->c.out_bytes;
}

static const struct session_ops stream_session_ops = {
    .on_deliver = stream_on_deliver,
    .on_answer = stream_on_answer,
    .on_unblocked = stream_on_unblocked,
    .queued = stream_queued,
};

/* HEAD: what a stream would say of itself. */
static void
respond_head(struct http_conn *hc, const struct http_reply *reply)
{
    struct httpresp r = {
        .status = 200,
        .ending = HTTPRESP_NONE,
        .content_type = "text/event-stream",
        .headers = slice_str("Cache-Control: no-cache\r\nVary: Accept\r\n"),
    };
    http_respond(hc, reply, &r, slice_str(""));
}

void
http_sse_start(struct http_conn *hc, const struct http_reply *reply, const struct topics_get *get)
{
    bool is_one = get->sub.n_filters == 1 && !filter_has_wildcard(get->sub.filters[0]);
    bool is_envelope = get->envelope < 0 ? !is_one : get->envelope == 1;

    if (reply->is_head) {
        respond_head(hc, reply);
        return;
    }
    struct stream *st = exchange_new(hc, reply, sizeof *st, &stream_ops,
        http_sse_encoder(is_envelope, reply->minor >= 1), &stream_session_ops);
    if (st == NULL)
        return;
    buf_init(&st->text, 0);
    exchange_timer(&st->x, OPEN_AFTER_MS);
    if (session_request(&st->x.session, &get->sub) < 0 && st->code == ERROR_NONE) {
        st->code = ERROR_INTERNAL;
        exchange_done(&st->x, 0);
    }
}
