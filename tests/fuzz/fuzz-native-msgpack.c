/* SPDX-License-Identifier: Apache-2.0 */
/* msgpack-c is the judge of what comes out, and of where a message ends. */
#include "config.h"

#include <msgpack.h>

#include "tests/fuzz/nativefuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_msgpack(struct slice message)
{
    msgpack_unpacked unpacked;
    size_t at = 0;

    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, (const char *)message.p, message.n, &at) != MSGPACK_UNPACK_SUCCESS)
        abort();
    assert(at == message.n);
    assert(unpacked.data.type == MSGPACK_OBJECT_MAP);
    msgpack_unpacked_destroy(&unpacked);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char op[] = "\242op\243pub";
    struct slice in = slice_of(data, size), message;
    struct dialect_scan scan = {0};
    size_t n;

    if (size > 4096)
        return 0;
    fuzz_decode(
        &dialect_native_msgpack, in, check_msgpack, slice_str("\001"), slice_of(op, sizeof op - 1), 1);
    fuzz_stream(&dialect_native_msgpack, in);
    if (dialect_native_msgpack.split(in, &scan, FUZZ_MAX, &n, &message) == 0)
        check_msgpack(message);
    return 0;
}
