/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/ws/wsdeflate.h"
#include "frontends/ws/wsframe.h"

static struct wsdeflate *d;

static void
setup(void)
{
    ck_assert_int_eq(wsdeflate_new(6, &d), 0);
}

static void
teardown(void)
{
    d = wsdeflate_free(d);
}

/* Inflates from an allocation of the exact size. */
static int
inflate_copy(const void *p, size_t n, size_t max, struct buf *out)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    if (n > 0)
        memcpy(copy, p, n);
    int got = wsdeflate_inflate(d, slice_of(copy, n), max, out);
    free(copy);
    return got;
}

static void
expect_round_trip(const uint8_t *p, size_t n)
{
    struct buf packed, plain;
    buf_init(&packed, 0);
    buf_init(&plain, 0);
    ck_assert_int_eq(wsdeflate_compress(d, slice_of(p, n), &packed), 0);
    ck_assert_int_eq(inflate_copy(packed.p, packed.n, n, &plain), 0);
    ck_assert_uint_eq(plain.n, n);
    if (n > 0) {
        ck_assert_mem_eq(plain.p, p, n);
        buf_reset(&plain);
        ck_assert_int_eq(inflate_copy(packed.p, packed.n, n - 1, &plain), WSDEFLATE_TOO_BIG);
        ck_assert_uint_le(plain.n, n - 1);
    }
    buf_fini(&packed);
    buf_fini(&plain);
}

START_TEST(test_round_trips)
{
    static const size_t lengths[] = {0, 1, 2, 100, 1023, 1024, 1025, 4096, 65535, 65536, 1000003};
    for (unsigned kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            size_t n = lengths[i];
            uint8_t *p = malloc(n + 1);
            uint32_t x = 1;
            for (size_t k = 0; k < n; k++) {
                x = x * 1664525 + 1013904223;
                p[k] = (uint8_t)(kind == 0   ? 0
                                 : kind == 1 ? x >> 24
                                             : (uint8_t) "the bus stops here "[k % 19]);
            }
            expect_round_trip(p, n);
            free(p);
        }
}
END_TEST

static void
expect_inflate(const char *packed, size_t n, const char *want)
{
    struct buf plain;
    buf_init(&plain, 0);
    ck_assert_int_eq(inflate_copy(packed, n, 1000, &plain), 0);
    ck_assert_uint_eq(plain.n, strlen(want));
    if (plain.n > 0)
        ck_assert_mem_eq(plain.p, want, plain.n);
    buf_fini(&plain);
}

