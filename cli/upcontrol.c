/* SPDX-License-Identifier: Apache-2.0 */
/* A few connections at a time, and one job for all of them. */
#include "config.h"

#include "cli/upcontrol.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/proc.h"
#include "cli/supervise.h"

#define CLIENTS_MAX 8u
#define LINE_MAX_BYTES 256u

struct control_client {
    struct control *control;
    struct list in_control;
    struct event *event;
    int fd;
    size_t n;
    char line[LINE_MAX_BYTES];
};

struct control {
    struct loop *loop;
    struct supervise *supervise;
    struct event *event;
    int fd;
    char path[108];
    struct list clients;
    unsigned n_clients;
    /* The job. */
    struct control_client *asker; /* NULL: it left */
    char **names;                 /* still to be restarted, from `at` on; NULL: there is no job */
    size_t n_names, at;
};

/* ---- Clients. ---- */

static void
client_free(struct control_client *c)
{
    if (c->control->asker == c)
        c->control->asker = NULL;
    c->control->n_clients--;
    list_remove(&c->in_control);
    if (c->event != NULL)
        event_free(c->event);
    (void)close(c->fd);
    free(c);
}

/* These few lines fit in any socket's buffer; a client for whom they do not is let go. False: it was. */
static bool
client_say(struct control_client *c, const char *text)
{
    if (send(c->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)strlen(text))
        return true;
    client_free(c);
    return false;
}

__attribute__((format(printf, 3, 4))) static void
client_end(struct control_client *c, int exit_code, const char *fmt, ...)
{
    char text[400];
    int n = snprintf(text, sizeof text, "= %d ", exit_code);
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text + n, sizeof text - (size_t)n - 1, fmt, ap);
    va_end(ap);
    (void)strcat(text, "\n"); /* room was left */
    if (client_say(c, text))
        client_free(c);
}

/* ---- The job. ---- */

static void
job_free(struct control *control)
{
    for (size_t i = 0; i < control->n_names; i++)
        free(control->names[i]);
    free(control->names);
    control->names = NULL;
    control->n_names = 0;
    control->at = 0;
}

static void
job_end(struct control *control, int exit_code, const char *text)
{
    struct control_client *asker = control->asker;

    job_free(control);
    control->asker = NULL;
    if (asker != NULL)
        client_end(asker, exit_code, "%s", text);
}

static void
job_next(struct control *control)
{
    const char *name = control->names[control->at++];
    int r = supervise_restart(control->supervise, name);
    char text[160];

    if (r == 0)
        return;
    if (r == -EBUSY)
        (void)snprintf(text, sizeof text, "%.60s: the bus is starting or stopping; try again", name);
    else
        (void)snprintf(text, sizeof text, "%.60s cannot be started: %s", name, strerror(-r));
    job_end(control, PROC_EXIT_FAILURE, text);
}

void
control_on_restart(struct control *control, const char *text, bool is_over, bool is_done)
{
    char line[400];

    if (control == NULL || control->names == NULL)
        return;
    if (is_over && (!is_done || control->at == control->n_names)) {
        job_end(control, is_done ? PROC_EXIT_OK : PROC_EXIT_FAILURE, text);
        return;
    }
    (void)snprintf(line, sizeof line, ". %.300s\n", text);
    if (control->asker != NULL)
        (void)client_say(control->asker, line);
    if (is_over)
        job_next(control);
}

static int
job_begin(struct control *control, const char *const *names, size_t n)
{
    control->names = calloc(n, sizeof *control->names);
    if (control->names == NULL)
        return -ENOMEM;
    for (; control->n_names < n; control->n_names++) {
        control->names[control->n_names] = strdup(names[control->n_names]);
        if (control->names[control->n_names] == NULL) {
            job_free(control);
            return -ENOMEM;
        }
    }
    return 0;
}

static void
client_restart(struct control_client *c, const char *what)
{
    struct control *control = c->control;
    const char **names;
    size_t n;

    if (control->names != NULL) {
        client_end(c, PROC_EXIT_FAILURE, "another restart is under way");
        return;
    }
    names = calloc(supervise_count(control->supervise) + 1, sizeof *names);
    if (names == NULL) {
        client_end(c, PROC_EXIT_FAILURE, "no memory");
        return;
    }
    n = supervise_match(control->supervise, what, names);
    if (n == 0) {
        client_end(c, PROC_EXIT_USAGE,
            "there is no process %.60s: say broker, ws, http, tcp, all, or one of them such as ws.1", what);
    } else if (job_begin(control, names, n) < 0) {
        client_end(c, PROC_EXIT_FAILURE, "no memory");
    } else {
        control->asker = c;
        job_next(control);
    }
    free(names);
}

/* ---- Reading. ---- */

static void
client_take_line(struct control_client *c)
{
    if (strncmp(c->line, "restart ", 8) == 0)
        client_restart(c, c->line + 8);
    else
        client_end(c, PROC_EXIT_USAGE, "only restart NAME is known here");
}

static void
client_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct control_client *c = arg;
    ssize_t n = recv(fd, c->line + c->n, sizeof c->line - 1 - c->n, MSG_DONTWAIT);
    char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || c->control->asker == c) { /* it left, or talks on while it is to wait */
        client_free(c);
        return;
    }
    c->n += (size_t)n;
    c->line[c->n] = '\0';
    end = strchr(c->line, '\n');
    if (end != NULL) {
        *end = '\0';
        client_take_line(c);
    } else if (c->n == sizeof c->line - 1) {
        client_free(c);
    }
}

static void
control_on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct control *control = arg;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct control_client *c;

    if (client < 0)
        return;
    c = control->n_clients < CLIENTS_MAX ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        (void)close(client);
        return;
    }
    c->control = control;
    c->fd = client;
    control->n_clients++;
    list_push_back(&control->clients, &c->in_control);
    c->event = event_new(loop_base(control->loop), client, EV_READ | EV_PERSIST, client_on_readable, c);
    if (c->event == NULL || event_add(c->event, NULL) < 0)
        client_free(c);
}

/* ---- Life. ---- */

static int
control_bind(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    int r = 0, fd;

    if (strlen(path) >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    mode_t before = umask(0177);
    if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, CLIENTS_MAX) < 0)
        r = -errno;
    (void)umask(before);
    if (r == 0)
        return fd;
    (void)close(fd);
    return r;
}

int
control_open(struct loop *loop, struct supervise *supervise, const char *path, struct control **ret)
{
    struct control *control = calloc(1, sizeof *control);

    if (control == NULL)
        return -ENOMEM;
    control->loop = loop;
    control->supervise = supervise;
    list_init(&control->clients);
    control->fd = control_bind(path);
    if (control->fd < 0) {
        int r = control->fd;
        free(control);
        return r;
    }
    (void)snprintf(control->path, sizeof control->path, "%s", path);
    control->event =
        event_new(loop_base(loop), control->fd, EV_READ | EV_PERSIST, control_on_accept, control);
    if (control->event == NULL || event_add(control->event, NULL) < 0) {
        control_close(control);
        return -ENOMEM;
    }
    *ret = control;
    return 0;
}

struct control *
control_close(struct control *control)
{
    if (control == NULL)
        return NULL;
    list_for_each_safe(it, next, &control->clients)
        client_free(list_entry(it, struct control_client, in_control));
    job_free(control);
    if (control->event != NULL)
        event_free(control->event);
    (void)close(control->fd);
    (void)unlink(control->path);
    free(control);
    return NULL;
}
