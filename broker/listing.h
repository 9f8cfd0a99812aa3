/* SPDX-License-Identifier: Apache-2.0 */
/* LIST: which topics match, in the order of their names. */
#ifndef BROKER_LISTING_H
#define BROKER_LISTING_H

struct broker;
struct frame;
struct peer;

/* So many of one link may wait; our frontends ask for fewer at once. */
#define PEER_LISTINGS_MAX 1024u

int listing_on_list(struct peer *peer, const struct frame *f);
/* broker->listing_hook: a share of the work. */
void listing_on_turn(void *broker);
/* A link has read some of its answers. */
void listing_go_on(struct broker *broker);
/* The link is gone. */
void listing_drop_all(struct peer *peer);

#endif
