/* SPDX-License-Identifier: Apache-2.0 */
/* Counted references to encoded bytes. One thread: the count is a plain number. */
#include "config.h"

#include "frontends/sdk/block.h"

#include <stdlib.h>

struct block *
block_new(void)
{
    struct block *block = malloc(sizeof *block);

    if (block == NULL)
        return NULL;
    block->n_refs = 1;
    /* out_piece counts in 32 bits. */
    buf_init(&block->buf, UINT32_MAX);
    return block;
}

struct block *
block_ref(struct block *block)
{
    block->n_refs++;
    return block;
}

void
block_unref(struct block *block)
{
    if (block == NULL || --block->n_refs > 0)
        return;
    buf_fini(&block->buf);
    free(block);
}
