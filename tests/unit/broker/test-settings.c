/* SPDX-License-Identifier: Apache-2.0 */
/* The list `topics`: which item holds. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "broker/options.h"
#include "broker/settings.h"
#include "wire/frame.h"

#define MAX_MESSAGE 500u

static struct settings *
load(const char *yaml)
{
    struct conf_items items = {0};
    const struct conf_bind bind = {&topics_section, &items};
    const struct conf_request request = {.binds = &bind, .n_binds = 1};
    struct conf_errors errors;
    struct settings *settings;

    ck_assert_int_eq(conf_load_memory(&request, "test.yaml", yaml, strlen(yaml), &errors), 0);
    ck_assert_int_eq(settings_new(&items, MAX_MESSAGE, &settings), 0);
    conf_free(&bind, 1); /* nothing of it is needed any more */
    return settings;
}

static void
check_topics(struct conf_check *check, void *arg)
{
    topic_options_check(check, arg);
}

static uint64_t
messages(const struct settings *s, const char *topic)
{
    return settings_find(s, slice_str(topic))->limits.messages;
}

START_TEST(first_item_that_matches_holds)
{
    struct settings *s = load("topics:\n"
                              "- {match: 'a/b', history: {messages: 1}}\n"
                              "- {match: 'a/#', history: {messages: 2}}\n"
                              "- {match: 'a/c', history: {messages: 3}}\n"
                              "- {match: '+/d', history: {messages: 4}}\n"
                              "- {match: 'a/b', history: {messages: 5}}\n");

    ck_assert_uint_eq(messages(s, "a/b"), 1);
    ck_assert_uint_eq(messages(s, "a"), 2);
    ck_assert_uint_eq(messages(s, "a/c"), 2); /* the third item never holds */
    ck_assert_uint_eq(messages(s, "a/d"), 2);
    ck_assert_uint_eq(messages(s, "x/d"), 4);
    ck_assert_uint_eq(messages(s, "x"), 100); /* the table's default */
    settings_free(s);
}
END_TEST

START_TEST(options_become_limits)
{
    struct settings *s =
        load("topics:\n"
             "- {match: big, max_message: 8MiB, retain: last, slow_consumer: drop_oldest}\n"
             "- {match: small, max_message: 10B, retain: none, publish: false, subscribe: false,\n"
             "   history: {age: 2s, bytes: 1KiB}}\n");
    const struct setting *big = settings_find(s, slice_str("big")),
                         *small = settings_find(s, slice_str("small"));

    ck_assert_uint_eq(big->max_message, MAX_MESSAGE); /* the broker's own limit holds too */
    ck_assert(big->limits.keeps_last_retained && !big->limits.keeps_no_retained);
    ck_assert_uint_eq(big->policy, SLOW_DROP_OLDEST);
    ck_assert(big->may_publish && big->may_subscribe);
    ck_assert_uint_eq(small->max_message, 10);
    ck_assert(!small->limits.keeps_last_retained && small->limits.keeps_no_retained);
    ck_assert_uint_eq(small->policy, SLOW_DISCONNECT);
    ck_assert(!small->may_publish && !small->may_subscribe);
    ck_assert_uint_eq(small->limits.age_ms, 2000);
    ck_assert_uint_eq(small->limits.bytes, 1024);
    settings_free(s);
}
END_TEST

START_TEST(names_with_a_dollar_are_the_buss_own)
{
    struct settings *s =
        load("topics: [{match: '#', history: {messages: 7}}, {match: '$sys/#', publish: true}]\n");
    const struct setting *sys = settings_find(s, slice_str("$sys/broker"));

    ck_assert_uint_eq(sys->limits.messages, 0);
    ck_assert(sys->limits.keeps_last_retained && sys->limits.is_unrecoverable && sys->limits.is_volatile);
    ck_assert(!sys->may_publish && sys->may_subscribe);
    ck_assert(!settings_find(s, slice_str("$other"))->may_publish);
    ck_assert_uint_eq(messages(s, "other"), 7);
    settings_free(s);
}
END_TEST

