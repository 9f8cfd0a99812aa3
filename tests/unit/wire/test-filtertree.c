/* SPDX-License-Identifier: Apache-2.0 */
/* The filter tree answers as filter_matches() does, and stays as fast with many filters as with few. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wire/filtertree.h"
#include "wire/names.h"

static struct filtertree *tree;

static void
setup(void)
{
    ck_assert_int_eq(filtertree_new(&tree), 0);
}

static void
teardown(void)
{
    tree = filtertree_free(tree);
}

static void
add(const char *filter)
{
    void **at = filtertree_at(tree, slice_str(filter));
    ck_assert_ptr_nonnull(at);
    *at = (void *)filter;
}

struct found {
    const char *names[32];
    size_t n;
};

static void
on_match(void *value, void *arg)
{
    struct found *found = arg;
    ck_assert_uint_lt(found->n, 32);
    found->names[found->n++] = value;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The filters that match, sorted, joined by spaces. */
static void
assert_match(const char *topic, const char *want)
{
    struct found found = {.n = 0};
    char have[1024] = "";

    filtertree_match(tree, slice_str(topic), on_match, &found);
    qsort(found.names, found.n, sizeof *found.names, by_name);
    for (size_t i = 0; i < found.n; i++) {
        size_t n = strlen(have);
        (void)snprintf(have + n, sizeof have - n, "%s%s", i > 0 ? " " : "", found.names[i]);
    }
    ck_assert_msg(strcmp(have, want) == 0, "topic '%s' matches '%s', not '%s'", topic, have, want);
}

START_TEST(test_match)
{
    const char *filters[] = {
        "#", "+", "a", "a/#", "a/+", "a/b", "a/b/#", "+/b", "+/+/c", "a//b", "$sys/#", "$sys/+/x", "/+"};

    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        add(filters[i]);
    assert_match("a", "# + a a/#");
    assert_match("b", "# +");
    assert_match("a/b", "# +/b a/# a/+ a/b a/b/#");
    assert_match("a/b/c", "# +/+/c a/# a/b/#");
    assert_match("a//b", "# a/# a//b");
    assert_match("a/", "# a/# a/+");
    assert_match("/", "# /+");
    assert_match("$sys", "$sys/#"); /* no wildcard of the first level */
    assert_match("$sys/broker/x", "$sys/# $sys/+/x");
    assert_match("$inbox", "");
}
END_TEST

START_TEST(test_add_twice_and_remove)
{
    struct slice f = slice_str("a/b/c");
    void **at = filtertree_at(tree, f);

    ck_assert_ptr_nonnull(at);
    ck_assert_ptr_null(*at); /* a new one has no value */
    *at = tree;
    ck_assert_ptr_eq(*filtertree_at(tree, f), tree); /* the same place again */
    ck_assert_uint_eq(filtertree_count(tree), 1);
    ck_assert_ptr_null(filtertree_find(tree, slice_str("a/b"))); /* on the way, but no filter */
    ck_assert_ptr_null(filtertree_remove(tree, slice_str("a/b")));
    ck_assert_ptr_null(filtertree_remove(tree, slice_str("a/b/c/d")));
    ck_assert_ptr_eq(filtertree_remove(tree, f), tree);
    ck_assert_ptr_null(filtertree_find(tree, f));
    ck_assert_ptr_null(filtertree_remove(tree, f));
    ck_assert_uint_eq(filtertree_count(tree), 0);
}
END_TEST

START_TEST(test_remove_keeps_the_others)
{
    add("a/b");
    add("a/b/c");
    add("a/+/c");
    ck_assert_ptr_nonnull(filtertree_remove(tree, slice_str("a/b")));
    assert_match("a/b", "");
    assert_match("a/b/c", "a/+/c a/b/c");
    ck_assert_ptr_nonnull(filtertree_remove(tree, slice_str("a/b/c")));
    assert_match("a/b/c", "a/+/c");
}
END_TEST

