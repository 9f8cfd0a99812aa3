/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of frames against the log of events they must give: "TEXT(hello) PING(x) ERROR(1002)". Every
 * stream runs whole, one byte at a time, cut in two at every place, and every prefix of it by itself, whose
 * log must be a prefix of the whole one.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontends/ws/wsframe.h"

static const struct wsframe_limits small = {.max_message = 100000, .max_frames = 100};
static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

struct stream {
    struct buf bytes;
    bool has_deflate;
    enum wsframe_role role;
    const struct wsframe_limits *limits;
};

static struct stream
stream_new(void)
{
    struct stream s = {.limits = &small};
    buf_init(&s.bytes, 0);
    return s;
}

/* One frame as a client sends it, with the first byte as given. */
static void
put(struct stream *s, unsigned b0, const char *payload)
{
    uint8_t head[WSFRAME_HEAD_MAX];
    size_t n = strlen(payload);
    size_t n_head = wsframe_write_head(head, WSFRAME_OP_CONT, false, key, n);
    head[0] = (uint8_t)b0;
    buf_put(&s->bytes, head, n_head);
    uint8_t *p = buf_reserve(&s->bytes, n);
    memcpy(p, payload, n);
    wsframe_mask(p, n, key, 0);
    buf_commit(&s->bytes, n);
}

static void
put_raw(struct stream *s, const void *p, size_t n)
{
    buf_put(&s->bytes, p, n);
}

static void
log_event(struct buf *log, const struct wsframe_event *event)
{
    static const char *const names[] = {"MORE", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "ERROR"};

    buf_printf(log, "%s%s%s(", log->n > 0 ? " " : "", names[event->type], event->is_compressed ? "*" : "");
    if (event->type == WSFRAME_CLOSE || event->type == WSFRAME_ERROR)
        buf_printf(log, "%u", event->code);
    if (event->type == WSFRAME_CLOSE && event->payload.n > 0)
        buf_put_byte(log, ' ');
    if (event->type == WSFRAME_ERROR) {
        ck_assert_ptr_nonnull(event->reason);
        ck_assert_uint_le(strlen(event->reason), WSFRAME_CONTROL_MAX - 2);
    } else {
        buf_put_slice(log, event->payload);
    }
    buf_put_byte(log, ')');
}

/* Feeds the bytes from..to in an allocation of their own, so that ASan sees a step outside. */
static void
feed(struct wsframe *f, const struct stream *s, size_t from, size_t to, struct buf *log)
{
    size_t n = to - from;
    uint8_t *copy = malloc(n > 0 ? n : 1);
    struct wsframe_event event;
    struct wsframe_input in = {.p = copy, .n = n};

    if (n > 0)
        memcpy(copy, s->bytes.p + from, n);
    while (wsframe_next(f, s->limits, &in, &event) != WSFRAME_MORE)
        log_event(log, &event);
    ck_assert_uint_eq(in.n, 0);
    free(copy);
}

/* Runs the first n bytes, cut at `cut` and then in steps; the log is the caller's to free. */
static char *
run(const struct stream *s, size_t n, size_t cut, size_t step)
{
    struct wsframe f;
    struct buf log;
    size_t at = cut < n ? cut : n;

    buf_init(&log, 0);
    wsframe_init(&f, s->role);
    if (s->has_deflate)
        wsframe_allow_compressed(&f);
    feed(&f, s, 0, at, &log);
    while (at < n) {
        size_t to = n - at < step ? n : at + step;
        feed(&f, s, at, to, &log);
        at = to;
    }
    wsframe_fini(&f);
    ck_assert_uint_eq(wsframe_held(&f), 0);
    buf_put_byte(&log, 0);
    return (char *)buf_steal(&log, &n);
}

static void
expect_run(const struct stream *s, size_t n, size_t cut, size_t step, const char *want, bool is_prefix)
{
    char *got = run(s, n, cut, step);
    if (is_prefix ? strncmp(want, got, strlen(got)) != 0 : strcmp(want, got) != 0)
        ck_abort_msg(
            "%zu bytes, cut at %zu, steps of %zu:\n  got  %.300s\n  want %.300s", n, cut, step, got, want);
    free(got);
}

