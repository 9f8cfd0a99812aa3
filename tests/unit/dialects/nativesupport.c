/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/unit/dialects/nativesupport.h"

#include <check.h>
#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>

#include "base/json.h"

void
decoded_init(struct decoded *d, const struct dialect *dialect, struct slice in)
{
    memset(d, 0, sizeof *d);
    buf_init(&d->scratch.text, 0);
    buf_init(&d->scratch.headers, 0);
    d->input = malloc(in.n == 0 ? 1 : in.n);
    ck_assert_ptr_nonnull(d->input);
    if (in.n > 0)
        memcpy(d->input, in.p, in.n);
    d->r = dialect->decode(slice_of(d->input, in.n), 32, &d->scratch, &d->request, &d->error);
    ck_assert_msg(d->r == 0 || d->r == -EINVAL, "decode gave %d", d->r);
    if (d->r < 0) {
        ck_assert_int_ne(d->error.code, ERROR_NONE);
        ck_assert_uint_gt(strlen(d->error.text), 0);
    }
}

void
decoded_fini(struct decoded *d)
{
    buf_fini(&d->scratch.text);
    buf_fini(&d->scratch.headers);
    free(d->input);
}

static int
write_buf(void *out, const char *p, size_t n)
{
    buf_put(out, p, n);
    return 0;
}

/* Counts the values up to the end of the container that r stands in. */
static size_t
count_values(struct json r)
{
    struct json_token t;
    struct slice raw;
    size_t n = 0;

    while (json_has_more(&r)) {
        if ((r.is_object >> (r.depth - 1) & 1) != 0)
            ck_assert_int_eq(json_next(&r, &t), 0);
        ck_assert_int_eq(json_skip(&r, &raw), 0);
        n++;
    }
    return n;
}

static void
pack_string(msgpack_packer *packer, struct slice raw)
{
    struct buf text;

    buf_init(&text, 0);
    json_unescape(&text, raw);
    (void)msgpack_pack_str(packer, text.n);
    if (text.n > 0)
        (void)msgpack_pack_str_body(packer, text.p, text.n);
    buf_fini(&text);
}

static void
pack_token(msgpack_packer *packer, const struct json *r, const struct json_token *t)
{
    switch (t->type) {
    case JSON_OBJECT:
        (void)msgpack_pack_map(packer, count_values(*r));
        break;
    case JSON_ARRAY:
        (void)msgpack_pack_array(packer, count_values(*r));
        break;
    case JSON_KEY:
    case JSON_STRING:
        pack_string(packer, t->raw);
        break;
    case JSON_NUMBER:
        (void)msgpack_pack_int64(packer, strtoll((const char *)t->raw.p, NULL, 10));
        break;
    case JSON_TRUE:
        (void)msgpack_pack_true(packer);
        break;
    case JSON_FALSE:
        (void)msgpack_pack_false(packer);
        break;
    case JSON_NULL:
        (void)msgpack_pack_nil(packer);
        break;
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
    case JSON_END:
        break;
    }
}

void
json_to_msgpack(struct buf *out, const char *json)
{
    msgpack_packer packer;
    struct json_token t;
    struct json r;

    msgpack_packer_init(&packer, out, write_buf);
    json_init(&r, json, strlen(json), 32);
    do {
        ck_assert_msg(json_next(&r, &t) == 0, "%s: %s", json, r.error);
        pack_token(&packer, &r, &t);
    } while (t.type != JSON_END);
}

void
check_slice(struct slice seen, const char *expected, size_t n)
{
    ck_assert_msg(slice_equal(seen, slice_of(expected, n)), "seen: %.*s\nexpected: %.*s", SLICE_ARG(seen),
        (int)n, expected);
}

size_t
split_all(const struct dialect *dialect, struct slice in, size_t step, size_t max)
{
    struct dialect_scan scan = {0};
    size_t start = 0, n_messages = 0;

    for (size_t end = 0; end < in.n;) {
        end = in.n - end < step ? in.n : end + step;
        while (start < end) {
            struct slice message;
            struct decoded d;
            size_t n;
            int r = dialect->split(slice_of(in.p + start, end - start), &scan, max, &n, &message);

            if (r == -EAGAIN)
                break;
            ck_assert_int_eq(r, 0);
            ck_assert_uint_le(n, end - start);
            ck_assert_uint_eq(scan.at, 0);
            ck_assert_uint_eq(scan.depth, 0);
            start += n;
            if (message.n == 0)
                continue;
            decoded_init(&d, dialect, message);
            ck_assert_msg(d.r == 0, "%s", d.error.text);
            decoded_fini(&d);
            n_messages++;
        }
    }
    ck_assert_uint_eq(start, in.n);
    return n_messages;
}
