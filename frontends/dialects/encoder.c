/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder of a transport that puts a framing around a dialect's pieces. */
#include "config.h"

#include "frontends/dialects/dialect.h"

static void
dialect_encoder_finish(const struct dialect_encoder *e, struct buf *out, size_t at, bool is_line)
{
    size_t head_max = e->framing == NULL ? 0 : e->framing->head_max;

    if (buf_failed(out))
        return;
    if (out->n == at + head_max)
        out->n = at; /* the dialect has no words for it: nothing, not an empty frame */
    else if (e->framing != NULL)
        e->framing->finish(e->framing, out, at,
            !e->dialect->is_text ? PIECE_BINARY
            : is_line            ? PIECE_LINE
                                 : PIECE_TEXT);
}

/* Reserves the framing's header. */
static void
dialect_encoder_begin(const struct dialect_encoder *e, struct buf *out)
{
    if (e->framing != NULL && buf_reserve(out, e->framing->head_max) != NULL)
        buf_commit(out, e->framing->head_max);
}

static void
dialect_encoder_put_message(
    const struct encoder *base, struct buf *out, const struct message *m, struct slice sub_id)
{
    const struct dialect_encoder *e = (const struct dialect_encoder *)base;
    size_t at = out->n;

    dialect_encoder_begin(e, out);
    e->dialect->put_message(out, m, sub_id);
    dialect_encoder_finish(
        e, out, at, e->dialect->is_lines && (m->kind == MESSAGE_TEXT || m->kind == MESSAGE_BINARY));
}

static void
dialect_encoder_put_answer(const struct encoder *base, struct buf *out, const struct answer *a)
{
    const struct dialect_encoder *e = (const struct dialect_encoder *)base;
    size_t at = out->n;

    dialect_encoder_begin(e, out);
    e->dialect->put_answer(out, a);
    dialect_encoder_finish(e, out, at, false);
}

void
dialect_encoder_init(
    struct dialect_encoder *e, const char *name, const struct dialect *dialect, const struct framing *framing)
{
    *e = (struct dialect_encoder){
        .base = {.name = name,
            .put_message = dialect_encoder_put_message,
            .put_answer = dialect_encoder_put_answer},
        .dialect = dialect,
        .framing = framing,
    };
}
