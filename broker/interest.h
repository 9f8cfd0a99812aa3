/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who wants what: filters, each with the set of links that hold it. Topics cache the union of the sets that
 * match them (broker/topic.h); a change of a wildcard makes all caches void by raising `generation`, a change
 * of an exact filter concerns one topic, which the caller tells.
 */
#ifndef BROKER_INTEREST_H
#define BROKER_INTEREST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct filtertree;

struct interest {
    struct filtertree *filters;
    unsigned n_words;    /* of each linkset */
    uint32_t generation; /* never 0 */
};

/* One filter, held by at least one link. */
struct interest_filter {
    uint64_t *links;
    uint16_t n;
    bool has_wildcard;
    char pattern[];
};

static inline struct slice
interest_filter_pattern(const struct interest_filter *filter)
{
    return slice_of(filter->pattern, filter->n);
}

int interest_init(struct interest *in, unsigned n_slots);
void interest_fini(struct interest *in); /* nobody holds anything any more */

/* pattern is a valid filter. 0, -EEXIST: this link holds it already, -ENOMEM. */
int interest_add(struct interest *in, unsigned slot, struct slice pattern, struct interest_filter **ret);
/* filter may be freed. */
void interest_remove(struct interest *in, unsigned slot, struct interest_filter *filter);

/* The links that want this topic, into n_words words. */
void interest_collect(const struct interest *in, struct slice topic, uint64_t *ret_links);

size_t interest_count(const struct interest *in);

#endif
