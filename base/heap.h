/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary heap, intrusive: what has the smallest key is on top; of equal keys, the smallest `order`. One
 * struct heap_node is embedded in each member for each heap that the member can be in. The heap owns nothing
 * but its array.
 *
 *     struct waiter { struct heap_node in_due; };
 *
 *     r = heap_reserve(&due, 1);              // may fail; what follows cannot
 *     heap_push(&due, &waiter->in_due, due_ms, order);
 *     while ((node = heap_top(&due)) != NULL && node->key <= now_ms)
 *         heap_remove(&due, node);
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised: in no heap. */
struct heap_node {
    int64_t key;
    uint64_t order;
    size_t place; /* in the array, from 1; 0: in no heap */
};

/* Zero-initialised: empty. */
struct heap {
    struct heap_node **nodes;
    size_t n, room;
};

void heap_fini(struct heap *h); /* the members are the caller's */

/* Room for so many more. 0 or -ENOMEM. */
int heap_reserve(struct heap *h, size_t n_more);

/* There is room for it, and it is in no heap. */
void heap_push(struct heap *h, struct heap_node *node, int64_t key, uint64_t order);
/* In no heap: nothing happens. The array is never made smaller. */
void heap_remove(struct heap *h, struct heap_node *node);
/* It is in the heap, and gets another key. */
void heap_move(struct heap *h, struct heap_node *node, int64_t key, uint64_t order);

static inline struct heap_node *
heap_top(const struct heap *h)
{
    return h->n > 0 ? h->nodes[0] : NULL;
}

static inline bool
heap_has(const struct heap_node *node)
{
    return node->place != 0;
}

/* The struct that embeds the member. */
#define heap_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
