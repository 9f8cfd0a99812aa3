/* SPDX-License-Identifier: Apache-2.0 */
/* What has expired is missed by nobody: neither by a client that recovers nor by a link that catches up. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <time.h>

#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define QUIET "broker: {sys_interval: 0}\n"

static void
publish_for(struct fake *f, const char *topic, uint64_t ttl_ms, const char *body)
{
    fake_publish_with(
        f, topic, &(struct frame_publish){.kind = MESSAGE_TEXT, .ttl_ms = ttl_ms, .body = slice_str(body)});
}

static int64_t
wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The clock is the broker's too. */
static void
let_pass(int64_t ms)
{
    int64_t end_ms = wall_ms() + ms + 1;

    while (wall_ms() <= end_ms)
        ;
}

START_TEST(expired_is_no_gap_and_no_hole)
{
    struct bus bus;
    struct fake f, old;

    (_i == 0 ? bus_start : bus_start_durable)(&bus, QUIET);
    fake_open_live(&old, &bus, "ws.2");
    fake_open_live(&f, &bus, "ws.1");
    fake_subscribe(&old, 1, "a");
    fake_expect(&old, "SUBSCRIBED 1 seq=0 retained=0");
    publish_for(&f, "a", 0, "stays");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=1");
    publish_for(&f, "a", 1, "goes");
    fake_expect(&f, "PUBLISHED 2 seq=2 count=1");
    publish_for(&f, "a", 0, "stays too");
    fake_expect(&f, "PUBLISHED 3 seq=3 count=1");
    fake_expect(&old, "TOPIC 0 a policy=0");
    fake_expect(&old, "MESSAGE a seq=1 prev=0 stays");
    fake_expect(&old, "MESSAGE a seq=2 prev=1 goes"); /* who is there gets it */
    fake_expect(&old, "MESSAGE a seq=3 prev=2 stays too");
    let_pass(1);
    fake_subscribe(&f, 1, "a");
    fake_expect(&f, "SUBSCRIBED 1 seq=3 retained=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "TOPIC 0 a policy=0");
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 stays too");
    fake_expect(&f, "RECOVERED 1 state=1 seq=3 more=0");
    fake_close(&old);
    fake_open(&old, &bus, "ws.2", old.boot);
    fake_subscribe(&old, 1, "a");
    fake_resume(&old, f.epoch, 1);
    fake_expect(&old, "SUBSCRIBED 1 seq=3 retained=0");
    fake_expect(&old, "TOPIC 0 a policy=0");
    fake_expect(&old, "MESSAGE a seq=3 prev=0 stays too"); /* 2 would be a hole to it */
    fake_expect(&old, "RESUMED state=1 seq=3");
    publish_for(&f, "a", 0, "live");
    fake_expect(&old, "MESSAGE a seq=4 prev=3 live");
    fake_close(&old);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("expiry");
    TCase *t = tcase_create("expiry");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, expired_is_no_gap_and_no_hole, 0, 2);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
