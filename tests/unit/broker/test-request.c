/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: to one responder, turn by turn, and exactly one REPLIED for each, whoever dies. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define QUIET "broker: {sys_interval: 0}\n"
#define RESPONDER 1
#define LONG_MS 60000

/* ws.1 asks, tcp.1 and tcp.2 answer. */
struct scene {
    struct bus bus;
    struct fake asker, one, two;
};

static void
scene_open(struct scene *s, const char *yaml)
{
    bus_start(&s->bus, yaml);
    fake_open_live(&s->asker, &s->bus, "ws.1");
    fake_open_live(&s->one, &s->bus, "tcp.1");
    fake_open_live(&s->two, &s->bus, "tcp.2");
}

static void
scene_close(struct scene *s)
{
    fake_close(&s->asker);
    fake_close(&s->one);
    fake_close(&s->two);
    bus_stop(&s->bus);
}

static void
respond(struct fake *f, uint64_t number, const char *filter, uint64_t credit)
{
    fake_consume(f, number, RESPONDER, filter, "", credit);
    fake_expect(f, "CONSUMING %" PRIu64, number);
}

/* ---- The way there and back. ---- */

START_TEST(reply_goes_to_the_asker)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/add", 4);
    fake_request(&s.asker, 7, "svc/add", "1+2", 5000);
    fake_expect(&s.one, "CALL 1 svc/add n=1 1+2");
    ck_assert_uint_gt(s.one.call_timeout_ms, 4000);
    ck_assert_uint_le(s.one.call_timeout_ms, 5000);
    ck_assert_uint_le(strlen(s.one.call), 64);
    fake_reply(&s.one, 3, 1, s.one.call, NULL, "3");
    fake_expect(&s.asker, "REPLIED 7 code= 3");
    fake_expect(&s.one, "SETTLED 3 code= count=1");
    fake_request(&s.asker, 7, "svc/add", "again", 5000); /* the number is free again */
    fake_expect(&s.one, "CALL 1 svc/add n=1 again");
    fake_reply(&s.one, 0, 1, s.one.call, "no", "it went wrong");
    fake_expect(&s.asker, "REPLIED 7 code=responder_failed ");
    fake_expect_nothing(&s.one);
    scene_close(&s);
}
END_TEST

START_TEST(asker_and_responder_may_be_one_link)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.asker, 1, "svc/#", 1);
    fake_request(&s.asker, 7, "svc/add", "x", LONG_MS);
    fake_expect(&s.asker, "CALL 1 svc/add n=1 x");
    fake_reply(&s.asker, 0, 1, s.asker.call, NULL, "y");
    fake_expect(&s.asker, "REPLIED 7 code= y");
    scene_close(&s);
}
END_TEST

