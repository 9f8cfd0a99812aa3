/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets. A client that cannot be served is told so if that costs nothing, and is closed: it must
 * not wait in the kernel's queue for something that will not happen. When descriptors run out, a spare one is
 * given up for a moment so that the client can be taken and closed; if even that fails, listening pauses.
 */
#include "config.h"

#include "frontends/sdk/frontend.h"

#include "base/listen.h"
#include "base/log.h"
#include "base/memguard.h"
#include "base/notify.h"
#include "frontends/sdk/options.h"
#include "frontends/sdk/peers.h"
#include "frontends/sdk/tls.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64
#define TURNS_AT_STOP 64 /* of accepting, for those that wait when we stop */
#define PAUSE_MS 100u
/* Descriptors that clients never get: the link, the log, a reload's files. */
#define FDS_KEPT 32u
/* What a connection costs at first, about. */
#define CONN_BYTES 4096u
#define TLS_CONN_BYTES (48u * 1024) /* during the handshake */

struct listener {
    struct frontend *fe;
    struct tls *tls; /* NULL: clients come unencrypted */
    listener_accept_fn on_accept;
    void *arg;
    struct slice refuse;
    struct event ev;
    struct loop_timer again;
    int fd;
    int spare_fd; /* -1 while it could not be opened again */
    bool is_added;
    bool is_passed; /* somebody else holds it too: it lives on when we close it */
    char address[LISTEN_TEXT_MAX];
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

    if (fe->n_conns >= fe->limits->connections) {
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
    if (memguard_take(fe->memory, l->tls != NULL ? TLS_CONN_BYTES : CONN_BYTES)) {
        log_warn("memory is nearly used up: clients are turned away");
        fe->counters.refused_memory++;
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
    fe->accepted_tls = l->tls;
    l->on_accept(fe, fd, peer, peer_n, l->arg);
    fe->accepted_tls = NULL;
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
        int client;

        if (l->tls != NULL && !tls_has_room(l->tls)) {
            l->fe->counters.tls_full++;
            log_warn("as many clients are about to agree upon TLS as tls.handshakes says: more wait");
            listener_pause(l);
            return;
        }
        client = accept4(fd, (struct sockaddr *)&peer, &peer_n, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0)
            listener_take(l, client, (const struct sockaddr *)&peer, peer_n);
        else if (!listener_may_go_on(l, errno))
            return;
    }
}

/* ---- Opening. ---- */

/* Passed by whoever started us, or opened here. */
static int
listener_get_socket(struct listener *l, const struct conf_address *address)
{
    if (l->fe->passed != NULL)
        l->fd = listen_passed_take(l->fe->passed, address);
    if (l->fd < 0)
        return listen_open(address, l->fe->shares_port, &l->fd);
    l->is_passed = true;
    l->fe->has_passed = true;
    return 0;
}

static void
listener_announce(struct listener *l, const struct conf_address *address)
{
    listen_describe(l->fd, address, l->address);
    log_notice("listening on %s%s%s", l->address, l->tls != NULL ? " for TLS" : "",
        l->is_passed ? " (a socket that was passed)" : "");
    if (l->tls != NULL)
        notify_listening_tls(l->address);
    else
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

static int
listener_new(struct frontend *fe, struct tls *tls, const char *address, struct slice refuse,
    listener_accept_fn on_accept, void *arg, struct listener **ret)
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
        .fe = fe, .tls = tls, .on_accept = on_accept, .arg = arg, .refuse = refuse, .fd = -1, .spare_fd = -1};
    l->again = (struct loop_timer){.fn = listener_on_again, .arg = l};
    r = listener_get_socket(l, &parsed);
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

int
listener_open(struct frontend *fe, const char *address, struct slice refuse, listener_accept_fn on_accept,
    void *arg, struct listener **ret)
{
    return listener_new(fe, NULL, address, refuse, on_accept, arg, ret);
}

int
listener_open_tls(
    struct frontend *fe, const char *address, listener_accept_fn on_accept, void *arg, struct listener **ret)
{
    return listener_new(fe, fe->tls, address, slice_str(""), on_accept, arg, ret);
}

struct listener *
listener_stop(struct listener *listener)
{
    if (listener == NULL)
        return NULL;
    /* What waits in a queue that is only ours would be reset with it. */
    for (int i = 0; i < TURNS_AT_STOP && !listener->is_passed && listener->is_added; i++) {
        struct pollfd waiting = {.fd = listener->fd, .events = POLLIN};

        if (poll(&waiting, 1, 0) <= 0)
            break;
        listener_on_readable(listener->fd, EV_READ, listener);
    }
    return listener_close(listener);
}

const char *
listener_address(const struct listener *listener)
{
    return listener->address;
}

int
listener_fd(const struct listener *listener)
{
    return listener->fd;
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

/* ---- Both kinds. ---- */

int
listeners_open(struct frontend *fe, const struct listeners_spec *spec, struct listeners *ret)
{
    int r = 0;

    *ret = (struct listeners){0};
    if (spec->listen->text == NULL && spec->tls->listen.text == NULL) {
        log_error("%s.listen and %s.tls.listen are empty: there is nothing to serve", fe->kind->name,
            fe->kind->name);
        return -EINVAL;
    }
    if (spec->tls->listen.text != NULL)
        r = tls_new(fe, spec->tls, spec->is_http, &fe->tls);
    if (r == 0 && spec->listen->text != NULL)
        r = listener_open(fe, spec->listen->text, spec->refuse, spec->on_accept, spec->arg, &ret->plain);
    if (r == 0 && spec->tls->listen.text != NULL)
        r = listener_open_tls(fe, spec->tls->listen.text, spec->on_accept, spec->arg, &ret->tls);
    if (r < 0)
        listeners_close(ret);
    return r;
}

void
listeners_stop(struct listeners *listeners)
{
    listeners->plain = listener_stop(listeners->plain);
    listeners->tls = listener_stop(listeners->tls);
}

void
listeners_close(struct listeners *listeners)
{
    listeners->plain = listener_close(listeners->plain);
    listeners->tls = listener_close(listeners->tls);
}
