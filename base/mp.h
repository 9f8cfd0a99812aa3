/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict cursor over MessagePack (msgpack spec, 2021), for what comes from another process: no
 * allocation, counts checked against the bytes that are left, nesting bounded, extension types skipped
 * only. What is read points into the input. msgpack-c is its oracle in the differential fuzz test.
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
int mp_u64(struct mp *c, uint64_t *ret);
int mp_i64(struct mp *c, int64_t *ret);
int mp_double(struct mp *c, double *ret); /* float 32 or 64 */
int mp_str(struct mp *c, struct slice *ret);
int mp_bin(struct mp *c, struct slice *ret);
/* The elements follow. A count above the bytes that are left is forged; so on a stream, where they may be
 * still to come, find the end of the whole value with mp_skip() first. */
int mp_array(struct mp *c, uint32_t *ret_n);
int mp_map(struct mp *c, uint32_t *ret_n_pairs);

/* Passes one whole value and gives its bytes. Nesting past MP_MAX_DEPTH is -EINVAL. */
int mp_skip(struct mp *c, struct slice *ret_raw);

#endif
