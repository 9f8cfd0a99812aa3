/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The long-poll: a subscription for as long as one request. It is answered as soon as there is something (a
 * message, or news about the stream: a gap, a reset), or when its time is up. The answer's cursor is what
 * the next poll gives as `since`; nothing between the two can be missed, because the next one replays.
 */
#include "config.h"

#include <string.h>

#include "base/json.h"
#include "frontends/http/httpencode.h"
#include "frontends/http/httpserver.h"
#include "frontends/sdk/block.h"

/* Even a poll that does not wait gives the broker this long to answer. */
#define MIN_ANSWER_MS 5000

struct poll {
    struct exchange x;
    struct buf records;      /* of http_poll_encoder */
    struct buf gaps;         /* JSON strings with commas between */
    struct buf text;         /* of an error */
    char cursor[CURSOR_MAX]; /* the newest seen */
    char tag[CURSOR_MAX];    /* of If-None-Match; empty: none */
    enum recover_state state;
    enum error_code code;
    uint64_t deadline_ms;
    bool is_subscribed;
    bool is_full; /* enough for one answer; what comes now is for the next poll */
};

static struct poll *
poll_of(struct exchange *x)
{
    return (struct poll *)x;
}

static bool
has_news(const struct poll *p)
{
    return p->records.n > 0 || p->state == STATE_GAP || p->state == STATE_RESET;
}

/* A turn later, because a replay follows the answer to the subscription, and what came together is told
 * together. */
static void
poll_done(struct poll *p)
{
    exchange_done(&p->x, 1);
}

/* --- from the bus ----------------------------------------------------------------------------------- */

static void
poll_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct poll *p = poll_of(exchange_of(s));
    struct slice rest = slice_of(block->buf.p + at, n);
    size_t max = (size_t)p->x.hc->server->fe->limits->queue_bytes / 2;
    struct poll_record record;

    for (;;) {
        struct slice before = rest;
        if (p->is_full || !poll_record_next(&rest, &record))
            break;
        size_t n_record = before.n - rest.n;
        if (record.cursor.n > 0 && p->records.n > 0 && p->records.n + n_record > max) {
            p->is_full = true;
            break;
        }
        buf_put(&p->records, before.p, n_record);
        if (buf_failed(&p->records) || record.cursor.n >= sizeof p->cursor) {
            p->is_full = true; /* the next poll gets it */
            p->records.is_failed = false;
            break;
        }
        if (record.cursor.n > 0) {
            memcpy(p->cursor, record.cursor.p, record.cursor.n);
            p->cursor[record.cursor.n] = '\0';
        }
    }
    if (p->is_subscribed || p->is_full)
        poll_done(p);
}

static void
note_state(struct poll *p, const struct answer *a)
{
    p->state = a->state;
    if (!p->is_full)
        (void)cursor_format(p->cursor, a->position);
    for (size_t i = 0; i < a->n_gaps; i++) {
        if (p->gaps.n > 0)
            buf_put_byte(&p->gaps, ',');
        json_put_string(&p->gaps, a->gaps[i]);
    }
}

static void
poll_on_subscribed(struct poll *p, const struct answer *a)
{
    uint64_t now = loop_now_ms(p->x.hc->server->fe->loop);

    p->is_subscribed = true;
    note_state(p, a);
    if (has_news(p) || now >= p->deadline_ms)
        poll_done(p);
    else
        exchange_timer(&p->x, p->deadline_ms - now);
}

static void
poll_on_answer(struct session *s, const struct answer *a)
{
    struct poll *p = poll_of(exchange_of(s));

    switch (a->type) {
    case ANSWER_SUBSCRIBED:
        poll_on_subscribed(p, a);
        return;
    case ANSWER_STATE:
        if (a->state != STATE_GAP && a->state != STATE_RESET)
            return;
        note_state(p, a);
        poll_done(p);
        return;
    case ANSWER_ERROR:
    case ANSWER_CLOSING:
        p->code = a->code;
        buf_reset(&p->text);
        buf_put_slice(&p->text, a->text);
        exchange_done(&p->x, 0);
        return;
    default:
        return;
    }
}

static void
poll_on_unblocked(struct session *s)
{
    (void)s; /* it never publishes */
}

/* --- the answer ------------------------------------------------------------------------------------- */

static void
put_messages(struct buf *out, const struct poll *p)
{
    struct slice rest = buf_slice(&p->records);
    struct poll_record record;

    for (bool is_first = true; poll_record_next(&rest, &record); is_first = false) {
        if (!is_first)
            buf_put_byte(out, ',');
        buf_put_slice(out, record.json);
    }
}

