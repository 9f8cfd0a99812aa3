/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process that `busbar up` runs: starting it so that it cannot outlive us, hearing its notifications, and
 * reading its end. When to start it again is supervise.c's business.
 */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct child_channel {
    int fd;        /* a datagram socket; -1 when closed */
    char name[64]; /* for $NOTIFY_SOCKET: @ and the name that the kernel chose */
};

/* A datagram's assignments that matter here. */
/* Listening sockets for a process: the plain one and the one for TLS; -1: none. */
#define CHILD_SOCKETS_MAX 2
struct child_sockets {
    int fds[CHILD_SOCKETS_MAX];
};
#define CHILD_NO_SOCKETS ((struct child_sockets){{-1, -1}})

/* Descriptors of one's own for the same sockets. 0, or negative errno and none. */
int child_sockets_copy(const struct child_sockets *from, struct child_sockets *ret);
void child_sockets_close(struct child_sockets *sockets);

struct child_news {
    bool is_ready;
    char listen[256]; /* "" if it did not say */
    char listen_tls[256];
    char status[256];
};

int child_channel_open(struct child_channel *ret);
void child_channel_close(struct child_channel *channel);

/* The next datagram of the process pid; those of others are dropped. 1 with *ret; 0: nothing more for now. */
int child_channel_read(struct child_channel *channel, pid_t pid, struct child_news *ret);

/* Starts argv[0] with the channel in its environment, in a process group of its own (Ctrl-C is for us to
 * handle), with stdin from /dev/null, and with SIGTERM to come if we die. The sockets are passed as
 * base/listen.h takes them; they stay ours too. 0 or negative errno. */
int child_spawn(
    char *const *argv, const struct child_channel *channel, const struct child_sockets *sockets, pid_t *ret);

/* "was killed by SIGSEGV", "ended with exit code 5". */
void child_describe_end(int wait_status, char *ret, size_t ret_size);

#endif
