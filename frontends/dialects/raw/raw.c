/* SPDX-License-Identifier: Apache-2.0 */
/* The raw dialect: bodies and nothing else. */
#include "config.h"

#include "frontends/dialects/raw/raw.h"

void
raw_decode(struct slice in, bool is_text, struct slice topic, struct request *ret)
{
    *ret = (struct request){
        .op = REQUEST_PUB,
        .topic = topic,
        .kind = is_text ? MESSAGE_TEXT : MESSAGE_BINARY,
        .body = in,
    };
}

/* An empty body is a piece too: an empty WebSocket message. */
static void
raw_put_message(const struct encoder *base, struct buf *out, const struct message *m, struct slice sub_id)
{
    const struct raw_encoder *e = (const struct raw_encoder *)base;
    size_t at = out->n;

    (void)sub_id;
    if (e->framing != NULL && buf_reserve(out, e->framing->head_max) != NULL)
        buf_commit(out, e->framing->head_max);
    buf_put_slice(out, m->body);
    if (e->framing != NULL && !buf_failed(out))
        e->framing->finish(e->framing, out, at, m->kind == MESSAGE_BINARY ? PIECE_BINARY : PIECE_TEXT);
}

static void
raw_put_answer(const struct encoder *base, struct buf *out, const struct answer *a)
{
    (void)base;
    (void)out;
    (void)a;
}

void
raw_encoder_init(struct raw_encoder *e, const char *name, const struct framing *framing)
{
    *e = (struct raw_encoder){
        .base = {.name = name, .put_message = raw_put_message, .put_answer = raw_put_answer},
        .framing = framing,
    };
}
