/* SPDX-License-Identifier: Apache-2.0 */
/* The names of topics of which messages are missing, each once, bounded: past the bound the empty name stands
 * for the rest. And which gaps somebody was told already. */
#ifndef SDK_GAPLIST_H
#define SDK_GAPLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define GAPLIST_MAX 256u

struct gaplist {
    struct slice *items; /* copies */
    size_t n;
};

void gaplist_add(struct gaplist *g, struct slice topic);
void gaplist_clear(struct gaplist *g);

/* A topic is known by a hash of its name, 0 for the empty name, so that many may be remembered for each
 * client. */
struct told_gap {
    uint64_t topic, seq;
};

struct told_gaps {
    struct told_gap *items;
    uint32_t n;
    uint64_t unnamed; /* told without a name: up to this seq */
};

/* False: it is news, or more is missing than was told. */
bool told_gaps_has(const struct told_gaps *t, uint64_t topic, uint64_t seq);
/* What cannot be remembered is told again. */
void told_gaps_add(struct told_gaps *t, uint64_t topic, uint64_t seq);
/* All of from, which is empty then. */
void told_gaps_take(struct told_gaps *t, struct told_gaps *from);
void told_gaps_clear(struct told_gaps *t);

#endif
