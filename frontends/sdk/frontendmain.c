/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main() of every frontend: arguments, config, limits of the machine, signals, the link, the loop, and a
 * planned end. The transport's part is behind struct frontend_kind.
 *
 * A frontend starts whether or not the broker is there: it listens, serves what it can, and goes on looking
 * for the broker.
 */
#include "config.h"

#include "frontends/sdk/frontend.h"

#include "base/fdlimit.h"
#include "base/listen.h"
#include "base/log.h"
#include "base/memguard.h"
#include "base/notify.h"
#include "base/options.h"
#include "base/proc.h"
#include "frontends/sdk/drain.h"
#include "frontends/sdk/frontendpriv.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/multisend.h"
#include "frontends/sdk/uplink.h"
#include "wire/link.h"
#include "wire/options.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Ready is said without the broker after this. */
#define READY_WAIT_MS 2000u
#define READY_POLL_MS 50u
#define STATS_EVERY_MS 10000u
/* The first time, and while there is no broker to tell. */
#define STATS_FIRST_MS 300u

/* One load of the config file. */
struct main_config {
    struct bus_options bus;
    struct log_options log;
    struct link_options link;
    struct limits_options limits;
    struct io_options io;
    void *own; /* of kind->section */
};

struct main_state {
    struct frontend fe;
    struct proc_args args;
    const struct frontend_kind *kind;
    struct main_config config;
    struct loop_timer ready_timer, stats_timer, stop_timer;
    struct drain drain; /* begun by the first SIGTERM or SIGINT */
    struct listen_passed passed;
    uint64_t started_at_ms;
};

/* ---- Config. ---- */

#define N_BINDS (6u + FRONTEND_SECTIONS_MAX)

/* Returns how many. */
static size_t
main_config_binds(
    const struct frontend_kind *kind, struct main_config *config, struct conf_bind binds[N_BINDS])
{
    size_t n = 0;

    binds[n++] = (struct conf_bind){&bus_section, &config->bus};
    binds[n++] = (struct conf_bind){&log_section, &config->log};
    binds[n++] = (struct conf_bind){&link_section, &config->link};
    binds[n++] = (struct conf_bind){&limits_section, &config->limits};
    binds[n++] = (struct conf_bind){&io_section, &config->io};
    binds[n++] = (struct conf_bind){kind->section, config->own};
    for (size_t i = 0; i < kind->n_more && i < FRONTEND_SECTIONS_MAX; i++)
        binds[n++] = (struct conf_bind){kind->more[i].section, (char *)config->own + kind->more[i].offset};
    return n;
}

static void
main_config_fini(const struct frontend_kind *kind, struct main_config *config)
{
    struct conf_bind binds[N_BINDS];

    if (config->own == NULL)
        return;
    conf_free(binds, main_config_binds(kind, config, binds));
    free(config->own);
    config->own = NULL;
}

struct main_check {
    const struct frontend_kind *kind;
    const void *options;
};

static void
main_on_check(struct conf_check *check, void *arg)
{
    const struct main_check *m = arg;

    m->kind->check(check, m->options);
}

/* 0, or negative errno after the errors were printed. */
static int
main_config_load(const struct frontend_kind *kind, const struct proc_args *args, struct main_config *ret)
{
    struct main_check check = {.kind = kind};
    struct conf_bind binds[N_BINDS];
    struct conf_request request = {.path = args->config,
        .binds = binds,
        .ignored = conf_all_sections,
        .set = args->set,
        .n_set = args->n_set,
        .check = kind->check != NULL ? main_on_check : NULL,
        .check_arg = &check};
    struct conf_errors *errors = calloc(1, sizeof *errors);
    int r = -ENOMEM;

    *ret = (struct main_config){0};
    ret->own = calloc(1, kind->options_size > 0 ? kind->options_size : kind->section->struct_size);
    if (errors == NULL || ret->own == NULL)
        goto out;
    check.options = ret->own;
    request.n_binds = main_config_binds(kind, ret, binds);
    r = conf_load(&request, errors);
    if (r < 0)
        conf_errors_print(errors, stderr);
out:
    free(errors);
    if (r < 0) {
        free(ret->own);
        ret->own = NULL;
    }
    return r;
}

