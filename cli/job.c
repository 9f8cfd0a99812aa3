/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/job.h"

#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "clients/c/busbar.h"

#define READ_BYTES 65536u

struct job {
    pid_t pid;
    int in, out; /* our ends; -1: closed */
    struct event *write_event, *read_event, *child_event, *timer;
    struct buf input, output;
    size_t input_at;
    bool is_late;
    job_end_fn on_end;
    void *arg;
};

/* ---- In the child. ---- */

static void
set_env(const char *name, const char *value)
{
    if (value != NULL)
        (void)setenv(name, value, 1);
}

static void
set_header(const struct bb_header *header)
{
    char name[160] = "BUSBAR_HEADER_";
    size_t n = strlen(name);

    for (const char *p = header->name; *p != '\0'; p++) {
        if (n + 1 == sizeof name || (!isalnum((unsigned char)*p) && *p != '-' && *p != '_'))
            return;
        name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    }
    name[n] = '\0';
    set_env(name, header->value);
}

static _Noreturn void
job_exec(const char *command, const struct bb_message *message, int in, int out, pid_t parent)
{
    char number[24];

    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    (void)signal(SIGPIPE, SIG_DFL);
    set_env("BUSBAR_TOPIC", message->topic);
    set_env("BUSBAR_TYPE", message->type);
    set_env("BUSBAR_KEY", message->key);
    (void)snprintf(number, sizeof number, "%" PRIu64, message->n_deliveries);
    set_env("BUSBAR_DELIVERIES", number);
    for (size_t i = 0; i < message->n_headers; i++)
        set_header(&message->headers[i]);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(127);
    (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* ---- The end. ---- */

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void
free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static struct job *
job_free(struct job *job)
{
    free_event(&job->write_event);
    free_event(&job->read_event);
    free_event(&job->child_event);
    free_event(&job->timer);
    close_fd(&job->in);
    close_fd(&job->out);
    buf_fini(&job->input);
    buf_fini(&job->output);
    free(job);
    return NULL;
}

struct job *
job_kill(struct job *job)
{
    if (job == NULL)
        return NULL;
    if (job->pid > 0) {
        (void)kill(-job->pid, SIGKILL);
        (void)waitpid(job->pid, NULL, 0);
    }
    return job_free(job);
}

static const char *
describe_end(const struct job *job, int status, char *text, size_t n)
{
    if (job->is_late)
        return "the command took too long and was killed";
    if (buf_failed(&job->output))
        return "the command wrote more than is taken";
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    if (WIFEXITED(status))
        (void)snprintf(text, n, "the command ended with exit code %d", WEXITSTATUS(status));
    else
        (void)snprintf(text, n, "the command was killed by signal %d", WTERMSIG(status));
    return text;
}

/* ---- Its output and input. ---- */

/* True: there may be more later. */
static bool
job_read(struct job *job)
{
    uint8_t discarded[4096];
    ssize_t n;

    for (;;) {
        uint8_t *room = buf_reserve(&job->output, READ_BYTES);

        n = room != NULL ? read(job->out, room, READ_BYTES) : read(job->out, discarded, sizeof discarded);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        if (room != NULL)
            buf_commit(&job->output, (size_t)n);
    }
}

static void
on_output(int fd, short what, void *arg)
{
    struct job *job = arg;

    (void)fd;
    (void)what;
    if (!job_read(job))
        (void)event_del(job->read_event); /* its end is seen by SIGCHLD */
}

static void
on_input(int fd, short what, void *arg)
{
    struct job *job = arg;
    size_t left = job->input.n - job->input_at;
    ssize_t n = left > 0 ? write(fd, job->input.p + job->input_at, left) : 0;

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        job->input_at += (size_t)n;
    if (n < 0 || job->input_at == job->input.n) { /* it does not read it, or has all of it */
        free_event(&job->write_event);
        close_fd(&job->in);
        buf_fini(&job->input);
    }
}

static void
on_child(int fd, short what, void *arg)
{
    struct job *job = arg;
    const char *error;
    char text[80];
    int status;

    (void)fd;
    (void)what;
    if (waitpid(job->pid, &status, WNOHANG) != job->pid)
        return;
    job->pid = 0;
    (void)job_read(job); /* what it wrote last; not what others do that it left behind */
    error = describe_end(job, status, text, sizeof text);
    job->on_end(job, error, buf_slice(&job->output), job->arg);
    job_free(job);
}

static void
on_late(int fd, short what, void *arg)
{
    struct job *job = arg;

    (void)fd;
    (void)what;
    job->is_late = true;
    (void)kill(-job->pid, SIGKILL);
}

/* ---- The beginning. ---- */

static int
job_add_events(struct job *job, struct event_base *base, uint64_t timeout_ms)
{
    const struct timeval tv = {
        .tv_sec = (time_t)(timeout_ms / 1000), .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};

    job->read_event = event_new(base, job->out, EV_READ | EV_PERSIST, on_output, job);
    job->write_event = event_new(base, job->in, EV_WRITE | EV_PERSIST, on_input, job);
    job->child_event = evsignal_new(base, SIGCHLD, on_child, job);
    job->timer = evtimer_new(base, on_late, job);
    if (job->read_event == NULL || job->write_event == NULL || job->child_event == NULL ||
        job->timer == NULL || event_add(job->read_event, NULL) < 0 || event_add(job->write_event, NULL) < 0 ||
        evsignal_add(job->child_event, NULL) < 0 || (timeout_ms > 0 && evtimer_add(job->timer, &tv) < 0))
        return -ENOMEM;
    return 0;
}

static int
job_fork(struct job *job, const char *command, const struct bb_message *message)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, r = 0;
    pid_t parent = getpid();

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
        r = -errno;
    } else {
        (void)fcntl(in[1], F_SETFL, O_NONBLOCK);
        (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
        job->pid = fork();
        if (job->pid == 0)
            job_exec(command, message, in[0], out[1], parent);
        if (job->pid < 0)
            r = -errno;
        else
            (void)setpgid(job->pid, job->pid); /* whoever of the two comes first */
    }
    close_fd(&in[0]);
    close_fd(&out[1]);
    job->in = in[1];
    job->out = out[0];
    return r;
}

int
job_start(struct event_base *base, const char *command, const struct bb_message *message, uint64_t timeout_ms,
    job_end_fn on_end, void *arg, struct job **ret)
{
    struct job *job = calloc(1, sizeof *job);
    int r;

    if (job == NULL)
        return -ENOMEM;
    job->on_end = on_end;
    job->arg = arg;
    job->in = job->out = -1;
    buf_init(&job->input, 0);
    buf_init(&job->output, JOB_OUTPUT_MAX + READ_BYTES);
    buf_put(&job->input, message->data, message->len);
    r = buf_failed(&job->input) ? -ENOMEM : job_fork(job, command, message);
    if (r == 0)
        r = job_add_events(job, base, timeout_ms);
    if (r == 0)
        event_active(job->child_event, EV_SIGNAL, 1); /* it may have ended before it was watched */
    if (r < 0) {
        if (job->pid > 0)
            job_kill(job);
        else
            job_free(job);
        return r;
    }
    *ret = job;
    return 0;
}
