/* SPDX-License-Identifier: Apache-2.0 */
/* One line for each rule of topics and filters. */
#include "config.h"

#include <check.h>

#include "wire/names.h"

/* Both kinds of name; what is a clause of the error, or NULL. */
static void
assert_error(const char *have, const char *want, const char *kind, struct slice name)
{
    if (want == NULL)
        ck_assert_msg(have == NULL, "%s '%.*s': '%s', should be valid", kind, SLICE_ARG(name), have);
    else
        ck_assert_msg(have != NULL && strstr(have, want) != NULL, "%s '%.*s': '%s', should say '%s'", kind,
            SLICE_ARG(name), have == NULL ? "valid" : have, want);
}

static void
topic_n(const char *p, size_t n, const char *want)
{
    assert_error(topic_name_error(slice_of(p, n)), want, "topic", slice_of(p, n));
}

static void
topic(const char *s, const char *want)
{
    topic_n(s, strlen(s), want);
}

static void
filter(const char *s, const char *want)
{
    assert_error(filter_error(slice_str(s)), want, "filter", slice_str(s));
}

START_TEST(test_topics)
{
    char longest[TOPIC_MAX_BYTES + 1], deepest[2 * TOPIC_MAX_LEVELS + 1];

    topic("a", NULL);
    topic("chat/room 1/\xc3\xa9", NULL); /* spaces and any language */
    topic("/", NULL);                    /* empty levels are levels */
    topic("a//b/", NULL);
    topic("$sys/broker", NULL); /* a name; who may publish there is another question */
    topic("a.b:c*", NULL);      /* other protocols' separators pass */
    topic("", "empty");
    topic("a/+/b", "wildcard");
    topic("a/#", "wildcard");
    topic("C#", "wildcard"); /* also where it would not be one in a filter */
    topic("a\tb", "control");
    topic("a\x7f", "control");     /* DEL */
    topic("a\xc2\x85", "control"); /* U+0085 */
    topic("a\xc2\xa0", NULL);      /* U+00A0 is none */
    topic_n("a\0b", 3, "control"); /* NUL */
    topic("a\xff", "UTF-8");
    topic("\xc0\xaf", "UTF-8");     /* an overlong '/' */
    topic("\xed\xa0\x80", "UTF-8"); /* a surrogate */
    topic("\xe2\x82", "UTF-8");     /* cut off */
    memset(longest, 'x', sizeof longest);
    topic_n(longest, TOPIC_MAX_BYTES, NULL);
    topic_n(longest, TOPIC_MAX_BYTES + 1, "longer");
    memset(deepest, '/', sizeof deepest);
    topic_n(deepest, TOPIC_MAX_LEVELS - 1, NULL); /* n slashes are n + 1 levels */
    topic_n(deepest, TOPIC_MAX_LEVELS, "levels");
}
END_TEST

START_TEST(test_filters)
{
    filter("a/b", NULL); /* a topic is a filter */
    filter("+", NULL);
    filter("#", NULL);
    filter("+/+/#", NULL);
    filter("a/+/b", NULL);
    filter("/+", NULL);
    filter("+/", NULL);
    filter("a/#", NULL);
    filter("$sys/#", NULL);
    filter("", "empty");
    filter("a+", "whole level");
    filter("+a/b", "whole level");
    filter("a/b#", "whole level");
    filter("##", "whole level");
    filter("+#", "whole level");
    filter("a/#/b", "last level");
    filter("#/", "last level");
    filter("a\n", "control");
    filter("a/\xff", "UTF-8");
}
END_TEST

static void
matches(const char *f, const char *t, bool want)
{
    ck_assert_msg(filter_matches(slice_str(f), slice_str(t)) == want,
        "filter '%s' on topic '%s': should be %d", f, t, want);
}

