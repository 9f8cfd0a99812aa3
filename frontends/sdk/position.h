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
/* The last cursor that was written, for those who write one after the other: its epoch is mostly that of the
 * next, and its seq mostly one less. All zero at first. */
struct cursor_text {
    struct position position;
    uint8_t n_epoch, n; /* bytes up to and with '-', and in all */
    char text[CURSOR_MAX];
};
/* What cursor_format() writes; good until the next call. */
struct slice cursor_text_of(struct cursor_text *c, struct position position);
/* 0, or -EINVAL for anything that cursor_format() would not have written. */
int cursor_parse(struct slice text, struct position *ret);

#endif
