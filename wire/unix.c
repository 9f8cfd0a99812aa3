/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over plain AF_UNIX stream sockets. A message is its length, four bytes with the most
 * significant first, and its bytes; nothing else is ever sent. There is no thread, so what nanomsg's thread
 * does is done inside recv(): accepting, and writing out the rest of a message that the kernel took in part.
 *
 *     in_epoll   what recv_fd() gives: readable when the listener, the connection or what is left in our own
 *                buffer (more_fd) has something for recv(), or when a rest can be written
 *     out_epoll  what send_fd() gives: readable when the connection has room, or it is time to try to connect
 *
 * An epoll descriptor is itself pollable, and level-triggered here: so both keep their promise whatever is
 * behind them, and stay the same while a listener turns into a connection.
 *
 * A peer that vanishes is seen at once, by its descriptor. What it sent before is delivered, then recv() says
 * -ECONNRESET. What is sent to it meanwhile is taken and lost, as it would be if it had died a moment later:
 * so nobody gives the link up before the peer's last words were read.
 *
 * Who may connect: the file system says it (the socket's directory and mode), and for those who got the
 * socket in another way SO_PEERCRED must say the same: our user, root, or a member of the directory's group.
 */
#include "config.h"

#include "wire/transport.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "wire/frame.h"

#define PATH_LONGEST (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)
#define LENGTH_BYTES 4u
#define CONTROL_MAX (64u * 1024) /* as in nanomsg.c */
#define LINK_READ_AHEAD (64u * 1024)
#define CONTROL_READ_AHEAD 1024u
#define SOCKET_BUFFER (1024 * 1024) /* the kernel may allow less */

/* Connected to the control socket and not answered yet. One more, and the oldest is dropped: a frontend asks
 * at once, so who is here for long does not mean to. */
#define ASKERS_MAX 64u
#define EVENTS_PER_CALL 64

#define CONNECT_EVERY_MS 20
#define ACCEPT_AGAIN_MS 100 /* when there were no descriptors left */
#define GROUPS_MAX 256

/* How a nanomsg connection begins, read as a length. */
#define NANOMSG_GREETING 0x00535000u

/* What in_epoll says of an event: the index of an asker, or one of these. */
#define EVENT_LISTENER UINT32_MAX
#define EVENT_TIMER (UINT32_MAX - 1)

enum role { ROLE_SERVER, ROLE_CALL, ROLE_BIND, ROLE_CONNECT };

/* The receiving half of a connection. A message that is whole in the buffer is copied out of it; of a larger
 * one, the rest is read to where it belongs. */
struct stream {
    int fd; /* -1: none */
    uint8_t *in;
    size_t in_cap, in_at, in_n;
    uint8_t *message; /* the one that is being received; NULL: none. Then nothing is in the buffer */
    size_t message_n, message_got;
    bool is_drained; /* the last read took all there was: asking again would find nothing */
};

struct asker {
    struct stream stream;
    uint64_t number; /* the smaller, the older */
};

struct channel {
    enum role role;
    size_t message_max;
    char path[PATH_LONGEST + 1];
    int in_epoll, out_epoll;
    int listen_fd; /* a server's, and a bound link's until somebody has connected */
    dev_t dev;     /* of the file that listen_fd made */
    ino_t ino;
    gid_t group;          /* of the directory that it is in */
    int timer_fd;         /* until there is a connection (call, connect); for accepting again (server) */
    int more_fd;          /* an eventfd that is always readable: in_epoll looks at it while is_more */
    bool is_more;         /* a whole message waits in the stream's buffer */
    bool is_gone;         /* the peer */
    struct stream stream; /* of all but a server */
    struct buf out;       /* a server has none; else the rest of a message that was taken, from out_at */
    size_t out_at;
    struct asker *askers; /* a server's, ASKERS_MAX of them; fd -1: free */
    uint64_t n_askers;    /* that ever came */
    struct asker *asking; /* whose request recv() gave, until send() */
};

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static int
watch(int epoll, int op, int fd, uint32_t events, uint32_t data)
{
    struct epoll_event event = {.events = events, .data.u32 = data};

    return epoll_ctl(epoll, op, fd, &event) < 0 ? -errno : 0;
}

/* ---- Receiving a stream. ---- */

static int
stream_open(struct stream *s, int fd, size_t read_ahead)
{
    s->in = malloc(read_ahead);
    if (s->in == NULL)
        return -ENOMEM;
    s->in_cap = read_ahead;
    s->in_at = s->in_n = 0;
    s->is_drained = false;
    s->fd = fd;
    return 0;
}

static void
stream_close(struct stream *s)
{
    close_fd(&s->fd);
    free(s->in);
    free(s->message);
    s->in = s->message = NULL;
}

static uint32_t
stream_length(const struct stream *s)
{
    const uint8_t *p = s->in + s->in_at;

    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Whether stream_take() has something to say before anything more is read. */
static bool
stream_has_more(const struct stream *s, size_t max)
{
    size_t n = s->in_n - s->in_at;

    if (n < LENGTH_BYTES)
        return false;
    size_t length = stream_length(s);
    return length > max || n - LENGTH_BYTES >= length;
}

/* 0 and a message, which is the caller's to free(); -EAGAIN: more must be read. */
static int
stream_take(struct stream *s, size_t max, struct slice *ret)
{
    if (s->message == NULL) {
        size_t here = s->in_n - s->in_at;
        if (here < LENGTH_BYTES)
            return -EAGAIN;
        size_t length = stream_length(s);
        if (length > max)
            return length == NANOMSG_GREETING ? -EPROTONOSUPPORT : -EPROTO;
        s->message = malloc(length > 0 ? length : 1);
        if (s->message == NULL)
            return -ENOMEM;
        here -= LENGTH_BYTES;
        s->message_n = length;
        s->message_got = here < length ? here : length;
        memcpy(s->message, s->in + s->in_at + LENGTH_BYTES, s->message_got);
        s->in_at += LENGTH_BYTES + s->message_got;
    }
    if (s->message_got < s->message_n)
        return -EAGAIN;
    *ret = slice_of(s->message, s->message_n);
    s->message = NULL; /* now the caller's */
    return 0;
}

/* One read: 0, -EAGAIN, -ECONNRESET at the end. */
static int
stream_fill(struct stream *s)
{
    struct iovec iov[2];
    int n_iov = 0;
    size_t rest = s->message == NULL ? 0 : s->message_n - s->message_got, room;

    if (s->is_drained) {
        s->is_drained = false;
        return -EAGAIN;
    }
    memmove(s->in, s->in + s->in_at, s->in_n - s->in_at); /* fewer than LENGTH_BYTES */
    s->in_n -= s->in_at;
    s->in_at = 0;
    room = s->in_cap - s->in_n;
    if (rest > 0)
        iov[n_iov++] = (struct iovec){s->message + s->message_got, rest};
    iov[n_iov++] = (struct iovec){s->in + s->in_n, room};
    ssize_t n = readv(s->fd, iov, n_iov);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
    if (n == 0)
        return -ECONNRESET;
    s->is_drained = (size_t)n < rest + room;
    size_t to_message = (size_t)n < rest ? (size_t)n : rest;
    s->message_got += to_message;
    s->in_n += (size_t)n - to_message;
    return 0;
}

static int
stream_recv(struct stream *s, size_t max, struct slice *ret)
{
    int r;

    while ((r = stream_take(s, max, ret)) == -EAGAIN)
        if ((r = stream_fill(s)) < 0)
            return r;
    return r;
}

/* ---- Who may connect. ---- */

static int
read_group(const char *path, gid_t *ret)
{
    char dir[PATH_LONGEST + 1];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    struct stat st;

    memcpy(dir, path, n);
    dir[n] = '\0';
    if (stat(slash == NULL ? "." : n == 0 ? "/" : dir, &st) < 0)
        return -errno;
    *ret = st.st_gid;
    return 0;
}

static int
check_peer(int fd, gid_t group)
{
    struct ucred cred;
    gid_t groups[GROUPS_MAX];
    socklen_t n = sizeof cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
        return -errno;
    if (cred.uid == geteuid() || cred.uid == 0 || cred.gid == group)
        return 0;
    n = sizeof groups;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n) < 0)
        return -EPERM; /* also more of them than we look at */
    for (size_t i = 0; i < n / sizeof groups[0]; i++)
        if (groups[i] == group)
            return 0;
    return -EPERM;
}