START_TEST(nobody_there_is_told_at_once)
{
    struct scene s;

    scene_open(&s, "broker: {sys_interval: 0}\n"
                   "topics: [{match: 'ro/#', publish: false}, {match: 'deaf/#', subscribe: false}]\n");
    fake_request(&s.asker, 1, "svc/add", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 1 code=no_responder ");
    respond(&s.one, 1, "#", 4);
    fake_request(&s.asker, 2, "deaf/x", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 2 code=no_responder ");
    fake_request(&s.asker, 3, "ro/x", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 3 code=not_allowed ");
    fake_request(&s.asker, 4, "$sys/x", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 4 code=not_allowed ");
    fake_request(&s.asker, 5, "a/+", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 5 code=topic_invalid ");
    fake_unconsume(&s.one, 1);
    fake_expect_nothing(&s.one);
    fake_request(&s.asker, 6, "svc/add", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 6 code=no_responder ");
    scene_close(&s);
}
END_TEST

/* ---- Turns. ---- */

START_TEST(responders_take_turns_across_filters_and_links)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/add", 100);
    respond(&s.one, 2, "svc/+", 100);
    respond(&s.two, 1, "#", 100);
    for (uint64_t i = 0; i < 6; i++)
        fake_request(&s.asker, i + 1, "svc/add", "x", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/add n=1 x");
    fake_expect(&s.one, "CALL 2 svc/add n=1 x");
    fake_expect(&s.one, "CALL 1 svc/add n=1 x");
    fake_expect(&s.one, "CALL 2 svc/add n=1 x");
    fake_expect(&s.two, "CALL 1 svc/add n=1 x");
    fake_expect(&s.two, "CALL 1 svc/add n=1 x");
    fake_expect_nothing(&s.one);
    fake_expect_nothing(&s.two);
    scene_close(&s);
}
END_TEST

START_TEST(what_finds_all_busy_waits_for_the_first_that_has_room)
{
    struct scene s;
    char first[80];

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/+", 1);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/a n=1 1");
    strcpy(first, s.one.call);
    fake_request(&s.asker, 2, "svc/a", "2", LONG_MS);
    fake_request(&s.asker, 3, "svc/a", "3", LONG_MS);
    fake_request(&s.asker, 4, "svc/b", "4", LONG_MS);
    fake_expect_nothing(&s.asker);
    fake_expect_nothing(&s.one);
    /* Whoever comes later is found by what waits: topics take turns, in each the oldest is first. */
    respond(&s.two, 1, "svc/a", 1);
    fake_expect(&s.two, "CALL 1 svc/a n=1 2");
    fake_credit(&s.one, 1, 1);
    fake_expect(&s.one, "CALL 1 svc/a n=1 3");
    fake_reply(&s.one, 0, 1, first, NULL, "done");
    fake_expect(&s.asker, "REPLIED 1 code= done");
    fake_expect(&s.one, "CALL 1 svc/b n=1 4");
    fake_expect_nothing(&s.two);
    scene_close(&s);
}
END_TEST

START_TEST(wildcard_that_comes_later_gets_what_waits)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 0);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_expect_nothing(&s.asker);
    respond(&s.two, 1, "other/#", 1);
    respond(&s.two, 2, "svc/#", 1);
    fake_expect(&s.two, "CALL 2 svc/a n=1 1");
    scene_close(&s);
}
END_TEST

START_TEST(waiting_requests_are_told_when_the_last_responder_leaves)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 0);
    respond(&s.two, 1, "svc/#", 0);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_request(&s.asker, 2, "svc/a", "2", LONG_MS);
    fake_unconsume(&s.one, 1);
    fake_expect_nothing(&s.one);
    fake_expect_nothing(&s.asker);
    fake_close(&s.two);
    fake_expect(&s.asker, "REPLIED 1 code=no_responder ");
    fake_expect(&s.asker, "REPLIED 2 code=no_responder ");
    fake_open_live(&s.two, &s.bus, "tcp.2");
    scene_close(&s);
}
END_TEST

/* ---- Ends. ---- */

START_TEST(responder_that_goes_is_told_at_once)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 8);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/a n=1 1");
    fake_unconsume(&s.one, 1);
    fake_expect(&s.asker, "REPLIED 1 code=responder_gone ");
    fake_reply(&s.one, 5, 1, s.one.call, NULL, "late"); /* it crossed */
    fake_expect(&s.one, "SETTLED 5 code=call_unknown count=0");
    respond(&s.one, 2, "svc/a", 8);
    fake_request(&s.asker, 2, "svc/a", "2", LONG_MS);
    fake_expect(&s.one, "CALL 2 svc/a n=1 2");
    fake_close(&s.one); /* its frontend was killed */
    fake_expect(&s.asker, "REPLIED 2 code=responder_gone ");
    fake_expect_nothing(&s.asker);
    fake_open_live(&s.one, &s.bus, "tcp.1");
    respond(&s.one, 1, "svc/a", 8);
    fake_request(&s.asker, 3, "svc/a", "3", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/a n=1 3");
    fake_close(&s.two);
    fake_open_live(&s.two, &s.bus, "tcp.1"); /* another takes its name */
    fake_expect(&s.asker, "REPLIED 3 code=responder_gone ");
    scene_close(&s);
}
END_TEST

START_TEST(time_is_over_for_those_who_wait_and_those_who_were_called)
{
    struct scene s;
    const char *first, *second;
    char late[80];
    bool is_swapped;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 1);
    fake_request(&s.asker, 1, "svc/a", "1", 100);
    fake_request(&s.asker, 2, "svc/a", "2", 100);
    fake_request(&s.asker, 3, "svc/a", "3", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/a n=1 1");
    strcpy(late, s.one.call);
    first = fake_next(&s.asker); /* in no order */
    second = fake_next(&s.asker);
    is_swapped = strcmp(first, "REPLIED 2 code=timeout ") == 0;
    ck_assert_str_eq(is_swapped ? second : first, "REPLIED 1 code=timeout ");
    ck_assert_str_eq(is_swapped ? first : second, "REPLIED 2 code=timeout ");
    /* The responder has room for another, though it never answered. */
    fake_expect(&s.one, "CALL 1 svc/a n=1 3");
    fake_reply(&s.one, 9, 1, late, NULL, "late");
    fake_expect(&s.one, "SETTLED 9 code=call_unknown count=0");
    fake_reply(&s.one, 10, 1, s.one.call, NULL, "in time");
    fake_expect(&s.asker, "REPLIED 3 code= in time");
    fake_expect(&s.one, "SETTLED 10 code= count=1");
    fake_reply(&s.one, 11, 1, s.one.call, NULL, "twice");
    fake_expect(&s.one, "SETTLED 11 code=call_unknown count=0");
    fake_expect_nothing(&s.asker);
    scene_close(&s);
}
END_TEST

