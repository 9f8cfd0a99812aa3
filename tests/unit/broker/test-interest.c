/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and the sets of links that hold them. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "broker/interest.h"
#include "broker/linkset.h"

#define N_SLOTS 100u /* two words */

static struct interest_filter *
add(struct interest *in, unsigned slot, const char *pattern)
{
    struct interest_filter *filter = NULL;

    ck_assert_int_eq(interest_add(in, slot, slice_str(pattern), &filter), 0);
    return filter;
}

static void
check_links(const struct interest *in, const char *topic, uint64_t low, uint64_t high)
{
    uint64_t links[LINKSET_WORDS(N_SLOTS)];

    interest_collect(in, slice_str(topic), links);
    ck_assert_uint_eq(links[0], low);
    ck_assert_uint_eq(links[1], high);
}

START_TEST(links_of_all_matching_filters_are_collected)
{
    struct interest in;
    struct interest_filter *filters[5];

    ck_assert_int_eq(interest_init(&in, N_SLOTS), 0);
    filters[0] = add(&in, 0, "a/b");
    filters[1] = add(&in, 1, "a/+");
    filters[2] = add(&in, 65, "#");
    filters[3] = add(&in, 2, "a/+");
    filters[4] = add(&in, 1, "a/b");
    ck_assert_uint_eq(interest_count(&in), 3);
    check_links(&in, "a/b", 7, 2);
    check_links(&in, "a/c", 6, 2);
    check_links(&in, "x", 0, 2);
    check_links(&in, "$sys/x", 0, 0);
    interest_remove(&in, 1, filters[4]);
    check_links(&in, "a/b", 7, 2); /* by its other filter */
    interest_remove(&in, 1, filters[1]);
    check_links(&in, "a/b", 5, 2);
    interest_remove(&in, 0, filters[0]);
    interest_remove(&in, 65, filters[2]);
    interest_remove(&in, 2, filters[3]);
    ck_assert_uint_eq(interest_count(&in), 0);
    interest_fini(&in);
}
END_TEST

START_TEST(a_link_holds_a_filter_once)
{
    struct interest in;
    struct interest_filter *held, *again = NULL;

    ck_assert_int_eq(interest_init(&in, N_SLOTS), 0);
    held = add(&in, 3, "a");
    ck_assert_int_eq(interest_add(&in, 3, slice_str("a"), &again), -EEXIST);
    ck_assert_ptr_null(again);
    interest_remove(&in, 3, held);
    interest_fini(&in);
}
END_TEST

START_TEST(only_wildcards_make_caches_void)
{
    struct interest in;
    struct interest_filter *exact, *wildcard;
    uint32_t before;

    ck_assert_int_eq(interest_init(&in, N_SLOTS), 0);
    before = in.generation;
    exact = add(&in, 3, "a");
    ck_assert_uint_eq(in.generation, before);
    wildcard = add(&in, 3, "+");
    ck_assert_uint_ne(in.generation, before);
    before = in.generation;
    interest_remove(&in, 3, exact);
    ck_assert_uint_eq(in.generation, before);
    in.generation = UINT32_MAX;
    interest_remove(&in, 3, wildcard);
    ck_assert_uint_ne(in.generation, 0); /* 0 is what a topic that was never collected has */
    interest_fini(&in);
}
END_TEST

START_TEST(sets_are_walked_in_order)
{
    uint64_t set[2] = {0};
    unsigned seen[4], n = 0;

    linkset_add(set, 0);
    linkset_add(set, 63);
    linkset_add(set, 64);
    linkset_add(set, 127);
    linkset_for_each(slot, set, 2)
    {
        ck_assert_uint_lt(n, 4);
        seen[n++] = slot;
    }
    ck_assert_uint_eq(n, 4);
    ck_assert(seen[0] == 0 && seen[1] == 63 && seen[2] == 64 && seen[3] == 127);
    ck_assert_uint_eq(linkset_count(set, 2), 4);
    linkset_remove(set, 63);
    ck_assert(!linkset_has(set, 63) && linkset_has(set, 64) && !linkset_is_empty(set, 2));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("interest");
    TCase *t = tcase_create("interest");
    SRunner *runner;
    int n_failed;

    tcase_add_test(t, links_of_all_matching_filters_are_collected);
    tcase_add_test(t, a_link_holds_a_filter_once);
    tcase_add_test(t, only_wildcards_make_caches_void);
    tcase_add_test(t, sets_are_walked_in_order);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
