/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of one WebSocket client: between its frames and its session.
 *
 * Action Cable: see wscable.h. Native: text frames are JSON, binary frames MessagePack, and what is malformed
 * is answered. Raw: each message is a publish as it is, each delivery a bare payload; as there are no
 * answers, an error is a close code.
 */
#include "config.h"

#include "frontends/ws/wsconn.h"

#include "frontends/dialects/actioncable/actioncable.h"
#include "frontends/dialects/dialect.h"
#include "frontends/dialects/raw/raw.h"
#include "frontends/sdk/frontend.h"
#include "frontends/ws/wscable.h"
#include "frontends/ws/wsdeflate.h"
#include "frontends/ws/wsserver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The one subscription of a raw client. */
#define RAW_ID "1"

static const struct session_ops native_ops, raw_ops, cable_ops;

/* ---- What was sent. ---- */

/* 0, or -EAGAIN: it cannot be published yet. */
static int
wsmessage_do_native(struct wsconn *c, struct slice payload)
{
    struct frontend *fe = c->conn.fe;
    struct dialect_error error;
    struct request request;

    if (c->dialect->decode(payload, (unsigned)fe->limits->json_depth, &fe->scratch, &request, &error) < 0) {
        struct answer answer = {
            .type = ANSWER_ERROR, .id = error.id, .code = error.code, .text = slice_str(error.text)};

        fe->counters.requests++;
        fe->counters.request_errors++;
        frontend_send_answer(fe, &c->conn, &c->session, &answer);
        return 0;
    }
    return session_request(&c->session, &request);
}

static int
wsmessage_do(struct wsconn *c, struct slice payload, bool is_text)
{
    struct request request;

    if (c->is_cable)
        return wscable_take(c, payload);
    if (c->dialect != NULL)
        return wsmessage_do_native(c, payload);
    raw_decode(payload, is_text, slice_of(c->topic, c->n_topic), &request);
    return session_request(&c->session, &request);
}

bool
wsmessage_hold(struct wsconn *c, struct slice payload, bool is_text)
{
    struct wsconn_held *held = malloc(sizeof *held + payload.n);

    if (held == NULL)
        return false;
    held->is_text = is_text;
    held->n = payload.n;
    if (payload.n > 0)
        memcpy(held->bytes, payload.p, payload.n);
    c->held = held;
    return true;
}

void
wsmessage_drop_held(struct wsconn *c)
{
    free(c->held);
    c->held = NULL;
}

void
wsmessage_take(struct wsconn *c, struct slice payload, bool is_text)
{
    if (c->is_cable && (!is_text || c->cable == NULL)) {
        if (c->cable != NULL)
            wscable_note_ignored(c, "it is a binary message");
        return;
    }
    if (c->dialect != NULL && c->dialect->is_text != is_text) {
        wsconn_close(c, WSFRAME_CODE_UNSUPPORTED,
            slice_str(c->dialect->is_text
                          ? "request_invalid: this connection speaks busbar.v1.json: send text frames"
                          : "request_invalid: this connection speaks busbar.v1.msgpack: send binary frames"));
        return;
    }
    if (wsmessage_do(c, payload, is_text) != -EAGAIN || c->state != WSCONN_OPEN)
        return;
    if (wsmessage_hold(c, payload, is_text))
        conn_pause(&c->conn);
    else
        wsconn_fail(c, WSFRAME_CODE_INTERNAL, "internal: out of memory");
}

/* Publishing may be possible again. */
static void
wsmessage_retry(struct wsconn *c)
{
    struct wsconn_held *held = c->held;

    if (c->state != WSCONN_OPEN || held == NULL || c->is_waiting || c->conn.is_closed)
        return;
    c->held = NULL; /* the answer may be the end of the connection */
    if (wsmessage_do(c, slice_of(held->bytes, held->n), held->is_text) == -EAGAIN &&
        c->state == WSCONN_OPEN) {
        c->held = held;
        return;
    }
    free(held);
    if (c->state != WSCONN_OPEN)
        return;
    if (c->conn.has_eof) {
        c->state = WSCONN_OVER;
        conn_close_soon(&c->conn, NULL);
    } else if (!c->is_leaving) {
        conn_resume(&c->conn);
    }
}

size_t
wsmessage_max(const struct wsconn *c)
{
    uint64_t max = c->conn.fe->limits->message_bytes;

    return c->dialect == NULL ? (size_t)max : dialect_message_max(c->dialect, max);
}

/* ---- What it is told. ---- */

static void
wsmessage_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct wsconn *c = wsconn_of_session(s);

    if (c->state != WSCONN_OPEN)
        return;
    conn_send(&c->conn, block, at, n);
    wsconn_check_room(c);
}

static void
native_on_answer(struct session *s, const struct answer *answer)
{
    struct wsconn *c = wsconn_of_session(s);

    if (c->state == WSCONN_OPEN)
        frontend_send_answer(c->conn.fe, &c->conn, s, answer);
}

