/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/dialect.h"

#include "tests/unit/base/suite.h"
#include "tests/unit/dialects/nativesupport.h"

#include <errno.h>
#include <msgpack.h>

static const struct dialect *const mp = &dialect_native_msgpack;

/* Decodes the MessagePack of this JSON. */
static void
decode_like(struct decoded *d, const char *text)
{
    struct buf in;

    buf_init(&in, 0);
    json_to_msgpack(&in, text);
    decoded_init(d, mp, buf_slice(&in));
    buf_fini(&in);
}

static void
decode(struct decoded *d, const char *text)
{
    decode_like(d, text);
    ck_assert_msg(d->r == 0, "%s: %s", text, d->r == 0 ? "" : d->error.text);
}

START_TEST(test_operations)
{
    struct decoded d;

    decode(&d, "{\"op\":\"hello\"}");
    ck_assert_int_eq(d.request.op, REQUEST_HELLO);
    ck_assert_uint_eq(d.request.id.n, 0);
    decoded_fini(&d);

    decode(&d, "{\"id\":7,\"op\":\"ping\"}");
    ck_assert_int_eq(d.request.op, REQUEST_PING);
    CHECK_SLICE(d.request.id, "\x07");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"unsub\",\"id\":\"room\"}");
    ck_assert_int_eq(d.request.op, REQUEST_UNSUB);
    CHECK_SLICE(d.request.id, "\xa4room");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":-1,\"topic\":[\"a\",\"b/#\"],\"last\":20}");
    ck_assert_int_eq(d.request.op, REQUEST_SUB);
    ck_assert_uint_eq(d.request.n_filters, 2);
    CHECK_SLICE(d.request.filters[1], "b/#");
    ck_assert_int_eq(d.request.from, FROM_LAST);
    ck_assert_uint_eq(d.request.last, 20);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"since\":\"1a-7\"}");
    ck_assert_int_eq(d.request.from, FROM_SINCE);
    CHECK_SLICE(d.request.since, "1a-7");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"topics\",\"filter\":\"a/#\",\"limit\":5}");
    ck_assert_int_eq(d.request.op, REQUEST_TOPICS);
    CHECK_SLICE(d.request.filters[0], "a/#");
    ck_assert_uint_eq(d.request.limit, 5);
    decoded_fini(&d);
}
END_TEST

START_TEST(test_patterns)
{
    static const char text[] =
        "\204\242op\243sub\242id\1\245topic\241a\250presence\202\242id\242u1\244info\247{\"a\":1}";
    struct decoded d;

    decode(&d, "{\"op\":\"request\",\"id\":7,\"topic\":\"svc\",\"data\":\"x\",\"timeout\":5000}");
    ck_assert_int_eq(d.request.op, REQUEST_ASK);
    ck_assert_uint_eq(d.request.timeout_ms, 5000);
    CHECK_SLICE(d.request.body, "x");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"jobs\",\"group\":\"g\",\"prefetch\":3}");
    ck_assert_int_eq(d.request.role, ROLE_CONSUMER);
    CHECK_SLICE(d.request.group, "g");
    ck_assert_uint_eq(d.request.prefetch, 3);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"nack\",\"lease\":\"l\",\"dead\":true,\"reason\":\"why\"}");
    ck_assert_int_eq(d.request.op, REQUEST_SETTLE);
    ck_assert_int_eq(d.request.outcome, SETTLE_DEAD);
    CHECK_SLICE(d.request.failure, "why");
    decoded_fini(&d);

    /* Info is JSON as a str, as payloads are. */
    decoded_init(&d, mp, slice_of(text, sizeof text - 1));
    ck_assert_msg(d.r == 0, "%s", d.error.text);
    ck_assert(d.request.wants_presence);
    CHECK_SLICE(d.request.member, "u1");
    CHECK_SLICE(d.request.info, "{\"a\":1}");
    decoded_fini(&d);

    decode(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":true}");
    ck_assert(d.request.wants_presence);
    ck_assert_uint_eq(d.request.member.n, 0);
    decoded_fini(&d);

    decode_like(
        &d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"id\":\"u\",\"info\":\"no JSON\"}}");
    ck_assert_int_eq(d.error.code, ERROR_REQUEST_INVALID);
    decoded_fini(&d);
    decode_like(&d, "{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"id\":5}}");
    ck_assert_int_eq(d.error.code, ERROR_REQUEST_INVALID);
    decoded_fini(&d);
}
END_TEST

