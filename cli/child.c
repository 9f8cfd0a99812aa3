/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of the bus, one at a time. */
#include "config.h"

#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/listen.h"

int
child_channel_open(struct child_channel *ret)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t n = sizeof addr;
    int on = 1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    /* Only the family: the kernel picks a free abstract name. Anybody may send there, so each datagram's
     * sender is checked. */
    if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&addr, sizeof(sa_family_t)) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &n) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    size_t n_name = n - offsetof(struct sockaddr_un, sun_path);
    if (n_name < 2 || n_name >= sizeof ret->name) {
        (void)close(fd);
        return -EPROTO;
    }
    ret->fd = fd;
    memcpy(ret->name, addr.sun_path, n_name);
    ret->name[0] = '@';
    ret->name[n_name] = '\0';
    return 0;
}

void
child_channel_close(struct child_channel *channel)
{
    if (channel->fd >= 0)
        (void)close(channel->fd);
    channel->fd = -1;
}

static pid_t
sender_of(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred cred;
            memcpy(&cred, CMSG_DATA(c), sizeof cred);
            return cred.pid;
        }
    }
    return -1;
}

static void
read_assignments(char *text, struct child_news *ret)
{
    *ret = (struct child_news){0};
    for (char *line; (line = strsep(&text, "\n")) != NULL;) {
        if (strcmp(line, "READY=1") == 0)
            ret->is_ready = true;
        else if (strncmp(line, "X_BUSBAR_LISTEN=", 16) == 0)
            (void)snprintf(ret->listen, sizeof ret->listen, "%s", line + 16);
        else if (strncmp(line, "X_BUSBAR_LISTEN_TLS=", 20) == 0)
            (void)snprintf(ret->listen_tls, sizeof ret->listen_tls, "%s", line + 20);
        else if (strncmp(line, "STATUS=", 7) == 0)
            (void)snprintf(ret->status, sizeof ret->status, "%s", line + 7);
    }
}

int
child_channel_read(struct child_channel *channel, pid_t pid, struct child_news *ret)
{
    char text[1024];
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;

    for (int budget = 16; channel->fd >= 0 && budget > 0; budget--) {
        struct iovec iov = {.iov_base = text, .iov_len = sizeof text - 1};
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(channel->fd, &msg, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return 0;
        if (sender_of(&msg) != pid)
            continue;
        text[n] = '\0';
        read_assignments(text, ret);
        return 1;
    }
    return 0;
}

/* Over the zeros that are there. */
static void
write_pid(char *text, pid_t pid)
{
    char digits[16];
    size_t n = 0;

    for (; pid > 0 && n < sizeof digits; pid /= 10)
        digits[n++] = (char)('0' + pid % 10);
    for (size_t i = 0; i < n; i++)
        text[i] = digits[n - 1 - i];
    text[n] = '\0';
}

/* As descriptors from LISTEN_FIRST_FD on: first out of the way of one another. Returns how many. */
static int
child_take_sockets(const struct child_sockets *sockets)
{
    int moved[CHILD_SOCKETS_MAX], n = 0;

    for (unsigned i = 0; i < CHILD_SOCKETS_MAX; i++) {
        if (sockets->fds[i] < 0)
            continue;
        moved[n] = fcntl(sockets->fds[i], F_DUPFD, LISTEN_FIRST_FD + CHILD_SOCKETS_MAX);
        if (moved[n++] < 0)
            _exit(127);
    }
    for (int i = 0; i < n; i++)
        if (dup2(moved[i], LISTEN_FIRST_FD + i) < 0)
            _exit(127);
    return n;
}

/* In the new process, between fork and exec: only what is safe there. Ends with exec or _exit(). */
static void
child_become(char *const *argv, pid_t parent, const struct child_sockets *sockets, char *listen_pid,
    const sigset_t *mask)
{
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL); /* not all can be set: that is fine */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    int null = open("/dev/null", O_RDONLY);
    if (null > 0)
        (void)dup2(null, STDIN_FILENO);
    int n = child_take_sockets(sockets);
    (void)close_range((unsigned)(LISTEN_FIRST_FD + n), ~0u, 0);
    if (n > 0)
        write_pid(listen_pid, getpid());
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    (void)execv(argv[0], argv);
    _exit(127);
}

static void
clear_environment(void)
{
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
}

static int
set_environment(const struct child_channel *channel, const struct child_sockets *sockets)
{
    char n_text[2] = "0";

    for (unsigned i = 0; i < CHILD_SOCKETS_MAX; i++)
        n_text[0] = (char)(n_text[0] + (sockets->fds[i] >= 0));
    /* As many zeros as a pid may have digits. */
    if (setenv("NOTIFY_SOCKET", channel->name, 1) == 0 &&
        (n_text[0] == '0' ||
            (setenv("LISTEN_FDS", n_text, 1) == 0 && setenv("LISTEN_PID", "000000000000", 1) == 0)))
        return 0;
    int r = -errno;
    clear_environment();
    return r;
}

int
child_spawn(
    char *const *argv, const struct child_channel *channel, const struct child_sockets *sockets, pid_t *ret)
{
    sigset_t all, before;
    pid_t parent = getpid();
    int r = set_environment(channel, sockets);

    if (r < 0)
        return r;
    char *listen_pid = getenv("LISTEN_PID");
    /* No signal may run our handlers in the new process while it still shares our event loop's pipe. */
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    r = pid < 0 ? -errno : 0;
    if (pid == 0)
        child_become(argv, parent, sockets, listen_pid, &before);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    clear_environment();
    if (r == 0)
        *ret = pid;
    return r;
}

void
child_describe_end(int wait_status, char *ret, size_t ret_size)
{
    if (WIFSIGNALED(wait_status)) {
        const char *name = sigabbrev_np(WTERMSIG(wait_status));
        if (name != NULL)
            (void)snprintf(ret, ret_size, "was killed by SIG%s", name);
        else
            (void)snprintf(ret, ret_size, "was killed by signal %d", WTERMSIG(wait_status));
    } else if (WEXITSTATUS(wait_status) == 127) {
        (void)snprintf(ret, ret_size, "could not be run");
    } else {
        (void)snprintf(ret, ret_size, "ended with exit code %d", WEXITSTATUS(wait_status));
    }
}

int
child_sockets_copy(const struct child_sockets *from, struct child_sockets *ret)
{
    struct child_sockets copy = CHILD_NO_SOCKETS;

    for (unsigned i = 0; i < CHILD_SOCKETS_MAX; i++) {
        if (from->fds[i] < 0)
            continue;
        copy.fds[i] = fcntl(from->fds[i], F_DUPFD_CLOEXEC, 0);
        if (copy.fds[i] < 0) {
            int r = -errno;
            child_sockets_close(&copy);
            return r;
        }
    }
    *ret = copy;
    return 0;
}

void
child_sockets_close(struct child_sockets *sockets)
{
    for (unsigned i = 0; i < CHILD_SOCKETS_MAX; i++) {
        if (sockets->fds[i] >= 0)
            (void)close(sockets->fds[i]);
        sockets->fds[i] = -1;
    }
}
