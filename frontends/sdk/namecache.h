/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers that stand for topics in PUBLISH on the present link. A topic's name crosses once; when all
 * numbers are in use, the one that was used longest ago is given to another topic.
 */
#ifndef SDK_NAMECACHE_H
#define SDK_NAMECACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "base/table.h"

struct namecache_entry;

struct namecache {
    struct table table; /* of struct namecache_entry, by topic */
    struct list used;   /* the longest ago first */
    uint64_t n_max;
    uint64_t missed; /* the hash of what namecache_find() did not find the last time */
    uint64_t link;   /* counts links: a name that was sent on another one is sent again */
};

void namecache_init(struct namecache *c, uint64_t n_max);
void namecache_fini(struct namecache *c);
/* On a new link nothing has been named. */
void namecache_renew(struct namecache *c);
/* The topic's entry, as of one that is used now; NULL if it is not known. Good until the next call. */
struct namecache_entry *namecache_find(struct namecache *c, struct slice topic);
/* A new one, of the topic that was not found just now. NULL if memory ran out. */
struct namecache_entry *namecache_add(struct namecache *c, struct slice topic);
/* The topic's number; *ret_is_new: NAME must be sent before it is used. */
uint64_t namecache_use(struct namecache *c, struct namecache_entry *e, bool *ret_is_new);

#endif
