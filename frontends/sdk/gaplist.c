/* SPDX-License-Identifier: Apache-2.0 */
/* Gaps are rare and few: an array, looked through. When memory runs out the list becomes "of unknown topics",
 * never shorter. */
#include "config.h"

#include "frontends/sdk/gaplist.h"

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

/* ---- Told. ---- */

static struct told_gap *
told_gaps_find(const struct told_gaps *t, uint64_t topic)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->items[i].topic == topic)
            return &t->items[i];
    return NULL;
}

/* Of topics past the bound it is known that some of them have a gap, and up to where. */
bool
told_gaps_has(const struct told_gaps *t, uint64_t topic, uint64_t seq)
{
    const struct told_gap *told = topic == 0 ? NULL : told_gaps_find(t, topic);

    if (told != NULL)
        return seq <= told->seq;
    return (topic == 0 || t->n == GAPLIST_MAX) && seq <= t->unnamed;
}

void
told_gaps_add(struct told_gaps *t, uint64_t topic, uint64_t seq)
{
    struct told_gap *told = topic == 0 ? NULL : told_gaps_find(t, topic), *items;

    if (told != NULL) {
        if (seq > told->seq)
            told->seq = seq;
        return;
    }
    if (topic == 0 || t->n == GAPLIST_MAX) {
        if (seq > t->unnamed)
            t->unnamed = seq;
        return;
    }
    items = realloc(t->items, (t->n + 1) * sizeof *items);
    if (items == NULL)
        return;
    t->items = items;
    items[t->n++] = (struct told_gap){.topic = topic, .seq = seq};
}

void
told_gaps_take(struct told_gaps *t, struct told_gaps *from)
{
    for (uint32_t i = 0; i < from->n; i++)
        told_gaps_add(t, from->items[i].topic, from->items[i].seq);
    told_gaps_add(t, 0, from->unnamed);
    told_gaps_clear(from);
}

void
told_gaps_clear(struct told_gaps *t)
{
    free(t->items);
    *t = (struct told_gaps){0};
}
