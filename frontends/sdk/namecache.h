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

struct namecache {
    struct table table; /* of struct namecache_entry, by topic */
    struct list used;   /* the longest ago first */
    uint64_t n_max;
    uint64_t link; /* counts links: a name that was sent on another one is sent again */
};

void namecache_init(struct namecache *c, uint64_t n_max);
void namecache_fini(struct namecache *c);
/* On a new link nothing has been named. */
void namecache_renew(struct namecache *c);
/* Whether the topic is known: then it is as one that was used just now. */
bool namecache_touch(struct namecache *c, struct slice topic);
/* 0 and the topic's number; *ret_is_new: NAME must be sent before it is used. -ENOMEM. */
int namecache_get(struct namecache *c, struct slice topic, uint64_t *ret_handle, bool *ret_is_new);

#endif
