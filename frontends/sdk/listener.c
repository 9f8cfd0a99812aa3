/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets. A client that cannot be served is told so if that costs nothing, and is closed: it must
 * not wait in the kernel's queue for something that will not happen. When descriptors run out, a spare one is
 * given up for a moment so that the client can be taken and closed; if even that fails, listening pauses.
 */
#include "config.h"

#include "frontends/sdk/frontend.h"

#include "base/log.h"
#include "base/notify.h"
#include "frontends/sdk/peers.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define BACKLOG 4096 /* the kernel takes its own maximum if that is less */
#define PAUSE_MS 100u
/* Descriptors that clients never get: the link, the log, a reload's files. */
#define FDS_KEPT 32u

struct listener {
    struct frontend *fe;
    listener_accept_fn on_accept;
    void *arg;
    struct slice refuse;
    struct event ev;
    struct loop_timer again;
    int fd;
    int spare_fd; /* -1 while it could not be opened again */
    bool is_added;
    char address[80];
};

/* ---- Turning away. ---- */

static void
listener_refuse(struct listener *l, int fd)
{
    /* To a new socket's empty buffer this cannot block; whether it arrives is not our concern. */
    if (l->refuse.n > 0)
        (void)send(fd, l->refuse.p, l->refuse.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    close(fd);
}

static int
listener_open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void
listener_pause(struct listener *l)
{
    if (l->is_added)
        event_del(&l->ev);
    l->is_added = false;
    loop_timer_start(l->fe->loop, &l->again, PAUSE_MS);
}

static void
listener_on_again(void *arg)
{
    struct listener *l = arg;

    if (l->spare_fd < 0)
        l->spare_fd = listener_open_spare();
    if (event_add(&l->ev, NULL) < 0)
        loop_timer_start(l->fe->loop, &l->again, PAUSE_MS);
    else
        l->is_added = true;
}

/* No descriptor is left: the spare one's place is used to close one client. True to go on with the next. */
static bool
listener_shed(struct listener *l)
{
    int fd = -1, error = EMFILE;

    if (l->spare_fd >= 0) {
        close(l->spare_fd);
        fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        error = errno;
        if (fd >= 0) {
            log_warn("no file descriptor is left: clients are turned away (raise the limit of open files)");
            l->fe->counters.refused_fds++;
            listener_refuse(l, fd);
        }
        l->spare_fd = listener_open_spare();
    }
    if (fd >= 0 && l->spare_fd >= 0)
        return true;
    if (error != EAGAIN) /* somebody waits whom we cannot even turn away */
        listener_pause(l);
    return false;
}

/* ---- Taking. ---- */

static void
listener_take(struct listener *l, int fd, const struct sockaddr *peer, socklen_t peer_n)
{
    struct frontend *fe = l->fe;

    if (fe->is_stopping || fe->n_conns >= fe->limits->connections) {
        if (!fe->is_stopping)
            log_warn("%u clients are connected, as many as limits.connections says: more are turned away",
                (unsigned)fe->n_conns);
        fe->counters.refused_limit++;
        listener_refuse(l, fd);
        return;
    }
    if (fe->fd_limit > 2 * FDS_KEPT && (uint64_t)fd >= fe->fd_limit - FDS_KEPT) {
        log_warn("of %llu file descriptors none is left for clients: they are turned away (raise the limit "
                 "of open files)",
            (unsigned long long)fe->fd_limit);
        fe->counters.refused_fds++;
        listener_refuse(l, fd);
        return;
    }
    if (fe->limits->connections_per_address > 0) {
        int r = peers_enter(fe->peers, peer, fe->limits->connections_per_address, &fe->accepted);

        if (r < 0) {
            fe->counters.refused_limit++;
            listener_refuse(l, fd);
            return;
        }
    }
    fe->counters.accepted++;
    l->on_accept(fe, fd, peer, peer_n, l->arg);
    peers_leave(fe->peers, fe->accepted); /* nobody opened a connection */
    fe->accepted = NULL;
}

/* What accept4() said: true to go on with the next. */
static bool
listener_may_go_on(struct listener *l, int error)
{
    switch (error) {
    case EAGAIN:
        return false;
    case EMFILE:
    case ENFILE:
        return listener_shed(l);
    case ENOBUFS:
    case ENOMEM:
        listener_pause(l);
        return false;
    default:
        /* ECONNABORTED, EINTR, and what the network may have done to this one client (accept(2)). */
        return true;
    }
}

static void
listener_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer;
        socklen_t peer_n = sizeof peer;
        int client = accept4(fd, (struct sockaddr *)&peer, &peer_n, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0)
            listener_take(l, client, (const struct sockaddr *)&peer, peer_n);
        else if (!listener_may_go_on(l, errno))
            return;
    }
}

