/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes MessagePack into room that the caller has made, always in the shortest form: no check and no call
 * for each piece. Add up what the pieces take at most, reserve that once, write, and commit what was used:
 *
 *     uint8_t *p = buf_reserve(out, MP_PUT_HEAD + MP_PUT_U64 + MP_PUT_HEAD + name.n), *at = p;
 *     if (p != NULL) {
 *         at = mp_put_array(at, 2);
 *         at = mp_put_u64(at, 7);
 *         at = mp_put_str(at, name);
 *         buf_commit(out, (size_t)(at - p));
 *     }
 *
 * Each writer gives the place behind what it wrote. msgpack-c's packer is the oracle in the tests.
 */
#ifndef BASE_MPPUT_H
#define BASE_MPPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

#define MP_PUT_U64 9u  /* the largest number */
#define MP_PUT_HEAD 5u /* the largest head of a string, of bytes, of an array */

/* What does not fit into the first byte. The mark is that of the form with one byte of it. */
uint8_t *mp_put_u64_long(uint8_t *at, uint64_t v);
uint8_t *mp_put_head_long(uint8_t *at, uint8_t mark, uint32_t n);

static inline uint8_t *
mp_put_bytes(uint8_t *at, struct slice s)
{
    if (s.n == 0)
        return at;
    memcpy(at, s.p, s.n);
    return at + s.n;
}

static inline uint8_t *
mp_put_u64(uint8_t *at, uint64_t v)
{
    if (v > 0x7f)
        return mp_put_u64_long(at, v);
    *at = (uint8_t)v;
    return at + 1;
}

/* No longer than 4 GiB, nor are the others. */
static inline uint8_t *
mp_put_str(uint8_t *at, struct slice s)
{
    if (s.n < 32)
        *at++ = (uint8_t)(0xa0 | s.n);
    else
        at = mp_put_head_long(at, 0xd9, (uint32_t)s.n);
    return mp_put_bytes(at, s);
}

static inline uint8_t *
mp_put_bin(uint8_t *at, struct slice s)
{
    if (s.n <= UINT8_MAX) {
        *at++ = 0xc4;
        *at++ = (uint8_t)s.n;
    } else {
        at = mp_put_head_long(at, 0xc4, (uint32_t)s.n);
    }
    return mp_put_bytes(at, s);
}

static inline uint8_t *
mp_put_array(uint8_t *at, uint32_t n)
{
    if (n < 16) {
        *at = (uint8_t)(0x90 | n);
        return at + 1;
    }
    return mp_put_head_long(at, 0xdb, n); /* an array has no form with one byte: 0xdc is that with two */
}

#endif