/* *ret_fd, -EAGAIN if nobody is there, -EPERM if somebody was who may not. */
static int
accept_peer(struct channel *c, int *ret_fd)
{
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), r;

    if (fd < 0)
        return errno == EINTR || errno == ECONNABORTED ? -EAGAIN : -errno;
    r = check_peer(fd, c->group);
    if (r < 0)
        (void)close(fd);
    else
        *ret_fd = fd;
    return r;
}

/* ---- Opening. ---- */

static socklen_t
address_of(const char *path, struct sockaddr_un *ret)
{
    size_t n = strlen(path); /* at most PATH_LONGEST */

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, path, n);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
}

/* *ret_fd, or negative errno; -EAGAIN if it is worth trying again. */
static int
connect_path(const char *path, int *ret_fd)
{
    struct sockaddr_un address;
    socklen_t n = address_of(path, &address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, n) < 0) {
        int e = errno;
        (void)close(fd);
        return e == ENOENT || e == EINTR || e == EINPROGRESS ? -EAGAIN : -e;
    }
    *ret_fd = fd;
    return 0;
}

/* Removes a socket that nobody serves any more, and nothing else. */
static int
clear_path(const char *path)
{
    struct stat st;
    int fd = -1, r;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    r = connect_path(path, &fd);
    close_fd(&fd);
    if (r == -ECONNREFUSED)
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
    return r == 0 || r == -EAGAIN || r == -EPROTOTYPE ? -EADDRINUSE : r;
}

