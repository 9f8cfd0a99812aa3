/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first byte chooses: the rest is a compressed message, a plain one to be compressed and inflated
 * again, or a Sec-WebSocket-Extensions header.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "frontends/ws/wsdeflate.h"

#define CAP 20000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A larger cap changes nothing but whether it fits. */
static void
try_inflate(struct wsdeflate *d, struct slice packed)
{
    struct buf small, large;
    buf_init(&small, 0);
    buf_init(&large, 0);
    int got_small = wsdeflate_inflate(d, packed, 100, &small);
    int got_large = wsdeflate_inflate(d, packed, CAP, &large);
    assert(got_small >= 0 && got_large >= 0 && small.n <= 100 && large.n <= CAP);
    if (got_small == 0)
        assert(got_large == 0 && slice_equal(buf_slice(&small), buf_slice(&large)));
    if (got_large == 0 && large.n <= 100)
        assert(got_small == 0);
    buf_fini(&small);
    buf_fini(&large);
}

static void
try_round_trip(struct wsdeflate *d, struct slice plain)
{
    struct buf packed, again;
    buf_init(&packed, 0);
    buf_init(&again, 0);
    assert(wsdeflate_compress(d, plain, &packed) == 0);
    assert(wsdeflate_inflate(d, buf_slice(&packed), plain.n, &again) == 0);
    assert(slice_equal(plain, buf_slice(&again)));
    buf_fini(&packed);
    buf_fini(&again);
}

static void
try_offer(struct slice header)
{
    struct wsdeflate_params params;
    struct buf answer;
    buf_init(&answer, 0);
    wsdeflate_offer_begin(&params);
    int got = wsdeflate_offer_take(&params, header);
    assert(got == 0 || got == -EINVAL);
    assert(params.server_bits >= 8 && params.server_bits <= 15);
    wsdeflate_put_answer(&params, &answer);
    assert(params.is_on == (answer.n > 0));
    if (params.is_on) {
        /* Our answer is itself an offer that we would take. */
        struct wsdeflate_params again;
        wsdeflate_offer_begin(&again);
        assert(wsdeflate_offer_take(&again, buf_slice(&answer)) == 0);
        assert(again.is_on && again.server_bits == params.server_bits);
    }
    buf_fini(&answer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct wsdeflate *d;
    struct slice rest = slice_of(data + 1, size - 1);
    if (data[0] % 3 == 2) {
        try_offer(rest);
        return 0;
    }
    assert(wsdeflate_new(1 + data[0] / 3 % 9, &d) == 0);
    if (data[0] % 3 == 0)
        try_inflate(d, rest);
    else
        try_round_trip(d, rest);
    d = wsdeflate_free(d);
    return 0;
}
