/* SPDX-License-Identifier: Apache-2.0 */
/* Work queues: who gets what, and leases. A real busbar-broker, and frontends that speak the link by hand. */
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

/* ---- Sharing. ---- */

START_TEST(members_take_turns_as_far_as_their_credit_goes)
{
    struct bus bus;
    struct fake a, b;

    bus_start(&bus, JOBS);
    fake_open_live(&a, &bus, "ws.1");
    fake_open_live(&b, &bus, "ws.2");
    queue_consume(&a, 1, "jobs/x", "g", 1);
    queue_consume(&b, 1, "jobs/x", "g", 2);
    queue_publish(&a, "jobs/x", "one", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    queue_publish(&b, "jobs/x", "two", 3);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=3 n=1 two");
    queue_publish(&a, "jobs/x", "three", 4);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=4 n=1 three");
    queue_publish(&a, "jobs/x", "four", 5);
    fake_expect_nothing(&a);
    fake_expect_nothing(&b);
    queue_expect_queue(&a, "jobs/x g ready=1 leased=3 delayed=0 done=0 dead=0 lost=0 consumers=2");
    queue_settle(&a, 1, 2, DONE, 0);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=5 n=1 four");
    fake_credit(&a, 1, 1);
    queue_publish(&b, "jobs/x", "five", 6);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=6 n=1 five");
    queue_expect_queue(&a, "jobs/x g ready=0 leased=4 delayed=0 done=1 dead=0 lost=0 consumers=2");
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
    queue_consume(&f, 1, "jobs/x", "g", 10);
    queue_consume(&f, 2, "jobs/x", "h", 10);
    queue_consume(&f, 3, "jobs/y", "g", 10);
    fake_publish(&f, "jobs/x", "one");
    fake_expect(&f, "PUBLISHED 1 seq=2 count=1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_expect(&f, "DISPATCH 2 jobs/x seq=2 n=1 one");
    fake_settle(&f, 0, 1, f.leases[0].text, DONE, 0);
    fake_expect_nothing(&f);
    queue_expect_kept(&f, "jobs/x", 1);
    fake_settle(&f, 7, 2, f.leases[1].text, DONE, 0);
    fake_expect(&f, "SETTLED 7 code= count=1");
    queue_expect_kept(&f, "jobs/x", 0);
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
        queue_publish(&f, "jobs/x", body, seq);
    }
    queue_expect_kept(&f, "jobs/x", 5);
    queue_consume(&f, 1, "jobs/x", "g", 10);
    for (uint64_t seq = 1; seq <= 5; seq++)
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, seq, seq);
    queue_settle(&f, 1, 2, DONE, 0);
    queue_expect_kept(&f, "jobs/x", 5); /* what is before it is not done */
    queue_settle(&f, 1, 1, DONE, 0);
    queue_expect_kept(&f, "jobs/x", 3);
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
    queue_publish(&f, "chat", "one", 1);
    queue_publish(&f, "chat", "two", 2);
    queue_consume(&f, 1, "chat", "now", 10);
    queue_publish(&f, "chat", "three", 4);
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
    queue_settle(&f, 2, 2, DONE, 0);
    queue_expect_kept(&f, "chat", 3); /* the history's own limits hold */
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
    queue_expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=%d dead=0 lost=0 consumers=1", N);
    queue_expect_kept(&f, "jobs/x", 0);
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
    queue_consume(&f, 1, "jobs/x", "g", 0);
    for (uint64_t i = 0; i < 10; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        queue_publish(&f, "jobs/x", body, FIRST + i);
    }
    fake_unconsume(&f, 1);
    fake_expect_nothing(&f); /* with nobody there the records are let go */
    for (uint64_t i = 10; i < 15; i++) {
        snprintf(body, sizeof(body), "m%" PRIu64, i);
        queue_publish(&f, "jobs/x", body, FIRST + i);
    }
    queue_consume(&f, 2, "jobs/x", "g", 20);
    for (uint64_t i = 12; i < 15; i++)
        fake_expect(&f, "DISPATCH 2 jobs/x seq=%" PRIu64 " n=1 m%" PRIu64, FIRST + i, i);
    queue_expect_queue(&f, "jobs/x g ready=0 leased=3 delayed=0 done=0 dead=0 lost=12 consumers=1");
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
    queue_consume(&f, 1, "jobs/x", "g", 10);
    queue_publish(&f, "jobs/x", "one", 2);
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
    queue_consume(&a, 1, "jobs/x", "g", 1);
    queue_publish(&a, "jobs/x", "one", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    queue_consume(&b, 1, "jobs/x", "g", 1);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=2 n=2 one");
    fake_settle(&a, 1, 1, fake_lease(&a, 2), DONE, 0);
    fake_expect(&a, "SETTLED 1 code=lease_lost count=0");
    queue_settle(&b, 1, 2, DONE, 0);
    queue_expect_queue(&b, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=2");
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
    queue_consume(&f, 1, "jobs/x", "g", 1);
    queue_publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    for (unsigned i = 0; i < 6; i++) {
        bus_run_ms(&bus, 150);
        queue_settle(&f, 1, 2, EXTEND, 0);
    }
    queue_settle(&f, 1, 2, DONE, 0);
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
    queue_consume(&a, 1, "jobs/x", "g", 2);
    queue_publish(&b, "jobs/x", "one", 2);
    queue_publish(&b, "jobs/x", "two", 3);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=1 two");
    queue_consume(&b, 1, "jobs/x", "g", 10);
    fake_expect_nothing(&b);
    fake_unconsume(&a, 1);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=2 n=2 one");
    fake_expect(&b, "DISPATCH 1 jobs/x seq=3 n=2 two");
    queue_consume(&a, 2, "jobs/x", "g", 10);
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
    queue_publish(&f, "jobs/x", "one", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 one");
    fake_unconsume(&f, 1);
    queue_expect_queue(&f, "jobs/x g ready=0 leased=1 delayed=0 done=0 dead=0 lost=0 consumers=0");
    queue_settle(&f, 0, 2, DONE, 0);
    queue_expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=0");
    ck_assert_uint_eq(f.oldest_ms, 0);
    queue_publish(&f, "jobs/x", "two", 3); /* and nobody there */
    queue_expect_queue(&f, "jobs/x g ready=1 leased=0 delayed=0 done=1 dead=0 lost=0 consumers=0");
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
    queue_consume(&a, 1, "jobs/x", "g", 5);
    queue_publish(&a, "jobs/x", "one", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 one");
    queue_settle(&a, 1, 2, RETRY, 60000);
    queue_expect_queue(&a, "jobs/x g ready=0 leased=0 delayed=1 done=0 dead=0 lost=0 consumers=1");
    queue_publish(&a, "jobs/x", "two", 3);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=1 two");
    queue_settle(&a, 1, 3, RETRY, 0);                   /* the queue's own delay */
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=2 two"); /* nobody else is there */
    queue_consume(&b, 1, "jobs/x", "g", 5);
    queue_settle(&a, 1, 3, RETRY, 0);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=3 n=3 two");
    fake_close(&a);
    fake_close(&b);
    bus_stop(&bus);
}
END_TEST

SUITE_MAIN("queue", members_take_turns_as_far_as_their_credit_goes, each_group_gets_everything,
    queue_without_groups_keeps_all_for_its_first, group_of_a_topic_without_queue_begins_where_it_says,
    long_queue_is_read_as_it_is_worked_off, what_is_evicted_before_it_was_done_is_counted,
    lease_is_settled_once, lease_that_ends_goes_to_another_member, lease_that_is_extended_goes_on,
    what_a_lost_consumer_had_goes_to_another_at_once, lease_may_outlive_its_consumer,
    message_given_back_waits_and_goes_to_another_first)
