/* SPDX-License-Identifier: Apache-2.0 */
/* Handles 0, 1, 2 ... are given out until n_max; then the entry at the front of `used` loses its own. */
#include "config.h"

#include "frontends/sdk/namecache.h"

#include <stdlib.h>

struct namecache_entry {
    struct list in_used;
    uint64_t handle, link;
    size_t n;
    uint8_t topic[];
};

static struct slice
entry_key(const void *value)
{
    const struct namecache_entry *e = value;

    return slice_of(e->topic, e->n);
}

void
namecache_init(struct namecache *c, uint64_t n_max)
{
    *c = (struct namecache){.n_max = n_max, .link = 1};
    table_init(&c->table, entry_key);
    list_init(&c->used);
}

void
namecache_fini(struct namecache *c)
{
    list_for_each_safe(it, following, &c->used) free(list_entry(it, struct namecache_entry, in_used));
    list_init(&c->used);
    table_fini(&c->table);
}

void
namecache_renew(struct namecache *c)
{
    c->link++;
}

struct namecache_entry *
namecache_add(struct namecache *c, struct slice topic)
{
    struct namecache_entry *e = malloc(sizeof *e + topic.n), *oldest = NULL;

    if (e == NULL)
        return NULL;
    *e = (struct namecache_entry){.handle = c->table.n_used, .n = topic.n};
    memcpy(e->topic, topic.p, topic.n);
    if (c->table.n_used >= c->n_max) {
        oldest = list_entry(c->used.next, struct namecache_entry, in_used);
        e->handle = oldest->handle;
        (void)table_remove(&c->table, entry_key(oldest));
        list_remove(&oldest->in_used);
        free(oldest);
    }
    if (table_insert(&c->table, e) < 0) {
        /* The handle of the oldest would be lost: start with none. */
        free(e);
        if (oldest != NULL) {
            uint64_t n_max = c->n_max, link = c->link;

            namecache_fini(c);
            namecache_init(c, n_max);
            c->link = link;
        }
        return NULL;
    }
    list_push_back(&c->used, &e->in_used);
    return e;
}

struct namecache_entry *
namecache_find(struct namecache *c, struct slice topic)
{
    struct namecache_entry *e;

    if (!list_empty(&c->used)) { /* a publisher's next message is mostly on the topic of its last */
        e = list_entry(c->used.prev, struct namecache_entry, in_used);
        if (slice_equal(entry_key(e), topic))
            return e;
    }
    e = table_find(&c->table, topic);
    if (e != NULL) {
        list_remove(&e->in_used);
        list_push_back(&c->used, &e->in_used);
    }
    return e;
}

uint64_t
namecache_use(struct namecache *c, struct namecache_entry *e, bool *ret_is_new)
{
    *ret_is_new = e->link != c->link;
    e->link = c->link;
    return e->handle;
}
