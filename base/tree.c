/* SPDX-License-Identifier: Apache-2.0 */
/* The treap of tree.h: a search tree by key and a heap by rank. */
#include "config.h"

#include "base/tree.h"

#include <errno.h>

#include "base/rand.h"

void
tree_init(struct tree *t, tree_key_fn key_of)
{
    *t = (struct tree){.key_of = key_of};
    rand_bytes(&t->random, sizeof(t->random));
    t->random |= 1; /* xorshift stays at 0 */
}

static uint32_t
tree_rank(struct tree *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (uint32_t)(t->random >> 32);
}

static int
compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return order != 0 ? order : a.n < b.n ? -1 : a.n > b.n;
}

struct tree_node *
tree_find(const struct tree *t, struct slice key)
{
    struct tree_node *node = t->root;

    while (node != NULL) {
        int order = compare(key, t->key_of(node));

        if (order == 0)
            return node;
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

struct tree_node *
tree_after(const struct tree *t, struct slice key)
{
    struct tree_node *node = t->root, *best = NULL;

    while (node != NULL) {
        if (compare(t->key_of(node), key) > 0) {
            best = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

int
tree_insert(struct tree *t, struct tree_node *node)
{
    struct slice key = t->key_of(node);
    struct tree_node **at = &t->root, **below, **above, *rest;

    if (tree_find(t, key) != NULL)
        return -EEXIST;
    node->rank = tree_rank(t);
    while (*at != NULL && (*at)->rank >= node->rank)
        at = compare(key, t->key_of(*at)) < 0 ? &(*at)->left : &(*at)->right;
    /* What stands there is split: what is below the key goes to the left of the node, the rest to its right.
     */
    rest = *at;
    *at = node;
    below = &node->left;
    above = &node->right;
    while (rest != NULL) {
        if (compare(key, t->key_of(rest)) < 0) {
            *above = rest;
            above = &rest->left;
            rest = rest->left;
        } else {
            *below = rest;
            below = &rest->right;
            rest = rest->right;
        }
    }
    *below = *above = NULL;
    t->n++;
    return 0;
}

struct tree_node *
tree_remove(struct tree *t, struct slice key)
{
    struct tree_node **at = &t->root, *node, *below, *above;

    while ((node = *at) != NULL) {
        int order = compare(key, t->key_of(node));

        if (order == 0)
            break;
        at = order < 0 ? &node->left : &node->right;
    }
    if (node == NULL)
        return NULL;
    /* Its children become one tree in its place. */
    below = node->left;
    above = node->right;
    while (below != NULL && above != NULL) {
        if (below->rank >= above->rank) {
            *at = below;
            at = &below->right;
            below = below->right;
        } else {
            *at = above;
            at = &above->left;
            above = above->left;
        }
    }
    *at = below != NULL ? below : above;
    node->left = node->right = NULL;
    t->n--;
    return node;
}
