/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading from one client socket, and its life: open, paused, closing, closed. Writing is in connout.c.
 *
 * The loop's one event of a connection is for EV_READ while it may read and EV_WRITE while it is blocked; it
 * is added anew only when that set changes. A pause by itself changes nothing: most are over before the peer
 * says anything. If it does, and while that is not wanted, the event is edge-triggered: it then tells once of
 * a peer that went away (by a reset even, which libevent does not count as EV_CLOSED) and does not tell over
 * and over of bytes that nobody wants yet.
 */
#include "config.h"

#include "frontends/sdk/conn.h"

#include "base/memguard.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/connpriv.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/frontendpriv.h"
#include "frontends/sdk/peers.h"
#include "frontends/sdk/tls.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a connection kept is put in front of what it reads now, if it is no longer than this. */
#define HEAD_ROOM (16u * 1024)
#define READ_BYTES (64u * 1024)
/* Full reads in one turn; then the others get theirs. */
#define READS_PER_TURN 4u
/* What a transport may leave unused: an escaped message is up to six times as long as what it says. */
/* While memory is nearly used up. */
#define KEEP_TIGHT 4096u
#define KEEP_MAX(limits) ((limits)->message_bytes * 8 + 4 * READ_BYTES)
/* A closing connection ends after one to two of these. */
#define CLOSING_SWEEP_MS 2000u

static void conn_on_event(evutil_socket_t fd, short what, void *arg);

uint8_t *
conn_read_buffer_new(void)
{
    return malloc(HEAD_ROOM + READ_BYTES);
}

/* ---- The event. ---- */

void
conn_update_event(struct conn *c)
{
    short want = EV_PERSIST;

    if (c->is_blocked && (c->tls == NULL || tls_stream_has_unsent(c->tls)))
        want |= EV_WRITE;
    if (c->is_closing)
        want |= c->has_eof ? 0 : EV_READ;
    else if (!c->has_eof)
        want |= c->is_paused ? EV_READ | EV_CLOSED | EV_ET : EV_READ;
    if (want == EV_PERSIST)
        want = 0;
    if (want == c->events)
        return;
    if (c->events != 0)
        event_del(&c->ev);
    c->events = 0;
    if (want == 0)
        return;
    if (event_assign(&c->ev, loop_base(c->fe->loop), c->fd, want, conn_on_event, c) < 0 ||
        event_add(&c->ev, NULL) < 0) {
        conn_close(c, "no memory for its event");
        return;
    }
    c->events = want;
}

/* ---- What is kept. ---- */

struct slice
conn_kept(const struct conn *c)
{
    return c->in == NULL ? slice_of(NULL, 0) : buf_since(&c->in->buf, c->in->at);
}

static void
conn_drop_input(struct conn *c)
{
    if (c->in == NULL)
        return;
    buf_fini(&c->in->buf);
    free(c->in);
    c->in = NULL;
}

/* ---- Open and close. ---- */

int
conn_open_take(struct conn *c, struct frontend *fe, int fd, const struct conn_ops *ops)
{
    int r;

    *c = (struct conn){.ops = ops, .fe = fe, .fd = fd};
    list_init(&c->in_fe);
    list_init(&c->in_turn);
    if (event_assign(&c->ev, loop_base(fe->loop), fd, EV_READ | EV_PERSIST, conn_on_event, c) < 0 ||
        event_add(&c->ev, NULL) < 0) {
        r = errno > 0 ? -errno : -ENOMEM;
        close(fd);
        c->fd = -1;
        c->is_closed = true;
        return r;
    }
    c->events = EV_READ | EV_PERSIST;
    if (fe->accepted_tls != NULL) {
        r = tls_stream_new(fe->accepted_tls, c, &c->tls);
        if (r < 0) {
            event_del(&c->ev);
            close(fd);
            c->fd = -1;
            c->is_closed = true;
            return r;
        }
        c->is_blocked = true; /* until the handshake is done */
    }
    c->peer = fe->accepted;
    fe->accepted = NULL; /* now counted by the connection */
    list_push_back(&fe->conns, &c->in_fe);
    fe->n_conns++;
    return 0;
}

