/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/utf8.h"

#include "tests/unit/base/suite.h"

#include <string.h>

/* The rules once more, in another shape: decode, then look at the value. */
static bool
model_is_valid(const uint8_t *p, size_t n)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

    for (size_t i = 0; i < n;) {
        size_t more = p[i] < 0x80             ? 0
                      : (p[i] & 0xe0) == 0xc0 ? 1
                      : (p[i] & 0xf0) == 0xe0 ? 2
                      : (p[i] & 0xf8) == 0xf0 ? 3
                                              : 9;
        uint32_t v;

        if (more == 9 || i + more >= n + (more == 0))
            return false;
        v = more == 0 ? p[i] : p[i] & (0x3fu >> more);
        for (size_t k = 1; k <= more; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
            v = v << 6 | (p[i + k] & 0x3f);
        }
        if (v < least[more] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
            return false;
        i += more + 1;
    }
    return true;
}

static void
check_utf8(const char *s, size_t n, bool expected)
{
    for (size_t cut = 0; cut <= n; cut++) {
        uint32_t state = utf8_feed(utf8_feed(UTF8_ACCEPT, s, cut), s + cut, n - cut);

        ck_assert_msg((state == UTF8_ACCEPT) == expected, "%s cut at %zu: state %x", s, cut, state);
    }
    ck_assert_int_eq(utf8_is_valid(s, n), expected);
}

#define GOOD(s) check_utf8(s, sizeof(s) - 1, true)
#define BAD(s) check_utf8(s, sizeof(s) - 1, false)

START_TEST(test_rules)
{
    GOOD("");
    GOOD("plain ascii that is longer than one word");
    GOOD("\0with NUL");
    GOOD("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 and more text after");
    GOOD("\xed\x9f\xbf\xee\x80\x80"); /* either side of the surrogates */
    GOOD("\xf4\x8f\xbf\xbf");         /* U+10FFFF */
    BAD("\x80");                      /* continuation alone */
    BAD("12345678\xff");
    BAD("\xc0\xaf"); /* overlong */
    BAD("\xc1\xbf");
    BAD("\xe0\x9f\xbf");
    BAD("\xf0\x8f\xbf\xbf");
    BAD("\xed\xa0\x80");     /* surrogate */
    BAD("\xf4\x90\x80\x80"); /* above U+10FFFF */
    BAD("\xf5\x80\x80\x80");
    BAD("\xc3"); /* cut off */
    BAD("\xe2\x82");
    BAD("\xf0\x9f\x98");
    BAD("\xe2\x82"
        "a");
}
END_TEST

START_TEST(test_every_short_sequence)
{
    uint8_t s[3];

    for (unsigned v = 0; v < 0x10000; v++) {
        s[0] = (uint8_t)(v >> 8);
        s[1] = (uint8_t)v;
        for (unsigned last = 0; last < 256; last += 0x15) {
            s[2] = (uint8_t)last;
            ck_assert_int_eq(utf8_is_valid(s, 3), model_is_valid(s, 3));
        }
        ck_assert_int_eq(utf8_is_valid(s, 2), model_is_valid(s, 2));
    }
}
END_TEST

START_TEST(test_encode_every_code_point)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        uint8_t out[4];
        size_t n = utf8_encode(c, out);
        bool is_surrogate = c >= 0xd800 && c <= 0xdfff;

        if (utf8_is_valid(out, n) == is_surrogate)
            ck_abort_msg("U+%04X: %zu bytes", c, n);
        if (n != (c < 0x80 ? 1u : c < 0x800 ? 2u : c < 0x10000 ? 3u : 4u))
            ck_abort_msg("U+%04X: %zu bytes", c, n);
    }
}
END_TEST

START_TEST(test_rejected_for_ever)
{
    uint32_t state = utf8_feed(UTF8_ACCEPT, "\xff", 1);

    ck_assert_uint_eq(state, UTF8_REJECT);
    ck_assert_uint_eq(utf8_feed(state, "fine", 4), UTF8_REJECT);
    ck_assert_uint_eq(utf8_feed(state, "", 0), UTF8_REJECT);
}
END_TEST

SUITE_MAIN(
    "utf8", test_rules, test_every_short_sequence, test_encode_every_code_point, test_rejected_for_ever)
