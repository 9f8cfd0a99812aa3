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
struct child_news {
    bool is_ready;
    char listen[256]; /* "" if it did not say */
    char status[256];
};

int child_channel_open(struct child_channel *ret);
void child_channel_close(struct child_channel *channel);

/* The next datagram of the process pid; those of others are dropped. 1 with *ret; 0: nothing more for now. */
int child_channel_read(struct child_channel *channel, pid_t pid, struct child_news *ret);

/* Starts argv[0] with the channel in its environment, in a process group of its own (Ctrl-C is for us to
 * handle), with stdin from /dev/null, and with SIGTERM to come if we die. listen_fd, if not -1, is passed as
 * base/listen.h takes it; it stays ours too. 0 or negative errno. */
int child_spawn(char *const *argv, const struct child_channel *channel, int listen_fd, pid_t *ret);

/* "was killed by SIGSEGV", "ended with exit code 5". */
void child_describe_end(int wait_status, char *ret, size_t ret_size);

#endif
