/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/dialect.h"

#include "tests/unit/base/suite.h"
#include "tests/unit/dialects/nativesupport.h"

#include <errno.h>
#include <stdio.h>

#include "base/json.h"

static const struct dialect *const json = &dialect_native_json;

static void
decode(struct decoded *d, const char *text)
{
    decoded_init(d, json, slice_str(text));
    ck_assert_msg(d->r == 0, "%s: %s", text, d->r == 0 ? "" : d->error.text);
}

START_TEST(test_operations)
{
    struct decoded d;

    decode(&d, "{\"op\":\"hello\"}");
    ck_assert_int_eq(d.request.op, REQUEST_HELLO);
    ck_assert_uint_eq(d.request.id.n, 0);
    decoded_fini(&d);

    decode(&d, " { \"id\" : 7 , \"op\" : \"ping\" } ");
    ck_assert_int_eq(d.request.op, REQUEST_PING);
    CHECK_SLICE(d.request.id, "7");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"unsub\",\"id\":\"room\"}");
    ck_assert_int_eq(d.request.op, REQUEST_UNSUB);
    CHECK_SLICE(d.request.id, "\"room\"");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"topics\",\"filter\":\"a/#\",\"after\":\"a/b\",\"limit\":5}");
    ck_assert_int_eq(d.request.op, REQUEST_TOPICS);
    ck_assert_uint_eq(d.request.n_filters, 1);
    CHECK_SLICE(d.request.filters[0], "a/#");
    CHECK_SLICE(d.request.after, "a/b");
    ck_assert_uint_eq(d.request.limit, 5);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"topics\"}");
    CHECK_SLICE(d.request.filters[0], "#");
    ck_assert_uint_eq(d.request.limit, 100);
    decoded_fini(&d);
}
END_TEST

START_TEST(test_requests)
{
    struct decoded d;

    decode(&d, "{\"op\":\"request\",\"id\":7,\"topic\":\"svc/add\",\"data\":[1, 2],\"timeout\":5000,"
               "\"key\":\"k\",\"headers\":{\"a\":\"b\"}}");
    ck_assert_int_eq(d.request.op, REQUEST_ASK);
    CHECK_SLICE(d.request.topic, "svc/add");
    CHECK_SLICE(d.request.body, "[1, 2]");
    CHECK_SLICE(d.request.key, "k");
    CHECK_SLICE(d.request.headers, "\201\241a\241b");
    ck_assert_uint_eq(d.request.timeout_ms, 5000);
    ck_assert(!d.request.is_async);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"request\",\"id\":7,\"topic\":\"svc/add\",\"async\":true}");
    ck_assert(d.request.is_async);
    ck_assert_int_eq(d.request.kind, MESSAGE_TEXT);
    ck_assert_uint_eq(d.request.body.n, 0);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"result\",\"id\":8,\"request\":\"ID\",\"wait\":30000}");
    ck_assert_int_eq(d.request.op, REQUEST_RESULT);
    CHECK_SLICE(d.request.token, "ID");
    ck_assert_uint_eq(d.request.timeout_ms, 30000);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"cancel\",\"request\":\"ID\"}");
    ck_assert_int_eq(d.request.op, REQUEST_WITHDRAW);
    CHECK_SLICE(d.request.token, "ID");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"svc/+\",\"respond\":true,\"prefetch\":4}");
    ck_assert_int_eq(d.request.role, ROLE_RESPONDER);
    ck_assert_uint_eq(d.request.prefetch, 4);
    ck_assert_uint_eq(d.request.group.n, 0);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"reply\",\"id\":2,\"call\":\"c1\",\"data\":\"AAH/\",\"encoding\":\"base64\"}");
    ck_assert_int_eq(d.request.op, REQUEST_REPLY);
    CHECK_SLICE(d.request.token, "c1");
    ck_assert_int_eq(d.request.kind, MESSAGE_BINARY);
    CHECK_SLICE(d.request.body, "\0\1\xff");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"reply\",\"call\":\"c1\",\"error\":\"no \\\"idea\\\"\"}");
    CHECK_SLICE(d.request.failure, "no \"idea\"");
    ck_assert_uint_eq(d.request.body.n, 0);
    decoded_fini(&d);
}
END_TEST

