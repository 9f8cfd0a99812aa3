/* SPDX-License-Identifier: Apache-2.0 */
/* Who is there: members over all links, events to who watches, and the truth after every kill. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"
#include "wire/names.h"

#define QUIET "broker: {sys_interval: 0}\n"
#define SAID_SO 1
#define LOST 0

/* ws.1 watches room, ws.2 and tcp.1 have members. */
struct scene {
    struct bus bus;
    struct fake watcher, one, two;
};

static void
scene_open(struct scene *s, const char *yaml)
{
    bus_start(&s->bus, yaml);
    fake_open_live(&s->watcher, &s->bus, "ws.1");
    fake_subscribe(&s->watcher, 1, "$presence/room");
    fake_expect(&s->watcher, "SUBSCRIBED 1 seq=0 retained=0");
    fake_open_live(&s->one, &s->bus, "ws.2");
    fake_open_live(&s->two, &s->bus, "tcp.1");
}

static void
scene_close(struct scene *s)
{
    fake_close(&s->watcher);
    fake_close(&s->one);
    fake_close(&s->two);
    bus_stop(&s->bus);
}

/* The next message of the watcher, without its numbers. */
static void expect_event(struct fake *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
expect_event(struct fake *f, const char *fmt, ...)
{
    const char *line = fake_next(f), *body = strchr(line, '{');
    char expected[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(expected, sizeof(expected), fmt, ap);
    va_end(ap);
    ck_assert_msg(strncmp(line, "MESSAGE $presence/", 18) == 0 && body != NULL, "%s", line);
    ck_assert_str_eq(body, expected);
}

static void
expect_leave(struct fake *f, const char *id, int count, const char *reason)
{
    expect_event(f, "{\"event\":\"leave\",\"id\":\"%s\",\"count\":%d,\"reason\":\"%s\"}", id, count, reason);
}

/* ---- Joining and leaving. ---- */

START_TEST(join_and_leave_are_told_to_who_watches)
{
    struct scene s;

    scene_open(&s, QUIET);
    fake_join(&s.one, 5, 1, "room", "u1", "{\"n\":1}");
    fake_expect(&s.one, "SETTLED 5 code= count=1");
    ck_assert_str_eq(fake_next(&s.watcher),
        "MESSAGE $presence/room seq=1 prev=0 key=u1 "
        "{\"event\":\"join\",\"id\":\"u1\",\"info\":{\"n\":1},\"count\":1}");
    fake_join(&s.two, 6, 1, "room", "u2", NULL);
    fake_expect(&s.two, "SETTLED 6 code= count=2");
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u2\",\"count\":2}");
    fake_join(&s.two, 7, 2, "elsewhere", "u2", NULL); /* nobody watches: nothing is published */
    fake_expect(&s.two, "SETTLED 7 code= count=1");
    fake_who(&s.watcher, 8, "room", "", 10);
    fake_expect(&s.watcher, "PRESENT 8 u1 connections=1 {\"n\":1}");
    fake_expect(&s.watcher, "PRESENT 8 u2 connections=1 ");
    fake_expect(&s.watcher, "WHO_END 8 mode=1 count=2 more=0");
    fake_leave(&s.one, 1, SAID_SO);
    expect_leave(&s.watcher, "u1", 1, "left");
    fake_leave(&s.one, 1, SAID_SO); /* twice is no fault */
    fake_leave(&s.one, 77, SAID_SO);
    fake_expect_nothing(&s.one);
    fake_expect_nothing(&s.watcher);
    fake_who(&s.watcher, 9, "room", "", 0);
    fake_expect(&s.watcher, "WHO_END 9 mode=1 count=1 more=0");
    fake_who(&s.watcher, 10, "nobody/here", "", 10);
    fake_expect(&s.watcher, "WHO_END 10 mode=1 count=0 more=0");
    scene_close(&s);
}
END_TEST

START_TEST(connections_with_one_id_are_one_member)
{
    struct scene s;

    scene_open(&s, QUIET);
    fake_join(&s.one, 0, 1, "room", "u1", "1");
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u1\",\"info\":1,\"count\":1}");
    fake_join(&s.one, 0, 2, "room", "u1", "1");
    fake_join(&s.two, 5, 1, "room", "u1", "1");
    fake_expect(&s.two, "SETTLED 5 code= count=1");
    fake_who(&s.two, 6, "room", "", 10);
    fake_expect(&s.two, "PRESENT 6 u1 connections=3 1");
    fake_expect(&s.two, "WHO_END 6 mode=1 count=1 more=0");
    fake_leave(&s.one, 1, SAID_SO);
    fake_leave(&s.one, 2, SAID_SO);
    fake_expect_nothing(&s.one);
    fake_expect_nothing(&s.watcher);
    fake_join(&s.two, 0, 2, "room", "u1", "2"); /* the info of the newest holds, and is told */
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u1\",\"info\":2,\"count\":1}");
    fake_leave(&s.two, 2, SAID_SO);
    fake_leave(&s.two, 1, SAID_SO);
    expect_leave(&s.watcher, "u1", 0, "left");
    scene_close(&s);
}
END_TEST

