/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 check. The state between bytes says how many continuation bytes are still to come and the range
 * that the next one must be in (it is narrower than 80..BF after E0, ED, F0 and F4: that is where overlong
 * forms, surrogates and code points above U+10FFFF are refused):
 *
 *     bits 0-7: bytes to come, plus 1 (so that no state inside a character looks like 0 or 1)
 *     bits 8-15: lowest next byte        bits 16-23: highest next byte
 */
#include "config.h"

#include "base/utf8.h"

#include "base/scan.h"

#define STATE(more, low, high) ((uint32_t)(high) << 16 | (uint32_t)(low) << 8 | ((more) + 1u))

/* The state after the first byte of a character that is not ASCII. */
static uint32_t
utf8_lead(uint8_t c)
{
    if (c < 0xc2 || c > 0xf4)
        return UTF8_REJECT;
    if (c < 0xe0)
        return STATE(1, 0x80, 0xbf);
    if (c == 0xe0)
        return STATE(2, 0xa0, 0xbf);
    if (c == 0xed)
        return STATE(2, 0x80, 0x9f);
    if (c < 0xf0)
        return STATE(2, 0x80, 0xbf);
    if (c == 0xf0)
        return STATE(3, 0x90, 0xbf);
    if (c == 0xf4)
        return STATE(3, 0x80, 0x8f);
    return STATE(3, 0x80, 0xbf);
}

static uint32_t
utf8_continue(uint32_t state, uint8_t c)
{
    uint32_t more = (state & 0xff) - 1;

    if (c < (state >> 8 & 0xff) || c > (state >> 16 & 0xff))
        return UTF8_REJECT;
    return more == 1 ? UTF8_ACCEPT : STATE(more - 1, 0x80, 0xbf);
}

uint32_t
utf8_feed(uint32_t state, const void *p, size_t n)
{
    const uint8_t *at = p;
    size_t left = n;

    while (left > 0 && state != UTF8_REJECT) {
        if (state != UTF8_ACCEPT) {
            state = utf8_continue(state, *at);
        } else if (*at >= 0x80) {
            state = utf8_lead(*at);
        } else {
            const uint8_t *end = at + left;

            at = scan_ascii(at, end);
            left = (size_t)(end - at);
            continue;
        }
        at++;
        left--;
    }
    return state;
}

bool
utf8_is_valid(const void *p, size_t n)
{
    const uint8_t *at = p, *end = n == 0 ? at : at + n;

    at = scan_ascii(at, end);
    return at == end || utf8_feed(UTF8_ACCEPT, at, (size_t)(end - at)) == UTF8_ACCEPT;
}

size_t
utf8_encode(uint32_t code_point, uint8_t *out)
{
    if (code_point < 0x80) {
        out[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xc0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code_point & 0x3f));
    return 4;
}
