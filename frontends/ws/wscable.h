/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action Cable on a WebSocket: what a pure codec cannot hold.
 *
 *     wscable        a connection's greeting, commands, end; its session, given up and taken up again
 *     wscableauth    who it is: its token
 *     wscablesub     its subscriptions: identifiers on one side, the hub's subscriptions on the other
 *     wscableact     what it performs and whispers
 *     wscableask     what it asks and is answered later: requests, who is there
 *     wscableremote  whom somebody elsewhere wants gone
 *     wscableping    the protocol's pings, of all connections
 *     wscablestore   sessions whose clients are gone
 *     wscableconf    what all connections share: channels, secrets
 *
 * A command that is malformed or not allowed is passed over, logged (a line now and then) and counted, as
 * Rails does; only a subscription that is refused is answered.
 */
#ifndef FRONTENDS_WS_WSCABLE_H
#define FRONTENDS_WS_WSCABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "frontends/dialects/actioncable/acchannels.h"
#include "frontends/sdk/request.h"
#include "frontends/ws/wscableping.h"
#include "frontends/ws/wscablestore.h"

struct accommand;
struct badge;
struct cable_options;
struct frontend;
struct httpreq;
struct jwt_key;
struct jwt_options;
struct session;
struct wscable_name;
struct wscable_remote;
struct wsconn;
struct wsserver_config;

/* What all connections share: in struct wsserver. */
struct wscables {
    struct frontend *fe;
    const struct cable_options *options;
    struct acchannels channels;
    struct buf streams_secret, turbo_secret;
    const struct jwt_options *jwt;
    struct jwt_key *jwt_key; /* NULL: no tokens are asked for */
    struct wscable_pings pings;
    struct wscable_store store;
    struct wscable_remote *remote; /* NULL: nobody ends connections from elsewhere */
    struct buf command;            /* what the command at hand was decoded to */
    struct buf action;             /* what it performs */
    struct buf resolved;           /* its topics */
    struct buf text;               /* a frame's payload that is being written */
};

/* What stands behind the token in the id of a part of a subscription (wscablesub.c). */
#define WSCABLE_ID_ROOM 2u

/* One connection's. */
struct wscable {
    struct wsconn *conn;
    struct list in_slot;       /* of the pings */
    struct list subs;          /* struct wscable_sub, in the order of subscribing */
    struct list asks;          /* struct wscable_ask */
    struct list in_name;       /* of the connections with its name */
    struct wscable_name *name; /* NULL: it has none */
    struct badge *badge;       /* of extended clients, and of whoever has whispered */
    uint8_t *claims;           /* of its token; NULL: none */
    uint16_t n_claims;
    bool is_extended;
    bool is_over; /* the session is not kept: it was turned away, or taken over */
    uint8_t
        n_idle_pings;    /* since it was taken up again, while some of its subscriptions were not asked for */
    uint32_t n_restored; /* those */
    uint32_t last_ask;
};

static inline struct slice
wscable_claims(const struct wscable *cable)
{
    return slice_of(cable->claims, cable->n_claims);
}

/* ---- wscableconf.c ---- */

int wscables_init(struct wscables *all, struct frontend *fe, const struct wsserver_config *config);
/* New options after a reload, which are used from here on even if a secret could not be read: then that one
 * stays what it was. */
void wscables_reload(struct wscables *all, const struct wsserver_config *config);
void wscables_fini(struct wscables *all);

/* ---- wscable.c ---- */

/* 101 was sent and the session made: greets the client, or turns it away. False without memory. */
bool wscable_begin(struct wsconn *c, bool is_extended, const struct httpreq *req);
/* The connection is gone; NULL is fine. */
void wscable_end(struct wsconn *c);
/* One message. 0, or -EAGAIN: it cannot be published yet. */
int wscable_take(struct wsconn *c, struct slice payload);
/* Its turn to be pinged. */
void wscable_on_ping(struct wsconn *c);
void wscable_on_answer(struct session *s, const struct answer *answer);
/* Tells it that it is about to be closed. */
void wscable_tell(struct wsconn *c, const char *reason, bool reconnect);
/* Sends what was put into wscables.text. */
void wscable_send(struct wsconn *c);
/* Makes its badge if it has none. False without memory. */
bool wscable_need_badge(struct wsconn *c);
/* Something that the client sent was passed over. */
void wscable_note_ignored(struct wsconn *c, const char *why);

/* ---- wscableauth.c ---- */

/* Reads its token and keeps what that says. NULL, or why the client is turned away, a reason of the
 * protocol's. */
const char *wscable_identify(struct wsconn *c, const struct httpreq *req);

/* ---- wscablesub.c ---- */

void wscable_subscribe(struct wsconn *c, const struct accommand *command);
void wscable_unsubscribe(struct wsconn *c, const struct accommand *command);
/* Begins its streams anew where the client says that it is. */
void wscable_history(struct wsconn *c, const struct accommand *command);
/* What a subscription of the hub has come to. */
void wscable_on_sub_answer(struct wsconn *c, const struct answer *answer);
/* Messages were thrown away, nobody knows of which subscription. */
void wscable_on_dropped(struct wsconn *c);
bool wscable_is_subscribed(const struct wscable *cable, struct slice token);
/* The topics of the identifier, as the config is now; in wscables.resolved. */
void wscable_resolve(struct wsconn *c, struct slice identifier, struct acchannels_subscription *ret_asked,
    struct acresolved *ret);
void wscable_free_subs(struct wscable *cable);
/* What it is subscribed to, to be kept; and taken up again: each waits for its `history`. */
void wscable_put_subs(const struct wscable *cable, struct buf *out);
void wscable_restore_subs(struct wsconn *c, struct slice kept);
/* The identifiers of all; how many. They are borrowed. */
size_t wscable_sub_tokens(const struct wscable *cable, struct slice *ret, size_t max);
/* Those that nobody asked for go live. */
void wscable_wake_subs(struct wsconn *c);

/* ---- wscableask.c ---- */

/* An action that is a request: the reply comes as a message. */
void wscable_request(
    struct wsconn *c, const struct accommand *command, struct slice topic, struct slice body);
void wscable_join(struct wsconn *c, const struct accommand *command);
void wscable_leave(struct wsconn *c, const struct accommand *command);
void wscable_who(struct wsconn *c, const struct accommand *command);
void wscable_on_ask_answer(struct wsconn *c, const struct answer *answer);
void wscable_free_asks(struct wscable *cable);

/* ---- wscableremote.c ---- */

/* Listens to who wants connections to end, if the config says what names them. False without memory. */
bool wscable_remote_begin(struct wscables *all);
void wscable_remote_end(struct wscables *all);
/* The connection gets its name. False without memory. */
bool wscable_remote_join(struct wsconn *c);
void wscable_remote_leave(struct wsconn *c);
/* In front of what is kept of a session, so that it can be ended, too. */
void wscable_remote_put_name(const struct wscable *cable, struct buf *out);
struct slice wscable_remote_skip_name(struct slice kept);

/* ---- wscableact.c ---- */

/* 0, or -EAGAIN: it cannot be published yet. */
int wscable_perform(struct wsconn *c, const struct accommand *command);
int wscable_whisper(struct wsconn *c, const struct accommand *command);

#endif