static void
check_pub(const char *text, enum message_kind kind, const char *body, const char *type)
{
    struct decoded d;

    decode(&d, text);
    ck_assert_int_eq(d.request.op, REQUEST_PUB);
    ck_assert_msg(d.request.kind == kind, "%s: kind %d", text, (int)d.request.kind);
    check_slice(d.request.body, body, strlen(body));
    check_slice(d.request.type, type, strlen(type));
    decoded_fini(&d);
}

START_TEST(test_payloads)
{
    static const char binary[] = "\203\242op\243pub\245topic\241a\244data\304\003\000\200\377";
    struct decoded d;

    check_pub("{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"text\"}", MESSAGE_TEXT, "text", "");
    check_pub("{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"\"}", MESSAGE_TEXT, "", "");
    check_pub("{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"<p>\",\"type\":\"text/html\"}", MESSAGE_TEXT, "<p>",
        "text/html");
    check_pub("{\"op\":\"pub\",\"topic\":\"a\",\"encoding\":\"json\",\"data\":\"[1, 2]\"}", MESSAGE_JSON,
        "[1, 2]", "");
    check_pub("{\"op\":\"pub\",\"topic\":\"a\",\"encoding\":\"json\",\"data\":\"\\\"s\\\"\"}", MESSAGE_JSON,
        "\"s\"", "");
    check_pub("{\"op\":\"pub\",\"topic\":\"a\",\"type\":\"application/json\",\"data\":\"[1]\"}", MESSAGE_JSON,
        "[1]", "");

    decoded_init(&d, mp, slice_of(binary, sizeof binary - 1));
    ck_assert_int_eq(d.r, 0);
    ck_assert_int_eq(d.request.kind, MESSAGE_BINARY);
    check_slice(d.request.body, "\x00\x80\xff", 3);
    decoded_fini(&d);

    decode(&d, "{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"x\",\"key\":\"k\",\"once\":\"o\",\"retain\":true,"
               "\"headers\":{\"a\":\"b\"},\"future\":[{\"data\":{}}]}");
    CHECK_SLICE(d.request.headers, "\201\241a\241b");
    CHECK_SLICE(d.request.key, "k");
    CHECK_SLICE(d.request.once, "o");
    ck_assert(d.request.is_retain);
    decoded_fini(&d);
}
END_TEST

static const struct {
    const char *text;
    enum error_code code;
    const char *id;
} refused[] = {
    {"[]", ERROR_REQUEST_INVALID, ""},
    {"1", ERROR_REQUEST_INVALID, ""},
    {"{}", ERROR_REQUEST_INVALID, ""},
    {"{\"id\":1}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"jump\",\"id\":\"a\"}", ERROR_OP_UNKNOWN, "\241a"},
    {"{\"op\":5,\"id\":2}", ERROR_REQUEST_INVALID, "\x02"},
    {"{\"op\":\"ping\",\"op\":\"ping\",\"id\":2}", ERROR_REQUEST_INVALID, "\x02"},
    {"{\"op\":\"ping\",\"id\":true}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":[1]}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"ping\",\"id\":\"0123456789012345678901234567890123456789012345678901234567890123\"}",
        ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"sub\",\"topic\":\"a\"}", ERROR_REQUEST_INVALID, ""},
    {"{\"op\":\"sub\",\"id\":1}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":5}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":[]}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":[\"a\",1]}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"last\":-5}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"last\":5,\"since\":\"1-1\"}", ERROR_REQUEST_INVALID, "\x01"},
    {"{\"op\":\"pub\",\"data\":\"\",\"id\":3}", ERROR_REQUEST_INVALID, "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"id\":3}", ERROR_REQUEST_INVALID, "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":null,\"id\":3}", ERROR_BODY_INVALID, "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":1,\"id\":3}", ERROR_BODY_INVALID, "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":{\"a\":1},\"id\":3}", ERROR_BODY_INVALID, "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"AAAA\",\"encoding\":\"base64\",\"id\":3}",
        ERROR_BODY_INVALID, "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"{\",\"encoding\":\"json\",\"id\":3}", ERROR_BODY_INVALID,
        "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"\",\"encoding\":\"json\",\"id\":3}", ERROR_BODY_INVALID,
        "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"\",\"headers\":{\"a\":1},\"id\":3}", ERROR_REQUEST_INVALID,
        "\x03"},
    {"{\"op\":\"pub\",\"topic\":\"a\",\"data\":\"\",\"retain\":1,\"id\":3}", ERROR_REQUEST_INVALID, "\x03"},
};

START_TEST(test_refused)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct decoded d;

        decode_like(&d, refused[i].text);
        ck_assert_msg(d.r == -EINVAL, "%s was taken", refused[i].text);
        ck_assert_msg(
            d.error.code == refused[i].code, "%s: %d, %s", refused[i].text, (int)d.error.code, d.error.text);
        ck_assert_msg(slice_is(d.error.id, refused[i].id), "%s: %s", refused[i].text, d.error.text);
        decoded_fini(&d);
    }
}
END_TEST

