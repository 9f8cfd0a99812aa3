/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/tree.h"

#include "tests/unit/base/suite.h"

#include <errno.h>
#include <stdio.h>

#define N 2000

struct item {
    struct tree_node node;
    char key[24];
    bool is_in;
};

static struct slice
item_key(const struct tree_node *node)
{
    return slice_str(tree_entry(node, const struct item, node)->key);
}

/* In order, each once, the heap's rule kept, and as many as it says. Gives the depth. */
static size_t
check_shape(const struct tree_node *node, uint32_t rank, size_t *n)
{
    size_t left, right;

    if (node == NULL)
        return 0;
    ck_assert_uint_le(node->rank, rank);
    left = check_shape(node->left, node->rank, n);
    ++*n;
    right = check_shape(node->right, node->rank, n);
    return 1 + (left > right ? left : right);
}

static size_t
check_tree(const struct tree *t)
{
    struct slice last = slice_of(NULL, 0);
    size_t n = 0, depth = check_shape(t->root, UINT32_MAX, &n), walked = 0;

    ck_assert_uint_eq(n, t->n);
    for (struct tree_node *node = tree_after(t, last); node != NULL; node = tree_after(t, last), walked++) {
        struct slice key = item_key(node);

        ck_assert(last.n == 0 || strcmp((const char *)last.p, (const char *)key.p) < 0);
        ck_assert_ptr_eq(tree_find(t, key), node);
        last = key;
    }
    ck_assert_uint_eq(walked, n);
    return depth;
}

START_TEST(test_empty)
{
    struct tree t;

    tree_init(&t, item_key);
    ck_assert_ptr_null(tree_find(&t, slice_str("a")));
    ck_assert_ptr_null(tree_after(&t, slice_str("")));
    ck_assert_ptr_null(tree_remove(&t, slice_str("a")));
}
END_TEST

START_TEST(test_order_and_neighbours)
{
    struct item a = {.key = "a"}, ab = {.key = "ab"}, b = {.key = "b"}, twin = {.key = "ab"};
    struct tree t;

    tree_init(&t, item_key);
    ck_assert_int_eq(tree_insert(&t, &b.node), 0);
    ck_assert_int_eq(tree_insert(&t, &ab.node), 0);
    ck_assert_int_eq(tree_insert(&t, &a.node), 0);
    ck_assert_int_eq(tree_insert(&t, &twin.node), -EEXIST);
    ck_assert_ptr_eq(tree_find(&t, slice_str("ab")), &ab.node);
    ck_assert_ptr_eq(tree_after(&t, slice_str("")), &a.node);
    ck_assert_ptr_eq(tree_after(&t, slice_str("a")), &ab.node);
    ck_assert_ptr_eq(tree_after(&t, slice_str("aa")), &ab.node); /* one that is not there */
    ck_assert_ptr_eq(tree_after(&t, slice_str("ab")), &b.node);
    ck_assert_ptr_null(tree_after(&t, slice_str("b")));
    ck_assert_ptr_eq(tree_remove(&t, slice_str("ab")), &ab.node);
    ck_assert_ptr_null(tree_find(&t, slice_str("ab")));
    ck_assert_ptr_eq(tree_after(&t, slice_str("a")), &b.node);
}
END_TEST

START_TEST(test_sorted_input_stays_flat)
{
    struct item *items = calloc(N, sizeof *items);
    struct tree t;

    tree_init(&t, item_key);
    for (size_t i = 0; i < N; i++) {
        snprintf(items[i].key, sizeof items[i].key, "user-%06zu", i);
        ck_assert_int_eq(tree_insert(&t, &items[i].node), 0);
    }
    ck_assert_uint_lt(check_tree(&t), 64); /* 11 would be perfect, N a list */
    free(items);
}
END_TEST

START_TEST(test_random_against_flags)
{
    struct item *items = calloc(N, sizeof *items);
    struct tree t;
    size_t n = 0;

    srand(1);
    tree_init(&t, item_key);
    for (size_t i = 0; i < N; i++)
        snprintf(items[i].key, sizeof items[i].key, "%zu", i);
    for (size_t step = 0; step < 20000; step++) {
        struct item *item = &items[rand() % N];

        if (item->is_in) {
            ck_assert_ptr_eq(tree_remove(&t, slice_str(item->key)), &item->node);
            n--;
        } else {
            ck_assert_int_eq(tree_insert(&t, &item->node), 0);
            n++;
        }
        item->is_in = !item->is_in;
        ck_assert_uint_eq(t.n, n);
        if (step % 1000 == 0)
            check_tree(&t);
    }
    for (size_t i = 0; i < N; i++)
        ck_assert(items[i].is_in == (tree_find(&t, slice_str(items[i].key)) != NULL));
    free(items);
}
END_TEST

SUITE_MAIN(
    "tree", test_empty, test_order_and_neighbours, test_sorted_input_stays_flat, test_random_against_flags)
