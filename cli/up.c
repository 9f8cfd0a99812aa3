/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busbar up: one command for the whole bus. Checks the whole configuration and every port first; then it is
 * the supervisor (supervise.c) of one broker and the workers of each frontend.
 */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/listen.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/proc.h"
#include "cli/allconf.h"
#include "cli/child.h"
#include "cli/upcontrol.h"
#include "cli/greeting.h"
#include "cli/ports.h"
#include "cli/programs.h"
#include "cli/rundir.h"
#include "cli/supervise.h"

struct up {
    struct proc_args args;
    struct allconf conf;
    struct loop *loop;
    struct supervise *supervise;
    struct control *control;     /* once everything was ready; NULL if it could not be opened */
    struct listen_passed passed; /* to us, by systemd */
    struct child_sockets sockets[ALLCONF_N_FRONTENDS]; /* of those, what each frontend listens on */
    char runtime_dir[128];
    char set_runtime_dir[160]; /* "runtime_dir=...", for the processes; "" if the configuration says it */
    char set_store_path[440];  /* likewise "store.path=..." */
    char *outer_notify;        /* systemd's socket, ours to answer; never the children's */
    int exit_code;
    bool is_stopping;
    uint64_t stopping_at_ms;
};

/* A terminal and a wrapper may each pass on the same Ctrl-C: so soon, a second signal is the first one. */
#define SAME_SIGNAL_MS 500

/* ---- systemd, if it started us. ---- */

/* Our children get sockets of their own in $NOTIFY_SOCKET, so that variable is set only while we speak. */
static void
tell_systemd(struct up *up, void (*say)(void))
{
    if (up->outer_notify == NULL || setenv("NOTIFY_SOCKET", up->outer_notify, 1) < 0)
        return;
    say();
    (void)unsetenv("NOTIFY_SOCKET");
}

static int
take_notify_socket(struct up *up)
{
    const char *name = getenv("NOTIFY_SOCKET");

    if (name != NULL) {
        up->outer_notify = strdup(name);
        if (up->outer_notify == NULL)
            return -ENOMEM;
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC"); /* meant for us alone */
    (void)unsetenv("WATCHDOG_PID");
    return 0;
}

/* ---- What the supervisor reports. ---- */

static struct greeting_address
frontend_address(const struct up *up, const struct allconf_frontend *f)
{
    const char *texts[ALLCONF_N_LISTENS];
    char name[32];

    if (!f->is_enabled)
        return (struct greeting_address){0};
    (void)snprintf(name, sizeof name, "%s.1", f->name);
    for (unsigned l = 0; l < ALLCONF_N_LISTENS; l++) {
        const char *said = supervise_listen(up->supervise, name, l == 1);
        texts[l] = said != NULL ? said : f->listen[l]->text;
    }
    return (struct greeting_address){.plain = texts[0], .tls = texts[1]};
}

/* Not before the broker is ready: then no other bus can be in this runtime directory. */
static void
open_control(struct up *up)
{
    char path[RUNDIR_MAX + sizeof CONTROL_NAME + 1];

    (void)snprintf(path, sizeof path, "%.*s/" CONTROL_NAME, RUNDIR_MAX, up->runtime_dir);
    int r = control_open(up->loop, up->supervise, path, &up->control);
    if (r < 0)
        log_error("`busbar restart` will not work: %s: %s", path, strerror(-r));
}

static void
on_restart(const char *text, bool is_over, bool is_done, void *arg)
{
    struct up *up = arg;

    control_on_restart(up->control, text, is_over, is_done);
}

static void
on_ready(void *arg)
{
    struct up *up = arg;
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];
    struct buf out;

    allconf_frontends(&up->conf, f);
    open_control(up);
    tell_systemd(up, notify_ready);
    if (up->outer_notify != NULL) { /* nobody pastes from a journal */
        log_info("the bus is up");
        return;
    }
    struct greeting g = {.ws = frontend_address(up, &f[0]),
        .http = frontend_address(up, &f[1]),
        .tcp = frontend_address(up, &f[2]),
        .ws_path = up->conf.ws.path,
        .runtime_dir = up->runtime_dir};
    buf_init(&out, 0);
    greeting_put(&out, &g);
    if (!buf_failed(&out)) {
        (void)fwrite(out.p, 1, out.n, stdout); /* a closed stdout stops no bus */
        (void)fflush(stdout);
    }
    buf_fini(&out);
}