START_TEST(test_queues)
{
    struct decoded d;

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"jobs\",\"group\":\"g\",\"since\":\"1a-7\"}");
    ck_assert_int_eq(d.request.role, ROLE_CONSUMER);
    ck_assert_int_eq(d.request.from, FROM_SINCE);
    CHECK_SLICE(d.request.group, "g");
    ck_assert_uint_eq(d.request.prefetch, 0);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"ack\",\"id\":9,\"lease\":\"l\"}");
    ck_assert_int_eq(d.request.op, REQUEST_SETTLE);
    ck_assert_int_eq(d.request.outcome, SETTLE_DONE);
    CHECK_SLICE(d.request.token, "l");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"nack\",\"lease\":\"l\",\"delay\":5000,\"reason\":\"why\"}");
    ck_assert_int_eq(d.request.outcome, SETTLE_RETRY);
    ck_assert_uint_eq(d.request.delay_ms, 5000);
    CHECK_SLICE(d.request.failure, "why");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"nack\",\"lease\":\"l\",\"dead\":true}");
    ck_assert_int_eq(d.request.outcome, SETTLE_DEAD);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"extend\",\"lease\":\"l\"}");
    ck_assert_int_eq(d.request.outcome, SETTLE_EXTEND);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"queues\",\"filter\":\"a/#\",\"after\":\"a/b\",\"group\":\"g\",\"limit\":5}");
    ck_assert_int_eq(d.request.op, REQUEST_QUEUES);
    CHECK_SLICE(d.request.filters[0], "a/#");
    CHECK_SLICE(d.request.after, "a/b");
    CHECK_SLICE(d.request.group, "g");
    ck_assert_uint_eq(d.request.limit, 5);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"peek\",\"topic\":\"a\",\"group\":\"g\",\"since\":\"1a-7\",\"limit\":5}");
    ck_assert_int_eq(d.request.op, REQUEST_PEEK);
    CHECK_SLICE(d.request.since, "1a-7");
    ck_assert_uint_eq(d.request.limit, 5);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"purge\",\"topic\":\"a\",\"group\":\"g\",\"drop\":true}");
    ck_assert_int_eq(d.request.op, REQUEST_PURGE);
    ck_assert(d.request.drops_group);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"redrive\",\"topic\":\"a\",\"group\":\"g\"}");
    ck_assert_int_eq(d.request.op, REQUEST_REDRIVE);
    ck_assert_uint_eq(d.request.limit, 0);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"ttl\":60000,\"delay\":5000}");
    ck_assert_uint_eq(d.request.ttl_ms, 60000);
    ck_assert_uint_eq(d.request.delay_ms, 5000);
    decoded_fini(&d);
}
END_TEST

START_TEST(test_presence)
{
    struct decoded d;

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":true}");
    ck_assert(d.request.wants_presence);
    ck_assert_uint_eq(d.request.member.n, 0);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":false}");
    ck_assert(!d.request.wants_presence);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"info\": [ {\"x\":1} ] ,\"new\":{},"
               "\"id\":\"u\\n1\"}}");
    ck_assert(d.request.wants_presence);
    CHECK_SLICE(d.request.member, "u\n1");
    CHECK_SLICE(d.request.info, "[ {\"x\":1} ]");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"presence\",\"topic\":\"a\",\"after\":\"u1\"}");
    ck_assert_int_eq(d.request.op, REQUEST_WHO);
    CHECK_SLICE(d.request.after, "u1");
    ck_assert_uint_eq(d.request.limit, 100);
    decoded_fini(&d);
}
END_TEST

START_TEST(test_sub)
{
    struct decoded d;

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"chat/#\"}");
    ck_assert_int_eq(d.request.op, REQUEST_SUB);
    ck_assert_uint_eq(d.request.n_filters, 1);
    CHECK_SLICE(d.request.filters[0], "chat/#");
    ck_assert_int_eq(d.request.from, FROM_LIVE);
    decoded_fini(&d);

    decode(&d, "{\"since\":\"1a-7\",\"topic\":[\"a\",\"b\\/c\",\"\\u00e9\"],\"id\":-1,\"op\":\"sub\"}");
    ck_assert_uint_eq(d.request.n_filters, 3);
    CHECK_SLICE(d.request.filters[0], "a");
    CHECK_SLICE(d.request.filters[1], "b/c");
    CHECK_SLICE(d.request.filters[2], "\xc3\xa9");
    ck_assert_int_eq(d.request.from, FROM_SINCE);
    CHECK_SLICE(d.request.since, "1a-7");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"last\":20,\"since\":null}");
    ck_assert_int_eq(d.request.from, FROM_LAST);
    ck_assert_uint_eq(d.request.last, 20);
    decoded_fini(&d);
}
END_TEST

static void
check_pub(const char *text, enum message_kind kind, const char *body, size_t n_body, const char *type)
{
    struct decoded d;

    decode(&d, text);
    ck_assert_int_eq(d.request.op, REQUEST_PUB);
    ck_assert_msg(d.request.kind == kind, "%s: kind %d", text, (int)d.request.kind);
    check_slice(d.request.body, body, n_body);
    check_slice(d.request.type, type, strlen(type));
    decoded_fini(&d);
}

#define PUB(data_and_more, kind, body, type)                                                                 \
    check_pub("{\"op\":\"pub\",\"topic\":\"a\"," data_and_more "}", kind, body, sizeof(body) - 1, type)

