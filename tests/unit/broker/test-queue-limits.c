/* SPDX-License-Identifier: Apache-2.0 */
/* Work queues: dead letters, order, expiry, limits, and looking into them. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/base/suite.h"
#include "tests/unit/broker/queuefixture.h"
#include "wire/link.h"

/* ---- Dead letters. ---- */

START_TEST(message_that_nobody_can_do_goes_to_the_dead_letters_and_back)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, QUIET "topics: [{match: 'jobs/#', queue: {max_deliveries: 2}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    fake_subscribe(&f, 1, "dead/#");
    fake_expect(&f, "SUBSCRIBED 1 seq=0 retained=0");
    queue_consume(&f, 1, "jobs/x", "g", 5);
    queue_publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    queue_settle(&f, 1, 2, RETRY, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=2 one");
    fake_settle(&f, 7, 1, f.lease, RETRY, 0);
    fake_expect(&f, "SETTLED 7 code= count=1");
    fake_expect(&f, "MESSAGE dead/jobs/x seq=3 prev=0 one");
    queue_publish(&f, "jobs/x", "two", 4);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=4 n=1 two");
    fake_settle(&f, 8, 1, f.lease, DEAD, 0);
    fake_expect(&f, "SETTLED 8 code= count=1");
    fake_expect(&f, "MESSAGE dead/jobs/x seq=5 prev=3 two");
    queue_expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=0 dead=2 lost=0 consumers=1");
    queue_expect_kept(&f, "jobs/x", 0);
    queue_expect_kept(&f, "dead/jobs/x", 2);
    frame_put_redrive(link_buf(f.link),
        &(struct frame_redrive){.req = 9, .topic = slice_str("jobs/x"), .group = slice_str("g"), .count = 1});
    link_commit(f.link);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=6 n=1 one");
    fake_expect(&f, "SETTLED 9 code= count=1");
    queue_expect_kept(&f, "dead/jobs/x", 1);
    frame_put_redrive(link_buf(f.link),
        &(struct frame_redrive){.req = 10, .topic = slice_str("jobs/x"), .group = slice_str("g")});
    link_commit(f.link);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=7 n=1 two");
    fake_expect(&f, "SETTLED 10 code= count=1");
    queue_expect_kept(&f, "dead/jobs/x", 0);
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
    queue_consume(&f, 1, "jobs/x", "g", 5);
    queue_consume(&f, 2, "jobs/x", "h", 5);
    queue_publish(&f, "jobs/x", "one", 2);
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
    queue_settle(&f, 1, 4, DONE, 0);
    queue_expect_kept(&f, "jobs/x", 0);
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
    queue_consume(&f, 1, "jobs/x", "g", 10);
    publish_key(&f, "jobs/x", "k", "k1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 k1");
    publish_key(&f, "jobs/x", "k", "k2"); /* and not taken for a repeat */
    publish_key(&f, "jobs/x", "l", "l1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=4 n=1 l1");
    fake_expect_nothing(&f);
    queue_settle(&f, 1, 2, RETRY, 200);
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
    queue_consume(&f, 1, "jobs/x", "g", 0);
    fake_publish_with(&f, "jobs/x",
        &(struct frame_publish){.kind = MESSAGE_TEXT, .ttl_ms = 100, .body = slice_str("short")});
    fake_expect(&f, "PUBLISHED 1 seq=2 count=1");
    queue_publish(&f, "jobs/x", "long", 3);
    bus_run_ms(&bus, 150);
    fake_credit(&f, 1, 10);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=3 n=1 long");
    queue_settle(&f, 1, 3, DONE, 0);
    queue_expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=1");
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
    queue_consume(&f, 1, "jobs/x", "g", 1);
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
    queue_publish(&f, "jobs/x", "one", 1);
    queue_publish(&f, "jobs/x", "two", 2);
    fake_publish(&f, "jobs/x", "three");
    fake_expect(&f, "REJECTED 3 queue_full");
    queue_consume(&f, 1, "jobs/x", "g", 1);
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
    queue_consume(&f, 1, "jobs/x", "g", 10);
    for (uint64_t i = 0; i < 5; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        queue_publish(&f, "jobs/x", body, FIRST + i);
        if (i < 3)
            fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, FIRST + i, i);
    }
    fake_expect_nothing(&f);
    queue_settle(&f, 1, FIRST, RETRY, 60000); /* waits, and counts */
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
    queue_consume(&f, 1, "jobs/x", "g", 3);
    for (uint64_t i = 0; i < 6; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        queue_publish(&f, "jobs/x", body, FIRST + i);
        if (i < 3)
            fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, FIRST + i, i);
    }
    queue_settle(&f, 1, FIRST + 1, DONE, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=%d n=1 m3", FIRST + 3);
    queue_settle(&f, 1, FIRST + 2, RETRY, 60000);
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
    queue_expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=1");
    queue_expect_kept(&f, "jobs/x", 0);
    queue_settle(&f, 1, FIRST, DONE, 0); /* who has one may settle it yet */
    queue_publish(&f, "jobs/x", "new", 8);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=8 n=1 new");
    purge(&f, 1);
    fake_expect(&f, "UNCONSUMABLE 1 not_found");
    fake_expect(&f, "SETTLED 4 code= count=0");
    purge(&f, 0);
    fake_expect(&f, "SETTLED 4 code=not_found count=0");
    peek(&f, 0, 10);
    fake_expect(&f, "PEEK_END 3 more=0");
    queue_consume(&f, 2, "jobs/x", "g", 3); /* a new one, which gets what is kept */
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
    queue_publish(&f, "jobs/x", "m0", 1);
    queue_consume(&f, 1, "jobs/x", "g", 1);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=1 n=1 m0");
    snprintf(old, sizeof(old), "%s", fake_lease(&f, 1));
    purge(&f, 1);
    fake_expect(&f, "UNCONSUMABLE 1 not_found");
    fake_expect(&f, "SETTLED 4 code= count=0");
    queue_consume(&f, 2, "jobs/x", "g", 1);
    fake_expect(&f, "DISPATCH 2 jobs/x seq=1 n=1 m0");
    ck_assert_str_ne(old, fake_lease(&f, 1));
    fake_settle(&f, 7, 0, old, DONE, 0);
    fake_expect(&f, "SETTLED 7 code=lease_lost count=0");
    queue_settle(&f, 2, 1, DONE, 0);
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
    queue_consume(&f, 1, "jobs/x", "g", 1);
    queue_publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    bus_write_config(
        &bus, QUIET "topics: [{match: 'jobs/#', history: {messages: 1}, queue: {max_messages: 3}}]\n");
    kill(bus.broker, SIGHUP);
    do { /* until it is one */
        bus_run_ms(&bus, 20);
        fake_publish(&f, "jobs/x", "more");
    } while (strncmp(fake_next(&f), "REJECTED", 8) != 0);
    queue_expect_kept(&f, "jobs/x", 3);
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
    queue_consume(&f, 1, "jobs/b", "g", 3);
    queue_consume(&f, 2, "jobs/a", "h", 3);
    queue_consume(&f, 3, "jobs/a", "g", 3);
    queue_consume(&f, 4, "other", "g", 3);
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

SUITE_MAIN("queue limits", message_that_nobody_can_do_goes_to_the_dead_letters_and_back,
    what_is_put_back_is_for_its_group_alone, one_key_is_worked_on_by_one_member_at_a_time,
    message_whose_time_is_over_is_not_given_out, delayed_message_comes_when_it_is_due,
    full_queue_refuses_publishes_until_something_is_done, only_so_many_are_out_and_unsettled,
    queue_can_be_looked_into_and_purged, lease_of_a_group_is_none_of_another_of_its_name,
    settings_that_change_hold_at_once, queues_are_listed_in_order)
