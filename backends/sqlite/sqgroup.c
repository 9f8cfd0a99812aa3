/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups as the loop sees them: by topic and name, their saves on the way. What the writer does with them is
 * in sqitems.c. A save that nobody waits for rides along with the next command; of one group there is one
 * such command at a time, into which more is put.
 */
#include "config.h"

#include "backends/sqlite/sqload.h"
#include "backends/sqlite/sqstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

static struct slice
group_key_of(const void *value)
{
    const struct store_group *group = value;

    return slice_of(group->key, group->n_key);
}

struct slice
group_name(const struct store_group *group)
{
    return slice_of(group->key + sizeof(group->topic), group->n_key - sizeof(group->topic));
}

void
group_free(struct store_group *group)
{
    free(group->w.items);
    free(group);
}

void
groups_init(struct backend *b)
{
    table_init(&b->groups, group_key_of);
    list_init(&b->loaded_groups);
}

void
groups_fini(struct backend *b)
{
    struct store_group *group;
    size_t at = 0;

    while ((group = table_next(&b->groups, &at)) != NULL)
        group_free(group);
    table_fini(&b->groups);
    groups_init(b);
    b->stats.n_groups = 0;
}

/* The one that there is, or a new one: then 1. */
static int
group_get(struct backend *b, struct store_topic *topic, struct slice name, struct store_group **ret)
{
    size_t n_key = sizeof(topic) + name.n;
    struct topic_extra *x = store_topic_extra(topic);
    struct store_group *group = x != NULL ? calloc(1, sizeof(*group) + n_key) : NULL;
    struct store_group *known;
    int r;

    if (group == NULL)
        return -ENOMEM;
    group->topic = topic;
    group->n_key = n_key;
    memcpy(group->key, &topic, sizeof(topic));
    memcpy(group->key + sizeof(topic), name.p, name.n);
    list_init(&group->in_loaded);
    known = table_find(&b->groups, group_key_of(group));
    r = known != NULL ? 0 : table_insert(&b->groups, group);
    if (known != NULL || r < 0) {
        group_free(group);
        *ret = known;
        return r;
    }
    x->n_groups++;
    b->stats.n_groups++;
    *ret = group;
    return 1;
}

int
groups_add(struct backend *b, struct store_topic *topic, struct slice name, struct store_group **ret)
{
    int r = group_get(b, topic, name, ret);

    if (r == 0)
        return -EUCLEAN; /* twice the same */
    if (r > 0)
        list_push_back(&b->loaded_groups, &(*ret)->in_loaded);
    return r < 0 ? r : 0;
}

/* ---- The start. ---- */

static int
group_restore_items(struct backend *b, struct sqdb *d, struct store_group *group)
{
    int r = 0;
    sqlite3_stmt *s = sqdb_get(d, SQDB_ITEMS_OF, &r);

    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)group->w.now.id);
    (void)sqlite3_bind_int64(s, 2, (int64_t)group->w.now.state.floor);
    while ((r = sqdb_step(s)) > 0) {
        int64_t state = sqlite3_column_int64(s, 1), deliveries = sqlite3_column_int64(s, 2);
        struct store_item item = {
            .seq = (uint64_t)sqlite3_column_int64(s, 0),
            .until_ms = sqlite3_column_int64(s, 3),
            .n_deliveries = (uint32_t)deliveries,
            .state = (uint8_t)state,
        };

        if (state < ITEM_READY || state > ITEM_DONE || deliveries < 0 || deliveries > UINT32_MAX)
            r = -EUCLEAN;
        else
            r = b->host.on_group_item(group->cookie, &item, b->host.arg);
        if (r < 0)
            break;
    }
    (void)sqlite3_reset(s);
    return r;
}

static int
group_restore(struct backend *b, struct sqdb *d, struct store_group *group)
{
    int r;

    list_remove(&group->in_loaded);
    if (b->host.on_group == NULL) {
        sqlite_group_drop(b, group);
        return 0;
    }
    r = b->host.on_group(
        group->topic->cookie, group_name(group), group, &group->w.now.state, &group->cookie, b->host.arg);
    return r == 0 && group->w.now.n_items > 0 ? group_restore_items(b, d, group) : r;
}

