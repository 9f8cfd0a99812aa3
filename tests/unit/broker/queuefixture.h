/* SPDX-License-Identifier: Apache-2.0 */
/* What tests of work queues say to a broker and must hear, on top of fakefrontend.h. */
#ifndef TESTS_UNIT_BROKER_QUEUEFIXTURE_H
#define TESTS_UNIT_BROKER_QUEUEFIXTURE_H

#include <stdint.h>

#include "tests/unit/broker/fakefrontend.h"

#define QUIET "broker: {sys_interval: 0}\n"
#define JOBS QUIET "topics: [{match: 'jobs/#', queue: {enabled: true}}]\n"
#define QUEUE 0

#define DONE 0
#define RETRY 1
#define EXTEND 2
#define DEAD 3

/* The first group makes the broker keep a secret, which is message 1. */
#define FIRST 2

/* Each waits for the answer. */
void queue_consume(struct fake *f, uint64_t number, const char *topic, const char *group, uint64_t credit);
void queue_publish(struct fake *f, const char *topic, const char *body, uint64_t seq);
void queue_settle(struct fake *f, uint64_t consumer, uint64_t seq, uint64_t outcome, uint64_t delay_ms);

/* The only queue, as figures; how much of the topic is kept. */
void queue_expect_queue(struct fake *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void queue_expect_kept(struct fake *f, const char *topic, uint64_t n);

#endif
