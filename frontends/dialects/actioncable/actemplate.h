/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topic with gaps, as the config has it:
 *
 *     chat/{room}                 a parameter of the subscription: {"channel":"ChatChannel","room":1}
 *     mail/{claim:sub}            a claim of the token that the connection was opened with
 *     mail/{claim:ext.user_id}    deeper; a string on the way may be JSON itself
 *     services/chat/{action}      the action that is performed
 *     {signed:identifier}         a parameter that holds a signed name (acsigned.h)
 *     {turbo:name}                the same, with the other secret
 *
 * What fills them is acexpand's to say.
 */
#ifndef DIALECTS_ACTEMPLATE_H
#define DIALECTS_ACTEMPLATE_H

#include <stdbool.h>

#include "base/slice.h"

enum actemplate_kind {
    ACTEMPLATE_TEXT,
    ACTEMPLATE_PARAM,
    ACTEMPLATE_CLAIM,
    ACTEMPLATE_SIGNED,
    ACTEMPLATE_TURBO,
    ACTEMPLATE_ACTION,
};

struct actemplate_piece {
    enum actemplate_kind kind;
    struct slice text; /* as it stands, or the name between the braces */
};

/* The next piece at *at, which is moved behind it: 1; 0 at the end; -1: braces that do not match, or a gap
 * without a name. */
int actemplate_next(const char **at, struct actemplate_piece *ret);

/* NULL, or what is wrong with it, a clause for who wrote the config. */
const char *actemplate_error(const char *text, bool may_action);

#endif
