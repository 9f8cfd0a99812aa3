/* SPDX-License-Identifier: Apache-2.0 */
/* Work queues: a real busbar-broker, and frontends that speak the link to it frame by frame. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define QUIET "broker: {sys_interval: 0}\n"
#define JOBS QUIET "topics: [{match: 'jobs/#', queue: {enabled: true}}]\n"
#define QUEUE 0

#define DONE 0
#define RETRY 1
#define EXTEND 2
#define DEAD 3

/* The first group makes the broker keep a secret, which is message 1. */
#define FIRST 2

static void
consume(struct fake *f, uint64_t number, const char *topic, const char *group, uint64_t credit)
{
    fake_consume(f, number, QUEUE, topic, group, credit);
    fake_expect(f, "CONSUMING %" PRIu64, number);
}

static void
publish(struct fake *f, const char *topic, const char *body, uint64_t seq)
{
    fake_publish(f, topic, body);
    fake_expect(f, "PUBLISHED %" PRIu64 " seq=%" PRIu64 " count=1", f->pub, seq);
}

static void
settle(struct fake *f, uint64_t consumer, uint64_t seq, uint64_t outcome, uint64_t delay_ms)
{
    static uint64_t req = 1000;

    fake_settle(f, ++req, consumer, fake_lease(f, seq), outcome, delay_ms);
    fake_expect(f, "SETTLED %" PRIu64 " code= count=1", req);
}

