/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/json.h"

#include "tests/unit/base/suite.h"

#include <errno.h>

static void
check_json(const char *text, size_t n, bool expected)
{
    const char *error = NULL;
    /* An allocation of the exact size, so that a read past the end is seen. */
    char *exact = malloc(n + 1);
    int r;

    memcpy(exact, text, n);
    exact = realloc(exact, n == 0 ? 1 : n);
    r = json_check(exact, n, 8, &error);
    ck_assert_msg(
        r == (expected ? 0 : -EINVAL), "%.*s: %d, %s", (int)n, text, r, error == NULL ? "taken" : error);
    ck_assert(expected == (error == NULL));
    free(exact);
}

#define GOOD(s) check_json(s, sizeof(s) - 1, true)
#define BAD(s) check_json(s, sizeof(s) - 1, false)

START_TEST(test_values)
{
    GOOD("true");
    GOOD(" false\t");
    GOOD("\r\nnull\n");
    GOOD("\"\"");
    GOOD("{}");
    GOOD("[]");
    GOOD("{\"a\":[1,2,{\"b\":null}],\"\":\"x\"}");
    GOOD(" { \"a\" : [ 1 , 2 ] , \"b\" : { } } ");
    GOOD("[[],{},[[]]]");
    GOOD("{\"a\":1,\"a\":2}");
    BAD("");
    BAD("  ");
    BAD("tru");
    BAD("True");
    BAD("nul");
    BAD("nullx");
    BAD("1 2");
    BAD("{} x");
    BAD("\xef\xbb\xbf{}"); /* a byte order mark is not white space */
    BAD("\f1");
    BAD("'a'");
    BAD("//x\n1");
    BAD("1\0");
}
END_TEST

START_TEST(test_containers)
{
    BAD("[");
    BAD("]");
    BAD("{");
    BAD("}");
    BAD("[1");
    BAD("[1,");
    BAD("[1,]");
    BAD("[,1]");
    BAD("[1 2]");
    BAD("[1}");
    BAD("{]");
    BAD("{\"a\"}");
    BAD("{\"a\":}");
    BAD("{\"a\":1,}");
    BAD("{\"a\":1]");
    BAD("{\"a\" 1}");
    BAD("{a:1}");
    BAD("{1:1}");
    BAD("{,}");
    BAD("{\"a\":1 \"b\":2}");
    BAD("{\"a\":1,,\"b\":2}");
    BAD("{\"a\"::1}");
    BAD("[\"a\":1]");
}
END_TEST

START_TEST(test_numbers)
{
    GOOD("0");
    GOOD("-0");
    GOOD("10");
    GOOD("1.5");
    GOOD("0.0");
    GOOD("1e5");
    GOOD("1E+5");
    GOOD("-1.25e-10");
    GOOD("123456789012345678901234567890");
    BAD("01");
    BAD("-01");
    BAD("-");
    BAD("+1");
    BAD(".5");
    BAD("1.");
    BAD("1.e5");
    BAD("1e");
    BAD("1e+");
    BAD("0x10");
    BAD("NaN");
    BAD("Infinity");
    BAD("-Infinity");
    BAD("1a");
    BAD("[1.5.5]");
}
END_TEST

