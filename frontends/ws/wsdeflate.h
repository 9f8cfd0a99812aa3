/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permessage-deflate (RFC 7692), in the one form that lets a compressed frame serve every subscriber and
 * costs an idle connection nothing: no context takeover in either direction. One `struct wsdeflate` holds
 * zlib's state for a whole process.
 *
 * A client may ask for a smaller window of ours (server_max_window_bits). We agree and go on compressing
 * with the large one: without takeover no distance is longer than the message, so every message of up to
 * 2^bits bytes fits that client too; wsdeflate_may_send() says which, the others go out plain.
 */
#ifndef FRONTENDS_WS_WSDEFLATE_H
#define FRONTENDS_WS_WSDEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

struct wsframe_event;
struct wsdeflate;

/* What was agreed with one client; lives in its connection. */
struct wsdeflate_params {
    bool is_on;
    bool has_server_bits; /* the client asked for a window; the answer must name it */
    uint8_t server_bits;  /* 8 to 15: the window that the client keeps for what we send */
};

enum wsdeflate_outcome {
    WSDEFLATE_TOO_BIG = 1, /* more than max bytes come out */
    WSDEFLATE_BAD,         /* not deflate, or cut */
};

/* level as in zlib, 1 to 9. 0, -EINVAL or -ENOMEM. */
int wsdeflate_new(int level, struct wsdeflate **ret);
struct wsdeflate *wsdeflate_free(struct wsdeflate *d);

/* Appends one message, compressed, to *out. 0 or -ENOMEM; *out may then hold a part. */
int wsdeflate_compress(struct wsdeflate *d, struct slice plain, struct buf *out);

/* Appends one message, inflated, to *out: 0, -ENOMEM, or an outcome; *out then holds a part. */
int wsdeflate_inflate(struct wsdeflate *d, struct slice packed, size_t max, struct buf *out);

/* Turns a compressed message of the parser into a plain one whose payload stands in *out (emptied first),
 * or into WSFRAME_ERROR: 1009 for what grows past max, 1007 for what is not deflate or not UTF-8. Other
 * events pass as they are. */
void wsdeflate_open_event(struct wsdeflate *d, struct wsframe_event *event, size_t max, struct buf *out);

/* A message of n_plain bytes may be sent compressed to this client. */
bool wsdeflate_may_send(const struct wsdeflate_params *params, size_t n_plain);

/*
 * Reads the offers of one or several Sec-WebSocket-Extensions headers. wsdeflate_offer_begin(), then
 * wsdeflate_offer_take() for each header in order: 0, or -EINVAL if the header breaks the grammar. The
 * first offer that we can honour is taken; offers with a parameter that is unknown, doubled or out of
 * range are declined, other extensions passed over.
 */
void wsdeflate_offer_begin(struct wsdeflate_params *params);
int wsdeflate_offer_take(struct wsdeflate_params *params, struct slice header);

/* The value of the Sec-WebSocket-Extensions header to answer with; nothing if not is_on. */
void wsdeflate_put_answer(const struct wsdeflate_params *params, struct buf *out);

#endif