/* Several workers on one port: whatever the transport, the option has one name. */
static bool
main_shares_port(const struct frontend_kind *kind, const void *options)
{
    for (size_t i = 0; i < kind->section->n_rows; i++) {
        const struct conf_row *row = &kind->section->rows[i];

        if (row->type == CONF_COUNT && strcmp(row->name, "workers") == 0)
            return *(const uint64_t *)(const void *)((const char *)options + row->offset) > 1;
    }
    return false;
}

/* ---- Ready, figures. ---- */

static void
main_on_ready_timer(void *arg)
{
    struct main_state *m = arg;
    bool is_ready = frontend_is_ready(&m->fe);

    if (!is_ready && loop_now_ms(m->fe.loop) - m->started_at_ms < READY_WAIT_MS) {
        loop_timer_start(m->fe.loop, &m->ready_timer, READY_POLL_MS);
        return;
    }
    if (!is_ready)
        log_warn(
            "the broker does not answer in %s yet; serving, and looking for it", m->config.bus.runtime_dir);
    notify_status(is_ready ? "attached to the broker" : "waiting for the broker");
    notify_ready();
}

static void
main_on_stats_timer(void *arg)
{
    struct main_state *m = arg;
    struct buf json;

    buf_init(&json, 16u * 1024);
    frontend_put_stats(&m->fe, m->started_at_ms, &json);
    if (!buf_failed(&json))
        uplink_send_stats(m->fe.uplink, buf_slice(&json));
    buf_fini(&json);
    notify_status("%s, %u clients, %zu subscriptions",
        frontend_is_ready(&m->fe) ? "attached" : "waiting for the broker", (unsigned)m->fe.n_conns,
        hub_n_subs(m->fe.hub));
    loop_timer_start(
        m->fe.loop, &m->stats_timer, frontend_is_ready(&m->fe) ? STATS_EVERY_MS : STATS_FIRST_MS);
}

/* ---- The planned end. ---- */

static void
main_on_parted(void *arg)
{
    struct main_state *m = arg;

    loop_stop(m->fe.loop);
}

/* Goes when nobody is left and nothing waits for the broker's answer, or when the time is up. */
static void
main_on_stop_timer(void *arg)
{
    struct main_state *m = arg;
    bool is_done;

    drain_step(&m->drain);
    is_done = m->fe.n_conns == 0 && (uplink_n_held(m->fe.uplink) == 0 || !frontend_is_ready(&m->fe));
    if (!is_done && !drain_is_over(&m->drain)) {
        loop_timer_start(m->fe.loop, &m->stop_timer, DRAIN_STEP_MS);
        return;
    }
    if (!is_done)
        log_warn("stopping with %u clients connected and %zu publishes unanswered", (unsigned)m->fe.n_conns,
            uplink_n_held(m->fe.uplink));
    uplink_stop(m->fe.uplink, main_on_parted, m);
}

/* SIGTERM to a process whose socket lives on: another one takes its clients. Else this is the end of it. */
static void
main_on_stop_signal(int signal, void *arg)
{
    struct main_state *m = arg;
    struct frontend *fe = &m->fe;

    if (fe->is_stopping) {
        log_notice("stopping at once");
        loop_stop(fe->loop);
        return;
    }
    fe->is_restarting = signal == SIGTERM && fe->has_passed;
    m->kind->stop(fe, fe->state);
    fe->is_stopping = true;
    log_notice("%s (%s): %u clients are told to connect again",
        fe->is_restarting ? "another process takes over" : "stopping",
        signal == SIGTERM ? "SIGTERM" : "SIGINT", (unsigned)fe->n_conns);
    notify_stopping();
    drain_begin(&m->drain, fe);
    loop_timer_start(fe->loop, &m->stop_timer, 0);
}

