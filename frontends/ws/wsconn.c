/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One WebSocket client's life: frames in, pings, closing. Its opening is in wsopen.c, its messages are in
 * wsmessage.c.
 *
 * Whatever arrives counts as life. A client that was silent for ws.ping_interval is pinged; if neither a byte
 * has come nor any of what is queued for it has gone when ws.ping_timeout is over, it is not there any more.
 */
#include "config.h"

#include "frontends/ws/wsconn.h"

#include "base/log.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/frontend.h"
#include "frontends/ws/wscable.h"
#include "frontends/ws/wsdeflate.h"
#include "frontends/ws/wsserver.h"

#include <stdlib.h>
#include <unistd.h>

static struct loop *
wsconn_loop(const struct wsconn *c)
{
    return c->conn.fe->loop;
}

/* ---- Closing. ---- */

static void
wsconn_send_close(struct wsconn *c, unsigned code, struct slice reason)
{
    struct buf *out = &wsconn_server(c)->scratch;

    buf_reset(out);
    wsframe_put_close(out, code, reason);
    conn_send_copy(&c->conn, buf_slice(out));
}

/* The SDK does the rest: writes, ends TCP from our side, waits a little for the client to end its. */
static void
wsconn_end(struct wsconn *c, const char *reason)
{
    c->state = WSCONN_OVER;
    wsmessage_drop_held(c);
    loop_timer_stop(wsconn_loop(c), &c->timer);
    conn_close_soon(&c->conn, reason);
}

void
wsconn_close(struct wsconn *c, enum wsframe_code code, struct slice reason)
{
    if (c->state != WSCONN_OPEN)
        return;
    if (c->is_waiting) {
        wsopen_refuse(c, 503, "This server cannot take it now; connect again");
        return;
    }
    c->state = WSCONN_CLOSING;
    wsmessage_drop_held(c);
    wsconn_send_close(c, code, reason);
    if (c->conn.is_closed)
        return;
    if (c->conn.has_eof) {
        wsconn_end(c, NULL);
        return;
    }
    loop_timer_start(wsconn_loop(c), &c->timer, wsconn_server(c)->options->close_timeout_ms);
    conn_resume(&c->conn); /* its close frame may stand behind what it was paused for */
}

void
wsconn_fail(struct wsconn *c, enum wsframe_code code, const char *reason)
{
    if (c->state == WSCONN_OPEN)
        wsconn_send_close(c, code, slice_str(reason));
    wsconn_end(c, reason);
}

/* ---- Frames. ---- */

static void
wsconn_on_message(struct wsconn *c, const struct wsframe_event *event)
{
    if (c->state == WSCONN_OPEN)
        wsmessage_take(c, event->payload, event->type == WSFRAME_TEXT);
}

static void
wsconn_on_ping(struct wsconn *c, const struct wsframe_event *event)
{
    struct buf *out = &wsconn_server(c)->scratch;

    if (c->state != WSCONN_OPEN)
        return;
    buf_reset(out);
    wsframe_put(out, WSFRAME_OP_PONG, false, event->payload);
    conn_send_copy(&c->conn, buf_slice(out));
}

/* Life was noted when the bytes came. */
static void
wsconn_on_pong(struct wsconn *c, const struct wsframe_event *event)
{
    (void)c;
    (void)event;
}

static void
wsconn_on_close(struct wsconn *c, const struct wsframe_event *event)
{
    if (c->state == WSCONN_OPEN)
        wsconn_send_close(c, event->code, slice_of(NULL, 0));
    wsconn_end(c, NULL);
}

static void
wsconn_on_error(struct wsconn *c, const struct wsframe_event *event)
{
    c->conn.fe->counters.closed_bad_input++;
    wsconn_fail(c, (enum wsframe_code)event->code, event->reason);
}

static void (*const wsconn_on_event[])(struct wsconn *c, const struct wsframe_event *event) = {
    [WSFRAME_TEXT] = wsconn_on_message,
    [WSFRAME_BINARY] = wsconn_on_message,
    [WSFRAME_PING] = wsconn_on_ping,
    [WSFRAME_PONG] = wsconn_on_pong,
    [WSFRAME_CLOSE] = wsconn_on_close,
    [WSFRAME_ERROR] = wsconn_on_error,
};

/* Inflates a message if it must be. The frames of a client that is being closed are only parsed. */
static void
wsconn_dispatch(struct wsconn *c, struct wsframe_event *event, size_t max)
{
    struct wsserver *server = wsconn_server(c);
    bool was_compressed = event->is_compressed && c->state == WSCONN_OPEN;

    if (was_compressed)
        wsdeflate_open_event(server->deflate, event, max, &server->inflated);
    wsconn_on_event[event->type](c, event);
    if (was_compressed) {
        buf_reset(&server->inflated);
        buf_trim(&server->inflated);
    }
}

/* Its answers pile up: it gets no more to do until it has read them. */
static bool
wsconn_check_full(struct wsconn *c)
{
    if (c->state != WSCONN_OPEN || c->conn.out_bytes <= c->conn.fe->limits->queue_bytes / 2)
        return false;
    c->is_full = true;
    conn_pause(&c->conn);
    return true;
}