static void
respond_messages(struct poll *p)
{
    struct httpresp r = {
        .status = 200,
        .content_type = "application/json",
        .etag = slice_str(p->cursor),
        .headers = slice_str("Cache-Control: no-cache\r\nVary: Accept\r\n"),
    };
    struct buf *json = &p->x.hc->server->json;

    buf_reset(json);
    http_put_state(json, p->state, p->cursor);
    if (p->gaps.n > 0) {
        buf_put_str(json, ",\"topics\":[");
        buf_put_slice(json, buf_slice(&p->gaps));
        buf_put_byte(json, ']');
    }
    buf_put_str(json, ",\"messages\":[");
    put_messages(json, p);
    buf_put_str(json, "]}\n");
    if (buf_failed(json))
        http_respond_code(p->x.hc, &p->x.reply, ERROR_INTERNAL, slice_str("out of memory"));
    else
        http_respond(p->x.hc, &p->x.reply, &r, buf_slice(json));
}

static void
respond_not_modified(struct poll *p)
{
    struct httpresp r = {
        .status = 304,
        .ending = HTTPRESP_NONE,
        .etag =
            slice_str(p->tag), /* the one asked about: a newer one would not match what the client keeps */
        .headers = slice_str("Cache-Control: no-cache\r\nVary: Accept\r\n"),
    };
    http_respond(p->x.hc, &p->x.reply, &r, slice_str(""));
}

static void
poll_finish(struct exchange *x)
{
    struct poll *p = poll_of(x);

    if (p->code != ERROR_NONE)
        http_respond_code(x->hc, &x->reply, p->code, buf_slice(&p->text));
    else if (!p->is_subscribed && p->records.n == 0)
        http_respond_code(x->hc, &x->reply,
            x->hc->server->fe->is_stopping ? ERROR_SHUTTING_DOWN : ERROR_UNAVAILABLE,
            slice_str(x->hc->server->fe->is_stopping ? "" : "The broker cannot be reached now; try again."));
    else if (p->tag[0] != '\0' && !has_news(p))
        respond_not_modified(p);
    else
        respond_messages(p);
}

/* --- its life --------------------------------------------------------------------------------------- */

static void
poll_on_timer(struct exchange *x)
{
    exchange_done(x, 0);
}

/* A client that is gone is let go at once. One that half-closed after asking for what there is now has still
 * to be told; so has one whose subscription is on its way, which is at once too. */
static void
poll_on_eof(struct exchange *x)
{
    struct poll *p = poll_of(x);

    if (p->is_subscribed && list_empty(&x->in_done))
        conn_close(&x->hc->c, NULL);
    else
        p->deadline_ms = 0;
}

/* One whose subscription is on its way is answered as soon as that stands: then there is a cursor. */
static void
poll_on_stop(struct exchange *x)
{
    struct poll *p = poll_of(x);

    if (p->is_subscribed)
        exchange_done(x, 0);
    else
        p->deadline_ms = 0;
}

static void
poll_fini(struct exchange *x)
{
    struct poll *p = poll_of(x);
    buf_fini(&p->records);
    buf_fini(&p->gaps);
    buf_fini(&p->text);
}

static const struct exchange_ops poll_ops = {
    .finish = poll_finish,
    .on_timer = poll_on_timer,
    .on_eof = poll_on_eof,
    .on_stop = poll_on_stop,
    .fini = poll_fini,
};

static const struct session_ops poll_session_ops = {
    .on_deliver = poll_on_deliver,
    .on_answer = poll_on_answer,
    .on_unblocked = poll_on_unblocked,
};

void
http_poll_start(struct http_conn *hc, const struct http_reply *reply, const struct topics_get *get)
{
    struct poll *p = exchange_new(hc, reply, sizeof *p, &poll_ops, &http_poll_encoder, &poll_session_ops);

    if (p == NULL)
        return;
    buf_init(&p->records, 0);
    buf_init(&p->gaps, 0);
    buf_init(&p->text, 0);
    if (get->tag.n < sizeof p->tag)
        memcpy(p->tag, get->tag.p == NULL ? (const uint8_t *)"" : get->tag.p, get->tag.n);
    p->deadline_ms = hc->server->fe->is_stopping ? 0 : loop_now_ms(hc->server->fe->loop) + get->wait_ms;
    exchange_timer(&p->x, get->wait_ms > MIN_ANSWER_MS ? get->wait_ms : MIN_ANSWER_MS);
    if (session_request(&p->x.session, &get->sub) < 0 && p->code == ERROR_NONE) {
        p->code = ERROR_INTERNAL;
        exchange_done(&p->x, 0);
    }
}