/* What JSON cannot say. */
static void
check_refused_bytes(const char *bytes, size_t n, enum error_code code)
{
    struct decoded d;

    decoded_init(&d, mp, slice_of(bytes, n));
    ck_assert_int_eq(d.r, -EINVAL);
    ck_assert_int_eq(d.error.code, code);
    decoded_fini(&d);
}

#define REFUSED(bytes, code) check_refused_bytes(bytes, sizeof(bytes) - 1, code)

START_TEST(test_refused_bytes)
{
    REFUSED("", ERROR_REQUEST_INVALID);
    REFUSED("\xc1", ERROR_REQUEST_INVALID);
    REFUSED("\x81\x01\x01", ERROR_REQUEST_INVALID);             /* a key that is a number */
    REFUSED("\x81\xa2op\xc1", ERROR_REQUEST_INVALID);           /* the byte that is never used */
    REFUSED("\xdf\xff\xff\xff\xff", ERROR_REQUEST_INVALID);     /* a forged count */
    REFUSED("\x81\xa2op\xa4pi\xff\xfe", ERROR_REQUEST_INVALID); /* text that is not UTF-8 */
    REFUSED("\x81\xa2op\xa4ping\x00", ERROR_REQUEST_INVALID);   /* something behind */
    REFUSED("\x82\xa2op\xa4ping\xa2id\xa1\xff", ERROR_REQUEST_INVALID);
    REFUSED("\203\242op\243pub\245topic\241a\244data\241\377", ERROR_BODY_INVALID);
    REFUSED("\203\242op\243pub\245topic\241a\244data\324\001\002", ERROR_BODY_INVALID); /* an extension */
    REFUSED("\202\242op\244ping\241x\221\221\221\221\221\221\221\221\221\221\221\221\221\221\221\221\221\221"
            "\221\300",
        ERROR_REQUEST_INVALID); /* nested too deeply */
}
END_TEST

static const char full[] =
    "{\"op\":\"pub\",\"id\":\"id\",\"topic\":\"a/b\",\"retain\":true,\"key\":\"\\u00e9\","
    "\"headers\":{\"a\":\"b\",\"c\":\"d\"},\"type\":\"a/x\",\"x\":[1,[],{},[{\"y\":null}]],"
    "\"encoding\":\"json\",\"data\":\"[1]\"}";

static void
check_prefixes(const char *text)
{
    struct buf in;

    buf_init(&in, 0);
    json_to_msgpack(&in, text);
    for (size_t n = 0; n < in.n; n++) {
        struct dialect_scan scan = {0};
        struct slice message;
        struct decoded d;
        size_t n_taken;

        decoded_init(&d, mp, slice_of(in.p, n));
        ck_assert_int_eq(d.r, -EINVAL);
        ck_assert_int_eq(d.error.code, ERROR_REQUEST_INVALID);
        decoded_fini(&d);
        ck_assert_int_eq(mp->split(slice_of(in.p, n), &scan, 1000, &n_taken, &message), -EAGAIN);
    }
    buf_fini(&in);
}

START_TEST(test_every_prefix)
{
    check_prefixes(full);
    check_prefixes(
        "{\"op\":\"request\",\"id\":7,\"topic\":\"svc\",\"data\":\"x\",\"timeout\":5000,\"async\":true}");
    check_prefixes("{\"op\":\"sub\",\"id\":1,\"topic\":\"a\",\"presence\":{\"id\":\"u1\",\"info\":\"[1]\","
                   "\"x\":[null]}}");
    check_prefixes("{\"op\":\"nack\",\"lease\":\"l\",\"delay\":5,\"dead\":false,\"reason\":\"r\"}");
}
END_TEST

