/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters and what the store is told before them, which latebroker.c looks at. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>

#include "tests/unit/broker/latesuite.h"
#include "tests/unit/broker/queuefixture.h"

#define N 20u
#define TWICE                                                                                                \
    QUIET "topics: [{match: 'jobs/#', queue: {max_deliveries: 2}}, {match: 'dead/#', history: {messages: "   \
          "100}}]\n"

static void
expect_settled(struct fake *f, uint64_t req)
{
    fake_expect(f, "SETTLED %" PRIu64 " code= count=1", req);
}

/* Some are acknowledged meanwhile, so that saves are under way all the time. */
START_TEST(what_is_given_up_is_known_to_be_over_before_its_letter_is_written)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, TWICE);
    fake_open_live(&f, &bus, "ws.1");
    queue_consume(&f, 1, "jobs/x", "g", 0);
    for (unsigned i = 0; i < N; i++)
        queue_publish(&f, "jobs/x", "job", FIRST + i);
    fake_credit(&f, 1, N);
    for (unsigned i = 0; i < N; i++)
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%u n=1 job", FIRST + i);
    for (unsigned i = 0; i < N; i++) {
        fake_settle(&f, 100 + i, 1, fake_lease(&f, FIRST + i), i % 2 == 0 ? DONE : DEAD, 0);
        bus_turn(&bus);
    }
    for (unsigned i = 0; i < N; i++)
        expect_settled(&f, 100 + i);
    bus_run_ms(&bus, 200);
    queue_expect_queue(
        &f, "jobs/x g ready=0 leased=0 delayed=0 done=%u dead=%u lost=0 consumers=1", N / 2, N / 2);
    queue_expect_kept(&f, "dead/jobs/x", N / 2);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(what_was_given_out_too_often_is_known_to_be_over_before_its_letter_is_written)
{
    struct bus bus;
    struct fake f;

    bus_start(&bus, TWICE);
    fake_open_live(&f, &bus, "ws.1");
    queue_consume(&f, 1, "jobs/x", "g", 0);
    queue_publish(&f, "jobs/x", "job", FIRST);
    fake_credit(&f, 1, 2);
    for (unsigned n = 1; n <= 2; n++) {
        fake_expect(&f, "DISPATCH 1 jobs/x seq=%u n=%u job", FIRST, n);
        fake_settle(&f, 0, 1, f.leases[f.n_leases - 1].text, RETRY, 0); /* nobody waits for that */
    }
    bus_run_ms(&bus, 200);
    queue_expect_queue(&f, "jobs/x g ready=0 leased=0 delayed=0 done=0 dead=1 lost=0 consumers=1");
    queue_expect_kept(&f, "dead/jobs/x", 1);
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

static void
add_late(TCase *t)
{
    tcase_add_test(t, what_is_given_up_is_known_to_be_over_before_its_letter_is_written);
    tcase_add_test(t, what_was_given_out_too_often_is_known_to_be_over_before_its_letter_is_written);
}

static void
add_other(TCase *t)
{
    (void)t;
}

int
main(void)
{
    return late_suite_main("queue-dead", add_late, add_other);
}