void
conn_close(struct conn *c, const char *reason)
{
    struct frontend *fe = c->fe;

    if (c->is_closed)
        return;
    c->is_closed = true;
    c->reason = reason;
    if (c->events != 0)
        event_del(&c->ev);
    c->events = 0;
    /* TLS's end says that everything was sent. */
    if (c->tls != NULL && c->out_n == 0)
        (void)tls_stream_say_bye(c->tls);
    c->tls = tls_stream_free(c->tls);
    close(c->fd);
    c->fd = -1;
    conn_drop_queue(c);
    list_remove(&c->in_fe);
    list_remove(&c->in_turn);
    c->is_dirty = false;
    peers_leave(fe->peers, c->peer);
    c->peer = NULL;
    fe->n_conns--;
    /* c->in stays until then: on_bytes() may be reading from it right now. */
    list_push_back(&fe->closed_conns, &c->in_turn);
    frontend_defer_turn(fe);
}

void
conn_close_soon(struct conn *c, const char *reason)
{
    struct frontend *fe = c->fe;

    if (c->is_closed || c->is_closing)
        return;
    if (c->tls != NULL && !tls_stream_is_open(c->tls) && !tls_stream_is_over(c->tls)) {
        conn_close(c, reason); /* what it is to be told cannot be said */
        return;
    }
    c->is_closing = true;
    c->reason = reason;
    list_remove(&c->in_fe);
    list_push_back(&fe->closing_conns, &c->in_fe);
    if (fe->closing_sweep.pprev == NULL)
        loop_timer_start(fe->loop, &fe->closing_sweep, CLOSING_SWEEP_MS);
    conn_mark_dirty(c); /* the turn's end shuts it down when nothing is queued */
    conn_update_event(c);
}

/* Those that were closing at the last sweep already have had their time. */
void
conn_sweep_closing(struct frontend *fe)
{
    list_for_each_safe(it, following, &fe->closing_conns)
    {
        struct conn *c = list_entry(it, struct conn, in_fe);

        if (c->is_aged)
            conn_close(c, c->reason);
        else
            c->is_aged = true;
    }
    if (!list_empty(&fe->closing_conns))
        loop_timer_start(fe->loop, &fe->closing_sweep, CLOSING_SWEEP_MS);
}

void
conn_free_closed(struct frontend *fe)
{
    while (!list_empty(&fe->closed_conns)) {
        struct conn *c = list_entry(fe->closed_conns.next, struct conn, in_turn);

        list_remove(&c->in_turn);
        conn_drop_input(c);
        c->ops->on_closed(c, c->reason);
    }
}

void
conn_pause(struct conn *c)
{
    if (c->is_closed || c->is_paused)
        return;
    c->is_paused = true; /* the event is left as it is until it tells of something */
}

/* An end was read already that was not told yet, because bytes stood before it. */
static bool
conn_has_end(const struct conn *c)
{
    return c->tls != NULL && tls_stream_is_over(c->tls);
}

void
conn_resume(struct conn *c)
{
    if (c->is_closed || !c->is_paused)
        return;
    c->is_paused = false;
    c->is_resumed = true;
    conn_update_event(c);
    /* What was kept waits for no further byte; and on_bytes() is never called from inside another call. */
    if ((c->in != NULL || conn_has_end(c)) && !c->is_closed && c->events != 0)
        event_active(&c->ev, EV_READ, 0);
}

/* ---- Reading. ---- */

/* Moves what is kept to the front of its buffer. */
static void
conn_close_up_input(struct conn *c)
{
    buf_consume(&c->in->buf, c->in->at);
    c->in->at = 0;
    buf_trim(&c->in->buf);
}