START_TEST(test_payloads)
{
    PUB("\"data\":{\"a\" : [1,2.50,1e3]}", MESSAGE_JSON, "{\"a\" : [1,2.50,1e3]}", "");
    PUB("\"data\":null", MESSAGE_JSON, "null", "");
    PUB("\"data\":\t0 ", MESSAGE_JSON, "0", "");
    PUB("\"data\":true", MESSAGE_JSON, "true", "");
    PUB("\"data\":\"text\"", MESSAGE_TEXT, "text", "");
    PUB("\"data\":\"\"", MESSAGE_TEXT, "", "");
    PUB("\"data\":\"a\\n\\u0000\\ud83d\\ude00\"", MESSAGE_TEXT, "a\n\0\xf0\x9f\x98\x80", "");
    PUB("\"data\":\"<p>\",\"type\":\"text/html\"", MESSAGE_TEXT, "<p>", "text/html");
    /* A string is JSON only if it is said so; then it passes as it stands. */
    PUB("\"data\":\"t\\u0065xt\",\"type\":\"application/json\"", MESSAGE_JSON, "\"t\\u0065xt\"", "");
    PUB("\"type\":\"application/ld+json; x=y\",\"data\":\"s\"", MESSAGE_JSON, "\"s\"",
        "application/ld+json; x=y");
    PUB("\"data\":[],\"type\":\"application/json\"", MESSAGE_JSON, "[]", "");
    PUB("\"data\":\"s\",\"type\":\"text/plain; charset=utf-8\"", MESSAGE_TEXT, "s", "");
    PUB("\"data\":\"AAH/\",\"encoding\":\"base64\"", MESSAGE_BINARY, "\0\1\xff", "");
    PUB("\"data\":\"AAH\\/\",\"encoding\":\"base64\",\"type\":\"image/png\"", MESSAGE_BINARY, "\0\1\xff",
        "image/png");
    PUB("\"data\":\"\",\"encoding\":\"base64\"", MESSAGE_BINARY, "", "");
    PUB("\"data\":1,\"encoding\":null,\"type\":null", MESSAGE_JSON, "1", "");
    /* Keys and strings may be written with escapes. */
    check_pub("{\"\\u006fp\":\"p\\u0075b\",\"t\\u006fpic\":\"a\\/b\",\"d\\u0061ta\":\"\\u0078\"}",
        MESSAGE_TEXT, "x", 1, "");
    /* What nobody knows is passed over, whatever it is. */
    PUB("\"data\":1,\"future\":{\"data\":[2,{}]},\"op2\":\"x\"", MESSAGE_JSON, "1", "");
    /* What this operation does not take is, too. */
    PUB("\"data\":1,\"since\":5,\"limit\":\"x\"", MESSAGE_JSON, "1", "");
}
END_TEST

START_TEST(test_headers)
{
    struct decoded d;

    decode(&d, "{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"key\":\"k\\\"1\",\"once\":\"o\",\"retain\":true,"
               "\"headers\":{\"a\":\"b\",\"\\u00e9\":\"\"}}");
    CHECK_SLICE(d.request.headers, "\202\241a\241b\242\303\251\240");
    CHECK_SLICE(d.request.key, "k\"1");
    CHECK_SLICE(d.request.once, "o");
    ck_assert(d.request.is_retain);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"headers\":{}}");
    ck_assert_uint_eq(d.request.headers.n, 0);
    ck_assert(!d.request.is_retain);
    decoded_fini(&d);
}
END_TEST

/* Each is refused with this code, and the id is told if it could be read. */
static const struct {
    const char *text;
    enum error_code code;
    const char *id;
} refused[] = {
    {"{\"op\":\"request\",\"topic\":\"a\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"request\",\"id\":1}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"request\",\"id\":1,\"topic\":\"a\",\"timeout\":\"5s\"}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"request\",\"id\":1,\"topic\":\"a\",\"async\":1}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"result\",\"request\":\"x\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"result\",\"id\":1}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"reply\",\"data\":1}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"reply\",\"call\":\"c\",\"error\":\"\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"reply\",\"call\":\"c\",\"error\":{}}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ack\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"nack\",\"id\":1,\"lease\":\"l\",\"delay\":-1}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"peek\",\"topic\":\"a\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"purge\",\"group\":\"a\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"presence\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{}}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"id\":\"\"}}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"id\":7}}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":\"u1\"}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"group\":\"g\",\"presence\":true}", ERROR_REQUEST_INVALID,
        "1"},
    {"", ERROR_REQUEST_INVALID, ""},
    {"x", ERROR_REQUEST_INVALID, ""},
    {"[]", ERROR_REQUEST_INVALID, ""},
    {"\"hello\"", ERROR_REQUEST_INVALID, ""},
    {"{}", ERROR_REQUEST_INVALID, ""},
    {"{\"id\":1}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"ping\",\"id\":4", ERROR_REQUEST_INVALID, "4"},
    {"{\"op\":\"ping\",\"id\":4}}", ERROR_REQUEST_INVALID, "4"},
    {"{\"op\":\"ping\"}{\"op\":\"ping\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",}", ERROR_REQUEST_INVALID, ""},
    {"{'op':'ping'}", ERROR_REQUEST_INVALID, ""},
    {"{\"id\":1,\"op\":\"pi\xffng\"}", ERROR_REQUEST_INVALID, "1"},
    {"{\"id\":1,\"op\":\"pi\x01ng\"}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"jump\",\"id\":\"a\"}", ERROR_OP_UNKNOWN, "\"a\""},
    {"{\"op\":\"\",\"id\":2}", ERROR_OP_UNKNOWN, "2"},
    {"{\"op\":\"\\u00e9\",\"id\":2}", ERROR_OP_UNKNOWN, "2"},
    {"{\"op\":5,\"id\":2}", ERROR_REQUEST_INVALID, "2"},
    {"{\"op\":null,\"id\":2}", ERROR_REQUEST_INVALID, "2"},
    {"{\"op\":\"ping\",\"op\":\"ping\",\"id\":2}", ERROR_REQUEST_INVALID, "2"},
    {"{\"op\":\"ping\",\"\\u006fp\":\"ping\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":1.5}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":1e3}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":true}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":[1]}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
        ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"sub\",\"topic\":\"a\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"sub\",\"id\":null,\"topic\":\"a\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"sub\",\"id\":1}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":null}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":5}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":{}}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":[]}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":[\"a\",1]}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":[[\"a\"]]}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"since\":5}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"last\":\"5\"}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"last\":-5}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"last\":5,\"since\":\"1-1\"}", ERROR_REQUEST_INVALID, "1"},
    {"{\"op\":\"unsub\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"pub\",\"data\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":[\"a\"],\"data\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"retain\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"key\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"once\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"type\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"type\":\"a\\r\\nb\",\"id\":3}", ERROR_REQUEST_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"type\":\"\\u00e9\",\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"headers\":[],\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"headers\":{\"a\":1},\"id\":3}", ERROR_REQUEST_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"headers\":{\"\":\"\"},\"id\":3}", ERROR_REQUEST_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"headers\":{\"a\":\"\\n\"},\"id\":3}",
        ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"headers\":{\"a\":\"\",\"a\":\"\"},\"id\":3}",
        ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":{},\"encoding\":\"base64\",\"id\":3}", ERROR_BODY_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"A\",\"encoding\":\"base64\",\"id\":3}", ERROR_BODY_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"AAB\",\"encoding\":\"base64\",\"id\":3}", ERROR_BODY_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"A\",\"encoding\":\"hex\",\"id\":3}", ERROR_BODY_INVALID,
        "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"A\",\"encoding\":1,\"id\":3}", ERROR_REQUEST_INVALID, "3"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"\\ud800\",\"id\":3}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":01,\"id\":3}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"topics\",\"filter\":[\"a\"]}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"topics\",\"limit\":-1,\"id\":9}", ERROR_REQUEST_INVALID, "9"},
    {"{\"op\":\"topics\",\"limit\":99999999999999999999,\"id\":9}", ERROR_REQUEST_INVALID, "9"},
};

START_TEST(test_refused)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct decoded d;

        decoded_init(&d, json, slice_str(refused[i].text));
        ck_assert_msg(d.r == -EINVAL, "%s was taken", refused[i].text);
        ck_assert_msg(
            d.error.code == refused[i].code, "%s: %d, %s", refused[i].text, (int)d.error.code, d.error.text);
        ck_assert_msg(
            slice_is(d.error.id, refused[i].id), "%s: id %.*s", refused[i].text, SLICE_ARG(d.error.id));
        decoded_fini(&d);
    }
}
END_TEST