START_TEST(who_came_and_went_in_one_turn_was_never_there)
{
    struct scene s;

    scene_open(&s, QUIET);
    fake_join(&s.one, 0, 1, "room", "u1", NULL);
    fake_leave(&s.one, 1, SAID_SO);
    fake_join(&s.one, 0, 2, "room", "u2", NULL);
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u2\",\"count\":1}");
    fake_leave(&s.one, 2, SAID_SO);
    fake_join(&s.one, 0, 3, "room", "u2", NULL);
    fake_expect_nothing(&s.one);
    fake_expect_nothing(&s.watcher);
    scene_close(&s);
}
END_TEST

START_TEST(pages_are_in_order)
{
    struct scene s;
    char id[8];

    scene_open(&s, QUIET);
    for (uint64_t i = 9; i > 0; i--) {
        snprintf(id, sizeof(id), "u%" PRIu64, i);
        fake_join(&s.one, 0, i, "page", id, NULL);
    }
    fake_who(&s.one, 1, "page", "", 4);
    fake_expect(&s.one, "PRESENT 1 u1 connections=1 ");
    fake_expect(&s.one, "PRESENT 1 u2 connections=1 ");
    fake_expect(&s.one, "PRESENT 1 u3 connections=1 ");
    fake_expect(&s.one, "PRESENT 1 u4 connections=1 ");
    fake_expect(&s.one, "WHO_END 1 mode=1 count=9 more=1");
    fake_leave(&s.one, 4, SAID_SO);
    fake_leave(&s.one, 5, SAID_SO);
    fake_who(&s.one, 2, "page", "u4", 4);
    fake_expect(&s.one, "PRESENT 2 u6 connections=1 ");
    fake_expect(&s.one, "PRESENT 2 u7 connections=1 ");
    fake_expect(&s.one, "PRESENT 2 u8 connections=1 ");
    fake_expect(&s.one, "PRESENT 2 u9 connections=1 ");
    fake_expect(&s.one, "WHO_END 2 mode=1 count=7 more=0");
    scene_close(&s);
}
END_TEST

/* ---- Lingering. ---- */

START_TEST(lost_connection_lingers)
{
    struct scene s;

    scene_open(&s, QUIET "topics: [{match: '#', presence: {linger: 1s}}]\n");
    fake_join(&s.one, 0, 1, "room", "u1", NULL);
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u1\",\"count\":1}");
    fake_leave(&s.one, 1, LOST);
    fake_who(&s.one, 5, "room", "", 10);
    fake_expect(&s.one, "PRESENT 5 u1 connections=0 ");
    fake_expect(&s.one, "WHO_END 5 mode=1 count=1 more=0");
    fake_join(&s.two, 6, 1, "room", "u1", NULL); /* back, by another frontend: nothing has happened */
    fake_expect(&s.two, "SETTLED 6 code= count=1");
    bus_run_ms(&s.bus, 1200);
    fake_expect_nothing(&s.watcher);
    fake_leave(&s.two, 1, LOST);
    fake_expect_nothing(&s.watcher);
    expect_leave(&s.watcher, "u1", 0, "lost"); /* when the time is over */
    fake_who(&s.one, 7, "room", "", 10);
    fake_expect(&s.one, "WHO_END 7 mode=1 count=0 more=0");
    scene_close(&s);
}
END_TEST

