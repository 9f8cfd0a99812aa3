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

SUITE_MAIN("gaplist", test_each_once, test_too_many)
