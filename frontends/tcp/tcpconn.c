/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP client.
 *
 *     first byte -> dialect and session -> split, decode, session_request() -> answers and deliveries by
 * conn_send()
 *
 * What is malformed within a message is answered and the connection goes on: where the next message begins is
 * known. What breaks that (too long, not MessagePack at all) is answered too, and the connection ends.
 *
 * A client may end its sending side and go on reading, as `echo ... | nc` does: a subscriber stays until it
 * goes away or the server does, any other until it has its answers.
 */
#include "config.h"

#include "frontends/tcp/tcpconn.h"

#include "base/loop.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/session.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

/* How often a client that has ended its side is looked at: while it waits for answers, and while it only
 * listens. */
#define HALF_WAIT_MS 50u
#define HALF_LISTEN_MS 30000u

struct tcp_conn {
    struct conn conn; /* first: the sdk gives it back */
    struct session session;
    struct dialect_scan *scan; /* NULL while no message is cut: an idle client does not pay for it */
    struct loop_timer timer;   /* first byte, idle, or half closed */
    uint32_t n_waiting;        /* requests with an id whose last answer was not given yet */
    bool is_full;              /* paused because it does not read its answers */
    bool is_leaving;           /* this process stops: closed as soon as nothing is waited for */
    bool has_tail;             /* the peer's last line, without its newline, must be tried again */
};

static struct tcp_conn *
tcp_of_session(struct session *s)
{
    return (struct tcp_conn *)((char *)s - offsetof(struct tcp_conn, session));
}

/* What all of them share. */
static struct tcp *
tcp_of(const struct tcp_conn *t)
{
    return t->conn.fe->state;
}

/* NULL until the first byte has come; then there is a session. */
static const struct dialect *
tcp_dialect(const struct tcp_conn *t)
{
    const struct encoder *encoder = t->session.encoder;

    return encoder == NULL ? NULL : ((const struct dialect_encoder *)encoder)->dialect;
}

static bool
tcp_is_over(const struct tcp_conn *t)
{
    return t->conn.is_closed || t->conn.is_closing;
}

/* ---- Telling. ---- */

static void
tcp_tell(struct tcp_conn *t, enum answer_type type, enum error_code code, const char *text)
{
    struct answer answer = {.type = type, .code = code, .text = slice_str(text)};

    frontend_send_answer(t->conn.fe, &t->conn, &t->session, &answer);
}

/* It has read enough to be given more to do: also while deliveries go on and its queue is never empty. */
static void
tcp_check_room(struct tcp_conn *t)
{
    if (!t->is_full || t->conn.out_bytes > t->conn.fe->limits->queue_bytes / 4)
        return;
    t->is_full = false;
    if (!t->is_leaving)
        conn_resume(&t->conn);
}

/* ---- The session's callbacks. ---- */

static void
tcp_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct tcp_conn *t = tcp_of_session(s);

    conn_send(&t->conn, block, at, n);
    tcp_check_room(t);
}

/* Of the answers to one request the last: a list has lines before. */
static bool
tcp_is_last(enum answer_type type)
{
    static const bool is_last[] = {
        [ANSWER_WELCOME] = true,
        [ANSWER_SUBSCRIBED] = true,
        [ANSWER_UNSUBSCRIBED] = true,
        [ANSWER_PUBLISHED] = true,
        [ANSWER_PONG] = true,
        [ANSWER_TOPICS_END] = true,
        [ANSWER_SCHEDULED] = true,
        [ANSWER_REPLY] = true,
        [ANSWER_ACCEPTED] = true,
        [ANSWER_DONE] = true,
        [ANSWER_QUEUES_END] = true,
        [ANSWER_PEEK_END] = true,
        [ANSWER_WHO_END] = true,
        [ANSWER_ERROR] = true,
        [ANSWER_CLOSING] = false,
    };

    return is_last[type];
}

static void
tcp_on_answer(struct session *s, const struct answer *answer)
{
    struct tcp_conn *t = tcp_of_session(s);

    if (t->n_waiting > 0 && answer->id.n > 0 && tcp_is_last(answer->type))
        t->n_waiting--;
    if (answer->type == ANSWER_PUBLISHED && answer->id.n == 0)
        return; /* nobody asked; this saves looking for a block to say nothing in */
    frontend_send_answer(t->conn.fe, &t->conn, s, answer);
}

static void
tcp_on_unblocked(struct session *s)
{
    struct tcp_conn *t = tcp_of_session(s);

    if (!t->is_leaving)
        conn_resume(&t->conn);
}

static size_t
tcp_queued(struct session *s)
{
    return tcp_of_session(s)->conn.out_bytes;
}

static const struct session_ops tcp_session_ops = {
    .on_deliver = tcp_on_deliver,
    .on_answer = tcp_on_answer,
    .on_unblocked = tcp_on_unblocked,
    .queued = tcp_queued,
};

/* ---- Timers. ---- */

static void
tcp_set_timer(struct tcp_conn *t, uint64_t delay_ms)
{
    if (delay_ms == 0)
        loop_timer_stop(t->conn.fe->loop, &t->timer);
    else
        loop_timer_start(t->conn.fe->loop, &t->timer, delay_ms);
}

