/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over nanomsg, and the only file that includes it. What nanomsg 1.1.5 does when it is used
 * otherwise is written beside each rule here; the rules are part of this file's contract, not taste:
 *
 *  - links are NN_PAIR, the control socket NN_REP and NN_REQ: the other patterns drop silently;
 *  - every call is NN_DONTWAIT: mixing in blocking calls confuses the readiness of the descriptors;
 *  - a message limit is finite on both ends (without one, a forged length aborts the process) and checked
 * before sending (the receiver would drop the connection, after nn_send() reported success);
 *  - the descriptors are level-triggered and never read or written (that aborts);
 *  - reconnecting by nanomsg is never relied on: a channel that has lost its peer is closed.
 *
 * Not here: fork. A process must fork before it opens its first channel; nanomsg's thread is not in the
 * child.
 */
#include "config.h"

#include "wire/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/reqrep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire/frame.h"

#define SCHEME "ipc://"
#define SOCKET_BUFFER (1024 * 1024)
#define CONTROL_MAX (64 * 1024) /* a HELLO is far smaller, and comes from anybody who may connect */

/* nanomsg aborts or hangs when it finds no descriptor left for its own use at its first socket. */
#define SPARE_FDS 8

/* One byte more than fits into sun_path and nanomsg aborts. */
#define PATH_LONGEST (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

struct channel {
    int s;
    int recv_fd, send_fd; /* nanomsg's; constant for the socket's life */
    size_t message_max;
};

static int
check_spare_fds(void)
{
    int fds[SPARE_FDS], n = 0, r = 0;

    while (n < SPARE_FDS && r == 0) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            r = -errno;
        else
            fds[n++] = fd;
    }
    while (n > 0)
        (void)close(fds[--n]);
    return r;
}

/* nn_bind() removes whatever it finds at its path and cannot connect to: a stale socket, which is right, and
 * a regular file, which is somebody's. So only nothing or a socket may stand there. A live one gives
 * -EADDRINUSE from nn_bind(). */
static int
check_bind_path(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISSOCK(st.st_mode) ? 0 : -EEXIST;
}

static int
set_option(int s, int level, int option, int value)
{
    return nn_setsockopt(s, level, option, &value, sizeof value) < 0 ? -nn_errno() : 0;
}

static int
get_fd(int s, int option, int *ret)
{
    size_t n = sizeof *ret;

    return nn_getsockopt(s, NN_SOL_SOCKET, option, ret, &n) < 0 ? -nn_errno() : 0;
}

static int
channel_setup(struct channel *c)
{
    int r;

    if ((r = set_option(c->s, NN_SOL_SOCKET, NN_RCVMAXSIZE, (int)c->message_max)) < 0)
        return r;
    /* These are the kernel's buffers, and the only ones that nanomsg has; they must be set before bind or
     * connect. */
    if ((r = set_option(c->s, NN_SOL_SOCKET, NN_SNDBUF, SOCKET_BUFFER)) < 0)
        return r;
    if ((r = set_option(c->s, NN_SOL_SOCKET, NN_RCVBUF, SOCKET_BUFFER)) < 0)
        return r;
    if ((r = get_fd(c->s, NN_RCVFD, &c->recv_fd)) < 0)
        return r;
    return get_fd(c->s, NN_SNDFD, &c->send_fd);
}

static int
channel_open(const char *path, int protocol, bool is_bound, struct channel **ret)
{
    char url[sizeof SCHEME + PATH_LONGEST];
    int r;

    if (strlen(path) > PATH_LONGEST || *path == '\0')
        return *path == '\0' ? -EINVAL : -ENAMETOOLONG;
    if ((r = check_spare_fds()) < 0)
        return r;
    if (is_bound && (r = check_bind_path(path)) < 0)
        return r;
    struct channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->message_max = protocol == NN_PAIR ? LINK_BATCH_MAX : CONTROL_MAX;
    c->recv_fd = c->send_fd = -1;
    c->s = nn_socket(AF_SP, protocol);
    if (c->s < 0) {
        r = -nn_errno();
        free(c);
        return r;
    }
    (void)snprintf(url, sizeof url, SCHEME "%s", path);
    r = channel_setup(c);
    if (r == 0 && (is_bound ? nn_bind(c->s, url) : nn_connect(c->s, url)) < 0)
        r = -nn_errno();
    if (r < 0) {
        (void)nn_close(c->s);
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

static int
nanomsg_serve(const char *path, struct channel **ret)
{
    return channel_open(path, NN_REP, true, ret);
}

static int
nanomsg_call(const char *path, struct channel **ret)
{
    return channel_open(path, NN_REQ, false, ret);
}

static int
nanomsg_bind(const char *path, struct channel **ret)
{
    return channel_open(path, NN_PAIR, true, ret);
}

static int
nanomsg_connect(const char *path, struct channel **ret)
{
    return channel_open(path, NN_PAIR, false, ret);
}

/* With NN_DONTWAIT nothing waits that a signal could interrupt, but the manual allows EINTR: it means "not
 * now". */
static int
transfer_error(void)
{
    int e = nn_errno();

    return e == EINTR || e == EAGAIN ? -EAGAIN : -e;
}

static int
nanomsg_send(struct channel *c, struct slice message)
{
    if (message.n > c->message_max)
        return -EMSGSIZE;
    return nn_send(c->s, message.p, message.n, NN_DONTWAIT) < 0 ? transfer_error() : 0;
}

static int
nanomsg_recv(struct channel *c, struct slice *ret)
{
    void *p = NULL;
    int n = nn_recv(c->s, &p, NN_MSG, NN_DONTWAIT);

    if (n < 0)
        return transfer_error();
    *ret = slice_of(p, (size_t)n);
    return 0;
}

static void
nanomsg_release(struct channel *c, struct slice message)
{
    (void)c;
    (void)nn_freemsg((void *)(uintptr_t)message.p);
}

static int
nanomsg_recv_fd(struct channel *c)
{
    return c->recv_fd;
}

static int
nanomsg_send_fd(struct channel *c)
{
    return c->send_fd;
}

/* A dead peer raises no event, but leaves this count within a millisecond. -1 (as a huge number) is an error.
 */
static bool
nanomsg_has_peer(struct channel *c)
{
    return (int64_t)nn_get_statistic(c->s, NN_STAT_CURRENT_CONNECTIONS) > 0;
}

static void
nanomsg_close(struct channel *c)
{
    if (c == NULL)
        return;
    while (nn_close(c->s) < 0 && nn_errno() == EINTR)
        continue;
    free(c);
}

const struct transport_ops transport_nanomsg = {
    .name = "nanomsg",
    .path_max = PATH_LONGEST,
    .serve = nanomsg_serve,
    .call = nanomsg_call,
    .bind = nanomsg_bind,
    .connect = nanomsg_connect,
    .send = nanomsg_send,
    .recv = nanomsg_recv,
    .release = nanomsg_release,
    .recv_fd = nanomsg_recv_fd,
    .send_fd = nanomsg_send_fd,
    .has_peer = nanomsg_has_peer,
    .close = nanomsg_close,
};
