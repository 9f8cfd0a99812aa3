/* SPDX-License-Identifier: Apache-2.0 */
/* Work queues and asynchronous requests with a store that outlives the broker, which is killed. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/loop.h"
#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define QUEUE 0
#define RESPONDER 1
#define DONE 0
#define RETRY 1
#define DEAD 3

#define CONFIG                                                                                               \
    "broker: {sys_interval: 0, grace: 2s}\n"                                                                 \
    "topics: [{match: 'jobs/#', queue: {max_deliveries: 4}}]\n"

static void
consume(struct fake *f, uint64_t number, const char *topic, uint64_t credit)
{
    fake_consume(f, number, QUEUE, topic, "g", credit);
    fake_expect(f, "CONSUMING %" PRIu64, number);
}

/* Bodies "m0", "m1", ... as many as that. Their seqs ascend; the first is given. */
static uint64_t
publish(struct fake *f, const char *topic, unsigned n)
{
    uint64_t first = 0;
    char body[16];

    for (unsigned i = 0; i < n; i++) {
        const char *line;

        snprintf(body, sizeof(body), "m%u", i);
        fake_publish(f, topic, body);
        line = fake_next(f);
        ck_assert_msg(strncmp(line, "PUBLISHED ", 10) == 0, "%s", line);
        if (i == 0)
            first = strtoull(strstr(line, "seq=") + 4, NULL, 10);
    }
    return first;
}

static void
settle(struct fake *f, const char *lease, uint64_t outcome, uint64_t delay_ms)
{
    static uint64_t req = 1000;

    fake_settle(f, ++req, 1, lease, outcome, delay_ms);
    fake_expect(f, "SETTLED %" PRIu64 " code= count=1", req);
}

/* These lines, up to NULL, in any order. */
static void
expect_all(struct fake *f, const char *const *lines)
{
    bool has_come[8] = {false};
    size_t n = 0;

    while (lines[n] != NULL)
        n++;
    for (size_t i = 0; i < n; i++) {
        const char *line = fake_next(f);
        size_t at = 0;

        while (at < n && (has_come[at] || strcmp(lines[at], line) != 0))
            at++;
        ck_assert_msg(at < n, "%s", line);
        has_come[at] = true;
    }
}

/* The broker is killed, and there again; f's link with it. */
static void
restart(struct bus *bus, struct fake *f, int signal_number)
{
    bus_kill(bus, signal_number);
    if (f != NULL)
        fake_close(f);
    bus_spawn(bus);
}

START_TEST(what_was_given_out_stays_with_its_consumer)
{
    char one[80], two[80], three[80];
    struct bus bus;
    struct fake a, b;

    bus_start_durable(&bus, CONFIG);
    fake_open_live(&a, &bus, "ws.1");
    publish(&a, "jobs/x", 5);
    consume(&a, 1, "jobs/x", 3);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=1 n=1 m0");
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 m1");
    fake_expect(&a, "DISPATCH 1 jobs/x seq=3 n=1 m2");
    snprintf(one, sizeof(one), "%s", fake_lease(&a, 1));
    snprintf(two, sizeof(two), "%s", fake_lease(&a, 2));
    bus_run_ms(&bus, 400); /* the store is told of these */
    fake_settle(&a, 7, 1, fake_lease(&a, 3), DONE, 0);
    expect_all(&a, (const char *const[]){"SETTLED 7 code= count=1", "DISPATCH 1 jobs/x seq=4 n=1 m3", NULL});
    snprintf(three, sizeof(three), "%s", fake_lease(&a, 4)); /* and not of this */
    restart(&bus, &a, SIGKILL);
    fake_open(&b, &bus, "ws.2", 0);
    fake_consume(&b, 1, QUEUE, "jobs/x", "g", 10);
    fake_resume(&b, 0, 0);
    fake_expect(&b, "CONSUMING 1");
    fake_expect(&b, "RESUMED state=0 seq=%" PRIu64, b.seq);
    fake_open(&a, &bus, "ws.1", 0);
    fake_consume(&a, 7, QUEUE, "jobs/x", "g", 3);
    fake_hold(&a, 7, one);
    fake_hold(&a, 7, three);
    fake_resume(&a, 0, 0);
    fake_expect(&a, "CONSUMING 7");
    fake_expect(&a, "RESUMED state=0 seq=%" PRIu64, a.seq);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=5 n=1 m4");
    settle(&a, one, DONE, 0);
    settle(&a, three, DONE, 0);
    fake_unconsume(&a, 7);
    fake_expect(&b, "DISPATCH 1 jobs/x seq=2 n=2 m1"); /* nobody claimed it */
    fake_settle(&a, 5, 7, two, DONE, 0);
    fake_expect(&a, "SETTLED 5 code=lease_lost count=0");
    settle(&b, fake_lease(&b, 2), DONE, 0);
    settle(&b, fake_lease(&b, 5), DONE, 0);
    fake_expect_nothing(&a);
    fake_expect_nothing(&b);
    fake_close(&a);
    fake_close(&b);
    bus_stop(&bus);
}
END_TEST

