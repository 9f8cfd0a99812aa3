/* SPDX-License-Identifier: Apache-2.0 */
/* The broker as a whole: a real busbar-broker, and frontends that speak the link to it frame by frame. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "tests/unit/broker/fakefrontend.h"
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

/* ---- Recovery of a joiner. ---- */

static void
publish_some(struct fake *f, const char *topic, unsigned n)
{
    char body[32];

    for (unsigned i = 0; i < n; i++) {
        snprintf(body, sizeof(body), "%s%u", topic, i + 1);
        fake_publish(f, topic, body);
    }
}

START_TEST(recovery_replays_what_matches_in_order)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    publish_some(&f, "a", 2);
    publish_some(&f, "b", 1);
    publish_some(&f, "a", 1);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=4");
    fake_subscribe(&f, 1, "a");
    fake_recover(&f, 9, "a", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "SUBSCRIBED 1 seq=4 retained=0");
    fake_expect(&f, "REPLAY 9 a seq=2 prev=1 a2");
    fake_expect(&f, "REPLAY 9 a seq=4 prev=2 a1");
    fake_expect(&f, "RECOVERED 9 state=1 seq=4 more=0");
    fake_recover(&f, 10, "b + a a", RECOVER_SINCE, f.epoch, 1, 0); /* however many filters match: once */
    fake_expect(&f, "REPLAY 10 a seq=2 prev=1 a2");
    fake_expect(&f, "REPLAY 10 b seq=3 prev=0 b1");
    fake_expect(&f, "REPLAY 10 a seq=4 prev=2 a1");
    fake_expect(&f, "RECOVERED 10 state=1 seq=4 more=0");
    fake_recover(&f, 10, "b a a", RECOVER_SINCE, f.epoch, 3, 0); /* the number is free again */
    fake_expect(&f, "REPLAY 10 a seq=4 prev=2 a1");
    fake_expect(&f, "RECOVERED 10 state=1 seq=4 more=0");
    fake_recover(&f, 11, "unknown", RECOVER_SINCE, f.epoch, 0, 0);
    fake_expect(&f, "RECOVERED 11 state=1 seq=4 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(recovery_says_gap_and_reset_exactly)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: '#', history: {messages: 2}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    publish_some(&f, "a", 4);
    publish_some(&f, "b", 1);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=5");
    fake_recover(&f, 1, "#", RECOVER_SINCE, f.epoch, 1, 0);
    fake_expect(&f, "GAP 1 a seq=2");
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a3");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a4");
    fake_expect(&f, "REPLAY 1 b seq=5 prev=0 b1");
    fake_expect(&f, "RECOVERED 1 state=2 seq=5 more=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch, 2, 0); /* nothing above 2 is missing */
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a3");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a4");
    fake_expect(&f, "RECOVERED 1 state=1 seq=5 more=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch + 1, 2, 0);
    fake_expect(&f, "RECOVERED 1 state=3 seq=5 more=0");
    fake_recover(&f, 1, "a", RECOVER_SINCE, f.epoch, 6, 0); /* a seq that was never given out */
    fake_expect(&f, "RECOVERED 1 state=3 seq=5 more=0");
    fake_recover(&f, 1, "+", RECOVER_SINCE, f.epoch, 2, 2);
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a3");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a4");
    fake_expect(&f, "RECOVERED 1 state=1 seq=4 more=1");
    fake_recover(&f, 1, "+", RECOVER_SINCE, f.epoch, 4, 1); /* as many as there are */
    fake_expect(&f, "REPLAY 1 b seq=5 prev=0 b1");
    fake_expect(&f, "RECOVERED 1 state=1 seq=5 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(last_messages_and_retained_values_are_replayed)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    fake_publish_with(&f, "r/1", &(struct frame_publish){.flags = MESSAGE_RETAIN, .body = slice_str("kept")});
    publish_some(&f, "a", 3);
    publish_some(&f, "b", 1);
    fake_publish_with(&f, "r/2", &(struct frame_publish){.flags = MESSAGE_RETAIN, .body = slice_str("gone")});
    fake_publish_with(&f, "r/2", &(struct frame_publish){.flags = MESSAGE_RETAIN});
    fake_expect(&f, "PUBLISHED 1 seq=1 count=7");
    fake_subscribe(&f, 1, "r/#");
    fake_expect(&f, "SUBSCRIBED 1 seq=7 retained=1");
    fake_subscribe(&f, 2, "r/2");
    fake_expect(&f, "SUBSCRIBED 2 seq=7 retained=0");
    fake_subscribe(&f, 3, "r/1");
    fake_expect(&f, "SUBSCRIBED 3 seq=7 retained=1");
    fake_subscribe(&f, 4, "+");
    fake_expect(&f, "SUBSCRIBED 4 seq=7 retained=0");
    fake_recover(&f, 1, "+", RECOVER_LAST, 0, 0, 2);
    fake_expect(&f, "REPLAY 1 a seq=3 prev=2 a2");
    fake_expect(&f, "REPLAY 1 a seq=4 prev=3 a3");
    fake_expect(&f, "REPLAY 1 b seq=5 prev=0 b1");
    fake_expect(&f, "RECOVERED 1 state=0 seq=7 more=0");
    fake_recover(&f, 2, "a", RECOVER_LAST, 0, 0, 1);
    fake_expect(&f, "REPLAY 2 a seq=4 prev=3 a3");
    fake_expect(&f, "RECOVERED 2 state=0 seq=7 more=0");
    fake_recover(&f, 2, "a", RECOVER_TIME, 0, 1, 1);
    fake_expect(&f, "REPLAY 2 a seq=4 prev=3 a3");
    fake_expect(&f, "RECOVERED 2 state=0 seq=7 more=0");
    fake_recover(&f, 2, "a", RECOVER_TIME, 0, UINT64_C(1) << 62, 1); /* some time after the sun is gone */
    fake_expect(&f, "RECOVERED 2 state=0 seq=7 more=0");
    fake_recover(&f, 3, "#", RECOVER_RETAINED, 0, 0, 0);
    fake_expect(&f, "REPLAY 3 r/1 seq=1 prev=0 kept");
    fake_expect(&f, "RECOVERED 3 state=0 seq=7 more=0");
    fake_recover(&f, 4, "r/1 r/2 none", RECOVER_RETAINED, 0, 0, 0);
    fake_expect(&f, "REPLAY 4 r/1 seq=1 prev=0 kept");
    fake_expect(&f, "RECOVERED 4 state=0 seq=7 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* Many recoveries, some long, while another frontend publishes: for each joiner, what was replayed and then
 * what came live above RECOVERED must be every message, once. */
#define STORM_JOINERS 40u
#define STORM_MESSAGES 3000u

struct storm {
    bool is_joined[STORM_JOINERS + 1];
    uint64_t next[STORM_JOINERS + 1]; /* the seq that the joiner has to see next */
};

static void
storm_take(struct storm *s, const char *line)
{
    uint64_t req, seq, state, more;
    char topic[32];

    if (sscanf(line, "REPLAY %" SCNu64 " %31s seq=%" SCNu64, &req, topic, &seq) == 3) {
        ck_assert(!s->is_joined[req]);
        ck_assert_uint_eq(seq, s->next[req]);
        s->next[req]++;
    } else if (sscanf(line, "RECOVERED %" SCNu64 " state=%" SCNu64 " seq=%" SCNu64 " more=%" SCNu64, &req,
                   &state, &seq, &more) == 4) {
        ck_assert_uint_eq(state, STATE_RECOVERED);
        ck_assert_uint_eq(more, 0);
        ck_assert_uint_eq(seq + 1, s->next[req]);
        s->is_joined[req] = true;
    } else if (sscanf(line, "MESSAGE %31s seq=%" SCNu64, topic, &seq) == 2) {
        for (unsigned i = 1; i <= STORM_JOINERS; i++) {
            if (!s->is_joined[i])
                continue;
            ck_assert_uint_eq(seq, s->next[i]);
            s->next[i]++;
        }
    }
}

START_TEST(replay_and_live_stream_join_without_a_seam)
{
    static char body[2000]; /* so that a replay takes several turns */
    struct storm storm = {0};
    struct bus bus;
    struct fake f, g;
    unsigned n_asked = 0;

    memset(body, 'x', sizeof(body));
    bus_start(&bus, "broker: {sys_interval: 0, outbox_max: 1MiB}\n"
                    "topics: [{match: '#', history: {messages: 100000, bytes: 0}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_open_live(&g, &bus, "ws.2");
    fake_subscribe(&f, 1, "#");
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    for (unsigned i = 1; i <= STORM_JOINERS; i++)
        storm.next[i] = 1;
    for (unsigned i = 0; i < STORM_MESSAGES; i++) {
        fake_publish_with(
            &g, i % 3 == 0 ? "a" : "b/c", &(struct frame_publish){.body = slice_of(body, sizeof(body))});
        if (i % (STORM_MESSAGES / STORM_JOINERS / 2) == 0 && n_asked < STORM_JOINERS) {
            n_asked++;
            fake_recover(&f, n_asked, n_asked % 2 == 0 ? "#" : "a b/c", RECOVER_SINCE, f.epoch, 0, 0);
        }
        if (i % 50 == 0)
            bus_turn(&bus);
    }
    for (bool is_done = false; !is_done;) {
        is_done = true;
        for (unsigned i = 1; i <= STORM_JOINERS; i++)
            is_done = is_done && storm.is_joined[i] && storm.next[i] == STORM_MESSAGES + 1;
        if (!is_done)
            storm_take(&storm, fake_next(&f));
    }
    fake_close(&f);
    fake_close(&g);
    bus_stop(&bus);
}
END_TEST

/* ---- Resuming a link. ---- */

START_TEST(resumed_link_gets_what_it_missed)
{
    struct bus bus;
    struct fake f, g;
    uint64_t epoch;

    bus_start(&bus, QUIET "topics: [{match: 'few/#', history: {messages: 1}}]\n");
    fake_open_live(&g, &bus, "ws.2");
    epoch = g.epoch;
    publish_some(&g, "a", 2);
    publish_some(&g, "other", 1);
    publish_some(&g, "a", 1);
    fake_expect(&g, "PUBLISHED 1 seq=1 count=4");
    fake_open(&f, &bus, "ws.1", 0);
    fake_subscribe(&f, 1, "a");
    fake_resume(&f, epoch, 1);
    fake_expect(&f, "SUBSCRIBED 1 seq=4 retained=0");
    fake_expect(&f, "MESSAGE a seq=2 prev=0 a2");
    fake_expect(&f, "MESSAGE a seq=4 prev=0 a1");
    fake_expect(&f, "RESUMED state=1 seq=4");
    publish_some(&g, "a", 1);
    fake_expect(&f, "MESSAGE a seq=5 prev=4 a1");
    fake_close(&f);

    publish_some(&g, "few/x", 3);
    fake_expect(&g, "PUBLISHED 5 seq=5 count=1");
    fake_expect(&g, "PUBLISHED 6 seq=6 count=3");
    fake_open(&f, &bus, "ws.1", 0);
    fake_subscribe(&f, 1, "#");
    fake_resume(&f, epoch, 5);
    fake_expect(&f, "SUBSCRIBED 1 seq=8 retained=0");
    fake_expect(&f, "GAP 0 few/x seq=7");
    fake_expect(&f, "MESSAGE few/x seq=8 prev=0 few/x3");
    fake_expect(&f, "RESUMED state=2 seq=8");
    fake_close(&f);

    fake_open(&f, &bus, "ws.1", 0);
    fake_subscribe(&f, 1, "#");
    fake_resume(&f, epoch, 9);
    fake_expect(&f, "SUBSCRIBED 1 seq=8 retained=0");
    fake_expect(&f, "RESUMED state=3 seq=8");
    fake_close(&f);
    fake_close(&g);
    bus_stop(&bus);
}
END_TEST

START_TEST(restarted_broker_says_reset)
{
    struct bus bus;
    struct fake f;
    uint64_t epoch;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    epoch = f.epoch;
    publish_some(&f, "a", 2);
    fake_expect(&f, "PUBLISHED 1 seq=1 count=2");
    bus_kill(&bus, SIGKILL);
    fake_wait_down(&f);
    ck_assert(!f.is_clean);
    fake_close(&f);
    bus_spawn(&bus);
    fake_open(&f, &bus, "ws.1", 0);
    ck_assert_uint_ne(f.epoch, epoch);
    fake_subscribe(&f, 1, "a");
    fake_resume(&f, epoch, 2);
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    fake_expect(&f, "RESUMED state=3 seq=0");
    fake_publish(&f, "a", "new");
    fake_expect(&f, "MESSAGE a seq=1 prev=0 new");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

static void
wait_for_messages(struct fake *f, unsigned n)
{
    while (f->n_messages < n) {
        ck_assert_msg(!f->is_down, "%s: the link is down: %s", f->name, f->reason);
        bus_turn(f->bus);
    }
}

/* A frontend that does not read: the broker lets it fall behind, keeps little for it, and sends it everything
 * in the end. */
static void
check_slow_frontend(const char *yaml, bool has_gap)
{
    static char body[20000];
    struct bus bus;
    struct fake slow, fast, publisher;
    const unsigned n = 1000;
    const char *line;
    long rss_before;

    memset(body, 'x', sizeof(body));
    bus_start(&bus, yaml);
    fake_open_live(&slow, &bus, "ws.1");
    fake_open_live(&fast, &bus, "ws.2");
    fake_open_live(&publisher, &bus, "ws.3");
    fake_subscribe(&slow, 1, "a");
    fake_subscribe(&fast, 1, "a");
    fake_expect(&slow, "SUBSCRIBED 1 seq=0 retained=0");
    fake_expect(&fast, "SUBSCRIBED 1 seq=0 retained=0");
    fast.is_quiet = slow.is_quiet = true;
    link_pause(slow.link, true);
    for (unsigned i = 0; i < n; i++) {
        fake_publish_with(&publisher, "a", &(struct frame_publish){.body = slice_of(body, sizeof(body))});
        if (i > 20)
            wait_for_messages(&fast, i - 20); /* the fast one must not be taken for slow */
    }
    wait_for_messages(&fast, n);
    rss_before = bus_rss_kib(&bus);
    ck_assert_uint_lt(slow.n_messages, n);
    link_pause(slow.link, false);
    line = fake_next(&slow);
    if (has_gap) {
        ck_assert_msg(strncmp(line, "GAP 0 a seq=", 12) == 0, "%s", line);
        while (strncmp(line, "GAP 0 a seq=", 12) == 0)
            line = fake_next(&slow);
        ck_assert_str_eq(line, "RESUMED state=2 seq=1000");
        ck_assert_uint_lt(slow.n_messages, n);
    } else {
        ck_assert_str_eq(line, "RESUMED state=1 seq=1000");
        ck_assert_uint_eq(slow.n_messages, n); /* each once: fakefrontend.c checks their order */
    }
    ck_assert_uint_eq(slow.last_message_seq, n);
    ck_assert_int_lt(
        rss_before, 160000); /* 20 MB of history, and not as much again for the link (with sanitizers) */
    fake_publish(&publisher, "a", "live");
    slow.is_quiet = false;
    fake_expect(&slow, "MESSAGE a seq=1001 prev=1000 live");
    fake_close(&slow);
    fake_close(&fast);
    fake_close(&publisher);
    bus_stop(&bus);
}

START_TEST(slow_frontend_is_caught_up_from_the_store)
{
    check_slow_frontend("broker: {sys_interval: 0, outbox_max: 1MiB}\n"
                        "topics: [{match: '#', history: {messages: 100000, bytes: 0}}]\n",
        false);
}
END_TEST

START_TEST(slow_frontend_is_told_of_the_gap)
{
    check_slow_frontend("broker: {sys_interval: 0, outbox_max: 1MiB}\n"
                        "topics: [{match: '#', history: {messages: 10, bytes: 0}}]\n",
        true);
}
END_TEST

static void
list(struct fake *f, uint64_t req, const char *filter, const char *after, uint64_t limit)
{
    frame_put_list(link_buf(f->link),
        &(struct frame_list){
            .req = req, .filter = slice_str(filter), .after = slice_str(after), .limit = limit});
    ck_assert_int_eq(link_commit(f->link), 0);
}

/* ---- Those who break the rules. ---- */

static void
break_unnamed_handle(struct fake *f)
{
    frame_put_publish(link_buf(f->link), &(struct frame_publish){.pub = 1, .handle = 40});
}

static void
break_handle_too_large(struct fake *f)
{
    frame_put_name(link_buf(f->link), &(struct frame_name){.handle = 65536, .topic = slice_str("a")});
}

static void
break_filter_twice(struct fake *f)
{
    fake_subscribe(f, 1, "a");
    fake_subscribe(f, 1, "b");
    link_buf(f->link);
}

static void
break_resume_twice(struct fake *f)
{
    fake_resume(f, 0, 0);
    link_buf(f->link);
}

static void
break_request_zero(struct fake *f)
{
    fake_recover(f, 0, "a", RECOVER_SINCE, 1, 0, 0);
    link_buf(f->link);
}

static void
break_direction(struct fake *f)
{
    frame_put_message(link_buf(f->link), &(struct frame_message){.seq = 1});
}

static void
break_garbage(struct fake *f)
{
    buf_put_str(link_buf(f->link), "\x93\x0a\xc1 this is no frame");
}

static void
break_number(struct fake *f)
{
    buf_put_str(link_buf(f->link), "\x91\x7d");
}

static void
break_stats(struct fake *f)
{
    frame_put_stats(link_buf(f->link), &(struct frame_stats){.json = slice_str("{\"a\":")});
}

static void (*const breakers[])(struct fake *f) = {break_unnamed_handle, break_handle_too_large,
    break_filter_twice, break_resume_twice, break_request_zero, break_direction, break_garbage, break_number,
    break_stats};
#define N_BREAKERS (sizeof(breakers) / sizeof(breakers[0]))

START_TEST(malformed_frame_drops_that_link_and_no_other)
{
    struct bus bus;
    struct fake good, bad;

    bus_start(&bus, QUIET);
    fake_open_live(&good, &bus, "ws.1");
    for (size_t i = 0; i < N_BREAKERS; i++) {
        fake_open_live(&bad, &bus, "ws.2");
        breakers[i](&bad);
        ck_assert_int_eq(link_commit(bad.link), 0);
        fake_wait_down(&bad);
        fake_close(&bad);
    }
    fake_expect_nothing(&good);
    ck_assert(!good.is_down);
    fake_close(&good);
    bus_stop(&bus);
}
END_TEST

/* Frames that are well-formed one by one and make any sense or none together. Handles, filters and requests
 * are from so few that they are often in use. */
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static const char *
random_name(uint64_t *state)
{
    static const char *const names[] = {"a", "b", "a/b", "a/+", "#", "+/b", "$sys/x", "$sys/#", "none/x",
        "ro/x", "", "a/#/b", "many/1", "many/2", "many/3", "many/4"};

    return names[next_random(state) % (sizeof(names) / sizeof(names[0]))];
}

static void
put_random_recover(struct fake *f, struct buf *out, uint64_t *state)
{
    struct frame_recover recover = {
        .req = next_random(state) % 20 + (next_random(state) % 200 > 0),
        .mode = next_random(state) % 100 == 0 ? 3 : next_random(state) % 3,
        .epoch = next_random(state) % 10 == 0 ? 1 : f->epoch,
        .seq = next_random(state) % 3000,
        .count = next_random(state) % 4,
    };
    struct slice filters[3];
    struct buf packed;
    size_t n = 1 + next_random(state) % 3;

    for (size_t i = 0; i < n; i++) {
        const char *name = random_name(state);

        filters[i] = slice_str(*name == '\0' || strcmp(name, "a/#/b") == 0 ? "a" : name);
    }
    buf_init(&packed, 0);
    strs_from(&packed, &recover.filters, filters, n);
    frame_put_recover(out, &recover);
    buf_fini(&packed);
}

static void
put_random_frame(struct fake *f, uint64_t *state)
{
    static const char body[3000];
    struct buf *out = link_buf(f->link);
    uint64_t what = next_random(state) % 100, small = next_random(state) % 16;

    if (what < 10)
        frame_put_name(out, &(struct frame_name){.handle = small, .topic = slice_str(random_name(state))});
    else if (what < 55)
        frame_put_publish(
            out, &(struct frame_publish){
                     .pub = next_random(state) % 20 == 0 ? next_random(state) % 100 : ++f->pub,
                     .handle = small,
                     .flags = next_random(state) % 2,
                     .kind = MESSAGE_BINARY,
                     .key = slice_of("kkk", next_random(state) % 8 == 0 ? 1 + next_random(state) % 3 : 0),
                     .body = slice_of(body, next_random(state) % sizeof(body)),
                 });
    else if (what < 65)
        frame_put_subscribe(out, &(struct frame_subscribe){.filter = next_random(state) % 5000,
                                     .pattern = slice_str(random_name(state))});
    else if (what < 75)
        frame_put_unsubscribe(out, &(struct frame_unsubscribe){.filter = next_random(state) % 5000});
    else if (what < 85)
        put_random_recover(f, out, state);
    else if (what < 90)
        frame_put_cancel(out, &(struct frame_cancel){.req = next_random(state) % 20});
    else if (what < 95)
        frame_put_list(out,
            &(struct frame_list){.req = small, .filter = slice_str("#"), .limit = next_random(state) % 30});
    else if (what < 99)
        frame_put_stats(out, &(struct frame_stats){.json = slice_str("{}")});
    else
        frame_put_resume(out, &(struct frame_resume){.epoch = next_random(state) % 4 == 0 ? 0 : f->epoch,
                                  .seq = next_random(state) % 2000});
    ck_assert_int_eq(link_commit(f->link), 0);
}

/* All handles named and RESUME said, or the first frame would be the last. */
static void
open_random(struct fake *f, struct bus *bus, uint64_t *state)
{
    fake_open(f, bus, "ws.2", 0);
    f->is_lenient = true;
    for (uint64_t handle = 0; handle < 16; handle++) {
        frame_put_name(link_buf(f->link),
            &(struct frame_name){.handle = handle, .topic = slice_str(random_name(state))});
        ck_assert_int_eq(link_commit(f->link), 0);
    }
}

START_TEST(random_frames_harm_nobody)
{
    uint64_t state = UINT64_C(88172645463325252) + (uint64_t)_i * 7919;
    struct bus bus;
    struct fake good, wild;

    bus_start(&bus,
        "broker: {sys_interval: 100ms, outbox_max: 1MiB, topic_idle: 1s, dedupe_window: 0, topics_max: 6}\n"
        "topics:\n"
        "  - {match: 'none/#', history: {messages: 0}}\n"
        "  - {match: 'many/#', history: {messages: 3, age: 100ms}, retain: last}\n"
        "  - {match: 'ro/#', publish: false}\n");
    fake_open(&good, &bus, "ws.1", 0);
    fake_resume(&good, 0, 0);
    good.is_lenient = true;
    fake_subscribe(&good, 1, "#");
    open_random(&wild, &bus, &state);
    for (unsigned i = 0; i < 1500; i++) {
        if (wild.is_down) {
            fake_close(&wild);
            open_random(&wild, &bus, &state);
        }
        put_random_frame(&wild, &state);
        if (next_random(&state) % 20 == 0)
            link_pause(wild.link, next_random(&state) % 2 == 0);
        if (next_random(&state) % 10 == 0)
            bus_turn(&bus);
        ck_assert_msg(!good.is_down, "%s", good.reason);
    }
    fake_close(&wild);
    list(&good, 77, "#", "", 1);
    while (strcmp(fake_next(&good), "LIST_END 77 more=1") != 0)
        ;
    fake_close(&good);
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
    list(&f, 1, "#", "", 4);
    fake_expect(&f, "LISTED 1 a seq=2 kept=1 links=0");
    fake_expect(&f, "LISTED 1 b seq=4 kept=1 links=1");
    fake_expect(&f, "LISTED 1 b/1 seq=5 kept=1 links=0");
    fake_expect(&f, "LISTED 1 b/2 seq=3 kept=1 links=0");
    fake_expect(&f, "LIST_END 1 more=1");
    list(&f, 2, "#", "b/2", 4);
    fake_expect(&f, "LISTED 2 c seq=1 kept=1 links=0");
    fake_expect(&f, "LISTED 2 d seq=6 kept=1 links=0");
    fake_expect(&f, "LIST_END 2 more=0");
    list(&f, 3, "b/+", "", 1000);
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
    publish_some(&f, "a", 3);
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

/* What a store that answers later could break; test-late-store.sh runs these with latebroker.c as the broker.
 */
static void
add_late_tests(TCase *t)
{
    tcase_add_test(t, message_reaches_each_link_that_wants_it_once);
    tcase_add_test(t, repeated_publish_is_answered_and_not_delivered_again);
    tcase_add_test(t, recovery_replays_what_matches_in_order);
    tcase_add_test(t, recovery_says_gap_and_reset_exactly);
    tcase_add_test(t, last_messages_and_retained_values_are_replayed);
    tcase_add_test(t, replay_and_live_stream_join_without_a_seam);
    tcase_add_test(t, resumed_link_gets_what_it_missed);
    tcase_add_test(t, slow_frontend_is_caught_up_from_the_store);
    tcase_add_test(t, slow_frontend_is_told_of_the_gap);
    tcase_add_loop_test(t, random_frames_harm_nobody, 0, 3);
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
    tcase_add_test(t, restarted_broker_says_reset);
    tcase_add_test(t, malformed_frame_drops_that_link_and_no_other);
    tcase_add_test(t, topics_are_listed_in_the_order_of_their_names);
    tcase_add_test(t, figures_are_retained_topics);
    tcase_add_test(t, reload_changes_settings_and_a_bad_file_changes_nothing);
}

int
main(void)
{
    bool is_late = getenv("BUSBAR_TEST_LATE") != NULL;
    Suite *s = suite_create(is_late ? "broker with a late store" : "broker");
    TCase *t = tcase_create("broker");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    add_late_tests(t);
    if (!is_late)
        add_other_tests(t);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