START_TEST(test_split)
{
    struct buf in;

    buf_init(&in, 0);
    json_to_msgpack(&in, "{\"op\":\"ping\"}");
    json_to_msgpack(&in, full);
    json_to_msgpack(&in, "{\"op\":\"hello\",\"x\":[[],[[[]]],{}],\"y\":{}}");
    buf_put(&in, "\xdf\x00\x00\x00\x01\xd9\x02op\xdb\x00\x00\x00\x04ping", 18); /* the long heads */
    buf_put(&in, "\xde\x00\x02\xa2op\xa4ping\xa1x\xdd\x00\x00\x00\x02\xdc\x00\x00\xca\x00\x00\x00\x00", 26);
    for (size_t step = 1; step <= in.n; step++)
        ck_assert_uint_eq(split_all(mp, buf_slice(&in), step, 1000), 5);
    buf_fini(&in);
}
END_TEST

static int
split_once(const char *bytes, size_t n, size_t max)
{
    struct dialect_scan scan = {0};
    struct slice message;
    size_t n_taken;

    return mp->split(slice_of(bytes, n), &scan, max, &n_taken, &message);
}

#define SPLIT(bytes, max) split_once(bytes, sizeof(bytes) - 1, max)

START_TEST(test_split_refused)
{
    ck_assert_int_eq(SPLIT("", 100), -EAGAIN);
    ck_assert_int_eq(SPLIT("{", 100), -EINVAL);
    ck_assert_int_eq(SPLIT("\x91\xc0", 100), -EINVAL);
    ck_assert_int_eq(SPLIT("\x81\xa1x\xc1", 100), -EINVAL);
    ck_assert_int_eq(SPLIT("\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0", 100), -EINVAL);
    ck_assert_int_eq(SPLIT("\xdf\xff\xff\xff\xff", 100), -EMSGSIZE); /* known before the elements are there */
    ck_assert_int_eq(SPLIT("\x81\xa1x\xdd\xff\xff\xff\xff", 100), -EMSGSIZE);
    ck_assert_int_eq(SPLIT("\x81\xa1x\xc6\x00\x00\x00\xff", 100), -EAGAIN);
    ck_assert_int_eq(SPLIT("\201\241x\2441234", 8), 0);
    ck_assert_int_eq(SPLIT("\201\241x\2441234", 7), -EMSGSIZE);
    ck_assert_int_eq(SPLIT("\201\241x\2511234", 7), -EMSGSIZE);
}
END_TEST

/* One byte at a time, a message of many small values costs what its length costs: the scan goes on, not anew.
 */
START_TEST(test_split_goes_on)
{
    struct dialect_scan scan = {0};
    struct slice message;
    size_t n_taken, before;
    struct buf in;

    buf_init(&in, 0);
    buf_put(&in, "\x81\xa1x\xdd\x00\x00\x10\x00", 8);
    for (unsigned i = 0; i < 0x1000; i++)
        buf_put(&in, "\x91\xc0", 2);
    for (size_t n = 1; n < in.n; n++) {
        before = scan.at;
        ck_assert_int_eq(mp->split(slice_of(in.p, n), &scan, in.n, &n_taken, &message), -EAGAIN);
        ck_assert_uint_ge(scan.at, before);
        ck_assert_uint_ge(scan.at + 5, n); /* no more than one head is looked at again */
    }
    ck_assert_int_eq(mp->split(buf_slice(&in), &scan, in.n, &n_taken, &message), 0);
    ck_assert_uint_eq(n_taken, in.n);
    buf_fini(&in);
}
END_TEST

static const struct message plain = {
    .topic = {(const uint8_t *)"a/b", 3},
    .cursor = {(const uint8_t *)"1a-7", 4},
    .seq = 7,
    .time_ms = 5,
    .kind = MESSAGE_TEXT,
    .body = {(const uint8_t *)"x", 1},
};

#define CHECK_MESSAGE(m, literal)                                                                            \
    do {                                                                                                     \
        struct buf out_;                                                                                     \
        buf_init(&out_, 0);                                                                                  \
        mp->put_message(&out_, &(m), slice_str("\x01"));                                                     \
        check_slice(buf_slice(&out_), literal, sizeof(literal) - 1);                                         \
        buf_fini(&out_);                                                                                     \
    } while (0)