START_TEST(test_strings)
{
    GOOD("\"a longer text, so that more than one word of it is scanned\"");
    GOOD("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"");
    GOOD("\"\\u0000\"");
    GOOD("\"\\ud83d\\ude00\"");
    GOOD("\"\\uD83D\\uDE00\"");
    GOOD("\"caf\xc3\xa9 \xf0\x9f\x98\x80\"");
    GOOD("\"\x7f\"");
    BAD("\"");
    BAD("\"abc");
    BAD("\"abc\\");
    BAD("\"abc\\\"");
    BAD("\"\\x\"");
    BAD("\"\\u12\"");
    BAD("\"\\u12g4\"");
    BAD("\"\\u123");
    BAD("\"\\ud83d\""); /* half a pair */
    BAD("\"\\ud83dx\"");
    BAD("\"\\ud83d\\n\"");
    BAD("\"\\ud83d\\u0041\"");
    BAD("\"\\ud83d\\ud83d\"");
    BAD("\"\\ude00\""); /* the second half alone */
    BAD("\"\\ude00\\ud83d\"");
    BAD("\"tab\there\"");
    BAD("\"line\nend\"");
    BAD("\"\0\"");
    BAD("\"\x1f\"");
    BAD("\"\xff\"");
    BAD("\"\xc3\""); /* the quote is not its second byte */
    BAD("\"\xc3\xa9\xa9\"");
    BAD("\"\xed\xa0\x80\""); /* a surrogate in UTF-8 */
    BAD("\"\xc0\xaf\"");
    BAD("{\"\xff\":1}");
}
END_TEST

/* A special byte at each place of a word, and in the tail after the last one. */
START_TEST(test_each_special_at_each_place)
{
    static const struct {
        uint8_t c;
        bool is_good;
    } specials[] = {{0x00, false}, {0x01, false}, {0x1f, false}, {0x20, true}, {0x21, true}, {0x23, true},
        {0x5b, true}, {0x5d, true}, {0x7f, true}, {0x80, false}, {0xff, false}};

    for (size_t n = 1; n < 30; n++) {
        for (size_t at = 0; at < n; at++) {
            for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
                char text[40];

                memset(text, 'a', sizeof text);
                text[0] = '"';
                text[1 + at] = (char)specials[i].c;
                text[1 + n] = '"';
                check_json(text, n + 2, specials[i].is_good);
            }
        }
    }
}
END_TEST

START_TEST(test_depth)
{
    char text[200];

    GOOD("[[[[[[[[]]]]]]]]"); /* 8, the limit of check_json() */
    BAD("[[[[[[[[[]]]]]]]]]");
    BAD("[[[[[[[[{}]]]]]]]]");
    GOOD("[[[[[[[1,[]]]]]]],[[]],{\"a\":[[[[[[]]]]]]}]");
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    ck_assert_int_eq(json_check(text, 128, 64, NULL), 0);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    ck_assert_int_eq(json_check(text, 130, 1000, NULL), -EINVAL); /* never more than JSON_MAX_DEPTH */
    ck_assert_int_eq(json_check("[]", 2, 0, NULL), -EINVAL);
    ck_assert_int_eq(json_check("1", 1, 0, NULL), 0);
}
END_TEST

START_TEST(test_tokens)
{
    static const struct {
        enum json_type type;
        const char *raw;
        bool has_escape;
    } expected[] = {
        {JSON_OBJECT, "{", false},
        {JSON_KEY, "pub", false},
        {JSON_STRING, "a/b", false},
        {JSON_KEY, "n\\n", true},
        {JSON_ARRAY, "[", false},
        {JSON_NUMBER, "-1.5e3", false},
        {JSON_TRUE, "true", false},
        {JSON_FALSE, "false", false},
        {JSON_NULL, "null", false},
        {JSON_OBJECT, "{", false},
        {JSON_OBJECT_END, "}", false},
        {JSON_ARRAY_END, "]", false},
        {JSON_KEY, "", false},
        {JSON_STRING, "\\u00e9", true},
        {JSON_OBJECT_END, "}", false},
        {JSON_END, "", false},
        {JSON_END, "", false},
    };
    static const char text[] =
        "{ \"pub\" : \"a/b\", \"n\\n\":[ -1.5e3, true,false , null,{}], \"\":\"\\u00e9\" } ";
    struct json r;

    json_init(&r, text, sizeof text - 1, 32);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct json_token t;

        ck_assert_int_eq(json_next(&r, &t), 0);
        ck_assert_int_eq(t.type, expected[i].type);
        ck_assert_msg(slice_is(t.raw, expected[i].raw), "%zu: %.*s", i, SLICE_ARG(t.raw));
        ck_assert_int_eq(t.has_escape, expected[i].has_escape);
    }
    ck_assert_uint_eq(json_offset(&r), sizeof text - 1);
}
END_TEST