START_TEST(members_of_a_lost_frontend_leave_together)
{
    const char *first, *second;
    struct scene s;

    scene_open(&s, "broker: {sys_interval: 0, grace: 1s}\ntopics: [{match: '#', presence: {linger: 0}}]\n");
    fake_join(&s.one, 0, 1, "room", "u1", NULL);
    fake_join(&s.one, 0, 2, "room", "u2", NULL);
    fake_join(&s.one, 0, 3, "room", "u3", NULL);
    fake_join(&s.two, 0, 1, "room", "u2", NULL);
    fake_expect_nothing(&s.two);
    for (int i = 0; i < 3; i++)
        (void)fake_next(&s.watcher);
    fake_close(&s.one);
    fake_expect_nothing(&s.watcher);
    first = fake_next(&s.watcher); /* in one turn: in no order */
    second = fake_next(&s.watcher);
    ck_assert_str_eq(strchr(first, '{'),
        strstr(first, "u1") != NULL
            ? "{\"event\":\"leave\",\"id\":\"u1\",\"count\":1,\"reason\":\"frontend_lost\"}"
            : "{\"event\":\"leave\",\"id\":\"u3\",\"count\":1,\"reason\":\"frontend_lost\"}");
    ck_assert_ptr_nonnull(strstr(second, strstr(first, "u1") != NULL ? "\"u3\"" : "\"u1\""));
    fake_expect_nothing(&s.watcher);
    fake_leave(&s.two, 1, LOST); /* without lingering */
    expect_leave(&s.watcher, "u2", 0, "lost");
    fake_open_live(&s.one, &s.bus, "ws.2");
    scene_close(&s);
}
END_TEST

START_TEST(frontend_that_attaches_again_lists_its_members_and_nothing_is_told)
{
    struct scene s;

    scene_open(&s, QUIET);
    fake_join(&s.one, 0, 1, "room", "u1", "1");
    fake_join(&s.one, 0, 2, "room", "u2", NULL);
    (void)fake_next(&s.watcher);
    (void)fake_next(&s.watcher);
    fake_close(&s.one);
    s.bus.hello_epoch = s.watcher.epoch;
    fake_open(&s.one, &s.bus, "ws.2", 0);
    fake_join_again(&s.one, 1, "room", "u1", "1");
    fake_join_again(&s.one, 2, "room", "u2", NULL);
    fake_resume(&s.one, 0, 0);
    fake_expect(&s.one, "RESUMED state=0 seq=2");
    fake_who(&s.two, 5, "room", "", 10);
    fake_expect(&s.two, "PRESENT 5 u1 connections=1 1");
    fake_expect(&s.two, "PRESENT 5 u2 connections=1 ");
    fake_expect(&s.two, "WHO_END 5 mode=1 count=2 more=0");
    fake_expect_nothing(&s.watcher);
    scene_close(&s);
}
END_TEST

/* ---- Restarts of the broker. ---- */

static void
reopen(struct fake *f, struct bus *bus, const char *name)
{
    fake_close(f);
    fake_open(f, bus, name, 0);
}