/* ---- Opening. ---- */

static int
listener_set_options(int fd, const struct addrinfo *at, bool shares_port)
{
    int on = 1, off = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (shares_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    /* "*" is both IPv4 and IPv6, whatever the machine's default. */
    if (at->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    /* Accepted sockets inherit it. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return -errno;
    return 0;
}

static int
listener_socket(const struct addrinfo *at, bool shares_port, int *ret_fd)
{
    int r, fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    r = listener_set_options(fd, at, shares_port);
    if (r == 0 && (bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0))
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

/* The first of the host's addresses that can be listened on. "*": any address, IPv6 and IPv4 in one socket if
 * possible. */
static int
listener_bind(const struct conf_address *address, bool shares_port, int *ret_fd)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list;
    const char *host = address->host == NULL ? "::" : address->host;
    char port[8];
    int r;

    (void)snprintf(port, sizeof port, "%u", (unsigned)address->port);
    r = getaddrinfo(host, port, &hints, &list);
    if (r != 0)
        return r == EAI_MEMORY ? -ENOMEM : r == EAI_SYSTEM ? -errno : -EADDRNOTAVAIL;
    r = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = list; at != NULL && r < 0; at = at->ai_next)
        r = listener_socket(at, shares_port, ret_fd);
    freeaddrinfo(list);
    if (address->host == NULL && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(address->port)};
        const struct addrinfo at = {
            .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&any, .ai_addrlen = sizeof any};

        r = listener_socket(&at, shares_port, ret_fd);
    }
    return r;
}

/* The address as it really is: a port of 0 filled in. */
static void
listener_announce(struct listener *l, const struct conf_address *address)
{
    struct sockaddr_storage name = {0};
    socklen_t n = sizeof name;
    char host[64] = "?", port[8] = "?"; /* numbers only */

    if (getsockname(l->fd, (struct sockaddr *)&name, &n) == 0)
        (void)getnameinfo((struct sockaddr *)&name, n, host, sizeof host, port, sizeof port,
            NI_NUMERICHOST | NI_NUMERICSERV);
    if (address->host == NULL)
        (void)snprintf(l->address, sizeof l->address, "*:%s", port);
    else
        (void)snprintf(
            l->address, sizeof l->address, name.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    log_notice("listening on %s", l->address);
    notify_listening(l->address);
}

static int
listener_start(struct listener *l)
{
    if (event_assign(&l->ev, loop_base(l->fe->loop), l->fd, EV_READ | EV_PERSIST, listener_on_readable, l) <
            0 ||
        event_add(&l->ev, NULL) < 0)
        return -ENOMEM;
    l->is_added = true;
    return 0;
}

int
listener_open(struct frontend *fe, const char *address, struct slice refuse, listener_accept_fn on_accept,
    void *arg, struct listener **ret)
{
    struct conf_address parsed = {0};
    struct listener *l;
    int r;

    r = conf_parse_address(address, &parsed);
    if (r < 0) {
        log_error("cannot listen on %s: it is no address (127.0.0.1:8080, [::1]:8080, *:8080)", address);
        return r;
    }
    l = calloc(1, sizeof *l);
    if (l == NULL) {
        conf_address_fini(&parsed);
        return -ENOMEM;
    }
    *l = (struct listener){
        .fe = fe, .on_accept = on_accept, .arg = arg, .refuse = refuse, .fd = -1, .spare_fd = -1};
    l->again = (struct loop_timer){.fn = listener_on_again, .arg = l};
    r = listener_bind(&parsed, fe->shares_port, &l->fd);
    if (r == 0)
        r = listener_start(l);
    if (r < 0) {
        log_error("cannot listen on %s: %s", address, strerror(-r));
        conf_address_fini(&parsed);
        listener_close(l);
        return r;
    }
    l->spare_fd = listener_open_spare();
    listener_announce(l, &parsed);
    conf_address_fini(&parsed);
    *ret = l;
    return 0;
}

const char *
listener_address(const struct listener *listener)
{
    return listener->address;
}

struct listener *
listener_close(struct listener *listener)
{
    if (listener == NULL)
        return NULL;
    loop_timer_stop(listener->fe->loop, &listener->again);
    if (listener->is_added)
        event_del(&listener->ev);
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    free(listener);
    return NULL;
}