START_TEST(test_every_prefix_is_refused)
{
    static const char text[] =
        "{\"a\":[1,\"\\ud83d\\ude00 caf\xc3\xa9\",{\"b\":null}],\"c\":{\"d\":[true,false,-1.5e+3]}}";

    for (size_t n = 0; n < sizeof text - 1; n++)
        check_json(text, n, false);
    check_json(text, sizeof text - 1, true);
}
END_TEST

START_TEST(test_errors_say_where_and_stay)
{
    struct json_token t;
    struct slice raw;
    struct json r;

    json_init(&r, "[1, \"a\tb\"]", 10, 32);
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(json_next(&r, &t), -EINVAL);
    ck_assert_str_eq(r.error, "a control character in a string");
    ck_assert_uint_eq(json_offset(&r), 6);
    ck_assert_int_eq(json_next(&r, &t), -EINVAL);
    ck_assert_int_eq(json_skip(&r, &raw), -EINVAL);
    ck_assert_str_eq(r.error, "a control character in a string");
    ck_assert(!json_has_more(&r));
}
END_TEST

START_TEST(test_skip)
{
    static const char text[] =
        "{\"op\":\"pub\",\"data\": {\"x\":[1,2,{\"y\":\"}\"}]} ,\"list\":[ 1, [2] ,\"3\" ],\"z\":0}";
    static const char *const elements[] = {"1", "[2]", "\"3\""};
    struct json_token t;
    struct slice raw;
    struct json r;

    json_init(&r, text, sizeof text - 1, 32);
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(json_next(&r, &t), 0); /* op */
    ck_assert_int_eq(json_skip(&r, &raw), 0);
    ck_assert(slice_is(raw, "\"pub\""));
    ck_assert_int_eq(json_next(&r, &t), 0); /* data */
    ck_assert(slice_is(t.raw, "data"));
    ck_assert_int_eq(json_skip(&r, &raw), 0);
    ck_assert(slice_is(raw, "{\"x\":[1,2,{\"y\":\"}\"}]}"));
    ck_assert_int_eq(json_next(&r, &t), 0); /* list */
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_ARRAY);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(json_has_more(&r));
        ck_assert_int_eq(json_skip(&r, &raw), 0);
        ck_assert_msg(slice_is(raw, elements[i]), "%.*s", SLICE_ARG(raw));
    }
    ck_assert(!json_has_more(&r));
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_ARRAY_END);
    ck_assert(json_has_more(&r));
    ck_assert_int_eq(json_next(&r, &t), 0); /* z */
    ck_assert_int_eq(json_skip(&r, &raw), 0);
    ck_assert(slice_is(raw, "0"));
    ck_assert(!json_has_more(&r));
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_OBJECT_END);
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_END);
}
END_TEST

START_TEST(test_skip_where_no_value_is)
{
    static const char *const texts[] = {"[]", "[1]", "{}", "{\"a\":1}", "{\"a\":1,\"b\":2}"};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_token t;
        struct slice raw;
        struct json r;

        json_init(&r, texts[i], strlen(texts[i]), 32);
        ck_assert_int_eq(json_next(&r, &t), 0);
        if (i == 1)
            ck_assert_int_eq(json_skip(&r, &raw), 0);
        if (i == 4) {
            ck_assert_int_eq(json_next(&r, &t), 0);
            ck_assert_int_eq(json_skip(&r, &raw), 0);
        }
        ck_assert_msg(json_skip(&r, &raw) == -EINVAL, "%s", texts[i]);
        ck_assert_ptr_nonnull(r.error);
    }
}
END_TEST

static void
check_unescape(const char *raw, const char *expected, size_t n)
{
    struct buf b;

    buf_init(&b, 0);
    json_unescape(&b, slice_str(raw));
    ck_assert_uint_eq(b.n, n);
    ck_assert(n == 0 || memcmp(b.p, expected, n) == 0);
    buf_fini(&b);
}