START_TEST(after_a_restart_watchers_get_the_truth_and_no_storm)
{
    struct scene s;

    scene_open(&s, "broker: {sys_interval: 0, grace: 2s}\n");
    fake_join(&s.one, 0, 1, "room", "u1", NULL);
    fake_join(&s.two, 0, 1, "room", "u2", NULL);
    (void)fake_next(&s.watcher);
    (void)fake_next(&s.watcher);
    bus_kill(&s.bus, SIGKILL);
    bus_spawn(&s.bus);
    s.bus.hello_epoch = s.watcher.epoch;
    reopen(&s.watcher, &s.bus, "ws.1");
    fake_subscribe(&s.watcher, 1, "$presence/room");
    fake_resume(&s.watcher, 0, 0);
    fake_expect(&s.watcher, "SUBSCRIBED 1 seq=0 retained=0");
    fake_expect(&s.watcher, "RESUMED state=0 seq=0");
    fake_who(&s.watcher, 5, "room", "", 10);
    fake_expect_nothing(&s.watcher); /* not before all are there who can be */
    reopen(&s.one, &s.bus, "ws.2");
    fake_join_again(&s.one, 1, "room", "u1", NULL);
    fake_resume(&s.one, 0, 0);
    fake_expect(&s.one, "RESUMED state=0 seq=0");
    fake_join(&s.one, 0, 2, "room", "u3", NULL); /* really new */
    ck_assert_str_eq(fake_next(&s.watcher),
        "MESSAGE $presence/room seq=1 prev=0 key=u3 {\"event\":\"join\",\"id\":\"u3\",\"count\":2}");
    fake_leave(&s.one, 1, SAID_SO); /* and one of before leaves */
    expect_leave(&s.watcher, "u1", 1, "left");
    /* tcp.1 never comes back: u2 is not there. */
    fake_expect(&s.watcher, "PRESENT 5 u3 connections=1 ");
    fake_expect(&s.watcher, "WHO_END 5 mode=1 count=1 more=0");
    /* If it comes after all, that is news by now. */
    reopen(&s.two, &s.bus, "tcp.1");
    fake_join_again(&s.two, 1, "room", "u2", NULL);
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u2\",\"count\":2}");
    scene_close(&s);
}
END_TEST

START_TEST(new_frontend_that_asked_too_early_is_told_the_rest)
{
    struct bus bus;
    struct fake fresh, older;

    bus_start(&bus, "broker: {sys_interval: 0, grace: 2s}\n");
    fake_open_live(&fresh, &bus, "ws.1");
    fake_subscribe(&fresh, 1, "$presence/#");
    fake_expect(&fresh, "SUBSCRIBED 1 seq=0 retained=0");
    fake_who(&fresh, 5, "asked", "", 10); /* it knows of no broker before: it is answered at once */
    fake_expect(&fresh, "WHO_END 5 mode=1 count=0 more=0");
    bus.hello_epoch = 12345;
    fake_open(&older, &bus, "ws.2", 0);
    fake_join_again(&older, 1, "asked", "u1", NULL);
    fake_join_again(&older, 2, "other", "u1", NULL);
    ck_assert_str_eq(fake_next(&fresh),
        "MESSAGE $presence/asked seq=1 prev=0 key=u1 {\"event\":\"join\",\"id\":\"u1\",\"count\":1}");
    fake_who(&fresh, 6, "other", "", 10);
    fake_expect(&fresh, "PRESENT 6 u1 connections=1 ");
    fake_expect(&fresh, "WHO_END 6 mode=1 count=1 more=0");
    fake_close(&fresh);
    fake_close(&older);
    bus_stop(&bus);
}
END_TEST

/* ---- Only how many. ---- */

START_TEST(count_is_told_once_a_second_at_most)
{
    struct scene s;
    char id[16];
    uint64_t begun_ms;
    int n_events = 0;

    scene_open(&s, QUIET "topics: [{match: 'room', presence: {mode: count}}]\n");
    begun_ms = loop_now_ms(s.bus.loop);
    for (uint64_t i = 1; i <= 500; i++) {
        snprintf(id, sizeof(id), "u%" PRIu64, i);
        fake_join(&s.one, 0, i, "room", id, "{\"not\":\"kept\"}");
        if (i % 100 == 0)
            fake_expect_nothing(&s.one);
    }
    for (;;) {
        const char *line = fake_next(&s.watcher);

        n_events++;
        if (strstr(line, "{\"event\":\"count\",\"count\":500}") != NULL)
            break;
    }
    ck_assert_int_le(n_events, 2 + (int)((loop_now_ms(s.bus.loop) - begun_ms) / 1000));
    fake_who(&s.watcher, 5, "room", "", 10);
    fake_expect(&s.watcher, "WHO_END 5 mode=2 count=500 more=0");
    fake_leave(&s.one, 1, SAID_SO);
    expect_event(&s.watcher, "{\"event\":\"count\",\"count\":499}");
    for (uint64_t i = 2; i <= 500; i++)
        fake_leave(&s.one, i, SAID_SO);
    expect_event(
        &s.watcher, "{\"event\":\"count\",\"count\":0}"); /* nobody is there, and that is told, too */
    fake_expect_nothing(&s.watcher);
    scene_close(&s);
}
END_TEST