static enum wsframe_code
raw_close_code(enum error_code code)
{
    switch (code) {
    case ERROR_MESSAGE_TOO_LARGE:
        return WSFRAME_CODE_TOO_BIG;
    case ERROR_UNAVAILABLE:
    case ERROR_LIMIT_REACHED:
    case ERROR_TIMEOUT:
    case ERROR_TOO_SLOW:
        return WSFRAME_CODE_TRY_AGAIN;
    case ERROR_SHUTTING_DOWN:
        return WSFRAME_CODE_GOING_AWAY;
    case ERROR_STORE_FAILED:
    case ERROR_INTERNAL:
        return WSFRAME_CODE_INTERNAL;
    default:
        return WSFRAME_CODE_POLICY;
    }
}

static void
raw_on_answer(struct session *s, const struct answer *answer)
{
    struct wsconn *c = wsconn_of_session(s);
    const char *sentence = error_code_sentence(answer->code);
    struct slice text = answer->text.n > 0 ? answer->text : slice_str(sentence);
    char reason[256];

    if (answer->type == ANSWER_SUBSCRIBED) {
        if (c->is_waiting)
            wsopen_proceed(c);
    } else if (answer->type == ANSWER_ERROR) {
        (void)snprintf(reason, sizeof reason, "%s: %.*s", error_code_name(answer->code), SLICE_ARG(text));
        if (c->is_waiting)
            wsopen_refuse(c, (unsigned)error_code_http(answer->code), reason);
        else
            wsconn_close(c, raw_close_code(answer->code), slice_str(reason));
    }
}

static void
wsmessage_on_unblocked(struct session *s)
{
    wsmessage_retry(wsconn_of_session(s));
}

static size_t
wsmessage_queued(struct session *s)
{
    return wsconn_of_session(s)->conn.out_bytes;
}

static const struct session_ops native_ops = {
    .on_deliver = wsmessage_on_deliver,
    .on_answer = native_on_answer,
    .on_unblocked = wsmessage_on_unblocked,
    .queued = wsmessage_queued,
};

static const struct session_ops raw_ops = {
    .on_deliver = wsmessage_on_deliver,
    .on_answer = raw_on_answer,
    .on_unblocked = wsmessage_on_unblocked,
    .queued = wsmessage_queued,
};

static const struct session_ops cable_ops = {
    .on_deliver = wsmessage_on_deliver,
    .on_answer = wscable_on_answer,
    .on_unblocked = wsmessage_on_unblocked,
    .queued = wsmessage_queued,
};

/* ---- Begin. ---- */

static bool
raw_begin(struct wsconn *c, const struct wstarget *target)
{
    struct slice topic = buf_slice(&target->topic);
    const struct request request = {.op = REQUEST_SUB,
        .id = slice_str(RAW_ID),
        .filters = &topic,
        .n_filters = 1,
        .from = target->from,
        .since = buf_slice(&target->since),
        .last = target->last};

    c->topic = malloc(topic.n);
    if (c->topic == NULL)
        return false;
    memcpy(c->topic, topic.p, topic.n);
    c->n_topic = (uint16_t)topic.n;
    (void)session_request(&c->session, &request);
    return true;
}

static const struct dialect *const dialects[] = {
    [WSENCODERS_JSON] = &dialect_native_json,
    [WSENCODERS_MSGPACK] = &dialect_native_msgpack,
    [WSENCODERS_RAW] = NULL,
    [WSENCODERS_CABLE] = &dialect_actioncable,
    [WSENCODERS_CABLE_EXT] = &dialect_actioncable_ext,
};

/* subprotocol: index in the list of this kind of address, or -1: none was asked for. */
static enum wsencoders_dialect
wsmessage_dialect(enum wstarget_kind kind, int subprotocol)
{
    if (kind == WSTARGET_NATIVE)
        return subprotocol == 1 ? WSENCODERS_MSGPACK : WSENCODERS_JSON;
    if (kind == WSTARGET_CABLE)
        return subprotocol == 1 ? WSENCODERS_CABLE_EXT : WSENCODERS_CABLE;
    return WSENCODERS_RAW;
}

bool
wsmessage_begin(struct wsconn *c, const struct wstarget *target, const struct httpreq *req, int subprotocol,
    const struct wsdeflate_params *deflate)
{
    static const struct session_ops *const ops[] = {
        [WSTARGET_NATIVE] = &native_ops, [WSTARGET_RAW] = &raw_ops, [WSTARGET_CABLE] = &cable_ops};
    enum wsencoders_dialect dialect = wsmessage_dialect(target->kind, subprotocol);

    c->dialect = dialects[dialect];
    session_init(&c->session, c->conn.fe, wsencoders_find(&wsconn_server(c)->encoders, dialect, deflate),
        ops[target->kind]);
    if (target->kind == WSTARGET_RAW)
        return raw_begin(c, target);
    c->is_cable = target->kind == WSTARGET_CABLE;
    return !c->is_cable || wscable_begin(c, dialect == WSENCODERS_CABLE_EXT, req);
}

/* ---- What was not sent. ---- */
