/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of processes kept running: the broker first, the others once it is ready; what dies comes back after
 * a pause that doubles; an orderly end, the broker last. It knows nothing of configurations: up.c gives it
 * command lines.
 *
 * Until everything was ready once, a process that cannot start ends the whole (a person waits for the
 * answer); after that nothing does but supervise_stop().
 *
 * A planned restart of a frontend begins with a second process beside the first, on the same listening
 * socket, under a name of its own ("ws.1-2"); once it is ready the first one is told to let its clients go.
 * If it does not become ready, the first one never notices. The broker is stopped and started.
 */
#ifndef CLI_SUPERVISE_H
#define CLI_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child_sockets;
struct loop;
struct supervise;

struct supervise_limits {
    uint64_t restart_delay_ms, restart_delay_max_ms, restart_reset_ms, start_timeout_ms, stop_timeout_ms;
    uint64_t drain_ms; /* that frontends may take besides stop_timeout_ms */
};

struct supervise_ops {
    /* Every process is ready, for the first time. */
    void (*on_ready)(void *arg);
    /* A process cannot start, so everything is being stopped; exit_code is its own (base/proc.h), or
     * PROC_EXIT_FAILURE. */
    void (*on_fatal)(const char *name, int exit_code, void *arg);
    /* Nothing runs any more, after supervise_stop() or on_fatal(). Once. */
    void (*on_stopped)(void *arg);
    /* News of the planned restart under way: a line for people; is_over: the last one, with how it went. */
    void (*on_restart)(const char *text, bool is_over, bool is_done, void *arg);
};

int supervise_new(struct loop *loop, const struct supervise_limits *limits, const struct supervise_ops *ops,
    void *arg, struct supervise **ret);
struct supervise *supervise_free(struct supervise *s); /* only when nothing runs; NULL is fine */

/* Before supervise_start(). argv (NULL-ended, argv[0] a path) and name are copied; the text after --instance
 * is the name, or another one while there are two of it. The sockets are passed to each process of this
 * name; they are taken, also on failure. */
int supervise_add_take(struct supervise *s, const char *name, bool is_broker, const char *const *argv,
    struct child_sockets *sockets);
int supervise_start(struct supervise *s);

void supervise_set_limits(struct supervise *s, const struct supervise_limits *limits);

/* SIGHUP to all; one that is only just starting gets it when it is ready. */
void supervise_reload(struct supervise *s);

/* The names that a person may mean: a name, "ws" for all of its kind, "all" for all but the broker, or what a
 * process calls itself now. ret_names has room for supervise_count(); what it points to may go with the next
 * event. */
size_t supervise_count(const struct supervise *s);
size_t supervise_match(const struct supervise *s, const char *what, const char **ret_names);

/* Begins a planned restart; ops->on_restart() tells the rest. 0; -EBUSY: one is under way, or the bus is not
 * up yet, or it stops; -ENOENT. */
int supervise_restart(struct supervise *s, const char *name);

/* In order and in time; the second call kills. */
void supervise_stop(struct supervise *s);

/* The address that the named process said it listens on, in the clear or for TLS, or NULL. */
const char *supervise_listen(const struct supervise *s, const char *name, bool is_tls);

#endif
