/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters by their levels, each with a value of the caller's: which of 100,000 filters match this topic, in
 * time that depends on the topic's levels and the wildcards on its path, not on the number of filters. The
 * broker keeps links in it, a frontend its own subscriptions.
 */
#ifndef WIRE_FILTERTREE_H
#define WIRE_FILTERTREE_H

#include <stddef.h>

#include "base/slice.h"

struct filtertree;

int filtertree_new(struct filtertree **ret);
struct filtertree *filtertree_free(struct filtertree *tree); /* values are the caller's */

/* The place of the value for a valid filter, created with NULL if it is new. NULL if memory ran out. */
void **filtertree_at(struct filtertree *tree, struct slice filter);
/* The value, or NULL. */
void *filtertree_find(const struct filtertree *tree, struct slice filter);
/* Forgets the filter, frees empty nodes, returns the value it had. */
void *filtertree_remove(struct filtertree *tree, struct slice filter);
size_t filtertree_count(const struct filtertree *tree);

/* Calls fn for the non-NULL value of each filter that matches the topic, in no order. fn must not change the
 * tree. */
void filtertree_match(
    const struct filtertree *tree, struct slice topic, void (*fn)(void *value, void *arg), void *arg);

#endif