START_TEST(test_limits)
{
    struct decoded d;
    struct buf b;

    buf_init(&b, 0);
    /* The payload may nest as deep as the limit says; the message around it does not count. */
    buf_put_str(&b, "{\"op\":\"pub\",\"id\":1,\"topic\":\"a\",\"data\":");
    for (unsigned i = 0; i < 32; i++)
        buf_put_byte(&b, '[');
    for (unsigned i = 0; i < 32; i++)
        buf_put_byte(&b, ']');
    buf_put_byte(&b, '}');
    decoded_init(&d, json, buf_slice(&b));
    ck_assert_int_eq(d.r, 0);
    decoded_fini(&d);
    buf_reset(&b);
    buf_put_str(&b, "{\"op\":\"pub\",\"id\":1,\"topic\":\"a\",\"data\":");
    for (unsigned i = 0; i < 33; i++)
        buf_put_byte(&b, '[');
    decoded_init(&d, json, buf_slice(&b));
    ck_assert_int_eq(d.error.code, ERROR_REQUEST_INVALID);
    CHECK_SLICE(d.error.id, "1");
    decoded_fini(&d);

    buf_reset(&b);
    buf_put_str(&b, "{\"op\":\"sub\",\"id\":1,\"topic\":[\"a\"");
    for (unsigned i = 0; i < REQUEST_FILTERS_MAX; i++)
        buf_put_str(&b, ",\"a\"");
    buf_put_str(&b, "]}");
    decoded_init(&d, json, buf_slice(&b));
    ck_assert_int_eq(d.error.code, ERROR_LIMIT_REACHED);
    decoded_fini(&d);

    buf_reset(&b);
    buf_put_str(&b, "{\"op\":\"pub\",\"id\":1,\"topic\":\"a\",\"data\":1,\"headers\":{\"a\":\"\"");
    for (unsigned i = 0; i < 64; i++)
        buf_printf(&b, ",\"%u\":\"\"", i);
    buf_put_str(&b, "}}");
    decoded_init(&d, json, buf_slice(&b));
    ck_assert_int_eq(d.error.code, ERROR_LIMIT_REACHED);
    decoded_fini(&d);
    buf_fini(&b);
}
END_TEST

static const char full[] =
    "{\"op\":\"pub\",\"id\":\"i\\\"d\",\"topic\":\"a\\/b\",\"retain\":true,\"key\":\"\\u00e9\","
    "\"headers\":{\"a\\/\":\"b\"},\"type\":\"application/x\",\"encoding\":\"base64\",\"data\":\"AAH\\/\"}";

static void
check_prefixes(const char *text)
{
    size_t n_text = strlen(text);

    for (size_t n = 0; n < n_text; n++) {
        struct decoded d;

        decoded_init(&d, json, slice_of(text, n));
        ck_assert_int_eq(d.r, -EINVAL);
        ck_assert_int_eq(d.error.code, ERROR_REQUEST_INVALID);
        decoded_fini(&d);
    }
}

