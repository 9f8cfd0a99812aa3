/* SPDX-License-Identifier: Apache-2.0 */
/* Every option table is right in itself; the sample says what the tables say; checks across sections. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/allconf.h"

static struct conf_errors errs;
static struct allconf conf;

static int
load_set(const char *const *set, size_t n)
{
    struct proc_args args = {.n_set = n};

    for (size_t i = 0; i < n; i++)
        args.set[i] = set[i];
    allconf_free(&conf);
    return allconf_load(&conf, &args, &errs);
}

START_TEST(test_tables)
{
    for (size_t i = 0; allconf_sections[i] != NULL; i++) {
        int r = conf_check_section(allconf_sections[i], &errs);
        conf_errors_print(&errs, stderr);
        ck_assert_int_eq(r, 0);
    }
}
END_TEST

/* A section that base/sections.tbl.h does not name would be an error in every other process. */
START_TEST(test_sections_are_known)
{
    for (size_t i = 0; allconf_sections[i] != NULL; i++) {
        bool is_known = false;
        for (size_t k = 0; conf_all_sections[k] != NULL; k++)
            is_known |= strcmp(conf_all_sections[k], allconf_sections[i]->name) == 0;
        ck_assert_msg(is_known, "%s", allconf_sections[i]->name);
    }
}
END_TEST

START_TEST(test_defaults)
{
    ck_assert_int_eq(load_set(NULL, 0), 0);
    ck_assert_str_eq(conf.bus.runtime_dir, "/run/busbar");
    ck_assert_uint_eq(conf.http.listen.port, 8080);
    ck_assert_uint_eq(conf.limits.queue_bytes, 1 << 20);

    struct topic_options topic;
    ck_assert_int_eq(topic_options_default(&topic), 0);
    ck_assert_str_eq(topic.match, "#");
    ck_assert_uint_eq(topic.history_messages, 100);
    ck_assert_int_eq(topic.retain, TOPIC_RETAIN_FLAG);
    ck_assert_int_eq(topic.slow_consumer, TOPIC_SLOW_DISCONNECT);
    topic_options_fini(&topic);
}
END_TEST

START_TEST(test_across_sections)
{
    static const struct {
        const char *set[2];
        const char *expected;
    } wrong[] = {
        {{"ws.listen=*:8080", NULL}, "ws.listen: does not go with http.listen: both have one port"},
        {{"ws.listen=127.0.0.1:0", "ws.workers=2"}, "ws.listen: has port 0"},
        {{"tcp.listen=", NULL}, "tcp.listen: is empty"},
        {{"up.restart_delay=1m", NULL},
            "up.restart_delay: does not go with up.restart_delay_max: the longest"},
        {{"ws.path=ws", NULL}, "ws.path: \"ws\" must begin with /"},
        {{"ws.raw_path=/ws", NULL}, "ws.raw_path: does not go with ws.path: they must be"},
        {{"jwt.key_file=a", "jwt.key_env=B"}, "jwt.key_file: does not go with jwt.key_env: name one"},
        {{"cable.identified_by={", NULL}, "cable.identified_by: \"{\" gives no name"},
        {{"cable.path=cable", NULL}, "cable.path: \"cable\" must begin with /"},
        {{"cable.path=/ws", NULL}, "cable.path: does not go with ws.path: they must be"},
        {{"cable.path=/raw", NULL}, "cable.path: does not go with ws.raw_path: they must be"},
        {{"cable.turbo_secret_file=a", "cable.turbo_secret_env=B"},
            "cable.turbo_secret_file: does not go with cable.turbo_secret_env: name one"},
        {{"ws.origins=https://a.example/", NULL}, "ws.origins: \"https://a.example/\" is no web site"},
        {{"http.cors_origins=https://a.example:1,a.example", NULL},
            "http.cors_origins: \"a.example\" is no web site"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_int_eq(load_set(wrong[i].set, wrong[i].set[1] != NULL ? 2 : 1), -EINVAL);
        ck_assert_msg(strncmp(errs.at[0].what, wrong[i].expected, strlen(wrong[i].expected)) == 0, "%s",
            errs.at[0].what);
        ck_assert_ptr_null(conf.bus.runtime_dir);
    }
    const char *fine[] = {"ws.enabled=false", "ws.listen=127.0.0.1:8080"};
    ck_assert_int_eq(load_set(fine, 2), 0);
    const char *none[] = {"cable.path=", "ws.raw_path="};
    ck_assert_int_eq(load_set(none, 2), 0);
}
END_TEST

START_TEST(test_topics)
{
    char path[] = "/tmp/test-allconf.XXXXXX";
    static const char text[] = "topics:\n- match: a/#\n- match: a/#/b\n";
    struct proc_args args = {.config = path};

    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    (void)close(fd);
    allconf_free(&conf);
    ck_assert_int_eq(allconf_load(&conf, &args, &errs), -EINVAL);
    ck_assert_msg(
        strncmp(errs.at[0].what, "topics.match: \"a/#/b\" is not a filter", 37) == 0, "%s", errs.at[0].what);
    ck_assert_str_eq(errs.at[0].file, path);
    ck_assert_uint_eq(errs.at[0].line, 3);
    ck_assert_uint_eq(errs.at[0].column, 10);
    (void)unlink(path);
}
END_TEST

START_TEST(test_diff)
{
    struct allconf old;
    struct buf names;
    const char *set[] = {"http.listen=127.0.0.1:9000", "ws.ping_interval=5s"};

    ck_assert_int_eq(load_set(NULL, 0), 0);
    old = conf;
    conf = (struct allconf){0};
    ck_assert_int_eq(load_set(set, 2), 0);
    buf_init(&names, 0);
    ck_assert_uint_eq(allconf_diff(&old, &conf, &names), 1);
    ck_assert(slice_is(buf_slice(&names), "http.listen"));
    buf_fini(&names);
    allconf_free(&old);
}
END_TEST

static void
teardown(void)
{
    allconf_free(&conf);
}

int
main(void)
{
    Suite *s = suite_create("allconf");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, test_tables);
    tcase_add_test(t, test_sections_are_known);
    tcase_add_test(t, test_defaults);
    tcase_add_test(t, test_across_sections);
    tcase_add_test(t, test_topics);
    tcase_add_test(t, test_diff);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int n_failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return n_failed == 0 ? 0 : 1;
}