START_TEST(abandoned_request_is_answered_by_nobody)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 1);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_request(&s.asker, 2, "svc/a", "2", LONG_MS);
    fake_request(&s.asker, 3, "svc/a", "3", LONG_MS);
    fake_abandon(&s.asker, 1);
    fake_abandon(&s.asker, 2);
    fake_abandon(&s.asker, 77);
    fake_request(&s.asker, 1, "svc/a", "4", LONG_MS); /* another, by the same number */
    fake_expect(&s.one, "CALL 1 svc/a n=1 1");
    fake_expect_nothing(&s.one); /* it is still at it */
    fake_reply(&s.one, 5, 1, s.one.call, NULL, "for nobody");
    fake_expect(&s.one, "CALL 1 svc/a n=1 3");
    fake_expect(&s.one, "SETTLED 5 code=call_unknown count=0");
    fake_expect_nothing(&s.asker);
    fake_close(&s.asker); /* all of its requests are abandoned */
    fake_open_live(&s.asker, &s.bus, "ws.1");
    fake_reply(&s.one, 6, 1, s.one.call, NULL, "for nobody");
    fake_expect(&s.one, "SETTLED 6 code=call_unknown count=0");
    fake_expect_nothing(&s.one); /* and none is given to anybody */
    scene_close(&s);
}
END_TEST

START_TEST(call_is_answered_by_its_responder_only)
{
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 1);
    respond(&s.one, 2, "svc/b", 1);
    respond(&s.two, 1, "svc/b", 1);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/a n=1 1");
    fake_reply(&s.two, 1, 1, s.one.call, NULL, "forged");
    fake_expect(&s.two, "SETTLED 1 code=call_unknown count=0");
    fake_reply(&s.one, 2, 2, s.one.call, NULL, "forged");
    fake_expect(&s.one, "SETTLED 2 code=call_unknown count=0");
    fake_reply(&s.one, 3, 99, s.one.call, NULL, "forged");
    fake_expect(&s.one, "SETTLED 3 code=call_unknown count=0");
    fake_reply(&s.one, 4, 1, "", NULL, "forged");
    fake_expect(&s.one, "SETTLED 4 code=call_unknown count=0");
    fake_reply(&s.one, 5, 1, "c0000000000000000-1", NULL, "forged");
    fake_expect(&s.one, "SETTLED 5 code=call_unknown count=0");
    fake_expect_nothing(&s.asker);
    fake_reply(&s.one, 6, 1, s.one.call, NULL, "true");
    fake_expect(&s.asker, "REPLIED 1 code= true");
    scene_close(&s);
}
END_TEST

/* ---- Restarts. ---- */

START_TEST(calls_of_the_broker_before_are_unknown)
{
    struct scene s;
    char call[80];

    scene_open(&s, QUIET);
    respond(&s.one, 1, "svc/a", 1);
    fake_request(&s.asker, 1, "svc/a", "1", LONG_MS);
    fake_expect(&s.one, "CALL 1 svc/a n=1 1");
    strcpy(call, s.one.call);
    bus_kill(&s.bus, SIGKILL);
    fake_wait_down(&s.one);
    fake_close(&s.one);
    bus_spawn(&s.bus);
    fake_open(&s.one, &s.bus, "tcp.1", 0);
    fake_consume(&s.one, 1, RESPONDER, "svc/a", "", 1);
    fake_hold(&s.one, 1, call);
    fake_resume(&s.one, 0, 0);
    fake_expect(&s.one, "CONSUMING 1");
    fake_expect(&s.one, "RESUMED state=0 seq=0");
    fake_reply(&s.one, 4, 1, call, NULL, "late");
    fake_expect(&s.one, "SETTLED 4 code=call_unknown count=0");
    scene_close(&s);
}
END_TEST