/* Frees the stream. */
static void
expect(struct stream s, const char *want)
{
    size_t n = s.bytes.n;

    expect_run(&s, n, n, n, want, false);
    if (n < 2000) {
        expect_run(&s, n, 0, 1, want, false);
        expect_run(&s, n, 0, 7, want, false);
        for (size_t cut = 0; cut < n; cut++) {
            expect_run(&s, n, cut, n, want, false);
            expect_run(&s, cut, cut, n, want, true);
            expect_run(&s, cut, 0, 3, want, true);
        }
    } else {
        expect_run(&s, n, 0, 1000, want, false);
        expect_run(&s, n, 1, n, want, false);
    }
    buf_fini(&s.bytes);
}

static void
expect_frame(unsigned b0, const char *payload, const char *want)
{
    struct stream s = stream_new();
    put(&s, b0, payload);
    expect(s, want);
}

START_TEST(test_single_frames)
{
    expect_frame(0x81, "Hello", "TEXT(Hello)");
    expect_frame(0x81, "", "TEXT()");
    expect_frame(0x82, "\xff\xfe", "BINARY(\xff\xfe)");
    expect_frame(0x82, "", "BINARY()");
    expect_frame(0x89, "are you there", "PING(are you there)");
    expect_frame(0x8a, "", "PONG()");
    expect_frame(
        0x81, "gr\xc3\xbc\xc3\x9f\x65 \xf0\x9f\x9a\x8c", "TEXT(gr\xc3\xbc\xc3\x9f\x65 \xf0\x9f\x9a\x8c)");

    /* The masked frame of RFC 6455, 5.7 */
    struct stream s = stream_new();
    put_raw(&s, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    expect(s, "TEXT(Hello)");
}
END_TEST

START_TEST(test_lengths)
{
    static const size_t lengths[] = {124, 125, 126, 127, 128, 65535, 65536, 99999, 100000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t n = lengths[i];
        char *payload = malloc(n + 1), *want = malloc(n + 16);
        for (size_t k = 0; k < n; k++)
            payload[k] = (char)('a' + k % 23);
        payload[n] = 0;
        sprintf(want, "TEXT(%s)", payload);
        expect_frame(0x81, payload, want);
        free(payload);
        free(want);
    }
}
END_TEST

START_TEST(test_many_frames_in_one_read)
{
    struct stream s = stream_new();
    put(&s, 0x81, "one");
    put(&s, 0x89, "p");
    put(&s, 0x82, "two");
    put(&s, 0x81, "");
    put(&s, 0x8a, "q");
    put(&s, 0x81, "three");
    expect(s, "TEXT(one) PING(p) BINARY(two) TEXT() PONG(q) TEXT(three)");
}
END_TEST

START_TEST(test_fragments)
{
    struct stream s = stream_new();
    put(&s, 0x01, "he");
    put(&s, 0x89, "mid");
    put(&s, 0x00, "ll");
    put(&s, 0x8a, "");
    put(&s, 0x80, "o");
    put(&s, 0x02, "");
    put(&s, 0x00, "");
    put(&s, 0x80, "");
    put(&s, 0x02, "x");
    put(&s, 0x80, "");
    put(&s, 0x82, "after");
    expect(s, "PING(mid) PONG() TEXT(hello) BINARY() BINARY(x) BINARY(after)");
}
END_TEST

START_TEST(test_fragments_out_of_order)
{
    struct stream s = stream_new();
    put(&s, 0x80, "nothing to continue");
    expect(s, "ERROR(1002)");
    s = stream_new();
    put(&s, 0x00, "nothing to continue");
    put(&s, 0x81, "swallowed");
    expect(s, "ERROR(1002)");
    s = stream_new();
    put(&s, 0x01, "one");
    put(&s, 0x81, "new one before the end");
    expect(s, "ERROR(1002)");
    s = stream_new();
    put(&s, 0x81, "whole");
    put(&s, 0x80, "more");
    expect(s, "TEXT(whole) ERROR(1002)");
}
END_TEST

START_TEST(test_reserved)
{
    expect_frame(0xc1, "rsv1", "ERROR(1002)");
    expect_frame(0xa1, "rsv2", "ERROR(1002)");
    expect_frame(0x91, "rsv3", "ERROR(1002)");
    for (unsigned opcode = 3; opcode < 16; opcode++)
        if (opcode < 8 || opcode > 10)
            expect_frame(0x80 | opcode, "", "ERROR(1002)");
}
END_TEST

START_TEST(test_compressed_mark)
{
    struct stream s = stream_new();
    s.has_deflate = true;
    put(&s, 0xc1, "\xff");
    put(&s, 0x41, "\xff");
    put(&s, 0x80, "\xfe");
    put(&s, 0xc2, "z");
    put(&s, 0x81, "plain");
    expect(s, "TEXT*(\xff) TEXT*(\xff\xfe) BINARY*(z) TEXT(plain)");

    s = stream_new();
    s.has_deflate = true;
    put(&s, 0xc9, "on a control frame");
    expect(s, "ERROR(1002)");
    s = stream_new();
    s.has_deflate = true;
    put(&s, 0x41, "");
    put(&s, 0xc0, "on a continuation");
    expect(s, "ERROR(1002)");
    s = stream_new();
    s.has_deflate = true;
    put(&s, 0xe1, "with RSV2");
    expect(s, "ERROR(1002)");
}
END_TEST

START_TEST(test_masks)
{
    struct stream s = stream_new();
    put_raw(&s, "\x81\x05Hello", 7);
    expect(s, "ERROR(1002)");

    s = stream_new();
    s.role = WSFRAME_CLIENT;
    put_raw(&s, "\x81\x05Hello\x89\x00\x01\x02he\x80\x03llo", 18);
    expect(s, "TEXT(Hello) PING() TEXT(hello)");
    s = stream_new();
    s.role = WSFRAME_CLIENT;
    put(&s, 0x81, "masked");
    expect(s, "ERROR(1002)");
}
END_TEST

START_TEST(test_wrong_lengths)
{
    static const struct {
        const char *bytes;
        size_t n;
    } wrong[] = {
        {"\x82\xfe\x00\x7dKEY.", 8},                          /* 125 in 2 bytes */
        {"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xffKEY.", 14}, /* 65535 in 8 */
        {"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00KEY.", 14}, /* the highest bit */
        {"\x89\xfe\x00\x7eKEY.", 8},                          /* a ping of 126 bytes */
        {"\x88\xff", 2}, {"\x09\x80KEY.", 6},                 /* a ping in fragments */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct stream s = stream_new();
        put_raw(&s, wrong[i].bytes, wrong[i].n);
        expect(s, "ERROR(1002)");
    }
}
END_TEST

START_TEST(test_close)
{
    struct stream s = stream_new();
    put(&s, 0x88, "");
    put(&s, 0x81, "swallowed");
    expect(s, "CLOSE(1005)");
    s = stream_new();
    put(&s, 0x88, "\x03\xe8going");
    expect(s, "CLOSE(1000 going)");
    expect_frame(0x88, "\x03", "ERROR(1002)");
    expect_frame(0x88, "\x03\xe8\xff\xfe", "ERROR(1007)");
    expect_frame(0x88, "\x03\xe8\xe2\x82", "ERROR(1007)");

    static const unsigned good[] = {
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    static const unsigned bad[] = {0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(wsframe_code_is_valid(good[i]), "%u", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!wsframe_code_is_valid(bad[i]), "%u", bad[i]);
    expect_frame(0x88, "\x03\xed", "ERROR(1002)");
}
END_TEST

START_TEST(test_utf8)
{
    struct stream s = stream_new();
    put(&s, 0x01, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce");
    put(&s, 0x89, "\xff");
    put(&s, 0x80, "\xb5");
    expect(s, "PING(\xff) TEXT(\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5)");

    expect_frame(0x81, "\xed\xa0\x80", "ERROR(1007)");
    expect_frame(0x81, "cut \xf0\x9f\x9a", "ERROR(1007)");
    s = stream_new();
    put(&s, 0x01, "\xe2\x82");
    put(&s, 0x80, "");
    expect(s, "ERROR(1007)");
    s = stream_new();
    put(&s, 0x01, "\xf4");
    put(&s, 0x00, "\x90");
    put(&s, 0x89, "never seen: the text failed before");
    expect(s, "ERROR(1007)");
}
END_TEST

START_TEST(test_utf8_fails_inside_a_frame)
{
    /* 20 bytes were promised; the third is wrong and the rest never comes. */
    struct wsframe f;
    struct wsframe_event event;
    uint8_t bytes[] = {0x81, 0x94, 0, 0, 0, 0, 'a', 'b', 0xc0};
    struct wsframe_input in = {bytes, sizeof bytes};

    wsframe_init(&f, WSFRAME_SERVER);
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_ERROR);
    ck_assert_uint_eq(event.code, WSFRAME_CODE_BAD_DATA);
    ck_assert_uint_eq(wsframe_held(&f), 0);
    wsframe_fini(&f);
}
END_TEST

START_TEST(test_limits)
{
    static const struct wsframe_limits ten = {.max_message = 10, .max_frames = 3};
    struct stream s = stream_new();
    s.limits = &ten;
    put(&s, 0x82, "0123456789");
    put(&s, 0x82, "0123456789X");
    expect(s, "BINARY(0123456789) ERROR(1009)");

    s = stream_new();
    s.limits = &ten;
    put(&s, 0x02, "012345");
    put(&s, 0x89, "a control frame does not count");
    put(&s, 0x80, "67890");
    expect(s, "PING(a control frame does not count) ERROR(1009)");

    s = stream_new();
    s.limits = &ten;
    put(&s, 0x02, "1");
    put(&s, 0x00, "2");
    put(&s, 0x80, "3");
    put(&s, 0x02, "1");
    put(&s, 0x00, "2");
    put(&s, 0x00, "3");
    put(&s, 0x80, "4");
    expect(s, "BINARY(123) ERROR(1009)");

    /* A length near 2^63 neither wraps nor allocates. */
    s = stream_new();
    put_raw(&s, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffKEY.", 14);
    expect(s, "ERROR(1009)");
    s = stream_new();
    put(&s, 0x02, "abc");
    put_raw(&s, "\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xffKEY.", 14);
    expect(s, "ERROR(1009)");
}
END_TEST

START_TEST(test_empty_fragments_are_bounded)
{
    static const struct wsframe_limits free_frames = {.max_message = 10};
    struct stream s = stream_new();
    s.limits = &free_frames;
    put(&s, 0x02, "x");
    for (unsigned i = 0; i < WSFRAME_EMPTY_MAX; i++)
        put(&s, 0x00, "");
    put(&s, 0x80, "y");
    put(&s, 0x02, "x");
    for (unsigned i = 0; i <= WSFRAME_EMPTY_MAX; i++)
        put(&s, 0x00, "");
    put(&s, 0x80, "y");
    expect(s, "BINARY(xy) ERROR(1009)");
}
END_TEST

START_TEST(test_whole_messages_cost_no_memory)
{
    struct stream s = stream_new();
    struct wsframe f;
    struct wsframe_event event;

    wsframe_init(&f, WSFRAME_SERVER);
    put(&s, 0x81, "one");
    put(&s, 0x82, "two");
    struct wsframe_input in = {s.bytes.p, s.bytes.n};
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_TEXT);
    ck_assert_ptr_eq(event.payload.p, s.bytes.p + 6); /* in place */
    ck_assert_uint_eq(wsframe_held(&f), 0);
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_BINARY);
    ck_assert_uint_eq(wsframe_held(&f), 0);
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_MORE);

    /* A cut one is charged, and given back once it was handed out. */
    s.bytes.n = 0;
    put(&s, 0x81, "three");
    in = (struct wsframe_input){s.bytes.p, s.bytes.n - 1};
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_MORE);
    ck_assert_uint_gt(wsframe_held(&f), 0);
    in = (struct wsframe_input){s.bytes.p + s.bytes.n - 1, 1};
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_TEXT);
    ck_assert_int_eq(wsframe_next(&f, &small, &in, &event), WSFRAME_MORE);
    ck_assert_uint_eq(wsframe_held(&f), 0);
    wsframe_fini(&f);
    buf_fini(&s.bytes);
}
END_TEST

