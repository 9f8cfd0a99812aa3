/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoders of busbar-ws: each dialect in WebSocket frames, plain and compressed. Sessions with the same
 * encoder share every encoded delivery, so a message is compressed once for all subscribers that agreed to
 * the same window: without context takeover that is nearly always the largest one.
 */
#ifndef FRONTENDS_WS_WSENCODERS_H
#define FRONTENDS_WS_WSENCODERS_H

#include <stdint.h>

#include "base/buf.h"
#include "frontends/dialects/dialect.h"
#include "frontends/dialects/raw/raw.h"

struct wsdeflate;
struct wsdeflate_params;
struct wsencoders;

enum wsencoders_dialect {
    WSENCODERS_JSON,
    WSENCODERS_MSGPACK,
    WSENCODERS_RAW,
    WSENCODERS_CABLE,
    WSENCODERS_CABLE_EXT,
};

/* Plain, and one for each window of 8 to 15 bits. */
#define WSENCODERS_VARIANTS 9

struct wsencoders_framing {
    struct framing base;
    struct wsencoders *all;
    unsigned window_bits; /* 0: never compressed */
};

struct wsencoders {
    struct wsdeflate *deflate; /* borrowed */
    uint64_t threshold;        /* smaller payloads are not compressed */
    struct buf scratch;
    struct wsencoders_framing framings[WSENCODERS_VARIANTS];
    struct dialect_encoder json[WSENCODERS_VARIANTS], msgpack[WSENCODERS_VARIANTS];
    struct dialect_encoder cable[WSENCODERS_VARIANTS], cable_ext[WSENCODERS_VARIANTS];
    struct raw_encoder raw[WSENCODERS_VARIANTS];
};

/* It must not move afterwards: the encoders point into it. */
void wsencoders_init(struct wsencoders *w, struct wsdeflate *deflate, uint64_t threshold);
void wsencoders_fini(struct wsencoders *w);

/* The encoder for a client of this dialect that agreed to these parameters. */
const struct encoder *wsencoders_find(
    const struct wsencoders *w, enum wsencoders_dialect dialect, const struct wsdeflate_params *params);

#endif
