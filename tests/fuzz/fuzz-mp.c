/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MessagePack cursor against msgpack-c: for one value from the front of the input both must say whole,
 * cut off or malformed, agree on its length, and on every scalar in it. msgpack-c allocates what an array or
 * map claims before it has seen it (gigabytes for a forged count), so it is only asked when a walk of the
 * heads has found no count above what the input could hold.
 */
#include "config.h"

#include "base/mp.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
bytes_equal(struct slice s, const char *p, size_t n)
{
    return slice_equal(s, slice_of(p, n));
}

static void
check_integer(struct mp *c, const msgpack_object *o)
{
    struct mp other = *c;
    uint64_t u = 0;
    int64_t i = 0;
    int ru = mp_u64(c, &u), ri = mp_i64(&other, &i);

    if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        assert(ru == 0 && u == o->via.u64);
        assert(o->via.u64 > INT64_MAX ? ri == -EINVAL : ri == 0 && i == (int64_t)u);
        return;
    }
    assert(o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER);
    assert(ru == -EINVAL);
    assert(ri == 0 && i == o->via.i64);
    *c = other;
}

static void
check_double(struct mp *c, const msgpack_object *o)
{
    double d = 0;

    assert(o->type == MSGPACK_OBJECT_FLOAT32 || o->type == MSGPACK_OBJECT_FLOAT64);
    assert(mp_double(c, &d) == 0);
    assert(d == o->via.f64 || (d != d && o->via.f64 != o->via.f64));
}

/* The scalars; arrays and maps are walked by the caller. */
static void
check_scalar(struct mp *c, enum mp_type type, const msgpack_object *o)
{
    struct slice s;
    bool b = false;

    switch (type) {
    case MP_NIL:
        assert(mp_nil(c) == 0 && o->type == MSGPACK_OBJECT_NIL);
        return;
    case MP_BOOL:
        assert(mp_bool(c, &b) == 0 && o->type == MSGPACK_OBJECT_BOOLEAN && b == o->via.boolean);
        return;
    case MP_UINT:
    case MP_INT:
        check_integer(c, o);
        return;
    case MP_FLOAT:
        check_double(c, o);
        return;
    case MP_STR:
        assert(mp_str(c, &s) == 0 && o->type == MSGPACK_OBJECT_STR);
        assert(bytes_equal(s, o->via.str.ptr, o->via.str.size));
        return;
    case MP_BIN:
        assert(mp_bin(c, &s) == 0 && o->type == MSGPACK_OBJECT_BIN);
        assert(bytes_equal(s, o->via.bin.ptr, o->via.bin.size));
        return;
    default:
        assert(type == MP_EXT && o->type == MSGPACK_OBJECT_EXT);
        assert(mp_skip(c, &s) == 0 && s.n > o->via.ext.size);
        assert(bytes_equal(
            slice_of(s.p + s.n - o->via.ext.size, o->via.ext.size), o->via.ext.ptr, o->via.ext.size));
        return;
    }
}

static void
check_value(struct mp *c, const msgpack_object *o)
{
    enum mp_type type;
    uint32_t n = 0;

    assert(mp_peek(c, &type) == 0);
    if (type == MP_ARRAY) {
        assert(mp_array(c, &n) == 0 && o->type == MSGPACK_OBJECT_ARRAY && n == o->via.array.size);
        for (uint32_t i = 0; i < n; i++)
            check_value(c, &o->via.array.ptr[i]);
    } else if (type == MP_MAP) {
        assert(mp_map(c, &n) == 0 && o->type == MSGPACK_OBJECT_MAP && n == o->via.map.size);
        for (uint32_t i = 0; i < n; i++) {
            check_value(c, &o->via.map.ptr[i].key);
            check_value(c, &o->via.map.ptr[i].val);
        }
    } else {
        check_scalar(c, type, o);
    }
}

/* Passes the heads one after the other as if they were a flat row, which meets every head that a parser
 * meets, in the same order. False once a count could not be true, and for an extension of 2^32 - 1 bytes:
 * msgpack-c adds one to that for the type's byte, in 32 bits. */
static bool
is_fit_for_oracle(struct mp c)
{
    enum mp_type type;

    while (mp_peek(&c, &type) == 0) {
        struct slice s;
        uint32_t n;
        int r;

        if (c.end - c.p >= 5 && memcmp(c.p, "\xc9\xff\xff\xff\xff", 5) == 0)
            return false;
        r = type == MP_ARRAY ? mp_array(&c, &n) : type == MP_MAP ? mp_map(&c, &n) : mp_skip(&c, &s);

        if (r < 0)
            return r == -EAGAIN;
    }
    return true;
}

/* Every reader on the same place: all but the right one refuse, none moves on failure or reads outside. */
static void
check_readers(struct mp c)
{
    for (unsigned which = 0; which < 10; which++) {
        struct mp at = c;
        struct slice s = {.n = 0};
        uint64_t u;
        uint32_t n;
        int64_t i;
        double d;
        bool b;
        int r = which == 0   ? mp_nil(&at)
                : which == 1 ? mp_bool(&at, &b)
                : which == 2 ? mp_u64(&at, &u)
                : which == 3 ? mp_i64(&at, &i)
                : which == 4 ? mp_double(&at, &d)
                : which == 5 ? mp_str(&at, &s)
                : which == 6 ? mp_bin(&at, &s)
                : which == 7 ? mp_array(&at, &n)
                : which == 8 ? mp_map(&at, &n)
                             : mp_skip(&at, &s);

        assert(r == 0 || r == -EINVAL || r == -EAGAIN);
        assert(r == 0 ? at.p > c.p && at.p <= c.end : at.p == c.p);
        assert(s.n == 0 || (s.p >= c.p && s.p + s.n <= c.end));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mp c = mp_of(slice_of(data, size)), at = c;
    struct slice raw = {.n = 0};
    msgpack_unpack_return theirs;
    msgpack_object object;
    msgpack_zone *zone;
    size_t n_theirs = 0;
    int ours;

    if (size == 0)
        return 0;
    check_readers(c);
    ours = mp_skip(&at, &raw);
    if (!is_fit_for_oracle(c))
        return 0;
    zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE);
    assert(zone != NULL);
    theirs = msgpack_unpack((const char *)data, size, &n_theirs, zone, &object);
    if (ours == 0) {
        assert(theirs == MSGPACK_UNPACK_SUCCESS || theirs == MSGPACK_UNPACK_EXTRA_BYTES);
        assert(n_theirs == raw.n && raw.p == data);
        check_value(&c, &object);
        assert(c.p == at.p);
    } else if (ours == -EAGAIN) {
        assert(theirs == MSGPACK_UNPACK_CONTINUE);
    } else {
        /* Malformed, or nested more deeply than we allow (msgpack-c allows 32). */
        assert(theirs == MSGPACK_UNPACK_PARSE_ERROR || theirs == MSGPACK_UNPACK_NOMEM_ERROR ||
               size > MP_MAX_DEPTH);
    }
    msgpack_zone_free(zone);
    return 0;
}