START_TEST(test_matching)
{
    matches("a/b", "a/b", true);
    matches("a/b", "a/c", false);
    matches("a/b", "a", false);
    matches("a", "a/b", false);
    matches("a", "ab", false); /* levels, not prefixes */
    matches("+", "a", true);
    matches("+", "a/b", false);
    matches("+", "", false);
    matches("a/+", "a", false); /* one level, not none */
    matches("a/+", "a/", true); /* an empty level is one */
    matches("+/+", "/", true);
    matches("+", "/", false);
    matches("a/+/c", "a/b/c", true);
    matches("a/+/c", "a/b/d", false);
    matches("#", "a", true);
    matches("#", "a/b/c", true);
    matches("#", "/", true);
    matches("a/#", "a", true); /* its parent too */
    matches("a/#", "a/", true);
    matches("a/#", "a/b/c", true);
    matches("a/#", "ab", false);
    matches("a/#", "b", false);
    matches("+/#", "a", true);
    matches("a/+/#", "a", false);
    matches("a/+/#", "a/b", true);
    matches("#", "$sys", false); /* the bus's own names are asked for by name */
    matches("#", "$sys/x", false);
    matches("+", "$sys", false);
    matches("+/x", "$sys/x", false);
    matches("+/#", "$sys/x", false);
    matches("$sys/#", "$sys", true);
    matches("$sys/+", "$sys/x", true);
    matches("a/+", "a/$x", true); /* only in the first level */
    matches("a/#", "a/$x", true);
}
END_TEST

START_TEST(test_kinds)
{
    ck_assert(filter_has_wildcard(slice_str("a/+")));
    ck_assert(filter_has_wildcard(slice_str("#")));
    ck_assert(!filter_has_wildcard(slice_str("a/b")));
    ck_assert(topic_is_reserved(slice_str("$sys")));
    ck_assert(topic_is_reserved(slice_str("$sys/x")));
    ck_assert(!topic_is_reserved(slice_str("$system")));
    ck_assert(!topic_is_reserved(slice_str("$inbox/x"))); /* replies are published by clients */
    ck_assert(!topic_is_reserved(slice_str("a/$sys")));
    ck_assert(!topic_is_reserved(slice_str("")));
}
END_TEST

START_TEST(test_weight)
{
    char longest[TOPIC_MAX_BYTES + 1], deepest[2 * TOPIC_MAX_LEVELS];

    ck_assert_uint_eq(filter_weight(slice_str("#")), 1);
    ck_assert_uint_eq(filter_weight(slice_str("a/b/c/d/e/f/g/h")), 1); /* 8 levels */
    ck_assert_uint_eq(filter_weight(slice_str("a/b/c/d/e/f/g/h/i")), 2);
    memset(longest, 'x', TOPIC_MAX_BYTES);
    ck_assert_uint_eq(filter_weight(slice_of(longest, 128)), 1);
    ck_assert_uint_eq(filter_weight(slice_of(longest, 129)), 2);
    ck_assert_uint_eq(filter_weight(slice_of(longest, TOPIC_MAX_BYTES)), 8);
    for (int i = 0; i < 2 * TOPIC_MAX_LEVELS - 1; i++)
        deepest[i] = i % 2 == 0 ? '+' : '/';
    ck_assert_uint_eq(filter_weight(slice_of(deepest, 2 * TOPIC_MAX_LEVELS - 1)), 1 + 15 + 1);
}
END_TEST

START_TEST(test_groups)
{
    char longest[GROUP_MAX_BYTES + 1];

    memset(longest, 'g', sizeof longest);
    ck_assert_ptr_null(group_name_error(slice_str("workers-1.eu_2")));
    ck_assert_ptr_null(group_name_error(slice_of(longest, GROUP_MAX_BYTES)));
    ck_assert_ptr_nonnull(group_name_error(slice_of(longest, sizeof longest)));
    ck_assert_ptr_nonnull(group_name_error(slice_str("")));
    ck_assert_ptr_nonnull(group_name_error(slice_str("a/b")));
    ck_assert_ptr_nonnull(group_name_error(slice_str("caf\xc3\xa9")));
    ck_assert_ptr_nonnull(group_name_error(slice_of("a\0b", 3)));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("names");
    TCase *tc = tcase_create("names");

    tcase_add_test(tc, test_topics);
    tcase_add_test(tc, test_filters);
    tcase_add_test(tc, test_matching);
    tcase_add_test(tc, test_kinds);
    tcase_add_test(tc, test_weight);
    tcase_add_test(tc, test_groups);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
