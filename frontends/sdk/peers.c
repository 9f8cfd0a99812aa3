/* SPDX-License-Identifier: Apache-2.0 */
/* The table of addresses: an entry lives while anybody is connected from there. */
#include "config.h"

#include "frontends/sdk/peers.h"

#include "base/slice.h"
#include "base/table.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

/* An IPv4 address as it is mapped into IPv6, or the first 8 bytes of an IPv6 one and zeros. */
#define PEER_KEY_BYTES 16u
#define PEER_IPV6_BYTES 8u

struct peer {
    uint8_t key[PEER_KEY_BYTES];
    uint64_t n_conns; /* never 0 */
};

struct peers {
    struct table table;
};

static struct slice
peer_key(const void *value)
{
    const struct peer *peer = value;

    return slice_of(peer->key, sizeof peer->key);
}

int
peers_new(struct peers **ret)
{
    struct peers *peers = calloc(1, sizeof *peers);

    if (peers == NULL)
        return -ENOMEM;
    table_init(&peers->table, peer_key);
    *ret = peers;
    return 0;
}

struct peers *
peers_free(struct peers *peers)
{
    struct peer *peer;
    size_t pos = 0;

    if (peers == NULL)
        return NULL;
    while ((peer = table_next(&peers->table, &pos)) != NULL)
        free(peer);
    table_fini(&peers->table);
    free(peers);
    return NULL;
}

/* False for what has no IP address. */
static bool
peer_key_of(const struct sockaddr *address, uint8_t key[PEER_KEY_BYTES])
{
    memset(key, 0, PEER_KEY_BYTES);
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

        memset(key + 10, 0xff, 2);
        memcpy(key + 12, &in->sin_addr, 4);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;

        memcpy(
            key, &in6->sin6_addr, IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? PEER_KEY_BYTES : PEER_IPV6_BYTES);
        return true;
    }
    return false;
}

int
peers_enter(struct peers *peers, const struct sockaddr *address, uint64_t n_max, struct peer **ret)
{
    uint8_t key[PEER_KEY_BYTES];
    struct peer *peer;
    int r;

    if (!peer_key_of(address, key)) {
        *ret = NULL;
        return 0;
    }
    peer = table_find(&peers->table, slice_of(key, sizeof key));
    if (peer != NULL) {
        if (peer->n_conns >= n_max)
            return -EUSERS;
        peer->n_conns++;
        *ret = peer;
        return 0;
    }
    peer = malloc(sizeof *peer);
    if (peer == NULL)
        return -ENOMEM;
    memcpy(peer->key, key, sizeof key);
    peer->n_conns = 1;
    r = table_insert(&peers->table, peer);
    if (r < 0) {
        free(peer);
        return r;
    }
    *ret = peer;
    return 0;
}

void
peers_leave(struct peers *peers, struct peer *peer)
{
    if (peer == NULL || --peer->n_conns > 0)
        return;
    (void)table_remove(&peers->table, peer_key(peer));
    free(peer);
}