START_TEST(test_every_prefix)
{
    check_prefixes(full);
    check_prefixes("{\"op\":\"request\",\"id\":7,\"topic\":\"svc\",\"data\":{\"a\":[1]},\"timeout\":5000,"
                   "\"async\":true}");
    check_prefixes(
        "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"id\":\"u\\n1\",\"info\":{\"x\":[null]}}}");
    check_prefixes("{\"op\":\"nack\",\"lease\":\"l\",\"delay\":5,\"dead\":false,\"reason\":\"\\u00e9\"}");
}
END_TEST

START_TEST(test_split)
{
    static const char stream[] =
        "{\"op\":\"ping\"}\n\r\n \t\n{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"\\n\"}\r\n"
        "{\"op\":\"hello\"}\n"
        "{\"op\":\"reply\",\"call\":\"c\",\"data\":{\"n\":[1]}}\n{\"op\":\"nack\",\"lease\":\"l\"}\n";
    struct slice in = slice_of(stream, sizeof stream - 1), message;
    struct dialect_scan scan = {0};
    size_t n;

    for (size_t step = 1; step <= in.n; step++)
        ck_assert_uint_eq(split_all(json, in, step, 64), 5);

    ck_assert_int_eq(json->split(slice_of(stream, 5), &scan, 10, &n, &message), -EAGAIN);
    ck_assert_uint_eq(scan.at, 5); /* and is not looked at again */
    ck_assert_int_eq(json->split(slice_of(stream, 11), &scan, 10, &n, &message), -EMSGSIZE);
    scan = (struct dialect_scan){0};
    ck_assert_int_eq(json->split(in, &scan, 12, &n, &message), -EMSGSIZE);
    scan = (struct dialect_scan){0};
    ck_assert_int_eq(json->split(in, &scan, 13, &n, &message), 0);
    ck_assert_uint_eq(n, 14);
    CHECK_SLICE(message, "{\"op\":\"ping\"}");
}
END_TEST

static const struct message plain = {
    .topic = {(const uint8_t *)"a/\"b", 4},
    .cursor = {(const uint8_t *)"1a-7", 4},
    .seq = 7,
    .time_ms = 1700000000123,
    .kind = MESSAGE_JSON,
    .body = {(const uint8_t *)"{\"x\": 1}", 8},
};

static void
check_message(struct message m, const char *expected)
{
    struct buf out;

    buf_init(&out, 0);
    json->put_message(&out, &m, slice_str("\"s\""));
    check_slice(buf_slice(&out), expected, strlen(expected));
    ck_assert_int_eq(json_check(out.p, out.n, 32, NULL), 0);
    buf_fini(&out);
}

#define HEAD "{\"op\":\"msg\",\"sub\":\"s\",\"topic\":\"a/\\\"b\",\"cursor\":\"1a-7\",\"time\":1700000000123"

START_TEST(test_put_message)
{
    struct message m = plain;

    check_message(m, HEAD ",\"data\":{\"x\": 1}}");
    m.is_retained = true;
    m.type = slice_str("application/ld+json");
    m.key = slice_str("k\"");
    m.headers = slice_of("\202\241a\241b\242\303\251\240", 9);
    check_message(m,
        HEAD ",\"retained\":true,\"type\":\"application/"
             "ld+json\",\"key\":\"k\\\"\",\"headers\":{\"a\":\"b\",\"\303\251\":\"\"},\"data\":{\"x\": 1}}");
    m = plain;
    m.body = slice_str("\"s\"");
    check_message(m, HEAD ",\"type\":\"application/json\",\"data\":\"s\"}");
    m.kind = MESSAGE_TEXT;
    check_message(m, HEAD ",\"data\":\"\\\"s\\\"\"}");
    m.body.n = 0;
    check_message(m, HEAD ",\"data\":\"\"}");
    m.kind = MESSAGE_BINARY;
    m.body = slice_of("\0\1\xff", 3);
    check_message(m, HEAD ",\"encoding\":\"base64\",\"data\":\"AAH/\"}");
    m.kind = MESSAGE_JSON;
    m.body.n = 0;
    check_message(m, HEAD ",\"data\":null}");
}
END_TEST

static void
check_answer(struct answer a, const char *expected)
{
    struct buf out;

    buf_init(&out, 0);
    json->put_answer(&out, &a);
    check_slice(buf_slice(&out), expected, strlen(expected));
    buf_fini(&out);
}

/* Whatever room is left behind what stands before them, words for an empty payload fit into what was
 * reserved. */
START_TEST(test_put_message_room)
{
    static const uint8_t text[600] = {0};
    struct message m = plain;

    m.body.n = 0;
    for (unsigned kind = MESSAGE_BINARY; kind <= MESSAGE_JSON + 1; kind++) {
        m.kind = (enum message_kind)kind;
        for (m.key.n = 1, m.key.p = text; m.key.n < sizeof text; m.key.n++) {
            struct buf out;

            buf_init(&out, 0);
            json->put_message(&out, &m, slice_str("1"));
            ck_assert_msg(out.n <= out.cap, "a key of %zu bytes: %zu of %zu", m.key.n, out.n, out.cap);
            buf_fini(&out);
        }
    }
}
END_TEST

