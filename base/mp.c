/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MessagePack cursor. One function reads a value's head (the byte that says what it is, and the
 * number, length or count that follows); everything else is built on it.
 */
#include "config.h"

#include "base/mp.h"

#include <endian.h>
#include <errno.h>

/* What stands at the front of a value. */
struct mp_head {
    enum mp_type type;
    uint8_t n_head;  /* bytes of the head itself */
    uint8_t n_float; /* 4 or 8 */
    uint64_t u;      /* MP_UINT, MP_BOOL, the bits of MP_FLOAT, and lengths and counts */
    int64_t i;       /* MP_INT: always negative */
};

/* n is 0, 1, 2, 4 or 8. */
static inline uint64_t
mp_big_endian(const uint8_t *p, unsigned n)
{
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;

    switch (n) {
    case 0:
        return 0;
    case 1:
        return p[0];
    case 2:
        memcpy(&u16, p, sizeof u16);
        return be16toh(u16);
    case 4:
        memcpy(&u32, p, sizeof u32);
        return be32toh(u32);
    default:
        memcpy(&u64, p, sizeof u64);
        return be64toh(u64);
    }
}

/* A head of 1 + n_arg bytes, of which the last n_arg are an unsigned number. */
static inline int
mp_head_arg(const struct mp *c, struct mp_head *h, enum mp_type type, unsigned n_arg)
{
    if ((size_t)(c->end - c->p) < 1 + (size_t)n_arg)
        return -EAGAIN;
    h->type = type;
    h->n_head = (uint8_t)(1 + n_arg);
    h->u = mp_big_endian(c->p + 1, n_arg);
    return 0;
}

static inline int
mp_head_signed(const struct mp *c, struct mp_head *h, unsigned n_arg)
{
    unsigned shift = 64 - 8 * n_arg;
    int r = mp_head_arg(c, h, MP_INT, n_arg);

    if (r < 0)
        return r;
    h->i = (int64_t)(h->u << shift) >> shift;
    if (h->i >= 0) {
        h->type = MP_UINT;
        h->u = (uint64_t)h->i;
    }
    return 0;
}

/* Extension types: the length, then one byte of type, which counts as head. */
static inline int
mp_head_ext(const struct mp *c, struct mp_head *h, unsigned n_arg)
{
    int r = mp_head_arg(c, h, MP_EXT, n_arg);

    if (r < 0)
        return r;
    if ((size_t)(c->end - c->p) < 2 + (size_t)n_arg)
        return -EAGAIN;
    h->n_head++;
    return 0;
}

static inline int
mp_head_fixed(struct mp_head *h, enum mp_type type, uint64_t u)
{
    h->type = type;
    h->n_head = 1;
    h->u = u;
    return 0;
}

/* Bytes c0..df; the others carry everything in themselves. */
static int
mp_head_marked(const struct mp *c, struct mp_head *h)
{
    uint8_t mark = *c->p;

    switch (mark) {
    case 0xc0:
        return mp_head_fixed(h, MP_NIL, 0);
    case 0xc1: /* never used, says the specification */
        return -EINVAL;
    case 0xc2:
    case 0xc3:
        return mp_head_fixed(h, MP_BOOL, mark & 1);
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return mp_head_arg(c, h, MP_BIN, 1u << (mark - 0xc4));
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return mp_head_ext(c, h, 1u << (mark - 0xc7));
    case 0xca:
    case 0xcb:
        h->n_float = mark == 0xca ? 4 : 8;
        return mp_head_arg(c, h, MP_FLOAT, h->n_float);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return mp_head_arg(c, h, MP_UINT, 1u << (mark - 0xcc));
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return mp_head_signed(c, h, 1u << (mark - 0xd0));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8: {
        int r = mp_head_ext(c, h, 0);

        h->u = UINT64_C(1) << (mark - 0xd4);
        return r;
    }
    case 0xd9:
    case 0xda:
    case 0xdb:
        return mp_head_arg(c, h, MP_STR, 1u << (mark - 0xd9));
    case 0xdc:
    case 0xdd:
        return mp_head_arg(c, h, MP_ARRAY, mark == 0xdc ? 2 : 4);
    default: /* 0xde, 0xdf */
        return mp_head_arg(c, h, MP_MAP, mark == 0xde ? 2 : 4);
    }
}