START_TEST(queue_is_what_says_so)
{
    const char *yaml =
        "topics:\n"
        "- {match: jobs, queue: {lease: 5s, dead_letter: 'buried/{topic}', ordered_keys: true}}\n"
        "- {match: chat, queue: {enabled: false, max_deliveries: 3}}\n"
        "- {match: work, queue: {enabled: true}}\n";
    struct conf_items items = {0};
    const struct conf_bind bind = {&topics_section, &items};
    const struct conf_request request = {
        .binds = &bind, .n_binds = 1, .check = check_topics, .check_arg = &items};
    const struct setting *jobs, *chat;
    struct conf_errors errors;
    struct settings *s;

    ck_assert_int_eq(conf_load_memory(&request, "test.yaml", yaml, strlen(yaml), &errors), 0);
    ck_assert_int_eq(settings_new(&items, MAX_MESSAGE, &s), 0);
    conf_free(&bind, 1);
    jobs = settings_find(s, slice_str("jobs"));
    chat = settings_find(s, slice_str("chat"));
    ck_assert(jobs->queue.is_queue && jobs->limits.is_held && jobs->queue.trims_done);
    ck_assert(jobs->queue.has_ordered_keys && !jobs->is_key_once);
    ck_assert_uint_eq(jobs->queue.lease_ms, 5000);
    ck_assert_str_eq(jobs->queue.dead_letter, "buried/{topic}");
    ck_assert(!chat->queue.is_queue && !chat->limits.is_held && chat->is_key_once);
    ck_assert_uint_eq(chat->queue.max_deliveries, 3);
    ck_assert(settings_find(s, slice_str("work"))->queue.is_queue);
    ck_assert(!settings_find(s, slice_str("other"))->queue.is_queue);
    ck_assert_str_eq(settings_find(s, slice_str("other"))->queue.dead_letter, "dead/{topic}");
    settings_free(s);
}
END_TEST

START_TEST(bus_has_settings_for_its_own_queues)
{
    struct settings *s = load("topics: [{match: 'svc/#', max_message: 99B, request: {ttl: 7s}}]\n");
    const struct setting *requests = settings_find(s, slice_str("$requests/svc/add")),
                         *dead = settings_find(s, slice_str("dead/jobs"));

    ck_assert(requests->queue.is_queue && requests->is_hidden);
    ck_assert(!requests->may_publish && !requests->may_subscribe);
    ck_assert_uint_eq(requests->max_message, 99);
    ck_assert_uint_eq(requests->request_ttl_ms, 7000);
    ck_assert_uint_eq(settings_find(s, slice_str("$requests/other"))->request_ttl_ms, 3600000);
    ck_assert(settings_find(s, slice_str("$replies/0123"))->is_hidden);
    ck_assert(!settings_find(s, slice_str("$replies/0123"))->may_subscribe);
    ck_assert(!dead->queue.is_queue && dead->queue.trims_done && dead->may_subscribe);
    ck_assert_uint_eq(dead->limits.messages, 1000000);
    ck_assert_uint_eq(dead->limits.age_ms, 0);
    settings_free(s);
    s = load("topics: [{match: '#', history: {messages: 5}}]\n");
    ck_assert_uint_eq(messages(s, "dead/jobs"), 5); /* somebody said something else */
    settings_free(s);
}
END_TEST

/* The reader of the file refuses it before, with its place: tests/unit/cli/test-allconf.c. */
START_TEST(bad_filter_is_refused)
{
    struct topic_options options[2] = {{.match = (char *)"a/#"}, {.match = (char *)"a/#/b"}};
    struct conf_items items = {.p = options, .n = 2};
    struct settings *s;

    ck_assert_int_lt(settings_new(&items, 1, &s), 0);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("settings");
    TCase *t = tcase_create("settings");
    SRunner *runner;
    int n_failed;

    tcase_add_test(t, first_item_that_matches_holds);
    tcase_add_test(t, options_become_limits);
    tcase_add_test(t, names_with_a_dollar_are_the_buss_own);
    tcase_add_test(t, queue_is_what_says_so);
    tcase_add_test(t, bus_has_settings_for_its_own_queues);
    tcase_add_test(t, bad_filter_is_refused);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
