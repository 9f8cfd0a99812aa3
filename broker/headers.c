/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing headers: see headers.h. */
#include "config.h"

#include "broker/headers.h"

#include <stdint.h>

#include "base/buf.h"
#include "base/mp.h"

/* The next pair of a map. */
static bool
next_pair(struct mp *at, uint32_t *n, struct slice *ret_name, struct slice *ret_value)
{
    if (*n == 0 || mp_str(at, ret_name) < 0 || mp_str(at, ret_value) < 0)
        return false;
    --*n;
    return true;
}

struct slice
headers_find(struct slice headers, const char *name)
{
    struct mp at = mp_of(headers);
    struct slice found, value;
    uint32_t n;

    if (mp_map(&at, &n) < 0)
        return slice_of(NULL, 0);
    while (next_pair(&at, &n, &found, &value))
        if (slice_is(found, name))
            return value;
    return slice_of(NULL, 0);
}

static void
put_str(struct buf *out, struct slice text)
{
    if (text.n < 32) {
        buf_put_byte(out, (uint8_t)(0xa0 | text.n));
    } else if (text.n <= UINT8_MAX) {
        buf_put_byte(out, 0xd9);
        buf_put_byte(out, (uint8_t)text.n);
    } else {
        buf_put_byte(out, 0xda);
        buf_put_byte(out, (uint8_t)(text.n >> 8));
        buf_put_byte(out, (uint8_t)text.n);
    }
    buf_put_slice(out, text);
}

static bool
has_prefix(struct slice name, const char *prefix)
{
    size_t n = strlen(prefix);

    return name.n >= n && memcmp(name.p, prefix, n) == 0;
}

bool
headers_put(
    struct buf *out, struct slice headers, const char *drop_prefix, const struct header *more, size_t n_more)
{
    struct slice name, value;
    uint32_t n = 0, n_all = 0;
    size_t count_at = out->n;
    struct mp at = mp_of(headers);

    buf_put(out, "\xde\0\0", 3);
    if (mp_map(&at, &n) < 0)
        n = 0;
    for (; next_pair(&at, &n, &name, &value); n_all++) {
        if (has_prefix(name, drop_prefix)) {
            n_all--;
            continue;
        }
        put_str(out, name);
        put_str(out, value);
    }
    for (size_t i = 0; i < n_more; i++, n_all++) {
        put_str(out, slice_str(more[i].name));
        put_str(out, more[i].value);
    }
    if (buf_failed(out))
        return false;
    out->p[count_at + 1] = (uint8_t)(n_all >> 8);
    out->p[count_at + 2] = (uint8_t)n_all;
    return true;
}
