/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slice: bytes that somebody else owns, with their length. It is passed by value, is not NUL-terminated
 * and stays valid for as long as the owner says.
 */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p; /* may be NULL only if n is 0 */
    size_t n;
};

/* For printf: ("%.*s", SLICE_ARG(s)) */
#define SLICE_ARG(s) (int)(s).n, (const char *)(s).p

static inline struct slice
slice_of(const void *p, size_t n)
{
    return (struct slice){.p = p, .n = n};
}

/* A NUL-terminated string, without its NUL; NULL gives the empty slice. */
static inline struct slice
slice_str(const char *s)
{
    return (struct slice){.p = (const uint8_t *)s, .n = s == NULL ? 0 : strlen(s)};
}

static inline bool
slice_equal(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
slice_is(struct slice a, const char *s)
{
    return slice_equal(a, slice_str(s));
}

#endif
