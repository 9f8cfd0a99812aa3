/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link that is behind the bus: sent from the store what it wants, from a position on, as fast as it takes
 * it; when nothing is left it is live again, in the same turn, and told so by RESUMED. This serves the
 * frontend that attached anew (RESUME) and the one that was too slow: so a stopped frontend costs no memory,
 * and loses nothing that is still kept.
 */
#ifndef BROKER_CATCHUP_H
#define BROKER_CATCHUP_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/gaps.h"

struct broker;
struct frame;
struct peer;
struct record;

struct catchup {
    uint64_t since;   /* everything wanted up to here was put */
    uint64_t told_at; /* the store's last seq at the read before, 0 if there was none */
    uint64_t state;   /* of the RESUMED that ends it, apart from gaps: enum recover_state */
    bool is_reading;
    struct gaps gaps;
};

/* The handler of RESUME. */
int catchup_on_resume(struct peer *peer, const struct frame *f);

/* A live link whose backlog has grown too long: from now on it is behind. since: what it was put already. */
void catchup_fall_behind(struct peer *peer, uint64_t since);

/* Puts more while the link takes it. */
void catchup_go_on(struct peer *peer);

#endif
