/* SPDX-License-Identifier: Apache-2.0 */
/* A broker for tests: see fakebus.h. */
#include "config.h"

#include "tests/unit/broker/fakebus.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"

extern char **environ;

static void
stop_loop(void *arg)
{
    loop_stop(arg);
}

void
bus_turn(struct bus *bus)
{
    struct loop_timer timer = {.fn = stop_loop, .arg = bus->loop};

    loop_timer_start(bus->loop, &timer, 1);
    ck_assert_int_eq(loop_run(bus->loop), 0);
    loop_timer_stop(bus->loop, &timer);
}

void
bus_run_ms(struct bus *bus, uint64_t ms)
{
    uint64_t end = loop_now_ms(bus->loop) + ms;

    while (loop_now_ms(bus->loop) < end)
        bus_turn(bus);
}

void
bus_wait(struct bus *bus, const bool *is_done, const char *what)
{
    uint64_t end = loop_now_ms(bus->loop) + DEADLINE_MS;

    while (!*is_done) {
        ck_assert_msg(loop_now_ms(bus->loop) < end, "not in time: %s", what);
        bus_turn(bus);
    }
}

void
bus_write_config(struct bus *bus, const char *yaml)
{
    FILE *file = fopen(bus->config_path, "w");

    ck_assert_ptr_nonnull(file);
    fprintf(file, "runtime_dir: %s\nlog:\n  level: warn\n%s", bus->runtime_dir, yaml != NULL ? yaml : "");
    if (bus->is_durable)
        fprintf(file, "store: {path: %s/store.db}\n", bus->dir);
    ck_assert_int_eq(fclose(file), 0);
}

static pid_t
spawn_broker(struct bus *bus, const char *log)
{
    const char *build = getenv("BUSBAR_BUILD");
    char program[512];
    char option[] = "--config", set[] = "--set";
    char backend[] = "broker.backend=memory", durable[] = "broker.backend=sqlite";
    char heartbeat[] = "broker.heartbeat=20s"; /* a machine with too much to do stops us for seconds */
    char *argv[] = {
        program, option, bus->config_path, set, bus->is_durable ? durable : backend, set, heartbeat, NULL};
    const char *name = getenv("BUSBAR_TEST_BROKER"); /* another program in its place */
    const char *sanitizer = getenv("ASAN_OPTIONS");
    posix_spawn_file_actions_t actions;
    char sanitizer_options[512];
    pid_t pid;

    /* What the sanitizer keeps of freed memory must not look like what the broker keeps. */
    snprintf(sanitizer_options, sizeof(sanitizer_options), "%s:quarantine_size_mb=4",
        sanitizer != NULL ? sanitizer : "");
    setenv("ASAN_OPTIONS", sanitizer_options, 1);

    snprintf(program, sizeof(program), "%s/%s", build != NULL ? build : ".",
        name != NULL ? name : "broker/busbar-broker");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    ck_assert_int_eq(posix_spawn(&pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static void
log_path(const struct bus *bus, char *ret, size_t n)
{
    snprintf(ret, n, "%s/log", bus->dir);
}

void
bus_spawn(struct bus *bus)
{
    char log[128];

    log_path(bus, log, sizeof(log));
    bus->broker = spawn_broker(bus, log);
}

pid_t
bus_spawn_another(struct bus *bus)
{
    return spawn_broker(bus, "/dev/null");
}

static void
start(struct bus *bus, const char *yaml, bool is_durable)
{
    *bus = (struct bus){.is_durable = is_durable};
    strcpy(bus->dir, "/tmp/bbtest-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(bus->dir));
    snprintf(bus->runtime_dir, sizeof(bus->runtime_dir), "%s/run", bus->dir);
    snprintf(bus->config_path, sizeof(bus->config_path), "%s/busbar.yaml", bus->dir);
    bus_write_config(bus, yaml);
    ck_assert_int_eq(loop_new(&bus->loop), 0);
    bus_spawn(bus);
}

void
bus_start(struct bus *bus, const char *yaml)
{
    start(bus, yaml, false);
}

void
bus_start_durable(struct bus *bus, const char *yaml)
{
    start(bus, yaml, true);
}

int
bus_wait_exit(struct bus *bus, pid_t pid)
{
    uint64_t end = loop_now_ms(bus->loop) + DEADLINE_MS;
    int status;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        ck_assert_msg(loop_now_ms(bus->loop) < end, "the broker does not end");
        bus_run_ms(bus, 10);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
check_log(const struct bus *bus)
{
    char path[128], text[8192];
    FILE *file;
    size_t n;

    log_path(bus, path, sizeof(path));
    file = fopen(path, "r");
    if (file == NULL)
        return;
    n = fread(text, 1, sizeof(text) - 1, file);
    text[n] = '\0';
    fclose(file);
    ck_assert_msg(strstr(text, "Sanitizer") == NULL && strstr(text, "runtime error") == NULL, "%s", text);
}

void
bus_kill(struct bus *bus, int signal_number)
{
    int code;

    ck_assert_int_eq(kill(bus->broker, signal_number), 0);
    code = bus_wait_exit(bus, bus->broker);
    bus->broker = 0;
    check_log(bus);
    ck_assert_int_eq(code, signal_number == SIGTERM ? 0 : -signal_number);
}

void
bus_stop(struct bus *bus)
{
    char command[160];

    if (bus->broker != 0)
        bus_kill(bus, SIGTERM);
    bus->loop = loop_free(bus->loop);
    snprintf(command, sizeof(command), "rm -r %s", bus->dir);
    ck_assert_int_eq(system(command), 0);
}

long
bus_rss_kib(const struct bus *bus)
{
    char path[64], line[256];
    long kib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)bus->broker);
    file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL)
        sscanf(line, "VmRSS: %ld", &kib);
    fclose(file);
    return kib;
}
