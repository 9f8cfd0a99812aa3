/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps processes running. Each is in one state, and its one timer means what the state says:
 *
 *     IDLE      not started yet (waits for the broker), or over for good
 *     STARTING  runs, READY=1 has not come      timer: say that it takes long
 *     READY     runs
 *     WAITING   died, comes back                timer: start it
 *     STOPPING  was asked to end                timer: kill it
 *
 * While a frontend is restarted by plan there are two of its name, the old one and behind it in the list the
 * new one. First the new one is on trial: whatever goes wrong with it ends it, and the old one stays. Then
 * the old one is retired: when it ends, it is over.
 */
#include "config.h"

#include "cli/supervise.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/proc.h"
#include "cli/child.h"

/* So many deaths before it was ever ready, and it is given up. */
#define START_TRIES 5

enum process_state { IDLE, STARTING, READY, WAITING, STOPPING };

struct process {
    struct supervise *s;
    struct process *next;
    char *name;
    char **argv;
    size_t at_instance; /* in argv */
    struct child_sockets sockets;
    unsigned generation; /* its instance is called NAME, then NAME-2 and so on */
    bool is_broker;
    enum process_state state;
    pid_t pid; /* 0 when it does not run */
    struct child_channel channel;
    struct event *event; /* the channel is readable */
    struct loop_timer timer;
    uint64_t started_ms, delay_ms;
    unsigned n_failed_starts; /* deaths before the first READY=1 */
    bool was_ready;
    bool needs_reload; /* SIGHUP was due while it was starting */
    bool is_on_trial, is_retired;
    bool is_restarting;       /* of a broker */
    bool has_ready, has_link; /* on trial: it said READY=1, and not that it waits for the broker */
    char listen[256], listen_tls[256];
};

struct supervise {
    struct loop *loop;
    struct supervise_limits limits;
    struct supervise_ops ops;
    void *arg;
    struct process *processes; /* in the order of adding */
    bool was_ready, is_stopping, is_told;
    bool is_restarting; /* one process, by plan */
};

static void process_start(struct process *p);
static void process_remove(struct process *p);

/* ---- News of a planned restart. ---- */

static void
restart_news(struct supervise *s, bool is_over, bool is_done, const char *fmt, va_list ap)
{
    char text[300];

    (void)vsnprintf(text, sizeof text, fmt, ap);
    if (is_over && !is_done)
        log_warn("restart: %s", text);
    else
        log_notice("restart: %s", text);
    s->ops.on_restart(text, is_over, is_done, s->arg);
}

__attribute__((format(printf, 2, 3))) static void
restart_say(struct supervise *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    restart_news(s, false, false, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 3, 4))) static void
restart_over(struct supervise *s, bool is_done, const char *fmt, ...)
{
    va_list ap;

    if (!s->is_restarting)
        return;
    s->is_restarting = false;
    va_start(ap, fmt);
    restart_news(s, true, is_done, fmt, ap);
    va_end(ap);
}

/* ---- The end of everything. ---- */

static void
process_signal(struct process *p, int sig)
{
    if (p->pid > 0 && kill(p->pid, sig) < 0)
        log_error("%s: signal %d cannot be sent: %s", p->name, sig, strerror(errno));
}

static const char *
process_instance(const struct process *p)
{
    return p->at_instance > 0 ? p->argv[p->at_instance] : p->name;
}

static void
process_stop(struct process *p, int sig)
{
    if (p->state == STOPPING)
        return;
    loop_timer_stop(p->s->loop, &p->timer);
    if (p->pid == 0) {
        p->state = IDLE;
        return;
    }
    p->state = STOPPING;
    process_signal(p, sig);
    process_signal(p, SIGCONT); /* a stopped one would not hear it */
    loop_timer_start(
        p->s->loop, &p->timer, p->s->limits.stop_timeout_ms + (p->is_broker ? 0 : p->s->limits.drain_ms));
}

/* Frontends first, so that they can still tell the broker about their clients; then the broker. SIGINT says
 * that nobody takes their clients over. */
