/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of processes kept running: the broker first, the others once it is ready; what dies comes back after
 * a pause that doubles; an orderly end, the broker last. It knows nothing of configurations: up.c gives it
 * command lines.
 *
 * Until everything was ready once, a process that cannot start ends the whole (a person waits for the
 * answer); after that nothing does but supervise_stop().
 */
#ifndef CLI_SUPERVISE_H
#define CLI_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct supervise;

struct supervise_limits {
    uint64_t restart_delay_ms, restart_delay_max_ms, restart_reset_ms, start_timeout_ms, stop_timeout_ms;
};

struct supervise_ops {
    /* Every process is ready, for the first time. */
    void (*on_ready)(void *arg);
    /* A process cannot start, so everything is being stopped; exit_code is its own (base/proc.h), or
     * PROC_EXIT_FAILURE. */
    void (*on_fatal)(const char *name, int exit_code, void *arg);
    /* Nothing runs any more, after supervise_stop() or on_fatal(). Once. */
    void (*on_stopped)(void *arg);
};

int supervise_new(struct loop *loop, const struct supervise_limits *limits, const struct supervise_ops *ops,
    void *arg, struct supervise **ret);
struct supervise *supervise_free(struct supervise *s); /* only when nothing runs; NULL is fine */

/* Before supervise_start(). argv (NULL-ended, argv[0] a path) and name are copied. */
int supervise_add(struct supervise *s, const char *name, bool is_broker, const char *const *argv);
int supervise_start(struct supervise *s);

void supervise_set_limits(struct supervise *s, const struct supervise_limits *limits);

/* SIGHUP to all; one that is only just starting gets it when it is ready. */
void supervise_reload(struct supervise *s);

/* In order and in time; the second call kills. */
void supervise_stop(struct supervise *s);

/* The address that the named process said it listens on, or NULL. */
const char *supervise_listen(const struct supervise *s, const char *name);

#endif
