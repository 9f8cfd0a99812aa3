/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a whole: a real busbar-broker, and frontends that speak the link to it frame by frame. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/loop.h"
#include "tests/unit/broker/fakefrontend.h"
#include "tests/unit/broker/latesuite.h"
#include "wire/link.h"

/* Without the broker's own publishes, seqs are what the test makes them. */
#define QUIET "broker: {sys_interval: 0}\n"

/* ---- Attaching. ---- */

START_TEST(new_frontend_is_live_at_once)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open(&f, &bus, "ws.1", 0);
    ck_assert_uint_ne(f.epoch, 0);
    ck_assert_uint_eq(f.seq, 0);
    ck_assert_uint_eq(f.welcome.max_message, 1024 * 1024);
    fake_subscribe(&f, 7, "a/#");
    fake_resume(&f, 0, 0);
    fake_expect(&f, "SUBSCRIBED 7 seq=0 retained=0");
    fake_expect(&f, "RESUMED state=0 seq=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(hello_is_refused_with_a_reason)
{
    struct bus bus;
    struct fake f, one, two;

    bus_start(&bus, "broker: {sys_interval: 0, links_max: 2}\n");
    fake_hello(&f, &bus, "ws.1", 0, LINK_PROTO + 1);
    ck_assert_str_eq(f.refusal, "version_unsupported");
    fake_hello(&f, &bus, "a/b", 0, LINK_PROTO);
    ck_assert_str_eq(f.refusal, "request_invalid");
    fake_open(&one, &bus, "ws.1", 0);
    fake_open(&two, &bus, "ws.2", 0);
    fake_hello(&f, &bus, "ws.3", 0, LINK_PROTO);
    ck_assert_str_eq(f.refusal, "limit_reached");
    fake_close(&one);
    fake_close(&two);
    bus_stop(&bus);
}
END_TEST

START_TEST(second_broker_in_the_directory_ends_with_6)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open(&f, &bus, "ws.1", 0);
    ck_assert_int_eq(bus_wait_exit(&bus, bus_spawn_another(&bus)), 6);
    fake_resume(&f, 0, 0);
    fake_expect(&f, "RESUMED state=0 seq=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(killed_broker_leaves_nothing_that_stops_the_next)
{
    char path[200];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    struct bus bus;
    struct fake f;
    FILE *file;
    int fd;

    bus_start(&bus, QUIET);
    fake_open(&f, &bus, "ws.1", 0);
    bus_kill(&bus, SIGKILL);
    fake_close(&f);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/link/1.sock", bus.runtime_dir);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/link/notes.txt", bus.runtime_dir);
    file = fopen(path, "w");
    fclose(file);
    bus_spawn(&bus);
    fake_open(&f, &bus, "ws.1", 0);
    ck_assert_int_eq(stat(address.sun_path, &st), -1);
    ck_assert_int_eq(stat(path, &st), 0); /* what is not a socket is not the broker's to remove */
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(newer_link_of_the_same_name_takes_the_place_of_the_older)
{
    struct bus bus;
    struct fake old, new;

    bus_start(&bus, QUIET);
    fake_open_live(&old, &bus, "ws.1");
    fake_subscribe(&old, 1, "a");
    fake_expect(&old, "SUBSCRIBED 1 seq=0 retained=0");
    fake_open_live(&new, &bus, "ws.1");
    fake_wait_down(&old);
    ck_assert(old.is_clean);
    fake_subscribe(&new, 1, "a");
    fake_expect(&new, "SUBSCRIBED 1 seq=0 retained=0");
    fake_publish(&new, "a", "x");
    fake_expect(&new, "MESSAGE a seq=1 prev=0 x");
    fake_expect(&new, "PUBLISHED 1 seq=1 count=1");
    fake_close(&old);
    fake_close(&new);
    bus_stop(&bus);
}
END_TEST

START_TEST(stopping_broker_says_goodbye_and_ends_with_0)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    bus_kill(&bus, SIGTERM);
    fake_wait_down(&f);
    ck_assert_msg(f.is_clean, "%s", f.reason);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Publishing and delivery. ---- */

START_TEST(message_reaches_each_link_that_wants_it_once)
{
    struct bus bus;
    struct fake a, b, c;

    bus_start(&bus, QUIET);
    fake_open_live(&a, &bus, "ws.1");
    fake_open_live(&b, &bus, "ws.2");
    fake_open_live(&c, &bus, "ws.3");
    fake_subscribe(&b, 1, "chat/+");
    fake_subscribe(&b, 2, "chat/#"); /* twice wanted, once sent */
    fake_subscribe(&c, 1, "other");
    fake_expect(&b, "SUBSCRIBED 1 seq=0 retained=0");
    fake_expect(&b, "SUBSCRIBED 2 seq=0 retained=0");
    fake_expect(&c, "SUBSCRIBED 1 seq=0 retained=0");
    fake_publish(&a, "chat/1", "one");
    fake_publish(&a, "chat/2", "two");
    fake_publish(&a, "chat/1", "three");
    fake_expect(&a, "PUBLISHED 1 seq=1 count=3");
    fake_expect(&b, "TOPIC 0 chat/1 policy=0");
    fake_expect(&b, "MESSAGE chat/1 seq=1 prev=0 one");
    fake_expect(&b, "MESSAGE chat/2 seq=2 prev=0 two");
    fake_expect(&b, "MESSAGE chat/1 seq=3 prev=1 three");
    fake_expect_nothing(&b);
    fake_expect_nothing(&c);
    frame_put_unsubscribe(link_buf(b.link), &(struct frame_unsubscribe){.filter = 2});
    link_commit(b.link);
    fake_expect_nothing(&b);
    fake_publish(&a, "chat/2/x", "no");
    fake_publish(&a, "chat/2", "yes");
    fake_expect(&b, "MESSAGE chat/2 seq=5 prev=2 yes");
    fake_close(&a);
    fake_close(&b);
    fake_close(&c);
    bus_stop(&bus);
}
END_TEST

START_TEST(publish_is_refused_with_its_code_and_the_link_stays)
{
    struct bus bus;
    struct fake f;
    char large[200];

    memset(large, 'x', sizeof(large));
    bus_start(&bus, "broker: {sys_interval: 0, topics_max: 3}\n"
                    "topics:\n"
                    "  - {match: 'ro/#', publish: false}\n"
                    "  - {match: 'small/#', max_message: 100B}\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_publish(&f, "ro/x", "x");
    fake_expect(&f, "REJECTED 1 not_allowed");
    fake_publish(&f, "$sys/x", "x");
    fake_expect(&f, "REJECTED 2 not_allowed");
    fake_publish(&f, "a/+", "x");
    fake_expect(&f, "REJECTED 3 topic_invalid");
    fake_publish_with(&f, "small/1", &(struct frame_publish){.body = slice_of(large, 101)});
    fake_expect(&f, "REJECTED 4 message_too_large");
    fake_publish_with(&f, "small/1", &(struct frame_publish){.body = slice_of(large, 100)});
    fake_expect(&f, "PUBLISHED 5 seq=1 count=1");
    fake_publish_with(&f, "t", &(struct frame_publish){.kind = MESSAGE_TEXT, .body = slice_str("\xff")});
    fake_expect(&f, "REJECTED 6 body_invalid");
    fake_publish(&f, "t2", "x");
    fake_expect(&f, "PUBLISHED 7 seq=2 count=1");
    fake_publish(&f, "t3", "x"); /* the fourth topic */
    fake_expect(&f, "REJECTED 8 limit_reached");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(topic_that_nobody_may_subscribe_to_is_not_delivered)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'in/#', subscribe: false}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_subscribe(&f, 1, "in/x");
    fake_expect(&f, "UNSUBSCRIBABLE 1 not_allowed");
    fake_subscribe(&f, 1, "#"); /* the number is free again */
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    fake_subscribe(&f, 2, "a/#/b");
    fake_expect(&f, "UNSUBSCRIBABLE 2 filter_invalid");
    fake_subscribe(&f, 2, "#");
    fake_expect(&f, "UNSUBSCRIBABLE 2 subscription_exists");
    fake_publish(&f, "in/x", "hidden");
    fake_publish(&f, "out", "seen");
    fake_expect(&f, "MESSAGE out seq=2 prev=0 seen");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=2");
    fake_recover(&f, 1, "#", RECOVER_SINCE, f.epoch, 0, 0);
    fake_expect(&f, "REPLAY 1 out seq=2 prev=0 seen");
    fake_expect(&f, "RECOVERED 1 state=1 seq=2 more=0");
    fake_recover(&f, 2, "in/x", RECOVER_SINCE, f.epoch, 0, 0);
    fake_expect(&f, "RECOVERED 2 state=1 seq=2 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(repeated_publish_is_answered_and_not_delivered_again)
{
    struct bus bus;
    struct fake f, g;
    uint64_t boot;

    bus_start(&bus, QUIET);
    fake_open_live(&g, &bus, "ws.2");
    fake_subscribe(&g, 1, "a");
    fake_expect(&g, "SUBSCRIBED 1 seq=0 retained=0");
    fake_open_live(&f, &bus, "ws.1");
    boot = f.boot;
    fake_publish(&f, "a", "one");
    fake_publish(&f, "a", "two");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=2");
    fake_close(&f);
    fake_open(
        &f, &bus, "ws.1", boot); /* the link broke: the same boot sends again what it saw no answer to */
    fake_publish_with(&f, "a", &(struct frame_publish){.pub = 2, .body = slice_str("two")});
    fake_publish_with(&f, "a", &(struct frame_publish){.pub = 3, .body = slice_str("three")});
    fake_expect(&f, "PUBLISHED 2 seq=2 count=2");
    fake_publish_with(
        &f, "a", &(struct frame_publish){.pub = 4, .key = slice_str("k"), .body = slice_str("four")});
    fake_publish_with(
        &f, "a", &(struct frame_publish){.pub = 5, .key = slice_str("k"), .body = slice_str("four")});
    fake_expect(&f, "PUBLISHED 4 seq=4 count=1");
    fake_expect(&f, "PUBLISHED 5 seq=4 count=1");
    fake_expect(&g, "MESSAGE a seq=1 prev=0 one");
    fake_expect(&g, "MESSAGE a seq=2 prev=1 two");
    fake_expect(&g, "MESSAGE a seq=3 prev=2 three");
    fake_expect(&g, "MESSAGE a seq=4 prev=3 key=k four");
    fake_expect_nothing(&g);
    fake_close(&f);
    fake_close(&g);
    bus_stop(&bus);
}
END_TEST

/* Where the last of each key is what matters, the same key comes again and again. */
START_TEST(key_names_a_thing_on_topics_that_conflate)
{
    struct bus bus;
    struct fake f;
    struct frame_publish p = {.key = slice_str("thing"), .body = slice_str("x")};

    bus_start(&bus, QUIET "topics: [{match: 'values/#', slow_consumer: conflate}]\n");
    fake_open_live(&f, &bus, "ws.1");
    for (p.pub = 1; p.pub <= 2; p.pub++)
        fake_publish_with(&f, "values/a", &p);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=2");
    for (p.pub = 3, p.once = slice_str("o"); p.pub <= 4; p.pub++) {
        fake_publish_with(&f, "values/a", &p);
        fake_expect(&f, p.pub == 3 ? "PUBLISHED 3 seq=3 count=1" : "PUBLISHED 4 seq=3 count=1");
    }
    /* Elsewhere the key makes it happen once, unless that has a key of its own. */
    for (p.pub = 5, p.once.n = 0; p.pub <= 6; p.pub++) {
        fake_publish_with(&f, "a", &p);
        fake_expect(&f, p.pub == 5 ? "PUBLISHED 5 seq=4 count=1" : "PUBLISHED 6 seq=4 count=1");
    }
    p.pub = 7;
    p.once = slice_str("p");
    fake_publish_with(&f, "a", &p);
    fake_expect(&f, "PUBLISHED 7 seq=5 count=1");
    fake_subscribe(&f, 1, "#");
    fake_expect(&f, "SUBSCRIBED 1 seq=5 retained=0");
    fake_publish_with(
        &f, "a", &(struct frame_publish){.pub = 8, .key = slice_str("k"), .once = slice_str("q")});
    fake_expect(&f, "TOPIC 1 a policy=0");
    fake_expect(&f, "MESSAGE a seq=6 prev=5 key=k ");
    fake_expect(&f, "PUBLISHED 8 seq=6 count=1");
    fake_recover(&f, 1, "a", RECOVER_LAST, f.epoch, 0, 1);
    fake_expect(&f, "REPLAY 1 a seq=6 prev=5 key=k ");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(idle_topic_is_forgotten_and_its_handle_taken_back)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, "broker: {sys_interval: 0, topic_idle: 1s, dedupe_window: 0}\n"
                    "topics: [{match: 'tmp/#', history: {messages: 0}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_subscribe(&f, 1, "#");
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    fake_publish(&f, "tmp/1", "x");
    fake_expect(&f, "TOPIC 0 tmp/1 policy=0");
    fake_expect(&f, "MESSAGE tmp/1 seq=1 prev=0 x");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=1");
    fake_expect(&f, "FORGET tmp/1");
    fake_publish(&f, "tmp/1", "y"); /* the frontend's own handle goes on to stand for the name */
    fake_expect(&f, "TOPIC 0 tmp/1 policy=0");
    fake_expect(&f, "MESSAGE tmp/1 seq=2 prev=0 y");
    fake_expect(&f, "PUBLISHED 2 seq=2 count=1");
    fake_recover(
        &f, 1, "other", RECOVER_SINCE, f.epoch, 0, 0); /* it may have been the one that was forgotten */
    fake_expect(&f, "GAP 1  seq=1");
    fake_expect(&f, "RECOVERED 1 state=2 seq=2 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Questions and figures. ---- */

START_TEST(topics_are_listed_in_the_order_of_their_names)
{
    static const char *const names[] = {"c", "a", "b/2", "b", "b/1", "d"};
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_subscribe(&f, 1, "b");
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        fake_publish(&f, names[i], "x");
    fake_expect(&f, "MESSAGE b seq=4 prev=0 x");
    fake_expect(&f, "PUBLISHED 1 seq=1 count=6");
    fake_list(&f, 1, "#", "", 4);
    fake_expect(&f, "LISTED 1 a seq=2 kept=1 links=0");
    fake_expect(&f, "LISTED 1 b seq=4 kept=1 links=1");
    fake_expect(&f, "LISTED 1 b/1 seq=5 kept=1 links=0");
    fake_expect(&f, "LISTED 1 b/2 seq=3 kept=1 links=0");
    fake_expect(&f, "LIST_END 1 more=1");
    fake_list(&f, 2, "#", "b/2", 4);
    fake_expect(&f, "LISTED 2 c seq=1 kept=1 links=0");
    fake_expect(&f, "LISTED 2 d seq=6 kept=1 links=0");
    fake_expect(&f, "LIST_END 2 more=0");
    fake_list(&f, 3, "b/+", "", 1000);
    fake_expect(&f, "LISTED 3 b/1 seq=5 kept=1 links=0");
    fake_expect(&f, "LISTED 3 b/2 seq=3 kept=1 links=0");
    fake_expect(&f, "LIST_END 3 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(figures_are_retained_topics)
{
    struct bus bus;
    struct fake f, g;
    const char *line;

    bus_start(&bus, "broker: {sys_interval: 100ms}\n");
    fake_open(&f, &bus, "ws.1", 0);
    fake_resume(&f, 0, 0);
    frame_put_stats(link_buf(f.link), &(struct frame_stats){.json = slice_str("{\"clients\":3}")});
    ck_assert_int_eq(link_commit(f.link), 0);
    fake_open(&g, &bus, "ws.2", 0);
    fake_subscribe(&g, 1, "$sys/#");
    fake_resume(&g, 0, 0);
    while (strncmp(line = fake_next(&g), "RESUMED", 7) != 0)
        ;
    while (strncmp(line = fake_next(&g), "MESSAGE $sys/broker ", 20) != 0)
        ;
    while (strncmp(line = fake_next(&g), "MESSAGE $sys/links/ws.1 ", 24) != 0)
        ;
    fake_recover(&g, 1, "$sys/frontends/ws.1", RECOVER_RETAINED, 0, 0, 0);
    while (strncmp(line = fake_next(&g), "REPLAY", 6) != 0)
        ;
    ck_assert_msg(strstr(line, "{\"clients\":3}") != NULL, "%s", line);
    fake_close(&f);
    for (;;) { /* its values are cleared */
        line = fake_next(&g);
        if (strncmp(line, "MESSAGE $sys/frontends/ws.1 ", 28) == 0)
            break;
    }
    ck_assert_msg(line[strlen(line) - 1] == ' ', "%s", line);
    fake_close(&g);
    bus_stop(&bus);
}
END_TEST

START_TEST(reload_changes_settings_and_a_bad_file_changes_nothing)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_publish_some(&f, "a", 3);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=3");
    bus_write_config(&bus, QUIET "topics: [{match: 'a/#/b'}]\n");
    ck_assert_int_eq(kill(bus.broker, SIGHUP), 0);
    bus_run_ms(&bus, 300);
    fake_publish(&f, "a", "x");
    fake_expect(&f, "PUBLISHED 4 seq=4 count=1");
    bus_write_config(&bus, QUIET "topics: [{match: a, publish: false, history: {messages: 1}}]\n");
    ck_assert_int_eq(kill(bus.broker, SIGHUP), 0);
    for (unsigned i = 5;; i++) { /* until it has been read */
        char published[64];
        const char *line;

        fake_publish(&f, "a", "y");
        line = fake_next(&f);
        snprintf(published, sizeof(published), "REJECTED %u not_allowed", i);
        if (strcmp(line, published) == 0)
            break;
        ck_assert_msg(strncmp(line, "PUBLISHED", 9) == 0 && i < 2000, "%s", line);
        bus_turn(&bus);
    }
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch, 1, 0);
    ck_assert_msg(strncmp(fake_next(&f), "GAP 1 a", 7) == 0, "the history was not trimmed");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

static void
add_late_tests(TCase *t)
{
    tcase_add_test(t, message_reaches_each_link_that_wants_it_once);
    tcase_add_test(t, repeated_publish_is_answered_and_not_delivered_again);
}

static void
add_other_tests(TCase *t)
{
    tcase_add_test(t, new_frontend_is_live_at_once);
    tcase_add_test(t, hello_is_refused_with_a_reason);
    tcase_add_test(t, second_broker_in_the_directory_ends_with_6);
    tcase_add_test(t, killed_broker_leaves_nothing_that_stops_the_next);
    tcase_add_test(t, newer_link_of_the_same_name_takes_the_place_of_the_older);
    tcase_add_test(t, stopping_broker_says_goodbye_and_ends_with_0);
    tcase_add_test(t, publish_is_refused_with_its_code_and_the_link_stays);
    tcase_add_test(t, topic_that_nobody_may_subscribe_to_is_not_delivered);
    tcase_add_test(t, key_names_a_thing_on_topics_that_conflate);
    tcase_add_test(t, idle_topic_is_forgotten_and_its_handle_taken_back);
    tcase_add_test(t, topics_are_listed_in_the_order_of_their_names);
    tcase_add_test(t, figures_are_retained_topics);
    tcase_add_test(t, reload_changes_settings_and_a_bad_file_changes_nothing);
}

int
main(void)
{
    return late_suite_main("broker", add_late_tests, add_other_tests);
}
