/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills the gaps of a template (actemplate.h).
 *
 * What a client gives fills one level or a part of one: it cannot bring a `/`, a wildcard, a control
 * character or a name of the bus's own with it, and it cannot be left out. What is signed may have several
 * levels.
 */
#ifndef DIALECTS_ACEXPAND_H
#define DIALECTS_ACEXPAND_H

#include "base/buf.h"
#include "base/slice.h"

struct acexpand_values {
    struct slice params; /* a JSON object */
    struct slice claims; /* a JSON object, or empty */
    struct slice action;
    struct slice streams_secret, turbo_secret; /* empty: none */
    unsigned max_depth;
};

/* Appends the topic to out. NULL, or why there is none, a clause for the log; out may then hold a part. */
const char *acexpand_put(const char *text, const struct acexpand_values *values, struct buf *out);

#endif
