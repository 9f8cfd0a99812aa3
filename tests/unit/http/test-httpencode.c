/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "frontends/http/httpencode.h"

static struct buf out;

static void
setup(void)
{
    buf_init(&out, 0);
}

static void
teardown(void)
{
    buf_fini(&out);
}

static void
assert_out(const char *want)
{
    ck_assert_msg(slice_is(buf_slice(&out), want), "wrote\n%.*s\nnot\n%s", SLICE_ARG(buf_slice(&out)), want);
    buf_reset(&out);
}

static struct message
message(enum message_kind kind, const char *body)
{
    return (struct message){.topic = slice_str("a/\"b"),
        .cursor = slice_str("f-7"),
        .seq = 7,
        .time_ms = 12,
        .kind = kind,
        .body = slice_str(body)};
}

#define HEAD "{\"topic\":\"a/\\\"b\",\"cursor\":\"f-7\",\"data\":"

START_TEST(test_envelope)
{
    struct message m = message(MESSAGE_JSON, "{ \"x\" : 1.0}");
    http_put_envelope(&out, &m);
    assert_out(HEAD "{ \"x\" : 1.0},\"time\":12}");
    m = message(MESSAGE_TEXT, "a\n\"");
    m.is_retained = true;
    m.type = slice_str("text/html");
    m.key = slice_str("k\"");
    m.headers = slice_of("\x82\xa1"
                         "a\xa1"
                         "b\xa2"
                         "c\"\xa0",
        9);
    http_put_envelope(&out, &m);
    ck_assert_int_eq(json_check(out.p, out.n, 8, NULL), 0);
    assert_out(HEAD
        "\"a\\n\\\"\",\"type\":\"text/"
        "html\",\"key\":\"k\\\"\",\"headers\":{\"a\":\"b\",\"c\\\"\":\"\"},\"retained\":true,\"time\":12}");
    m = message(MESSAGE_JSON, " \"text\"");
    http_put_envelope(&out, &m);
    assert_out(HEAD " \"text\",\"type\":\"application/json\",\"time\":12}");
    m = message(MESSAGE_BINARY, "\xff\x01");
    http_put_envelope(&out, &m);
    assert_out(HEAD "\"/wE=\",\"encoding\":\"base64\",\"time\":12}");
}
END_TEST

START_TEST(test_poll_records)
{
    struct message m = message(MESSAGE_TEXT, "x"), m2 = message(MESSAGE_JSON, "[1]");
    struct poll_record record;

    m2.cursor = slice_str("f-123");
    http_poll_encoder.put_message(&http_poll_encoder, &out, &m, slice_str("1"));
    http_poll_encoder.put_message(&http_poll_encoder, &out, &m2, slice_str("1"));
    struct slice rest = buf_slice(&out);
    ck_assert(poll_record_next(&rest, &record));
    ck_assert(slice_is(record.cursor, "f-7"));
    ck_assert(slice_is(record.json, HEAD "\"x\",\"time\":12}"));
    ck_assert(poll_record_next(&rest, &record));
    ck_assert(slice_is(record.cursor, "f-123"));
    ck_assert(!poll_record_next(&rest, &record));
    m2.is_retained = true;
    http_poll_encoder.put_message(&http_poll_encoder, &out, &m2, slice_str("1"));
    rest = buf_slice(&out);
    while (poll_record_next(&rest, &record))
        ;
    ck_assert_msg(record.cursor.n == 0, "a kept value moves nobody");
    rest = slice_of(out.p, out.n - 1);
    ck_assert(poll_record_next(&rest, &record));
    ck_assert(poll_record_next(&rest, &record));
    ck_assert_msg(!poll_record_next(&rest, &record), "a record that is cut short");
}
END_TEST

static void
put_sse(bool is_envelope, bool is_chunked, enum message_kind kind, const char *body)
{
    const struct encoder *e = http_sse_encoder(is_envelope, is_chunked);
    struct message m = message(kind, body);
    e->put_message(e, &out, &m, slice_str("1"));
}

START_TEST(test_sse_bare)
{
    put_sse(false, false, MESSAGE_TEXT, "hello");
    assert_out("id: f-7\ndata: hello\n\n");
    const struct encoder *e = http_sse_encoder(false, false);
    struct message kept = message(MESSAGE_TEXT, "kept");
    kept.is_retained = true;
    e->put_message(e, &out, &kept, slice_str("1"));
    assert_out("data: kept\n\n");
    put_sse(false, false, MESSAGE_TEXT, "");
    assert_out("id: f-7\ndata: \n\n");
    put_sse(false, false, MESSAGE_TEXT, "a\nb\r\nc\rd\n");
    assert_out("id: f-7\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    put_sse(false, false, MESSAGE_JSON, "{\n\"a\":1}");
    assert_out("id: f-7\ndata: {\ndata: \"a\":1}\n\n");
    put_sse(false, false, MESSAGE_BINARY, "\xff\x01");
    assert_out("id: f-7\ndata: /wE=\n\n");
}
END_TEST

START_TEST(test_sse_chunked)
{
    put_sse(false, true, MESSAGE_TEXT, "hello");
    assert_out("15\r\nid: f-7\ndata: hello\n\n\r\n");
    put_sse(true, true, MESSAGE_TEXT, "x");
    assert_out("45\r\nid: f-7\ndata: " HEAD "\"x\",\"time\":12}\n\n\r\n");
    put_sse(true, false, MESSAGE_JSON, "[\n1]");
    assert_out("id: f-7\ndata: " HEAD "[\ndata: 1],\"time\":12}\n\n");
    http_put_sse(&out, true, slice_str(":\n\n"));
    assert_out("3\r\n:\n\n\r\n");
}
END_TEST

START_TEST(test_sse_answers)
{
    const struct encoder *e = http_sse_encoder(false, false), *chunked = http_sse_encoder(false, true);
    struct slice gaps[] = {slice_str("a"), slice_str("b/c")};
    struct answer a = {.type = ANSWER_SUBSCRIBED, .state = STATE_LIVE, .position = {.epoch = 15, .seq = 7}};

    e->put_answer(e, &out, &a);
    assert_out("id: f-7\n\n");
    a.state = STATE_GAP;
    a.gaps = gaps;
    a.n_gaps = 2;
    e->put_answer(e, &out, &a);
    assert_out(
        "event: state\nid: f-7\ndata: {\"state\":\"gap\",\"cursor\":\"f-7\",\"topics\":[\"a\",\"b/c\"]}\n\n");
    a.type = ANSWER_PONG;
    chunked->put_answer(chunked, &out, &a);
    assert_out("");
    a = (struct answer){.type = ANSWER_CLOSING, .code = ERROR_SHUTTING_DOWN, .text = slice_str("bye")};
    e->put_answer(e, &out, &a);
    assert_out("event: closing\ndata: {\"error\":{\"code\":\"shutting_down\",\"message\":\"bye\"}}\n\n");
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("httpencode");
    TCase *tc = tcase_create("httpencode");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_envelope);
    tcase_add_test(tc, test_poll_records);
    tcase_add_test(tc, test_sse_bare);
    tcase_add_test(tc, test_sse_chunked);
    tcase_add_test(tc, test_sse_answers);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int n_failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return n_failed == 0 ? 0 : 1;
}