/* ---- Limits and nonsense. ---- */

START_TEST(join_is_refused_with_its_code)
{
    struct scene s;
    char long_id[258], long_info[4100];

    memset(long_id, 'i', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    memset(long_info, '1', sizeof(long_info) - 1);
    long_info[sizeof(long_info) - 1] = '\0';
    scene_open(&s, "broker: {sys_interval: 0, members_max: 3}\n"
                   "topics:\n"
                   "  - {match: 'deaf', subscribe: false}\n"
                   "  - {match: 'off', presence: {mode: off}}\n"
                   "  - {match: 'small', presence: {max_members: 1}}\n");
    fake_join(&s.one, 1, 1, "a/#", "u1", NULL);
    fake_expect(&s.one, "SETTLED 1 code=topic_invalid count=0");
    fake_join(&s.one, 2, 1, "$sys/broker", "u1", NULL);
    fake_expect(&s.one, "SETTLED 2 code=not_allowed count=0");
    fake_join(&s.one, 3, 1, "deaf", "u1", NULL);
    fake_expect(&s.one, "SETTLED 3 code=not_allowed count=0");
    fake_join(&s.one, 4, 1, "off", "u1", NULL);
    fake_expect(&s.one, "SETTLED 4 code=not_allowed count=0");
    fake_join(&s.one, 5, 1, "a", "", NULL);
    fake_expect(&s.one, "SETTLED 5 code=request_invalid count=0");
    fake_join(&s.one, 6, 1, "a", long_id, NULL);
    fake_expect(&s.one, "SETTLED 6 code=request_invalid count=0");
    fake_join(&s.one, 7, 1, "a", "u1", "{\"no\":json}");
    fake_expect(&s.one, "SETTLED 7 code=body_invalid count=0");
    fake_join(&s.one, 8, 1, "a", "u1", long_info);
    fake_expect(&s.one, "SETTLED 8 code=message_too_large count=0");
    long_id[255] = '\0';
    fake_join(&s.one, 9, 1, "small", long_id, NULL);
    fake_expect(&s.one, "SETTLED 9 code= count=1");
    fake_join(&s.one, 10, 2, "small", "u2", NULL);
    fake_expect(&s.one, "SETTLED 10 code=limit_reached count=0");
    fake_join(&s.one, 11, 3, "small", long_id, NULL); /* another connection of who is there */
    fake_expect(&s.one, "SETTLED 11 code= count=1");
    fake_join(&s.one, 12, 4, "b", "u1", NULL);
    fake_join(&s.one, 13, 5, "c", "u1", NULL);
    fake_expect(&s.one, "SETTLED 12 code= count=1");
    fake_expect(&s.one, "SETTLED 13 code=limit_reached count=0");
    fake_leave(&s.one, 4, LOST); /* it counts while it lingers */
    fake_join(&s.one, 14, 6, "c", "u1", NULL);
    fake_expect(&s.one, "SETTLED 14 code=limit_reached count=0");
    fake_leave(&s.one, 1, SAID_SO);
    fake_join(&s.one, 15, 7, "c", "u1", NULL);
    fake_expect(&s.one, "SETTLED 15 code= count=1");
    fake_who(&s.one, 16, "off", "", 10);
    fake_expect(&s.one, "WHO_END 16 mode=0 count=0 more=0");
    fake_who(&s.one, 17, "deaf", "", 10);
    fake_expect(&s.one, "WHO_END 17 mode=0 count=0 more=0");
    scene_close(&s);
}
END_TEST

static void
says_member_0(struct fake *f)
{
    fake_join(f, 0, 0, "a", "u1", NULL);
}

static void
says_member_twice(struct fake *f)
{
    fake_join(f, 0, 1, "a", "u1", NULL);
    fake_join(f, 0, 1, "b", "u2", NULL);
}

static void
says_flags_2(struct fake *f)
{
    fake_leave(f, 1, 2);
}

static void
says_no_topic(struct fake *f)
{
    fake_who(f, 1, "a/+", "", 10);
}

START_TEST(nonsense_ends_the_link_and_nothing_else)
{
    static void (*const says[])(struct fake *) = {
        says_member_0, says_member_twice, says_flags_2, says_no_topic};
    struct scene s;

    scene_open(&s, QUIET);
    for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
        says[i](&s.two);
        fake_wait_down(&s.two);
        fake_close(&s.two);
        fake_open_live(&s.two, &s.bus, "tcp.1");
        fake_expect_nothing(&s.one);
    }
    scene_close(&s);
}
END_TEST

