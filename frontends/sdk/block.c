/* SPDX-License-Identifier: Apache-2.0 */
/* Counted references to encoded bytes. One thread: the count is a plain number. */
#include "config.h"

#include "frontends/sdk/block.h"

#include <errno.h>
#include <stdlib.h>

struct block *
block_new(void)
{
    struct block *block = malloc(sizeof *block);

    if (block == NULL)
        return NULL;
    block->n_refs = 1;
    block->n_marks = 0;
    block->cap_marks = 0;
    block->marks = NULL;
    block->epoch = 0;
    /* out_piece counts in 32 bits. */
    buf_init(&block->buf, UINT32_MAX);
    return block;
}

void
block_free(struct block *block)
{
    buf_fini(&block->buf);
    if (block->marks != &block->one)
        free(block->marks);
    free(block);
}

int
block_grow_marks(struct block *block)
{
    uint32_t cap = block->cap_marks == 0 ? 1 : block->cap_marks == 1 ? 16 : block->cap_marks * 2;
    struct block_mark *marks = &block->one;

    if (cap > 1) {
        marks = realloc(block->marks == &block->one ? NULL : block->marks, cap * sizeof *marks);
        if (marks == NULL)
            return -ENOMEM;
        if (block->marks == &block->one)
            marks[0] = block->one;
    }
    block->marks = marks;
    block->cap_marks = cap;
    return 0;
}

int
block_add_mark(struct block *block, const struct block_mark *mark)
{
    struct block_mark *to = block_new_mark(block);

    if (to == NULL)
        return -ENOMEM;
    *to = *mark;
    return 0;
}

uint32_t
block_find_mark(const struct block *block, uint32_t at)
{
    uint32_t low = 0, high = block->n_marks;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (block->marks[mid].at + block->marks[mid].n <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
