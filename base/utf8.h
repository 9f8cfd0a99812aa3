/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Resumable, so that a
 * text that comes in fragments is checked as it comes; ASCII is skipped many bytes at a time.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_ACCEPT 0u
#define UTF8_REJECT 1u

/* Feeds n bytes; start with UTF8_ACCEPT. Returns the new state: UTF8_ACCEPT at a character's end,
 * UTF8_REJECT for ever once wrong, anything else inside a character. */
uint32_t utf8_feed(uint32_t state, const void *p, size_t n);

/* The whole of p is valid. */
bool utf8_is_valid(const void *p, size_t n);

/* Writes the code point (at most U+10FFFF) to out (4 bytes of room); returns the bytes written. */
size_t utf8_encode(uint32_t code_point, uint8_t *out);

#endif
