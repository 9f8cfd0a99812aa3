/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/scan.h"

#include "tests/unit/base/suite.h"

static const uint8_t *
model_plain(const uint8_t *p, const uint8_t *end, enum scan_stop stop)
{
    while (p < end && !scan_is_special(*p, stop))
        p++;
    return p;
}

typedef bool (*copy_fn)(uint8_t *to, const uint8_t *p, size_t n);

static void
check_copy(const uint8_t *text, size_t n)
{
    static const copy_fn copies[] = {scan_copy_plain, scan_copy_plain_words,
#ifdef __SSE2__
        scan_copy_plain_blocks
#endif
    };

    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        uint8_t *copy = malloc(n == 0 ? 1 : n);

        ck_assert_int_eq(copies[i](copy, text, n), model_plain(text, text + n, SCAN_SPECIAL) == text + n);
        ck_assert(memcmp(copy, text, n) == 0);
        free(copy);
    }
}

/* From each byte of the text on, with nothing, something and everything before it in sight. */
static void
check_text(const uint8_t *text, size_t n)
{
    const uint8_t *end = text + n;

    for (size_t i = 0; i <= n; i++)
        check_copy(text, i);
    for (const uint8_t *p = text; p <= end; p++) {
        for (enum scan_stop stop = SCAN_SPECIAL; stop <= SCAN_NOT_ASCII; stop++) {
            const uint8_t *expected = model_plain(p, end, stop), *ascii = p;
            const uint8_t *const floors[] = {text, p - (p - text) / 2, p};

            for (size_t i = 0; i < sizeof floors / sizeof floors[0]; i++) {
                ck_assert_ptr_eq(scan_plain(p, end, floors[i], stop), expected);
                ck_assert_ptr_eq(scan_plain_words(p, end, floors[i], stop), expected);
#ifdef __SSE2__
                ck_assert_ptr_eq(scan_plain_blocks(p, end, floors[i], stop), expected);
#endif
            }
            while (ascii < end && *ascii < 0x80)
                ascii++;
            ck_assert_ptr_eq(scan_ascii(p, end), ascii);
        }
    }
}

/* Every byte, at every place of texts that are shorter and longer than what is looked at at once. */
START_TEST(test_one_byte)
{
    for (size_t n = 0; n <= 40; n++) {
        uint8_t *text = malloc(n == 0 ? 1 : n); /* exactly so long: a read past the end is seen */

        memset(text, 'x', n);
        check_text(text, n);
        for (unsigned c = 0; c < 256; c += n < 20 ? 1 : 5) {
            size_t at = (c * 7 + n) % (n == 0 ? 1 : n);

            if (n == 0)
                break;
            text[at] = (uint8_t)c;
            check_text(text, n);
            text[at] = 'x';
        }
        free(text);
    }
}
END_TEST

/* Next to the special ones, and to each other: what a borrow would get wrong. */
START_TEST(test_neighbours)
{
    static const uint8_t bytes[] = {
        0x00, 0x1f, 0x20, 0x21, '"', 0x23, '[', '\\', ']', 0x7f, 0x80, 0xa2, 0xdc, 0xff, 'a'};
    uint64_t seed = 1;
    uint8_t text[37];

    for (unsigned round = 0; round < 5000; round++) {
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            text[i] = seed >> 60 < 10 ? 'a' : bytes[(seed >> 33) % sizeof bytes];
        }
        check_text(text, sizeof text);
    }
}
END_TEST

SUITE_MAIN("scan", test_one_byte, test_neighbours)
