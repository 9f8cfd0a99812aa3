/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/heap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define ROOM_MIN 16u

void
heap_fini(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){0};
}

int
heap_reserve(struct heap *h, size_t n_more)
{
    size_t room = h->room > 0 ? h->room : ROOM_MIN;
    struct heap_node **nodes;

    if (h->room - h->n >= n_more)
        return 0;
    while (room - h->n < n_more)
        room *= 2;
    nodes = realloc(h->nodes, room * sizeof(nodes[0]));
    if (nodes == NULL)
        return -ENOMEM;
    h->nodes = nodes;
    h->room = room;
    return 0;
}

static bool
is_before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void
heap_put(struct heap *h, struct heap_node *node, size_t at)
{
    h->nodes[at] = node;
    node->place = at + 1;
}

static void
heap_rise(struct heap *h, struct heap_node *node, size_t at)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;

        if (!is_before(node, h->nodes[parent]))
            break;
        heap_put(h, h->nodes[parent], at);
        at = parent;
    }
    heap_put(h, node, at);
}

static void
heap_sink(struct heap *h, struct heap_node *node, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && is_before(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!is_before(h->nodes[child], node))
            break;
        heap_put(h, h->nodes[child], at);
    }
    heap_put(h, node, at);
}

/* The place is free; the node may belong above or below it. */
static void
heap_settle(struct heap *h, struct heap_node *node, size_t at)
{
    if (at > 0 && is_before(node, h->nodes[(at - 1) / 2]))
        heap_rise(h, node, at);
    else
        heap_sink(h, node, at);
}

void
heap_push(struct heap *h, struct heap_node *node, int64_t key, uint64_t order)
{
    assert(h->n < h->room && !heap_has(node));
    node->key = key;
    node->order = order;
    heap_rise(h, node, h->n++);
}

void
heap_remove(struct heap *h, struct heap_node *node)
{
    size_t at;
    struct heap_node *last;

    if (!heap_has(node))
        return;
    at = node->place - 1;
    assert(at < h->n && h->nodes[at] == node);
    node->place = 0;
    last = h->nodes[--h->n];
    if (last != node)
        heap_settle(h, last, at);
}

void
heap_move(struct heap *h, struct heap_node *node, int64_t key, uint64_t order)
{
    assert(heap_has(node) && h->nodes[node->place - 1] == node);
    node->key = key;
    node->order = order;
    heap_settle(h, node, node->place - 1);
}
