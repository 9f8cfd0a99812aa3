/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client performs: the JSON object in the data of a `message` command. Its member "action" names the
 * action, without it (Subscription#send) it is "receive", as in Rails. What is left is the payload:
 *
 *     {"body":"hello","action":"speak"}    speak      {"body":"hello"}
 *     {"body":"hello"}                     receive    {"body":"hello"}
 */
#ifndef DIALECTS_ACACTION_H
#define DIALECTS_ACACTION_H

#include "base/buf.h"
#include "base/slice.h"

struct acaction {
    struct slice name;    /* decoded */
    struct slice payload; /* the other members, each as it stands */
};

/* 0, or -EINVAL with *ret_error, a clause for the log. Slices point into data or scratch, which is put to. */
int acaction_read(
    struct slice data, unsigned max_depth, struct buf *scratch, struct acaction *ret, const char **ret_error);

#endif