START_TEST(test_a_promise_allocates_little)
{
    static const struct wsframe_limits large = {.max_message = 16 << 20};
    struct wsframe f;
    struct wsframe_event event;
    uint8_t bytes[] = {0x82, 0xff, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 1, 2, 3, 4, 'x'};
    struct wsframe_input in = {bytes, sizeof bytes};

    wsframe_init(&f, WSFRAME_SERVER);
    ck_assert_int_eq(wsframe_next(&f, &large, &in, &event), WSFRAME_MORE);
    ck_assert_uint_le(wsframe_held(&f), 16384);
    wsframe_fini(&f);
}
END_TEST

START_TEST(test_mask_at_every_phase)
{
    uint8_t plain[67], masked[67], in_parts[67];
    for (size_t i = 0; i < sizeof plain; i++) {
        plain[i] = (uint8_t)(i * 7);
        masked[i] = plain[i] ^ key[i & 3];
    }
    for (size_t cut = 0; cut <= sizeof plain; cut++) {
        memcpy(in_parts, plain, sizeof plain);
        wsframe_mask(in_parts, cut, key, 0);
        wsframe_mask(in_parts + cut, sizeof plain - cut, key, cut);
        ck_assert_mem_eq(in_parts, masked, sizeof plain);
    }
}
END_TEST

