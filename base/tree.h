/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ordered set of byte strings, intrusive: a treap, whose shape is random whatever keys come in what order.
 * Finding, inserting, removing and going on after a key take logarithmic time. The key lives in the value,
 * which embeds a node; the tree owns nothing.
 *
 *     for (node = tree_after(&t, slice_str("")); node != NULL; node = tree_after(&t, key_of(node)))
 */
#ifndef BASE_TREE_H
#define BASE_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct tree_node {
    struct tree_node *left, *right;
    uint32_t rank; /* random; a node's is not below those of its children */
};

/* The key of the value that embeds the node; it must not change while it is in a tree. */
typedef struct slice (*tree_key_fn)(const struct tree_node *node);

struct tree {
    struct tree_node *root;
    size_t n;
    tree_key_fn key_of;
    uint64_t random;
};

void tree_init(struct tree *t, tree_key_fn key_of);

struct tree_node *tree_find(const struct tree *t, struct slice key);
/* The first above the key, in the order of bytes, a prefix before what it begins; NULL: none. */
struct tree_node *tree_after(const struct tree *t, struct slice key);

/* 0, or -EEXIST: nothing changed. */
int tree_insert(struct tree *t, struct tree_node *node);
/* Gives the node that was removed, or NULL. */
struct tree_node *tree_remove(struct tree *t, struct slice key);

/* The value that embeds the node. */
#define tree_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

#endif
