/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of members in the order of their seq, of which any may go at any time, and in which a seq is found
 * without walking along: it remembers the first member of each block of seqs that has one.
 *
 * For a read of many topics in the order of seq, which need not look at each topic.
 */
#ifndef BACKENDS_SEQLIST_H
#define BACKENDS_SEQLIST_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct seqlist_mark {
    uint64_t block;
    struct list *first;
};

struct seqlist {
    struct list all;
    uint64_t (*seq_of)(const struct list *member);
    struct seqlist_mark *marks; /* n_marks from marks[from] on, in order */
    size_t from, n_marks, room;
};

void seqlist_init(struct seqlist *l, uint64_t (*seq_of)(const struct list *member));
void seqlist_fini(struct seqlist *l); /* the members are the caller's */

/* Above all that are in the list. Cannot fail: without memory for a mark it is only found more slowly. */
void seqlist_push(struct seqlist *l, struct list *member);
void seqlist_remove(struct seqlist *l, struct list *member);

/* The first member with a higher seq, or &l->all. */
struct list *seqlist_above(const struct seqlist *l, uint64_t seq);

#endif