static void
expect_head(uint64_t n, const uint8_t *mask, const void *want, size_t n_want)
{
    uint8_t head[WSFRAME_HEAD_MAX];
    ck_assert_uint_eq(wsframe_write_head(head, WSFRAME_OP_BINARY, mask == NULL && n == 5, mask, n), n_want);
    ck_assert_mem_eq(head, want, n_want);
}

START_TEST(test_encoder)
{
    expect_head(5, NULL, "\xc2\x05", 2);
    expect_head(125, NULL, "\x82\x7d", 2);
    expect_head(126, NULL, "\x82\x7e\x00\x7e", 4);
    expect_head(65535, NULL, "\x82\x7e\xff\xff", 4);
    expect_head(65536, NULL, "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10);
    expect_head(65536, key, "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x37\xfa\x21\x3d", 14);

    struct stream s = stream_new();
    s.role = WSFRAME_CLIENT;
    wsframe_put(&s.bytes, WSFRAME_OP_TEXT, false, slice_str("hello"));
    wsframe_put(&s.bytes, WSFRAME_OP_PING, false, slice_str(""));
    wsframe_put_close(&s.bytes, 1001, slice_str("bye"));
    expect(s, "TEXT(hello) PING() CLOSE(1001 bye)");
    s = stream_new();
    wsframe_put_masked(&s.bytes, WSFRAME_OP_TEXT, false, key, slice_str("hello"));
    expect(s, "TEXT(hello)");
    s = stream_new();
    s.role = WSFRAME_CLIENT;
    wsframe_put_close(&s.bytes, WSFRAME_CODE_NONE, slice_str(""));
    expect(s, "CLOSE(1005)");
}
END_TEST

START_TEST(test_close_reason_is_cut_between_characters)
{
    char reason[256] = "", want[256];
    for (unsigned i = 0; i < 50; i++)
        strcat(reason, "\xe2\x82\xac");
    sprintf(want, "CLOSE(1008 %.*s)", 41 * 3, reason);
    struct stream s = stream_new();
    s.role = WSFRAME_CLIENT;
    wsframe_put_close(&s.bytes, 1008, slice_str(reason));
    expect(s, want);
    s = stream_new();
    s.role = WSFRAME_CLIENT;
    sprintf(want, "CLOSE(1008 x%.*s)", 40 * 3, reason);
    memmove(reason + 1, reason, 151);
    reason[0] = 'x';
    wsframe_put_close(&s.bytes, 1008, slice_str(reason));
    expect(s, want);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wsframe");
    TCase *tc = tcase_create("wsframe");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_single_frames);
    tcase_add_test(tc, test_lengths);
    tcase_add_test(tc, test_many_frames_in_one_read);
    tcase_add_test(tc, test_fragments);
    tcase_add_test(tc, test_fragments_out_of_order);
    tcase_add_test(tc, test_reserved);
    tcase_add_test(tc, test_compressed_mark);
    tcase_add_test(tc, test_masks);
    tcase_add_test(tc, test_wrong_lengths);
    tcase_add_test(tc, test_close);
    tcase_add_test(tc, test_utf8);
    tcase_add_test(tc, test_utf8_fails_inside_a_frame);
    tcase_add_test(tc, test_limits);
    tcase_add_test(tc, test_empty_fragments_are_bounded);
    tcase_add_test(tc, test_whole_messages_cost_no_memory);
    tcase_add_test(tc, test_a_promise_allocates_little);
    tcase_add_test(tc, test_mask_at_every_phase);
    tcase_add_test(tc, test_encoder);
    tcase_add_test(tc, test_close_reason_is_cut_between_characters);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