START_TEST(test_unescape)
{
    check_unescape("", "", 0);
    check_unescape("plain", "plain", 5);
    check_unescape("a\\n\\t\\r\\b\\f\\/\\\\\\\"z", "a\n\t\r\b\f/\\\"z", 10);
    check_unescape("\\u0000", "\0", 1);
    check_unescape("\\u00e9\\u20AC", "\xc3\xa9\xe2\x82\xac", 5);
    check_unescape("x\\ud83d\\ude00y", "x\xf0\x9f\x98\x80y", 6);
    check_unescape("bad\\u12", "bad", 3); /* never from json_next(), but no harm */
    check_unescape("bad\\", "bad", 3);
}
END_TEST

START_TEST(test_put_string_and_back)
{
    char all[256];
    struct buf text, back;
    struct json_token t;
    struct json r;
    size_t n = 0;

    for (int c = 0; c < 128; c++)
        all[n++] = (char)c;
    memcpy(all + n, "\xc3\xa9\xf0\x9f\x98\x80", 6);
    n += 6;
    buf_init(&text, 0);
    buf_init(&back, 0);
    json_put_string(&text, slice_of(all, n));
    json_init(&r, text.p, text.n, 1);
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(t.type, JSON_STRING);
    json_unescape(&back, t.raw);
    ck_assert(slice_equal(buf_slice(&back), slice_of(all, n)));
    buf_reset(&text);
    json_put_string(&text, slice_str("a\"\\\n\x01/\x7f\v"));
    ck_assert(slice_is(buf_slice(&text), "\"a\\\"\\\\\\n\\u0001/\x7f\\u000b\""));
    buf_reset(&text);
    json_put_string(&text, slice_of(NULL, 0));
    ck_assert(slice_is(buf_slice(&text), "\"\""));
    buf_fini(&text);
    buf_fini(&back);
}
END_TEST

static void
check_u64(const char *raw, int expected, uint64_t value)
{
    uint64_t v = 77;

    ck_assert_msg(json_u64(slice_str(raw), &v) == expected, "%s", raw);
    ck_assert_uint_eq(v, expected == 0 ? value : 77);
}

START_TEST(test_u64)
{
    check_u64("0", 0, 0);
    check_u64("-0", 0, 0);
    check_u64("42", 0, 42);
    check_u64("18446744073709551615", 0, UINT64_MAX);
    check_u64("18446744073709551616", -ERANGE, 0);
    check_u64("99999999999999999999999", -ERANGE, 0);
    check_u64("-1", -ERANGE, 0);
    check_u64("1.0", -EINVAL, 0);
    check_u64("1e3", -EINVAL, 0);
    check_u64("99999999999999999999999.5", -EINVAL, 0);
    check_u64("", -EINVAL, 0);
    check_u64("-", -EINVAL, 0);
}
END_TEST

static void
member_is(const char *object, const char *name, int r, const char *value)
{
    struct slice raw = {0};

    ck_assert_msg(json_member(slice_str(object), 8, slice_str(name), &raw) == r, "%s in %s", name, object);
    ck_assert_msg(slice_is(raw, value), "%s in %s: %.*s", name, object, SLICE_ARG(raw));
}

START_TEST(test_member)
{
    member_is("{}", "a", 0, "");
    member_is(" { \"b\" : 1 , \"a\" : [ 1, {\"a\":2} ] } ", "a", 1, "[ 1, {\"a\":2} ]");
    member_is("{\"a\":1,\"a\":2,\"b\":3}", "a", 1, "2");
    member_is("{\"\\u0061\\/\":\"x\",\"a\":null}", "a/", 1, "\"x\"");
    member_is("{\"a\":1}", "", 0, "");
    member_is("[1]", "a", -EINVAL, "");
    member_is("", "a", -EINVAL, "");
    member_is("{\"b\":1", "a", -EINVAL, "");
    member_is("{\"b\":1}{}", "a", -EINVAL, "");
    member_is("{\"b\":[[[[[[[[]]]]]]]]}", "a", -EINVAL, "");
}
END_TEST

