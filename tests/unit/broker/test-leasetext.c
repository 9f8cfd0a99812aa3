/* SPDX-License-Identifier: Apache-2.0 */
/* What goes through clients as text and comes back: leases, calls, headers. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "broker/asynccall.h"
#include "broker/headers.h"
#include "broker/lease.h"

static const uint8_t key[LEASE_KEY_BYTES] = "0123456789abcde";
static const uint8_t other[LEASE_KEY_BYTES] = "0123456789abcdf";

static void
check_lease(uint64_t group, uint64_t seq, uint32_t n_deliveries)
{
    struct lease lease = {.group = group, .seq = seq, .n_deliveries = n_deliveries}, back;
    char text[LEASE_TEXT_MAX];
    struct slice s = lease_put(key, &lease, text);

    ck_assert_uint_le(s.n, LEASE_TEXT_MAX);
    ck_assert(lease_is_one(s));
    ck_assert(lease_get(key, s, &back));
    ck_assert_uint_eq(back.group, group);
    ck_assert_uint_eq(back.seq, seq);
    ck_assert_uint_eq(back.n_deliveries, n_deliveries);
    ck_assert(!lease_get(other, s, &back));
    for (size_t n = 0; n < s.n; n++)
        ck_assert(!lease_get(key, slice_of(s.p, n), &back));
    for (size_t i = 0; i < s.n; i++) {
        text[i] ^= 1;
        ck_assert(!lease_get(key, s, &back));
        text[i] ^= 1;
    }
}

START_TEST(lease_comes_back_only_as_it_was)
{
    check_lease(0, 0, 0);
    check_lease(UINT64_MAX, UINT64_MAX, UINT32_MAX);
    check_lease(0x1b2f0c4d5e6f7081, 1000, 1);
}
END_TEST

static void
check_call(uint64_t seq, uint32_t n_deliveries)
{
    struct asynccall call = {.seq = seq, .n_deliveries = n_deliveries}, back;
    char text[ASYNC_CALL_TEXT_MAX];
    struct slice s;

    async_id_new(call.id);
    ck_assert(async_id_is_one(slice_of(call.id, ASYNC_ID_TEXT)));
    s = asynccall_put(key, &call, text);
    ck_assert_uint_le(s.n, ASYNC_CALL_TEXT_MAX);
    ck_assert(asynccall_get(key, s, &back));
    ck_assert_int_eq(memcmp(back.id, call.id, ASYNC_ID_TEXT), 0);
    ck_assert_uint_eq(back.seq, seq);
    ck_assert_uint_eq(back.n_deliveries, n_deliveries);
    ck_assert(!asynccall_get(other, s, &back));
    for (size_t n = 0; n < s.n; n++)
        ck_assert(!asynccall_get(key, slice_of(s.p, n), &back));
    for (size_t i = 0; i < s.n; i++) {
        text[i] ^= 1;
        ck_assert(!asynccall_get(key, s, &back));
        text[i] ^= 1;
    }
}

START_TEST(call_comes_back_only_as_it_was)
{
    check_call(0, 1);
    check_call(UINT64_MAX, UINT32_MAX);
    check_call(1234567, 3);
}
END_TEST

START_TEST(headers_are_replaced_by_prefix)
{
    const struct header more[] = {{"b-new", slice_str("2")}, {"b-empty", slice_of(NULL, 0)}};
    struct slice headers = slice_of("\x82\xa3"
                                    "b-x\xa1"
                                    "1\xa1"
                                    "c\xa1"
                                    "3",
        11);
    struct buf out;

    buf_init(&out, 0);
    ck_assert(slice_is(headers_find(headers, "b-x"), "1"));
    ck_assert_uint_eq(headers_find(headers, "d").n, 0);
    ck_assert(headers_put(&out, headers, "b-", more, 2));
    ck_assert_uint_eq(headers_find(buf_slice(&out), "b-x").n, 0);
    ck_assert(slice_is(headers_find(buf_slice(&out), "c"), "3"));
    ck_assert(slice_is(headers_find(buf_slice(&out), "b-new"), "2"));
    buf_reset(&out);
    ck_assert(headers_put(&out, slice_of(NULL, 0), "b-", more, 2)); /* none, and what is none */
    ck_assert(slice_is(headers_find(buf_slice(&out), "b-new"), "2"));
    buf_reset(&out);
    ck_assert(headers_put(&out, slice_str("\x93zz"), "b-", more, 1));
    ck_assert(slice_is(headers_find(buf_slice(&out), "b-new"), "2"));
    buf_fini(&out);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("leasetext");
    TCase *t = tcase_create("leasetext");
    SRunner *runner;
    int n_failed;

    tcase_add_test(t, lease_comes_back_only_as_it_was);
    tcase_add_test(t, call_comes_back_only_as_it_was);
    tcase_add_test(t, headers_are_replaced_by_prefix);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
