/* SPDX-License-Identifier: Apache-2.0 */
/* The opening of a connection: one HTTP request, its address, the handshake. What is no upgrade is told where
 * to go. */
#include "config.h"

#include "frontends/ws/wsconn.h"

#include "base/log.h"
#include "frontends/ws/wshandshake.h"
#include "frontends/ws/wsserver.h"

#include <stdlib.h>

/* An upgrade has no body; a Cookie may be long. */
static const struct httpreq_limits wsopen_limits = {.max_line = 8192, .max_head = 16384, .max_body = 0};

/* In the order that wsmessage_dialect() knows. */
#define N_SUBPROTOCOLS 2
static const char *const wsopen_subprotocols[][N_SUBPROTOCOLS] = {
    [WSTARGET_NATIVE] = {"busbar.v1.json", "busbar.v1.msgpack"},
    [WSTARGET_RAW] = {NULL, NULL},
    [WSTARGET_CABLE] = {"actioncable-v1-json", "actioncable-v1-ext-json"},
};

static struct slice
wsopen_header(void *arg, const char *name, unsigned i)
{
    const struct slice *value = httpreq_header_at(arg, name, i);

    return value == NULL ? slice_of(NULL, 0) : *value;
}

void
wsopen_refuse(struct wsconn *c, unsigned status, const char *reason)
{
    struct buf *out = &wsconn_server(c)->scratch;

    log_info("an upgrade was refused with %u: %s", status, reason);
    loop_timer_stop(c->conn.fe->loop, &c->timer);
    wsmessage_drop_held(c);
    c->is_waiting = false;
    buf_reset(out);
    wshandshake_put_error(out, status, reason);
    conn_send_copy(&c->conn, buf_slice(out));
    c->state = WSCONN_OVER;
    conn_close_soon(&c->conn, "it was no upgrade that we take");
}

/* A raw client has no other sign that its subscription stands than its connection: it gets the 101 then. */
static bool
wsopen_wait(struct wsconn *c, struct slice answer)
{
    if (!wsmessage_hold(c, answer, false)) {
        conn_close(&c->conn, "no memory for its handshake");
        return false;
    }
    c->is_waiting = true;
    loop_timer_start(c->conn.fe->loop, &c->timer, wsconn_server(c)->options->handshake_timeout_ms);
    return true;
}

void
wsopen_proceed(struct wsconn *c)
{
    conn_send_copy(&c->conn, slice_of(c->held->bytes, c->held->n));
    wsmessage_drop_held(c);
    c->is_waiting = false;
    loop_timer_start(c->conn.fe->loop, &c->timer, wsconn_server(c)->options->ping_interval_ms);
    conn_resume(&c->conn);
}

/* Rails does not tell a stranger what is at this address, and neither do we: what is no WebSocket, or comes
 * from another site, finds nothing. */
static void
wsopen_refuse_shake(struct wsconn *c, const struct wstarget *target, const struct wshandshake_result *result)
{
    unsigned status = result->status;

    if (target->kind == WSTARGET_CABLE && (status == 403 || status == 405 || status == 426)) {
        log_debug("Action Cable: %s", result->reason);
        wsopen_refuse(c, 404, "Page not found");
        return;
    }
    wsopen_refuse(c, status, result->reason);
}

/* The address is good: the handshake decides. */
static void
wsopen_shake(struct wsconn *c, const struct httpreq *req, const struct wstarget *target)
{
    const struct ws_options *options = wsconn_server(c)->options;
    const struct wshandshake_request request = {.method = req->method_name,
        .version = 10 + req->minor,
        .header = wsopen_header,
        .header_arg = (void *)(uintptr_t)req};
    const struct wshandshake_policy policy = {.subprotocols = wsopen_subprotocols[target->kind],
        .n_subprotocols = target->kind == WSTARGET_RAW ? 0 : N_SUBPROTOCOLS,
        .origins = (const char *const *)options->origins.items,
        .n_origins = options->origins.n,
        .has_deflate = options->deflate,
        .sha1 = wsconn_server(c)->sha1};
    struct wshandshake_result result;
    struct buf *out = &wsconn_server(c)->scratch;

    buf_reset(out);
    wshandshake_answer(&request, &policy, out, &result);
    if (result.status != 101) {
        wsopen_refuse_shake(c, target, &result);
        return;
    }
    wsconn_open(c, result.deflate.is_on);
    if (target->kind != WSTARGET_RAW)
        conn_send_copy(&c->conn, buf_slice(out));
    else if (!wsopen_wait(c, buf_slice(out)))
        return;
    if (!wsmessage_begin(c, target, req, result.subprotocol, &result.deflate))
        conn_close(&c->conn, "no memory for its session");
    else if (c->is_waiting && !c->conn.is_closed)
        conn_pause(&c->conn);
}

/* Remembers how far the request was looked through. */
static void
wsopen_keep(struct wsconn *c, const struct httpreq_state *state)
{
    if (c->request == NULL)
        c->request = malloc(sizeof *c->request);
    if (c->request == NULL)
        conn_close(&c->conn, "no memory for its handshake");
    else
        *c->request = *state;
}

size_t
wsopen_take(struct wsconn *c, uint8_t *data, size_t n)
{
    struct wstarget target;
    struct httpreq req;
    struct httpreq_state state = c->request != NULL ? *c->request : (struct httpreq_state){0};
    int r = httpreq_parse(&state, &wsopen_limits, data, n, &req);

    if (r == HTTPREQ_MORE) {
        wsopen_keep(c, &state);
        return 0;
    }
    if (r == HTTPREQ_REFUSED) {
        c->conn.fe->counters.closed_bad_input++;
        wsopen_refuse(c, (unsigned)req.status, req.reason);
        return n;
    }
    wstarget_parse(req.path, req.query, wsconn_server(c)->options, wsconn_server(c)->cables.options, &target);
    if (target.status != 0)
        wsopen_refuse(c, target.status, target.reason);
    else
        wsopen_shake(c, &req, &target);
    wstarget_fini(&target);
    return req.n_used;
}