/* Keeps the parser only if it stopped inside something. */
static void
wsconn_keep_frame(struct wsconn *c, struct wsframe *frame)
{
    bool is_needed = c->state != WSCONN_OVER && !c->conn.is_closed && !wsframe_is_idle(frame);

    if (is_needed && frame == c->frame)
        return;
    if (!is_needed) {
        wsframe_fini(frame);
        free(c->frame);
        c->frame = NULL;
        return;
    }
    c->frame = malloc(sizeof *c->frame);
    if (c->frame != NULL) {
        *c->frame = *frame;
        return;
    }
    wsframe_fini(frame);
    conn_close(&c->conn, "no memory for a message that was cut");
}

/* Returns the bytes that are done with: all, unless the connection was paused. */
static size_t
wsconn_take_frames(struct wsconn *c, uint8_t *data, size_t n)
{
    const struct wsframe_limits limits = {.max_message = wsmessage_max(c)};
    struct wsframe_input in = {.p = data, .n = n};
    struct wsframe_event event;
    struct wsframe fresh, *frame = c->frame;

    if (frame == NULL) {
        frame = &fresh;
        wsframe_init(frame, WSFRAME_SERVER);
        if (c->has_deflate)
            wsframe_allow_compressed(frame);
    }
    while (c->state != WSCONN_OVER && !c->conn.is_paused && !c->conn.is_closed && !wsconn_check_full(c)) {
        if (wsframe_next(frame, &limits, &in, &event) == WSFRAME_MORE)
            break;
        wsconn_dispatch(c, &event, limits.max_message);
    }
    wsconn_keep_frame(c, frame);
    return c->state == WSCONN_OVER ? n : (size_t)(in.p - data);
}

static ssize_t
wsconn_on_bytes(struct conn *conn, uint8_t *data, size_t n)
{
    struct wsconn *c = (struct wsconn *)conn;
    size_t done = 0;

    c->heard_at_ms = (uint32_t)loop_now_ms(wsconn_loop(c));
    c->is_pinged = false;
    if (c->state == WSCONN_OPENING) {
        done = wsopen_take(c, data, n);
        if (c->state == WSCONN_OPENING)
            return 0;
    }
    if (c->state == WSCONN_OVER || conn->is_closed)
        return (ssize_t)n;
    return (ssize_t)(done + wsconn_take_frames(c, data + done, n - done));
}

static void
wsconn_on_eof(struct conn *conn)
{
    struct wsconn *c = (struct wsconn *)conn;

    if (c->state == WSCONN_OPENING || c->is_waiting)
        conn_close(conn, NULL);
    else if (c->held == NULL || c->state != WSCONN_OPEN)
        wsconn_end(c, NULL);
}

/* ---- Time. ---- */

/* True if it was pinged in vain. When this process itself stood still, the answer may have come and not been
 * read yet. */
