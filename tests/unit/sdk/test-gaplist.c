/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/gaplist.h"

#include "tests/unit/base/suite.h"

#include <stdio.h>

START_TEST(test_each_once)
{
    struct gaplist g = {0};

    gaplist_add(&g, slice_str("a"));
    gaplist_add(&g, slice_str("b"));
    gaplist_add(&g, slice_str("a"));
    gaplist_add(&g, slice_str(""));
    gaplist_add(&g, slice_str(""));
    ck_assert_uint_eq(g.n, 3);
    ck_assert(slice_is(g.items[1], "b"));
    gaplist_clear(&g);
    ck_assert_uint_eq(g.n, 0);
    gaplist_clear(&g);
}
END_TEST

START_TEST(test_too_many)
{
    struct gaplist g = {0};
    char name[16];

    for (unsigned i = 0; i < 3 * GAPLIST_MAX; i++) {
        (void)snprintf(name, sizeof name, "t/%u", i);
        gaplist_add(&g, slice_str(name));
    }
    ck_assert_uint_eq(g.n, GAPLIST_MAX);
    ck_assert_uint_eq(g.items[GAPLIST_MAX - 1].n, 0); /* and others */
    gaplist_clear(&g);
}
END_TEST

/* A gap is news once; and again if more is missing than was told. */
START_TEST(test_told)
{
    struct told_gaps t = {0}, page = {0};

    ck_assert(!told_gaps_has(&t, 1, 10));
    told_gaps_add(&page, 1, 10);
    told_gaps_add(&page, 0, 5);
    told_gaps_take(&t, &page);
    ck_assert_uint_eq(page.n + page.unnamed, 0);
    ck_assert(told_gaps_has(&t, 1, 10));
    ck_assert(told_gaps_has(&t, 1, 9));
    ck_assert(!told_gaps_has(&t, 1, 11));
    ck_assert(!told_gaps_has(&t, 2, 1)); /* a name says more than none */
    ck_assert(told_gaps_has(&t, 0, 5));
    ck_assert(!told_gaps_has(&t, 0, 6));
    for (uint64_t i = 2; i <= GAPLIST_MAX + 1; i++)
        told_gaps_add(&t, i, 20);
    ck_assert_uint_eq(t.n, GAPLIST_MAX);
    ck_assert(told_gaps_has(&t, GAPLIST_MAX + 1, 20)); /* as one of those without a name */
    ck_assert(told_gaps_has(&t, 5000, 20));
    ck_assert(!told_gaps_has(&t, 5000, 21));
    told_gaps_add(&t, 1, 30);
    ck_assert(told_gaps_has(&t, 1, 30));
    told_gaps_clear(&t);
}
END_TEST

SUITE_MAIN("gaplist", test_each_once, test_too_many, test_told)
