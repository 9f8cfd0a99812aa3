/* SPDX-License-Identifier: Apache-2.0 */
/* Frames around what a dialect says, compressed where that was agreed and is worth it. */
#include "config.h"

#include "frontends/ws/wsencoders.h"

#include "frontends/dialects/actioncable/actioncable.h"
#include "frontends/ws/wsdeflate.h"
#include "frontends/ws/wsframe.h"

#include <string.h>

#define WINDOW_BITS_MIN 8u
/* A server's header: without a mask. */
#define HEAD_MAX (WSFRAME_HEAD_MAX - 4u)

/* True with the compressed payload in the scratch buffer, if the client takes that and it is shorter. */
static bool
wsencoders_compress(const struct wsencoders_framing *f, struct slice payload)
{
    const struct wsdeflate_params params = {
        .is_on = f->window_bits > 0, .server_bits = (uint8_t)f->window_bits};
    struct buf *scratch = &f->all->scratch;

    if (payload.n < f->all->threshold || !wsdeflate_may_send(&params, payload.n))
        return false;
    buf_reset(scratch);
    return wsdeflate_compress(f->all->deflate, payload, scratch) == 0 && scratch->n < payload.n;
}

static void
wsencoders_finish(const struct framing *base, struct buf *out, size_t at, enum piece piece)
{
    const struct wsencoders_framing *f = (const struct wsencoders_framing *)base;
    enum wsframe_opcode opcode = piece == PIECE_BINARY ? WSFRAME_OP_BINARY : WSFRAME_OP_TEXT;
    struct slice payload = slice_of(out->p + at + HEAD_MAX, out->n - at - HEAD_MAX);
    bool is_compressed = wsencoders_compress(f, payload);
    uint8_t head[WSFRAME_HEAD_MAX];
    size_t n_head;

    if (is_compressed)
        payload = buf_slice(&f->all->scratch);
    n_head = wsframe_write_head(head, opcode, is_compressed, NULL, payload.n);
    if (payload.n > 0)
        memmove(out->p + at + n_head, payload.p, payload.n);
    memcpy(out->p + at, head, n_head);
    out->n = at + n_head + payload.n;
    if (is_compressed) {
        buf_reset(&f->all->scratch);
        buf_trim(&f->all->scratch);
    }
}

void
wsencoders_init(struct wsencoders *w, struct wsdeflate *deflate, uint64_t threshold)
{
    w->deflate = deflate;
    w->threshold = threshold;
    buf_init(&w->scratch, 0);
    for (unsigned i = 0; i < WSENCODERS_VARIANTS; i++) {
        struct framing *framing = &w->framings[i].base;

        w->framings[i] =
            (struct wsencoders_framing){.base = {.head_max = HEAD_MAX, .finish = wsencoders_finish},
                .all = w,
                .window_bits = i == 0 ? 0 : WINDOW_BITS_MIN + i - 1};
        dialect_encoder_init(&w->json[i], i == 0 ? "ws/busbar.v1.json" : "ws/busbar.v1.json+deflate",
            &dialect_native_json, framing);
        dialect_encoder_init(&w->msgpack[i], i == 0 ? "ws/busbar.v1.msgpack" : "ws/busbar.v1.msgpack+deflate",
            &dialect_native_msgpack, framing);
        dialect_encoder_init(&w->cable[i],
            i == 0 ? "ws/actioncable-v1-json" : "ws/actioncable-v1-json+deflate", &dialect_actioncable,
            framing);
        dialect_encoder_init(&w->cable_ext[i],
            i == 0 ? "ws/actioncable-v1-ext-json" : "ws/actioncable-v1-ext-json+deflate",
            &dialect_actioncable_ext, framing);
        raw_encoder_init(&w->raw[i], i == 0 ? "ws/raw" : "ws/raw+deflate", framing);
    }
}

void
wsencoders_fini(struct wsencoders *w)
{
    buf_fini(&w->scratch);
}

const struct encoder *
wsencoders_find(
    const struct wsencoders *w, enum wsencoders_dialect dialect, const struct wsdeflate_params *params)
{
    unsigned i = params->is_on ? params->server_bits - WINDOW_BITS_MIN + 1 : 0;

    switch (dialect) {
    case WSENCODERS_JSON:
        return &w->json[i].base;
    case WSENCODERS_MSGPACK:
        return &w->msgpack[i].base;
    case WSENCODERS_CABLE:
        return &w->cable[i].base;
    case WSENCODERS_CABLE_EXT:
        return &w->cable_ext[i].base;
    default:
        return &w->raw[i].base;
    }
}
