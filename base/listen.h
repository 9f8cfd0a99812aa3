/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets of this process: opened here, or by whoever started it and passed on (the convention of
 * sd_listen_fds(3): $LISTEN_PID, $LISTEN_FDS, descriptors from 3). A passed socket outlives the process:
 * while nobody accepts, connections wait in its queue instead of being refused.
 *
 * `busbar up` passes one to each frontend; systemd's socket units pass theirs to either in the same way.
 */
#ifndef BASE_LISTEN_H
#define BASE_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

struct conf_address;

#define LISTEN_FIRST_FD 3
#define LISTEN_PASSED_MAX 64u
#define LISTEN_TEXT_MAX 80u

/* The first of the host's addresses that can be listened on, non-blocking and close-on-exec. shares_port:
 * others that say so too may listen on the same. 0 or negative errno. */
int listen_open(const struct conf_address *address, bool shares_port, int *ret_fd);

/* Where it really listens, a port of 0 filled in: "127.0.0.1:40123", "*:8080". */
void listen_describe(int fd, const struct conf_address *address, char ret[LISTEN_TEXT_MAX]);

/* Sockets that were passed to this process and that nobody has taken yet. */
struct listen_passed {
    int fds[LISTEN_PASSED_MAX]; /* -1: taken */
    unsigned n;
};

/* Once, at the start of the process: it forgets the variables, so that no child believes them. */
void listen_passed_init(struct listen_passed *passed);
/* One that is bound to this address (port 0: to any port of it) and listens, or -1. It is the caller's now.
 */
int listen_passed_take(struct listen_passed *passed, const struct conf_address *address);
/* Closes those that are left; returns how many. */
unsigned listen_passed_fini(struct listen_passed *passed);

#endif
