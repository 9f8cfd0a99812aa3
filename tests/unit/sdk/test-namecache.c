/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/namecache.h"

#include "tests/unit/base/suite.h"

static void
get(struct namecache *c, const char *topic, uint64_t handle, bool is_new)
{
    struct namecache_entry *e = namecache_find(c, slice_str(topic));
    bool got_new = !is_new;

    if (e == NULL)
        e = namecache_add(c, slice_str(topic));
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(namecache_use(c, e, &got_new), handle);
    ck_assert_msg(got_new == is_new, "%s: new %d", topic, got_new);
}

START_TEST(test_names_once)
{
    struct namecache c;

    namecache_init(&c, 4);
    get(&c, "a", 0, true);
    get(&c, "a", 0, false);
    get(&c, "b", 1, true);
    get(&c, "a", 0, false);
    namecache_renew(&c); /* another link knows none */
    get(&c, "b", 1, true);
    get(&c, "b", 1, false);
    get(&c, "a", 0, true);
    namecache_fini(&c);
}
END_TEST

START_TEST(test_longest_unused_goes)
{
    struct namecache c;

    namecache_init(&c, 3);
    get(&c, "a", 0, true);
    get(&c, "b", 1, true);
    get(&c, "c", 2, true);
    get(&c, "a", 0, false);
    get(&c, "d", 1, true); /* b's */
    get(&c, "b", 2, true); /* c's */
    get(&c, "a", 0, false);
    namecache_fini(&c);
}
END_TEST

START_TEST(test_found_is_used)
{
    struct namecache c;

    namecache_init(&c, 2);
    ck_assert_ptr_null(namecache_find(&c, slice_str("a")));
    get(&c, "a", 0, true);
    get(&c, "b", 1, true);
    ck_assert_ptr_nonnull(namecache_find(&c, slice_str("b"))); /* the last */
    ck_assert_ptr_nonnull(namecache_find(&c, slice_str("a")));
    ck_assert_ptr_null(namecache_find(&c, slice_str("ab")));
    ck_assert_ptr_null(namecache_find(&c, slice_of(NULL, 0)));
    get(&c, "c", 1, true); /* b's */
    get(&c, "a", 0, false);
    ck_assert_ptr_null(namecache_find(&c, slice_str("b")));
    namecache_fini(&c);
}
END_TEST

/* Where a short name was stands a long one, and the other way round. */
START_TEST(test_names_of_any_length)
{
    struct namecache c;
    char name[200];

    namecache_init(&c, 2);
    for (size_t i = 0; i < 400; i++) {
        size_t n = 1 + i * 67 % 190;

        memset(name, 'a' + (char)(i % 26), n);
        name[n] = '\0';
        get(&c, name, i % 2, true);
        get(&c, name, i % 2, false);
    }
    namecache_fini(&c);
}
END_TEST

SUITE_MAIN(
    "namecache", test_names_once, test_longest_unused_goes, test_found_is_used, test_names_of_any_length)
