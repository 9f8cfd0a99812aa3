/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's beginning and end; what is done for each piece is in the header. */
#include "config.h"

#include "base/pool.h"

void
pool_init(struct pool *p, size_t n_max)
{
    *p = (struct pool){.n_max = n_max};
}

void
pool_fini(struct pool *p)
{
    for (unsigned i = 0; i < POOL_SIZES; i++) {
        while (p->spare[i] != NULL) {
            struct pool_piece *piece = p->spare[i];

            ASAN_UNPOISON_MEMORY_REGION(piece, POOL_STEP);
            p->spare[i] = piece->next;
            free(piece);
        }
    }
    p->n_spare = 0;
}
