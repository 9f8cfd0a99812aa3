/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RECOVER: a replay directed at one client of a frontend. It is read from the store in pieces, while the link
 * takes them; a few run at a time for each link, in turn, the others wait. The last piece and RECOVERED are
 * put together, when nothing that was delivered is missing from it: so what follows on the link is exactly
 * what the client has not had. While the link itself is behind, recoveries wait, for its live stream is not
 * where they would join it.
 *
 *     mode 0   read since the cursor until nothing is left
 *     mode 1   the last `count` of each topic as they are now are noted (by reference) and replayed, then
 *              read on from there
 *     mode 2   the same with the retained values
 *     mode 3   as mode 1, but only those that were published at or after a time
 */
#ifndef BROKER_RECOVERY_H
#define BROKER_RECOVERY_H

struct frame;
struct peer;

int recovery_on_recover(struct peer *peer, const struct frame *f);
int recovery_on_cancel(struct peer *peer, const struct frame *f);

/* Goes on with the link's recoveries within the budget of a turn. */
void recovery_go_on(struct peer *peer);

/* The link is gone: frees those that do not wait for the store; the others follow when it answers. */
void recovery_drop_all(struct peer *peer);

#endif
