/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The WebSocket frontend: the native protocol at one address (JSON or MessagePack by subprotocol), Action
 * Cable at another, and each topic bare at an address of its own. One connection is one session.
 * docs/websocket.md is the manual.
 *
 *     wsserver    starts, stops, reloads; what connections have in common
 *     wsopen      from the first byte to the answer 101
 *     wsconn      frames, messages, pings, closing
 *     wscable     Action Cable
 *     wstarget, wshandshake, wsframe, wsdeflate, wsencoders    pure
 */
#ifndef FRONTENDS_WS_WSSERVER_H
#define FRONTENDS_WS_WSSERVER_H

#include "base/buf.h"
#include "frontends/sdk/frontend.h"
#include "frontends/ws/options.h"
#include "frontends/ws/wscable.h"
#include "frontends/ws/wsencoders.h"

struct block;
struct wsdeflate;

/* What all connections have in common. */
struct wsserver {
    struct frontend *fe;
    const struct ws_options *options;
    struct listeners listeners;
    struct wsdeflate *deflate;
    struct evp_md_ctx_st *sha1; /* for handshakes */
    struct block *ping;         /* one ping frame, for everybody */
    struct buf inflated;        /* of the message being handled */
    struct buf scratch;         /* answers of the transport itself: close frames, responses to upgrades */
    struct wsencoders encoders;
    struct wscables cables;
};

/* The options of this frontend: begins with section ws. */
struct wsserver_config {
    struct ws_options ws;
    struct jwt_options jwt;
    struct cable_options cable;
    struct conf_items channels; /* of struct channel_options */
};

extern const struct frontend_kind wsserver_kind;

#endif
