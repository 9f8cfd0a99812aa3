/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half: deliveries. Answers are the connection's to give, for they depend on what was asked
 * before (see actioncable.h). */
#include "config.h"

#include "frontends/dialects/actioncable/actioncable.h"

#include "frontends/dialects/actioncable/acframe.h"

/* A client knows the identifier alone, not which of its streams a message came by. */
static struct slice
token_of(struct slice sub_id)
{
    const uint8_t *end = sub_id.n == 0 ? NULL : memchr(sub_id.p, '\0', sub_id.n);

    return end == NULL ? sub_id : slice_of(sub_id.p, (size_t)(end - sub_id.p));
}

static void
put_message(struct buf *out, const struct message *m, struct slice sub_id)
{
    acframe_put_message(out, token_of(sub_id), m, false);
}

static void
put_message_ext(struct buf *out, const struct message *m, struct slice sub_id)
{
    acframe_put_message(out, token_of(sub_id), m, true);
}

static void
put_answer(struct buf *out, const struct answer *a)
{
    (void)out;
    (void)a;
}

const struct dialect dialect_actioncable = {
    .name = "actioncable-v1-json",
    .is_text = true,
    .expansion = 6,
    .put_message = put_message,
    .put_answer = put_answer,
};

const struct dialect dialect_actioncable_ext = {
    .name = "actioncable-v1-ext-json",
    .is_text = true,
    .expansion = 6,
    .put_message = put_message_ext,
    .put_answer = put_answer,
};
