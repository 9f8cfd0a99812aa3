/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/position.h"

#include "tests/unit/base/suite.h"

#include <errno.h>

static void
both_ways(uint64_t epoch, uint64_t seq, const char *text)
{
    char out[CURSOR_MAX];
    struct position p = {0};

    ck_assert_uint_eq(cursor_format(out, (struct position){epoch, seq}), strlen(text));
    ck_assert_str_eq(out, text);
    ck_assert_int_eq(cursor_parse(slice_str(text), &p), 0);
    ck_assert_uint_eq(p.epoch, epoch);
    ck_assert_uint_eq(p.seq, seq);
}

static void
refused(const char *text)
{
    struct position p = {7, 7};

    ck_assert_msg(cursor_parse(slice_str(text), &p) == -EINVAL, "taken: %s", text);
    ck_assert_uint_eq(p.seq, 7); /* untouched */
}

START_TEST(test_both_ways)
{
    both_ways(1, 0, "1-0");
    both_ways(0, 0, "0-0");
    both_ways(0x5f3a9c01d2e4b687, 42, "5f3a9c01d2e4b687-42");
    both_ways(UINT64_MAX, UINT64_MAX, "ffffffffffffffff-18446744073709551615");
}
END_TEST

START_TEST(test_only_what_was_written)
{
    refused("");
    refused("-");
    refused("1");
    refused("1-");
    refused("-1");
    refused("01-1");
    refused("1-01");
    refused("A-1"); /* lower case only */
    refused("1-a");
    refused("1-+1");
    refused("1 -1");
    refused("1-1 ");
    refused("1-18446744073709551616"); /* one too many */
    refused("11111111111111111-1");    /* 17 digits */
    refused("1-99999999999999999999999");
}
END_TEST

static void
next(struct cursor_text *c, uint64_t epoch, uint64_t seq)
{
    char out[CURSOR_MAX];
    struct position p = {epoch, seq};
    size_t n = cursor_format(out, p);
    struct slice text = cursor_text_of(c, p);

    ck_assert_msg(slice_equal(text, slice_of(out, n)), "%.*s is not %s", SLICE_ARG(text), out);
}

START_TEST(test_one_after_the_other)
{
    static const uint64_t epochs[] = {0, 1, 0x10, 0x5f3a9c01d2e4b687, UINT64_MAX};
    struct cursor_text c = {0};
    uint64_t state = 1;

    next(&c, 0, 1); /* no cursor was before it */
    for (uint64_t seq = 0; seq < 12000; seq++)
        next(&c, 0xe, seq);
    next(&c, 0xf, 12000);
    for (int i = 0; i < 20000; i++) {
        state = state * 6364136223846793005 + 1442695040888963407;
        uint64_t seq = state >> (state & 63), epoch = epochs[(state >> 40) % 5];

        next(&c, epoch, seq);
        for (uint64_t k = 1; k < 4; k++) /* over the end, too */
            next(&c, epoch, seq + k);
    }
    next(&c, 1, UINT64_MAX);
    next(&c, 1, 0);
}
END_TEST

SUITE_MAIN("position", test_both_ways, test_only_what_was_written, test_one_after_the_other)
