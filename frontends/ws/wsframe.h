/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket frames (RFC 6455): a parser that may stop at any byte, and the encoder. Pure: no socket, no
 * clock, no log. It knows RSV1 only as a mark on a message; wsdeflate.h gives it a meaning.
 *
 *     wsframe_init(&f, WSFRAME_SERVER);
 *     struct wsframe_input in = {.p = bytes, .n = n};        // the bytes are unmasked where they stand
 *     while (wsframe_next(&f, &limits, &in, &event) != WSFRAME_MORE)
 *         ... event.type, event.payload ...
 *
 * A message that lies whole and in one frame in the input is handed out in place: no copy, no allocation.
 * Only what is cut (by the read or by the sender's fragments) is gathered in memory, and that memory is
 * given back with the next call, so an idle connection holds this struct and nothing else.
 */
#ifndef FRONTENDS_WS_WSFRAME_H
#define FRONTENDS_WS_WSFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

#define WSFRAME_HEAD_MAX 14 /* with a mask; without one it is 10 */
#define WSFRAME_CONTROL_MAX 125
#define WSFRAME_EMPTY_MAX 128 /* fragments without a byte, in one message */

enum wsframe_opcode {
    WSFRAME_OP_CONT = 0x0,
    WSFRAME_OP_TEXT = 0x1,
    WSFRAME_OP_BINARY = 0x2,
    WSFRAME_OP_CLOSE = 0x8,
    WSFRAME_OP_PING = 0x9,
    WSFRAME_OP_PONG = 0xa,
};

/* Close codes that this server uses or sees. */
enum wsframe_code {
    WSFRAME_CODE_NORMAL = 1000,
    WSFRAME_CODE_GOING_AWAY = 1001,
    WSFRAME_CODE_PROTOCOL = 1002,
    WSFRAME_CODE_UNSUPPORTED = 1003,
    WSFRAME_CODE_NONE = 1005, /* a close frame without a code; never on the wire */
    WSFRAME_CODE_BAD_DATA = 1007,
    WSFRAME_CODE_POLICY = 1008,
    WSFRAME_CODE_TOO_BIG = 1009,
    WSFRAME_CODE_INTERNAL = 1011,
    WSFRAME_CODE_RESTART = 1012,
    WSFRAME_CODE_TRY_AGAIN = 1013,
};

enum wsframe_role {
    WSFRAME_SERVER, /* reads what a client sent: masks are required */
    WSFRAME_CLIENT, /* reads what a server sent: masks are refused */
};

enum wsframe_event_type {
    WSFRAME_MORE, /* the input is used up */
    WSFRAME_TEXT,
    WSFRAME_BINARY,
    WSFRAME_PING,
    WSFRAME_PONG,
    WSFRAME_CLOSE, /* the peer's; everything after it is swallowed */
    WSFRAME_ERROR, /* close with .code; everything after it is swallowed */
};

struct wsframe_event {
    enum wsframe_event_type type;
    uint16_t code;        /* of WSFRAME_CLOSE and WSFRAME_ERROR */
    bool is_compressed;   /* RSV1 was set: the payload is deflated, and text not yet checked for UTF-8 */
    struct slice payload; /* valid until the next call; of WSFRAME_CLOSE the reason, without the code */
    const char *reason;   /* of WSFRAME_ERROR: what the peer did wrong, as a clause; fits a close frame */
};

/* One struct for all connections of a listener. */
struct wsframe_limits {
    size_t max_message;  /* bytes on the wire, over all fragments; 1009 as soon as a header passes it */
    uint32_t max_frames; /* fragments of one message; 0: no limit but the one on empty fragments */
};

struct wsframe_input {
    uint8_t *p;
    size_t n;
};

struct wsframe_partial;

struct wsframe {
    struct wsframe_partial *partial; /* what was gathered; NULL while nothing is cut */
    uint64_t frame_len;              /* payload of the frame that is being read */
    uint64_t frame_got;              /* of those, bytes taken */
    uint32_t utf8;                   /* state of the text message that is being read */
    uint32_t n_frames;               /* of the message that is being read */
    uint8_t mask[4];
    uint8_t head[WSFRAME_HEAD_MAX]; /* a header that the input cut */
    uint8_t n_head;
    uint8_t n_empty;
    uint8_t state;
    uint8_t opcode;     /* of the frame that is being read */
    uint8_t msg_opcode; /* of the message that its fragments continue; 0: none */
    bool is_final;
    bool is_compressed;
    bool is_client;
    bool has_deflate;
};

_Static_assert(sizeof(struct wsframe) <= 64, "an idle connection pays for this");

void wsframe_init(struct wsframe *f, enum wsframe_role role);
void wsframe_fini(struct wsframe *f);

/* permessage-deflate was negotiated: RSV1 is allowed on the first frame of a message. */
void wsframe_allow_compressed(struct wsframe *f);

/* Takes bytes off the front of *in, up to the next event, and gives that event's type. */
enum wsframe_event_type wsframe_next(struct wsframe *f, const struct wsframe_limits *limits,
    struct wsframe_input *in, struct wsframe_event *ret);

/* It stands between two messages: a new one would do as well. */
bool wsframe_is_idle(const struct wsframe *f);

/* Bytes that this connection makes us keep beside the struct. */
size_t wsframe_held(const struct wsframe *f);

/* The code may stand in a close frame (RFC 6455, 7.4, and the IANA registry). */
bool wsframe_code_is_valid(unsigned code);

/* XORs the mask over p; phase is the offset of p in the payload. */
void wsframe_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase);

/* Writes the header of an unfragmented frame of n payload bytes; gives its length. The mask is NULL for
 * what a server sends. is_compressed sets RSV1. */
size_t wsframe_write_head(uint8_t out[WSFRAME_HEAD_MAX], enum wsframe_opcode opcode, bool is_compressed,
    const uint8_t *mask, uint64_t n);

/* A whole frame. Control payloads are cut at 125 bytes. */
void wsframe_put(struct buf *out, enum wsframe_opcode opcode, bool is_compressed, struct slice payload);
void wsframe_put_masked(struct buf *out, enum wsframe_opcode opcode, bool is_compressed,
    const uint8_t mask[4], struct slice payload);

/* A close frame of a server; WSFRAME_CODE_NONE gives one without a body. A long reason is cut between
 * characters; it must be valid UTF-8. */
void wsframe_put_close(struct buf *out, unsigned code, struct slice reason);

#endif