/* The only queue, as figures. */
static void
expect_queue(struct fake *f, const char *fmt, ...)
{
    char expected[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(expected, sizeof(expected), fmt, ap);
    va_end(ap);
    frame_put_queues(
        link_buf(f->link), &(struct frame_queues){.req = 5, .filter = slice_str("jobs/#"), .limit = 10});
    ck_assert_int_eq(link_commit(f->link), 0);
    fake_expect(f, "QUEUE 5 %s", expected);
    fake_expect(f, "QUEUES_END 5 more=0");
}

static void
expect_kept(struct fake *f, const char *topic, uint64_t n)
{
    frame_put_list(link_buf(f->link), &(struct frame_list){.req = 6, .filter = slice_str(topic), .limit = 1});
    ck_assert_int_eq(link_commit(f->link), 0);
    ck_assert_msg(strstr(fake_next(f), "kept=") != NULL, "no such topic");
    ck_assert_uint_eq(strtoull(strstr(f->lines[f->at - 1], "kept=") + 5, NULL, 10), n);
    fake_expect(f, "LIST_END 6 more=0");
}

/* ---- Sharing. ---- */

START_TEST(members_take_turns_as_far_as_their_credit_goes)
{
    struct bus bus;
    struct fake a, b;

    bus_start(&bus, JOBS);
    fake_open_live(&a, &bus, "ws.1");
    fake_open_live(&b, &bus, "ws.2");
    consume(&a, 1, "jobs/x", "g", 1);
    consume(&b, 1, "jobs/x", "g", 2);
    publish(&a, "jobs/x", "one", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    publish(&b, "jobs/x", "two", 3);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=3 n=1 two");
    publish(&a, "jobs/x", "three", 4);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=4 n=1 three");
    publish(&a, "jobs/x", "four", 5);
    fake_expect_nothing(&a);
    fake_expect_nothing(&b);
    expect_queue(&a, "jobs/x g ready=1 leased=3 delayed=0 done=0 dead=0 lost=0 consumers=2");
    settle(&a, 1, 2, DONE, 0);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=5 n=1 four");
    fake_credit(&a, 1, 1);
    publish(&b, "jobs/x", "five", 6);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=6 n=1 five");
    expect_queue(&a, "jobs/x g ready=0 leased=4 delayed=0 done=1 dead=0 lost=0 consumers=2");
    fake_close(&a);
    fake_close(&b);
    bus_stop(&bus);
}
END_TEST

START_TEST(each_group_gets_everything)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 10);
    consume(&f, 2, "jobs/x", "h", 10);
    consume(&f, 3, "jobs/y", "g", 10);
    fake_publish(&f, "jobs/x", "one");
    fake_expect(&f, "PUBLISHED 1 seq=2 count=1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_expect(&f, "DISPATCH 2 jobs/x seq=2 n=1 one");
    fake_settle(&f, 0, 1, f.leases[0].text, DONE, 0);
    fake_expect_nothing(&f);
    expect_kept(&f, "jobs/x", 1);
    fake_settle(&f, 7, 2, f.leases[1].text, DONE, 0);
    fake_expect(&f, "SETTLED 7 code= count=1");
    expect_kept(&f, "jobs/x", 0);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(queue_without_groups_keeps_all_for_its_first)
{
    struct bus bus;
    struct fake f;
    char body[16];

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', history: {messages: 1}, queue: {enabled: true}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    for (uint64_t seq = 1; seq <= 5; seq++) {
        snprintf(body, sizeof(body), "m%" PRIu64, seq);
        publish(&f, "jobs/x", body, seq);
    }
    expect_kept(&f, "jobs/x", 5);
    consume(&f, 1, "jobs/x", "g", 10);
    for (uint64_t seq = 1; seq <= 5; seq++)
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, seq, seq);
    settle(&f, 1, 2, DONE, 0);
    expect_kept(&f, "jobs/x", 5); /* what is before it is not done */
    settle(&f, 1, 1, DONE, 0);
    expect_kept(&f, "jobs/x", 3);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(group_of_a_topic_without_queue_begins_where_it_says)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "chat", "one", 1);
    publish(&f, "chat", "two", 2);
    consume(&f, 1, "chat", "now", 10);
    publish(&f, "chat", "three", 4);
    fake_expect(&f, "DISPATCH 1 chat seq=4 n=1 three");
    frame_put_consume(link_buf(f.link), &(struct frame_consume){.consumer = 2,
                                            .topic = slice_str("chat"),
                                            .group = slice_str("then"),
                                            .credit = 10,
                                            .epoch = f.epoch,
                                            .seq = 1});
    link_commit(f.link);
    fake_expect(&f, "CONSUMING 2");
    fake_expect(&f, "DISPATCH 2 chat seq=2 n=1 two");
    fake_expect(&f, "DISPATCH 2 chat seq=4 n=1 three");
    settle(&f, 2, 2, DONE, 0);
    expect_kept(&f, "chat", 3); /* the history's own limits hold */
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(long_queue_is_read_as_it_is_worked_off)
{
    enum { N = 5000 };
    struct bus bus;
    struct fake f;
    char body[16];

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    f.is_quiet = true;
    for (uint64_t i = 1; i <= N; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        fake_publish(&f, "jobs/x", body);
        if (i % 500 == 0) /* its answers are seen before more is said */
            while (strncmp(fake_next(&f), "PUBLISHED", 9) == 0 && f.at < f.n_lines)
                ;
    }
    while (f.at < f.n_lines)
        fake_next(&f);
    fake_consume(&f, 1, QUEUE, "jobs/x", "g", 100);
    while (strcmp(fake_next(&f), "CONSUMING 1") != 0)
        ;
    for (uint64_t i = 1; i <= N; i++) {
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, i, i);
        fake_settle(&f, 0, 1, f.leases[i - 1].text, DONE, 0);
    }
    expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=%d dead=0 lost=0 consumers=1", N);
    expect_kept(&f, "jobs/x", 0);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(what_is_evicted_before_it_was_done_is_counted)
{
    struct bus bus;
    struct fake f;
    char body[16];

    bus_start(&bus, QUIET "topics: [{match: '#', history: {messages: 3}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 0);
    for (uint64_t i = 0; i < 10; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        publish(&f, "jobs/x", body, FIRST + i);
    }
    fake_unconsume(&f, 1);
    fake_expect_nothing(&f); /* with nobody there the records are let go */
    for (uint64_t i = 10; i < 15; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        publish(&f, "jobs/x", body, FIRST + i);
    }
    consume(&f, 2, "jobs/x", "g", 20);
    for (uint64_t i = 12; i < 15; i++)
        fake_expect(&f, "DISPATCH 2 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, FIRST + i, i);
    expect_queue(&f, "jobs/x g ready=0 leased=3 delayed=0 done=0 dead=0 lost=12 consumers=1");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Leases. ---- */

START_TEST(lease_is_settled_once)
{
    struct bus bus;
    struct fake f;
    char other[80];

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 10);
    publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    snprintf(other, sizeof(other), "%s", f.lease);
    other[strlen(other) - 1] = other[strlen(other) - 1] == '0' ? '1' : '0';
    fake_settle(&f, 1, 1, other, DONE, 0); /* guessed */
    fake_expect(&f, "SETTLED 1 code=lease_lost count=0");
    fake_settle(&f, 2, 1, "nonsense", DONE, 0);
    fake_expect(&f, "SETTLED 2 code=lease_lost count=0");
    fake_settle(&f, 3, 0, f.lease, EXTEND, 0);
    fake_expect(&f, "SETTLED 3 code= count=1");
    fake_settle(&f, 4, 0, f.lease, DONE, 0); /* by somebody who is no consumer */
    fake_expect(&f, "SETTLED 4 code= count=1");
    fake_settle(&f, 5, 1, f.lease, DONE, 0);
    fake_expect(&f, "SETTLED 5 code=lease_lost count=0");
    fake_settle(&f, 6, 1, f.lease, RETRY, 0);
    fake_expect(&f, "SETTLED 6 code=lease_lost count=0");
    fake_settle(&f, 0, 1, f.lease, 4, 0); /* no such outcome */
    fake_wait_down(&f);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(lease_that_ends_goes_to_another_member)
{
    struct bus bus;
    struct fake a, b;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {lease: 200ms, max_deliveries: 2}}]\n");
    fake_open_live(&a, &bus, "ws.1");
    fake_open_live(&b, &bus, "ws.2");
    consume(&a, 1, "jobs/x", "g", 1);
    publish(&a, "jobs/x", "one", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    consume(&b, 1, "jobs/x", "g", 1);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=2 n=2 one");
    fake_settle(&a, 1, 1, fake_lease(&a, 2), DONE, 0);
    fake_expect(&a, "SETTLED 1 code=lease_lost count=0");
    settle(&b, 1, 2, DONE, 0);
    expect_queue(&b, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=2");
    fake_close(&a);
    fake_close(&b);
    bus_stop(&bus);
}
END_TEST

START_TEST(lease_that_is_extended_goes_on)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {lease: 400ms}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 1);
    publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    for (unsigned i = 0; i < 6; i++) {
        bus_run_ms(&bus, 150);
        settle(&f, 1, 2, EXTEND, 0);
    }
    settle(&f, 1, 2, DONE, 0);
    fake_expect_nothing(&f);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(what_a_lost_consumer_had_goes_to_another_at_once)
{
    struct bus bus;
    struct fake a, b;

    bus_start(&bus, JOBS);
    fake_open_live(&a, &bus, "ws.1");
    fake_open_live(&b, &bus, "ws.2");
    consume(&a, 1, "jobs/x", "g", 2);
    publish(&b, "jobs/x", "one", 2);
    publish(&b, "jobs/x", "two", 3);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=1 two");
    consume(&b, 1, "jobs/x", "g", 10);
    fake_expect_nothing(&b);
    fake_unconsume(&a, 1);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=2 n=2 one");
    fake_expect(&b, "DISPATCH 1 jobs/x seq=3 n=2 two");
    consume(&a, 2, "jobs/x", "g", 10);
    fake_close(&b); /* the whole frontend */
    fake_expect(&a, "DISPATCH 2 jobs/x seq=2 n=3 one");
    fake_expect(&a, "DISPATCH 2 jobs/x seq=3 n=3 two");
    fake_close(&a);
    bus_stop(&bus);
}
END_TEST

START_TEST(lease_may_outlive_its_consumer)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "http.1");
    frame_put_consume(link_buf(f.link),
        &(struct frame_consume){
            .consumer = 1, .topic = slice_str("jobs/x"), .group = slice_str("g"), .flags = 1, .credit = 1});
    link_commit(f.link);
    fake_expect(&f, "CONSUMING 1");
    publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_unconsume(&f, 1);
    expect_queue(&f, "jobs/x g ready=0 leased=1 delayed=0 done=0 dead=0 lost=0 consumers=0");
    settle(&f, 0, 2, DONE, 0);
    expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=0");
    ck_assert_uint_eq(f.oldest_ms, 0);
    publish(&f, "jobs/x", "two", 3); /* and nobody there */
    expect_queue(&f, "jobs/x g ready=1 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=0");
    ck_assert_uint_gt(f.oldest_ms, 1000000);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(message_given_back_waits_and_goes_to_another_first)
{
    struct bus bus;
    struct fake a, b;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {retry_delay: 100ms}}]\n");
    fake_open_live(&a, &bus, "ws.1");
    fake_open_live(&b, &bus, "ws.2");
    consume(&a, 1, "jobs/x", "g", 5);
    publish(&a, "jobs/x", "one", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    settle(&a, 1, 2, RETRY, 60000);
    expect_queue(&a, "jobs/x g ready=0 leased=0 delayed=1 done=0 dead=0 lost=0 consumers=1");
    publish(&a, "jobs/x", "two", 3);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=1 two");
    settle(&a, 1, 3, RETRY, 0);                         /* the queue's own delay */
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=2 two"); /* nobody else is there */
    consume(&b, 1, "jobs/x", "g", 5);
    settle(&a, 1, 3, RETRY, 0);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=3 n=3 two");
    fake_close(&a);
    fake_close(&b);
    bus_stop(&bus);
}
END_TEST