/* ---- Reload. ---- */

static void
main_note_restart(const struct conf_section *section, const void *old, const void *new)
{
    struct buf names;

    buf_init(&names, 0);
    if (conf_diff(section, old, new, &names) > 0)
        log_warn("changed in the config but kept until a restart: %.*s", SLICE_ARG(buf_slice(&names)));
    buf_fini(&names);
}

static void
main_on_reload_signal(int signal, void *arg)
{
    struct main_state *m = arg;
    struct main_config next, old;

    notify_reloading();
    if (main_config_load(m->kind, &m->args, &next) < 0) {
        log_error("the config was not reloaded: it has errors; everything stays as it was");
        notify_ready();
        return;
    }
    main_note_restart(&bus_section, &m->config.bus, &next.bus);
    main_note_restart(&log_section, &m->config.log, &next.log);
    main_note_restart(&link_section, &m->config.link, &next.link);
    main_note_restart(&limits_section, &m->config.limits, &next.limits);
    main_note_restart(&io_section, &m->config.io, &next.io);
    main_note_restart(m->kind->section, m->config.own, next.own);
    for (size_t i = 0; i < m->kind->n_more; i++)
        main_note_restart(m->kind->more[i].section, (char *)m->config.own + m->kind->more[i].offset,
            (char *)next.own + m->kind->more[i].offset);
    old = m->config;
    m->config = next;
    m->fe.limits = &m->config.limits;
    memguard_set_max(m->fe.memory, m->config.limits.memory_max);
    log_set_level((enum log_level)m->config.log.level);
    uplink_set_options(m->fe.uplink, &m->config.link);
    if (m->kind->reload != NULL) {
        m->kind->reload(&m->fe, m->fe.state, m->config.own);
    } else {
        void *own = m->config.own; /* the transport goes on with what it was started with */

        m->config.own = old.own;
        old.own = own;
    }
    main_config_fini(m->kind, &old);
    log_notice("the config was reloaded");
    notify_ready();
}

/* ---- Start. ---- */

static int
main_on_signals(struct main_state *m)
{
    struct loop *loop = m->fe.loop;
    int r = loop_on_signal(loop, SIGTERM, main_on_stop_signal, m);

    if (r == 0)
        r = loop_on_signal(loop, SIGINT, main_on_stop_signal, m);
    if (r == 0)
        r = loop_on_signal(loop, SIGHUP, main_on_reload_signal, m);
    return r;
}

static int
main_start_link(struct main_state *m)
{
    char path[PATH_MAX];
    int r;

    if (snprintf(path, sizeof path, "%s/%s", m->config.bus.runtime_dir, CONTROL_SOCKET_NAME) >=
        (int)sizeof path)
        return -ENAMETOOLONG;
    r = uplink_new(&m->fe, &m->config.link, path, m->kind->name, &m->fe.uplink);
    if (r < 0)
        log_error("the link to the broker at %s: %s", path, strerror(-r));
    return r;
}

/* Nothing is wrong without it: it is only slower. */
static void
main_open_multisend(struct main_state *m)
{
    int r;

    if (m->config.io.client_writes != CLIENT_WRITES_IO_URING)
        return;
    r = multisend_new(&m->fe.multisend);
    if (r == -EOPNOTSUPP)
        log_warn("io.client_writes: io_uring is not in this build, which is without liburing; send is used");
    else if (r < 0)
        log_warn(
            "io.client_writes: the kernel does not let us use io_uring (%s); send is used", strerror(-r));
    else
        log_notice("clients are written to by io_uring");
}

