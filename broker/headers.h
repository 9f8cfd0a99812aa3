/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of a message: a MessagePack map of str to str, or nothing. What is no such map has no headers.
 */
#ifndef BROKER_HEADERS_H
#define BROKER_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct buf;

struct header {
    const char *name;
    struct slice value;
};

/* The value of one; empty if there is none. */
struct slice headers_find(struct slice headers, const char *name);

/* Puts the headers without those whose name begins with drop_prefix, and then these. False if memory ran
 * out. */
bool headers_put(
    struct buf *out, struct slice headers, const char *drop_prefix, const struct header *more, size_t n_more);

#endif