static void
stop_next(struct supervise *s)
{
    bool is_frontend_left = false, is_any_left = false;

    for (struct process *p = s->processes; p != NULL; p = p->next) {
        if (!p->is_broker)
            process_stop(p, SIGINT);
        is_frontend_left |= !p->is_broker && p->pid > 0;
    }
    for (struct process *p = s->processes; p != NULL; p = p->next) {
        if (p->is_broker && !is_frontend_left)
            process_stop(p, SIGTERM);
        is_any_left |= p->pid > 0;
    }
    if (!is_any_left && !s->is_told) {
        s->is_told = true;
        s->ops.on_stopped(s->arg);
    }
}

void
supervise_stop(struct supervise *s)
{
    if (!s->is_stopping) {
        s->is_stopping = true;
        restart_over(s, false, "the bus stops");
        stop_next(s);
        return;
    }
    for (struct process *p = s->processes; p != NULL; p = p->next)
        process_signal(p, SIGKILL);
}

static void
give_up(struct process *p, int exit_code)
{
    struct supervise *s = p->s;

    if (s->is_stopping)
        return;
    s->is_stopping = true;
    s->ops.on_fatal(p->name, exit_code, s->arg);
    stop_next(s);
}

/* ---- Readiness. ---- */

static void
start_frontends(struct supervise *s)
{
    for (struct process *p = s->processes; p != NULL && !s->is_stopping; p = p->next) {
        if (p->state == IDLE)
            process_start(p);
    }
}

