/* SPDX-License-Identifier: Apache-2.0 */
/* A client for the subcommands: address, loop, signals, deadline, and what is said when there is no bus. */
#include "config.h"

#include "cli/busclient.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/conf.h"
#include "cli/allconf.h"
#include "cli/greeting.h"

/* How long a bus that refuses connections may take to come up when --wait was not said: a script may just
 * have started it. */
#define FIRST_PATIENCE_MS 2000u

/* ---- Arguments. ---- */

/* "5" is five seconds, as for sleep(1); a configuration wants the unit said. */
static int
parse_time(const char *text, uint64_t *ret_ms)
{
    uint64_t seconds;

    if (conf_parse_time(text, ret_ms) == 0)
        return *ret_ms <= UINT32_MAX / 2 ? 0 : -ERANGE;
    if (conf_parse_count(text, &seconds) < 0 || seconds > UINT32_MAX / 2000)
        return -EINVAL;
    *ret_ms = seconds * 1000;
    return 0;
}

int
bus_take_time(const char *command, const char *option, const char *text, uint64_t *ret_ms)
{
    if (parse_time(text, ret_ms) == 0)
        return 0;
    (void)fprintf(stderr, "%s: --%s %s: give a time such as 500ms, 10s or 2m\n", command, option, text);
    return -EINVAL;
}

int
bus_args_take(
    struct bus_args *args, const char *command, int c, const char *value, const char *help, int *ret_exit)
{
    *ret_exit = PROC_EXIT_USAGE;
    switch (c) {
    case 's':
        args->server = value;
        return 0;
    case 'c':
        args->proc.config = value;
        return 0;
    case 1:
        if (args->proc.n_set < PROC_MAX_SET)
            args->proc.set[args->proc.n_set++] = value;
        return 0;
    case 2:
        args->is_waiting = true;
        return 0;
    case 'q':
        args->is_quiet = true;
        return 0;
    case 't':
        return bus_take_time(command, "timeout", value, &args->timeout_ms) < 0 ? 1 : 0;
    case 'h':
        *ret_exit = PROC_EXIT_OK;
        (void)fputs(help, stdout);
        return 1;
    case '?': /* getopt said what is wrong */
        (void)fprintf(stderr, "`%s --help` lists the options\n", command);
        return 1;
    default:
        return -1;
    }
}

/* ---- Where the bus is. ---- */

/* "HOST:PORT", "[v6]:PORT", or a host alone. */
static int
split_server(const char *server, struct conf_address *ret)
{
    char with_port[330];
    const char *colon = strrchr(server, ':');

    if (colon == NULL || (server[0] == '[' && server[strlen(server) - 1] == ']')) {
        (void)snprintf(with_port, sizeof with_port, "%.300s:%d", server, BB_DEFAULT_PORT);
        return conf_parse_address(with_port, ret);
    }
    return conf_parse_address(server, ret);
}

static int
find_in_config(struct bus_client *c, char *ret, size_t ret_size)
{
    static struct conf_errors errs;
    struct allconf conf = {0};
    struct proc_args args = c->args->proc;

    if (args.config == NULL)
        args.config = proc_default_config();
    if (allconf_load(&conf, &args, &errs) < 0) {
        conf_errors_print(&errs, stderr);
        return PROC_EXIT_CONFIG;
    }
    greeting_connectable(conf.tcp.listen.text != NULL ? conf.tcp.listen.text : "", ret, ret_size);
    bool is_enabled = conf.tcp.enabled && ret[0] != '\0';
    allconf_free(&conf);
    if (is_enabled)
        return 0;
    bus_complain(c, "the configuration has no TCP frontend that listens in the clear (tcp.enabled, "
                    "tcp.listen), which this "
                    "command needs; say where a bus does with --server HOST:PORT");
    return PROC_EXIT_CONFIG;
}

static int
find_server(struct bus_client *c)
{
    const char *from_environment = getenv("BUSBAR_SERVER");

    if (c->args->server != NULL) {
        (void)snprintf(c->server, sizeof c->server, "%s", c->args->server);
        return 0;
    }
    if (c->args->proc.config == NULL && from_environment != NULL && from_environment[0] != '\0') {
        (void)snprintf(c->server, sizeof c->server, "%s", from_environment);
        return 0;
    }
    return find_in_config(c, c->server, sizeof c->server);
}

/* ---- What is said. ---- */

static void
say(const struct bus_client *c, const char *fmt, va_list ap)
{
    (void)fflush(stdout); /* so that a terminal shows both in order */
    (void)fprintf(
        stderr, "%s%s: ", isatty(STDERR_FILENO) ? "\r\033[K" : "", c->command); /* over a line of progress */
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
}

void
bus_note(const struct bus_client *c, const char *fmt, ...)
{
    va_list ap;

    if (c->args->is_quiet)
        return;
    va_start(ap, fmt);
    say(c, fmt, ap);
    va_end(ap);
}

void
bus_complain(const struct bus_client *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(c, fmt, ap);
    va_end(ap);
}

const char *
bus_result_text(const struct bb_result *result)
{
    if (result->text != NULL)
        return result->text;
    switch (result->error) {
    case -ETIMEDOUT:
        return "no answer came in time; it may have been published or not";
    case -ECANCELED:
        return "interrupted before the answer came; it may have been published or not";
    default:
        return strerror(-result->error);
    }
}

