/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/mp.h"

#include "tests/unit/base/suite.h"

#include <errno.h>
#include <math.h>

#define MP(s) mp_of(slice_of(s, sizeof(s) - 1))

static void
check_u64(const char *p, size_t n, uint64_t expected)
{
    struct mp c = mp_of(slice_of(p, n));
    uint64_t v = 0;
    enum mp_type type;

    for (size_t cut = 0; cut < n; cut++) {
        struct mp part = mp_of(slice_of(p, cut)), before = part;

        ck_assert_int_eq(mp_u64(&part, &v), -EAGAIN);
        ck_assert_ptr_eq(part.p, before.p);
    }
    ck_assert_int_eq(mp_peek(&c, &type), 0);
    ck_assert(type == MP_UINT || type == MP_INT);
    ck_assert_int_eq(mp_u64(&c, &v), 0);
    ck_assert_uint_eq(v, expected);
    ck_assert_ptr_eq(c.p, c.end);
}

static void
check_i64(const char *p, size_t n, int64_t expected)
{
    struct mp c = mp_of(slice_of(p, n));
    int64_t v = 0;

    for (size_t cut = 0; cut < n; cut++) {
        struct mp part = mp_of(slice_of(p, cut));

        ck_assert_int_eq(mp_i64(&part, &v), -EAGAIN);
    }
    ck_assert_int_eq(mp_i64(&c, &v), 0);
    ck_assert_int_eq(v, expected);
    ck_assert_ptr_eq(c.p, c.end);
}

#define U64(s, v) check_u64(s, sizeof(s) - 1, v)
#define I64(s, v) check_i64(s, sizeof(s) - 1, v)