START_TEST(what_was_done_out_of_order_stays_done)
{
    struct bus bus;
    struct fake f;

    bus_start_durable(&bus, CONFIG);
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "jobs/x", 6);
    consume(&f, 1, "jobs/x", 10);
    for (unsigned i = 0; i < 6; i++)
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%u n=1 m%u", 1 + i, i);
    settle(&f, fake_lease(&f, 2), DONE, 0);
    settle(&f, fake_lease(&f, 5), DONE, 0);
    settle(&f, fake_lease(&f, 1), DONE, 0);
    settle(&f, fake_lease(&f, 4), RETRY, 2500); /* from before the end */
    restart(&bus, &f, SIGKILL);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 2, "jobs/x", 10);
    fake_expect(&f, "DISPATCH 2 jobs/x seq=3 n=1 m2");
    fake_expect(&f, "DISPATCH 2 jobs/x seq=6 n=1 m5");
    fake_expect(&f, "DISPATCH 2 jobs/x seq=4 n=2 m3");
    fake_expect_nothing(&f);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(broker_that_is_stopped_knows_every_lease)
{
    char lease[80];
    struct bus bus;
    struct fake f;

    bus_start_durable(&bus, CONFIG);
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "jobs/x", 2);
    frame_put_consume(link_buf(f.link),
        &(struct frame_consume){
            .consumer = 1, .topic = slice_str("jobs/x"), .group = slice_str("g"), .flags = 1, .credit = 1});
    link_commit(f.link);
    fake_expect(&f, "CONSUMING 1");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=1 n=1 m0");
    snprintf(lease, sizeof(lease), "%s", f.lease);
    bus_kill(&bus, SIGTERM);
    fake_close(&f);
    bus_spawn(&bus);
    fake_open_live(&f, &bus, "http.1");
    consume(&f, 2, "jobs/x", 10);
    fake_expect(&f, "DISPATCH 2 jobs/x seq=2 n=1 m1");
    bus_run_ms(&bus, 2500); /* longer than the grace time: it is nobody's, and outlives that */
    fake_expect_nothing(&f);
    fake_settle(&f, 5, 0, lease, DONE, 0);
    fake_expect(&f, "SETTLED 5 code= count=1");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(dead_letters_are_there_once)
{
    enum { N = 200 };
    bool is_there[N] = {false};
    unsigned n_dead = 0;
    struct bus bus;
    struct fake f;
    const char *line;

    bus_start_durable(&bus, CONFIG);
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "jobs/x", N);
    consume(&f, 1, "jobs/x", N);
    for (unsigned i = 0; i < N; i++) {
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%u n=1 m%u", 1 + i, i);
        fake_settle(&f, 0, 1, f.lease, DEAD, 0);
    }
    fake_settle(&f, 9, 1, "none", DEAD, 0);
    fake_expect(&f, "SETTLED 9 code=lease_lost count=0"); /* all that was said was heard */
    restart(&bus, &f, SIGKILL);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 2, "jobs/x", N);
    do { /* what the store had not been told comes again */
        while (f.at < f.n_lines)
            if (strncmp(fake_next(&f), "DISPATCH", 8) == 0)
                fake_settle(&f, 0, 2, f.leases[f.n_leases - 1].text, DEAD, 0);
        bus_turn(&bus);
        frame_put_queues(
            link_buf(f.link), &(struct frame_queues){.req = 5, .filter = slice_str("jobs/x"), .limit = 9});
        link_commit(f.link);
        while (strncmp(line = fake_next(&f), "QUEUE ", 6) != 0)
            if (strncmp(line, "DISPATCH", 8) == 0)
                fake_settle(&f, 0, 2, fake_lease(&f, strtoull(strstr(line, "seq=") + 4, NULL, 10)), DEAD, 0);
    } while (strstr(line, "ready=0 leased=0 delayed=0") == NULL);
    bus_run_ms(&bus, 100);
    while (f.at < f.n_lines)
        (void)fake_next(&f);
    fake_recover(&f, 1, "dead/jobs/x", RECOVER_SINCE, f.epoch, 0, 0);
    while (strncmp(line = fake_next(&f), "REPLAY ", 7) == 0) {
        unsigned m;

        ck_assert_int_eq(sscanf(strrchr(line, ' '), " m%u", &m), 1);
        ck_assert_msg(m < N && !is_there[m], "%s", line);
        is_there[m] = true;
        n_dead++;
    }
    ck_assert_uint_eq(n_dead, N);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

