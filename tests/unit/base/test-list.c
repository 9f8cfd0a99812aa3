/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/list.h"

#include "tests/unit/base/suite.h"

struct item {
    int n;
    struct list in_list;
};

static void
check_order(struct list *head, const int *expected, size_t n)
{
    size_t i = 0;

    list_for_each_safe(it, next, head)
    {
        ck_assert_uint_lt(i, n);
        ck_assert_int_eq(list_entry(it, struct item, in_list)->n, expected[i++]);
    }
    ck_assert_uint_eq(i, n);
}

START_TEST(test_push_and_remove)
{
    struct item items[4];
    struct list head;

    list_init(&head);
    ck_assert(list_empty(&head));
    for (int i = 0; i < 4; i++) {
        items[i].n = i;
        list_init(&items[i].in_list);
    }
    list_push_back(&head, &items[1].in_list);
    list_push_back(&head, &items[2].in_list);
    list_push_front(&head, &items[0].in_list);
    list_push_back(&head, &items[3].in_list);
    check_order(&head, (int[]){0, 1, 2, 3}, 4);
    list_remove(&items[2].in_list);
    ck_assert(list_empty(&items[2].in_list));
    list_remove(&items[2].in_list);
    check_order(&head, (int[]){0, 1, 3}, 3);
    list_push_front(&head, &items[2].in_list);
    check_order(&head, (int[]){2, 0, 1, 3}, 4);
    list_move_back(&head, &items[3].in_list);
    list_move_back(&head, &items[0].in_list);
    list_move_back(&head, &items[2].in_list);
    check_order(&head, (int[]){1, 3, 0, 2}, 4);
    list_remove(&items[0].in_list);
    list_move_back(&head, &items[0].in_list); /* from nowhere */
    check_order(&head, (int[]){1, 3, 2, 0}, 4);
    list_for_each_safe(it, next, &head) list_remove(it);
    ck_assert(list_empty(&head));
}
END_TEST

START_TEST(test_members_may_be_freed_on_the_walk)
{
    struct list head;

    list_init(&head);
    for (int i = 0; i < 3; i++) {
        struct item *item = malloc(sizeof *item);

        list_push_back(&head, &item->in_list);
    }
    list_for_each_safe(it, next, &head)
    {
        list_remove(it);
        free(list_entry(it, struct item, in_list));
    }
    ck_assert(list_empty(&head));
}
END_TEST

START_TEST(test_take_all)
{
    struct item items[4];
    struct list head, other;

    list_init(&head);
    list_init(&other);
    for (int i = 0; i < 4; i++) {
        items[i].n = i;
        list_push_back(i < 2 ? &head : &other, &items[i].in_list);
    }
    list_take_all(&head, &other);
    check_order(&head, (int[]){0, 1, 2, 3}, 4);
    ck_assert(list_empty(&other));
    list_take_all(&head, &other);
    list_take_all(&other, &head);
    check_order(&other, (int[]){0, 1, 2, 3}, 4);
    ck_assert(list_empty(&head));
}
END_TEST

SUITE_MAIN("list", test_push_and_remove, test_take_all, test_members_may_be_freed_on_the_walk)
