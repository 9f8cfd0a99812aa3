/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a lease: which message, of which group, given out for which time; and a code that only we can
 * make, so that nobody settles what he was not given.
 *
 *     q1b2f0c4d5e6f7081.3e8.1.90ab12cd34ef5678      group, seq, delivery, code: in hexadecimal
 *
 * It is verified by itself: nothing has to be remembered but the key.
 */
#ifndef BROKER_LEASE_H
#define BROKER_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define LEASE_TEXT_MAX 64u
#define LEASE_KEY_BYTES 16u

struct lease {
    uint64_t group, seq;
    uint32_t n_deliveries;
};

struct slice lease_put(
    const uint8_t key[LEASE_KEY_BYTES], const struct lease *lease, char text[LEASE_TEXT_MAX]);
/* False: it is none of ours. */
bool lease_get(const uint8_t key[LEASE_KEY_BYTES], struct slice text, struct lease *ret);

/* Does it look like one (and not like the call of a request that is not kept)? */
bool lease_is_one(struct slice text);

#endif