START_TEST(responder_of_before_is_waited_for_after_a_restart)
{
    struct bus bus;
    struct fake asker, fresh, responder;

    bus_start(&bus, "broker: {sys_interval: 0, grace: 2s}\n");
    bus.hello_epoch = 12345; /* of the broker before */
    fake_open_live(&asker, &bus, "ws.1");
    fake_request(&asker, 1, "svc/a", "1", LONG_MS);
    fake_request(&asker, 2, "svc/b", "2", LONG_MS);
    bus.hello_epoch = 0;
    fake_open_live(&fresh, &bus, "ws.2"); /* knows of no broker before */
    fake_request(&fresh, 1, "svc/a", "1", LONG_MS);
    fake_expect(&fresh, "REPLIED 1 code=no_responder ");
    fake_expect_nothing(&asker);
    fake_open(&responder, &bus, "tcp.1", 0);
    fake_consume(&responder, 1, RESPONDER, "svc/a", "", 1);
    fake_expect(&responder, "CONSUMING 1");
    fake_expect_nothing(&responder); /* before RESUME */
    fake_resume(&responder, 0, 0);
    fake_expect(&responder, "CALL 1 svc/a n=1 1");
    fake_expect(&asker, "REPLIED 2 code=no_responder "); /* when the time is over */
    fake_request(&asker, 3, "svc/b", "3", LONG_MS);
    fake_expect(&asker, "REPLIED 3 code=no_responder ");
    fake_close(&asker);
    fake_close(&fresh);
    fake_close(&responder);
    bus_stop(&bus);
}
END_TEST

/* ---- Limits. ---- */

START_TEST(limits_hold)
{
    struct scene s;
    char large[70 * 1024];

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    scene_open(&s, "broker: {sys_interval: 0, requests_max: 3, requests_bytes: 64KiB}\n"
                   "topics: [{match: 'small/#', max_message: 100B}]\n");
    respond(&s.one, 1, "small/a", 1);
    fake_request(&s.asker, 1, "small/a", large, LONG_MS);
    fake_expect(&s.asker, "REPLIED 1 code=message_too_large ");
    fake_request(&s.asker, 2, "small/a", "x", LONG_MS);
    fake_expect(&s.one, "CALL 1 small/a n=1 x");
    fake_reply(&s.one, 1, 1, s.one.call, NULL, large);
    fake_expect(&s.asker, "REPLIED 2 code=responder_failed ");
    fake_expect(&s.one, "SETTLED 1 code=message_too_large count=0");
    respond(&s.one, 2, "busy", 0);
    large[40 * 1024] = '\0';
    fake_request(&s.asker, 3, "busy", large, LONG_MS);
    fake_request(&s.asker, 4, "busy", large, LONG_MS);
    fake_expect(&s.asker, "REPLIED 4 code=limit_reached ");
    fake_request(&s.asker, 5, "busy", "x", LONG_MS);
    fake_request(&s.asker, 6, "busy", "x", LONG_MS);
    fake_request(&s.asker, 7, "busy", "x", LONG_MS);
    fake_expect(&s.asker, "REPLIED 7 code=limit_reached ");
    fake_abandon(&s.asker, 3);
    fake_request(&s.asker, 8, "busy", large, LONG_MS); /* both are free again */
    fake_expect_nothing(&s.asker);
    scene_close(&s);
}
END_TEST

/* ---- Links that do not read. ---- */

#define N_LARGE 60
#define LARGE (200 * 1024)

/* A responder whose link is full is given no more, and the rest when it reads again: all of it. */
START_TEST(responder_that_does_not_read_is_given_the_rest_later)
{
    static char large[LARGE + 1];
    struct scene s;
    char line[64];

    memset(large, 'x', sizeof(large) - 1);
    scene_open(&s, "broker: {sys_interval: 0, outbox_max: 1MiB}\n");
    respond(&s.one, 1, "svc/a", 1000);
    link_pause(s.one.link, true);
    for (uint64_t i = 1; i <= N_LARGE; i++)
        fake_request(&s.asker, i, "svc/a", large, LONG_MS);
    fake_expect_nothing(&s.asker);  /* 12 MB have come to the broker */
    respond(&s.two, 1, "svc/a", 2); /* who reads is given some of what waits */
    snprintf(line, sizeof(line), "CALL 1 svc/a n=1 %.*s", 40, large);
    ck_assert_int_eq(strncmp(fake_next(&s.two), line, strlen(line)), 0);
    ck_assert_int_eq(strncmp(fake_next(&s.two), line, strlen(line)), 0);
    link_pause(s.one.link, false);
    for (uint64_t i = 0; i < N_LARGE - 2; i++)
        ck_assert_int_eq(strncmp(fake_next(&s.one), line, strlen(line)), 0);
    fake_expect_nothing(&s.one);
    scene_close(&s);
}
END_TEST