#define HEAD                                                                                                 \
    "\xa2op\xa3msg\xa3sub\x01\xa5topic\xa3"                                                                  \
    "a/b\xa6"                                                                                                \
    "cursor\xa4"                                                                                             \
    "1a-7\xa4time\x05"

START_TEST(test_put_message)
{
    struct message m = plain;

    CHECK_MESSAGE(m, "\x86" HEAD "\244data\241x");
    m.kind = MESSAGE_BINARY;
    CHECK_MESSAGE(m, "\x86" HEAD "\244data\304\001x");
    m.body.n = 0;
    CHECK_MESSAGE(m, "\x86" HEAD "\244data\304\000");
    m = plain;
    m.kind = MESSAGE_JSON;
    m.body = slice_str("[1]");
    m.is_retained = true;
    m.type = slice_str("a/x");
    m.key = slice_str("k");
    m.headers = slice_of("\201\241a\241b", 5);
    CHECK_MESSAGE(m, "\x8b" HEAD "\250retained\303\244type\243a/"
                     "x\243key\241k\247headers\201\241a\241b\250encoding\244json\244data\243[1]");
}
END_TEST

/* Answers are the same pairs as in JSON. */
static void
check_answer(struct answer a, struct slice id_json)
{
    struct buf json, expected, seen;
    struct answer as_json = a;

    buf_init(&json, 0);
    buf_init(&expected, 0);
    buf_init(&seen, 0);
    as_json.id = id_json;
    dialect_native_json.put_answer(&json, &as_json);
    buf_put_byte(&json, 0);
    json_to_msgpack(&expected, (const char *)json.p);
    mp->put_answer(&seen, &a);
    check_slice(buf_slice(&seen), (const char *)expected.p, expected.n);
    buf_fini(&json);
    buf_fini(&expected);
    buf_fini(&seen);
}

START_TEST(test_put_answer)
{
    const struct slice gaps[] = {slice_str("a"), slice_str("")};
    const struct queue_figures queue = {
        .topic = slice_str("jobs"), .group = slice_str("g"), .n_ready = 70000};
    const struct message m = {.topic = slice_str("t"),
        .cursor = slice_str("1a-7"),
        .time_ms = 1700000000123,
        .kind = MESSAGE_TEXT,
        .type = slice_str("text/html"),
        .headers = slice_of("\201\241a\241b", 5),
        .key = slice_str("k"),
        .body = slice_str("<p>")};

    for (int type = ANSWER_WELCOME; type <= ANSWER_CLOSING; type++) {
        struct answer a = {
            .type = (enum answer_type)type,
            .id = slice_str("\x01"),
            .state = STATE_GAP,
            .position = {.epoch = 0x1a, .seq = 7},
            .gaps = gaps,
            .n_gaps = 2,
            .code = ERROR_LIMIT_REACHED,
            .topic = slice_str("t"),
            .count = 1000,
            .n_kept = 3,
            .n_bytes = 1000000,
            .n_links = 2,
            .of = REQUEST_PURGE,
            .message = &m,
            .queue = &queue,
            .token = slice_str("token"),
            .n_deliveries = 2,
            .time_ms = 30000,
            .queue_state = 2,
            .presence = PRESENCE_COUNT,
        };

        if (type == ANSWER_LIVE)
            continue; /* nobody can ask for it */
        check_answer(a, slice_str("1"));
        if (type != ANSWER_PUBLISHED && type != ANSWER_SCHEDULED && type != ANSWER_DONE) {
            a.id.n = 0;
            a.n_gaps = 0;
            check_answer(a, slice_of(NULL, 0));
        }
    }
}
END_TEST

START_TEST(test_round_trip)
{
    static const struct {
        enum message_kind kind;
        const char *body;
        const char *type;
    } rows[] = {
        {MESSAGE_JSON, "[1, 2]", ""},
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
        mp->put_message(&out, &m, slice_str("\x01"));
        memcpy(out.p + 1, "\xa2op\xa3pub", 7);
        decoded_init(&d, mp, buf_slice(&out));
        ck_assert_msg(d.r == 0, "%s", d.error.text);
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

SUITE_MAIN("nmsgpack", test_operations, test_patterns, test_payloads, test_refused, test_refused_bytes,
    test_every_prefix, test_split, test_split_refused, test_split_goes_on, test_put_message, test_put_answer,
    test_round_trip)