/* Everything up to the loop. 0 or an exit code. */
static int
main_start(struct main_state *m, struct loop *loop)
{
    int r;

    if (frontend_init(&m->fe, loop, &m->config.limits) < 0)
        return PROC_EXIT_FAILURE;
    if (memguard_new(
            loop, "limits.memory_max", "new connections, publishes and subscriptions", &m->fe.memory) < 0)
        return PROC_EXIT_FAILURE;
    memguard_set_max(m->fe.memory, m->config.limits.memory_max);
    m->fe.kind = m->kind;
    m->fe.instance = m->args.instance;
    m->fe.shares_port = main_shares_port(m->kind, m->config.own);
    if (fdlimit_raise(&m->fe.fd_limit) < 0)
        log_warn("the limit of open files could not be raised");
    main_open_multisend(m);
    m->ready_timer = (struct loop_timer){.fn = main_on_ready_timer, .arg = m};
    m->stats_timer = (struct loop_timer){.fn = main_on_stats_timer, .arg = m};
    m->stop_timer = (struct loop_timer){.fn = main_on_stop_timer, .arg = m};
    m->started_at_ms = loop_now_ms(loop);
    if (main_on_signals(m) < 0 || main_start_link(m) < 0)
        return PROC_EXIT_FAILURE;
    m->fe.passed = &m->passed;
    r = m->kind->start(&m->fe, m->config.own, &m->fe.state);
    m->fe.passed = NULL;
    if (listen_passed_fini(&m->passed) > 0)
        log_warn("a socket was passed to this process that it does not listen on: the config says another "
                 "address");
    if (r == -EADDRINUSE || r == -EADDRNOTAVAIL || r == -EACCES)
        return PROC_EXIT_LISTEN;
    if (r < 0)
        return PROC_EXIT_FAILURE;
    uplink_start(m->fe.uplink);
    loop_timer_start(loop, &m->ready_timer, READY_POLL_MS);
    loop_timer_start(loop, &m->stats_timer, STATS_FIRST_MS);
    return 0;
}

/* Connections that are left at the end are closed like any other. */
static void
main_close_conns(struct frontend *fe)
{
    while (!list_empty(&fe->conns) || !list_empty(&fe->closing_conns) || !list_empty(&fe->closed_conns)) {
        frontend_close_all(fe);
        fe->turn_hook.fn(fe);
    }
}

static void
main_end(struct main_state *m)
{
    struct frontend *fe = &m->fe;

    if (fe->loop == NULL)
        return;
    drain_end(&m->drain);
    main_close_conns(fe);
    if (m->kind->free != NULL && fe->state != NULL)
        m->kind->free(fe->state);
    fe->uplink = uplink_free(fe->uplink);
    loop_timer_stop(fe->loop, &m->ready_timer);
    loop_timer_stop(fe->loop, &m->stats_timer);
    loop_timer_stop(fe->loop, &m->stop_timer);
    frontend_fini(fe);
    fe->memory = memguard_free(fe->memory);
}

int
frontend_main(int argc, char **argv, const struct frontend_kind *kind)
{
    struct main_state m = {.kind = kind};
    struct loop *loop = NULL;
    char about[160], instance[32];
    int r, code;

    (void)snprintf(about, sizeof about, "The %s frontend of a Busbar message bus.", kind->name);
    (void)snprintf(instance, sizeof instance, "%s.1", kind->name);
    if (proc_args_parse(&m.args, argc, argv, instance, about, &code) != 0)
        return code;
    log_open(m.args.instance);
    listen_passed_init(&m.passed);
    if (main_config_load(kind, &m.args, &m.config) < 0)
        return PROC_EXIT_CONFIG;
    log_options_apply(&m.config.log);
    (void)signal(SIGPIPE, SIG_IGN);
    r = loop_new(&loop);
    if (r < 0) {
        log_error("the event loop: %s", strerror(-r));
        main_config_fini(kind, &m.config);
        return PROC_EXIT_FAILURE;
    }
    code = main_start(&m, loop);
    if (code == 0 && loop_run(loop) < 0)
        code = PROC_EXIT_FAILURE;
    if (code == 0)
        log_notice("stopped");
    main_end(&m);
    loop_free(loop);
    main_config_fini(kind, &m.config);
    return code;
}
