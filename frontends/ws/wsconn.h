/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client of the WebSocket frontend, from its first byte to its end.
 *
 *     OPENING    an HTTP request is read: wsopen.c
 *     OPEN       messages both ways
 *     CLOSING    our close frame is sent, the client's is waited for
 *     OVER       both were sent, or the client broke the protocol: the SDK writes what is queued and ends the
 * connection, TCP's end first from our side
 */
#ifndef FRONTENDS_WS_WSCONN_H
#define FRONTENDS_WS_WSCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/loop.h"
#include "frontends/http/httpreq.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/session.h"
#include "frontends/ws/wsframe.h"
#include "frontends/ws/wstarget.h"

struct dialect;
struct httpreq;
struct wscable;
struct wsdeflate_params;
struct wsserver;

enum wsconn_state { WSCONN_OPENING, WSCONN_OPEN, WSCONN_CLOSING, WSCONN_OVER };

/* One message that cannot be published yet, because the hold buffer is full; or the 101 of a raw client whose
 * subscription does not stand yet. The connection is paused meanwhile, so there is never a second one. */
struct wsconn_held {
    bool is_text;
    size_t n;
    uint8_t bytes[];
};

/* An idle connection costs this and what the SDK keeps for its subscriptions. */
struct wsconn {
    struct conn conn; /* first: the SDK gives it back */
    struct session session;
    const struct dialect *dialect; /* NULL: raw */
    struct loop_timer timer;       /* handshake, pings, closing */
    struct wsconn_held *held;
    union {
        uint8_t *topic;        /* of raw */
        struct wscable *cable; /* is_cable; NULL: turned away */
    };
    /* Where a parser stopped; NULL while nothing is cut, which is nearly always. */
    union {
        struct httpreq_state *request; /* OPENING */
        struct wsframe *frame;         /* is_upgraded */
    };
    uint32_t heard_at_ms; /* of the loop's clock, the lower half: only differences count */
    uint32_t out_at_ping; /* what was queued when it was pinged */
    uint16_t n_topic;
    uint8_t state;        /* enum wsconn_state */
    bool is_upgraded : 1; /* 101 was sent: frame is what the union holds */
    bool has_deflate : 1;
    bool is_cable : 1;   /* it speaks Action Cable */
    bool is_pinged : 1;  /* and nothing has come since */
    bool is_waiting : 1; /* raw: 101 is held until the subscription stands; paused meanwhile */
    bool is_full : 1;    /* paused because it does not read its answers */
    bool is_leaving : 1; /* this process stops: closed as soon as its publishes were answered */
};

_Static_assert(sizeof(struct wsconn) <= 464, "an idle connection pays for this");

/* What all connections share. */
static inline struct wsserver *
wsconn_server(const struct wsconn *c)
{
    return c->conn.fe->state;
}

static inline struct wsconn *
wsconn_of_session(struct session *s)
{
    return (struct wsconn *)(void *)((char *)s - offsetof(struct wsconn, session));
}

/* Serves the socket, which it takes. A listener_accept_fn; arg is the struct wsserver. */
void wsconn_on_accept(struct frontend *fe, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg);

/* This process stops: the client gets the answers that it waits for, is told 1012 (another process goes on)
 * or 1001, and is closed. False: it has not asked for its upgrade yet. */
bool wsconn_on_leave(struct frontend *fe, struct conn *conn);

/* Begins the closing handshake: nothing but the client's close frame counts any more. reason: "code:
 * sentence". */
void wsconn_close(struct wsconn *c, enum wsframe_code code, struct slice reason);
/* The client broke the protocol, or is not there: a close frame, and the end without waiting for its. */
void wsconn_fail(struct wsconn *c, enum wsframe_code code, const char *reason);
/* Goes on reading if it was full and is not any more. */
void wsconn_check_room(struct wsconn *c);
/* 101 was sent. */
void wsconn_open(struct wsconn *c, bool has_deflate);

/* ---- wsopen.c ---- */

/* Reads the upgrade request from data[0..n) and answers it. Returns the bytes that are done with; the state
 * says how it went: OPENING: more is needed. */
size_t wsopen_take(struct wsconn *c, uint8_t *data, size_t n);
/* The subscription of a raw client that waits stands: sends it the 101. */
void wsopen_proceed(struct wsconn *c);
/* Answers with an error and ends the connection. */
void wsopen_refuse(struct wsconn *c, unsigned status, const char *reason);

/* ---- wsmessage.c ---- */

/* Makes the session: the native protocol's, a raw one that subscribes at once, or Action Cable's. False
 * without memory. */
bool wsmessage_begin(struct wsconn *c, const struct wstarget *target, const struct httpreq *req,
    int subprotocol, const struct wsdeflate_params *deflate);
/* The longest message that is taken. */
size_t wsmessage_max(const struct wsconn *c);
/* One whole message: done, answered, or held with the connection paused. */
void wsmessage_take(struct wsconn *c, struct slice payload, bool is_text);
/* Holds bytes for later: false without memory. */
bool wsmessage_hold(struct wsconn *c, struct slice payload, bool is_text);
/* Forgets what is held. */
void wsmessage_drop_held(struct wsconn *c);

#endif
