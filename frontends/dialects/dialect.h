/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A dialect: a pure codec between a client protocol's messages and requests, answers and deliveries. It knows no socket, no
 * clock and no framing; a transport picks one for each connection and puts its framing around it.
 */
#ifndef DIALECTS_DIALECT_H
#define DIALECTS_DIALECT_H

#include "frontends/sdk/encoder.h"
#include "frontends/sdk/request.h"

struct dialect_error {
    enum error_code code;
    struct slice id;   /* of the request, if it could be read */
    char text[160];    /* what was wrong and what to do, NUL-terminated */
};

struct dialect {
    const char *name; /* "busbar.v1.json": also the WebSocket subprotocol */
    bool is_text;     /* UTF-8, a WebSocket text frame */

    /* One whole message. 0, or -EINVAL with *ret_error filled: answer it and go on. Slices point into `in` or the scratch. */
    int (*decode)(struct slice in, unsigned max_depth, struct request_scratch *scratch, struct request *ret,
        struct dialect_error *ret_error);

    /* On a byte stream: where the first message ends. 0 with *ret_n (bytes to take) and *ret_message (what of them to decode,
     * empty: nothing, a blank line); -EAGAIN: more bytes are needed; -EMSGSIZE: longer than max; -EINVAL: not this protocol
     * at all: close. `from` bytes of it were looked at before without finding an end (0 at first): a hint that keeps a
     * message that comes byte by byte from costing its square. */
    int (*split)(struct slice in, size_t from, size_t max, size_t *ret_n, struct slice *ret_message);

    void (*put_message)(struct buf *out, const struct message *m, struct slice sub_id);
    void (*put_answer)(struct buf *out, const struct answer *a);
};

extern const struct dialect dialect_native_json;    /* native/json.c */
extern const struct dialect dialect_native_msgpack; /* native/msgpack.c */

/* An encoder that is a dialect inside a framing. */
struct dialect_encoder {
    struct encoder base;
    const struct dialect *dialect;
    const struct framing *framing; /* NULL: none */
};
void dialect_encoder_init(struct dialect_encoder *e, const char *name, const struct dialect *dialect,
    const struct framing *framing);

#endif