START_TEST(test_invalid_filter_has_no_place)
{
    char deep[2 * TOPIC_MAX_LEVELS + 2];

    for (size_t i = 0; i < sizeof deep - 1; i++)
        deep[i] = i % 2 == 0 ? '+' : '/';
    deep[sizeof deep - 1] = '\0';
    ck_assert_ptr_null(filtertree_at(tree, slice_str(deep)));
    ck_assert_ptr_null(filtertree_at(tree, slice_str("")));
    ck_assert_ptr_null(filtertree_at(tree, slice_str("a/#/b")));
    deep[2 * TOPIC_MAX_LEVELS - 1] = '\0'; /* just the deepest */
    ck_assert_ptr_nonnull(filtertree_at(tree, slice_str(deep)));
    /* A topic that is too deep, should one ever come here, ends the walk and nothing else. */
    memset(deep, '/', sizeof deep - 1);
    assert_match(deep, "");
}
END_TEST

/* ---- Against filter_matches(): random filters and topics of few letters, so that much matches. ---- */

static uint64_t seed;

static unsigned
pick(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static void
random_name(char *out, bool is_filter)
{
    static const char *const levels[] = {"", "a", "b", "c", "$x", "ab", "+", "+"};
    unsigned n_levels = 1 + pick(5);

    *out = '\0';
    for (unsigned i = 0; i < n_levels; i++) {
        if (i > 0)
            strcat(out, "/");
        if (is_filter && i + 1 == n_levels && pick(4) == 0)
            strcat(out, "#");
        else
            strcat(out, levels[pick(is_filter ? 8 : 6)]);
    }
    if (*out == '\0')
        strcpy(out, "a");
}

static void
count_match(void *value, void *arg)
{
    (void)arg;
    ++*(int *)value;
}

START_TEST(test_random)
{
    enum { N = 400 };
    static struct {
        char text[64];
        int n_hits;
        bool is_held;
    } filters[N];

    seed = 42;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            if (filters[i].is_held && pick(2) == 0) {
                ck_assert_ptr_eq(filtertree_remove(tree, slice_str(filters[i].text)), &filters[i].n_hits);
                filters[i].is_held = false;
            }
            if (filters[i].is_held)
                continue;
            random_name(filters[i].text, true);
            void **at = filtertree_at(tree, slice_str(filters[i].text));
            ck_assert_ptr_nonnull(at);
            if (*at != NULL) /* another one has this filter */
                continue;
            *at = &filters[i].n_hits;
            filters[i].is_held = true;
        }
        for (int t = 0; t < 200; t++) {
            char topic[64];
            random_name(topic, false);
            for (int i = 0; i < N; i++)
                filters[i].n_hits = 0;
            filtertree_match(tree, slice_str(topic), count_match, NULL);
            for (int i = 0; i < N; i++) {
                int want = filters[i].is_held && filter_matches(slice_str(filters[i].text), slice_str(topic));
                ck_assert_msg(filters[i].n_hits == want, "filter '%s' hit topic '%s' %d times, not %d",
                    filters[i].text, topic, filters[i].n_hits, want);
            }
        }
    }
    for (int i = 0; i < N; i++)
        if (filters[i].is_held)
            ck_assert_ptr_nonnull(filtertree_remove(tree, slice_str(filters[i].text)));
    ck_assert_uint_eq(filtertree_count(tree), 0);
    assert_match("a", "");
}
END_TEST

START_TEST(test_many_under_one_parent)
{
    static int hits;
    char name[64];
    struct timespec start, end;

    for (int i = 0; i < 100000; i++) {
        (void)snprintf(name, sizeof name, i % 2 == 0 ? "rooms/%d" : "rooms/%d/+", i);
        void **at = filtertree_at(tree, slice_str(name));
        ck_assert_ptr_nonnull(at);
        *at = &hits;
    }
    ck_assert_uint_eq(filtertree_count(tree), 100000);
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(name, sizeof name, "rooms/%d", 2 * i);
        filtertree_match(tree, slice_str(name), count_match, NULL);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    ck_assert_int_eq(hits, 10000);
    /* A walk over all would need minutes; the bound is loose for slow machines under sanitizers. */
    ck_assert_int_lt((int)(end.tv_sec - start.tv_sec), 5);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("filtertree");
    TCase *tc = tcase_create("filtertree");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_match);
    tcase_add_test(tc, test_add_twice_and_remove);
    tcase_add_test(tc, test_remove_keeps_the_others);
    tcase_add_test(tc, test_invalid_filter_has_no_place);
    tcase_add_test(tc, test_random);
    tcase_add_test(tc, test_many_under_one_parent);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
