/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How messages look to HTTP clients, as encoders of the SDK. Pure.
 *
 *     long-poll        records in a private form, of which a poll makes its one JSON answer
 *     event stream     id: CURSOR
 *                      data: the payload, or the same envelope as the long-poll's
 *
 * Streams of HTTP/1.1 are chunked, one chunk for each event, so that every encoded event is whole by itself
 * and one copy of it serves all clients of the same kind.
 */
#ifndef FRONTENDS_HTTP_HTTPENCODE_H
#define FRONTENDS_HTTP_HTTPENCODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/slice.h"
#include "frontends/sdk/encoder.h"

/* {"topic","cursor","data", then only if they say something: "encoding","type","headers","retained"; "time"}.
 */
void http_put_envelope(struct buf *out, const struct message *m);

/* The parts of a message that has no place on the bus, as members without the braces: "data", then only if
 * they say something "encoding", "type", "headers". */
void http_put_content(struct buf *out, const struct message *m);

/* {"error":{"code":…,"message":…}} and a newline. An empty text: the code's own sentence. */
void http_put_error(struct buf *out, enum error_code code, struct slice text);

/* "live", "recovered", "gap", "reset" */
const char *http_state_name(enum recover_state state);

/* {"state":…,"cursor":…: the object is open. */
void http_put_state(struct buf *out, enum recover_state state, const char *cursor);

/* What the long-poll's encoder has put. */
struct poll_record {
    struct slice cursor; /* where the client stands after it; empty: where it stood before */
    struct slice json;
};
extern const struct encoder http_poll_encoder;
/* Takes the next record out of *rest; false at the end. */
bool poll_record_next(struct slice *rest, struct poll_record *ret);

/* The encoder of an event stream. */
const struct encoder *http_sse_encoder(bool is_envelope, bool is_chunked);

/* One piece of an event stream, as a chunk if it is. */
void http_put_sse(struct buf *out, bool is_chunked, struct slice text);

#endif