static struct process *
process_of(struct supervise *s, const char *name)
{
    for (struct process *p = s->processes; p != NULL; p = p->next)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

/* The new one serves: the old one may let its clients go. */
static void
process_take_over(struct process *p)
{
    struct process *old = process_of(p->s, p->name);

    p->is_on_trial = false;
    assert(old != p); /* it is in the list before its successor */
    restart_say(p->s, "%s is ready; %s lets its clients go", process_instance(p), process_instance(old));
    old->is_retired = true;
    if (old->pid > 0) {
        process_stop(old, SIGTERM);
        return;
    }
    process_remove(old); /* it had died meanwhile */
    restart_over(p->s, true, "%s runs in its place", process_instance(p));
}

static void
on_process_ready(struct process *p)
{
    struct supervise *s = p->s;

    if (p->state != STARTING)
        return;
    p->state = READY;
    p->was_ready = true;
    p->n_failed_starts = 0;
    loop_timer_stop(s->loop, &p->timer);
    log_debug("%s is ready", p->name);
    if (p->needs_reload)
        process_signal(p, SIGHUP);
    p->needs_reload = false;
    if (p->is_broker)
        start_frontends(s);
    if (p->is_on_trial && !s->is_stopping)
        process_take_over(p);
    if (p->is_restarting) {
        p->is_restarting = false;
        restart_over(s, true, "%s is ready", p->name);
    }
    if (s->was_ready || s->is_stopping)
        return;
    for (const struct process *q = s->processes; q != NULL; q = q->next) {
        if (!q->was_ready)
            return;
    }
    s->was_ready = true;
    s->ops.on_ready(s->arg);
}

static void
process_hear(struct process *p)
{
    struct child_news news;

    while (p->pid > 0 && child_channel_read(&p->channel, p->pid, &news) > 0) {
        if (news.listen[0] != '\0')
            memcpy(p->listen, news.listen, sizeof p->listen);
        if (news.listen_tls[0] != '\0')
            memcpy(p->listen_tls, news.listen_tls, sizeof p->listen_tls);
        /* One on trial must have its link too: without the broker it serves nobody. */
        p->has_ready |= news.is_ready;
        if (p->is_on_trial && news.status[0] != '\0')
            p->has_link = strncmp(news.status, "attached", 8) == 0;
        if (p->is_on_trial ? p->has_ready && p->has_link : news.is_ready)
            on_process_ready(p);
    }
}

static void
on_channel(evutil_socket_t fd, short what, void *arg)
{
    process_hear(arg);
}

/* ---- Starting, dying, coming back. ---- */

static void
process_close_channel(struct process *p)
{
    if (p->event != NULL)
        event_free(p->event);
    p->event = NULL;
    child_channel_close(&p->channel);
}

static void
process_wait(struct process *p)
{
    const struct supervise_limits *limits = &p->s->limits;

    p->state = WAITING;
    loop_timer_start(p->s->loop, &p->timer, p->delay_ms);
    p->delay_ms = p->delay_ms > 0 ? p->delay_ms * 2 : 100;
    if (p->delay_ms > limits->restart_delay_max_ms)
        p->delay_ms = limits->restart_delay_max_ms;
}

static int
process_spawn(struct process *p)
{
    int r = child_channel_open(&p->channel);

    if (r < 0)
        return r;
    p->event = event_new(loop_base(p->s->loop), p->channel.fd, EV_READ | EV_PERSIST, on_channel, p);
    if (p->event == NULL || event_add(p->event, NULL) < 0)
        return -ENOMEM;
    return child_spawn(p->argv, &p->channel, &p->sockets, &p->pid);
}

static void
process_start(struct process *p)
{
    int r = process_spawn(p);

    if (r < 0) { /* no descriptors, no processes: it may be better later */
        log_error("%s cannot be started: %s", p->name, strerror(-r));
        process_close_channel(p);
        p->pid = 0;
        process_wait(p);
        return;
    }
    p->state = STARTING;
    p->needs_reload = false;
    p->has_ready = false;
    p->has_link = true;
    p->listen[0] = '\0';
    p->listen_tls[0] = '\0';
    p->started_ms = loop_now_ms(p->s->loop);
    loop_timer_start(p->s->loop, &p->timer, p->s->limits.start_timeout_ms);
    log_debug("%s runs as process %d", p->name, (int)p->pid);
}

static void
on_slow_start(struct process *p)
{
    unsigned long long seconds = p->s->limits.start_timeout_ms / 1000;

    if (!p->is_on_trial) {
        log_warn("%s is not ready after %llu s; still waiting", p->name, seconds);
        if (p->is_restarting)
            restart_say(p->s, "%s is not ready after %llu s; still waiting", p->name, seconds);
        return;
    }
    restart_say(p->s, "%s %s after %llu s and is given up", process_instance(p),
        p->has_ready ? "has no link to the broker" : "is not ready", seconds);
    process_signal(p, SIGKILL);
}

static void
on_timer(void *arg)
{
    struct process *p = arg;

    switch (p->state) {
    case STARTING:
        on_slow_start(p);
        break;
    case WAITING:
        process_start(p);
        break;
    case STOPPING:
        log_warn("%s did not stop in time and is killed", p->name);
        process_signal(p, SIGKILL);
        break;
    case IDLE:
    case READY:
        break;
    }
}

/* Exit codes that another try would only repeat. */
static bool
is_hopeless(int exit_code)
{
    return exit_code == PROC_EXIT_USAGE || exit_code == PROC_EXIT_CONFIG || exit_code == PROC_EXIT_LISTEN ||
           exit_code == PROC_EXIT_IN_USE || exit_code == 127;
}

static void
on_process_end(struct process *p, int wait_status)
{
    struct supervise *s = p->s;
    int exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : PROC_EXIT_FAILURE;
    bool was_asked = p->state == STOPPING;
    char end[64];

    process_hear(p); /* what it said last */
    process_close_channel(p);
    loop_timer_stop(s->loop, &p->timer);
    p->pid = 0;
    child_describe_end(wait_status, end, sizeof end);
    if (s->is_stopping) {
        if (!was_asked || exit_code != 0)
            log_warn("%s %s", p->name, end);
        p->state = IDLE;
        stop_next(s);
        return;
    }
    if (!s->was_ready && (is_hopeless(exit_code) || ++p->n_failed_starts >= START_TRIES)) {
        log_error("%s %s", p->name, end);
        p->state = IDLE;
        give_up(p, exit_code == 0 || exit_code == 127 ? PROC_EXIT_FAILURE : exit_code);
        return;
    }
    if (p->is_on_trial || p->is_retired) {
        bool was_on_trial = p->is_on_trial;
        char instance[80];

        (void)snprintf(instance, sizeof instance, "%s", process_instance(p));
        process_remove(p);
        restart_over(s, !was_on_trial, was_on_trial ? "%s %s: the one before it goes on" : "%s %s: done",
            instance, end);
        return;
    }
    if (p->is_restarting && was_asked) {
        restart_say(s, "%s %s and is started again", p->name, end);
        process_start(p);
        return;
    }
    if (p->is_restarting) {
        p->is_restarting = false;
        restart_over(s, false, "%s %s; it is tried again", p->name, end);
    }
    if (loop_now_ms(s->loop) - p->started_ms >= s->limits.restart_reset_ms)
        p->delay_ms = s->limits.restart_delay_ms;
    log_warn("%s %s; it comes back in %llu ms", p->name, end, (unsigned long long)p->delay_ms);
    process_wait(p);
}

/* One SIGCHLD may stand for several. Each pid by itself: -1 would take the end of a process that is not ours
 * to wait for. */
static void
on_sigchld(int sig, void *arg)
{
    struct supervise *s = arg;

    for (struct process *p = s->processes, *next; p != NULL; p = next) {
        int status;

        next = p->next; /* one at the most is removed, and it is p */
        if (p->pid > 0 && waitpid(p->pid, &status, WNOHANG) == p->pid)
            on_process_end(p, status);
    }
}

/* ---- The set. ---- */

int
supervise_new(struct loop *loop, const struct supervise_limits *limits, const struct supervise_ops *ops,
    void *arg, struct supervise **ret)
{
    struct supervise *s = calloc(1, sizeof *s);

    if (s == NULL)
        return -ENOMEM;
    s->loop = loop;
    s->limits = *limits;
    s->ops = *ops;
    s->arg = arg;
    int r = loop_on_signal(loop, SIGCHLD, on_sigchld, s);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void
process_free(struct process *p)
{
    assert(p->pid == 0);
    loop_timer_stop(p->s->loop, &p->timer);
    process_close_channel(p);
    for (size_t i = 0; p->argv != NULL && p->argv[i] != NULL; i++)
        free(p->argv[i]);
    free(p->argv);
    child_sockets_close(&p->sockets);
    free(p->name);
    free(p);
}

struct supervise *
supervise_free(struct supervise *s)
{
    if (s == NULL)
        return NULL;
    while (s->processes != NULL) {
        struct process *p = s->processes;
        s->processes = p->next;
        process_free(p);
    }
    free(s);
    return NULL;
}

static char **
copy_argv(const char *const *argv)
{
    size_t n = 0;

    while (argv[n] != NULL)
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < n; i++) {
        copy[i] = strdup(argv[i]);
        if (copy[i] != NULL)
            continue;
        while (i > 0)
            free(copy[--i]);
        free(copy);
        return NULL;
    }
    return copy;
}

static int
process_new(struct supervise *s, const char *name, bool is_broker, const char *const *argv,
    struct child_sockets *sockets, struct process **ret)
{
    struct process *p = calloc(1, sizeof *p);

    if (p == NULL) {
        child_sockets_close(sockets);
        return -ENOMEM;
    }
    p->s = s;
    p->channel.fd = -1;
    p->sockets = *sockets;
    *sockets = CHILD_NO_SOCKETS; /* now owned by the process */
    p->is_broker = is_broker;
    p->generation = 1;
    p->timer.fn = on_timer;
    p->timer.arg = p;
    p->delay_ms = s->limits.restart_delay_ms;
    p->name = strdup(name);
    p->argv = copy_argv(argv);
    if (p->name == NULL || p->argv == NULL) {
        process_free(p);
        return -ENOMEM;
    }
    for (size_t i = 1; p->argv[i] != NULL; i++)
        if (strcmp(p->argv[i - 1], "--instance") == 0)
            p->at_instance = i;
    *ret = p;
    return 0;
}

int
supervise_add_take(struct supervise *s, const char *name, bool is_broker, const char *const *argv,
    struct child_sockets *sockets)
{
    struct process *p, **end;
    int r = process_new(s, name, is_broker, argv, sockets, &p);

    if (r < 0)
        return r;
    for (end = &s->processes; *end != NULL; end = &(*end)->next)
        ;
    *end = p;
    return 0;
}

/* ---- Planned restarts. ---- */

/* The next one of the same name, behind it in the list. */
static int
process_copy(struct process *old, struct process **ret)
{
    struct child_sockets sockets;
    char instance[80];
    struct process *p;
    int r = child_sockets_copy(&old->sockets, &sockets);

    if (r == 0)
        r = process_new(old->s, old->name, old->is_broker, (const char *const *)old->argv, &sockets, &p);
    if (r < 0)
        return r;
    p->generation = old->generation + 1;
    (void)snprintf(instance, sizeof instance, "%s-%u", p->name, p->generation);
    char *copy = strdup(instance);
    if (copy == NULL) {
        process_free(p);
        return -ENOMEM;
    }
    free(p->argv[p->at_instance]);
    p->argv[p->at_instance] = copy;
    p->next = old->next;
    old->next = p;
    *ret = p;
    return 0;
}

static void
process_remove(struct process *p)
{
    struct process **at = &p->s->processes;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    process_free(p);
}

size_t
supervise_count(const struct supervise *s)
{
    size_t n = 0;

    for (const struct process *p = s->processes; p != NULL; p = p->next)
        n++;
    return n;
}

static bool
process_is_meant(const struct process *p, const char *what)
{
    size_t n = strlen(what);

    if (strcmp(what, "all") == 0)
        return !p->is_broker;
    if (strcmp(what, p->name) == 0 || strcmp(what, process_instance(p)) == 0)
        return true;
    return strncmp(what, p->name, n) == 0 && p->name[n] == '.';
}

size_t
supervise_match(const struct supervise *s, const char *what, const char **ret_names)
{
    size_t n = 0;

    for (const struct process *p = s->processes; p != NULL; p = p->next) {
        bool is_known = n > 0 && strcmp(ret_names[n - 1], p->name) == 0;

        if (!is_known && process_is_meant(p, what))
            ret_names[n++] = p->name;
    }
    return n;
}

int
supervise_restart(struct supervise *s, const char *name)
{
    struct process *old = process_of(s, name), *p = NULL;
    int r;

    if (old == NULL)
        return -ENOENT;
    if (s->is_stopping || s->is_restarting || !s->was_ready)
        return -EBUSY;
    s->is_restarting = true;
    if (old->is_broker) {
        old->is_restarting = true;
        if (old->pid > 0) {
            restart_say(s, "%s is told to stop", name);
            process_stop(old, SIGTERM);
        } else {
            loop_timer_stop(s->loop, &old->timer);
            process_start(old);
        }
        return 0;
    }
    r = process_copy(old, &p);
    if (r < 0) {
        s->is_restarting = false;
        return r;
    }
    p->is_on_trial = true;
    p->was_ready = true; /* of the name */
    process_start(p);
    if (p->pid > 0) {
        restart_say(s, "%s starts beside %s", process_instance(p), process_instance(old));
        return 0;
    }
    process_remove(p);
    s->is_restarting = false;
    return -EAGAIN;
}

int
supervise_start(struct supervise *s)
{
    for (struct process *p = s->processes; p != NULL; p = p->next) {
        if (p->is_broker) {
            process_start(p);
            return 0;
        }
    }
    return -ENOENT;
}

void
supervise_set_limits(struct supervise *s, const struct supervise_limits *limits)
{
    s->limits = *limits;
}

void
supervise_reload(struct supervise *s)
{
    for (struct process *p = s->processes; p != NULL; p = p->next) {
        if (p->state == READY)
            process_signal(p, SIGHUP);
        else if (p->state == STARTING)
            p->needs_reload = true; /* it may not have its handler yet, and would die of it */
    }
}

const char *
supervise_listen(const struct supervise *s, const char *name, bool is_tls)
{
    for (const struct process *p = s->processes; p != NULL; p = p->next) {
        const char *said = is_tls ? p->listen_tls : p->listen;

        if (strcmp(p->name, name) == 0)
            return said[0] != '\0' ? said : NULL;
    }
    return NULL;
}