static inline int
mp_head(const struct mp *c, struct mp_head *h)
{
    uint8_t mark;

    if (c->p == c->end)
        return -EAGAIN;
    mark = *c->p;
    if (mark <= 0x7f)
        return mp_head_fixed(h, MP_UINT, mark);
    if (mark >= 0xe0) {
        h->i = (int8_t)mark;
        return mp_head_fixed(h, MP_INT, 0);
    }
    if (mark <= 0x8f)
        return mp_head_fixed(h, MP_MAP, mark & 15);
    if (mark <= 0x9f)
        return mp_head_fixed(h, MP_ARRAY, mark & 15);
    if (mark <= 0xbf)
        return mp_head_fixed(h, MP_STR, mark & 31);
    return mp_head_marked(c, h);
}

int
mp_peek(const struct mp *c, enum mp_type *ret)
{
    /* clang-format off */
    static const uint8_t marked[32] = {
        MP_NIL, MP_NIL, MP_BOOL, MP_BOOL, MP_BIN, MP_BIN, MP_BIN, MP_EXT, /* c0: c1 is refused before */
        MP_EXT, MP_EXT, MP_FLOAT, MP_FLOAT, MP_UINT, MP_UINT, MP_UINT, MP_UINT,
        MP_INT, MP_INT, MP_INT, MP_INT, MP_EXT, MP_EXT, MP_EXT, MP_EXT, /* d0 */
        MP_EXT, MP_STR, MP_STR, MP_STR, MP_ARRAY, MP_ARRAY, MP_MAP, MP_MAP,
    };
    /* clang-format on */
    uint8_t mark;

    if (c->p == c->end)
        return -EAGAIN;
    mark = *c->p;
    if (mark == 0xc1)
        return -EINVAL;
    if (mark <= 0x7f)
        *ret = MP_UINT;
    else if (mark >= 0xe0)
        *ret = MP_INT;
    else if (mark >= 0xc0)
        *ret = (enum mp_type)marked[mark - 0xc0];
    else
        *ret = mark <= 0x8f ? MP_MAP : mark <= 0x9f ? MP_ARRAY : MP_STR;
    return 0;
}

/* A head of this type. The wrong type is refused before more input is asked for: it would not help. */
static int
mp_head_of(const struct mp *c, struct mp_head *h, enum mp_type type)
{
    enum mp_type seen;
    int r = mp_head(c, h);

    if (r == 0)
        return h->type == type ? 0 : -EINVAL;
    if (r == -EAGAIN && mp_peek(c, &seen) == 0 && seen != type)
        return -EINVAL;
    return r;
}

int
mp_nil(struct mp *c)
{
    struct mp_head h;
    int r = mp_head_of(c, &h, MP_NIL);

    if (r < 0)
        return r;
    c->p++;
    return 0;
}

int
mp_bool(struct mp *c, bool *ret)
{
    struct mp_head h;
    int r = mp_head_of(c, &h, MP_BOOL);

    if (r < 0)
        return r;
    c->p++;
    *ret = h.u != 0;
    return 0;
}

/* An integer of either sign in any encoding. */
static int
mp_integer(const struct mp *c, struct mp_head *h)
{
    enum mp_type seen;
    int r = mp_peek(c, &seen);

    if (r < 0)
        return r;
    if (seen != MP_UINT && seen != MP_INT)
        return -EINVAL;
    return mp_head(c, h);
}

int
mp_u64_any(struct mp *c, uint64_t *ret)
{
    struct mp_head h;
    int r;

    if (c->p < c->end && *c->p >= 0xcc && *c->p <= 0xcf) /* most of those that are not small */
        r = mp_head_arg(c, &h, MP_UINT, 1u << (*c->p - 0xcc));
    else
        r = mp_integer(c, &h);
    if (r < 0)
        return r;
    if (h.type != MP_UINT)
        return -EINVAL;
    c->p += h.n_head;
    *ret = h.u;
    return 0;
}