/* The longest topic has no room for events: with the prefix it is none. Nothing else is harmed. */
START_TEST(topic_too_long_for_events_has_members)
{
    struct scene s;
    char topic[TOPIC_MAX_BYTES + 1];

    memset(topic, 't', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    scene_open(&s, QUIET);
    fake_join(&s.one, 1, 1, topic, "u1", NULL);
    fake_expect(&s.one, "SETTLED 1 code= count=1");
    fake_leave(&s.one, 1, SAID_SO);
    fake_expect_nothing(&s.one);
    scene_close(&s);
}
END_TEST

/* ---- Very many. ---- */

#define MANY 20000

START_TEST(very_many_come_and_go)
{
    struct scene s;
    uint64_t n = 0;
    char id[16], after[16] = "";

    scene_open(&s, QUIET "topics: [{match: '#', presence: {max_members: 100000}}]\n");
    s.watcher.is_quiet = true; /* the events are counted */
    for (uint64_t i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "u%05" PRIu64, i * 7919 % MANY);
        fake_join(&s.one, 0, i + 1, "room", id, "{}");
        if (i % 1000 == 999)
            fake_expect_nothing(&s.one);
    }
    while (s.watcher.n_messages < MANY)
        bus_turn(&s.bus);
    for (bool more = true; more;) {
        char last[16] = "";

        fake_who(&s.two, 1, "room", after, 1000);
        for (;;) {
            const char *line = fake_next(&s.two);

            if (sscanf(line, "PRESENT 1 %15s", last) != 1) {
                ck_assert_msg(strncmp(line, "WHO_END 1 mode=1 count=20000 more=", 34) == 0, "%s", line);
                more = line[34] == '1';
                break;
            }
            ck_assert_str_gt(last, after);
            strcpy(after, last);
            n++;
        }
    }
    ck_assert_uint_eq(n, MANY);
    for (uint64_t i = 0; i < MANY; i++)
        fake_leave(&s.one, i + 1, SAID_SO);
    while (s.watcher.n_messages < 2 * MANY)
        bus_turn(&s.bus);
    fake_expect_nothing(&s.watcher);
    ck_assert_uint_eq(s.watcher.n_messages, 2 * MANY);
    scene_close(&s);
}
END_TEST

/* ---- A store that cannot keep what it is given. ---- */

START_TEST(what_could_not_be_told_is_told_when_it_can_be)
{
    struct scene s;
    bool is_told[2] = {false, false};

    scene_open(&s, QUIET "topics: [{match: '#', presence: {linger: 0}}]\n");
    fake_join(&s.one, 0, 1, "room", "u1", NULL);
    expect_event(&s.watcher, "{\"event\":\"join\",\"id\":\"u1\",\"count\":1}");
    ck_assert_int_eq(kill(s.bus.broker, SIGUSR1), 0);
    fake_leave(&s.one, 1, LOST);
    fake_join(&s.one, 0, 2, "room", "u2", NULL);
    fake_publish(&s.two, "a", "x");
    fake_expect(&s.two, "REJECTED 1 store_failed");
    fake_expect_nothing(&s.watcher);
    fake_who(&s.two, 5, "room", "", 10);
    fake_expect(&s.two, "PRESENT 5 u2 connections=1 ");
    fake_expect(&s.two, "WHO_END 5 mode=1 count=1 more=0");
    ck_assert_int_eq(kill(s.bus.broker, SIGUSR1), 0);
    for (int i = 0; i < 2; i++) {
        const char *line = fake_next(&s.watcher);

        is_told[0] |=
            strstr(line, "{\"event\":\"leave\",\"id\":\"u1\",\"count\":1,\"reason\":\"lost\"}") != NULL;
        is_told[1] |= strstr(line, "{\"event\":\"join\",\"id\":\"u2\",\"count\":1}") != NULL;
    }
    ck_assert(is_told[0] && is_told[1]);
    fake_expect_nothing(&s.watcher);
    scene_close(&s);
}
END_TEST

