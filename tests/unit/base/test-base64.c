/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/base64.h"

#include "tests/unit/base/suite.h"

#include <errno.h>

static void
check_pair(const char *plain, const char *text)
{
    struct buf b;

    buf_init(&b, strlen(text) + 1);
    base64_put(&b, slice_str(plain));
    ck_assert_uint_eq(b.n, strlen(text));
    ck_assert(b.n == 0 || memcmp(b.p, text, b.n) == 0);
    buf_fini(&b);
    buf_init(&b, strlen(plain) + 1);
    ck_assert_int_eq(base64_decode(&b, slice_str(text)), 0);
    ck_assert_uint_eq(b.n, strlen(plain));
    ck_assert(b.n == 0 || memcmp(b.p, plain, b.n) == 0);
    buf_fini(&b);
}

static void
check_refused(const char *text)
{
    struct buf b;

    buf_init(&b, 0);
    ck_assert_msg(base64_decode(&b, slice_str(text)) == -EINVAL, "%s was taken", text);
    buf_fini(&b);
}

START_TEST(test_rfc_vectors)
{
    check_pair("", "");
    check_pair("f", "Zg==");
    check_pair("fo", "Zm8=");
    check_pair("foo", "Zm9v");
    check_pair("foob", "Zm9vYg==");
    check_pair("fooba", "Zm9vYmE=");
    check_pair("foobar", "Zm9vYmFy");
    check_pair("\xfb\xff\xfe", "+//+");
}
END_TEST

START_TEST(test_strict)
{
    check_refused("Zg"); /* padding is missing */
    check_refused("Zg=");
    check_refused("Zh=="); /* stray bits */
    check_refused("Zm9=");
    check_refused("Zg==Zg=="); /* padding in the middle */
    check_refused("Z===");
    check_refused("====");
    check_refused("Zm9v\n");
    check_refused("Zm9 ");
    check_refused(" m9v");
    check_refused("Zm=v");
    check_refused("-__-"); /* the other alphabet */
    check_refused("Zm9vZ\x80==");
}
END_TEST

START_TEST(test_every_length)
{
    uint8_t bytes[300];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + 3);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct buf text, back;

        buf_init(&text, 0);
        buf_init(&back, n + 1);
        base64_put(&text, slice_of(bytes, n));
        ck_assert_int_eq(base64_decode(&back, buf_slice(&text)), 0);
        ck_assert(!buf_failed(&back));
        ck_assert(slice_equal(buf_slice(&back), slice_of(bytes, n)));
        buf_fini(&text);
        buf_fini(&back);
    }
}
END_TEST

START_TEST(test_limit)
{
    struct buf b;

    buf_init(&b, 2);
    base64_put(&b, slice_str("f"));
    ck_assert(buf_failed(&b));
    buf_reset(&b);
    (void)base64_decode(&b, slice_str("Zm9v"));
    ck_assert(buf_failed(&b));
    buf_reset(&b);
    ck_assert_int_eq(base64_decode(&b, slice_str("Zm8=")), 0);
    ck_assert(!buf_failed(&b));
    buf_fini(&b);
}
END_TEST

static void
url_is(const char *text, const char *bytes, size_t n)
{
    struct buf b;

    buf_init(&b, 0);
    ck_assert_int_eq(base64url_decode(&b, slice_str(text)), 0);
    ck_assert_msg(
        slice_equal(buf_slice(&b), slice_of(bytes, n)), "%s gave %.*s", text, (int)b.n, (char *)b.p);
    buf_fini(&b);
}

START_TEST(test_url)
{
    static const char *const bad[] = {
        "Z", "Zm9v_", "Zg==", "Zm8=", "Zm9v+A", "Zm9v/A", "Zh", "Zm9", "Zm 8", "Zm8\n"};
    struct buf b;

    url_is("", "", 0);
    url_is("Zg", "f", 1);
    url_is("Zm8", "fo", 2);
    url_is("Zm9v", "foo", 3);
    url_is("-_-_", "\xfb\xff\xbf", 3);
    buf_init(&b, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(base64url_decode(&b, slice_str(bad[i])) == -EINVAL, "%s was taken", bad[i]);
    buf_fini(&b);
}
END_TEST

SUITE_MAIN("base64", test_url, test_rfc_vectors, test_strict, test_every_length, test_limit)
