/* SPDX-License-Identifier: Apache-2.0 */
/* One client of the TCP frontend: from its first byte to its end. */
#ifndef TCP_TCPCONN_H
#define TCP_TCPCONN_H

#include <sys/socket.h>

#include "frontends/dialects/dialect.h"
#include "frontends/sdk/frontend.h"
#include "frontends/tcp/options.h"

/* What all connections have in common. */
struct tcp {
    struct frontend *fe;
    const struct tcp_options *options;
    struct listeners listeners;
    struct framing lines;
    struct dialect_encoder json, msgpack;
};

/* Serves the socket, which it takes. A listener_accept_fn; arg is the struct tcp. */
void tcp_conn_on_accept(
    struct frontend *fe, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg);

/* This process stops: the client gets the answers that it waits for, is told, and is closed. False: nothing
 * has come from it yet. */
bool tcp_conn_on_leave(struct frontend *fe, struct conn *c);

#endif