static void
on_fatal(const char *name, int exit_code, void *arg)
{
    struct up *up = arg;

    up->exit_code = exit_code;
    up->is_stopping = true;
    switch (exit_code) {
    case PROC_EXIT_LISTEN:
        log_error("%s cannot listen on the address in %.*s.listen or %.*s.tls.listen: change it in the "
                  "configuration, or "
                  "with --set",
            name, (int)strcspn(name, "."), name, (int)strcspn(name, "."), name);
        break;
    case PROC_EXIT_IN_USE:
        log_error("another bus runs in runtime_dir %s: stop it, or give this one another (--set "
                  "runtime_dir=FOLDER)",
            up->runtime_dir);
        break;
    default:
        log_error("%s cannot start, so nothing does; what it said is above", name);
    }
}

static void
on_stopped(void *arg)
{
    struct up *up = arg;

    loop_stop(up->loop);
}

static const struct supervise_ops ops = {
    .on_ready = on_ready, .on_fatal = on_fatal, .on_stopped = on_stopped, .on_restart = on_restart};

/* ---- Signals. ---- */

static void
on_end_signal(int sig, void *arg)
{
    struct up *up = arg;

    if (!up->is_stopping) {
        log_info("stopping; once more to kill");
        tell_systemd(up, notify_stopping);
        up->stopping_at_ms = loop_now_ms(up->loop);
    } else if (loop_now_ms(up->loop) - up->stopping_at_ms < SAME_SIGNAL_MS) {
        return;
    }
    up->is_stopping = true;
    supervise_stop(up->supervise);
}

static struct supervise_limits
limits_of(const struct allconf *conf)
{
    const struct up_options *o = &conf->up;

    return (struct supervise_limits){.restart_delay_ms = o->restart_delay_ms,
        .restart_delay_max_ms = o->restart_delay_max_ms,
        .restart_reset_ms = o->restart_reset_ms,
        .start_timeout_ms = o->start_timeout_ms,
        .stop_timeout_ms = o->stop_timeout_ms,
        .drain_ms = conf->limits.drain_time_ms};
}

/* Swaps only what is ours and live; everything else holds as it was started, and stays for comparison. */
static void
apply_reload(struct up *up, struct allconf *new)
{
    struct supervise_limits limits = limits_of(new);
    struct buf names;

    buf_init(&names, 4096);
    if (allconf_diff(&up->conf, new, &names) > 0)
        log_warn("reload: these hold after a restart only: %.*s", SLICE_ARG(buf_slice(&names)));
    buf_fini(&names);
    supervise_set_limits(up->supervise, &limits);
    log_set_level((enum log_level) new->log.level);
    supervise_reload(up->supervise);
    log_info("reload: the configuration is right, and every process was told");
}

static void
on_reload_signal(int sig, void *arg)
{
    struct up *up = arg;
    static struct conf_errors errs;
    struct allconf new = {0};

    if (up->is_stopping)
        return;
    tell_systemd(up, notify_reloading);
    if (allconf_load_to_run(&new, &up->args, &errs) < 0) {
        for (size_t i = 0; i < errs.n; i++) {
            char line[1024];
            conf_error_format(&errs.at[i], line, sizeof line);
            log_error("reload: %s", line);
        }
        log_error("reload: nothing was changed");
    } else {
        apply_reload(up, &new);
    }
    allconf_free(&new);
    tell_systemd(up, notify_ready);
}

/* ---- Preparing. ---- */