START_TEST(test_examples_of_the_rfc)
{
    expect_inflate("\xf2\x48\xcd\xc9\xc9\x07\x00", 7, "Hello");                          /* 7.2.3.1 */
    expect_inflate("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11, "Hello");         /* 7.2.3.3 */
    expect_inflate("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8, "Hello");                      /* 7.2.3.4 */
    expect_inflate("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13, "Hello"); /* 7.2.3.5 */
    expect_inflate("\x00", 1, "");                                                       /* 7.2.3.6 */
    expect_inflate("", 0, "");
}
END_TEST

START_TEST(test_final_block_without_its_padding)
{
    expect_inflate("\xf3\x48\xcd\xc9\xc9\x07\x00", 7, "Hello");
}
END_TEST

START_TEST(test_damage)
{
    struct buf plain;
    buf_init(&plain, 0);
    /* Every cut is noticed, but for the one after the first byte: a 00 is the empty message. */
    static const char hello[] = "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    for (size_t n = 2; n < 11; n++) {
        buf_reset(&plain);
        ck_assert_msg(inflate_copy(hello, n, 1000, &plain) == WSDEFLATE_BAD, "cut at %zu", n);
    }
    ck_assert_int_eq(inflate_copy("\xff\xff\xff", 3, 1000, &plain), WSDEFLATE_BAD);
    ck_assert_int_eq(inflate_copy("\x07", 1, 1000, &plain), WSDEFLATE_BAD);

    /* Final blocks without end */
    struct buf many;
    buf_init(&many, 0);
    for (unsigned i = 0; i < 100; i++)
        buf_put(&many, "\x03\x00", 2);
    ck_assert_int_eq(inflate_copy(many.p, many.n, 1000, &plain), WSDEFLATE_BAD);
    buf_fini(&many);
    buf_fini(&plain);

    /* One bad message does not spoil the next. */
    expect_inflate("\xf2\x48\xcd\xc9\xc9\x07\x00", 7, "Hello");
}
END_TEST

START_TEST(test_bomb)
{
    size_t n = 32 << 20;
    uint8_t *zeros = calloc(1, n);
    struct buf packed, plain;
    buf_init(&packed, 0);
    buf_init(&plain, 0);
    ck_assert_int_eq(wsdeflate_compress(d, slice_of(zeros, n), &packed), 0);
    free(zeros);
    ck_assert_uint_lt(packed.n, 64 * 1024);
    ck_assert_int_eq(wsdeflate_inflate(d, buf_slice(&packed), 65536, &plain), WSDEFLATE_TOO_BIG);
    ck_assert_uint_le(plain.n, 65536);
    ck_assert_uint_le(plain.cap, 4 * 65536);

    struct wsframe_event event = {
        .type = WSFRAME_BINARY, .is_compressed = true, .payload = buf_slice(&packed)};
    wsdeflate_open_event(d, &event, 65536, &plain);
    ck_assert_int_eq(event.type, WSFRAME_ERROR);
    ck_assert_uint_eq(event.code, WSFRAME_CODE_TOO_BIG);
    buf_fini(&packed);
    buf_fini(&plain);
}
END_TEST

START_TEST(test_open_event)
{
    struct buf packed, plain;
    buf_init(&packed, 0);
    buf_init(&plain, 0);

    struct wsframe_event event = {.type = WSFRAME_TEXT, .payload = slice_str("plain")};
    wsdeflate_open_event(d, &event, 10, &plain);
    ck_assert(event.type == WSFRAME_TEXT && slice_is(event.payload, "plain"));

    ck_assert_int_eq(wsdeflate_compress(d, slice_str("gr\xc3\xbcn"), &packed), 0);
    event =
        (struct wsframe_event){.type = WSFRAME_TEXT, .is_compressed = true, .payload = buf_slice(&packed)};
    wsdeflate_open_event(d, &event, 10, &plain);
    ck_assert(event.type == WSFRAME_TEXT && !event.is_compressed && slice_is(event.payload, "gr\xc3\xbcn"));

    buf_reset(&packed);
    ck_assert_int_eq(wsdeflate_compress(d, slice_str("\xff\xfe"), &packed), 0);
    event =
        (struct wsframe_event){.type = WSFRAME_TEXT, .is_compressed = true, .payload = buf_slice(&packed)};
    wsdeflate_open_event(d, &event, 10, &plain);
    ck_assert_uint_eq(event.code, WSFRAME_CODE_BAD_DATA);
    event =
        (struct wsframe_event){.type = WSFRAME_BINARY, .is_compressed = true, .payload = buf_slice(&packed)};
    wsdeflate_open_event(d, &event, 10, &plain);
    ck_assert(event.type == WSFRAME_BINARY && slice_is(event.payload, "\xff\xfe"));
    event =
        (struct wsframe_event){.type = WSFRAME_BINARY, .is_compressed = true, .payload = slice_str("\xff")};
    wsdeflate_open_event(d, &event, 10, &plain);
    ck_assert_uint_eq(event.code, WSFRAME_CODE_BAD_DATA);
    buf_fini(&packed);
    buf_fini(&plain);
}
END_TEST

/* want: the answer; "" for declined; NULL for a header that breaks the grammar. */
static void
expect_offer(const char *offer, const char *want_params)
{
    struct wsdeflate_params params;
    struct buf got;
    size_t n = strlen(offer);
    uint8_t *copy = malloc(n > 0 ? n : 1);

    memcpy(copy, offer, n);
    buf_init(&got, 0);
    wsdeflate_offer_begin(&params);
    int rc = wsdeflate_offer_take(&params, slice_of(copy, n));
    free(copy);
    if (want_params == NULL) {
        ck_assert_msg(rc == -EINVAL, "%s: %d", offer, rc);
        return;
    }
    ck_assert_msg(rc == 0, "%s: %d", offer, rc);
    wsdeflate_put_answer(&params, &got);
    buf_put_byte(&got, 0);
    ck_assert_str_eq((char *)got.p, want_params);
    buf_fini(&got);
}

#define ANSWER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

START_TEST(test_offers)
{
    expect_offer("permessage-deflate", ANSWER);
    expect_offer("permessage-deflate; client_max_window_bits", ANSWER);
    expect_offer("permessage-deflate;client_max_window_bits=8", ANSWER);
    expect_offer("permessage-deflate; server_no_context_takeover; client_no_context_takeover", ANSWER);
    expect_offer("permessage-deflate; server_max_window_bits=15", ANSWER "; server_max_window_bits=15");
    expect_offer("permessage-deflate; server_max_window_bits=10", ANSWER "; server_max_window_bits=10");
    expect_offer("permessage-deflate; server_max_window_bits=\"10\"", ANSWER "; server_max_window_bits=10");
    expect_offer("x-webkit-deflate-frame, permessage-deflate", ANSWER);
    expect_offer("foo; bar=\"baz\"; n = 1 ,permessage-deflate", ANSWER);
    expect_offer("Permessage-Deflate; Client_Max_Window_Bits", ANSWER);
    expect_offer("permessage-deflate; server_max_window_bits=9, permessage-deflate",
        ANSWER "; server_max_window_bits=9");
    expect_offer("bbf-usp-protocol", "");

    /* Declined, and the next one taken */
    expect_offer("permessage-deflate; unknown", "");
    expect_offer("permessage-deflate; unknown, permessage-deflate", ANSWER);
    expect_offer("permessage-deflate; server_no_context_takeover=1", "");
    expect_offer("permessage-deflate; client_no_context_takeover; client_no_context_takeover", "");
    expect_offer("permessage-deflate; server_max_window_bits", "");
    expect_offer("permessage-deflate; server_max_window_bits=7", "");
    expect_offer("permessage-deflate; server_max_window_bits=16", "");
    expect_offer("permessage-deflate; server_max_window_bits=08", "");
    expect_offer("permessage-deflate; server_max_window_bits=1000", "");
    expect_offer("permessage-deflate; client_max_window_bits=x", "");

    /* Not the grammar */
    expect_offer("", NULL);
    expect_offer(",", NULL);
    expect_offer("permessage-deflate,", NULL);
    expect_offer("permessage-deflate;", NULL);
    expect_offer("permessage-deflate; =1", NULL);
    expect_offer("permessage-deflate; server_max_window_bits=", NULL);
    expect_offer("permessage-deflate; server_max_window_bits=\"10", NULL);
    expect_offer("permessage-deflate; server_max_window_bits=\"\"", NULL);
    expect_offer("permessage-deflate server_max_window_bits=10", NULL);
    expect_offer("permessage-deflate\x01", NULL);
}
END_TEST

START_TEST(test_offers_over_several_headers)
{
    struct wsdeflate_params params;
    wsdeflate_offer_begin(&params);
    ck_assert_int_eq(wsdeflate_offer_take(&params, slice_str("permessage-deflate; nonsense")), 0);
    ck_assert(!params.is_on);
    ck_assert_int_eq(
        wsdeflate_offer_take(&params, slice_str("permessage-deflate; server_max_window_bits=12")), 0);
    ck_assert(params.is_on && params.server_bits == 12);
    ck_assert_int_eq(wsdeflate_offer_take(&params, slice_str("permessage-deflate")), 0);
    ck_assert_uint_eq(params.server_bits, 12);
    ck_assert(wsdeflate_may_send(&params, 4096));
    ck_assert(!wsdeflate_may_send(&params, 4097));
    params.server_bits = 15;
    ck_assert(wsdeflate_may_send(&params, 1 << 24));
    params.is_on = false;
    ck_assert(!wsdeflate_may_send(&params, 1));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wsdeflate");
    TCase *tc = tcase_create("wsdeflate");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_round_trips);
    tcase_add_test(tc, test_examples_of_the_rfc);
    tcase_add_test(tc, test_final_block_without_its_padding);
    tcase_add_test(tc, test_damage);
    tcase_add_test(tc, test_bomb);
    tcase_add_test(tc, test_open_event);
    tcase_add_test(tc, test_offers);
    tcase_add_test(tc, test_offers_over_several_headers);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
