/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of both forms of the native protocol need: decoding from an allocation of the exact size, so
 * that a read past the end is seen, and messages written as JSON turned into MessagePack.
 */
#ifndef TESTS_NATIVESUPPORT_H
#define TESTS_NATIVESUPPORT_H

#include "frontends/dialects/dialect.h"

struct decoded {
    int r;
    uint8_t *input; /* what the slices point into */
    struct request_scratch scratch;
    struct request request;
    struct dialect_error error;
};

void decoded_init(struct decoded *d, const struct dialect *dialect, struct slice in);
void decoded_fini(struct decoded *d);

/* The same values as MessagePack: integers, strings, arrays, objects, words; no floats. Appends to out. */
void json_to_msgpack(struct buf *out, const char *json);

/* Fails the test unless both are equal; prints both. */
void check_slice(struct slice seen, const char *expected, size_t n);
#define CHECK_SLICE(seen, literal) check_slice((seen), (literal), sizeof(literal) - 1)

/* Feeds `in` (messages back to back) to split() in pieces of `step` bytes and decodes each message; returns
 * how many messages came out, and checks that nothing is left. */
size_t split_all(const struct dialect *dialect, struct slice in, size_t step, size_t max);

#endif
