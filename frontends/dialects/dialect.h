/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dialect: a pure codec between a client protocol's messages and requests, answers and deliveries. It knows
 * no socket, no clock and no framing; a transport picks one for each connection and puts its framing around
 * it.
 */
#ifndef DIALECTS_DIALECT_H
#define DIALECTS_DIALECT_H

#include "frontends/sdk/encoder.h"
#include "frontends/sdk/request.h"

struct dialect_error {
    enum error_code code;
    struct slice id; /* of the request, if it could be read */
    char text[160];  /* what was wrong and what to do, NUL-terminated */
};

/* How far split() has come in a message whose end is not there yet. */
#define DIALECT_SCAN_DEPTH 8
struct dialect_scan {
    size_t at; /* the bytes before are done with */
    uint32_t
        left[DIALECT_SCAN_DEPTH]; /* MessagePack: values still to come, for each container that is open */
    uint32_t depth;
};

struct dialect {
    const char *name;   /* "busbar.v1.json": also the WebSocket subprotocol */
    bool is_text;       /* UTF-8, a WebSocket text frame */
    bool is_lines;      /* put_message() writes a line break only where a JSON payload has one */
    unsigned expansion; /* how many times as long as the payload it may be written: JSON's \u0000 */

    /* decode and split are NULL where one message of a client is not one request: the transport then has a
     * module for that protocol. */

    /* One whole message. 0, or -EINVAL with *ret_error filled (and anything in *ret: it is large, and filled
     * once): answer it and go on. Slices point into `in` or the scratch. */
    int (*decode)(struct slice in, unsigned max_depth, struct request_scratch *scratch, struct request *ret,
        struct dialect_error *ret_error);

    /* On a byte stream: where the first message ends. 0 with *ret_n (bytes to take) and *ret_message (what of
     * them to decode, empty: nothing, a blank line); -EAGAIN: more bytes are needed; -EMSGSIZE: longer than
     * max; -EINVAL: not this protocol at all: close. `scan` is zero at first; after -EAGAIN the caller gives
     * it back with the same bytes and more behind them, so that a message that comes byte by byte costs what
     * it costs at once. It is zero again after a message. */
    int (*split)(
        struct slice in, struct dialect_scan *scan, size_t max, size_t *ret_n, struct slice *ret_message);

    /* An empty sub_id: where there is but one stream, and no id for it. */
    void (*put_message)(struct buf *out, const struct message *m, struct slice sub_id);
    void (*put_answer)(struct buf *out, const struct answer *a);
};

/* How long a message may be that carries a payload of message_bytes: beside it ids, topics, headers. What is
 * longer cannot be taken, what is not longer is judged by its payload alone. */
#define DIALECT_ENVELOPE_MAX (64u * 1024)
static inline size_t
dialect_message_max(const struct dialect *d, size_t message_bytes)
{
    return message_bytes * d->expansion + DIALECT_ENVELOPE_MAX;
}

extern const struct dialect dialect_native_json;    /* native/njson.c */
extern const struct dialect dialect_native_msgpack; /* native/nmsgpack.c */

/* An encoder that is a dialect inside a framing. What the dialect says nothing to becomes no bytes at all. */
struct dialect_encoder {
    struct encoder base;
    const struct dialect *dialect;
    const struct framing *framing; /* NULL: none */
};
void dialect_encoder_init(struct dialect_encoder *e, const char *name, const struct dialect *dialect,
    const struct framing *framing);

#endif
