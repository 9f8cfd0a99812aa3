/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A position on the bus, and the cursor that stands for it in every protocol: "<epoch>-<seq>", the epoch in
 * lower-case hexadecimal, the seq in decimal. Opaque to clients, the same on every transport.
 */
#ifndef SDK_POSITION_H
#define SDK_POSITION_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct position {
    uint64_t epoch; /* 0: none */
    uint64_t seq;
};

#define CURSOR_MAX 40 /* bytes of the longest cursor with its NUL */

/* Writes the cursor with a NUL; returns its length without it. */
size_t cursor_format(char out[CURSOR_MAX], struct position position);
/* 0, or -EINVAL for anything that cursor_format() would not have written. */
int cursor_parse(struct slice text, struct position *ret);

#endif
