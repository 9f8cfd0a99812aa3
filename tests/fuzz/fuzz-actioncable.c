/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as an Action Cable command: what is taken has an identifier that comes back as the text that it
 * was, and a payload that is JSON; every frame about it is JSON.
 */
#include "config.h"

#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "frontends/dialects/actioncable/acaction.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/dialects/actioncable/actioncable.h"

#define DEPTH 16
#define IDENTIFIER_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_json(const struct buf *text)
{
    assert(!buf_failed(text));
    assert(json_check(text->p, text->n, JSON_MAX_DEPTH, NULL) == 0);
}

static void
check_token(const struct accommand *c)
{
    struct buf text;

    buf_init(&text, 0);
    assert(c->token.n >= 2 && c->token.n <= IDENTIFIER_MAX);
    assert(memchr(c->token.p, '\0', c->token.n) == NULL);
    json_unescape(&text, slice_of(c->token.p + 1, c->token.n - 2));
    assert(slice_equal(buf_slice(&text), c->identifier));
    buf_reset(&text);
    acframe_put_confirm(&text, c->token);
    check_json(&text);
    buf_reset(&text);
    acframe_put_restored(&text, slice_str("s"), &c->token, 1);
    check_json(&text);
    buf_fini(&text);
}

static void
check_payload(struct slice payload, struct slice token)
{
    struct message m = {
        .topic = slice_str("t"), .cursor = slice_str("1-2"), .seq = 2, .kind = MESSAGE_JSON, .body = payload};
    struct buf text;

    buf_init(&text, 0);
    dialect_actioncable_ext.put_message(&text, &m, token);
    check_json(&text);
    buf_fini(&text);
}

static void
check_data(struct slice data, struct slice token)
{
    struct acaction action;
    const char *error;
    struct buf scratch;

    buf_init(&scratch, 0);
    if (acaction_read(data, DEPTH, &scratch, &action, &error) == 0) {
        assert(action.name.n > 0 && utf8_is_valid(action.name.p, action.name.n));
        assert(action.payload.n <= data.n);
        check_payload(action.payload, token);
    } else {
        assert(error != NULL);
    }
    buf_fini(&scratch);
}

static void
check_positions(const struct accommand *c, struct buf *scratch)
{
    const uint8_t *before = scratch->p;
    struct slice epoch;
    uint64_t offset;

    (void)accommand_position(c, slice_str("a"), scratch, &epoch, &offset);
    (void)accommand_position(c, slice_str("chat/1"), scratch, &epoch, &offset);
    assert(scratch->p == before);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct accommand c;
    struct buf scratch;

    buf_init(&scratch, 0);
    for (int is_extended = 0; is_extended < 2; is_extended++) {
        const char *error = NULL;

        if (accommand_decode(
                slice_of(data, size), DEPTH, IDENTIFIER_MAX, is_extended == 1, &scratch, &c, &error) < 0) {
            assert(error != NULL);
            continue;
        }
        if (c.type >= ACCOMMAND_PONG)
            continue;
        check_token(&c);
        if (c.type == ACCOMMAND_MESSAGE)
            check_data(c.data, c.token);
        else if (c.type == ACCOMMAND_WHISPER)
            check_payload(c.data, c.token);
        check_positions(&c, &scratch);
    }
    buf_fini(&scratch);
    return 0;
}
