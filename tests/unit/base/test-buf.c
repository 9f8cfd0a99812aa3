/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/buf.h"

#include "tests/unit/base/suite.h"

static void
check_content(const struct buf *b, const char *expected)
{
    ck_assert_uint_eq(b->n, strlen(expected));
    ck_assert_mem_eq(b->p, expected, b->n);
    ck_assert(!buf_failed(b));
}

START_TEST(test_puts)
{
    struct buf b;

    buf_init(&b, 0);
    ck_assert_ptr_null(b.p);
    buf_put(&b, NULL, 0);
    buf_put_slice(&b, slice_str(NULL));
    ck_assert_ptr_null(b.p);
    buf_put(&b, "ab", 2);
    buf_put_byte(&b, 'c');
    buf_put_str(&b, "de");
    buf_put_slice(&b, slice_str("f"));
    buf_printf(&b, "-%d-%s", 7, "x");
    buf_put_byte(&b, ' ');
    buf_put_u64(&b, 0);
    buf_put_byte(&b, ' ');
    buf_put_u64(&b, UINT64_MAX);
    check_content(&b, "abcdef-7-x 0 18446744073709551615");
    buf_fini(&b);
}
END_TEST

START_TEST(test_grows)
{
    struct buf b;

    buf_init(&b, 0);
    for (unsigned i = 0; i < 100000; i++)
        buf_put_byte(&b, (uint8_t)i);
    ck_assert_uint_eq(b.n, 100000);
    for (unsigned i = 0; i < 100000; i++)
        ck_assert_uint_eq(b.p[i], (uint8_t)i);
    buf_fini(&b);
}
END_TEST

START_TEST(test_limit_is_exact_and_sticky)
{
    struct buf b;

    buf_init(&b, 10);
    buf_put_str(&b, "0123456789");
    check_content(&b, "0123456789");
    buf_put_byte(&b, 'x');
    ck_assert(buf_failed(&b));
    ck_assert_uint_eq(b.n, 10);
    ck_assert_uint_le(b.cap, 10);
    buf_consume(&b, 5);
    buf_put_byte(&b, 'x'); /* there is room now, but it has failed */
    ck_assert_uint_eq(b.n, 5);
    ck_assert_ptr_null(buf_reserve(&b, 1));
    buf_reset(&b);
    buf_put_str(&b, "again");
    check_content(&b, "again");
    buf_put(&b, "123456", 6);
    ck_assert(buf_failed(&b));
    ck_assert_uint_eq(b.n, 5);
    buf_fini(&b);
}
END_TEST

START_TEST(test_a_forged_size_fails)
{
    struct buf b;

    buf_init(&b, 0);
    buf_put_byte(&b, 'x');
    ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
    ck_assert(buf_failed(&b));
    buf_fini(&b);
}
END_TEST

START_TEST(test_printf_of_any_length)
{
    for (int n = 250; n < 260; n++) {
        struct buf b;

        buf_init(&b, (size_t)n);
        buf_printf(&b, "%*d", n, 1);
        ck_assert(!buf_failed(&b));
        ck_assert_uint_eq(b.n, (size_t)n);
        buf_printf(&b, "%s", "x");
        ck_assert(buf_failed(&b));
        buf_printf(&b, "%*d", n, 1);
        ck_assert_uint_eq(b.n, (size_t)n);
        buf_fini(&b);
    }
}
END_TEST

START_TEST(test_consume_trim_steal)
{
    struct buf b;
    uint8_t *p;
    size_t n;

    buf_init(&b, 0);
    buf_consume(&b, 0);
    for (unsigned i = 0; i < 10000; i++)
        buf_put_byte(&b, 'a');
    buf_put_str(&b, "tail");
    buf_consume(&b, 10000);
    check_content(&b, "tail");
    buf_trim(&b);
    ck_assert_uint_le(b.cap, 64);
    check_content(&b, "tail");
    p = buf_steal(&b, &n);
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(p, "tail", 4);
    free(p);
    ck_assert_ptr_null(buf_steal(&b, &n));
    ck_assert_uint_eq(n, 0);
    (void)buf_reserve(&b, 5000);
    buf_trim(&b);
    ck_assert_ptr_null(b.p);
    (void)buf_reserve(&b, 1);
    ck_assert_ptr_null(buf_steal(&b, &n)); /* nothing was put: no allocation to hand over */
    buf_fini(&b);
}
END_TEST

START_TEST(test_reserve_and_commit)
{
    struct buf b;
    uint8_t *to;

    buf_init(&b, 100);
    to = buf_reserve(&b, 100);
    ck_assert_ptr_nonnull(to);
    memset(to, 'x', 100);
    buf_commit(&b, 3);
    check_content(&b, "xxx");
    ck_assert_ptr_nonnull(buf_reserve(&b, 97));
    ck_assert_ptr_null(buf_reserve(&b, 98));
    buf_fini(&b);
}
END_TEST

SUITE_MAIN("buf", test_puts, test_grows, test_limit_is_exact_and_sticky, test_a_forged_size_fails,
    test_printf_of_any_length, test_consume_trim_steal, test_reserve_and_commit)