/* Reads the members of an object, so many at once; -EINVAL or how many. */
static int
count_members(const char *text, size_t n, unsigned max, struct json *r)
{
    struct json_member members[8];
    unsigned count = 0, n_read;
    int e;

    json_init(r, text, n, 8);
    if (!json_enter_object(r))
        return -ENOENT;
    do {
        e = json_next_members(r, members, max, &n_read);
        count += n_read;
    } while (e > 0);
    return e < 0 || json_end(r) < 0 ? -EINVAL : (int)count;
}

/* Token by token. */
static int
count_tokens(const char *text, size_t n, struct json *r)
{
    struct json_token t;
    struct slice raw;
    int count = 0;

    json_init(r, text, n, 8);
    if (json_next(r, &t) < 0 || t.type != JSON_OBJECT)
        return -ENOENT;
    while (json_next(r, &t) == 0 && t.type == JSON_KEY && json_skip(r, &raw) == 0)
        count++;
    return r->error != NULL || json_next(r, &t) < 0 ? -EINVAL : count;
}

static int
check_members(const char *text, size_t n)
{
    struct json one, many;
    int expected = count_tokens(text, n, &one), seen = -1;

    for (unsigned max = 1; max <= 8; max++) {
        seen = count_members(text, n, max, &many);
        ck_assert_msg(seen == expected, "%.*s: %d members, %d one by one", (int)n, text, seen, expected);
        if (expected == -ENOENT)
            continue;
        ck_assert_msg(
            one.error == many.error, "%.*s: %s, one by one %s", (int)n, text, many.error, one.error);
        ck_assert_uint_eq(json_offset(&one), json_offset(&many));
    }
    return seen;
}

/* Whole, cut at every byte, and with every byte spoilt: the same members, the same error at the same place.
 */
START_TEST(test_members)
{
    static const char text[] = " {\"op\":\"pub\", \"a\\u0062\" : [1,{\"x\":null}] ,\n\"\":\"\\\\\xc3\xa4\","
                               "\"n\":-1.5e3,\"o\":{},\"t\":true} ";
    static const char spoilers[] = "\"\\{}[],:0x \x01\x80";
    const size_t n = sizeof text - 1;
    char *copy = malloc(n);

    ck_assert_int_eq(check_members(text, n), 6);
    ck_assert_int_eq(check_members("{}", 2), 0);
    ck_assert_int_eq(check_members("{ }x", 4), -EINVAL);
    ck_assert_int_eq(check_members("[]", 2), -ENOENT);
    ck_assert_int_eq(check_members("", 0), -ENOENT);
    for (size_t cut = 0; cut < n; cut++) {
        char *exact = malloc(cut == 0 ? 1 : cut);

        memcpy(exact, text, cut);
        (void)check_members(exact, cut);
        free(exact);
        for (size_t i = 0; i < sizeof spoilers; i++) {
            memcpy(copy, text, n);
            copy[cut] = spoilers[i];
            (void)check_members(copy, n);
        }
    }
    free(copy);
}
END_TEST

START_TEST(test_members_where_none_may_be)
{
    struct json_member m;
    struct json_token t;
    struct json r;
    unsigned n = 9;

    json_init(&r, "[1]", 3, 8);
    ck_assert(!json_enter_object(&r));
    ck_assert_int_eq(json_next(&r, &t), 0);
    ck_assert_int_eq(json_next_members(&r, &m, 1, &n), -EINVAL);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(json_next_members(&r, &m, 1, &n), -EINVAL);
    ck_assert_ptr_nonnull(r.error);

    json_init(&r, "{}", 2, 8);
    ck_assert_int_eq(json_end(&r), -EINVAL);
    json_init(&r, "{}", 2, 0);
    ck_assert(!json_enter_object(&r)); /* too deep: json_next() says so */
}
END_TEST

SUITE_MAIN("json", test_members, test_members_where_none_may_be, test_member, test_values, test_containers,
    test_numbers, test_strings, test_each_special_at_each_place, test_depth, test_tokens,
    test_every_prefix_is_refused, test_errors_say_where_and_stay, test_skip, test_skip_where_no_value_is,
    test_unescape, test_put_string_and_back, test_u64)
