/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The growing byte buffer. It doubles, but never past its limit; every way of failing ends in the one
 * sticky flag.
 */
#include "config.h"

#include "base/buf.h"

#include "base/digits.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_CAP 64u
#define BUF_TRIM_MIN 4096u /* below this spare memory is not worth a realloc */

void
buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max == 0 ? SIZE_MAX / 2 : max};
}

void
buf_fini(struct buf *b)
{
    free(b->p);
    b->p = NULL;
    b->n = 0;
    b->cap = 0;
}

void
buf_reset(struct buf *b)
{
    b->n = 0;
    b->is_failed = false;
}

static size_t
buf_cap_for(const struct buf *b, size_t needed)
{
    size_t cap = b->cap < BUF_FIRST_CAP ? BUF_FIRST_CAP : b->cap;

    while (cap < needed)
        cap = cap > SIZE_MAX / 2 ? needed : cap * 2;
    return cap > b->max ? b->max : cap;
}

uint8_t *
buf_grow(struct buf *b, size_t n)
{
    uint8_t *p;
    size_t cap;

    if (b->is_failed)
        return NULL;
    if (n > b->max || b->n > b->max - n)
        goto fail;
    cap = buf_cap_for(b, b->n + n);
    p = realloc(b->p, cap == 0 ? 1 : cap);
    if (p == NULL)
        goto fail;
    b->p = p;
    b->cap = cap;
    return p + b->n;
fail:
    b->is_failed = true;
    return NULL;
}

void
buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
    uint8_t digits[DIGITS_ROOM];
    const uint8_t *end = digits_put(digits, v);

    buf_put(b, digits, (size_t)(end - digits));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    uint8_t *to;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->is_failed = true;
        return;
    }
    if ((size_t)n < sizeof small) {
        buf_put(b, small, (size_t)n);
        return;
    }
    /* vsnprintf() wants room for its NUL as well; so that an exact limit is not passed by that one byte,
     * the long text is made apart. */
    to = malloc((size_t)n + 1);
    if (to == NULL || b->is_failed) {
        free(to);
        b->is_failed = true;
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf_put(b, to, (size_t)n);
    free(to);
}

void
buf_consume(struct buf *b, size_t n)
{
    if (n == 0)
        return;
    b->n -= n;
    if (b->n > 0)
        memmove(b->p, b->p + n, b->n);
}

void
buf_trim(struct buf *b)
{
    uint8_t *p;

    if (b->cap < BUF_TRIM_MIN || b->n > b->cap / 4)
        return;
    if (b->n == 0) {
        free(b->p);
        b->p = NULL;
        b->cap = 0;
        return;
    }
    p = realloc(b->p, b->n);
    if (p == NULL)
        return; /* the old block is still good */
    b->p = p;
    b->cap = b->n;
}

uint8_t *
buf_steal(struct buf *b, size_t *ret_n)
{
    uint8_t *p = b->p;

    *ret_n = b->n;
    if (b->n == 0) {
        free(p);
        p = NULL;
    }
    b->p = NULL;
    b->n = 0;
    b->cap = 0;
    return p;
}
