/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planned end of a frontend's clients: each is told to connect again, the oldest first, limits.drain_rate
 * of them a second, so that whoever takes over is not asked by all at once; faster if they would not all be
 * told within limits.drain_time. A client that has connected and asked nothing yet gets a moment to do so: it
 * is served, and then told.
 */
#ifndef SDK_DRAIN_H
#define SDK_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct frontend;

struct drain {
    struct frontend *fe;
    struct list waiting; /* not told yet, the oldest first */
    struct list silent;  /* had asked nothing yet when it was their turn */
    uint64_t began_ms, deadline_ms;
    uint64_t rate; /* clients a second */
    uint64_t n_told;
};

/* Takes all connections; listening has ended. */
void drain_begin(struct drain *drain, struct frontend *fe);
/* Tells those whose turn it is. Every DRAIN_STEP_MS. */
#define DRAIN_STEP_MS 50u
void drain_step(struct drain *drain);
/* All were told, and those that had to be were given the time to end it: whoever is left can be cut off. */
bool drain_is_over(const struct drain *drain);
/* Gives back the connections that were not told. NULL-safe for one that never began. */
void drain_end(struct drain *drain);

#endif