static bool
wsconn_is_dead(const struct wsconn *c)
{
    uint8_t byte;

    if (!c->is_pinged)
        return false;
    if (c->conn.is_blocked && (uint32_t)c->conn.out_bytes != c->out_at_ping)
        return false;
    return c->conn.is_paused || recv(c->conn.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* A protocol that has words for it of its own is told before the close frame. */
static void
wsconn_tell(struct wsconn *c, const char *reason)
{
    if (c->is_cable && c->state == WSCONN_OPEN)
        wscable_tell(c, reason, true);
}

static void
wsconn_keep_alive(struct wsconn *c)
{
    const struct ws_options *options = wsconn_server(c)->options;
    uint64_t quiet_ms = (uint32_t)loop_now_ms(wsconn_loop(c)) - c->heard_at_ms;

    if (c->held != NULL) { /* it is we who do not listen */
        c->is_pinged = false;
        loop_timer_start(wsconn_loop(c), &c->timer, options->ping_interval_ms);
    } else if (wsconn_is_dead(c)) {
        c->conn.fe->counters.closed_timeout++;
        wsconn_tell(c, "no_pong");
        wsconn_fail(c, WSFRAME_CODE_POLICY, "timeout: a ping was not answered");
    } else if (!c->is_pinged && quiet_ms < options->ping_interval_ms) {
        loop_timer_start(wsconn_loop(c), &c->timer, options->ping_interval_ms - quiet_ms);
    } else {
        if (!c->is_pinged)
            conn_send(&c->conn, wsconn_server(c)->ping, 0, (uint32_t)wsconn_server(c)->ping->buf.n);
        c->is_pinged = true;
        c->out_at_ping = (uint32_t)c->conn.out_bytes;
        loop_timer_start(wsconn_loop(c), &c->timer, options->ping_timeout_ms);
    }
}

static void
wsconn_leave(struct wsconn *c)
{
    wsconn_tell(c, "server_restart");
    if (c->conn.fe->is_restarting)
        wsconn_close(
            c, WSFRAME_CODE_RESTART, slice_str("shutting_down: this server restarts; connect again"));
    else
        wsconn_close(
            c, WSFRAME_CODE_GOING_AWAY, slice_str("shutting_down: this server stops; connect again"));
}

static void
wsconn_on_timer(void *arg)
{
    struct wsconn *c = arg;

    if (c->state == WSCONN_OPENING) {
        c->conn.fe->counters.closed_timeout++;
        wsopen_refuse(c, 408, "The request did not come in time");
    } else if (c->is_waiting) {
        c->conn.fe->counters.closed_timeout++;
        wsopen_refuse(c, 503, "The broker did not answer in time; connect again");
    } else if (c->state == WSCONN_CLOSING) {
        c->state = WSCONN_OVER;
        conn_close(&c->conn, "it did not answer the close frame");
    } else if (c->is_leaving) {
        wsconn_leave(c);
    } else {
        wsconn_keep_alive(c);
    }
}

/* ---- The queue. ---- */

/* A client that publishes is told how that went before it must go; a raw one is never told. */
static void
wsconn_check_leave(struct wsconn *c)
{
    if (c->is_leaving && c->held == NULL &&
        (c->dialect == NULL || (list_empty(&c->session.publishes) && !session_is_asking(&c->session))))
        wsconn_leave(c);
}

/* It has read enough to be given more to do: also while deliveries go on and its queue is never empty. */
void
wsconn_check_room(struct wsconn *c)
{
    if (!c->is_full || c->conn.out_bytes > c->conn.fe->limits->queue_bytes / 4)
        return;
    c->is_full = false;
    if (c->held == NULL && !c->is_leaving)
        conn_resume(&c->conn);
}

static void
wsconn_on_drained(struct conn *conn)
{
    struct wsconn *c = (struct wsconn *)conn;

    if (c->state != WSCONN_OPEN)
        return;
    wsconn_check_room(c);
    wsconn_check_leave(c);
}

static enum conn_room
wsconn_on_overflow(struct conn *conn)
{
    struct wsconn *c = (struct wsconn *)conn;
    enum conn_room room = c->state == WSCONN_OPEN ? session_overflow(&c->session, conn) : CONN_ROOM_NONE;

    if (room != CONN_ROOM_NONE || c->state != WSCONN_OPEN)
        return room;
    conn->fe->counters.closed_too_slow++;
    wsconn_tell(c, "too_slow");
    wsconn_fail(c, WSFRAME_CODE_TRY_AGAIN, "too_slow: this client did not read fast enough");
    return CONN_ROOM_NONE;
}

static void
wsconn_on_dropped(struct conn *conn)
{
    struct wsconn *c = (struct wsconn *)conn;

    session_tell_dropped(&c->session);
    wsconn_check_room(c);
}

/* ---- Begin and end. ---- */

static void
wsconn_on_closed(struct conn *conn, const char *reason)
{
    struct wsconn *c = (struct wsconn *)conn;

    if (reason != NULL)
        log_debug("a client was closed: %s", reason);
    loop_timer_stop(wsconn_loop(c), &c->timer);
    session_fini(&c->session);
    if (c->is_upgraded && c->frame != NULL)
        wsframe_fini(c->frame);
    free(c->is_upgraded ? (void *)c->frame : (void *)c->request);
    wsmessage_drop_held(c);
    if (c->is_cable)
        wscable_end(c);
    else
        free(c->topic);
    free(c);
}

static const struct conn_ops wsconn_ops = {
    .on_bytes = wsconn_on_bytes,
    .on_eof = wsconn_on_eof,
    .on_overflow = wsconn_on_overflow,
    .on_dropped = wsconn_on_dropped,
    .on_drained = wsconn_on_drained,
    .on_closed = wsconn_on_closed,
};

void
wsconn_on_accept(struct frontend *fe, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg)
{
    struct wsserver *server = arg;
    struct wsconn *c = malloc(sizeof *c);

    (void)peer;
    (void)peer_n;
    if (c == NULL) {
        close(fd);
        return;
    }
    *c = (struct wsconn){.timer = {.fn = wsconn_on_timer, .arg = c}};
    if (conn_open_take(&c->conn, fe, fd, &wsconn_ops) < 0) {
        free(c);
        return;
    }
    loop_timer_start(fe->loop, &c->timer, server->options->handshake_timeout_ms);
}

void
wsconn_open(struct wsconn *c, bool has_deflate)
{
    c->state = WSCONN_OPEN;
    free(c->request);
    c->frame = NULL;
    c->is_upgraded = true;
    c->has_deflate = has_deflate;
    loop_timer_start(wsconn_loop(c), &c->timer, wsconn_server(c)->options->ping_interval_ms);
}

bool
wsconn_on_leave(struct frontend *fe, struct conn *conn)
{
    struct wsconn *c = (struct wsconn *)conn;

    if (c->state == WSCONN_OPENING)
        return false;
    if (c->state != WSCONN_OPEN)
        return true;
    c->is_leaving = true;
    conn_pause(conn);
    loop_timer_start(fe->loop, &c->timer, wsconn_server(c)->options->close_timeout_ms);
    wsconn_check_leave(c);
    return true;
}