static int
channel_listen(struct channel *c)
{
    struct sockaddr_un address;
    struct stat st;
    socklen_t n = address_of(c->path, &address);
    int r = clear_path(c->path);

    if (r == 0)
        r = read_group(c->path, &c->group);
    if (r < 0)
        return r;
    c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->listen_fd < 0)
        return -errno;
    if (bind(c->listen_fd, (struct sockaddr *)&address, n) < 0) {
        r = -errno;
        close_fd(&c->listen_fd);
        return r;
    }
    if (lstat(c->path, &st) < 0)
        return -errno;
    c->dev = st.st_dev;
    c->ino = st.st_ino;
    if (listen(c->listen_fd, c->role == ROLE_SERVER ? SOMAXCONN : 1) < 0)
        return -errno;
    return watch(c->in_epoll, EPOLL_CTL_ADD, c->listen_fd, EPOLLIN, EVENT_LISTENER);
}

static void
channel_stop_listening(struct channel *c)
{
    struct stat st;

    if (c->listen_fd < 0)
        return;
    if (lstat(c->path, &st) == 0 && st.st_ino == c->ino && st.st_dev == c->dev)
        (void)unlink(c->path);
    close_fd(&c->listen_fd);
}

/* The connection stands; takes the descriptor over. */
static int
channel_take_connection(struct channel *c, int fd)
{
    bool is_link = c->role == ROLE_BIND || c->role == ROLE_CONNECT;
    int size = SOCKET_BUFFER;
    int r = stream_open(&c->stream, fd, is_link ? LINK_READ_AHEAD : CONTROL_READ_AHEAD);

    if (r < 0) {
        (void)close(fd);
        return r;
    }
    if (is_link)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* what we get is fine */
    close_fd(&c->timer_fd);
    r = watch(c->in_epoll, EPOLL_CTL_ADD, fd, EPOLLIN, 0);
    if (r == 0)
        r = watch(c->out_epoll, EPOLL_CTL_ADD, fd, EPOLLOUT, 0);
    return r;
}

