/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict cursor over MessagePack (msgpack spec, 2021), for what comes from another process: no
 * allocation, counts checked against the bytes that are left, nesting bounded, extension types skipped
 * only. What is read points into the input. msgpack-c is its oracle in the differential fuzz test.
 *
 * What most values are (a small number, a short string, few elements) is read in place by the inline half of
 * a reader; mp_x_any() has the whole rule, and judges whatever that half does not take.
 */
#ifndef BASE_MP_H
#define BASE_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define MP_MAX_DEPTH 16

enum mp_type { MP_NIL, MP_BOOL, MP_UINT, MP_INT, MP_FLOAT, MP_STR, MP_BIN, MP_ARRAY, MP_MAP, MP_EXT };

struct mp {
    const uint8_t *p, *end;
};

static inline struct mp
mp_of(struct slice s)
{
    return (struct mp){.p = s.p, .end = s.p + s.n};
}

/* Each read: 0, -EINVAL for another type or a forged count, -EAGAIN if the input ends inside the value.
 * On failure the cursor has not moved. Every encoding of an integer that fits is taken. */
int mp_peek(const struct mp *c, enum mp_type *ret);
int mp_nil(struct mp *c);
int mp_bool(struct mp *c, bool *ret);
static inline int mp_u64(struct mp *c, uint64_t *ret);
int mp_i64(struct mp *c, int64_t *ret);
int mp_double(struct mp *c, double *ret); /* float 32 or 64 */
static inline int mp_str(struct mp *c, struct slice *ret);
static inline int mp_bin(struct mp *c, struct slice *ret);
/* The elements follow. A count above the bytes that are left is forged; so on a stream, where they may be
 * still to come, find the end of the whole value with mp_skip() first. */
static inline int mp_array(struct mp *c, uint32_t *ret_n);
int mp_map(struct mp *c, uint32_t *ret_n_pairs);

/* Passes one whole value and gives its bytes. Nesting past MP_MAX_DEPTH is -EINVAL. */
static inline int mp_skip(struct mp *c, struct slice *ret_raw);

/* ---- The inline halves. ---- */

int mp_u64_any(struct mp *c, uint64_t *ret);
int mp_str_any(struct mp *c, struct slice *ret);
int mp_bin_any(struct mp *c, struct slice *ret);
int mp_array_any(struct mp *c, uint32_t *ret_n);
int mp_skip_any(struct mp *c, struct slice *ret_raw);

/* Calls the other half with a copy, so that the caller's cursor can stay in registers. */
#define MP_ANY(read)                                                                                         \
    struct mp any = *c;                                                                                      \
    int r = (read);                                                                                          \
    c->p = any.p;                                                                                            \
    return r

static inline int
mp_u64(struct mp *c, uint64_t *ret)
{
    if (c->p < c->end && *c->p <= 0x7f) {
        *ret = *c->p++;
        return 0;
    }
    MP_ANY(mp_u64_any(&any, ret));
}

static inline int
mp_str(struct mp *c, struct slice *ret)
{
    if (c->p < c->end && (*c->p & 0xe0) == 0xa0 && (*c->p & 31) < c->end - c->p) {
        *ret = slice_of(c->p + 1, *c->p & 31);
        c->p += 1 + ret->n;
        return 0;
    }
    MP_ANY(mp_str_any(&any, ret));
}

static inline int
mp_bin(struct mp *c, struct slice *ret)
{
    if (c->end - c->p >= 2 && c->p[0] == 0xc4 && c->p[1] <= c->end - c->p - 2) {
        *ret = slice_of(c->p + 2, c->p[1]);
        c->p += 2 + ret->n;
        return 0;
    }
    MP_ANY(mp_bin_any(&any, ret));
}

static inline int
mp_array(struct mp *c, uint32_t *ret_n)
{
    if (c->p < c->end && (*c->p & 0xf0) == 0x90 && (*c->p & 15) < c->end - c->p) {
        *ret_n = *c->p++ & 15;
        return 0;
    }
    MP_ANY(mp_array_any(&any, ret_n));
}

/* How long the value at p is, if it is a small number, or a string or bytes of less than 64 KiB, and `left`
 * bytes hold it; else 0. Most values are. */
static inline size_t
mp_short(const uint8_t *p, size_t left)
{
    size_t n = 0;

    if (left < 2)
        return 0;
    if ((*p & 0xe0) == 0xa0)
        n = 1 + (size_t)(*p & 31);
    else if (*p == 0xd9 || *p == 0xc4)
        n = 2 + (size_t)p[1];
    else if (*p <= 0x7f)
        n = 1;
    else if ((*p == 0xda || *p == 0xc5) && left >= 3)
        n = 3 + ((size_t)p[1] << 8 | p[2]);
    return n <= left ? n : 0;
}

static inline int
mp_skip(struct mp *c, struct slice *ret_raw)
{
    size_t n = mp_short(c->p, (size_t)(c->end - c->p));

    if (n > 0) {
        *ret_raw = slice_of(c->p, n);
        c->p += n;
        return 0;
    }
    MP_ANY(mp_skip_any(&any, ret_raw));
}

#undef MP_ANY

#endif