/* Keeps data[0..n) for next time; it may lie in c->in already. */
static void
conn_keep(struct conn *c, const uint8_t *data, size_t n)
{
    if (n == 0) {
        conn_drop_input(c);
        return;
    }
    if (n > KEEP_MAX(c->fe->limits)) {
        c->fe->counters.closed_bad_input++;
        conn_close(c, "it sent too much that could not be used");
        return;
    }
    /* What is begun by many and never ended would else be what uses up the rest. */
    if (memguard_take(c->fe->memory, n) && n > KEEP_TIGHT) {
        c->fe->counters.closed_memory++;
        conn_close(c, "memory is nearly used up, and it sent half a message");
        return;
    }
    if (c->in != NULL && data >= c->in->buf.p && data < c->in->buf.p + c->in->buf.n) {
        c->in->at = (size_t)(data - c->in->buf.p);
        if (c->in->at > n) /* moved seldom: not the whole pipeline for each of its requests */
            conn_close_up_input(c);
        return;
    }
    if (c->in == NULL) {
        c->in = malloc(sizeof *c->in);
        if (c->in == NULL) {
            conn_close(c, "no memory for its input");
            return;
        }
        buf_init(&c->in->buf, 0);
    }
    c->in->at = 0;
    buf_reset(&c->in->buf);
    buf_put(&c->in->buf, data, n);
    if (buf_failed(&c->in->buf))
        conn_close(c, "no memory for its input");
}

/* Gives the n bytes read (at the shared buffer's HEAD_ROOM) with what was kept before them. */
static void
conn_feed(struct conn *c, size_t n)
{
    uint8_t *data = c->fe->read_buffer + HEAD_ROOM;
    ssize_t done;

    c->is_resumed = false;
    if (c->in != NULL && n > 0 && conn_kept(c).n <= HEAD_ROOM) {
        struct slice kept = conn_kept(c);

        data -= kept.n;
        memcpy(data, kept.p, kept.n);
        n += kept.n;
    } else if (c->in != NULL) {
        if (n > 0)
            conn_close_up_input(c);
        buf_put(&c->in->buf, data, n);
        if (buf_failed(&c->in->buf)) {
            conn_close(c, "no memory for its input");
            return;
        }
        data = c->in->buf.p + c->in->at;
        n = c->in->buf.n - c->in->at;
    }
    if (n == 0)
        return;
    done = c->ops->on_bytes(c, data, n);
    if (c->is_closed)
        return;
    if (done < 0) {
        c->fe->counters.closed_bad_input++;
        conn_close(c, "malformed input");
        return;
    }
    if (c->is_closing) /* what comes after is nobody's */
        done = (ssize_t)n;
    conn_keep(c, data + done, n - (size_t)done);
    if (c->is_resumed && c->in != NULL && !c->is_closed && c->events != 0)
        event_active(&c->ev, EV_READ, 0); /* by on_bytes() itself, before there was anything to be kept */
}

/* The peer ended its side. */
static void
conn_on_eof(struct conn *c)
{
    c->has_eof = true;
    conn_update_event(c);
    if (c->is_closed)
        return;
    if (c->is_closing) {
        if (c->is_shut)
            conn_close(c, c->reason);
        return;
    }
    c->ops->on_eof(c);
}

/* A closing connection reads only to see the end, so that the kernel does not reset what was written last. */
static void
conn_discard(struct conn *c)
{
    ssize_t n = recv(c->fd, c->fe->read_buffer, READ_BYTES, 0);

    if (n == 0)
        conn_on_eof(c);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        conn_close(c, c->reason);
}

