/* SPDX-License-Identifier: Apache-2.0 */
/* What each frame of a frontend means: one table of handlers. */
#ifndef BROKER_ROUTER_H
#define BROKER_ROUTER_H

struct frame;
struct peer;

/* 0, or negative errno: the link is to be dropped, and the log says why. */
int router_dispatch(struct peer *peer, const struct frame *f);

#endif
