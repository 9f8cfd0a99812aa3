/* SPDX-License-Identifier: Apache-2.0 */
/* How many connections come from each address (IPv4 address, IPv6 /64), for limits.connections_per_address.
 */
#ifndef SDK_PEERS_H
#define SDK_PEERS_H

#include <stdint.h>
#include <sys/socket.h>

struct peer;
struct peers;

int peers_new(struct peers **ret);
struct peers *peers_free(struct peers *peers); /* NULL is fine */

/* Counts one more connection from the address. 0; -EUSERS if there are n_max already; -ENOMEM; *ret is NULL
 * for an address that is not counted (no IP). */
int peers_enter(struct peers *peers, const struct sockaddr *address, uint64_t n_max, struct peer **ret);
/* One less; NULL is fine. */
void peers_leave(struct peers *peers, struct peer *peer);

#endif