START_TEST(test_put_patterns)
{
    const struct slice id = slice_str("1");
    const struct queue_figures queue = {.topic = slice_str("jobs"),
        .group = slice_str("g"),
        .n_ready = 1,
        .n_leased = 2,
        .n_delayed = 3,
        .n_done = 4,
        .n_dead = 5,
        .n_lost = 6,
        .oldest_ms = 7,
        .n_consumers = 8};
    struct message m = plain, event = plain;

    m.topic = slice_str("t");
    m.headers = slice_of("\201\241a\241b", 5);
    m.key = slice_str("k");
    check_answer((struct answer){.type = ANSWER_SCHEDULED, .id = id, .time_ms = 9},
        "{\"op\":\"published\",\"id\":1,\"due\":9}");
    check_answer((struct answer){.type = ANSWER_REPLY, .id = id, .message = &m},
        "{\"op\":\"reply\",\"id\":1,\"headers\":{\"a\":\"b\"},\"data\":{\"x\": 1}}");
    check_answer((struct answer){.type = ANSWER_ACCEPTED, .id = id, .token = slice_str("ID"), .time_ms = 9},
        "{\"op\":\"accepted\",\"id\":1,\"request\":\"ID\",\"expires\":9}");
    check_answer((struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_WITHDRAW},
        "{\"op\":\"canceled\",\"id\":1}");
    check_answer(
        (struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_REPLY}, "{\"op\":\"replied\",\"id\":1}");
    check_answer(
        (struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_SETTLE}, "{\"op\":\"acked\",\"id\":1}");
    check_answer((struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_SETTLE, .outcome = SETTLE_DEAD},
        "{\"op\":\"nacked\",\"id\":1}");
    check_answer(
        (struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_SETTLE, .outcome = SETTLE_EXTEND},
        "{\"op\":\"extended\",\"id\":1}");
    check_answer((struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_PURGE, .count = 3},
        "{\"op\":\"purged\",\"id\":1,\"count\":3}");
    check_answer((struct answer){.type = ANSWER_DONE, .id = id, .of = REQUEST_REDRIVE, .count = 3},
        "{\"op\":\"redriven\",\"id\":1,\"count\":3}");
    check_answer((struct answer){.type = ANSWER_DONE, .of = REQUEST_SETTLE}, "");
    check_answer((struct answer){.type = ANSWER_QUEUE, .id = id, .queue = &queue},
        "{\"op\":\"queue\",\"id\":1,\"topic\":\"jobs\",\"group\":\"g\",\"ready\":1,\"leased\":2,"
        "\"delayed\":3,\"done\":4,\"dead\":5,\"lost\":6,\"consumers\":8,\"oldest\":7}");
    check_answer((struct answer){.type = ANSWER_QUEUES_END, .id = id},
        "{\"op\":\"queues_end\",\"id\":1,\"more\":false}");
    check_answer((struct answer){.type = ANSWER_PEEKED,
                     .id = id,
                     .message = &m,
                     .queue_state = 1,
                     .n_deliveries = 2,
                     .time_ms = 9},
        "{\"op\":\"peeked\",\"id\":1,\"state\":\"leased\",\"until\":9,\"deliveries\":2,\"cursor\":\"1a-7\","
        "\"time\":1700000000123,\"key\":\"k\",\"headers\":{\"a\":\"b\"},\"data\":{\"x\": 1}}");
    check_answer((struct answer){.type = ANSWER_PEEK_END, .id = id, .count = 1},
        "{\"op\":\"peek_end\",\"id\":1,\"more\":true}");
    check_answer((struct answer){.type = ANSWER_PRESENT,
                     .id = id,
                     .token = slice_str("u1"),
                     .body = slice_str("{\"n\": 1}"),
                     .n_links = 2,
                     .time_ms = 9},
        "{\"op\":\"member\",\"id\":1,\"member\":\"u1\",\"info\":{\"n\": 1},\"connections\":2,\"since\":9}");
    check_answer((struct answer){.type = ANSWER_WHO_END, .id = id, .n_kept = 3, .presence = PRESENCE_MEMBERS},
        "{\"op\":\"members_end\",\"id\":1,\"presence\":\"members\",\"count\":3,\"more\":false}");
    check_answer((struct answer){.type = ANSWER_WORK,
                     .id = id,
                     .message = &m,
                     .token = slice_str("l"),
                     .n_deliveries = 1,
                     .time_ms = 30000},
        "{\"op\":\"msg\",\"sub\":1,\"lease\":\"l\",\"deliveries\":1,\"expires\":30000,\"topic\":\"t\","
        "\"cursor\":\"1a-7\",\"time\":1700000000123,\"key\":\"k\",\"headers\":{\"a\":\"b\"},\"data\":{\"x\": "
        "1}}");
    m.kind = MESSAGE_BINARY;
    m.body = slice_of("\0\1\xff", 3);
    check_answer((struct answer){.type = ANSWER_CALL,
                     .id = id,
                     .message = &m,
                     .token = slice_str("c"),
                     .n_deliveries = 2,
                     .time_ms = 4990},
        "{\"op\":\"request\",\"sub\":1,\"call\":\"c\",\"topic\":\"t\",\"timeout\":4990,\"deliveries\":2,"
        "\"key\":\"k\",\"headers\":{\"a\":\"b\"},\"encoding\":\"base64\",\"data\":\"AAH/\"}");
    check_answer((struct answer){.type = ANSWER_ERROR,
                     .of = REQUEST_SETTLE,
                     .token = slice_str("l"),
                     .code = ERROR_LEASE_LOST,
                     .text = slice_str("x")},
        "{\"op\":\"error\",\"lease\":\"l\",\"code\":\"lease_lost\",\"message\":\"x\"}");
    check_answer((struct answer){.type = ANSWER_ERROR,
                     .of = REQUEST_REPLY,
                     .token = slice_str("c"),
                     .code = ERROR_CALL_UNKNOWN,
                     .text = slice_str("x")},
        "{\"op\":\"error\",\"call\":\"c\",\"code\":\"call_unknown\",\"message\":\"x\"}");
    event.topic = slice_str("$presence/chat/1");
    check_message(event, "{\"op\":\"presence\",\"sub\":\"s\",\"topic\":\"chat/"
                         "1\",\"time\":1700000000123,\"data\":{\"x\": 1}}");
}
END_TEST

