/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's figures as topics: $sys/broker, $sys/links/NAME for each link, and $sys/frontends/NAME, which
 * is what that frontend says of itself (STATS). JSON, retained, without history.
 */
#ifndef BROKER_SYS_H
#define BROKER_SYS_H

struct broker;
struct frame;
struct peer;

/* Publishes now and every broker.sys_interval from now on. */
void sys_start(struct broker *broker);
void sys_stop(struct broker *broker);

int sys_on_stats(struct peer *peer, const struct frame *f);
/* The link is gone: its values are cleared. */
void sys_forget_peer(struct peer *peer);

#endif