static void
set_disk_full(struct bus *bus, bool is_full)
{
    struct rlimit limit;

    ck_assert_int_eq(prlimit(bus->broker, RLIMIT_FSIZE, NULL, &limit), 0);
    limit.rlim_cur = is_full ? 1 : limit.rlim_max;
    ck_assert_int_eq(prlimit(bus->broker, RLIMIT_FSIZE, &limit, NULL), 0);
}

static void
expect_figures(struct fake *f, const char *figures)
{
    const char *line;

    frame_put_queues(
        link_buf(f->link), &(struct frame_queues){.req = 9, .filter = slice_str("#"), .limit = 10});
    ck_assert_int_eq(link_commit(f->link), 0);
    line = fake_next(f);
    ck_assert_msg(strstr(line, figures) != NULL, "%s", line);
    fake_expect(f, "QUEUES_END 9 more=0");
}

/* Which group it is, and how much it has done. */
START_TEST(group_is_the_same_after_a_restart)
{
    static const int signals[] = {SIGKILL, SIGTERM};
    char old[80], two[80];
    struct bus bus;
    struct fake a;

    bus_start_durable(&bus, CONFIG);
    fake_open_live(&a, &bus, "ws.1");
    publish(&a, "jobs/x", 2);
    consume(&a, 1, "jobs/x", 2);
    fake_expect(&a, "DISPATCH 1 jobs/x seq=1 n=1 m0");
    fake_expect(&a, "DISPATCH 1 jobs/x seq=2 n=1 m1");
    snprintf(old, sizeof(old), "%s", fake_lease(&a, 2));
    frame_put_purge(link_buf(a.link),
        &(struct frame_purge){.req = 4, .topic = slice_str("jobs/x"), .group = slice_str("g"), .flags = 1});
    ck_assert_int_eq(link_commit(a.link), 0);
    fake_expect(&a, "UNCONSUMABLE 1 not_found");
    fake_expect(&a, "SETTLED 4 code= count=0");
    consume(&a, 2, "jobs/x", 2);
    fake_expect(&a, "DISPATCH 2 jobs/x seq=1 n=1 m0");
    fake_expect(&a, "DISPATCH 2 jobs/x seq=2 n=1 m1");
    snprintf(two, sizeof(two), "%s", fake_lease(&a, 2));
    settle(&a, fake_lease(&a, 1), DONE, 0);
    bus_run_ms(&bus, 400);
    for (unsigned i = 0; i < 2; i++) {
        restart(&bus, &a, signals[i]);
        fake_open(&a, &bus, "ws.1", 0);
        fake_consume(&a, 1, QUEUE, "jobs/x", "g", 2);
        fake_hold(&a, 1, two);
        fake_resume(&a, 0, 0);
        fake_expect(&a, "CONSUMING 1");
        fake_expect(&a, "RESUMED state=0 seq=%" PRIu64, a.seq);
        expect_figures(&a, " done=1 dead=0 lost=0 ");
        fake_settle(&a, 7, 1, old, DONE, 0);
        fake_expect(&a, "SETTLED 7 code=lease_lost count=0");
    }
    settle(&a, two, DONE, 0);
    expect_figures(&a, " done=2 dead=0 lost=0 ");
    fake_close(&a);
    bus_stop(&bus);
}
END_TEST