/* ---- The truth after every kill. ---- */

#define N_LINKS 3
#define N_IDS 8
#define STEPS 1500

struct chaos {
    struct bus bus;
    struct fake watcher, links[N_LINKS];
    int seats[N_LINKS][N_IDS]; /* how many each link has of each */
    uint64_t numbers[N_LINKS][N_IDS][2];
    uint64_t next_number;
    bool is_there[N_IDS]; /* by the events, and the snapshot that began them */
    bool snapshot[N_IDS];
};

static void
chaos_open(struct chaos *c, size_t l)
{
    char name[8];

    snprintf(name, sizeof(name), "ws.%zu", l + 2);
    fake_open(&c->links[l], &c->bus, name, 0);
}

static void
chaos_resume(struct chaos *c, size_t l)
{
    fake_resume(&c->links[l], 0, 0);
    ck_assert_int_eq(strncmp(fake_next(&c->links[l]), "RESUMED state=0", 15), 0);
}

static void
chaos_note(struct chaos *c, const char *line)
{
    unsigned i;

    if (sscanf(line, "MESSAGE $presence/room seq=%*u prev=0 key=%*s {\"event\":\"join\",\"id\":\"u%u\"",
            &i) == 1)
        c->is_there[i] = true;
    else if (sscanf(line, "MESSAGE $presence/room seq=%*u prev=0 key=%*s {\"event\":\"leave\",\"id\":\"u%u\"",
                 &i) == 1)
        c->is_there[i] = false;
    else if (sscanf(line, "PRESENT 9 u%u", &i) == 1)
        c->snapshot[i] = true;
    else if (strncmp(line, "WHO_END 9 ", 10) == 0)
        memcpy(c->is_there, c->snapshot, sizeof(c->is_there));
    else if (strncmp(line, "SUBSCRIBED ", 11) != 0 && strncmp(line, "RESUMED ", 8) != 0)
        ck_abort_msg("%s", line);
}

static void
chaos_read(struct chaos *c)
{
    while (c->watcher.at < c->watcher.n_lines) {
        const char *line = c->watcher.lines[c->watcher.at++];

        if (strncmp(line, "TOPIC ", 6) != 0)
            chaos_note(c, line);
    }
}

static void
chaos_step(struct chaos *c)
{
    size_t l = (size_t)rand() % N_LINKS, i = (size_t)rand() % N_IDS;
    char id[8];

    snprintf(id, sizeof(id), "u%zu", i);
    if (rand() % 100 == 0) {
        fake_close(&c->links[l]);
        memset(c->seats[l], 0, sizeof(c->seats[l]));
        chaos_open(c, l);
        chaos_resume(c, l);
    } else if (c->seats[l][i] < 2 && rand() % 2 == 0) {
        c->numbers[l][i][c->seats[l][i]++] = ++c->next_number;
        fake_join(&c->links[l], 0, c->next_number, "room", id, rand() % 2 == 0 ? "1" : NULL);
    } else if (c->seats[l][i] > 0) {
        fake_leave(&c->links[l], c->numbers[l][i][--c->seats[l][i]], (uint64_t)rand() % 2);
    }
    if (rand() % 8 == 0)
        bus_turn(&c->bus);
    chaos_read(c);
}

