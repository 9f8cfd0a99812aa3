/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP frontend's start and end, and what is around each piece on the wire. */
#include "config.h"

#include "frontends/tcp/tcp.h"

#include "frontends/sdk/tls.h"
#include "frontends/tcp/tcpconn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

/* To clients that are one too many. They have not said which form they speak; a person can read this one. */
static const char refuse[] =
    "{\"op\":\"closing\",\"code\":\"limit_reached\",\"message\":\"This server has as many "
    "connections as it takes; try again later.\"}\n";

/* One line each. A JSON payload may have been published with line breaks between its tokens (nowhere else can
 * they stand): there they mean nothing, here they would tear the line. */
static void
lines_finish(const struct framing *f, struct buf *out, size_t at, enum piece piece)
{
    uint8_t *p = out->p + at, *end = out->p + out->n, *found;

    (void)f;
    if (piece != PIECE_LINE) {
        for (found = p; (found = memchr(found, '\n', (size_t)(end - found))) != NULL;)
            *found = ' ';
        for (found = p; (found = memchr(found, '\r', (size_t)(end - found))) != NULL;)
            *found = ' ';
    }
    buf_put_byte(out, '\n');
}

/* Each client's socket inherits it. Only what makes it better: a failure costs nothing but that. */
static void
tcp_keep_alive(const struct tcp *tcp, const struct listener *listener)
{
    int interval_s = (int)((tcp->options->keepalive_interval_ms + 999) / 1000), fd;
    int is_on = interval_s > 0; /* a socket that was passed may have been told otherwise */

    if (listener == NULL)
        return;
    fd = listener_fd(listener);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &is_on, sizeof is_on);
    if (!is_on)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &interval_s, sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
}

static int
tcp_start(struct frontend *fe, const void *options, void **ret_state)
{
    struct tcp *tcp = calloc(1, sizeof *tcp);
    int r;

    if (tcp == NULL)
        return -ENOMEM;
    tcp->fe = fe;
    tcp->options = options;
    tcp->lines.finish = lines_finish;
    dialect_encoder_init(&tcp->json, "tcp/busbar.v1.json", &dialect_native_json, &tcp->lines);
    dialect_encoder_init(&tcp->msgpack, "tcp/busbar.v1.msgpack", &dialect_native_msgpack, NULL);
    r = listeners_open(fe,
        &(struct listeners_spec){.listen = &tcp->options->listen,
            .tls = &tcp->options->tls,
            .refuse = slice_of(refuse, sizeof refuse - 1),
            .on_accept = tcp_conn_on_accept,
            .arg = tcp},
        &tcp->listeners);
    if (r < 0) {
        free(tcp);
        return r;
    }
    tcp_keep_alive(tcp, tcp->listeners.plain);
    tcp_keep_alive(tcp, tcp->listeners.tls);
    *ret_state = tcp;
    return 0;
}

static void
tcp_stop(struct frontend *fe, void *state)
{
    struct tcp *tcp = state;

    (void)fe;
    listeners_stop(&tcp->listeners);
}

static void
tcp_free(void *state)
{
    struct tcp *tcp = state;

    listeners_close(&tcp->listeners);
    free(tcp);
}

static void
tcp_reload(struct frontend *fe, void *state, const void *options)
{
    struct tcp *tcp = state;

    tcp->options = options;
    tls_reload(fe->tls, &tcp->options->tls);
}

static void
tcp_check(struct conf_check *check, const void *options)
{
    const struct tcp_options *o = options;

    tls_options_check(check, &tcp_section, &o->tls);
}

const struct frontend_kind tcp_kind = {
    .name = "tcp",
    .section = &tcp_section,
    .check = tcp_check,
    .start = tcp_start,
    .stop = tcp_stop,
    .leave = tcp_conn_on_leave,
    .free = tcp_free,
    .reload = tcp_reload,
};
