/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups as the writer sees them, inside a transaction. What is saved of the items is collected until the
 * transaction ends: what was leased and done with and passed by the floor meanwhile is never written.
 */
#include "config.h"

#include "backends/sqlite/sqstore.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_KEPT 64u /* items of which the room stays between transactions */

static int
group_touch(struct writer *w, struct store_group *group)
{
    if (group->w.is_touched)
        return 0;
    if (w->n_groups == w->groups_room) {
        size_t room = w->groups_room == 0 ? 16 : w->groups_room * 2;
        struct store_group **groups = realloc(w->groups, room * sizeof(groups[0]));

        if (groups == NULL)
            return -ENOMEM;
        w->groups = groups;
        w->groups_room = room;
    }
    group->w.before = group->w.now;
    group->w.is_touched = true;
    w->groups[w->n_groups++] = group;
    return 0;
}

/* ---- Opening and dropping. ---- */

int
items_open(struct writer *w, struct command *c)
{
    struct slice name = group_name(c->group);
    int r = group_touch(w, c->group);
    sqlite3_stmt *s;

    if (r == 0)
        r = topic_touch(w, c->topic);
    if (r == 0)
        r = topic_give_row(w, c->topic);
    if (r < 0)
        return r;
    c->group->w.now.state = c->state;
    if (c->topic->w.now.id == 0)
        return 0; /* a topic of which nothing is kept */
    s = sqdb_get(&w->d, SQDB_GROUP_NEW, &r);
    if (s == NULL)
        return r;
    (void)sqlite3_bind_int64(s, 1, (int64_t)c->topic->w.now.id);
    sqdb_bind_blob(s, 2, name, true);
    (void)sqlite3_bind_int64(s, 3, (int64_t)c->state.floor);
    (void)sqlite3_bind_int64(s, 4, (int64_t)c->state.born);
    r = append_run(s);
    if (r == 0)
        c->group->w.now.id = (uint64_t)sqlite3_last_insert_rowid(w->d.db);
    return r;
}

int
items_drop(struct writer *w, struct command *c)
{
    struct group_writing *g = &c->group->w;
    int r = group_touch(w, c->group);

    if (r < 0)
        return r;
    g->n_items = 0;
    g->is_dropped = true;
    if (g->now.id == 0)
        return 0;
    if (g->now.n_items > 0)
        r = sqdb_run(&w->d, SQDB_ITEMS_TRIM, 2, (int64_t)g->now.id, INT64_MAX);
    w->now.n_items -= g->now.n_items;
    g->now.n_items = 0;
    return r == 0 ? sqdb_run(&w->d, SQDB_GROUP_DROP, 1, (int64_t)g->now.id) : r;
}

/* ---- Saving. ---- */

static int
items_reserve(struct group_writing *g, uint32_t n_more)
{
    uint32_t room = g->items_room > 0 ? g->items_room : 16;
    struct saved_item *items;

    if (g->items_room - g->n_items >= n_more)
        return 0;
    while (room - g->n_items < n_more)
        room *= 2;
    items = realloc(g->items, room * sizeof(items[0]));
    if (items == NULL)
        return -ENOMEM;
    g->items = items;
    g->items_room = room;
    return 0;
}

int
items_save(struct writer *w, struct command *c)
{
    struct group_writing *g = &c->group->w;
    int r = group_touch(w, c->group);

    if (r == 0)
        r = items_reserve(g, c->n_items);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < c->n_items; i++, g->n_items++)
        g->items[g->n_items] = (struct saved_item){c->items[i], g->n_items};
    if (c->state.floor < g->now.state.floor)
        c->state.floor = g->now.state.floor;
    c->state.born = g->now.state.born;
    g->now.state = c->state;
    return 0;
}