/* The broker is killed. One of the frontends died with it, the others list what they have. */
static void
chaos_restart(struct chaos *c)
{
    size_t dead = (size_t)rand() % N_LINKS;

    bus_kill(&c->bus, SIGKILL);
    bus_spawn(&c->bus);
    c->bus.hello_epoch = c->watcher.epoch;
    reopen(&c->watcher, &c->bus, "ws.1");
    fake_subscribe(&c->watcher, 1, "$presence/room");
    fake_resume(&c->watcher, 0, 0);
    memset(c->snapshot, 0, sizeof(c->snapshot));
    fake_who(&c->watcher, 9, "room", "", 100);
    for (size_t l = 0; l < N_LINKS; l++) {
        fake_close(&c->links[l]);
        if (l == dead)
            memset(c->seats[l], 0, sizeof(c->seats[l]));
        c->bus.hello_epoch = l != dead;
        chaos_open(c, l);
        for (unsigned i = 0; i < N_IDS; i++) {
            char id[8];

            snprintf(id, sizeof(id), "u%u", i);
            for (int n = 0; n < c->seats[l][i]; n++)
                fake_join_again(&c->links[l], c->numbers[l][i][n], "room", id, NULL);
        }
        chaos_resume(c, l);
    }
}

/* Events, WHO and what the links really have say the same, when what lingers is gone. */
static void
chaos_check(struct chaos *c)
{
    bool listed[N_IDS] = {false};
    unsigned i;

    bus_run_ms(&c->bus, 900); /* a lost seat lingers for 300 ms at most, and that is the grace time, too */
    fake_who(&c->links[0], 1, "room", "", 100);
    for (;;) {
        const char *line = fake_next(&c->links[0]);

        if (sscanf(line, "PRESENT 1 u%u", &i) != 1)
            break;
        listed[i] = true;
    }
    bus_run_ms(&c->bus, 50);
    chaos_read(c);
    for (i = 0; i < N_IDS; i++) {
        bool is_there = false;

        for (size_t l = 0; l < N_LINKS; l++)
            is_there |= c->seats[l][i] > 0;
        ck_assert_msg(listed[i] == is_there, "WHO says %d of u%u, in truth it is %d", listed[i], i, is_there);
        ck_assert_msg(c->is_there[i] == is_there, "events say %d of u%u, in truth it is %d", c->is_there[i],
            i, is_there);
    }
}

START_TEST(presence_agrees_with_the_truth_after_every_kill)
{
    static struct chaos c;

    srand(1);
    bus_start(&c.bus,
        "broker: {sys_interval: 0, grace: 300ms}\ntopics: [{match: '#', presence: {linger: 200ms}}]\n");
    fake_open_live(&c.watcher, &c.bus, "ws.1");
    fake_subscribe(&c.watcher, 1, "$presence/room");
    fake_expect(&c.watcher, "SUBSCRIBED 1 seq=0 retained=0");
    for (size_t l = 0; l < N_LINKS; l++) {
        chaos_open(&c, l);
        chaos_resume(&c, l);
    }
    for (int step = 1; step <= STEPS; step++) {
        chaos_step(&c);
        if (step % (STEPS / 5) == STEPS / 6)
            chaos_restart(&c);
        if (step % (STEPS / 5) == 0)
            chaos_check(&c);
    }
    fake_close(&c.watcher);
    for (size_t l = 0; l < N_LINKS; l++)
        fake_close(&c.links[l]);
    bus_stop(&c.bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("presence");
    TCase *t = tcase_create("presence");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, join_and_leave_are_told_to_who_watches);
    tcase_add_test(t, connections_with_one_id_are_one_member);
    tcase_add_test(t, who_came_and_went_in_one_turn_was_never_there);
    tcase_add_test(t, pages_are_in_order);
    tcase_add_test(t, lost_connection_lingers);
    tcase_add_test(t, members_of_a_lost_frontend_leave_together);
    tcase_add_test(t, frontend_that_attaches_again_lists_its_members_and_nothing_is_told);
    tcase_add_test(t, after_a_restart_watchers_get_the_truth_and_no_storm);
    tcase_add_test(t, new_frontend_that_asked_too_early_is_told_the_rest);
    tcase_add_test(t, count_is_told_once_a_second_at_most);
    tcase_add_test(t, join_is_refused_with_its_code);
    tcase_add_test(t, nonsense_ends_the_link_and_nothing_else);
    tcase_add_test(t, topic_too_long_for_events_has_members);
    tcase_add_test(t, very_many_come_and_go);
    tcase_add_test(t, presence_agrees_with_the_truth_after_every_kill);
    if (getenv("BUSBAR_TEST_LATE") != NULL)
        tcase_add_test(t, what_could_not_be_told_is_told_when_it_can_be);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
