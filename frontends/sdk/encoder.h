/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How one kind of client wants its bytes: a dialect within a transport's framing. Encoders are few and live
 * as long as the process; two sessions with the same encoder pointer and the same subscription id share every
 * encoded delivery.
 */
#ifndef SDK_ENCODER_H
#define SDK_ENCODER_H

#include "base/buf.h"
#include "frontends/sdk/message.h"
#include "frontends/sdk/request.h"

struct encoder {
    const char *name; /* for logs: "ws/busbar.v1.json" */

    /* Appends everything that goes to the socket for one delivery, framing and all. sub_id is the raw token
     * of the subscription. Failure is the buffer's sticky one. */
    void (*put_message)(
        const struct encoder *e, struct buf *out, const struct message *m, struct slice sub_id);
    /* The same for an answer; nothing if this kind of client cannot be told. */
    void (*put_answer)(const struct encoder *e, struct buf *out, const struct answer *a);
};

/* What a framing wants to know of a piece. */
enum piece {
    PIECE_BINARY,
    PIECE_TEXT, /* UTF-8 */
    PIECE_LINE, /* UTF-8, and surely no line break in it */
};

/* What a transport puts around each piece of a dialect: a newline, a WebSocket header, nothing. */
struct framing {
    size_t head_max; /* bytes to reserve in front */
    /* out->p[at .. at+head_max) is reserved, the piece follows to out->n. Writes the header so that it ends
     * where the piece begins, closes the gap, appends a trailer if there is one. */
    void (*finish)(const struct framing *f, struct buf *out, size_t at, enum piece piece);
};

#endif
