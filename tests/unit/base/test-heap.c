/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/heap.h"

#include "tests/unit/base/suite.h"

#define N_ITEMS 200u

struct item {
    unsigned n;
    struct heap_node in_heap;
};

static void
check_top(const struct heap *h, const struct item *items)
{
    const struct heap_node *least = NULL;
    size_t n = 0;

    for (unsigned i = 0; i < N_ITEMS; i++) {
        const struct heap_node *node = &items[i].in_heap;

        if (!heap_has(node))
            continue;
        n++;
        if (least == NULL || node->key < least->key ||
            (node->key == least->key && node->order < least->order))
            least = node;
    }
    ck_assert_uint_eq(h->n, n);
    ck_assert_ptr_eq(heap_top(h), least);
}

START_TEST(test_random_operations_agree_with_a_search)
{
    static struct item items[N_ITEMS];
    struct heap h = {0};
    uint64_t random = 88172645463325252u;

    for (unsigned step = 0; step < 20000; step++) {
        struct item *item;
        int64_t key;

        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        item = &items[random % N_ITEMS];
        key = (int64_t)(random >> 20) % 40 - 20; /* many are equal */
        if (!heap_has(&item->in_heap)) {
            ck_assert_int_eq(heap_reserve(&h, 1), 0);
            heap_push(&h, &item->in_heap, key, step);
        } else if ((random >> 10) % 2 == 0) {
            heap_move(&h, &item->in_heap, key, step);
        } else {
            heap_remove(&h, &item->in_heap);
            heap_remove(&h, &item->in_heap); /* nothing happens */
        }
        check_top(&h, items);
    }
    heap_fini(&h);
}
END_TEST

START_TEST(test_comes_out_in_order)
{
    struct item items[N_ITEMS] = {0};
    struct heap h = {0};
    struct heap_node *node;
    unsigned n = 0;

    ck_assert_ptr_null(heap_top(&h));
    ck_assert_int_eq(heap_reserve(&h, N_ITEMS), 0);
    for (unsigned i = 0; i < N_ITEMS; i++) {
        items[i].n = i * 7 % N_ITEMS;
        heap_push(&h, &items[i].in_heap, items[i].n / 2, items[i].n);
    }
    while ((node = heap_top(&h)) != NULL) {
        ck_assert_uint_eq(heap_entry(node, struct item, in_heap)->n, n++);
        heap_remove(&h, node);
    }
    ck_assert_uint_eq(n, N_ITEMS);
    heap_fini(&h);
}
END_TEST

SUITE_MAIN("heap", test_random_operations_agree_with_a_search, test_comes_out_in_order)