/* An asker whose link is full of replies gets errors in their place, and exactly one answer for each request.
 */
START_TEST(asker_that_does_not_read_is_told_so)
{
    static char large[LARGE + 1];
    struct scene s;
    unsigned n_replies = 0, n_slow = 0;

    memset(large, 'x', sizeof(large) - 1);
    scene_open(&s, "broker: {sys_interval: 0, outbox_max: 1MiB}\n");
    respond(&s.one, 1, "svc/a", 1);
    for (uint64_t i = 1; i <= N_LARGE; i++)
        fake_request(&s.asker, i, "svc/a", "x", LONG_MS);
    fake_expect_nothing(&s.asker);
    link_pause(s.asker.link, true);
    for (uint64_t i = 0; i < N_LARGE; i++) {
        fake_expect(&s.one, "CALL 1 svc/a n=1 x");
        fake_reply(&s.one, 0, 1, s.one.call, NULL, large);
    }
    link_pause(s.asker.link, false);
    while (n_replies + n_slow < N_LARGE) {
        const char *line = fake_next(&s.asker);

        n_slow += strstr(line, "code=too_slow") != NULL;
        n_replies += strstr(line, "code= xxx") != NULL;
    }
    ck_assert_uint_gt(n_slow, 0);
    ck_assert_uint_gt(n_replies, 0);
    fake_expect_nothing(&s.asker);
    scene_close(&s);
}
END_TEST

static void
says_request_0(struct fake *f)
{
    fake_request(f, 0, "a", "x", LONG_MS);
}

static void
says_request_twice(struct fake *f)
{
    fake_consume(f, 1, RESPONDER, "a", "", 0);
    fake_request(f, 1, "a", "x", LONG_MS);
    fake_request(f, 1, "a", "x", LONG_MS);
}

static void
says_kind_3(struct fake *f)
{
    frame_put_reply(link_buf(f->link), &(struct frame_reply){.consumer = 1, .kind = 3});
    ck_assert_int_eq(link_commit(f->link), 0);
}

START_TEST(nonsense_ends_the_link_and_nothing_else)
{
    static void (*const says[])(struct fake *) = {says_request_0, says_request_twice, says_kind_3};
    struct scene s;

    scene_open(&s, QUIET);
    respond(&s.one, 1, "b", 8);
    for (size_t i = 0; i < sizeof(says) / sizeof(says[0]); i++) {
        says[i](&s.two);
        fake_wait_down(&s.two);
        fake_close(&s.two);
        fake_open_live(&s.two, &s.bus, "tcp.2");
        fake_request(&s.asker, 1, "b", "x", LONG_MS);
        fake_expect(&s.one, "CALL 1 b n=1 x");
        fake_reply(&s.one, 0, 1, s.one.call, NULL, "y");
        fake_expect(&s.asker, "REPLIED 1 code= y");
    }
    scene_close(&s);
}
END_TEST

/* ---- Exactly one answer. ---- */

#define N_REQUESTS 3000
#define N_LINKS 4

struct chaos {
    struct bus bus;
    struct fake asker, links[N_LINKS];
    bool is_open[N_LINKS];
    size_t seen[N_LINKS]; /* lines of it that were looked at */
    uint64_t next_consumer;
    unsigned n_answers[N_REQUESTS + 1];
    size_t n_codes[5];
};

static void
chaos_link_up(struct chaos *c, size_t i)
{
    char name[16];

    snprintf(name, sizeof(name), "tcp.%zu", i);
    fake_open_live(&c->links[i], &c->bus, name);
    c->is_open[i] = true;
    c->seen[i] = c->links[i].n_lines;
    for (int n = 0; n < 2; n++) {
        static const char *const filters[] = {"svc/a", "svc/+", "#", "svc/b"};

        fake_consume(&c->links[i], ++c->next_consumer, RESPONDER, filters[rand() % 4], "", 1 + rand() % 4);
    }
}

/* A responder's link does something with one of its lines: answers, answers wrongly, or nothing. */
static void
chaos_answer(struct chaos *c, size_t i)
{
    struct fake *f = &c->links[i];
    uint64_t consumer;

    for (; c->seen[i] < f->n_lines; c->seen[i]++)
        if (sscanf(f->lines[c->seen[i]], "CALL %" SCNu64, &consumer) == 1 && rand() % 8 != 0)
            fake_reply(f, 0, consumer, f->call, rand() % 8 == 0 ? "no" : NULL, "reply");
}