/* Of a TLS connection. Afterwards its handshake may be done, or something of TLS's own be unsent. */
static ssize_t
conn_recv_tls(struct conn *c)
{
    ssize_t n = tls_stream_recv(c->tls, c->fe->read_buffer + HEAD_ROOM, READ_BYTES);
    int error = errno;

    conn_set_blocked(
        c, (!tls_stream_is_open(c->tls) && !tls_stream_is_over(c->tls)) || tls_stream_has_unsent(c->tls));
    conn_update_event(c);
    if (c->is_closed) {
        errno = ENOMEM;
        return -1;
    }
    errno = error;
    return n;
}

static ssize_t
conn_recv(struct conn *c)
{
    if (c->tls != NULL)
        return conn_recv_tls(c);
    return recv(c->fd, c->fe->read_buffer + HEAD_ROOM, READ_BYTES, 0);
}

/* It cannot be read any more. */
static void
conn_on_broken(struct conn *c, int error)
{
    if (error == EPROTO && c->tls != NULL) {
        conn_drop_queue(c);
        conn_close_soon(c, "its TLS is broken"); /* it is told so by an alert */
    } else {
        conn_close(c, NULL); /* reset by the peer: usual */
    }
}

/* After a read that gave n bytes, the next need not wait for the loop to tell. */
static bool
conn_has_more(const struct conn *c, ssize_t n)
{
    return n == (ssize_t)READ_BYTES || (n > 0 && conn_has_end(c));
}

static void
conn_read(struct conn *c)
{
    unsigned n_reads = 0;
    ssize_t n;

    if (c->is_resumed && c->in != NULL) {
        conn_feed(c, 0);
        if (c->is_closed || c->is_paused || !conn_has_end(c))
            return; /* what else has come, the event tells of itself */
    }
    do {
        n = conn_recv(c);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            conn_on_broken(c, errno);
            return;
        }
        if (n > 0)
            c->fe->counters.bytes_in += (uint64_t)n;
        if (n > 0)
            conn_feed(c, (size_t)n);
        if (n == 0 && !c->is_closed && !c->is_paused && !c->is_closing)
            conn_on_eof(c);
    } while (conn_has_more(c, n) && ++n_reads < READS_PER_TURN && !c->is_closed && !c->is_paused &&
             !c->is_closing);
}

/* Something came while we do not read. If it is the end, with nothing before it that is still to be read,
 * tell it now; else it is not to be told of again. */
static void
conn_peek(struct conn *c)
{
    uint8_t byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK);

    if (n < 0 && errno != EAGAIN && errno != EINTR)
        conn_close(c, NULL);
    else if (n == 0 && c->in == NULL)
        conn_on_eof(c);
    else if (n >= 0)
        conn_update_event(c);
}

/* The same of a TLS client. Its end is encrypted, so it has to be read to be seen: when it may stand first,
 * and when the other end of the socket is closed, so that no more can come than there is. */
static void
conn_peek_tls(struct conn *c, bool is_closed_there)
{
    ssize_t n;

    if (c->in != NULL || !tls_stream_is_open(c->tls) || !(is_closed_there || tls_stream_may_end(c->tls))) {
        conn_peek(c);
        return;
    }
    do
        n = conn_recv(c);
    while (n < 0 && errno == EAGAIN && is_closed_there); /* TLS's own business; the socket has an end */
    if (n > 0)
        conn_keep(c, c->fe->read_buffer + HEAD_ROOM, (size_t)n);
    else if (n == 0)
        conn_on_eof(c);
    else if (errno != EAGAIN && errno != EINTR)
        conn_on_broken(c, errno);
}

static void
conn_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    if ((what & EV_WRITE) != 0 && c->is_blocked)
        conn_on_writable(c);
    if (c->is_closed)
        return;
    if (c->is_closing) {
        if ((what & EV_READ) != 0)
            conn_discard(c);
    } else if (!c->has_eof && (what & (EV_READ | EV_CLOSED)) != 0) {
        if (c->is_paused && c->tls != NULL)
            conn_peek_tls(c, (what & EV_CLOSED) != 0);
        else if (c->is_paused)
            conn_peek(c);
        else
            conn_read(c);
    }
}
