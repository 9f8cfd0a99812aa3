/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A doubly linked list, intrusive and circular. One struct list is the head; one more is embedded in each
 * member for each list that the member can be in. The list owns nothing.
 *
 *     struct waiter { int n; struct list in_queue; };
 *     struct list queue;
 *
 *     list_init(&queue);
 *     list_push_back(&queue, &waiter->in_queue);
 *     list_for_each_safe (it, next, &queue)
 *         waiter_free(list_entry(it, struct waiter, in_queue));
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next; /* of a head: the last and the first; itself when empty */
};

/* A head becomes empty; a member becomes "in no list". */
static inline void
list_init(struct list *l)
{
    l->prev = l;
    l->next = l;
}

/* Of a head: nothing is in the list. Of a member (initialised or removed): it is in no list. */
static inline bool
list_empty(const struct list *l)
{
    return l->next == l;
}

/* The member must be in no list: it is not taken out of another one. */
static inline void
list_push_back(struct list *head, struct list *member)
{
    member->prev = head->prev;
    member->next = head;
    head->prev->next = member;
    head->prev = member;
}

static inline void
list_push_front(struct list *head, struct list *member)
{
    member->prev = head;
    member->next = head->next;
    head->next->prev = member;
    head->next = member;
}

/* The member is "in no list" after; removing it again does nothing. */
static inline void
list_remove(struct list *member)
{
    member->prev->next = member->next;
    member->next->prev = member->prev;
    list_init(member);
}

/* From wherever it is to the end. */
static inline void
list_move_back(struct list *head, struct list *member)
{
    if (head->prev == member)
        return; /* as with whoever is the busiest */
    list_remove(member);
    list_push_back(head, member);
}

/* Moves all members of one list to the end of another. */
static inline void
list_take_all(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* The struct that embeds the member. */
#define list_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* The body may remove (and free) the member that it is at, but no other one. */
#define list_for_each_safe(it, following, head)                                                              \
    for (struct list *it = (head)->next, *following = it->next; it != (head);                                \
         it = following, following = it->next)

#endif