static void
chaos_link_down(struct chaos *c, size_t i)
{
    fake_close(&c->links[i]);
    c->is_open[i] = false;
}

static void
chaos_step(struct chaos *c, uint64_t req)
{
    size_t i = (size_t)rand() % N_LINKS;

    fake_request(&c->asker, req, rand() % 2 == 0 ? "svc/a" : "svc/b", "x", rand() % 4 == 0 ? 100 : LONG_MS);
    if (!c->is_open[i])
        chaos_link_up(c, i);
    else if (rand() % 200 == 0)
        chaos_link_down(c, i);
    if (c->is_open[i] && rand() % 50 == 0)
        fake_unconsume(&c->links[i], c->next_consumer);
    for (i = 0; i < N_LINKS; i++)
        if (c->is_open[i])
            chaos_answer(c, i);
    if (rand() % 16 == 0)
        bus_turn(&c->bus);
}

static void
chaos_count(struct chaos *c)
{
    static const char *const codes[] = {"code= reply", "code=no_responder ", "code=responder_gone ",
        "code=responder_failed ", "code=timeout "};
    struct fake *f = &c->asker;

    for (; f->at < f->n_lines; f->at++) {
        uint64_t req;
        size_t code = 0;
        int n;

        ck_assert_msg(
            sscanf(f->lines[f->at], "REPLIED %" SCNu64 " %n", &req, &n) == 1, "%s", f->lines[f->at]);
        ck_assert_uint_le(req, N_REQUESTS);
        while (code < 5 && strcmp(f->lines[f->at] + n, codes[code]) != 0)
            code++;
        ck_assert_msg(code < 5, "%s", f->lines[f->at]);
        c->n_codes[code]++;
        c->n_answers[req]++;
        ck_assert_msg(c->n_answers[req] == 1, "request %" PRIu64 " is answered twice", req);
    }
}

START_TEST(each_request_has_exactly_one_answer_whoever_dies)
{
    static struct chaos c;
    unsigned n_open = 0;

    srand(1);
    bus_start(&c.bus, QUIET);
    fake_open_live(&c.asker, &c.bus, "ws.1");
    fake_expect_nothing(&c.asker);
    for (size_t i = 0; i < N_LINKS; i++)
        chaos_link_up(&c, i);
    for (uint64_t req = 1; req <= N_REQUESTS; req++)
        chaos_step(&c, req);
    for (size_t i = 0; i < N_LINKS; i++)
        if (c.is_open[i])
            chaos_link_down(&c, i);
    do {
        bus_turn(&c.bus);
        chaos_count(&c);
        n_open = 0;
        for (uint64_t req = 1; req <= N_REQUESTS; req++)
            n_open += c.n_answers[req] == 0;
    } while (n_open > 0);
    fake_expect_nothing(&c.asker);
    for (size_t code = 0; code < 5; code++)
        ck_assert_msg(c.n_codes[code] > 0, "code %zu never came: the test does not test", code);
    fake_close(&c.asker);
    bus_stop(&c.bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("requests");
    TCase *t = tcase_create("requests");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, reply_goes_to_the_asker);
    tcase_add_test(t, asker_and_responder_may_be_one_link);
    tcase_add_test(t, nobody_there_is_told_at_once);
    tcase_add_test(t, responders_take_turns_across_filters_and_links);
    tcase_add_test(t, what_finds_all_busy_waits_for_the_first_that_has_room);
    tcase_add_test(t, wildcard_that_comes_later_gets_what_waits);
    tcase_add_test(t, waiting_requests_are_told_when_the_last_responder_leaves);
    tcase_add_test(t, responder_that_goes_is_told_at_once);
    tcase_add_test(t, time_is_over_for_those_who_wait_and_those_who_were_called);
    tcase_add_test(t, abandoned_request_is_answered_by_nobody);
    tcase_add_test(t, call_is_answered_by_its_responder_only);
    tcase_add_test(t, calls_of_the_broker_before_are_unknown);
    tcase_add_test(t, responder_of_before_is_waited_for_after_a_restart);
    tcase_add_test(t, responder_that_does_not_read_is_given_the_rest_later);
    tcase_add_test(t, asker_that_does_not_read_is_told_so);
    tcase_add_test(t, limits_hold);
    tcase_add_test(t, nonsense_ends_the_link_and_nothing_else);
    tcase_add_test(t, each_request_has_exactly_one_answer_whoever_dies);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
