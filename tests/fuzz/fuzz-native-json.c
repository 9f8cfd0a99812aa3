/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json.h"
#include "tests/fuzz/nativefuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_json(struct slice message)
{
    if (json_check(message.p, message.n, FUZZ_DEPTH + 1, NULL) < 0)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char op[] = "{\"op\":\"pub\"";
    struct slice in = slice_of(data, size);

    if (size > 4096)
        return 0;
    fuzz_decode(&dialect_native_json, in, check_json, slice_str("1"), slice_of(op, sizeof op - 1), 0);
    fuzz_stream(&dialect_native_json, in);
    return 0;
}
