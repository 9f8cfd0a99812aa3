/* SPDX-License-Identifier: Apache-2.0 */
/* Cursors: written and read for every message and every recovery, hence by hand. */
#include "config.h"

#include "frontends/sdk/position.h"

#include "base/digits.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define EPOCH_DIGITS_MAX 16u

_Static_assert(EPOCH_DIGITS_MAX + 1 + DIGITS_ROOM < CURSOR_MAX, "a cursor");

size_t
cursor_format(char out[CURSOR_MAX], struct position position)
{
    static const char hex[] = "0123456789abcdef";
    int shift = position.epoch == 0 ? 0 : (63 - __builtin_clzll(position.epoch)) & ~3;
    char *to = out;

    for (; shift >= 0; shift -= 4)
        *to++ = hex[position.epoch >> shift & 15];
    *to++ = '-';
    to = (char *)digits_put((uint8_t *)to, position.seq);
    *to = '\0';
    return (size_t)(to - out);
}

struct slice
cursor_text_of(struct cursor_text *c, struct position position)
{
    bool is_same_epoch = c->n > 0 && c->position.epoch == position.epoch;

    if (is_same_epoch && position.seq > 0 && position.seq - 1 == c->position.seq &&
        c->text[c->n - 1] != '9') {
        c->text[c->n - 1]++;
    } else if (is_same_epoch) {
        c->n = (uint8_t)((char *)digits_put((uint8_t *)c->text + c->n_epoch, position.seq) - c->text);
    } else {
        c->n = (uint8_t)cursor_format(c->text, position);
        c->n_epoch = (uint8_t)((char *)memchr(c->text, '-', c->n) + 1 - c->text);
    }
    c->position = position;
    return slice_of(c->text, c->n);
}

static int
cursor_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int
cursor_parse(struct slice text, struct position *ret)
{
    struct position p = {0};
    size_t i = 0, start;

    for (; i < text.n && text.p[i] != '-'; i++) {
        int digit = cursor_hex_digit(text.p[i]);

        if (digit < 0 || i >= EPOCH_DIGITS_MAX)
            return -EINVAL;
        p.epoch = p.epoch << 4 | (unsigned)digit;
    }
    if (i == 0 || i == text.n || (i > 1 && text.p[0] == '0'))
        return -EINVAL;
    start = ++i;
    for (; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || __builtin_mul_overflow(p.seq, 10u, &p.seq) ||
            __builtin_add_overflow(p.seq, (uint64_t)(text.p[i] - '0'), &p.seq))
            return -EINVAL;
    }
    if (i == start || (i - start > 1 && text.p[start] == '0'))
        return -EINVAL;
    *ret = p;
    return 0;
}