START_TEST(test_integers)
{
    uint64_t u = 7;
    int64_t i = 7;
    struct mp c;

    U64("\x00", 0);
    U64("\x7f", 127);
    U64("\xcc\xff", 255);
    U64("\xcc\x01", 1); /* longer than needed, but it fits */
    U64("\xcd\x01\x00", 256);
    U64("\xce\xff\xff\xff\xff", UINT32_MAX);
    U64("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", UINT64_MAX);
    U64("\xd0\x7f", 127); /* a signed encoding of a positive number */
    U64("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX);
    I64("\xff", -1);
    I64("\xe0", -32);
    I64("\xd0\x80", -128);
    I64("\xd1\x80\x00", -32768);
    I64("\xd2\x80\x00\x00\x00", INT32_MIN);
    I64("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", INT64_MIN);
    I64("\x05", 5);
    I64("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX);
    c = MP("\xff");
    ck_assert_int_eq(mp_u64(&c, &u), -EINVAL);
    ck_assert_uint_eq(u, 7);
    c = MP("\xcf\x80\x00\x00\x00\x00\x00\x00\x00");
    ck_assert_int_eq(mp_i64(&c, &i), -EINVAL);
    ck_assert_int_eq(i, 7);
    c = MP("\xa1x");
    ck_assert_int_eq(mp_u64(&c, &u), -EINVAL);
}
END_TEST

START_TEST(test_nil_bool_double)
{
    struct mp c = MP("\xc0\xc2\xc3\xca\x3f\x80\x00\x00\xcb\xbf\xf8\x00\x00\x00\x00\x00\x00\xcb\x7f\xf0");
    bool b = true;
    double d = 0;

    ck_assert_int_eq(mp_bool(&c, &b), -EINVAL);
    ck_assert_int_eq(mp_nil(&c), 0);
    ck_assert_int_eq(mp_nil(&c), -EINVAL);
    ck_assert_int_eq(mp_bool(&c, &b), 0);
    ck_assert(!b);
    ck_assert_int_eq(mp_bool(&c, &b), 0);
    ck_assert(b);
    ck_assert_int_eq(mp_double(&c, &d), 0);
    ck_assert_double_eq(d, 1.0);
    ck_assert_int_eq(mp_double(&c, &d), 0);
    ck_assert_double_eq(d, -1.5);
    ck_assert_int_eq(mp_double(&c, &d), -EAGAIN);
    ck_assert_int_eq(mp_nil(&c), -EINVAL); /* the wrong type, whole or not */
}
END_TEST

START_TEST(test_strings)
{
    struct mp c = MP("\xa3"
                     "abc"
                     "\xd9\x01"
                     "d"
                     "\xda\x00\x01"
                     "e"
                     "\xdb\x00\x00\x00\x01"
                     "f"
                     "\xa0"
                     "\xc4\x01\x00\xc5\x00\x01\x01\xc6\x00\x00\x00\x01\x02");
    static const char *const strings[] = {"abc", "d", "e", "f", ""};
    struct slice s;

    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(mp_bin(&c, &s), -EINVAL);
        ck_assert_int_eq(mp_str(&c, &s), 0);
        ck_assert(slice_is(s, strings[i]));
    }
    for (uint8_t i = 0; i < 3; i++) {
        ck_assert_int_eq(mp_str(&c, &s), -EINVAL);
        ck_assert_int_eq(mp_bin(&c, &s), 0);
        ck_assert_uint_eq(s.n, 1);
        ck_assert_uint_eq(s.p[0], i);
    }
    ck_assert_int_eq(mp_str(&c, &s), -EAGAIN);
    c = MP("\xdb\xff\xff\xff\xff"
           "abc"); /* a forged length */
    ck_assert_int_eq(mp_str(&c, &s), -EAGAIN);
    c = MP("\xa3"
           "ab");
    ck_assert_int_eq(mp_str(&c, &s), -EAGAIN);
    ck_assert_int_eq(mp_bin(&c, &s), -EINVAL);
}
END_TEST

START_TEST(test_counts)
{
    struct mp c =
        MP("\x92\x81\x01\x02\xdc\x00\x01\xdd\x00\x00\x00\x00\xde\x00\x00\xdf\x00\x00\x00\x01\x01\x02");
    uint32_t n;
    uint64_t v;

    ck_assert_int_eq(mp_map(&c, &n), -EINVAL);
    ck_assert_int_eq(mp_array(&c, &n), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(mp_map(&c, &n), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(mp_u64(&c, &v), 0);
    ck_assert_int_eq(mp_u64(&c, &v), 0);
    ck_assert_int_eq(mp_array(&c, &n), 0);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(mp_array(&c, &n), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(mp_map(&c, &n), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(mp_map(&c, &n), 0);
    ck_assert_uint_eq(n, 1);
    c = MP("\xdd\xff\xff\xff\xff\x01"); /* forged: four thousand million elements in one byte */
    ck_assert_int_eq(mp_array(&c, &n), -EINVAL);
    c = MP("\xdf\x80\x00\x00\x01\x01"); /* twice that many would wrap 32 bits */
    ck_assert_int_eq(mp_map(&c, &n), -EINVAL);
    c = MP("\x81\x01"); /* a pair is two values */
    ck_assert_int_eq(mp_map(&c, &n), -EINVAL);
    c = MP("\xdd\xff\xff");
    ck_assert_int_eq(mp_array(&c, &n), -EAGAIN);
}
END_TEST

static void
check_skip(const char *p, size_t n)
{
    struct mp c = mp_of(slice_of(p, n));
    struct slice raw;

    for (size_t cut = 0; cut < n; cut++) {
        struct mp part = mp_of(slice_of(p, cut)), before = part;

        ck_assert_int_eq(mp_skip(&part, &raw), -EAGAIN);
        ck_assert_ptr_eq(part.p, before.p);
    }
    ck_assert_int_eq(mp_skip(&c, &raw), 0);
    ck_assert_ptr_eq(c.p, c.end);
    ck_assert(slice_equal(raw, slice_of(p, n)));
}

#define SKIP(s) check_skip(s, sizeof(s) - 1)

START_TEST(test_skip)
{
    struct mp c = MP("\x01\xa1x\xc0");
    struct slice raw;

    SKIP("\xc0");
    SKIP("\x05");
    SKIP("\xcb\x00\x00\x00\x00\x00\x00\x00\x00");
    SKIP("\xa5hello");
    SKIP("\xc4\x03\x00\x01\x02");
    SKIP("\x90");
    SKIP("\x80");
    SKIP("\x93\x01\x82\xa1k\x91\xc0\xa1l\x80\xd4\x01\xff");
    SKIP("\xc7\x03\x05"
         "abc");
    SKIP("\xc7\x00\x05");
    SKIP("\xc8\x00\x01\x05"
         "a");
    SKIP("\xc9\x00\x00\x00\x01\x05"
         "a");
    SKIP("\xd5\x01"
         "ab");
    SKIP("\xd6\x01"
         "abcd");
    SKIP("\xd7\x01"
         "abcdefgh");
    SKIP("\xd8\x01"
         "abcdefghijklmnop");
    for (unsigned i = 1; i <= 3; i++) { /* one value at a time */
        ck_assert_int_eq(mp_skip(&c, &raw), 0);
        ck_assert_uint_eq(raw.n, i == 2 ? 2 : 1);
    }
    ck_assert_int_eq(mp_skip(&c, &raw), -EAGAIN);
    c = MP("\xc1");
    ck_assert_int_eq(mp_skip(&c, &raw), -EINVAL);
    c = MP("\x92\x01\xc1");
    ck_assert_int_eq(mp_skip(&c, &raw), -EINVAL);
    ck_assert_uint_eq(*c.p, 0x92);
}
END_TEST

START_TEST(test_depth)
{
    char deep[MP_MAX_DEPTH + 2];
    struct slice raw;
    struct mp c;

    memset(deep, '\x91', sizeof deep);
    deep[MP_MAX_DEPTH] = '\x01';
    c = mp_of(slice_of(deep, MP_MAX_DEPTH + 1));
    ck_assert_int_eq(mp_skip(&c, &raw), 0);
    deep[MP_MAX_DEPTH] = '\x91';
    deep[MP_MAX_DEPTH + 1] = '\x01';
    c = mp_of(slice_of(deep, MP_MAX_DEPTH + 2));
    ck_assert_int_eq(mp_skip(&c, &raw), -EINVAL);
}
END_TEST

START_TEST(test_peek_of_every_byte)
{
    for (unsigned mark = 0; mark < 256; mark++) {
        uint8_t bytes[32] = {(uint8_t)mark};
        struct mp c = mp_of(slice_of(bytes, sizeof bytes));
        enum mp_type type = MP_EXT;
        struct slice raw;

        ck_assert_int_eq(mp_peek(&c, &type), mark == 0xc1 ? -EINVAL : 0);
        ck_assert_int_eq(mp_skip(&c, &raw), mark == 0xc1 ? -EINVAL : 0); /* enough zeros follow for all */
    }
}
END_TEST

SUITE_MAIN("mp", test_integers, test_nil_bool_double, test_strings, test_counts, test_skip, test_depth,
    test_peek_of_every_byte)
