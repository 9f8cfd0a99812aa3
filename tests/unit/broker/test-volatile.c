/* SPDX-License-Identifier: Apache-2.0 */
/* Topics of the bus's own that keep nothing, and that nobody misses anything of. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>

#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define QUIET "broker: {sys_interval: 0, topic_idle: 1s, dedupe_window: 0}\n"

START_TEST(whisper_reaches_who_listens_now)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'deaf/#', subscribe: false}, {match: 'ro/#', publish: false},"
                          " {match: 'last/#', retain: last}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_publish(&f, "$whisper/last/1", "before");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=1");
    fake_subscribe(&f, 1, "$whisper/last/1");
    fake_expect(&f, "SUBSCRIBED 1 seq=1 retained=0");
    fake_publish_with(&f, "$whisper/last/1",
        &(struct frame_publish){.kind = MESSAGE_TEXT, .flags = MESSAGE_RETAIN, .body = slice_str("now")});
    fake_expect(&f, "MESSAGE $whisper/last/1 seq=2 prev=0 now");
    fake_expect(&f, "PUBLISHED 2 seq=2 count=1");
    fake_recover(&f, 9, "$whisper/last/1", RECOVER_RETAINED, 0, 0, 0);
    fake_expect(&f, "RECOVERED 9 state=0 seq=2 more=0");
    fake_recover(&f, 9, "$whisper/last/1", RECOVER_LAST, 0, 0, 10);
    fake_expect(&f, "RECOVERED 9 state=0 seq=2 more=0");
    /* Its topic's settings hold, and no others of the bus's own may be published to. */
    fake_publish(&f, "$whisper/ro/1", "x");
    fake_expect(&f, "REJECTED 3 not_allowed");
    fake_publish(&f, "$whisper/$sys/broker", "x");
    fake_expect(&f, "REJECTED 4 not_allowed");
    fake_publish(&f, "$whisper/", "x");
    fake_expect(&f, "REJECTED 5 not_allowed");
    fake_publish(&f, "$presence/last/1", "x");
    fake_expect(&f, "REJECTED 6 not_allowed");
    fake_subscribe(&f, 2, "$whisper/deaf/1");
    fake_expect(&f, "UNSUBSCRIBABLE 2 not_allowed");
    fake_subscribe(&f, 3, "$presence/deaf/1");
    fake_expect(&f, "UNSUBSCRIBABLE 3 not_allowed");
    fake_subscribe(&f, 4, "$whisper/#");
    fake_expect(&f, "SUBSCRIBED 4 seq=2 retained=0");
    fake_publish(&f, "$whisper/deaf/1", "x"); /* accepted, and nobody's */
    fake_expect(&f, "PUBLISHED 7 seq=3 count=1");
    fake_expect_nothing(&f);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* What it keeps nothing of is no gap: neither for a client nor for a link, by name or by wildcard, and
 * whether the topic is known or not. */
START_TEST(nobody_misses_a_whisper)
{
    struct bus bus;
    struct fake f, old;

    bus_start(&bus, QUIET);
    fake_open_live(&old, &bus, "ws.2");
    fake_open_live(&f, &bus, "ws.1");
    fake_publish(&f, "chat/1", "one");
    fake_publish(&f, "$whisper/chat/1", "not kept");
    fake_publish(&f, "$whisper/chat/1", "not kept");
    fake_publish(&f, "chat/1", "two");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=4");
    fake_recover(&f, 1, "chat/1 $whisper/chat/1", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "REPLAY 1 chat/1 seq=4 prev=1 two");
    fake_expect(&f, "RECOVERED 1 state=1 seq=4 more=0");
    fake_recover(&f, 2, "chat/1 $whisper/+/1", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "REPLAY 2 chat/1 seq=4 prev=1 two");
    fake_expect(&f, "RECOVERED 2 state=1 seq=4 more=0");
    fake_recover(&f, 3, "$whisper/chat/1", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "RECOVERED 3 state=1 seq=4 more=0");
    fake_recover(&f, 4, "$whisper/none $presence/#", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "RECOVERED 4 state=1 seq=4 more=0");
    fake_close(&old);
    fake_open(&old, &bus, "ws.2", old.boot);
    fake_subscribe(&old, 1, "$whisper/#");
    fake_subscribe(&old, 2, "$presence/chat/1");
    fake_resume(&old, f.epoch, 1);
    fake_expect(&old, "SUBSCRIBED 1 seq=4 retained=0");
    fake_expect(&old, "SUBSCRIBED 2 seq=4 retained=0");
    fake_expect(&old, "RESUMED state=1 seq=4");
    fake_close(&old);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(forgotten_topics_are_no_gap_for_presence)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'none/#', history: {messages: 0}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_publish(&f, "chat/1", "one");
    fake_publish(&f, "none/1", "forgotten by name, soon");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=2");
    fake_subscribe(&f, 1, "none/1");
    fake_expect(&f, "SUBSCRIBED 1 seq=2 retained=0");
    fake_publish(&f, "none/1", "x");
    fake_expect(&f, "TOPIC 1 none/1 policy=0");
    fake_expect(&f, "MESSAGE none/1 seq=3 prev=2 x");
    fake_expect(&f, "PUBLISHED 3 seq=3 count=1");
    fake_expect(&f, "FORGET none/1");
    fake_recover(&f, 1, "chat/1 $presence/chat/1 $presence/+", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "RECOVERED 1 state=1 seq=3 more=0");
    fake_recover(&f, 2, "chat/1 none/1", RECOVER_SINCE, f.epoch, 1, 0); /* for whom it is one */
    fake_expect(&f, "GAP 2  seq=3");
    fake_expect(&f, "RECOVERED 2 state=2 seq=3 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("volatile");
    TCase *t = tcase_create("volatile");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, whisper_reaches_who_listens_now);
    tcase_add_test(t, nobody_misses_a_whisper);
    tcase_add_test(t, forgotten_topics_are_no_gap_for_presence);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