/* Closes when there is nothing more to say. True if so. */
static bool
tcp_check_end(struct tcp_conn *t)
{
    if (tcp_is_over(t))
        return true;
    if (t->n_waiting > 0 || session_is_asking(&t->session) || !list_empty(&t->session.publishes))
        return false;
    if (t->is_leaving) {
        tcp_tell(t, ANSWER_CLOSING, ERROR_SHUTTING_DOWN, "");
        conn_close_soon(&t->conn, "the server stops");
        return true;
    }
    if (!t->conn.has_eof || t->has_tail || session_is_listening(&t->session))
        return false;
    conn_close_soon(&t->conn, NULL);
    return true;
}

/* Nobody reads from a half-closed socket, so nobody is told when the peer is gone for good; keepalive finds
 * out, and the socket's state tells. */
static bool
tcp_is_gone(const struct tcp_conn *t)
{
    struct tcp_info info = {0};
    socklen_t n = sizeof info;

    return getsockopt(t->conn.fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_state == TCP_CLOSE;
}

static int tcp_take(struct tcp_conn *t, struct slice message);

/* The line that the peer did not end before it ended its side. */
static void
tcp_take_tail(struct tcp_conn *t)
{
    struct slice tail = conn_kept(&t->conn);

    t->has_tail = false;
    while (tail.n > 0 && (tail.p[0] == ' ' || tail.p[0] == '\t' || tail.p[0] == '\r'))
        tail = slice_of(tail.p + 1, tail.n - 1);
    if (tail.n == 0)
        return;
    if (!tcp_dialect(t)->is_text)
        tcp_tell(t, ANSWER_ERROR, ERROR_REQUEST_INVALID, "The stream ended inside a message.");
    else
        t->has_tail = tcp_take(t, tail) == -EAGAIN;
}

static void
tcp_half_closed(struct tcp_conn *t)
{
    if (t->has_tail)
        tcp_take_tail(t);
    if (!t->has_tail)
        session_end_input(&t->session);
    if (tcp_check_end(t))
        return;
    if (tcp_is_gone(t)) {
        conn_close(&t->conn, NULL);
        return;
    }
    tcp_set_timer(t, session_is_listening(&t->session) && t->n_waiting == 0 ? HALF_LISTEN_MS : HALF_WAIT_MS);
}

static void
tcp_on_timer(void *arg)
{
    struct tcp_conn *t = arg;

    if (tcp_is_over(t))
        return;
    if (t->conn.has_eof) {
        tcp_half_closed(t);
    } else if (tcp_dialect(t) == NULL) {
        t->conn.fe->counters.closed_timeout++;
        conn_close(&t->conn, "it sent nothing");
    } else {
        t->conn.fe->counters.closed_timeout++;
        tcp_tell(t, ANSWER_CLOSING, ERROR_TIMEOUT,
            "Nothing came from you for tcp.idle_timeout; a ping now and then is enough.");
        conn_close_soon(&t->conn, "it was idle");
    }
}

/* ---- Reading. ---- */

static void
tcp_open_session(struct tcp_conn *t, const struct dialect_encoder *encoder)
{
    session_init(&t->session, t->conn.fe, &encoder->base, &tcp_session_ops);
}

/* By the first byte: true if it is one of ours. */
static bool
tcp_pick_dialect(struct tcp_conn *t, uint8_t first)
{
    if ((first & 0xf0) == 0x80 || first == 0xde || first == 0xdf) {
        tcp_open_session(t, &tcp_of(t)->msgpack);
        return true;
    }
    tcp_open_session(t, &tcp_of(t)->json);
    if (first == '{' || first == ' ' || first == '\t' || first == '\r' || first == '\n')
        return true;
    tcp_tell(t, ANSWER_ERROR, ERROR_REQUEST_INVALID,
        "This port takes JSON, one object a line, such as {\"op\":\"hello\"}, or MessagePack maps. HTTP and "
        "WebSocket "
        "have ports of their own.");
    return false;
}

/* Decodes one message and does what it asks. 0, or -EAGAIN: not now. */
static int
tcp_take(struct tcp_conn *t, struct slice message)
{
    struct frontend *fe = t->conn.fe;
    struct dialect_error error;
    struct request request;
    bool is_waited;
    int r;

    r = tcp_dialect(t)->decode(message, (unsigned)fe->limits->json_depth, &fe->scratch, &request, &error);
    if (r < 0) {
        struct answer answer = {
            .type = ANSWER_ERROR, .id = error.id, .code = error.code, .text = slice_str(error.text)};

        fe->counters.requests++;
        fe->counters.request_errors++;
        frontend_send_answer(fe, &t->conn, &t->session, &answer);
        return 0;
    }
    is_waited = request.id.n > 0;
    if (is_waited)
        t->n_waiting++;
    r = session_request(&t->session, &request);
    if (r == -EAGAIN && is_waited)
        t->n_waiting--;
    return r;
}

static void
tcp_refuse_stream(struct tcp_conn *t, int r)
{
    t->conn.fe->counters.closed_bad_input++;
    if (r == -EMSGSIZE)
        tcp_tell(t, ANSWER_ERROR, ERROR_MESSAGE_TOO_LARGE, "");
    else
        tcp_tell(t, ANSWER_ERROR, ERROR_REQUEST_INVALID,
            "Not MessagePack, or nested too deeply: where the next message begins is lost, so the connection "
            "ends.");
    conn_close_soon(&t->conn, "malformed input");
}

/* How far a message was looked through that has not come whole yet. Without memory for it, it is looked
 * through again. */
static void
tcp_keep_scan(struct tcp_conn *t, const struct dialect_scan *scan)
{
    if (scan->at == 0 && scan->depth == 0) {
        free(t->scan);
        t->scan = NULL;
    } else if (t->scan == NULL) {
        t->scan = malloc(sizeof *t->scan);
        if (t->scan != NULL)
            *t->scan = *scan;
    }
}

/* Takes whole messages; returns the bytes that are done with. */
static size_t
tcp_take_all(struct tcp_conn *t, struct slice in)
{
    struct frontend *fe = t->conn.fe;
    struct dialect_scan fresh = {0}, *scan = t->scan != NULL ? t->scan : &fresh;
    size_t at = 0, max = dialect_message_max(tcp_dialect(t), fe->limits->message_bytes);

    while (at < in.n && !tcp_is_over(t)) {
        struct slice message;
        size_t n;
        int r;

        if (t->conn.out_bytes > fe->limits->queue_bytes / 2) {
            /* Its answers pile up: it gets no more to do until it has read them. */
            t->is_full = true;
            conn_pause(&t->conn);
            break;
        }
        r = tcp_dialect(t)->split(slice_of(in.p + at, in.n - at), scan, max, &n, &message);
        if (r == -EAGAIN)
            break;
        if (r < 0) {
            tcp_refuse_stream(t, r);
            break;
        }
        if (message.n > 0 && tcp_take(t, message) == -EAGAIN) {
            conn_pause(&t->conn);
            break;
        }
        at += n;
    }
    tcp_keep_scan(t, scan);
    return at;
}

static ssize_t
tcp_on_bytes(struct conn *c, uint8_t *data, size_t n)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    if (t->is_leaving)
        return (ssize_t)n;
    if (tcp_dialect(t) == NULL && !tcp_pick_dialect(t, data[0])) {
        c->fe->counters.closed_bad_input++;
        conn_close_soon(c, "it speaks another protocol");
        return (ssize_t)n;
    }
    tcp_set_timer(t, tcp_of(t)->options->idle_timeout_ms);
    return (ssize_t)tcp_take_all(t, slice_of(data, n));
}

