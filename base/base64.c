/* SPDX-License-Identifier: Apache-2.0 */
/* Base64, three bytes to four characters. */
#include "config.h"

#include "base/base64.h"

#include <errno.h>

#define PAD '='

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_put(struct buf *out, struct slice in)
{
    uint8_t *to;
    size_t i;

    if (in.n == 0)
        return;
    if (in.n > SIZE_MAX / 4 * 3 - 3) {
        out->is_failed = true;
        return;
    }
    to = buf_reserve(out, (in.n + 2) / 3 * 4);
    if (to == NULL)
        return;
    for (i = 0; i + 3 <= in.n; i += 3) {
        uint32_t v = (uint32_t)in.p[i] << 16 | (uint32_t)in.p[i + 1] << 8 | in.p[i + 2];

        *to++ = (uint8_t)base64_alphabet[v >> 18];
        *to++ = (uint8_t)base64_alphabet[v >> 12 & 63];
        *to++ = (uint8_t)base64_alphabet[v >> 6 & 63];
        *to++ = (uint8_t)base64_alphabet[v & 63];
    }
    if (i < in.n) {
        bool has_two = in.n - i == 2;
        uint32_t v = (uint32_t)in.p[i] << 16 | (has_two ? (uint32_t)in.p[i + 1] << 8 : 0);

        *to++ = (uint8_t)base64_alphabet[v >> 18];
        *to++ = (uint8_t)base64_alphabet[v >> 12 & 63];
        *to++ = has_two ? (uint8_t)base64_alphabet[v >> 6 & 63] : PAD;
        *to++ = PAD;
    }
    buf_commit(out, (in.n + 2) / 3 * 4);
}

/* 0..63, or -1. */
static int
base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The last group of four, which alone may be padded. Returns the bytes that it holds, or -EINVAL. */
static int
base64_decode_last(const uint8_t *in, uint8_t *to)
{
    int a = base64_digit(in[0]), b = base64_digit(in[1]), c = base64_digit(in[2]), d = base64_digit(in[3]);

    if (a < 0 || b < 0)
        return -EINVAL;
    to[0] = (uint8_t)(a << 2 | b >> 4);
    if (in[2] == PAD && in[3] == PAD)
        return (b & 15) != 0 ? -EINVAL : 1;
    if (c < 0)
        return -EINVAL;
    to[1] = (uint8_t)(b << 4 | c >> 2);
    if (in[3] == PAD)
        return (c & 3) != 0 ? -EINVAL : 2;
    if (d < 0)
        return -EINVAL;
    to[2] = (uint8_t)(c << 6 | d);
    return 3;
}

int
base64_decode(struct buf *out, struct slice in)
{
    uint8_t *to, *start;
    size_t i;
    int n;

    if (in.n % 4 != 0)
        return -EINVAL;
    if (in.n == 0)
        return 0;
    /* Whether the last group holds fewer bytes is known from the padding alone, so a limit on the buffer
     * is not passed by bytes that are never written. */
    n = in.p[in.n - 1] != PAD ? 3 : in.p[in.n - 2] != PAD ? 2 : 1;
    start = to = buf_reserve(out, in.n / 4 * 3 - 3 + (size_t)n);
    if (to == NULL)
        return 0; /* said by buf_failed() */
    for (i = 0; i + 4 < in.n; i += 4) {
        int a = base64_digit(in.p[i]), b = base64_digit(in.p[i + 1]);
        int c = base64_digit(in.p[i + 2]), d = base64_digit(in.p[i + 3]);

        if ((a | b | c | d) < 0)
            return -EINVAL;
        *to++ = (uint8_t)(a << 2 | b >> 4);
        *to++ = (uint8_t)(b << 4 | c >> 2);
        *to++ = (uint8_t)(c << 6 | d);
    }
    n = base64_decode_last(in.p + i, to);
    if (n < 0)
        return n;
    buf_commit(out, (size_t)(to - start) + (size_t)n);
    return 0;
}

int
base64url_decode(struct buf *out, struct slice in)
{
    struct buf text;
    int r;

    if (in.n % 4 == 1)
        return -EINVAL;
    buf_init(&text, 0);
    (void)buf_reserve(&text, in.n + 2);
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];

        if (c == '+' || c == '/' || c == PAD)
            c = 0; /* of the other alphabet */
        buf_put_byte(&text, c == '-' ? '+' : c == '_' ? '/' : c);
    }
    for (size_t i = in.n; i % 4 != 0; i++)
        buf_put_byte(&text, PAD);
    if (buf_failed(&text))
        out->is_failed = true;
    r = buf_failed(&text) ? 0 : base64_decode(out, buf_slice(&text));
    buf_fini(&text);
    return r;
}
