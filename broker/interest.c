/* SPDX-License-Identifier: Apache-2.0 */
/* Filters and the sets of links that hold them. */
#include "config.h"

#include "broker/interest.h"

#include <errno.h>
#include <stdlib.h>

#include "broker/linkset.h"
#include "wire/filtertree.h"
#include "wire/names.h"

int
interest_init(struct interest *in, unsigned n_slots)
{
    *in = (struct interest){.n_words = LINKSET_WORDS(n_slots), .generation = 1};
    return filtertree_new(&in->filters);
}

void
interest_fini(struct interest *in)
{
    if (in->filters != NULL)
        in->filters = filtertree_free(in->filters);
}

static void
interest_note_change(struct interest *in, const struct interest_filter *filter)
{
    if (!filter->has_wildcard)
        return;
    if (++in->generation == 0)
        in->generation = 1;
}

static struct interest_filter *
filter_new(const struct interest *in, struct slice pattern)
{
    struct interest_filter *filter = malloc(sizeof(*filter) + pattern.n);

    if (filter == NULL)
        return NULL;
    *filter =
        (struct interest_filter){.n = (uint16_t)pattern.n, .has_wildcard = filter_has_wildcard(pattern)};
    memcpy(filter->pattern, pattern.p, pattern.n);
    filter->links = calloc(in->n_words, sizeof(filter->links[0]));
    if (filter->links == NULL) {
        free(filter);
        return NULL;
    }
    return filter;
}

int
interest_add(struct interest *in, unsigned slot, struct slice pattern, struct interest_filter **ret)
{
    struct interest_filter *filter = filtertree_find(in->filters, pattern);

    if (filter == NULL) {
        void **at;

        filter = filter_new(in, pattern);
        if (filter == NULL)
            return -ENOMEM;
        at = filtertree_at(in->filters, pattern);
        if (at == NULL) {
            free(filter->links);
            free(filter);
            return -ENOMEM;
        }
        *at = filter;
    } else if (linkset_has(filter->links, slot)) {
        return -EEXIST;
    }
    linkset_add(filter->links, slot);
    interest_note_change(in, filter);
    *ret = filter;
    return 0;
}

void
interest_remove(struct interest *in, unsigned slot, struct interest_filter *filter)
{
    linkset_remove(filter->links, slot);
    interest_note_change(in, filter);
    if (!linkset_is_empty(filter->links, in->n_words))
        return;
    (void)filtertree_remove(in->filters, interest_filter_pattern(filter));
    free(filter->links);
    free(filter);
}

struct collecting {
    uint64_t *links;
    unsigned n_words;
};

static void
interest_on_match(void *value, void *arg)
{
    const struct interest_filter *filter = value;
    struct collecting *c = arg;

    for (unsigned i = 0; i < c->n_words; i++)
        c->links[i] |= filter->links[i];
}

void
interest_collect(const struct interest *in, struct slice topic, uint64_t *ret_links)
{
    struct collecting c = {.links = ret_links, .n_words = in->n_words};

    memset(ret_links, 0, in->n_words * sizeof(ret_links[0]));
    filtertree_match(in->filters, topic, interest_on_match, &c);
}

size_t
interest_count(const struct interest *in)
{
    return filtertree_count(in->filters);
}