static void
tcp_on_eof(struct conn *c)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    if (tcp_dialect(t) == NULL) {
        conn_close(c, NULL);
        return;
    }
    t->has_tail = true;
    tcp_half_closed(t);
}

/* ---- The queue. ---- */

static void
tcp_on_drained(struct conn *c)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    tcp_check_room(t);
    if (tcp_dialect(t) != NULL && (t->is_leaving || c->has_eof))
        (void)tcp_check_end(t);
}

static enum conn_room
tcp_on_overflow(struct conn *c)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    return tcp_dialect(t) == NULL ? CONN_ROOM_NONE : session_overflow(&t->session, c);
}

static void
tcp_on_dropped(struct conn *c)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    session_tell_dropped(&t->session);
    tcp_check_room(t);
}

/* ---- Begin and end. ---- */

static void
tcp_on_closed(struct conn *c, const char *reason)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    (void)reason;
    loop_timer_stop(c->fe->loop, &t->timer);
    if (tcp_dialect(t) != NULL)
        session_fini(&t->session);
    free(t->scan);
    free(t);
}

static const struct conn_ops tcp_conn_ops = {
    .on_bytes = tcp_on_bytes,
    .on_eof = tcp_on_eof,
    .on_overflow = tcp_on_overflow,
    .on_dropped = tcp_on_dropped,
    .on_drained = tcp_on_drained,
    .on_closed = tcp_on_closed,
};

void
tcp_conn_on_accept(struct frontend *fe, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg)
{
    struct tcp *tcp = arg;
    struct tcp_conn *t = malloc(sizeof *t);

    (void)peer;
    (void)peer_n;
    if (t == NULL) {
        close(fd);
        return;
    }
    *t = (struct tcp_conn){.timer = {.fn = tcp_on_timer, .arg = t}};
    if (conn_open_take(&t->conn, fe, fd, &tcp_conn_ops) < 0) {
        free(t);
        return;
    }
    tcp_set_timer(t, tcp->options->first_byte_timeout_ms);
}

bool
tcp_conn_on_leave(struct frontend *fe, struct conn *c)
{
    struct tcp_conn *t = (struct tcp_conn *)c;

    (void)fe;
    if (tcp_dialect(t) == NULL)
        return false;
    t->is_leaving = true;
    conn_pause(c);
    (void)tcp_check_end(t);
    return true;
}