static int
compare_saved(const void *a, const void *b)
{
    const struct saved_item *x = a, *y = b;

    if (x->item.seq != y->item.seq)
        return x->item.seq < y->item.seq ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* As if nothing was ever known of it. */
static bool
is_nothing(const struct store_item *item)
{
    return item->state == ITEM_READY && item->n_deliveries == 0 && item->until_ms == 0;
}

static int
item_write(struct writer *w, struct group_writing *g, const struct store_item *item)
{
    int64_t id = (int64_t)g->now.id, seq = (int64_t)item->seq;
    int r, n;

    if (is_nothing(item)) {
        if (g->now.n_items == 0)
            return 0;
        r = sqdb_run(&w->d, SQDB_ITEM_DELETE, 2, id, seq);
        n = r == 0 ? -sqlite3_changes(w->d.db) : 0;
    } else {
        r = sqdb_run(&w->d, SQDB_ITEM_NEW, 5, id, seq, (int64_t)item->state, (int64_t)item->n_deliveries,
            item->until_ms);
        n = r == 0 ? sqlite3_changes(w->d.db) : 0;
        if (r == 0 && n == 0)
            r = sqdb_run(&w->d, SQDB_ITEM_UPDATE, 5, id, seq, (int64_t)item->state,
                (int64_t)item->n_deliveries, item->until_ms);
    }
    g->now.n_items += (uint64_t)(int64_t)n;
    w->now.n_items += (uint64_t)(int64_t)n;
    return r;
}

static bool
is_same_state(const struct store_group_state *a, const struct store_group_state *b)
{
    return a->floor == b->floor && a->n_done == b->n_done && a->n_dead == b->n_dead && a->n_lost == b->n_lost;
}

static int
group_write(struct writer *w, struct group_writing *g)
{
    const struct store_group_state *now = &g->now.state, *before = &g->before.state;
    uint64_t n;
    int r;

    if (is_same_state(now, before))
        return 0;
    r = sqdb_run(&w->d, SQDB_GROUP_UPDATE, 5, (int64_t)g->now.id, (int64_t)now->floor, (int64_t)now->n_done,
        (int64_t)now->n_dead, (int64_t)now->n_lost);
    if (r < 0 || now->floor == before->floor || g->now.n_items == 0)
        return r;
    r = sqdb_run(&w->d, SQDB_ITEMS_TRIM, 2, (int64_t)g->now.id, (int64_t)now->floor);
    n = r == 0 ? (uint64_t)sqlite3_changes(w->d.db) : 0;
    g->now.n_items -= n;
    w->now.n_items -= n;
    return r;
}

static int
group_flush(struct writer *w, struct group_writing *g)
{
    int r;

    if (g->now.id == 0 || g->is_dropped)
        return 0;
    r = group_write(w, g);
    if (g->n_items > 1)
        qsort(g->items, g->n_items, sizeof(g->items[0]), compare_saved);
    for (uint32_t i = 0; i < g->n_items && r == 0; i++) {
        const struct store_item *item = &g->items[i].item;
        bool is_last = i + 1 == g->n_items || g->items[i + 1].item.seq != item->seq;

        if (is_last && item->seq > g->now.state.floor)
            r = item_write(w, g, item);
    }
    return r;
}

int
items_flush(struct writer *w)
{
    int r = 0;

    for (size_t i = 0; i < w->n_groups && r == 0; i++)
        r = group_flush(w, &w->groups[i]->w);
    return r;
}

/* ---- The end of a transaction. ---- */

static void
group_end(struct group_writing *g)
{
    g->is_touched = false;
    g->n_items = 0;
    if (g->items_room <= ROOM_KEPT)
        return;
    free(g->items);
    g->items = NULL;
    g->items_room = 0;
}

void
items_commit_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_groups; i++)
        group_end(&w->groups[i]->w);
    w->n_groups = 0;
}

void
items_roll_back_all(struct writer *w)
{
    for (size_t i = 0; i < w->n_groups; i++) {
        struct group_writing *g = &w->groups[i]->w;

        g->now = g->before;
        g->is_dropped = false;
        group_end(g);
    }
    w->n_groups = 0;
}
