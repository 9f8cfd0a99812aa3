/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where text stops being plain: at '"', '\\', a control character below 0x20 and, where it is asked for, a
 * byte that is not ASCII. Sixteen bytes at a time with SSE2, eight with any other processor; both are
 * compiled in tests, and held against a loop over bytes there.
 *
 *     at = scan_plain(p, end, floor, SCAN_NOT_ASCII);
 *
 * `floor` is how far back from p may be read (p itself, if nothing is known of what stands before): the last
 * bytes of a text are looked at together with some that stand before them.
 */
#ifndef BASE_SCAN_H
#define BASE_SCAN_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum scan_stop {
    SCAN_SPECIAL,   /* '"', '\\', control characters */
    SCAN_NOT_ASCII, /* and 0x80 to 0xff */
};

static inline bool
scan_is_special(uint8_t c, enum scan_stop stop)
{
    return c < 0x20 || c == '"' || c == '\\' || (stop == SCAN_NOT_ASCII && c >= 0x80);
}

/* Not zero if one of the word's bytes is special. The lowest bit that is set is right; those above it may be
 * wrong (a borrow runs upwards). */
static inline uint64_t
scan_word(uint64_t word, enum scan_stop stop)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones * 0x80;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t found = ((word - ones * 0x20) | (quote - ones) | (backslash - ones)) & ~word & tops;

    return stop == SCAN_NOT_ASCII ? found | (word & tops) : found;
}

static inline uint64_t
scan_load_8(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

static inline uint64_t
scan_load_4(const uint8_t *p)
{
    uint32_t word;

    memcpy(&word, p, sizeof word);
    return le32toh(word);
}

/* What is left of fewer than eight bytes is nearly always plain: that is seen at once, together with what
 * stands before. */
static inline const uint8_t *
scan_plain_words(const uint8_t *p, const uint8_t *end, const uint8_t *floor, enum scan_stop stop)
{
    for (; end - p >= 8; p += 8) {
        uint64_t found = scan_word(scan_load_8(p), stop);

        if (found != 0)
            return p + (__builtin_ctzll(found) >> 3);
    }
    if (end - floor >= 8) {
        if (scan_word(scan_load_8(end - 8), stop) == 0)
            return end;
    } else if (end - p >= 4) {
        if (scan_word(scan_load_4(p) | scan_load_4(end - 4) << 32, stop) == 0)
            return end;
    }
    while (p < end && !scan_is_special(*p, stop))
        p++;
    return p;
}

#ifdef __SSE2__
/* A bit for each of sixteen bytes, the first lowest. */
static inline unsigned
scan_block(const uint8_t *p, enum scan_stop stop)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
    const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
    /* As signed numbers, all that is not ASCII is below 0x20, too. */
    const __m128i control = stop == SCAN_NOT_ASCII
                                ? _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20))
                                : _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);

    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control));
}

static inline __attribute__((always_inline)) const uint8_t *
scan_plain_blocks(const uint8_t *p, const uint8_t *end, const uint8_t *floor, enum scan_stop stop)
{
    const uint8_t *last;
    unsigned found;

    if (end - floor < 16)
        return scan_plain_words(p, end, floor, stop);
    last = end - 16;
    for (; p <= last; p += 16) {
        found = scan_block(p, stop);
        if (found != 0)
            return p + __builtin_ctz(found);
    }
    found = scan_block(last, stop) >> (p - last);
    return found != 0 ? p + __builtin_ctz(found) : end;
}
#endif

/* The first byte from p on that is special, or end. */
static inline __attribute__((always_inline)) const uint8_t *
scan_plain(const uint8_t *p, const uint8_t *end, const uint8_t *floor, enum scan_stop stop)
{
#ifdef __SSE2__
    return scan_plain_blocks(p, end, floor, stop);
#else
    return scan_plain_words(p, end, floor, stop);
#endif
}

static inline uint64_t
scan_copy_8(uint8_t *to, const uint8_t *p)
{
    memcpy(to, p, 8);
    return scan_word(scan_load_8(p), SCAN_SPECIAL);
}

/* Copies n bytes. False if one of them is special; the copy is made nevertheless. */
static inline bool
scan_copy_plain_words(uint8_t *to, const uint8_t *p, size_t n)
{
    uint64_t found = 0;
    size_t i = 0;

    if (n >= 8) {
        for (; i + 8 < n; i += 8)
            found |= scan_copy_8(to + i, p + i);
        return (found | scan_copy_8(to + n - 8, p + n - 8)) == 0;
    }
    if (n >= 4) {
        found = scan_word(scan_load_4(p) | scan_load_4(p + n - 4) << 32, SCAN_SPECIAL);
        memcpy(to, p, 4);
        memcpy(to + n - 4, p + n - 4, 4);
        return found == 0;
    }
    for (; i < n; i++) {
        to[i] = p[i];
        found |= scan_is_special(p[i], SCAN_SPECIAL);
    }
    return found == 0;
}

#ifdef __SSE2__
/* Bytes of ff where one is special. */
static inline __m128i
scan_copy_16(uint8_t *to, const uint8_t *p)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));

    _mm_storeu_si128((__m128i *)(void *)to, bytes);
    return _mm_or_si128(_mm_or_si128(control, quote), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
}

static inline bool
scan_copy_plain_blocks(uint8_t *to, const uint8_t *p, size_t n)
{
    __m128i found = _mm_setzero_si128();

    if (n < 16)
        return scan_copy_plain_words(to, p, n);
    for (size_t i = 0; i + 16 < n; i += 16)
        found = _mm_or_si128(found, scan_copy_16(to + i, p + i));
    found = _mm_or_si128(found, scan_copy_16(to + n - 16, p + n - 16));
    return _mm_movemask_epi8(found) == 0;
}
#endif

static inline bool
scan_copy_plain(uint8_t *to, const uint8_t *p, size_t n)
{
#ifdef __SSE2__
    return scan_copy_plain_blocks(to, p, n);
#else
    return scan_copy_plain_words(to, p, n);
#endif
}

/* The first byte that is not ASCII, or end. */
static inline const uint8_t *
scan_ascii(const uint8_t *p, const uint8_t *end)
{
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t found;

#ifdef __SSE2__
    if (end - p >= 16) {
        const uint8_t *last = end - 16;
        unsigned bits;

        for (; p < last; p += 16) {
            bits = (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)p));
            if (bits != 0)
                return p + __builtin_ctz(bits);
        }
        bits = (unsigned)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)last));
        return bits != 0 ? last + __builtin_ctz(bits) : end;
    }
#endif
    for (; end - p >= 8; p += 8) {
        found = scan_load_8(p) & tops;
        if (found != 0)
            return p + (__builtin_ctzll(found) >> 3);
    }
    if (end - p >= 4) {
        found = (scan_load_4(p) | scan_load_4(end - 4) << 32) & tops;
        if (found == 0)
            return end;
    }
    while (p < end && *p < 0x80)
        p++;
    return p;
}

#endif
