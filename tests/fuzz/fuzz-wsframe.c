/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses role and extension, the second the size of the pieces; the rest is the stream. It
 * is parsed whole and in pieces: the events must be the same, and what is kept must stay bounded.
 */
#include "config.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "frontends/ws/wsframe.h"

#define MAX_MESSAGE 3000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_event(const struct wsframe_event *event)
{
    assert(event->payload.n <= MAX_MESSAGE);
    if (event->type >= WSFRAME_PING && event->type <= WSFRAME_CLOSE)
        assert(event->payload.n <= WSFRAME_CONTROL_MAX);
    if (event->type == WSFRAME_TEXT && !event->is_compressed)
        assert(utf8_is_valid(event->payload.p, event->payload.n));
    if (event->type == WSFRAME_CLOSE)
        assert(event->code == WSFRAME_CODE_NONE || wsframe_code_is_valid(event->code));
    if (event->type == WSFRAME_ERROR)
        assert(event->reason != NULL && strlen(event->reason) <= WSFRAME_CONTROL_MAX - 2);
}

static void
parse(const uint8_t *data, size_t size, uint8_t flags, size_t step, struct buf *log)
{
    static const struct wsframe_limits limits = {.max_message = MAX_MESSAGE, .max_frames = 40};
    struct wsframe f;
    struct wsframe_event event;

    wsframe_init(&f, (flags & 1) != 0 ? WSFRAME_CLIENT : WSFRAME_SERVER);
    if ((flags & 2) != 0)
        wsframe_allow_compressed(&f);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < step ? size - at : step;
        uint8_t *copy = malloc(n);
        assert(copy != NULL);
        memcpy(copy, data + at, n);
        struct wsframe_input in = {copy, n};
        while (wsframe_next(&f, &limits, &in, &event) != WSFRAME_MORE) {
            uint8_t mark[4] = {
                (uint8_t)event.type, event.is_compressed, (uint8_t)(event.code >> 8), (uint8_t)event.code};
            check_event(&event);
            buf_put(log, mark, sizeof mark);
            buf_put_slice(log, event.payload);
        }
        assert(in.n == 0 && wsframe_held(&f) < 4 * MAX_MESSAGE + 4096);
        free(copy);
        at += n;
    }
    wsframe_fini(&f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, pieces;

    if (size < 3)
        return 0;
    buf_init(&whole, 0);
    buf_init(&pieces, 0);
    parse(data + 2, size - 2, data[0], size, &whole);
    parse(data + 2, size - 2, data[0], 1u + data[1] % 64, &pieces);
    assert(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
