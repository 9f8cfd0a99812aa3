/* SPDX-License-Identifier: Apache-2.0 */
/* The names of topics of which messages are missing, each once, bounded: past the bound the empty name stands
 * for the rest. */
#ifndef SDK_GAPLIST_H
#define SDK_GAPLIST_H

#include <stddef.h>

#include "base/slice.h"

#define GAPLIST_MAX 256u

struct gaplist {
    struct slice *items; /* copies */
    size_t n;
};

void gaplist_add(struct gaplist *g, struct slice topic);
void gaplist_clear(struct gaplist *g);

#endif
