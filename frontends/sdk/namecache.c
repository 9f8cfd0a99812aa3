/* SPDX-License-Identifier: Apache-2.0 */
/* Handles 0, 1, 2 ... are given out until n_max; then the entry at the front of `used` loses its own. */
#include "config.h"

#include "frontends/sdk/namecache.h"

#include <stdlib.h>

struct namecache_entry {
    struct list in_used;
    uint64_t hash, handle, link;
    uint32_t n, n_room;
    uint8_t topic[];
};

/* Names are not all of one length: the next one may well have room where this one was. */
#define ROOM_STEP 32u

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

/* The entry that was used longest ago, out of table and list. The one after it goes next. */
static struct namecache_entry *
namecache_take_oldest(struct namecache *c)
{
    struct namecache_entry *e = list_entry(c->used.next, struct namecache_entry, in_used);

    __builtin_prefetch(e->in_used.next);
    (void)table_remove_hashed(&c->table, e->hash, entry_key(e));
    list_remove(&e->in_used);
    return e;
}

/* Nothing is known any more: a handle would be lost. */
static void
namecache_forget(struct namecache *c)
{
    uint64_t n_max = c->n_max, link = c->link;

    namecache_fini(c);
    namecache_init(c, n_max);
    c->link = link;
}

struct namecache_entry *
namecache_add(struct namecache *c, struct slice topic)
{
    struct namecache_entry *e = NULL;
    uint64_t handle = c->table.n_used, hash = c->missed;

    if (c->table.n_used >= c->n_max) {
        e = namecache_take_oldest(c);
        handle = e->handle;
    }
    if (e == NULL || e->n_room < topic.n) {
        size_t n_room = (topic.n + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP;
        bool has_lost = e != NULL;

        free(e);
        e = malloc(sizeof *e + n_room);
        if (e == NULL) {
            if (has_lost)
                namecache_forget(c);
            return NULL;
        }
        e->n_room = (uint32_t)n_room;
    }
    e->hash = hash;
    e->handle = handle;
    e->link = 0;
    e->n = (uint32_t)topic.n;
    memcpy(e->topic, topic.p, topic.n);
    if (table_insert_hashed(&c->table, hash, e) < 0) {
        free(e);
        namecache_forget(c);
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
    c->missed = table_hash(&c->table, topic);
    e = table_find_hashed(&c->table, c->missed, topic);
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
