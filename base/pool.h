/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for what comes and goes all the time in small pieces of different sizes: a freed piece is kept for
 * the next one of about its size, up to a bound in bytes; what is larger than POOL_PIECE_MAX is malloc()'s.
 * Who frees a piece has to say how large it is.
 *
 * Not for what lives long: memory that the pool keeps is nobody else's.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define POOL_STEP 64u
#define POOL_SIZES 16u
#define POOL_PIECE_MAX (POOL_STEP * POOL_SIZES)

struct pool_piece {
    struct pool_piece *next;
};

struct pool {
    struct pool_piece *spare[POOL_SIZES]; /* pieces of POOL_STEP, 2 * POOL_STEP, ... bytes */
    size_t n_spare, n_max;                /* bytes */
};

/* Keeps up to n_max bytes that nobody uses. */
void pool_init(struct pool *p, size_t n_max);
/* Frees what is kept; what was got and not put stays whose it is. */
void pool_fini(struct pool *p);

/* n is not 0. NULL if memory ran out. */
static inline void *
pool_get(struct pool *p, size_t n)
{
    size_t i = (n - 1) / POOL_STEP;
    struct pool_piece *piece;

    if (i >= POOL_SIZES)
        return malloc(n);
    piece = p->spare[i];
    if (piece == NULL)
        return malloc((i + 1) * POOL_STEP);
    ASAN_UNPOISON_MEMORY_REGION(piece, n < sizeof *piece ? sizeof *piece : n);
    p->spare[i] = piece->next;
    __builtin_prefetch(piece->next); /* it was put long ago, perhaps, and will be got soon */
    p->n_spare -= (i + 1) * POOL_STEP;
    return piece;
}

/* n as it was given to pool_get(). */
static inline void
pool_put(struct pool *p, void *memory, size_t n)
{
    size_t i = (n - 1) / POOL_STEP, size = (i + 1) * POOL_STEP;
    struct pool_piece *piece = memory;

    if (i >= POOL_SIZES || p->n_spare + size > p->n_max) {
        free(memory);
        return;
    }
    piece->next = p->spare[i];
    p->spare[i] = piece;
    p->n_spare += size;
    ASAN_POISON_MEMORY_REGION(piece, size);
}

#endif
