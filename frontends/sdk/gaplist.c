/* SPDX-License-Identifier: Apache-2.0 */
/* Gaps are rare and few: an array, looked through. When memory runs out the list becomes "of unknown topics",
 * never shorter. */
#include "config.h"

#include "frontends/sdk/gaplist.h"

#include <stdbool.h>
#include <stdlib.h>

static bool
gaplist_has(const struct gaplist *g, struct slice topic)
{
    for (size_t i = 0; i < g->n; i++) {
        if (slice_equal(g->items[i], topic))
            return true;
    }
    return false;
}

static bool
gaplist_push(struct gaplist *g, struct slice topic)
{
    struct slice *items = realloc(g->items, (g->n + 1) * sizeof *items);
    uint8_t *copy = NULL;

    if (items == NULL)
        return false;
    g->items = items;
    if (topic.n > 0) {
        copy = malloc(topic.n);
        if (copy == NULL)
            return false;
        memcpy(copy, topic.p, topic.n);
    }
    items[g->n++] = slice_of(copy, topic.n);
    return true;
}

void
gaplist_add(struct gaplist *g, struct slice topic)
{
    struct slice unknown = {0};

    if (gaplist_has(g, topic))
        return;
    if (g->n + 1 < GAPLIST_MAX && gaplist_push(g, topic))
        return;
    if (gaplist_has(g, unknown))
        return;
    if (!gaplist_push(g, unknown) && g->n > 0) {
        free((void *)g->items[0].p);
        g->items[0] = unknown;
    }
}

void
gaplist_clear(struct gaplist *g)
{
    for (size_t i = 0; i < g->n; i++)
        free((void *)g->items[i].p);
    free(g->items);
    *g = (struct gaplist){0};
}