START_TEST(acknowledgements_wait_while_the_disk_is_full)
{
    struct bus bus;
    struct fake f;

    signal(SIGXFSZ, SIG_IGN); /* the broker inherits that */
    bus_start_durable(&bus, CONFIG);
    fake_open_live(&f, &bus, "ws.1");
    publish(&f, "jobs/x", 4);
    consume(&f, 1, "jobs/x", 2);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=1 n=1 m0");
    fake_expect(&f, "DISPATCH 1 jobs/x seq=2 n=1 m1");
    set_disk_full(&bus, true);
    fake_settle(&f, 7, 1, fake_lease(&f, 1), DONE, 0);
    fake_expect(&f, "DISPATCH 1 jobs/x seq=3 n=1 m2");
    bus_run_ms(&bus, 300);
    fake_settle(&f, 8, 1, fake_lease(&f, 2), DONE, 0);
    bus_run_ms(&bus, 300);
    fake_expect_nothing(&f); /* no answer, and nothing more is given out */
    set_disk_full(&bus, false);
    expect_all(&f, (const char *const[]){"SETTLED 7 code= count=1", "SETTLED 8 code= count=1",
                       "DISPATCH 1 jobs/x seq=4 n=1 m3", NULL});
    restart(&bus, &f, SIGKILL);
    fake_open_live(&f, &bus, "ws.1");
    consume(&f, 2, "jobs/x", 4);
    fake_expect(&f, "DISPATCH 2 jobs/x seq=4 n=1 m3");
    fake_expect(&f, "DISPATCH 2 jobs/x seq=3 n=2 m2"); /* after the grace time */
    fake_expect_nothing(&f);                           /* the others are done */
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Asynchronous requests. ---- */

START_TEST(request_and_call_survive_the_broker)
{
    char id[80], other[80], call[80];
    struct bus bus;
    struct fake f;

    bus_start_durable(&bus, CONFIG);
    fake_open_live(&f, &bus, "ws.1");
    fake_consume(&f, 1, RESPONDER, "svc", "", 1);
    fake_expect(&f, "CONSUMING 1");
    fake_request_kept(&f, 1, "svc", "one", 0);
    (void)fake_next(&f); /* ACCEPTED and CALL, in either order */
    (void)fake_next(&f);
    snprintf(id, sizeof(id), "%s", f.request_id);
    snprintf(call, sizeof(call), "%s", f.call);
    fake_request_kept(&f, 2, "svc", "two", 0);
    fake_expect(&f, "ACCEPTED 2");
    snprintf(other, sizeof(other), "%s", f.request_id);
    restart(&bus, &f, SIGKILL);
    fake_open(&f, &bus, "ws.1", 0);
    fake_consume(&f, 5, RESPONDER, "svc", "", 1);
    fake_hold(&f, 5, call);
    fake_resume(&f, 0, 0);
    fake_expect(&f, "CONSUMING 5");
    fake_expect(&f, "RESUMED state=0 seq=%" PRIu64, f.seq);
    fake_result(&f, 3, id, 20000);
    fake_reply(&f, 7, 5, call, NULL, "uno"); /* before anything was read */
    fake_expect(&f, "REPLIED 3 code= uno");
    fake_expect(&f, "SETTLED 7 code= count=1");
    fake_expect(&f, "CALL 5 svc n=1 two");
    fake_reply(&f, 8, 5, f.call, NULL, "due");
    fake_expect(&f, "SETTLED 8 code= count=1");
    restart(&bus, &f, SIGKILL);
    fake_open_live(&f, &bus, "ws.1");
    fake_result(&f, 9, id, 0);
    fake_expect(&f, "REPLIED 9 code= uno");
    fake_result(&f, 10, other, 0);
    fake_expect(&f, "REPLIED 10 code= due");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

/* ---- Again and again. ---- */

#define MESSAGES 600u
#define ROUNDS 6u

/* Each message is acknowledged once, or in the dead letters once, and nothing is left. */
START_TEST(nothing_is_lost_or_done_twice)
{
    static unsigned acked[MESSAGES + 1000], asked[MESSAGES + 1000];
    static uint64_t req_of[200000];
    uint64_t req = 0, first;
    struct bus bus;
    struct fake f;

    memset(acked, 0, sizeof(acked));
    memset(asked, 0, sizeof(asked));
    srand(7);
    bus_start_durable(&bus,
        "broker: {sys_interval: 0, grace: 500ms}\ntopics: [{match: 'jobs/#', queue: {max_deliveries: 0}}]\n");
    fake_open_live(&f, &bus, "ws.1");
    first = publish(&f, "jobs/x", MESSAGES);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t end = loop_now_ms(bus.loop) + (round + 1 < ROUNDS ? 1100 + (uint64_t)rand() % 200 : 15000);
        size_t n_seen = 0;

        consume(&f, round + 1, "jobs/x", 40);
        while (loop_now_ms(bus.loop) < end) {
            unsigned n_open = 0;

            for (; n_seen < f.n_leases; n_seen++) {
                uint64_t m = f.leases[n_seen].seq - first;

                if (rand() % 10 == 0) {
                    fake_settle(&f, 0, round + 1, f.leases[n_seen].text, RETRY, 0);
                    continue;
                }
                req_of[++req] = m;
                asked[m]++;
                fake_settle(&f, req, round + 1, f.leases[n_seen].text, DONE, 0);
            }
            while (f.at < f.n_lines) {
                uint64_t r;

                if (sscanf(fake_next(&f), "SETTLED %" SCNu64 " code= count=1", &r) == 1)
                    acked[req_of[r]]++;
            }
            for (unsigned m = 0; m < MESSAGES; m++)
                n_open += acked[m] == 0;
            if (round + 1 == ROUNDS && n_open == 0)
                break;
            bus_turn(&bus);
        }
        if (round + 1 == ROUNDS)
            break;
        restart(&bus, &f, SIGKILL);
        fake_open_live(&f, &bus, "ws.1");
    }
    for (unsigned m = 0; m < MESSAGES; m++) {
        ck_assert_msg(acked[m] <= 1, "message %u was acknowledged %u times", m, acked[m]);
        ck_assert_msg(acked[m] == 1 || asked[m] >= 1, "message %u was lost", m);
    }
    frame_put_queues(
        link_buf(f.link), &(struct frame_queues){.req = 5, .filter = slice_str("#"), .limit = 9});
    link_commit(f.link);
    ck_assert_ptr_nonnull(strstr(fake_next(&f), "ready=0 leased=0 delayed=0"));
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("queue-restart");
    TCase *t = tcase_create("queue-restart");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 120);
    tcase_add_test(t, what_was_given_out_stays_with_its_consumer);
    tcase_add_test(t, what_was_done_out_of_order_stays_done);
    tcase_add_test(t, broker_that_is_stopped_knows_every_lease);
    tcase_add_test(t, group_is_the_same_after_a_restart);
    tcase_add_test(t, dead_letters_are_there_once);
    tcase_add_test(t, acknowledgements_wait_while_the_disk_is_full);
    tcase_add_test(t, request_and_call_survive_the_broker);
    tcase_add_test(t, nothing_is_lost_or_done_twice);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
