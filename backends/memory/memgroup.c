/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups in memory: their names. What is saved of their items is for a restart, which nothing here outlives.
 */
#include "config.h"

#include "backends/memory/memstore.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct store_group {
    struct store_topic *topic;
    void *cookie;
    size_t n_key;
    uint8_t key[]; /* the topic's id, then the name */
};

static struct slice
group_key_of(const void *value)
{
    const struct store_group *group = value;

    return slice_of(group->key, group->n_key);
}

void
memory_groups_init(struct backend *b)
{
    table_init(&b->groups, group_key_of);
}

void
memory_groups_fini(struct backend *b)
{
    struct store_group *group;
    size_t at = 0;

    while ((group = table_next(&b->groups, &at)) != NULL) {
        group->topic->extra->n_groups--;
        free(group);
    }
    table_fini(&b->groups);
}

int
memory_group_open(struct backend *b, struct store_topic *topic, struct slice name,
    const struct store_group_state *state, void *cookie, struct store_group **ret)
{
    struct store_group *group, *known;

    assert(!b->is_calling && name.n > 0 && name.n <= STORE_GROUP_NAME_MAX);
    group = malloc(sizeof(*group) + sizeof(topic->id) + name.n);
    if (group == NULL)
        return -ENOMEM;
    *group = (struct store_group){.topic = topic, .n_key = sizeof(topic->id) + name.n};
    memcpy(group->key, &topic->id, sizeof(topic->id));
    memcpy(group->key + sizeof(topic->id), name.p, name.n);
    known = table_find(&b->groups, group_key_of(group));
    if (known != NULL) {
        free(group);
        group = known;
    } else {
        if (memory_topic_extra(topic) == NULL || table_insert(&b->groups, group) < 0) {
            free(group);
            return -ENOMEM;
        }
        topic->extra->n_groups++;
        b->stats.n_groups++;
    }
    group->cookie = cookie;
    *ret = group;
    return 0;
}

void
memory_group_drop(struct backend *b, struct store_group *group)
{
    assert(!b->is_calling);
    (void)table_remove(&b->groups, group_key_of(group));
    group->topic->extra->n_groups--;
    b->stats.n_groups--;
    free(group);
}

int
memory_group_save(struct backend *b, struct store_group *group, const struct store_item *items, size_t n,
    const struct store_group_state *state, void *cookie)
{
    assert(!b->is_calling);
    if (cookie != NULL)
        b->host.on_saved(cookie, 0, b->host.arg);
    return 0;
}
