/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoded bytes that many connections send: counted references, one allocation of growing content while a
 * turn lasts. The content at an offset never changes once written, but data may move until the turn's end:
 * refer to it by offset.
 */
#ifndef SDK_BLOCK_H
#define SDK_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Where a delivery stands in a block, so that a queue that is too long can be shortened by whole deliveries.
 * What has no mark are answers: they are never left out. */
struct block_mark {
    uint32_t at, n;
    uint32_t handle : 24; /* the topic, with tag: hub_topic_name() */
    uint32_t policy : 6;  /* enum slow_policy, or BLOCK_NOTICE */
    uint32_t is_replay : 1;
    uint32_t tag;   /* the same for the same topic while the link stands */
    uint32_t group; /* the hub's, of a live delivery; of a replay a number of its own */
    uint64_t seq;   /* of a notice: how many deliveries it tells of */
    uint64_t value; /* SLOW_CONFLATE: the same for the same thing, not 0; hub_value_of() */
};
/* An ANSWER_DROPPED: the next one tells it too. */
#define BLOCK_NOTICE 63u

struct block {
    uint32_t n_refs;
    uint32_t n_marks, cap_marks;
    struct block_mark *marks; /* in order; NULL, or &one, or allocated */
    struct block_mark one;
    uint64_t epoch; /* of the marks' seqs */
    struct buf buf;
};

struct block *block_new(void);        /* one reference; NULL if memory ran out */
void block_free(struct block *block); /* block_unref() does it */

static inline struct block *
block_ref(struct block *block)
{
    block->n_refs++;
    return block;
}

static inline void
block_unref(struct block *block) /* NULL is fine */
{
    if (block != NULL && --block->n_refs == 0)
        block_free(block);
}

/* Room for one more mark. 0 or -ENOMEM. */
int block_grow_marks(struct block *block);
/* Behind the marks that there are, to be filled in; NULL if memory ran out. */
static inline struct block_mark *
block_new_mark(struct block *block)
{
    if (block->n_marks == block->cap_marks && block_grow_marks(block) < 0)
        return NULL;
    return &block->marks[block->n_marks++];
}
/* Likewise, at once. 0 or -ENOMEM. */
int block_add_mark(struct block *block, const struct block_mark *mark);
/* The first mark that ends behind `at`. */
uint32_t block_find_mark(const struct block *block, uint32_t at);

#endif