/* One process; the sockets are taken. */
static int
add_process_take(struct up *up, const char *kind, const char *name, struct child_sockets *sockets)
{
    const char *argv[8 + 2 * PROC_MAX_SET];
    char path[4200], what[512];
    size_t n = 0;

    if (programs_find(kind, path, sizeof path, what, sizeof what) < 0) {
        log_error("%s", what);
        child_sockets_close(sockets);
        return PROC_EXIT_FAILURE;
    }
    argv[n++] = path;
    if (up->args.config != NULL) {
        argv[n++] = "--config";
        argv[n++] = up->args.config;
    }
    argv[n++] = "--instance";
    argv[n++] = name;
    for (size_t i = 0; i < up->args.n_set; i++) {
        argv[n++] = "--set";
        argv[n++] = up->args.set[i];
    }
    argv[n] = NULL;
    int r = supervise_add_take(up->supervise, name, strcmp(kind, "broker") == 0, argv, sockets);
    if (r < 0)
        log_error("%s: %s", name, strerror(-r));
    return r < 0 ? PROC_EXIT_FAILURE : 0;
}

/* The socket of one worker: it lives as long as we do, whatever becomes of the worker. Of several each has
 * its own, so that the kernel shares connections out; those of systemd's one socket share that. */
static int
open_socket(struct up *up, size_t i, const struct allconf_frontend *f, unsigned l, int *ret)
{
    int r = 0, systemds = up->sockets[i].fds[l];

    if (f->listen[l]->text == NULL)
        return 0;
    *ret = listen_passed_take(&up->passed, f->listen[l]);
    if (*ret >= 0)
        return 0;
    if (systemds >= 0)
        *ret = fcntl(systemds, F_DUPFD_CLOEXEC, 0);
    else
        r = listen_open(f->listen[l], f->workers > 1, ret);
    if (r == 0 && *ret < 0)
        r = -errno;
    if (r == 0)
        return 0;
    log_error(
        "%s.%s: cannot listen on %s: %s", f->name, allconf_listens[l], f->listen[l]->text, strerror(-r));
    return PROC_EXIT_LISTEN;
}

static int
add_frontend(struct up *up, size_t i, const struct allconf_frontend *f)
{
    int code = 0;

    for (unsigned k = 1; f->is_enabled && k <= f->workers && code == 0; k++) {
        struct child_sockets sockets = CHILD_NO_SOCKETS;
        char name[32];

        (void)snprintf(name, sizeof name, "%s.%u", f->name, k);
        for (unsigned l = 0; l < ALLCONF_N_LISTENS && code == 0; l++)
            code = open_socket(up, i, f, l, &sockets.fds[l]);
        if (code == 0)
            code = add_process_take(up, f->name, name, &sockets);
        else
            child_sockets_close(&sockets);
    }
    return code;
}

static int
add_processes(struct up *up)
{
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];
    struct child_sockets none = CHILD_NO_SOCKETS;
    int code = add_process_take(up, "broker", "broker", &none);

    allconf_frontends(&up->conf, f);
    for (size_t i = 0; i < ALLCONF_N_FRONTENDS && code == 0; i++) {
        code = add_frontend(up, i, &f[i]);
        child_sockets_close(&up->sockets[i]); /* each worker has its own descriptors of them */
    }
    if (listen_passed_fini(&up->passed) > 0)
        log_warn("sockets were passed to us that are no frontend's listen address: they are not used");
    return code;
}

/* Takes systemd's socket for this address, or looks whether one can be opened. */
static int
check_port(struct up *up, const struct allconf_frontend *f, unsigned l, int *ret_systemds)
{
    char option[32], what[512];

    if (!f->is_enabled || f->listen[l]->text == NULL)
        return 0;
    *ret_systemds = listen_passed_take(&up->passed, f->listen[l]);
    if (*ret_systemds >= 0)
        return 0;
    (void)snprintf(option, sizeof option, "%s.%s", f->name, allconf_listens[l]);
    if (ports_check(f->listen[l], option, what, sizeof what) == 0)
        return 0;
    log_error("%s", what);
    return PROC_EXIT_LISTEN;
}

/* Every port that is taken is told, not only the first. */
static int
check_ports(struct up *up)
{
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];
    int code = 0;

    allconf_frontends(&up->conf, f);
    for (size_t i = 0; i < ALLCONF_N_FRONTENDS; i++) {
        for (unsigned l = 0; l < ALLCONF_N_LISTENS; l++) {
            int r = check_port(up, &f[i], l, &up->sockets[i].fds[l]);
            code = r != 0 ? r : code;
        }
    }
    return code;
}

