/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of links as bits, one for each slot. How many words a set has is fixed when the broker starts
 * (links_max). */
#ifndef BROKER_LINKSET_H
#define BROKER_LINKSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINKSET_WORDS(n_slots) (((n_slots) + 63) / 64)

static inline void
linkset_add(uint64_t *set, unsigned slot)
{
    set[slot / 64] |= UINT64_C(1) << slot % 64;
}

static inline void
linkset_remove(uint64_t *set, unsigned slot)
{
    set[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

static inline bool
linkset_has(const uint64_t *set, unsigned slot)
{
    return (set[slot / 64] >> slot % 64 & 1) != 0;
}

static inline bool
linkset_is_empty(const uint64_t *set, unsigned n_words)
{
    for (unsigned i = 0; i < n_words; i++)
        if (set[i] != 0)
            return false;
    return true;
}

static inline unsigned
linkset_count(const uint64_t *set, unsigned n_words)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_words; i++)
        n += (unsigned)__builtin_popcountll(set[i]);
    return n;
}

/* for (unsigned slot = linkset_first(...); slot < n_words * 64; slot = linkset_next(set, n_words, slot)) */
static inline unsigned
linkset_from(const uint64_t *set, unsigned n_words, unsigned slot)
{
    while (slot < n_words * 64) {
        uint64_t rest = set[slot / 64] >> slot % 64;

        if (rest != 0)
            return slot + (unsigned)__builtin_ctzll(rest);
        slot = (slot / 64 + 1) * 64;
    }
    return slot;
}

#define linkset_for_each(slot, set, n_words)                                                                 \
    for (unsigned slot = linkset_from(set, n_words, 0); slot < (n_words)*64;                                 \
         slot = linkset_from(set, n_words, slot + 1))

#endif
