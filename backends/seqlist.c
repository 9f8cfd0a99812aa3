/* SPDX-License-Identifier: Apache-2.0 */
/* Members by seq: see seqlist.h. Those that go are the oldest as a rule, so marks go at the front. */
#include "config.h"

#include "backends/seqlist.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 256u

void
seqlist_init(struct seqlist *l, uint64_t (*seq_of)(const struct list *member))
{
    *l = (struct seqlist){.seq_of = seq_of};
    list_init(&l->all);
}

void
seqlist_fini(struct seqlist *l)
{
    free(l->marks);
    l->marks = NULL;
    l->from = l->n_marks = l->room = 0;
}

static uint64_t
block_of(const struct seqlist *l, const struct list *member)
{
    return l->seq_of(member) / BLOCK;
}

/* ---- Marks. ---- */

static struct seqlist_mark *
marks_at(const struct seqlist *l, size_t i)
{
    return &l->marks[l->from + i];
}

/* The place of the first mark of a block that is not below; n_marks: there is none. */
static size_t
marks_find(const struct seqlist *l, uint64_t block)
{
    size_t low = 0, high = l->n_marks;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (marks_at(l, middle)->block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
marks_push(struct seqlist *l, struct seqlist_mark mark)
{
    if (l->from + l->n_marks == l->room && l->from > l->room / 2) {
        memmove(l->marks, l->marks + l->from, l->n_marks * sizeof(l->marks[0]));
        l->from = 0;
    }
    if (l->from + l->n_marks == l->room) {
        size_t room = l->room == 0 ? 16 : l->room * 2;
        struct seqlist_mark *marks = realloc(l->marks, room * sizeof(marks[0]));

        if (marks == NULL)
            return;
        l->marks = marks;
        l->room = room;
    }
    l->n_marks++;
    *marks_at(l, l->n_marks - 1) = mark;
}

static void
marks_remove(struct seqlist *l, size_t i)
{
    l->n_marks--;
    if (i == 0)
        l->from++;
    else
        memmove(marks_at(l, i), marks_at(l, i + 1), (l->n_marks - i) * sizeof(l->marks[0]));
    if (l->n_marks == 0)
        seqlist_fini(l);
}

/* ---- Members. ---- */

void
seqlist_push(struct seqlist *l, struct list *member)
{
    struct list *last = l->all.prev;
    uint64_t block = block_of(l, member);

    list_push_back(&l->all, member);
    if (l->n_marks > 0 && marks_at(l, l->n_marks - 1)->block == block)
        return;
    if (last == &l->all || block_of(l, last) != block)
        marks_push(l, (struct seqlist_mark){block, member});
}

/* Its mark if it is the first of its block; n_marks if not, or if there was no memory for one. */
static size_t
marks_of(const struct seqlist *l, const struct list *member)
{
    uint64_t block;
    size_t i;

    if (l->n_marks > 0 && marks_at(l, 0)->first == member)
        return 0;
    block = block_of(l, member);
    if (member->prev != &l->all && block_of(l, member->prev) == block)
        return l->n_marks;
    i = marks_find(l, block);
    return i < l->n_marks && marks_at(l, i)->first == member ? i : l->n_marks;
}

void
seqlist_remove(struct seqlist *l, struct list *member)
{
    struct list *next = member->next;
    size_t i = marks_of(l, member);
    uint64_t block;

    list_remove(member);
    if (i == l->n_marks)
        return;
    block = marks_at(l, i)->block;
    if (next != &l->all && block_of(l, next) == block)
        marks_at(l, i)->first = next;
    else
        marks_remove(l, i);
}

struct list *
seqlist_above(const struct seqlist *l, uint64_t seq)
{
    struct list *at = l->all.next;
    size_t i;

    if (list_empty(&l->all) || l->seq_of(l->all.prev) <= seq)
        return (struct list *)&l->all;
    i = marks_find(l, seq / BLOCK + 1); /* those before it may hold it */
    if (i > 0)
        at = marks_at(l, i - 1)->first;
    while (l->seq_of(at) <= seq)
        at = at->next;
    return at;
}
