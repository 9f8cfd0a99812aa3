/* SPDX-License-Identifier: Apache-2.0 */
/* Work queues in tests: see queuefixture.h. */
#include "config.h"

#include "tests/unit/broker/queuefixture.h"

#include <check.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/link.h"

void
queue_consume(struct fake *f, uint64_t number, const char *topic, const char *group, uint64_t credit)
{
    fake_consume(f, number, QUEUE, topic, group, credit);
    fake_expect(f, "CONSUMING %" PRIu64, number);
}

void
queue_publish(struct fake *f, const char *topic, const char *body, uint64_t seq)
{
    fake_publish(f, topic, body);
    fake_expect(f, "PUBLISHED %" PRIu64 " seq=%" PRIu64 " count=1", f->pub, seq);
}

void
queue_settle(struct fake *f, uint64_t consumer, uint64_t seq, uint64_t outcome, uint64_t delay_ms)
{
    static uint64_t req = 1000;

    fake_settle(f, ++req, consumer, fake_lease(f, seq), outcome, delay_ms);
    fake_expect(f, "SETTLED %" PRIu64 " code= count=1", req);
}

void
queue_expect_queue(struct fake *f, const char *fmt, ...)
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

void
queue_expect_kept(struct fake *f, const char *topic, uint64_t n)
{
    frame_put_list(link_buf(f->link), &(struct frame_list){.req = 6, .filter = slice_str(topic), .limit = 1});
    ck_assert_int_eq(link_commit(f->link), 0);
    ck_assert_msg(strstr(fake_next(f), "kept=") != NULL, "no such topic");
    ck_assert_uint_eq(strtoull(strstr(f->lines[f->at - 1], "kept=") + 5, NULL, 10), n);
    fake_expect(f, "LIST_END 6 more=0");
}