START_TEST(test_put_answer)
{
    const struct slice gaps[] = {slice_str("a"), slice_str("")}, id = slice_str("1");
    const struct position at = {.epoch = 0x1a, .seq = 7};

    check_answer((struct answer){.type = ANSWER_WELCOME, .position = at},
        "{\"op\":\"welcome\",\"version\":\"" PACKAGE_VERSION "\",\"protocol\":1,\"cursor\":\"1a-7\"}");
    check_answer((struct answer){.type = ANSWER_WELCOME, .text = slice_str("tcp.1"), .count = 9},
        "{\"op\":\"welcome\",\"version\":\"" PACKAGE_VERSION
        "\",\"protocol\":1,\"server\":\"tcp.1\",\"message_bytes\":9}");
    check_answer((struct answer){.type = ANSWER_SUBSCRIBED, .id = id, .state = STATE_LIVE, .position = at},
        "{\"op\":\"subscribed\",\"id\":1,\"state\":\"live\",\"cursor\":\"1a-7\"}");
    check_answer((struct answer){.type = ANSWER_SUBSCRIBED,
                     .id = id,
                     .state = STATE_GAP,
                     .position = at,
                     .gaps = gaps,
                     .n_gaps = 2},
        "{\"op\":\"subscribed\",\"id\":1,\"state\":\"gap\",\"cursor\":\"1a-7\",\"topics\":[\"a\",\"\"]}");
    check_answer(
        (struct answer){.type = ANSWER_UNSUBSCRIBED, .id = id}, "{\"op\":\"unsubscribed\",\"id\":1}");
    check_answer((struct answer){.type = ANSWER_PUBLISHED, .id = id, .position = at},
        "{\"op\":\"published\",\"id\":1,\"cursor\":\"1a-7\"}");
    check_answer((struct answer){.type = ANSWER_PUBLISHED, .position = at}, "");
    check_answer((struct answer){.type = ANSWER_PONG}, "{\"op\":\"pong\"}");
    check_answer((struct answer){.type = ANSWER_TOPIC,
                     .id = id,
                     .topic = gaps[0],
                     .position = at,
                     .n_kept = 3,
                     .n_bytes = 4,
                     .n_links = 5},
        "{\"op\":\"topic\",\"id\":1,\"topic\":\"a\",\"cursor\":\"1a-7\",\"messages\":3,\"bytes\":4,\"links\":"
        "5}");
    check_answer(
        (struct answer){.type = ANSWER_TOPICS_END, .count = 1}, "{\"op\":\"topics_end\",\"more\":true}");
    check_answer(
        (struct answer){
            .type = ANSWER_ERROR, .id = id, .code = ERROR_NOT_ALLOWED, .text = slice_str("no \"x\"")},
        "{\"op\":\"error\",\"id\":1,\"code\":\"not_allowed\",\"message\":\"no \\\"x\\\"\"}");
    check_answer((struct answer){.type = ANSWER_ERROR, .code = ERROR_OP_UNKNOWN},
        "{\"op\":\"error\",\"code\":\"op_unknown\",\"message\":\"There is no such operation.\"}");
    check_answer((struct answer){.type = ANSWER_STATE, .id = id, .state = STATE_RESET, .position = at},
        "{\"op\":\"state\",\"sub\":1,\"state\":\"reset\",\"cursor\":\"1a-7\"}");
    check_answer((struct answer){.type = ANSWER_DROPPED, .count = 5, .topic = gaps[0]},
        "{\"op\":\"dropped\",\"count\":5,\"topic\":\"a\"}");
    check_answer((struct answer){.type = ANSWER_CLOSING, .code = ERROR_SHUTTING_DOWN},
        "{\"op\":\"closing\",\"code\":\"shutting_down\",\"message\":\"This server is stopping; connect "
        "again.\"}");
}
END_TEST

/* What was published comes out as what was published: the delivery's data, published again, is the same
 * message. */
