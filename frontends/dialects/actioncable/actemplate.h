/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topic with gaps, as the config has it, and what fills them:
 *
 *     chat/{room}                 a parameter of the subscription: {"channel":"ChatChannel","room":1}
 *     mail/{claim:sub}            a claim of the token that the connection was opened with
 *     mail/{claim:ext.user_id}    deeper; a string on the way may be JSON itself
 *     services/chat/{action}      the action that is performed
 *
 * What a client gives fills one level or a part of one: it cannot bring a `/`, a wildcard, a control
 * character or a name of the bus's own with it, and it cannot be left out.
 */
#ifndef DIALECTS_ACTEMPLATE_H
#define DIALECTS_ACTEMPLATE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* NULL, or what is wrong with it, a clause for who wrote the config. */
const char *actemplate_error(const char *text, bool may_action);

struct actemplate_values {
    struct slice params; /* a JSON object */
    struct slice claims; /* a JSON object, or empty */
    struct slice action;
    unsigned max_depth;
};

/* Appends the topic to out. NULL, or why there is none, a clause for the log; out may then hold a part. */
const char *actemplate_put(const char *text, const struct actemplate_values *values, struct buf *out);

#endif
