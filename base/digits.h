/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers in decimal, eight digits at a time and without a division: every message that a client gets has a
 * time and a cursor in it.
 */
#ifndef BASE_DIGITS_H
#define BASE_DIGITS_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Room for digits_put(), which writes whole words: the longest number needs no more. */
#define DIGITS_ROOM 20u

/* The eight digits of v < 10^8, leading zeros with them, as the bytes of a word: the first digit lowest. Each
 * step parts every number in the word into two of half as many digits, side by side. */
static inline uint64_t
digits_of_8(uint32_t v)
{
    uint64_t word = v / 10000 | (uint64_t)(v % 10000) << 32, tens;

    tens = (word * 10486) >> 20 & UINT64_C(0x0000007f0000007f); /* x / 100 for x < 10^4 */
    word = tens | (word - tens * 100) << 16;
    tens = (word * 103) >> 10 & UINT64_C(0x000f000f000f000f); /* x / 10 for x < 100 */
    return tens | (word - tens * 10) << 8;
}

static inline uint8_t *
digits_put_8(uint8_t *to, uint32_t v)
{
    uint64_t text = htole64(digits_of_8(v) | UINT64_C(0x3030303030303030));

    memcpy(to, &text, sizeof text);
    return to + sizeof text;
}

/* v < 10^8, without leading zeros. */
static inline uint8_t *
digits_put_upto_8(uint8_t *to, uint32_t v)
{
    uint64_t digits = digits_of_8(v);
    unsigned n_zeros = digits == 0 ? 7 : (unsigned)__builtin_ctzll(digits) >> 3;
    uint64_t text = htole64((digits | UINT64_C(0x3030303030303030)) >> 8 * n_zeros);

    memcpy(to, &text, sizeof text);
    return to + sizeof text - n_zeros;
}

/* At most 20 digits, into DIGITS_ROOM bytes of which the rest is then anything. Returns the byte after. */
static inline uint8_t *
digits_put(uint8_t *to, uint64_t v)
{
    const uint32_t word = 100000000;

    if (v < word)
        return digits_put_upto_8(to, (uint32_t)v);
    if (v < (uint64_t)word * word) {
        to = digits_put_upto_8(to, (uint32_t)(v / word));
    } else {
        to = digits_put_upto_8(to, (uint32_t)(v / word / word));
        to = digits_put_8(to, (uint32_t)(v / word % word));
    }
    return digits_put_8(to, (uint32_t)(v % word));
}

#endif
