/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The raw dialect: no protocol at all. What a client sends is published as it is to the one topic that it
 * came for, and what is published there arrives bare. There are no ids, no acknowledgements and no errors; a
 * client that needs them speaks the native protocol.
 *
 * It is not a struct dialect: whether a piece is text is a matter of each message (a WebSocket says so in the
 * frame), and the topic comes from the address.
 */
#ifndef DIALECTS_RAW_H
#define DIALECTS_RAW_H

#include <stdbool.h>

#include "frontends/sdk/encoder.h"
#include "frontends/sdk/request.h"

/* The publish that one message of a client is. A text must have been checked to be UTF-8. Nothing to go
 * wrong. */
void raw_decode(struct slice in, bool is_text, struct slice topic, struct request *ret);

/* Deliveries are the bare bodies; the framing is told which are text (JSON is). Answers are nothing. */
struct raw_encoder {
    struct encoder base;
    const struct framing *framing; /* NULL: none */
};
void raw_encoder_init(struct raw_encoder *e, const char *name, const struct framing *framing);

#endif
