/* SPDX-License-Identifier: Apache-2.0 */
/* Consumers by number: who may be one, and what only a broken frontend says. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <string.h>

#include "tests/unit/broker/fakefrontend.h"
#include "wire/names.h"

#define QUIET "broker: {sys_interval: 0}\n"
#define RESPONDER 1

START_TEST(consumer_is_told_that_it_is_one)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_consume(&f, 1, RESPONDER, "svc/add", "", 1);
    fake_consume(&f, 2, RESPONDER, "svc/#", "g", 16);
    fake_expect(&f, "CONSUMING 1");
    fake_expect(&f, "CONSUMING 2");
    fake_credit(&f, 2, UINT64_MAX);
    fake_credit(&f, 77, 1); /* one that was refused meanwhile */
    fake_unconsume(&f, 77);
    fake_unconsume(&f, 1);
    fake_consume(&f, 3, RESPONDER, "svc/add", "", 1);
    fake_expect(&f, "CONSUMING 3");
    fake_expect_nothing(&f);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(consumer_is_refused_with_its_code_and_the_link_stays)
{
    char long_group[GROUP_MAX_BYTES + 2];
    struct bus bus;
    struct fake f;

    memset(long_group, 'g', sizeof(long_group) - 1);
    long_group[sizeof(long_group) - 1] = '\0';
    bus_start(&bus, "broker: {sys_interval: 0, consumers_max: 2}\n"
                    "topics: [{match: 'secret/#', subscribe: false}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_consume(&f, 1, RESPONDER, "a/#/b", "", 1);
    fake_expect(&f, "UNCONSUMABLE 1 filter_invalid");
    fake_consume(&f, 2, RESPONDER, "", "", 1);
    fake_expect(&f, "UNCONSUMABLE 2 filter_invalid");
    fake_consume(&f, 3, RESPONDER, "a", long_group, 1);
    fake_expect(&f, "UNCONSUMABLE 3 group_invalid");
    fake_consume(&f, 4, 0, "a/+", "g", 1);
    fake_expect(&f, "UNCONSUMABLE 4 topic_invalid");
    fake_consume(&f, 5, 0, "a", "", 1);
    fake_expect(&f, "UNCONSUMABLE 5 group_invalid");
    fake_consume(&f, 6, RESPONDER, "$sys/broker", "", 1);
    fake_expect(&f, "UNCONSUMABLE 6 not_allowed");
    fake_consume(&f, 7, RESPONDER, "secret/x", "", 1);
    fake_expect(&f, "UNCONSUMABLE 7 not_allowed");
    fake_consume(&f, 8, RESPONDER, "a", "", 1);
    fake_consume(&f, 9, RESPONDER, "b", "", 1);
    fake_consume(&f, 10, RESPONDER, "c", "", 1);
    fake_expect(&f, "CONSUMING 8");
    fake_expect(&f, "CONSUMING 9");
    fake_expect(&f, "UNCONSUMABLE 10 limit_reached");
    fake_unconsume(&f, 8);
    fake_consume(&f, 11, RESPONDER, "c", "", 1);
    fake_expect(&f, "CONSUMING 11");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* What says() says ends the link, and the broker serves the others. */
static void
check_drops(void (*says)(struct fake *f))
{
    struct bus bus;
    struct fake f, other;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_open_live(&other, &bus, "ws.2");
    says(&f);
    fake_wait_down(&f);
    fake_expect_nothing(&other);
    fake_close(&f);
    fake_close(&other);
    bus_stop(&bus);
}

static void
says_number_0(struct fake *f)
{
    fake_consume(f, 0, RESPONDER, "a", "", 1);
}

static void
says_number_twice(struct fake *f)
{
    fake_consume(f, 1, RESPONDER, "a", "", 1);
    fake_consume(f, 1, RESPONDER, "b", "", 1);
}

static void
says_mode_2(struct fake *f)
{
    fake_consume(f, 1, 2, "a", "", 1);
}

static void
says_hold_after_resume(struct fake *f)
{
    fake_consume(f, 1, RESPONDER, "a", "", 1);
    fake_hold(f, 1, "x");
}

START_TEST(nonsense_ends_the_link)
{
    check_drops(says_number_0);
    check_drops(says_number_twice);
    check_drops(says_mode_2);
    check_drops(says_hold_after_resume);
}
END_TEST

START_TEST(hold_of_what_is_not_known_is_no_fault)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open(&f, &bus, "ws.1", 0);
    fake_consume(&f, 1, RESPONDER, "a", "", 1);
    fake_hold(&f, 1, "no such call");
    fake_hold(&f, 2, "of no consumer");
    fake_resume(&f, 0, 0);
    fake_expect(&f, "CONSUMING 1");
    fake_expect(&f, "RESUMED state=0 seq=0");
    fake_expect_nothing(&f);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("consumers");
    TCase *t = tcase_create("consumers");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, consumer_is_told_that_it_is_one);
    tcase_add_test(t, consumer_is_refused_with_its_code_and_the_link_stays);
    tcase_add_test(t, nonsense_ends_the_link);
    tcase_add_test(t, hold_of_what_is_not_known_is_no_fault);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
