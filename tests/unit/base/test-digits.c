/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/digits.h"

#include "tests/unit/base/suite.h"

#include <inttypes.h>
#include <stdio.h>

static void
check_digits(uint64_t v)
{
    /* Exactly so large, so that a write past the end is seen. */
    uint8_t *room = malloc(DIGITS_ROOM);
    size_t n = (size_t)(digits_put(room, v) - room), n_expected;
    char expected[32];

    n_expected = (size_t)snprintf(expected, sizeof expected, "%" PRIu64, v);
    ck_assert_msg(n == n_expected && memcmp(room, expected, n) == 0, "%.*s for %s", (int)n,
        (const char *)room, expected);
    free(room);
}

START_TEST(test_edges)
{
    uint64_t power = 1;

    check_digits(0);
    for (unsigned i = 0; i < 20; i++) {
        check_digits(power - 1);
        check_digits(power);
        check_digits(power + 1);
        check_digits(power * 9);
        power *= 10;
    }
    check_digits(UINT64_MAX);
}
END_TEST

/* Each pair of digits and each place, and numbers of every length. */
START_TEST(test_many)
{
    uint64_t seed = 1;

    for (uint32_t v = 0; v < 20000; v++) {
        check_digits(v);
        check_digits(v * 10000u + 7);
    }
    for (unsigned i = 0; i < 100000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        check_digits(seed >> i % 64);
    }
}
END_TEST

SUITE_MAIN("digits", test_edges, test_many)
