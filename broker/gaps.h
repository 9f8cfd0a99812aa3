/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which gaps a reader was told. A long replay reads the store piece by piece and meets the same gap each
 * time; it is told once for each topic, and again only if more was evicted meanwhile. Past a limit of topics
 * the rest is told as one gap without a name.
 */
#ifndef BROKER_GAPS_H
#define BROKER_GAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/table.h"

struct peer;
struct topic;

#define GAPS_TOPICS_MAX 1000u

struct gaps {
    struct table told; /* struct gap: by the topic's serial */
    uint64_t unnamed;  /* the highest seq told without a name */
    uint64_t overflow; /* to be told without a name: of topics past the limit */
    bool has_any;
};

void gaps_init(struct gaps *gaps);
void gaps_fini(struct gaps *gaps); /* and ready for use again */

/* From store_read.on_gap(): topic NULL for forgotten ones. Puts a GAP for request `req` (0: the link) if it
 * is news. */
void gaps_tell(struct gaps *gaps, struct peer *peer, uint64_t req, struct topic *topic, uint64_t seq);
/* Before the first record, and at the end: tells what was collected past the limit. */
void gaps_flush(struct gaps *gaps, struct peer *peer, uint64_t req);

#endif