int
groups_restore(struct backend *b)
{
    bool is_unlocked, has_own = false;
    struct sqdb own, *d = &b->w.d;
    int r = 0;

    if (d->db == NULL && !list_empty(&b->loaded_groups)) { /* it cannot be written to */
        d = &own;
        r = sqdb_open_reader(d, b->w.path, false, &is_unlocked);
        has_own = r == 0;
    }
    while (r == 0 && !list_empty(&b->loaded_groups))
        r = group_restore(b, d, list_entry(b->loaded_groups.next, struct store_group, in_loaded));
    if (has_own)
        sqdb_close(d);
    return r;
}

/* ---- As the broker asks. ---- */

int
sqlite_group_open(struct backend *b, struct store_topic *topic, struct slice name,
    const struct store_group_state *state, void *cookie, struct store_group **ret)
{
    struct store_group *group;
    struct command *c;
    int r;

    assert(b->is_started && !b->is_calling && name.n > 0 && name.n <= STORE_GROUP_NAME_MAX);
    c = command_new(COMMAND_GROUP_OPEN, topic);
    if (c == NULL)
        return -ENOMEM;
    r = group_get(b, topic, name, &group);
    if (r <= 0) {
        free(c);
        if (r < 0)
            return r;
    } else {
        c->group = group;
        c->state = *state;
        store_command(b, c);
    }
    group->cookie = cookie;
    *ret = group;
    return 0;
}

void
sqlite_group_drop(struct backend *b, struct store_group *group)
{
    struct command *c = command_new(COMMAND_GROUP_DROP, NULL);

    assert(!b->is_calling);
    (void)table_remove(&b->groups, group_key_of(group));
    group->topic->x->n_groups--;
    b->stats.n_groups--;
    group->riding = NULL;
    if (c == NULL)
        return; /* it stays in the file, and in memory, until the next start */
    c->group = group;
    store_command(b, c);
}

/* ---- Saving. ---- */

static int
command_put_items(struct command *c, const struct store_item *items, size_t n)
{
    uint32_t room = c->items_room > 0 ? c->items_room : 1;

    if (n > UINT32_MAX / 4 - c->n_items)
        return -EINVAL;
    if (n > c->items_room - c->n_items) {
        struct store_item *grown;

        while (room - c->n_items < n)
            room *= 2;
        grown = realloc(c->items, room * sizeof(grown[0]));
        if (grown == NULL)
            return -ENOMEM;
        c->items = grown;
        c->items_room = room;
    }
    if (n > 0)
        memcpy(c->items + c->n_items, items, n * sizeof(items[0]));
    c->n_items += (uint32_t)n;
    return 0;
}

static int
save_new(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
    struct command **ret)
{
    struct command *c;
    int r;

    if (b->n_queued >= b->options.queue_max)
        return -EAGAIN;
    c = command_new(COMMAND_GROUP_SAVE, NULL);
    if (c == NULL)
        return -ENOMEM;
    c->group = group;
    r = command_put_items(c, items, n);
    if (r < 0) {
        free(c);
        return r;
    }
    b->n_queued++;
    *ret = c;
    return 0;
}

int
sqlite_group_save(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
    const struct store_group_state *state, void *cookie)
{
    size_t size = sizeof(struct command) + n * sizeof(items[0]);
    struct command *c = cookie == NULL ? group->riding : NULL;
    bool is_new = c == NULL;
    uint64_t floor;
    int r;

    assert(b->is_started && !b->is_calling);
    if (b->n_queued > 0 && b->bytes_queued + size > b->options.queue_bytes)
        return -EAGAIN;
    r = is_new ? save_new(b, group, items, n, &c) : command_put_items(c, items, n);
    if (r < 0)
        return r;
    c->size += size;
    b->bytes_queued += size;
    floor = c->state.floor;
    if (floor < state->floor)
        floor = state->floor;
    c->state = *state;
    c->state.floor = floor;
    if (!is_new)
        return 0;
    c->cookie = cookie;
    if (cookie != NULL) {
        store_command(b, c);
    } else {
        group->riding = c;
        store_ride(b, c);
    }
    return 0;
}
