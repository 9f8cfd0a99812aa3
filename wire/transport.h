/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a link needs of the thing that carries it: whole messages between two processes, with push-back.
 * nanomsg.c is the default and the only file that includes nanomsg; unix.c needs nothing but the kernel. All
 * calls are made in the loop's thread and none blocks.
 *
 * A channel is one endpoint: a control server (answers one request at a time), a control client (asks one),
 * or one end of a link, bound or connected.
 */
#ifndef WIRE_TRANSPORT_H
#define WIRE_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct channel;

struct transport_ops {
    const char *name;
    size_t path_max; /* the longest file path that open() takes, in bytes */

    /* Opens at a file path: server ends create it (and remove a stale socket there, never anything else),
     * client ends connect to it, perhaps later. 0 or negative errno. */
    int (*serve)(const char *path, struct channel **ret);   /* control, broker */
    int (*call)(const char *path, struct channel **ret);    /* control, frontend */
    int (*bind)(const char *path, struct channel **ret);    /* link, broker */
    int (*connect)(const char *path, struct channel **ret); /* link, frontend */

    /* Takes the message (copied) or leaves it: 0, -EAGAIN (wait for send_fd), -EMSGSIZE, another negative
     * errno: close. A message for a peer that has just gone may be taken and lost; recv() tells, afterwards.
     * On a control server it answers the request that recv() gave last, and an error is that asker's. */
    int (*send)(struct channel *c, struct slice message);
    /* 0 and a message, valid until release(); -EAGAIN; -ECONNRESET: the peer is gone and all that it sent was
     * given (a transport may also know it only by has_peer()); another negative errno: close.
     * -EPROTONOSUPPORT: the other end speaks another transport. On a control server an error concerns one
     * asker, who was dropped: -EPERM, one who may not connect; -EPROTO, a malformed length. */
    int (*recv)(struct channel *c, struct slice *ret);
    void (*release)(struct channel *c, struct slice message);

    /* Level-triggered readable means "recv (send) would work"; never read from it or write to it. recv()'s is
     * always watched: it may also be readable for work of the transport's own, and recv() then say -EAGAIN.
     */
    int (*recv_fd)(struct channel *c);
    int (*send_fd)(struct channel *c);

    /* A peer is connected as far as the transport knows (cheap: polled every 50 ms). */
    bool (*has_peer)(struct channel *c);

    /* Events on its descriptors must have been freed before. NULL is fine. */
    void (*close)(struct channel *c);
};

extern const struct transport_ops transport_nanomsg;
extern const struct transport_ops transport_unix;

/* By name: "nanomsg", "unix"; NULL if unknown. */
const struct transport_ops *transport_find(const char *name);

#endif
