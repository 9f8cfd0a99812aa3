/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command of the user's, run by /bin/sh for one message: its payload on standard input, what it is in the
 * environment; standard output is kept, standard error is ours. In a process group of its own, which ends
 * with us.
 */
#ifndef CLI_JOB_H
#define CLI_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct bb_message;
struct event_base;
struct job;

#define JOB_OUTPUT_MAX ((size_t)16 << 20)

/* It has ended, and is freed after. error NULL: with exit code 0; else what was wrong, for people. */
typedef void (*job_end_fn)(struct job *job, const char *error, struct slice output, void *arg);

/* BUSBAR_TOPIC, BUSBAR_TYPE, BUSBAR_KEY, BUSBAR_DELIVERIES and, for headers whose names are letters, digits,
 * - and _, BUSBAR_HEADER_NAME are set. timeout_ms: then it is killed; 0: never. 0 or negative errno. */
int job_start(struct event_base *base, const char *command, const struct bb_message *message,
    uint64_t timeout_ms, job_end_fn on_end, void *arg, struct job **ret);

/* At once, without on_end(). NULL is fine. */
struct job *job_kill(struct job *job);

#endif
