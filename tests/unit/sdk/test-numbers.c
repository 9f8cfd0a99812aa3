/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/numbers.h"

#include "tests/unit/base/suite.h"

START_TEST(test_numbers)
{
    struct numbers n;
    int values[40];
    uint64_t first, second;

    numbers_init(&n);
    ck_assert(!numbers_was_given(&n, 1 << 24));
    first = numbers_add(&n, &values[0]);
    ck_assert_uint_eq(first, 1 << 24);
    ck_assert_ptr_eq(numbers_find(&n, first), &values[0]);
    numbers_remove(&n, first);
    numbers_remove(&n, first);
    ck_assert_ptr_null(numbers_find(&n, first));
    second = numbers_add(&n, &values[1]);
    ck_assert_uint_eq(second, 2 << 24); /* in the same place, with another number */
    ck_assert_ptr_null(numbers_find(&n, first));
    ck_assert(numbers_was_given(&n, first));
    ck_assert(!numbers_was_given(&n, 3 << 24));
    ck_assert(!numbers_was_given(&n, 0));
    ck_assert(!numbers_was_given(&n, UINT64_MAX));
    for (int i = 2; i < 40; i++)
        ck_assert_uint_eq(numbers_add(&n, &values[i]), (uint64_t)(i + 1) << 24 | (uint64_t)(i - 1));
    ck_assert_ptr_eq(numbers_find(&n, (uint64_t)40 << 24 | 38), &values[39]);
    ck_assert_ptr_eq(numbers_find(&n, second), &values[1]);
    numbers_fini(&n);
}
END_TEST

SUITE_MAIN("numbers", test_numbers)
