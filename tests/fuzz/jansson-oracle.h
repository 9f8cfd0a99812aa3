/* SPDX-License-Identifier: Apache-2.0 */
/* What jansson says of a text. In a file of its own: its names and those of base/json.h collide. */
#ifndef TESTS_FUZZ_JANSSON_ORACLE_H
#define TESTS_FUZZ_JANSSON_ORACLE_H

#include <stddef.h>
#include <stdint.h>

enum jansson_verdict { JANSSON_TAKEN, JANSSON_REFUSED, JANSSON_CANNOT_HOLD };

/* JANSSON_CANNOT_HOLD: a number that overflows a double, or NUL in a member's name; both are JSON. */
enum jansson_verdict jansson_ask(const uint8_t *data, size_t size);

#endif
