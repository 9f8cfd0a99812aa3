/* SPDX-License-Identifier: Apache-2.0 */
/* LIST: which topics match, in the order of their names. */
#ifndef BROKER_LISTING_H
#define BROKER_LISTING_H

struct frame;
struct peer;

int listing_on_list(struct peer *peer, const struct frame *f);

#endif