bool
bus_has_colour(FILE *to)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(fileno(to)) && (no_colour == NULL || no_colour[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

/* ---- The connection. ---- */

static uint64_t
now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
on_state(struct bb_client *bb, enum bb_state state, const char *why, void *arg)
{
    struct bus_client *c = arg;

    (void)bb;
    if (state == BB_OPEN) {
        if (c->is_lost)
            bus_note(c, "connected again with %s", c->server);
        c->was_open = true;
        c->is_lost = false;
    } else if (state == BB_WAITING && c->was_open) {
        if (!c->is_lost)
            bus_note(c, "lost %s: %s; trying again", c->server, why);
        c->is_lost = true;
    } else if (state == BB_WAITING && c->args->is_waiting) {
        if (c->n_refused++ == 0)
            bus_note(c, "no bus at %s yet: %s; waiting for it", c->server, why);
    } else if (state == BB_WAITING && now_ms() - c->opened_at_ms > FIRST_PATIENCE_MS) {
        bus_complain(
            c, "no bus at %s: %s. `busbar up` starts one; --server HOST:PORT names another", c->server, why);
        bus_end(c, PROC_EXIT_CONNECT);
    }
}

static void
on_error(struct bb_client *bb, const char *code, const char *text, void *arg)
{
    (void)bb;
    bus_complain(arg, "%s: %s", code, text);
}

static void
on_signal(int signal_number, short what, void *arg)
{
    struct bus_client *c = arg;

    (void)what;
    bus_end(c, c->on_stop != NULL ? c->on_stop(c->arg) : 128 + signal_number);
}

static void
on_deadline(int fd, short what, void *arg)
{
    struct bus_client *c = arg;

    (void)fd;
    (void)what;
    if (!c->was_open) {
        bus_complain(c, "no bus at %s", c->server);
        bus_end(c, PROC_EXIT_CONNECT);
    } else {
        bus_end(c, c->on_timeout(c->arg));
    }
}

static int
add_events(struct bus_client *c)
{
    static const int numbers[2] = {SIGINT, SIGTERM};

    for (size_t i = 0; i < 2; i++) {
        c->signals[i] = evsignal_new(c->base, numbers[i], on_signal, c);
        if (c->signals[i] == NULL || evsignal_add(c->signals[i], NULL) < 0)
            return -ENOMEM;
    }
    c->deadline = evtimer_new(c->base, on_deadline, c);
    if (c->deadline == NULL)
        return -ENOMEM;
    if (c->args->timeout_ms > 0 && c->on_timeout != NULL) {
        struct timeval tv = {.tv_sec = (time_t)(c->args->timeout_ms / 1000),
            .tv_usec = (suseconds_t)(c->args->timeout_ms % 1000 * 1000)};

        return evtimer_add(c->deadline, &tv) < 0 ? -ENOMEM : 0;
    }
    return 0;
}

/* A loop that can watch files: standard input may be one, and epoll refuses it. */
static struct event_base *
make_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config != NULL && event_config_require_features(config, EV_FEATURE_FDS) == 0)
        base = event_base_new_with_config(config);
    if (config != NULL)
        event_config_free(config);
    return base;
}

static int
bus_connect(struct bus_client *c)
{
    struct conf_address address = {0};
    int r = split_server(c->server, &address);

    if (r < 0 || address.host == NULL || address.port == 0) {
        bus_complain(c, "%s: an address is HOST:PORT, such as 127.0.0.1:%d", c->server, BB_DEFAULT_PORT);
        conf_address_fini(&address);
        return PROC_EXIT_USAGE;
    }
    r = bb_connect(c->bb, address.host, address.port);
    if (r < 0)
        bus_complain(
            c, "%s: %s", address.host, r == -EHOSTUNREACH ? "there is no host of that name" : strerror(-r));
    conf_address_fini(&address);
    return r < 0 ? PROC_EXIT_CONNECT : 0;
}

int
bus_open(struct bus_client *c, const char *command, const struct bus_args *args, uint32_t publish_timeout_ms)
{
    struct bb_options options = {.min_delay_ms = 100,
        .max_delay_ms = 5000,
        .publish_timeout_ms = publish_timeout_ms,
        .max_pending = 2000,
        .max_pending_bytes = 64u << 20,
        .max_message_bytes = 64u << 20,
        .on_state = on_state,
        .on_error = on_error,
        .arg = c};
    int r;

    c->command = command;
    c->args = args;
    c->opened_at_ms = now_ms();
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that went away is seen when writing */
    r = find_server(c);
    if (r != 0)
        return r;
    c->base = make_base();
    if (c->base == NULL || add_events(c) < 0 || bb_client_new(c->base, &options, &c->bb) < 0) {
        bus_complain(c, "%s", strerror(ENOMEM));
        return PROC_EXIT_FAILURE;
    }
    return bus_connect(c);
}

int
bus_run(struct bus_client *c)
{
    if (!c->is_ended)
        (void)event_base_dispatch(c->base);
    return c->exit_code;
}

void
bus_end(struct bus_client *c, int exit_code)
{
    if (c->is_ended)
        return;
    c->is_ended = true;
    c->exit_code = exit_code;
    (void)event_base_loopbreak(c->base);
}

void
bus_close(struct bus_client *c)
{
    c->bb = bb_close(c->bb);
    for (size_t i = 0; i < 2; i++) {
        if (c->signals[i] != NULL)
            event_free(c->signals[i]);
    }
    if (c->deadline != NULL)
        event_free(c->deadline);
    if (c->base != NULL)
        event_base_free(c->base);
}