START_TEST(test_round_trip)
{
    static const struct {
        enum message_kind kind;
        const char *body;
        const char *type;
    } rows[] = {
        {MESSAGE_JSON, "[1, 2]", ""},
        {MESSAGE_JSON, "\"a string\"", ""},
        {MESSAGE_JSON, "\"a string\"", "application/ld+json"},
        {MESSAGE_TEXT, "a\ttext\n", ""},
        {MESSAGE_TEXT, "<p>", "text/html"},
        {MESSAGE_BINARY, "\x80\xff", ""},
        {MESSAGE_BINARY, "x", "image/png"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct message m = plain;
        struct decoded d;
        struct buf out;

        m.kind = rows[i].kind;
        m.body = slice_str(rows[i].body);
        m.type = slice_str(rows[i].type);
        m.key = slice_str("k");
        m.headers = slice_of("\201\241a\241b", 5);
        buf_init(&out, 0);
        json->put_message(&out, &m, slice_str("1"));
        memcpy(out.p, "{\"op\":\"pub\"", 11);
        decoded_init(&d, json, buf_slice(&out));
        ck_assert_msg(d.r == 0, "%.*s: %s", SLICE_ARG(buf_slice(&out)), d.error.text);
        ck_assert_int_eq(d.request.kind, m.kind);
        ck_assert(slice_equal(d.request.topic, m.topic));
        ck_assert(slice_equal(d.request.body, m.body));
        ck_assert(slice_equal(d.request.type, m.type));
        ck_assert(slice_equal(d.request.key, m.key));
        ck_assert(slice_equal(d.request.headers, m.headers));
        decoded_fini(&d);
        buf_fini(&out);
    }
}
END_TEST

/* The manual's table of errors says what wire/errors.tbl.h says. */
START_TEST(test_manual)
{
    static const char *const rows[] = {
#define ERROR(NAME, code, http, sentence) "\n| `" code "` | " #http " | " sentence " |\n",
#include "wire/errors.tbl.h"
#undef ERROR
    };
    const char *src = getenv("BUSBAR_SRC");
    char path[4096], *text = calloc(1, 1 << 16);
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/docs/protocol.md", src == NULL ? "." : src);
    f = fopen(path, "r");
    ck_assert_msg(f != NULL && text != NULL, "%s", path);
    ck_assert_uint_gt(fread(text, 1, (1 << 16) - 1, f), 0);
    (void)fclose(f);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(strstr(text, rows[i]) != NULL, "docs/protocol.md lacks the row %s", rows[i]);
    free(text);
}
END_TEST

/* Names are compared as numbers: what differs from one of ours in length or in any byte is another one. */
START_TEST(test_names)
{
    static const char *const others[] = {"", "o", "opp", "oop", "Op", "op\\u0000", "\\u0000op", "op ",
        "topics", "topi", "tipoc", "encodings", "encodin", "presence\\u0000", "headerss",
        "op\\u0000\\u0000\\u0000"};
    static const struct {
        const char *text;
        enum request_op op;
    } ops[] = {{"pub", REQUEST_PUB}, {"p\\u0075b", REQUEST_PUB}, {"unsub", REQUEST_UNSUB},
        {"presence", REQUEST_WHO}, {"redrive", REQUEST_REDRIVE}};
    static const char *const no_ops[] = {
        "", "p", "pu", "pubs", "pub\\u0000", "bup", "presenc", "presences", "sub\\u0000\\u0000"};
    char text[256];
    struct decoded d;

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        (void)snprintf(text, sizeof text, "{\"op\":\"ping\",\"%s\":\"hello\",\"\\u0069d\":1}", others[i]);
        decode(&d, text);
        ck_assert_int_eq(d.request.op, REQUEST_PING);
        CHECK_SLICE(d.request.id, "1");
        decoded_fini(&d);
        (void)snprintf(text, sizeof text, "{\"%s\":\"hello\"}", others[i]);
        decoded_init(&d, json, slice_str(text));
        ck_assert_msg(d.r == -EINVAL && d.error.code == ERROR_REQUEST_INVALID, "%s", text);
        decoded_fini(&d);
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        (void)snprintf(text, sizeof text,
            "{\"op\":\"%s\",\"id\":1,\"topic\":\"a\",\"group\":\"g\",\"data\":0}", ops[i].text);
        decode(&d, text);
        ck_assert_int_eq(d.request.op, ops[i].op);
        decoded_fini(&d);
    }
    for (size_t i = 0; i < sizeof no_ops / sizeof no_ops[0]; i++) {
        (void)snprintf(text, sizeof text, "{\"op\":\"%s\"}", no_ops[i]);
        decoded_init(&d, json, slice_str(text));
        ck_assert_msg(d.r == -EINVAL && d.error.code == ERROR_OP_UNKNOWN, "%s", text);
        decoded_fini(&d);
    }
}
END_TEST

/* More members than are read at once, a name of ours in any of the batches. */
START_TEST(test_many_members)
{
    for (unsigned at = 0; at < 20; at++) {
        struct decoded d;
        struct buf b;

        buf_init(&b, 0);
        buf_put_byte(&b, '{');
        for (unsigned i = 0; i < 20; i++)
            buf_printf(&b, i == at ? "\"id\":77," : "\"x%u\":[%u],", i, i);
        buf_put_str(&b, "\"op\":\"ping\"}");
        decoded_init(&d, json, buf_slice(&b));
        ck_assert_int_eq(d.r, 0);
        CHECK_SLICE(d.request.id, "77");
        decoded_fini(&d);
        /* What is malformed is answered with the id that stood before. */
        b.p[b.n - 1] = ']';
        decoded_init(&d, json, buf_slice(&b));
        ck_assert_int_eq(d.r, -EINVAL);
        CHECK_SLICE(d.error.id, "77");
        decoded_fini(&d);
        buf_fini(&b);
    }
}
END_TEST

SUITE_MAIN("njson", test_operations, test_requests, test_queues, test_presence, test_put_patterns, test_sub,
    test_payloads, test_headers, test_refused, test_limits, test_every_prefix, test_split, test_put_message,
    test_put_message_room, test_put_answer, test_round_trip, test_manual, test_names, test_many_members)
