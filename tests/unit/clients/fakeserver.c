/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/unit/clients/fakeserver.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_S 20

static void
server_answer(struct server *s)
{
    char *from = s->in + s->n_answered, *end;

    while ((end = strchr(from, '\n')) != NULL) {
        if (!s->is_mute && strncmp(from, "{\"op\":\"hello\"", 13) == 0)
            server_say(s, "{\"op\":\"welcome\",\"version\":\"0\",\"protocol\":1}\n");
        if (!s->is_mute && strncmp(from, "{\"op\":\"ping\"", 12) == 0)
            server_say(s, "{\"op\":\"pong\"}\n");
        from = end + 1;
    }
    s->n_answered = (size_t)(from - s->in);
}

static void
server_on_read(int fd, short what, void *arg)
{
    struct server *s = arg;
    char piece[16384];
    ssize_t n = recv(fd, piece, sizeof piece, 0);

    (void)what;
    if (n <= 0) {
        event_free(s->read_event);
        s->read_event = NULL;
        close(s->fd);
        s->fd = -1;
        return;
    }
    s->in = realloc(s->in, s->n_in + (size_t)n + 1);
    memcpy(s->in + s->n_in, piece, (size_t)n);
    s->n_in += (size_t)n;
    s->in[s->n_in] = '\0';
    server_answer(s);
}

static void
server_on_accept(int listener, short what, void *arg)
{
    struct server *s = arg;

    (void)what;
    server_drop(s);
    s->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ck_assert_int_ge(s->fd, 0);
    s->n_in = 0;
    s->n_answered = 0;
    s->in = realloc(s->in, 1);
    s->in[0] = '\0';
    s->n_connections++;
    s->read_event = event_new(s->base, s->fd, EV_READ | EV_PERSIST, server_on_read, s);
    event_add(s->read_event, NULL);
}

void
server_start(struct server *s)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(s->port)};
    socklen_t n = sizeof sin;
    int on = 1;

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&sin, sizeof sin), 0);
    ck_assert_int_eq(listen(s->listener, 8), 0);
    ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&sin, &n), 0);
    s->port = ntohs(sin.sin_port);
    s->accept_event = event_new(s->base, s->listener, EV_READ | EV_PERSIST, server_on_accept, s);
    event_add(s->accept_event, NULL);
}

void
server_init(struct server *s, struct event_base *base)
{
    *s = (struct server){.base = base, .fd = -1, .listener = -1};
    server_start(s);
}

void
server_drop(struct server *s)
{
    if (s->fd < 0)
        return;
    event_free(s->read_event);
    s->read_event = NULL;
    close(s->fd);
    s->fd = -1;
    s->n_in = 0;
    s->in[0] = '\0';
}

void
server_stop(struct server *s)
{
    server_drop(s);
    if (s->listener < 0)
        return;
    event_free(s->accept_event);
    close(s->listener);
    s->listener = -1;
}

void
server_fini(struct server *s)
{
    server_stop(s);
    free(s->in);
}

void
server_say(struct server *s, const char *text)
{
    size_t n = strlen(text);

    ck_assert_int_ge(s->fd, 0);
    while (n > 0) {
        ssize_t written = send(s->fd, text, n, MSG_NOSIGNAL);

        if (written < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            loop_turn(s->base); /* the client reads in this loop */
            continue;
        }
        text += written;
        n -= (size_t)written;
    }
}

unsigned
server_heard(const struct server *s, const char *text)
{
    unsigned n = 0;

    for (const char *at = s->in; at != NULL && (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

void
loop_turn(struct event_base *base)
{
    struct timeval moment = {.tv_usec = 20000};

    event_base_loopexit(base, &moment);
    event_base_loop(base, EVLOOP_ONCE);
}

void
server_wait(struct server *s, const char *text, unsigned n)
{
    time_t end = time(NULL) + DEADLINE_S;

    while (server_heard(s, text) < n) {
        ck_assert_msg(
            time(NULL) < end, "%s came %u times of %u, in:\n%.2000s", text, server_heard(s, text), n, s->in);
        loop_turn(s->base);
    }
}

void
loop_until(struct event_base *base, const unsigned *condition, unsigned n)
{
    time_t end = time(NULL) + DEADLINE_S;

    while (*condition < n) {
        ck_assert_msg(time(NULL) < end, "%u of %u", *condition, n);
        loop_turn(base);
    }
}