int
mp_i64(struct mp *c, int64_t *ret)
{
    struct mp_head h;
    int r = mp_integer(c, &h);

    if (r < 0)
        return r;
    if (h.type == MP_UINT && h.u > INT64_MAX)
        return -EINVAL;
    c->p += h.n_head;
    *ret = h.type == MP_UINT ? (int64_t)h.u : h.i;
    return 0;
}

int
mp_double(struct mp *c, double *ret)
{
    struct mp_head h;
    int r = mp_head_of(c, &h, MP_FLOAT);

    if (r < 0)
        return r;
    if (h.n_float == 4) {
        uint32_t bits = (uint32_t)h.u;
        float f;

        memcpy(&f, &bits, sizeof f);
        *ret = (double)f;
    } else {
        memcpy(ret, &h.u, sizeof *ret);
    }
    c->p += h.n_head;
    return 0;
}

static int
mp_bytes(struct mp *c, enum mp_type type, struct slice *ret)
{
    struct mp_head h;
    int r = mp_head_of(c, &h, type);

    if (r < 0)
        return r;
    if (h.u > (size_t)(c->end - c->p) - h.n_head)
        return -EAGAIN;
    *ret = slice_of(c->p + h.n_head, (size_t)h.u);
    c->p += h.n_head + (size_t)h.u;
    return 0;
}

int
mp_str_any(struct mp *c, struct slice *ret)
{
    size_t n = mp_short(c->p, (size_t)(c->end - c->p)), n_head = n > 0 && *c->p == 0xda ? 3 : 2;

    if (n > 0 && (*c->p == 0xd9 || *c->p == 0xda)) {
        *ret = slice_of(c->p + n_head, n - n_head);
        c->p += n;
        return 0;
    }
    return mp_bytes(c, MP_STR, ret);
}

int
mp_bin_any(struct mp *c, struct slice *ret)
{
    return mp_bytes(c, MP_BIN, ret);
}

static int
mp_count(struct mp *c, enum mp_type type, uint32_t *ret_n)
{
    struct mp_head h;
    int r = mp_head_of(c, &h, type);

    if (r < 0)
        return r;
    /* Every element takes a byte at least: a count above what is left is forged. (A reader of a stream
     * finds the end of a value with mp_skip(), which waits for more instead.) */
    if (h.u * (type == MP_MAP ? 2 : 1) > (size_t)(c->end - c->p) - h.n_head)
        return -EINVAL;
    c->p += h.n_head;
    *ret_n = (uint32_t)h.u;
    return 0;
}

int
mp_array_any(struct mp *c, uint32_t *ret_n)
{
    return mp_count(c, MP_ARRAY, ret_n);
}

int
mp_map(struct mp *c, uint32_t *ret_n_pairs)
{
    return mp_count(c, MP_MAP, ret_n_pairs);
}

int
mp_skip_any(struct mp *c, struct slice *ret_raw)
{
    uint64_t left[MP_MAX_DEPTH + 1]; /* values still to come, for each level that is open */
    struct mp at = *c;
    unsigned depth = 0;

    left[0] = 1;
    for (;;) {
        struct mp_head h;
        int r;

        while (left[depth] == 0) {
            if (depth == 0) {
                *ret_raw = slice_of(c->p, (size_t)(at.p - c->p));
                c->p = at.p;
                return 0;
            }
            depth--;
        }
        r = mp_head(&at, &h);
        if (r < 0)
            return r;
        left[depth]--;
        at.p += h.n_head;
        switch (h.type) {
        case MP_STR:
        case MP_BIN:
        case MP_EXT:
            if (h.u > (size_t)(at.end - at.p))
                return -EAGAIN;
            at.p += h.u;
            break;
        case MP_ARRAY:
        case MP_MAP:
            if (depth == MP_MAX_DEPTH)
                return -EINVAL;
            left[++depth] = h.type == MP_MAP ? h.u * 2 : h.u;
            break;
        default:
            break;
        }
    }
}
