/* SPDX-License-Identifier: Apache-2.0 */
/* SUBSCRIBE and UNSUBSCRIBE, and the end of all that a link held. */
#ifndef BROKER_SUBSCRIBE_H
#define BROKER_SUBSCRIBE_H

struct frame;
struct peer;

int subscribe_on_subscribe(struct peer *peer, const struct frame *f);
int subscribe_on_unsubscribe(struct peer *peer, const struct frame *f);
void subscribe_drop_peer(struct peer *peer);

#endif