/* For the processes, over what the file says. */
static int
set_for_all(struct up *up, const char *assignment)
{
    if (up->args.n_set == PROC_MAX_SET) {
        log_error("more than %d times --set", PROC_MAX_SET - 1);
        return PROC_EXIT_USAGE;
    }
    up->args.set[up->args.n_set++] = assignment;
    return 0;
}

static int
prepare_store(struct up *up)
{
    const char *configured = up->conf.store.path;
    char path[400];

    if (up->conf.broker.backend != BROKER_BACKEND_SQLITE ||
        !rundir_choose_store(configured, allconf_has_default_store(&up->conf), path, sizeof path))
        return 0;
    log_info("this user may not write to %s: messages are kept in %s", configured, path);
    (void)snprintf(up->set_store_path, sizeof up->set_store_path, "store.path=%s", path);
    return set_for_all(up, up->set_store_path);
}

static int
prepare_dir(struct up *up)
{
    const char *configured = up->conf.bus.runtime_dir;
    char what[512];
    bool is_own;

    if (rundir_choose(configured, allconf_has_default_dir(&up->conf), up->runtime_dir, sizeof up->runtime_dir,
            &is_own, what, sizeof what) < 0 ||
        rundir_prepare(up->runtime_dir, what, sizeof what) < 0) {
        log_error("%s", what);
        return PROC_EXIT_FAILURE;
    }
    if (!is_own)
        return prepare_store(up);
    log_info("this user may not write to %s: the processes meet in %s", configured, up->runtime_dir);
    (void)snprintf(up->set_runtime_dir, sizeof up->set_runtime_dir, "runtime_dir=%s", up->runtime_dir);
    int r = set_for_all(up, up->set_runtime_dir);
    return r == 0 ? prepare_store(up) : r;
}

static int
load(struct up *up)
{
    static struct conf_errors errs;

    if (allconf_load_to_run(&up->conf, &up->args, &errs) < 0) {
        conf_errors_print(&errs, stderr);
        return PROC_EXIT_CONFIG;
    }
    log_options_apply(&up->conf.log);
    return 0;
}

static int
prepare_loop(struct up *up)
{
    struct supervise_limits limits = limits_of(&up->conf);
    int r = loop_new(&up->loop);

    if (r == 0)
        r = supervise_new(up->loop, &limits, &ops, up, &up->supervise);
    if (r == 0)
        r = loop_on_signal(up->loop, SIGINT, on_end_signal, up);
    if (r == 0)
        r = loop_on_signal(up->loop, SIGTERM, on_end_signal, up);
    if (r == 0)
        r = loop_on_signal(up->loop, SIGHUP, on_reload_signal, up);
    if (r < 0)
        log_error("the event loop: %s", strerror(-r));
    return r < 0 ? PROC_EXIT_FAILURE : 0;
}

/* Exit code 0: everything was prepared and ran until it was stopped. */
static int
run(struct up *up)
{
    int code = load(up);

    if (code == 0)
        code = prepare_dir(up);
    if (code == 0)
        code = check_ports(up);
    if (code == 0)
        code = prepare_loop(up);
    if (code == 0)
        code = add_processes(up);
    if (code != 0)
        return code;
    if (supervise_start(up->supervise) < 0 || loop_run(up->loop) < 0)
        return PROC_EXIT_FAILURE;
    return up->exit_code;
}

int
command_up(int argc, char **argv)
{
    struct up up = {.sockets = {CHILD_NO_SOCKETS, CHILD_NO_SOCKETS, CHILD_NO_SOCKETS}};
    int exit_code;

    if (proc_args_parse(&up.args, argc, argv, "up",
            "Runs the broker and the frontends of one bus, and restarts what dies. SIGHUP reloads the "
            "configuration,\n"
            "SIGINT and SIGTERM end everything in order.",
            &exit_code) != 0)
        return exit_code;
    log_open(up.args.instance);
    listen_passed_init(&up.passed);
    (void)signal(SIGPIPE, SIG_IGN);
    if (take_notify_socket(&up) < 0)
        return PROC_EXIT_FAILURE;
    exit_code = run(&up);
    up.control = control_close(up.control);
    up.supervise = supervise_free(up.supervise);
    up.loop = loop_free(up.loop);
    allconf_free(&up.conf);
    free(up.outer_notify);
    return exit_code;
}
