/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader against itself and, where it was found, against jansson: json_check(), json_next() to the
 * end and json_skip() must agree on what is JSON; strings must come back from unescape and put; and nothing
 * may be read outside the input.
 */
#include "config.h"

#include "base/json.h"
#include "base/utf8.h"
#ifdef HAVE_JANSSON
#include "tests/fuzz/jansson-oracle.h"
#endif

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#undef NDEBUG
#include <assert.h>

#define DEPTH 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_inside(const uint8_t *data, size_t size, struct slice s)
{
    assert(s.p >= data && s.p + s.n <= data + size);
}

/* What is unescaped is UTF-8, and written again it reads as the same text. */
static void
check_string(struct slice raw, bool has_escape)
{
    struct buf plain, text, again;
    struct json_token t;
    struct json r;

    buf_init(&plain, 0);
    buf_init(&text, 0);
    buf_init(&again, 0);
    json_unescape(&plain, raw);
    assert(utf8_is_valid(plain.p, plain.n));
    assert(has_escape == (raw.n > 0 && memchr(raw.p, '\\', raw.n) != NULL));
    assert(has_escape || slice_equal(raw, buf_slice(&plain)));
    json_put_string(&text, buf_slice(&plain));
    json_init(&r, text.p, text.n, 0);
    assert(json_next(&r, &t) == 0 && t.type == JSON_STRING);
    json_unescape(&again, t.raw);
    assert(slice_equal(buf_slice(&plain), buf_slice(&again)));
    buf_fini(&plain);
    buf_fini(&text);
    buf_fini(&again);
}

/* Reads all tokens, and every other value after a name with json_skip(). */
static int
walk(const uint8_t *data, size_t size, bool with_skip)
{
    struct json_token t;
    struct json r;
    unsigned depth = 0, n_names = 0;
    int e;

    json_init(&r, data, size, DEPTH);
    while ((e = json_next(&r, &t)) == 0 && t.type != JSON_END) {
        struct slice value;

        check_inside(data, size, t.raw);
        depth += t.type == JSON_OBJECT || t.type == JSON_ARRAY;
        depth -= t.type == JSON_OBJECT_END || t.type == JSON_ARRAY_END;
        assert(depth <= DEPTH && depth == r.depth);
        if (t.type == JSON_KEY || t.type == JSON_STRING)
            check_string(t.raw, t.has_escape);
        if (t.type == JSON_NUMBER) {
            uint64_t v;

            (void)json_u64(t.raw, &v);
        }
        if (t.type == JSON_KEY && with_skip && n_names++ % 2 == 0) {
            e = json_skip(&r, &value);
            if (e < 0)
                break;
            check_inside(data, size, value);
            assert(json_check(value.p, value.n, DEPTH, NULL) == 0);
        }
    }
    assert(e == 0 || (e == -EINVAL && r.error != NULL));
    assert(json_offset(&r) <= size);
    if (e < 0)
        assert(json_next(&r, &t) == -EINVAL);
    else
        assert(depth == 0);
    return e;
}

/* json_next_members() must read as json_next() and json_skip() do, and fail at the same place for the same
 * reason, however many it is asked for at once. */
static void
check_members(const uint8_t *data, size_t size, unsigned max)
{
    struct json one, many;
    struct json_member members[3];
    struct json_token t = {.type = JSON_END};
    struct slice value;
    unsigned n = 0;
    int e, more;

    json_init(&one, data, size, DEPTH);
    json_init(&many, data, size, DEPTH);
    e = json_next(&one, &t);
    assert(json_enter_object(&many) == (e == 0 && t.type == JSON_OBJECT));
    if (e < 0 || t.type != JSON_OBJECT)
        return;
    do {
        more = json_next_members(&many, members, max, &n);
        assert(n <= max && (more != 1 || n == max));
        for (unsigned i = 0; i < n; i++) {
            assert(json_next(&one, &t) == 0 && t.type == JSON_KEY);
            assert(json_skip(&one, &value) == 0);
            assert(members[i].name.p == t.raw.p && members[i].name.n == t.raw.n);
            assert(members[i].has_escape == t.has_escape);
            assert(members[i].raw.p == value.p && members[i].raw.n == value.n);
        }
    } while (more == 1);
    e = json_next(&one, &t);
    if (e == 0 && t.type == JSON_KEY)
        e = json_skip(&one, &value);
    else if (e == 0)
        e = json_next(&one, &t);
    if (more == 0)
        more = json_end(&many);
    assert(e == more);
    assert(json_offset(&one) == json_offset(&many) && one.depth == many.depth);
    assert(one.error == many.error && one.has_escape == many.has_escape);
}

#ifdef HAVE_JANSSON
static void
check_against_jansson(const uint8_t *data, size_t size, int ours)
{
    enum jansson_verdict theirs = jansson_ask(data, size);

    if (ours == 0)
        assert(theirs != JANSSON_REFUSED);
    else
        /* It may be nested more deeply than we allow; and jansson takes a NUL for the end of the text. */
        assert(theirs != JANSSON_TAKEN || size > DEPTH || memchr(data, '\0', size) != NULL);
}
#endif

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *error = NULL;
    int r = json_check(data, size, DEPTH, &error);

    assert(r == 0 || (r == -EINVAL && error != NULL));
    assert(walk(data, size, false) == r);
    assert(walk(data, size, true) == r);
    check_members(data, size, 1);
    check_members(data, size, 3);
#ifdef HAVE_JANSSON
    check_against_jansson(data, size, r);
#endif
    return 0;
}