/* ---- Dead letters. ---- */

START_TEST(message_that_nobody_can_do_goes_to_the_dead_letters_and_back)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {max_deliveries: 2}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_subscribe(&f, 1, "dead/#");
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    consume(&f, 1, "jobs/x", "g", 5);
    publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    settle(&f, 1, 2, RETRY, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=2 one");
    fake_settle(&f, 7, 1, f.lease, RETRY, 0);
    fake_expect(&f, "SETTLED 7 code= count=1");
    fake_expect(&f, "MESSAGE dead/jobs/x seq=3 prev=0 one");
    publish(&f, "jobs/x", "two", 4);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=4 n=1 two");
    fake_settle(&f, 8, 1, f.lease, DEAD, 0);
    fake_expect(&f, "SETTLED 8 code= count=1");
    fake_expect(&f, "MESSAGE dead/jobs/x seq=5 prev=3 two");
    expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=0 dead=2 lost=0 consumers=1");
    expect_kept(&f, "jobs/x", 0);
    expect_kept(&f, "dead/jobs/x", 2);
    frame_put_redrive(link_buf(f.link),
        &(struct frame_redrive){.req = 9, .topic = slice_str("jobs/x"), .group = slice_str("g"), .count = 1});
    link_commit(f.link);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=6 n=1 one");
    fake_expect(&f, "SETTLED 9 code= count=1");
    expect_kept(&f, "dead/jobs/x", 1);
    frame_put_redrive(link_buf(f.link),
        &(struct frame_redrive){.req = 10, .topic = slice_str("jobs/x"), .group = slice_str("g")});
    link_commit(f.link);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=7 n=1 two");
    fake_expect(&f, "SETTLED 10 code= count=1");
    expect_kept(&f, "dead/jobs/x", 0);
    frame_put_redrive(link_buf(f.link),
        &(struct frame_redrive){.req = 11, .topic = slice_str("jobs/x"), .group = slice_str("other")});
    link_commit(f.link);
    fake_expect(&f, "SETTLED 11 code=not_found count=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(what_is_put_back_is_for_its_group_alone)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 5);
    consume(&f, 2, "jobs/x", "h", 5);
    publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_expect(&f, "DISPATCH 2 jobs/x seq=2 n=1 one");
    fake_settle(&f, 8, 1, f.leases[0].text, DEAD, 0);
    fake_expect(&f, "SETTLED 8 code= count=1");
    fake_settle(&f, 9, 2, f.leases[1].text, DONE, 0);
    fake_expect(&f, "SETTLED 9 code= count=1");
    frame_put_redrive(link_buf(f.link),
        &(struct frame_redrive){.req = 10, .topic = slice_str("jobs/x"), .group = slice_str("g")});
    link_commit(f.link);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=4 n=1 one");
    fake_expect(&f, "SETTLED 10 code= count=1");
    fake_expect_nothing(&f);
    settle(&f, 1, 4, DONE, 0);
    expect_kept(&f, "jobs/x", 0);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Order, expiry, limits. ---- */

static void
publish_key(struct fake *f, const char *topic, const char *key, const char *body)
{
    fake_publish_with(f, topic,
        &(struct frame_publish){.kind = MESSAGE_TEXT, .key = slice_str(key), .body = slice_str(body)});
    ck_assert_msg(strncmp(fake_next(f), "PUBLISHED", 9) == 0, "%s", f->lines[f->at - 1]);
}

START_TEST(one_key_is_worked_on_by_one_member_at_a_time)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {ordered_keys: true}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 10);
    publish_key(&f, "jobs/x", "k", "k1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 k1");
    publish_key(&f, "jobs/x", "k", "k2"); /* and not taken for a repeat */
    publish_key(&f, "jobs/x", "l", "l1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=4 n=1 l1");
    fake_expect_nothing(&f);
    settle(&f, 1, 2, RETRY, 200);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=2 k1");
    fake_settle(&f, 0, 1, f.lease, DONE, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=3 n=1 k2");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(message_whose_time_is_over_is_not_given_out)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 0);
    fake_publish_with(&f, "jobs/x",
        &(struct frame_publish){.kind = MESSAGE_TEXT, .ttl_ms = 100, .body = slice_str("short")});
    fake_expect(&f, "PUBLISHED 1 seq=2 count=1");
    publish(&f, "jobs/x", "long", 3);
    bus_run_ms(&bus, 150);
    fake_credit(&f, 1, 10);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=3 n=1 long");
    settle(&f, 1, 3, DONE, 0);
    expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=1");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(delayed_message_comes_when_it_is_due)
{
    struct bus bus;
    struct fake f;
    uint64_t before;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {enabled: true}, max_delay: 1m},\n"
                          "  {match: never, max_delay: 0}]\n");
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 1);
    before = f.n_lines;
    fake_publish_with(&f, "jobs/x",
        &(struct frame_publish){.kind = MESSAGE_TEXT, .delay_ms = 300, .body = slice_str("later")});
    fake_expect(&f, "SCHEDULED 1");
    ck_assert_uint_gt(f.n_lines, before);
    fake_expect_nothing(&f);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 later");
    fake_publish_with(&f, "jobs/x",
        &(struct frame_publish){.kind = MESSAGE_TEXT, .delay_ms = 60001, .body = slice_str("x")});
    fake_expect(&f, "REJECTED 2 limit_reached");
    fake_publish_with(
        &f, "never", &(struct frame_publish){.kind = MESSAGE_TEXT, .delay_ms = 1, .body = slice_str("x")});
    fake_expect(&f, "REJECTED 3 not_allowed");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(full_queue_refuses_publishes_until_something_is_done)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {max_messages: 2}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "jobs/x", "one", 1);
    publish(&f, "jobs/x", "two", 2);
    fake_publish(&f, "jobs/x", "three");
    fake_expect(&f, "REJECTED 3 queue_full");
    consume(&f, 1, "jobs/x", "g", 1);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=1 n=1 one");
    fake_publish(&f, "jobs/x", "three");
    fake_expect(&f, "REJECTED 4 queue_full");
    fake_settle(&f, 0, 1, f.lease, DONE, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 two");
    fake_publish(&f, "jobs/x", "three");
    fake_expect(&f, "PUBLISHED 5 seq=4 count=1");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(only_so_many_are_out_and_unsettled)
{
    struct bus bus;
    struct fake f;
    char body[16];

    bus_start(&bus, "broker: {sys_interval: 0, queues_max: 1}\n"
                    "topics: [{match: 'jobs/#', queue: {max_unsettled: 3}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 10);
    for (uint64_t i = 0; i < 5; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        publish(&f, "jobs/x", body, FIRST + i);
        if (i < 3)
            fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, FIRST + i, i);
    }
    fake_expect_nothing(&f);
    settle(&f, 1, FIRST, RETRY, 60000); /* waits, and counts */
    fake_expect_nothing(&f);
    fake_settle(&f, 0, 1, fake_lease(&f, FIRST + 1), DONE, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=%d n=1 m3", FIRST + 3);
    fake_consume(&f, 2, QUEUE, "jobs/x", "h", 1);
    fake_expect(&f, "UNCONSUMABLE 2 limit_reached");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Looking, and emptying. ---- */

static void
peek(struct fake *f, uint64_t seq, uint64_t count)
{
    frame_put_peek(link_buf(f->link),
        &(struct frame_peek){
            .req = 3, .topic = slice_str("jobs/x"), .group = slice_str("g"), .seq = seq, .count = count});
    ck_assert_int_eq(link_commit(f->link), 0);
}

static void
purge(struct fake *f, uint64_t flags)
{
    frame_put_purge(link_buf(f->link),
        &(struct frame_purge){
            .req = 4, .topic = slice_str("jobs/x"), .group = slice_str("g"), .flags = flags});
    ck_assert_int_eq(link_commit(f->link), 0);
}

START_TEST(queue_can_be_looked_into_and_purged)
{
    struct bus bus;
    struct fake f;
    char body[16];

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 3);
    for (uint64_t i = 0; i < 6; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        publish(&f, "jobs/x", body, FIRST + i);
        if (i < 3)
            fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, FIRST + i, i);
    }
    settle(&f, 1, FIRST + 1, DONE, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=%d n=1 m3", FIRST + 3);
    settle(&f, 1, FIRST + 2, RETRY, 60000);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=%d n=1 m4", FIRST + 4);
    peek(&f, 0, 10);
    fake_expect(&f, "PEEKED 3 seq=2 state=1 n=1 m0");
    fake_expect(&f, "PEEKED 3 seq=4 state=2 n=1 m2");
    fake_expect(&f, "PEEKED 3 seq=5 state=1 n=1 m3");
    fake_expect(&f, "PEEKED 3 seq=6 state=1 n=1 m4");
    fake_expect(&f, "PEEKED 3 seq=7 state=0 n=0 m5");
    fake_expect(&f, "PEEK_END 3 more=0");
    peek(&f, 4, 1);
    fake_expect(&f, "PEEKED 3 seq=5 state=1 n=1 m3");
    fake_expect(&f, "PEEK_END 3 more=1");
    purge(&f, 0);
    fake_expect(&f, "SETTLED 4 code= count=2");
    expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=1");
    expect_kept(&f, "jobs/x", 0);
    settle(&f, 1, FIRST, DONE, 0); /* who has one may settle it yet */
    publish(&f, "jobs/x", "new", 8);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=8 n=1 new");
    purge(&f, 1);
    fake_expect(&f, "UNCONSUMABLE 1 not_found");
    fake_expect(&f, "SETTLED 4 code= count=0");
    purge(&f, 0);
    fake_expect(&f, "SETTLED 4 code=not_found count=0");
    peek(&f, 0, 10);
    fake_expect(&f, "PEEK_END 3 more=0");
    consume(&f, 2, "jobs/x", "g", 3); /* a new one, which gets what is kept */
    fake_expect(&f, "DISPATCH 2 jobs/x seq=8 n=1 new");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* And gave out the same message, for the same time. */
START_TEST(lease_of_a_group_is_none_of_another_of_its_name)
{
    struct bus bus;
    struct fake f;
    char old[80];

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "jobs/x", "m0", 1);
    consume(&f, 1, "jobs/x", "g", 1);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=1 n=1 m0");
    snprintf(old, sizeof(old), "%s", fake_lease(&f, 1));
    purge(&f, 1);
    fake_expect(&f, "UNCONSUMABLE 1 not_found");
    fake_expect(&f, "SETTLED 4 code= count=0");
    consume(&f, 2, "jobs/x", "g", 1);
    fake_expect(&f, "DISPATCH 2 jobs/x seq=1 n=1 m0");
    ck_assert_str_ne(old, fake_lease(&f, 1));
    fake_settle(&f, 7, 0, old, DONE, 0);
    fake_expect(&f, "SETTLED 7 code=lease_lost count=0");
    settle(&f, 2, 1, DONE, 0);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(settings_that_change_hold_at_once)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', history: {messages: 1}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/x", "g", 1);
    publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    bus_write_config(
        &bus, QUIET "topics: [{match: 'jobs/#', history: {messages: 1}, queue: {max_messages: 3}}]\n");
    kill(bus.broker, SIGHUP);
    do { /* until it is one */
        bus_run_ms(&bus, 20);
        fake_publish(&f, "jobs/x", "more");
    } while (strncmp(fake_next(&f), "REJECTED", 8) != 0);
    expect_kept(&f, "jobs/x", 3);
    bus_write_config(&bus, QUIET "topics: [{match: 'jobs/#', subscribe: false}]\n");
    kill(bus.broker, SIGHUP);
    fake_expect(&f, "UNCONSUMABLE 1 not_allowed");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(queues_are_listed_in_order)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, JOBS);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 1, "jobs/b", "g", 3);
    consume(&f, 2, "jobs/a", "h", 3);
    consume(&f, 3, "jobs/a", "g", 3);
    consume(&f, 4, "other", "g", 3);
    frame_put_queues(
        link_buf(f.link), &(struct frame_queues){.req = 5, .filter = slice_str("jobs/#"), .limit = 2});
    link_commit(f.link);
    ck_assert(strncmp(fake_next(&f), "QUEUE 5 jobs/a g ", 17) == 0);
    ck_assert(strncmp(fake_next(&f), "QUEUE 5 jobs/a h ", 17) == 0);
    fake_expect(&f, "QUEUES_END 5 more=1");
    frame_put_queues(link_buf(f.link), &(struct frame_queues){.req = 5,
                                           .filter = slice_str("#"),
                                           .after = slice_str("jobs/a"),
                                           .after_group = slice_str("h"),
                                           .limit = 9});
    link_commit(f.link);
    ck_assert(strncmp(fake_next(&f), "QUEUE 5 jobs/b g ", 17) == 0);
    ck_assert(strncmp(fake_next(&f), "QUEUE 5 other g ", 16) == 0);
    fake_expect(&f, "QUEUES_END 5 more=0");
    frame_put_queues(
        link_buf(f.link), &(struct frame_queues){.req = 5, .filter = slice_str("jobs/a"), .limit = 9});
    link_commit(f.link);
    ck_assert(strncmp(fake_next(&f), "QUEUE 5 jobs/a g ", 17) == 0);
    ck_assert(strncmp(fake_next(&f), "QUEUE 5 jobs/a h ", 17) == 0);
    fake_expect(&f, "QUEUES_END 5 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("queue");
    TCase *t = tcase_create("queue");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, members_take_turns_as_far_as_their_credit_goes);
    tcase_add_test(t, each_group_gets_everything);
    tcase_add_test(t, queue_without_groups_keeps_all_for_its_first);
    tcase_add_test(t, group_of_a_topic_without_queue_begins_where_it_says);
    tcase_add_test(t, long_queue_is_read_as_it_is_worked_off);
    tcase_add_test(t, what_is_evicted_before_it_was_done_is_counted);
    tcase_add_test(t, lease_is_settled_once);
    tcase_add_test(t, lease_that_ends_goes_to_another_member);
    tcase_add_test(t, lease_that_is_extended_goes_on);
    tcase_add_test(t, what_a_lost_consumer_had_goes_to_another_at_once);
    tcase_add_test(t, lease_may_outlive_its_consumer);
    tcase_add_test(t, message_given_back_waits_and_goes_to_another_first);
    tcase_add_test(t, message_that_nobody_can_do_goes_to_the_dead_letters_and_back);
    tcase_add_test(t, what_is_put_back_is_for_its_group_alone);
    tcase_add_test(t, one_key_is_worked_on_by_one_member_at_a_time);
    tcase_add_test(t, message_whose_time_is_over_is_not_given_out);
    tcase_add_test(t, delayed_message_comes_when_it_is_due);
    tcase_add_test(t, full_queue_refuses_publishes_until_something_is_done);
    tcase_add_test(t, only_so_many_are_out_and_unsettled);
    tcase_add_test(t, queue_can_be_looked_into_and_purged);
    tcase_add_test(t, lease_of_a_group_is_none_of_another_of_its_name);
    tcase_add_test(t, settings_that_change_hold_at_once);
    tcase_add_test(t, queues_are_listed_in_order);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
