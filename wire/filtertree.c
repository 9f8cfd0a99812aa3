/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trie by levels. All its nodes but the root are in one hash table, keyed by their parent's address and the
 * level's text; '+' and '#' hang from their parent directly too, so a node without named children costs no
 * lookup. One table for the whole tree, and not one for each node, because most nodes are leaves: it makes
 * 100,000 filters under one parent as cheap as a chain, at about 100 bytes a node.
 *
 *     a/+/c    root -- "a" --(plus)-- "+" -- "c"*          * is_filter
 */
#include "config.h"

#include "wire/filtertree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "wire/names.h"

struct node {
    struct node *parent;
    struct node *plus, *rest; /* the children '+' and '#' */
    size_t n_named;           /* children that are neither */
    void *value;
    bool is_filter; /* a filter ends here, whatever its value */
    uint16_t key_n;
    uint8_t key[]; /* the parent's address, then the level */
};

struct filtertree {
    struct table nodes;
    size_t n_filters;
    struct node root; /* last, for its key has no bytes */
};

#define KEY_HEAD sizeof(struct node *)
#define KEY_MAX (KEY_HEAD + TOPIC_MAX_BYTES)

static struct slice
node_key(const void *value)
{
    const struct node *node = value;

    return slice_of(node->key, node->key_n);
}

int
filtertree_new(struct filtertree **ret)
{
    struct filtertree *tree = calloc(1, sizeof *tree);

    if (tree == NULL)
        return -ENOMEM;
    table_init(&tree->nodes, node_key);
    *ret = tree;
    return 0;
}

struct filtertree *
filtertree_free(struct filtertree *tree)
{
    struct node *node;
    size_t pos = 0;

    if (tree == NULL)
        return NULL;
    while ((node = table_next(&tree->nodes, &pos)) != NULL)
        free(node);
    table_fini(&tree->nodes);
    free(tree);
    return NULL;
}

/* The next level of the text at *pos; *pos is moved behind its '/', or past the end (n + 1) after the last.
 */
static struct slice
level_at(struct slice text, size_t *pos)
{
    const uint8_t *start = text.p + *pos;
    const uint8_t *slash = *pos == text.n ? NULL : memchr(start, '/', text.n - *pos);
    size_t n = slash == NULL ? text.n - *pos : (size_t)(slash - start);

    *pos += n + 1;
    return slice_of(start, n);
}

static struct node *
child_find(const struct filtertree *tree, const struct node *parent, struct slice level)
{
    uint8_t key[KEY_MAX];

    if (slice_is(level, "+"))
        return parent->plus;
    if (slice_is(level, "#"))
        return parent->rest;
    if (parent->n_named == 0 || level.n > TOPIC_MAX_BYTES)
        return NULL;
    memcpy(key, &parent, KEY_HEAD);
    if (level.n > 0)
        memcpy(key + KEY_HEAD, level.p, level.n);
    return table_find(&tree->nodes, slice_of(key, KEY_HEAD + level.n));
}

static struct node *
child_add(struct filtertree *tree, struct node *parent, struct slice level)
{
    struct node *node = calloc(1, sizeof *node + KEY_HEAD + level.n);

    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->key_n = (uint16_t)(KEY_HEAD + level.n);
    memcpy(node->key, &parent, KEY_HEAD);
    if (level.n > 0)
        memcpy(node->key + KEY_HEAD, level.p, level.n);
    if (table_insert(&tree->nodes, node) < 0) {
        free(node);
        return NULL;
    }
    if (slice_is(level, "+"))
        parent->plus = node;
    else if (slice_is(level, "#"))
        parent->rest = node;
    else
        parent->n_named++;
    return node;
}

/* Frees the node and then its parents, as far as no filter ends there and nothing hangs from them. */
static void
node_prune(struct filtertree *tree, struct node *node)
{
    while (node != &tree->root && !node->is_filter && node->n_named == 0 && node->plus == NULL &&
           node->rest == NULL) {
        struct node *parent = node->parent;
        if (parent->plus == node)
            parent->plus = NULL;
        else if (parent->rest == node)
            parent->rest = NULL;
        else
            parent->n_named--;
        (void)table_remove(&tree->nodes, node_key(node));
        free(node);
        node = parent;
    }
}

static struct node *
node_find(const struct filtertree *tree, struct slice filter)
{
    const struct node *node = &tree->root;

    if (filter.n == 0)
        return NULL;
    for (size_t pos = 0; node != NULL && pos <= filter.n;)
        node = child_find(tree, node, level_at(filter, &pos));
    return (struct node *)node;
}

void **
filtertree_at(struct filtertree *tree, struct slice filter)
{
    struct node *node = &tree->root;

    if (filter_error(filter) != NULL) /* the depth that a match relies on is bounded by this */
        return NULL;
    for (size_t pos = 0; pos <= filter.n;) {
        struct slice level = level_at(filter, &pos);
        struct node *child = child_find(tree, node, level);
        if (child == NULL)
            child = child_add(tree, node, level);
        if (child == NULL) {
            node_prune(tree, node);
            return NULL;
        }
        node = child;
    }
    if (!node->is_filter)
        tree->n_filters++;
    node->is_filter = true;
    return &node->value;
}

void *
filtertree_find(const struct filtertree *tree, struct slice filter)
{
    const struct node *node = node_find(tree, filter);

    return node == NULL ? NULL : node->value;
}

void *
filtertree_remove(struct filtertree *tree, struct slice filter)
{
    struct node *node = node_find(tree, filter);

    if (node == NULL || !node->is_filter)
        return NULL;
    void *value = node->value;
    node->value = NULL;
    node->is_filter = false;
    tree->n_filters--;
    node_prune(tree, node);
    return value;
}

size_t
filtertree_count(const struct filtertree *tree)
{
    return tree->n_filters;
}

/*
 * Depth first: the named child is followed at once, the '+' child waits on the stack. No more than one waits
 * for each level, so the stack is bounded by the depth of the tree, and no node is visited twice.
 */
void
filtertree_match(
    const struct filtertree *tree, struct slice topic, void (*fn)(void *value, void *arg), void *arg)
{
    struct {
        const struct node *node;
        size_t pos;
    } waiting[TOPIC_MAX_LEVELS + 1];
    size_t n_waiting = 0;
    const struct node *node = &tree->root;
    size_t pos = 0;
    bool is_own = topic.n > 0 && topic.p[0] == '$'; /* the first level's wildcards do not match these */

    if (topic.n == 0)
        return;
    for (;;) {
        bool wild = !is_own || node != &tree->root;
        if (wild && node->rest != NULL && node->rest->value != NULL)
            fn(node->rest->value, arg);
        const struct node *next = NULL;
        if (pos > topic.n) {
            if (node->value != NULL)
                fn(node->value, arg);
        } else {
            struct slice level = level_at(topic, &pos);
            if (wild && node->plus != NULL) {
                waiting[n_waiting].node = node->plus;
                waiting[n_waiting++].pos = pos;
            }
            if (!filter_has_wildcard(level))
                next = child_find(tree, node, level);
        }
        if (next == NULL && n_waiting == 0)
            return;
        if (next == NULL) {
            next = waiting[--n_waiting].node;
            pos = waiting[n_waiting].pos;
        }
        node = next;
    }
}