static int
timer_start(int fd, int ms)
{
    struct itimerspec when = {.it_value = {.tv_nsec = ms * 1000000L}};

    return timerfd_settime(fd, 0, &when, NULL) < 0 ? -errno : 0; /* also takes back that it is readable */
}

/* -EAGAIN: nobody is there yet, and send_fd() says when to try again. */
static int
channel_connect(struct channel *c)
{
    int fd, r = connect_path(c->path, &fd);

    if (r == 0)
        return channel_take_connection(c, fd);
    if (r != -EAGAIN && r != -ECONNREFUSED) /* refused: a stale socket, which its server will replace */
        return r;
    r = timer_start(c->timer_fd, CONNECT_EVERY_MS);
    return r < 0 ? r : -EAGAIN;
}

static int
channel_start(struct channel *c)
{
    int r = 0;

    if ((c->in_epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 || (c->out_epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        return -errno;
    if (c->role != ROLE_SERVER) {
        if ((c->more_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
            return -errno;
        r = watch(c->in_epoll, EPOLL_CTL_ADD, c->more_fd, 0, 0);
    } else if ((c->askers = calloc(ASKERS_MAX, sizeof *c->askers)) == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; c->askers != NULL && i < ASKERS_MAX; i++)
        c->askers[i].stream.fd = -1;
    if (r == 0 && c->role != ROLE_BIND) {
        if ((c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0)
            return -errno;
        r = watch(c->role == ROLE_SERVER ? c->in_epoll : c->out_epoll, EPOLL_CTL_ADD, c->timer_fd, EPOLLIN,
            EVENT_TIMER);
    }
    if (r < 0)
        return r;
    if (c->role == ROLE_SERVER || c->role == ROLE_BIND)
        return channel_listen(c);
    r = channel_connect(c);
    return r == -EAGAIN ? 0 : r;
}

static void
unix_close(struct channel *c)
{
    if (c == NULL)
        return;
    channel_stop_listening(c);
    for (size_t i = 0; c->askers != NULL && i < ASKERS_MAX; i++)
        stream_close(&c->askers[i].stream);
    free(c->askers);
    stream_close(&c->stream);
    close_fd(&c->timer_fd);
    close_fd(&c->more_fd);
    close_fd(&c->in_epoll);
    close_fd(&c->out_epoll);
    buf_fini(&c->out);
    free(c);
}

static int
channel_open(const char *path, enum role role, struct channel **ret)
{
    size_t n = strlen(path);

    if (n > PATH_LONGEST || n == 0)
        return n == 0 ? -EINVAL : -ENAMETOOLONG;
    struct channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->role = role;
    c->message_max = role == ROLE_BIND || role == ROLE_CONNECT ? LINK_BATCH_MAX : CONTROL_MAX;
    memcpy(c->path, path, n + 1);
    c->in_epoll = c->out_epoll = c->listen_fd = c->timer_fd = c->more_fd = c->stream.fd = -1;
    buf_init(&c->out, c->message_max + LENGTH_BYTES);
    int r = channel_start(c);
    if (r < 0) {
        unix_close(c);
        return r;
    }
    *ret = c;
    return 0;
}

static int
unix_serve(const char *path, struct channel **ret)
{
    return channel_open(path, ROLE_SERVER, ret);
}

static int
unix_call(const char *path, struct channel **ret)
{
    return channel_open(path, ROLE_CALL, ret);
}

static int
unix_bind(const char *path, struct channel **ret)
{
    return channel_open(path, ROLE_BIND, ret);
}

static int
unix_connect(const char *path, struct channel **ret)
{
    return channel_open(path, ROLE_CONNECT, ret);
}

/* ---- Sending. ---- */

/* How many bytes were written, or negative errno. */
static ssize_t
send_vector(int fd, struct iovec *iov, size_t n_iov)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};
    ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : errno == EPIPE ? -ECONNRESET : -errno;
}

static ssize_t
send_message(int fd, struct slice message, uint8_t length[LENGTH_BYTES])
{
    struct iovec iov[2] = {{length, LENGTH_BYTES}, {(void *)(uintptr_t)message.p, message.n}};

    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        length[i] = (uint8_t)(message.n >> (8 * (LENGTH_BYTES - 1 - i)));
    return send_vector(fd, iov, 2);
}

/* While there is a rest, room for it wakes up recv(), which is always waited for. */
static int
channel_watch_rest(struct channel *c, bool has_rest)
{
    return watch(c->in_epoll, EPOLL_CTL_MOD, c->stream.fd, has_rest ? EPOLLIN | EPOLLOUT : EPOLLIN, 0);
}

/* 0 if there is no rest any more. */
static int
channel_flush(struct channel *c)
{
    if (c->out.n == 0 || c->is_gone)
        return 0;
    struct iovec iov = {c->out.p + c->out_at, c->out.n - c->out_at};
    ssize_t n = send_vector(c->stream.fd, &iov, 1);
    if (n == -ECONNRESET)
        c->is_gone = true;
    else if (n < 0)
        return (int)n;
    else if ((c->out_at += (size_t)n) < c->out.n)
        return -EAGAIN;
    c->out_at = 0;
    buf_fini(&c->out); /* it is rare that there is one */
    return channel_watch_rest(c, false);
}

static int
channel_keep_rest(struct channel *c, const uint8_t *length, struct slice message, size_t sent)
{
    size_t of_length = sent < LENGTH_BYTES ? sent : LENGTH_BYTES;

    buf_put(&c->out, length + of_length, LENGTH_BYTES - of_length);
    buf_put(&c->out, message.p + (sent - of_length), message.n - (sent - of_length));
    return buf_failed(&c->out) ? -ENOMEM : channel_watch_rest(c, true);
}

/* The answer fits into the kernel's buffer, or its asker is one of a strange kind. */
static int
server_send(struct channel *c, struct slice message)
{
    uint8_t length[LENGTH_BYTES];

    if (c->asking == NULL)
        return -ENOTCONN;
    ssize_t n = send_message(c->asking->stream.fd, message, length);
    stream_close(&c->asking->stream); /* what was written stays readable */
    c->asking = NULL;
    return n < 0 ? (int)n : (size_t)n < LENGTH_BYTES + message.n ? -EMSGSIZE : 0;
}

static int
unix_send(struct channel *c, struct slice message)
{
    uint8_t length[LENGTH_BYTES];
    int r;

    if (message.n > c->message_max)
        return -EMSGSIZE;
    if (c->role == ROLE_SERVER)
        return server_send(c, message);
    if (c->stream.fd < 0) {
        r = c->role == ROLE_BIND ? -EAGAIN : channel_connect(c);
        if (r < 0)
            return r;
    }
    r = channel_flush(c);
    if (r < 0 || c->is_gone)
        return r;
    ssize_t n = send_message(c->stream.fd, message, length);
    if (n == -ECONNRESET) {
        c->is_gone = true;
        return 0;
    }
    if (n < 0)
        return (int)n;
    return (size_t)n == LENGTH_BYTES + message.n ? 0 : channel_keep_rest(c, length, message, (size_t)n);
}

/* ---- Receiving. ---- */

static int
server_add_asker(struct channel *c)
{
    struct asker *asker = &c->askers[0];
    int fd, r = accept_peer(c, &fd);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ASKERS_MAX && asker->stream.fd >= 0; i++)
        if (c->askers[i].stream.fd < 0 || c->askers[i].number < asker->number)
            asker = &c->askers[i];
    stream_close(&asker->stream);
    r = stream_open(&asker->stream, fd, CONTROL_READ_AHEAD);
    if (r < 0) {
        (void)close(fd);
        return r;
    }
    asker->number = ++c->n_askers;
    r = watch(c->in_epoll, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)(asker - c->askers));
    if (r < 0)
        stream_close(&asker->stream);
    return r;
}

static int
server_on_listener(struct channel *c)
{
    int r = server_add_asker(c);

    if (r == 0 || r == -EAGAIN || r == -EPERM)
        return r;
    /* No descriptor or no memory: who waits there would keep us busy. */
    int error = r;
    r = watch(c->in_epoll, EPOLL_CTL_MOD, c->listen_fd, 0, EVENT_LISTENER);
    if (r == 0)
        r = timer_start(c->timer_fd, ACCEPT_AGAIN_MS);
    return r < 0 ? r : error;
}

static int
server_on_timer(struct channel *c)
{
    uint64_t n;

    (void)!read(c->timer_fd, &n, sizeof n);
    return watch(c->in_epoll, EPOLL_CTL_MOD, c->listen_fd, EPOLLIN, EVENT_LISTENER);
}

/* An error is one asker's, who is gone already. */
static int
server_recv(struct channel *c, struct slice *ret)
{
    struct epoll_event event;

    if (c->asking != NULL)
        stream_close(&c->asking->stream); /* it was not answered */
    c->asking = NULL;
    for (int i = 0; i < EVENTS_PER_CALL && epoll_wait(c->in_epoll, &event, 1, 0) > 0; i++) {
        int r;
        if (event.data.u32 == EVENT_LISTENER) {
            r = server_on_listener(c);
        } else if (event.data.u32 == EVENT_TIMER) {
            r = server_on_timer(c);
        } else {
            struct asker *asker = &c->askers[event.data.u32];
            r = stream_recv(&asker->stream, c->message_max, ret);
            if (r == 0) {
                c->asking = asker;
                return 0;
            }
            if (r != -EAGAIN)
                stream_close(&asker->stream);
        }
        if (r < 0 && r != -EAGAIN && r != -ECONNRESET)
            return r;
    }
    return -EAGAIN;
}

/* Somebody connects to a bound link: nobody else can, from now on. */
static int
channel_accept(struct channel *c)
{
    int fd, r = accept_peer(c, &fd);

    if (r < 0)
        return r == -EPERM ? -EAGAIN : r;
    channel_stop_listening(c);
    return channel_take_connection(c, fd);
}

static int
channel_recv(struct channel *c, struct slice *ret)
{
    int r = channel_flush(c);

    if (r < 0 && r != -EAGAIN)
        return r;
    r = stream_recv(&c->stream, c->message_max, ret);
    bool is_more = r == 0 && stream_has_more(&c->stream, c->message_max);
    if (is_more != c->is_more) {
        int e = watch(c->in_epoll, EPOLL_CTL_MOD, c->more_fd, is_more ? EPOLLIN : 0, 0);
        if (e < 0 && r == 0)
            free((void *)(uintptr_t)ret->p);
        if (e < 0)
            return e;
        c->is_more = is_more;
    }
    if (r == -ECONNRESET)
        c->is_gone = true;
    return r;
}

static int
unix_recv(struct channel *c, struct slice *ret)
{
    if (c->role == ROLE_SERVER)
        return server_recv(c, ret);
    if (c->stream.fd < 0) {
        int r = c->role == ROLE_BIND ? channel_accept(c) : -EAGAIN;
        if (r < 0)
            return r;
    }
    return channel_recv(c, ret);
}

static void
unix_release(struct channel *c, struct slice message)
{
    (void)c;
    free((void *)(uintptr_t)message.p);
}

static int
unix_recv_fd(struct channel *c)
{
    return c->in_epoll;
}

static int
unix_send_fd(struct channel *c)
{
    return c->out_epoll;
}

static bool
unix_has_peer(struct channel *c)
{
    return c->stream.fd >= 0 && !c->is_gone;
}

const struct transport_ops transport_unix = {
    .name = "unix",
    .path_max = PATH_LONGEST,
    .serve = unix_serve,
    .call = unix_call,
    .bind = unix_bind,
    .connect = unix_connect,
    .send = unix_send,
    .recv = unix_recv,
    .release = unix_release,
    .recv_fd = unix_recv_fd,
    .send_fd = unix_send_fd,
    .has_peer = unix_has_peer,
    .close = unix_close,
};
