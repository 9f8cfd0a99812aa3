/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that real clients send (as @rails/actioncable and @anycable/core write them), what is wrong
 * with others, and every frame that is sent to them. */
#include "config.h"

#include "frontends/dialects/actioncable/actioncable.h"

#include "frontends/dialects/actioncable/acaction.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"

#include <errno.h>

#include "tests/unit/dialects/nativesupport.h"
#include "tests/unit/sdk/suite.h"

#include "base/json.h"

#define ID "\"{\\\"channel\\\":\\\"ChatChannel\\\",\\\"room\\\":1}\""
#define ID_TEXT "{\"channel\":\"ChatChannel\",\"room\":1}"

static struct buf scratch;
static struct accommand c;
static const char *error;

static void
setup(void)
{
    buf_init(&scratch, 0);
}

static void
teardown(void)
{
    buf_fini(&scratch);
}

/* From an allocation of the exact size, so that a read past its end is seen. It leaks nothing: c's slices
 * into it are only good until the next call. */
static int
decode_n(const char *text, size_t n, bool is_extended)
{
    static uint8_t *input;

    free(input);
    input = malloc(n == 0 ? 1 : n);
    ck_assert_ptr_nonnull(input);
    memcpy(input, text, n);
    error = NULL;
    return accommand_decode(slice_of(input, n), 16, 4096, is_extended, &scratch, &c, &error);
}

static void
taken(const char *text, bool is_extended, enum accommand_type type)
{
    int r = decode_n(text, strlen(text), is_extended);

    ck_assert_msg(r == 0, "%s: %s", text, error);
    ck_assert_int_eq(c.type, type);
    /* No part of it is a command. */
    for (size_t n = 0; n < strlen(text); n++) {
        ck_assert_msg(decode_n(text, n, is_extended) < 0, "%.*s was taken", (int)n, text);
        ck_assert_ptr_nonnull(error);
    }
    ck_assert_int_eq(decode_n(text, strlen(text), is_extended), 0);
}

static void
refused(const char *text, bool is_extended, const char *why)
{
    ck_assert_msg(decode_n(text, strlen(text), is_extended) < 0, "%s was taken", text);
    ck_assert_msg(strstr(error, why) != NULL, "%s: \"%s\", not \"%s\"", text, error, why);
}

START_TEST(test_commands_of_rails)
{
    taken("{\"command\":\"subscribe\",\"identifier\":" ID "}", false, ACCOMMAND_SUBSCRIBE);
    CHECK_SLICE(c.identifier, ID_TEXT);
    CHECK_SLICE(c.token, ID);
    ck_assert(!c.has_history && !c.has_presence);
    taken(" { \"identifier\" : " ID " , \"command\" : \"unsubscribe\" , \"other\":[{}] }", false,
        ACCOMMAND_UNSUBSCRIBE);
    CHECK_SLICE(c.identifier, ID_TEXT);
    taken("{\"command\":\"message\",\"identifier\":" ID
          ",\"data\":\"{\\\"body\\\":\\\"a\\\\nb\\\",\\\"action\\\":\\\"speak\\\"}\"}",
        false, ACCOMMAND_MESSAGE);
    CHECK_SLICE(c.data, "{\"body\":\"a\\nb\",\"action\":\"speak\"}");
}
END_TEST

/* What a client finds its subscription by is the text; however it was escaped on the way. */
START_TEST(test_identifiers)
{
    taken("{\"command\":\"subscribe\",\"identifier\":\"\\u007b\\\"b\\\":1,\\\"a\\\":\\\"\\u00e9\xc3\xa9\\/"
          "\\\",\\\"channel\\\":\\\"X\\\"}\"}",
        false, ACCOMMAND_SUBSCRIBE);
    CHECK_SLICE(c.identifier, "{\"b\":1,\"a\":\"\xc3\xa9\xc3\xa9/\",\"channel\":\"X\"}");
    CHECK_SLICE(c.token, "\"{\\\"b\\\":1,\\\"a\\\":\\\"\xc3\xa9\xc3\xa9/\\\",\\\"channel\\\":\\\"X\\\"}\"");
    taken("{\"command\":\"subscribe\",\"identifier\":\"\"}", false, ACCOMMAND_SUBSCRIBE);
    CHECK_SLICE(c.token, "\"\"");
    taken("{\"command\":\"subscribe\",\"identifier\":\"a\\u0000b\"}", false, ACCOMMAND_SUBSCRIBE);
    CHECK_SLICE(c.token, "\"a\\u0000b\""); /* no NUL in a token: one marks where it ends */
    refused("{\"command\":\"subscribe\"}", false, "identifier");
    refused("{\"command\":\"subscribe\",\"identifier\":null}", false, "identifier");
    refused("{\"command\":\"subscribe\",\"identifier\":{\"channel\":\"X\"}}", false, "identifier");
    refused("{\"command\":\"subscribe\",\"identifier\":\"\\ud800\"}", false, "JSON");
}
END_TEST

START_TEST(test_long_identifiers)
{
    struct buf text;

    buf_init(&text, 0);
    for (size_t n = 4094; n <= 4095; n++) {
        buf_reset(&text);
        buf_put_str(&text, "{\"command\":\"subscribe\",\"identifier\":\"");
        for (size_t i = 0; i < n; i++)
            buf_put_byte(&text, 'x');
        buf_put_str(&text, "\"}");
        ck_assert_int_eq(decode_n((const char *)text.p, text.n, false), n == 4094 ? 0 : -EINVAL);
    }
    /* As it is written again, not as it came. */
    buf_reset(&text);
    buf_put_str(&text, "{\"command\":\"subscribe\",\"identifier\":\"");
    for (size_t i = 0; i < 4094; i++)
        buf_put_str(&text, "\\u0078");
    buf_put_str(&text, "\"}");
    ck_assert_int_eq(decode_n((const char *)text.p, text.n, false), 0);
    ck_assert_uint_eq(c.token.n, 4096);
    buf_fini(&text);
}
END_TEST

START_TEST(test_malformed)
{
    static const char *const none[] = {"", " ", "[]", "\"subscribe\"", "{}", "{\"command\":1}",
        "{\"command\":\"nonsense\",\"identifier\":" ID "}",
        "{\"command\":\"subscribe\",\"identifier\":" ID "}{}",
        "{\"command\":\"subscribe\",\"identifier\":" ID "]",
        "{\"command\":\"subscribe\" \"identifier\":" ID "}",
        "{\"command\":\"message\",\"identifier\":" ID "}",
        "{\"command\":\"message\",\"identifier\":" ID ",\"data\":{}}",
        "{\"command\":\"message\",\"identifier\":" ID ",\"data\":\"{\"}",
        "{\"command\":\"message\",\"identifier\":" ID ",\"data\":\"\"}",
        "{\"command\":\"message\",\"identifier\":" ID
        ",\"data\":\"[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]\"}",
        "{\"command\":\"ping\"}",
        "{\"command\":\"history\",\"identifier\":" ID ",\"history\":{\"since\":1}}"};

    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        ck_assert_msg(decode_n(none[i], strlen(none[i]), false) < 0 && error != NULL, "%s", none[i]);
    ck_assert_int_lt(decode_n("{\"command\":\"subscribe\",\"identifier\":\"\xff\"}", 41, false), 0);
}
END_TEST

START_TEST(test_history)
{
    struct slice epoch;
    uint64_t offset;

    taken("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"since\":1700000000,\"streams\":"
          "{\"chat/1\":{\"epoch\":\"1f\",\"offset\":43},\"ch\\u0061t/2\":{\"offset\":44,\"epoch\":\"20\"},"
          "\"odd\":{\"epoch\":7,\"offset\":1},\"odder\":[]}}}",
        true, ACCOMMAND_SUBSCRIBE);
    ck_assert(c.has_history && c.has_since);
    ck_assert_uint_eq(c.since_s, 1700000000);
    ck_assert_int_eq(accommand_position(&c, slice_str("chat/1"), &scratch, &epoch, &offset), 1);
    CHECK_SLICE(epoch, "1f");
    ck_assert_uint_eq(offset, 43);
    ck_assert_int_eq(accommand_position(&c, slice_str("chat/2"), &scratch, &epoch, &offset), 1);
    CHECK_SLICE(epoch, "20");
    ck_assert_uint_eq(offset, 44);
    ck_assert_int_eq(accommand_position(&c, slice_str("chat/3"), &scratch, &epoch, &offset), 0);
    ck_assert_int_lt(accommand_position(&c, slice_str("odd"), &scratch, &epoch, &offset), 0);
    ck_assert_int_lt(accommand_position(&c, slice_str("odder"), &scratch, &epoch, &offset), 0);
    CHECK_SLICE(c.identifier, ID_TEXT); /* nothing moved */
    taken("{\"command\":\"history\",\"identifier\":" ID ",\"history\":{\"since\":1700000000.9}}", true,
        ACCOMMAND_HISTORY);
    ck_assert_uint_eq(c.since_s, 1700000000);
    ck_assert_int_eq(accommand_position(&c, slice_str("chat/1"), &scratch, &epoch, &offset), 0);
    taken("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"since\":null,\"streams\":{}}}",
        true, ACCOMMAND_SUBSCRIBE);
    ck_assert(c.has_history && !c.has_since);
    taken("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":null}", true, ACCOMMAND_SUBSCRIBE);
    ck_assert(!c.has_history);
    /* A v1 client's are passed over. */
    taken("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":7}", false, ACCOMMAND_SUBSCRIBE);
    ck_assert(!c.has_history);
    refused("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":7}", true, "history");
    taken("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"since\":-1}}", true,
        ACCOMMAND_SUBSCRIBE);
    ck_assert(c.has_since && c.since_s == 0);
    taken("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"since\":99999999999999999999}}",
        true, ACCOMMAND_SUBSCRIBE);
    ck_assert_uint_eq(c.since_s, INT64_MAX / 1000);
    refused("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"since\":-}}", true, "no JSON");
    refused("{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"since\":1e9}}", true, "history");
    refused(
        "{\"command\":\"subscribe\",\"identifier\":" ID ",\"history\":{\"streams\":[]}}", true, "history");
    refused("{\"command\":\"history\",\"identifier\":" ID "}", true, "history");
    refused("{\"command\":\"history\",\"identifier\":" ID ",\"history\":{}}", true, "history");
}
END_TEST

START_TEST(test_presence_and_whispers)
{
    taken("{\"command\":\"subscribe\",\"identifier\":" ID
          ",\"presence\":{\"id\":\"u\\u00311\",\"info\":{\"name\":\"Ann\"}}}",
        true, ACCOMMAND_SUBSCRIBE);
    ck_assert(c.has_presence);
    CHECK_SLICE(c.presence_id, "u11");
    CHECK_SLICE(c.presence_info, "{\"name\":\"Ann\"}");
    taken("{\"command\":\"join\",\"identifier\":" ID ",\"presence\":{\"id\":42}}", true, ACCOMMAND_JOIN);
    CHECK_SLICE(c.presence_id, "42");
    ck_assert_uint_eq(c.presence_info.n, 0);
    taken("{\"command\":\"leave\",\"identifier\":" ID "}", true, ACCOMMAND_LEAVE);
    taken("{\"command\":\"presence\",\"identifier\":" ID ",\"data\":{}}", true, ACCOMMAND_PRESENCE);
    taken("{\"command\":\"whisper\",\"identifier\":" ID ",\"data\":{\"typing\":true}}", true,
        ACCOMMAND_WHISPER);
    CHECK_SLICE(c.data, "{\"typing\":true}");
    taken("{\"command\":\"pong\"}", true, ACCOMMAND_PONG);
    taken("{\"command\":\"ping\"}", true, ACCOMMAND_PING);
    refused("{\"command\":\"join\",\"identifier\":" ID "}", true, "presence");
    refused("{\"command\":\"join\",\"identifier\":" ID ",\"presence\":{\"info\":1}}", true, "presence");
    refused("{\"command\":\"join\",\"identifier\":" ID ",\"presence\":{\"id\":[]}}", true, "presence");
    refused("{\"command\":\"join\",\"identifier\":" ID ",\"presence\":{\"id\":\"\"}}", true, "presence");
    refused("{\"command\":\"whisper\",\"identifier\":" ID "}", true, "whisper");
    taken("{\"command\":\"whisper\",\"identifier\":" ID ",\"data\":0}", false, ACCOMMAND_WHISPER);
    refused("{\"command\":\"ping\"}", false, "no such command");
    refused("{\"command\":\"history\",\"identifier\":" ID ",\"history\":{\"since\":1}}", false,
        "no such command");
}
END_TEST

static void
performs(const char *data, const char *name, const char *payload)
{
    struct acaction a;

    buf_reset(&scratch);
    ck_assert_msg(acaction_read(slice_str(data), 16, &scratch, &a, &error) == 0, "%s: %s", data, error);
    check_slice(a.name, name, strlen(name));
    check_slice(a.payload, payload, strlen(payload));
}

START_TEST(test_actions)
{
    struct acaction a;

    performs("{\"body\":\"hi\",\"action\":\"speak\"}", "speak", "{\"body\":\"hi\"}");
    performs("{\"action\":\"sp\\u0065ak\",\"a\":{\"action\":1.50},\"b\":[ 1 ]}", "speak",
        "{\"a\":{\"action\":1.50},\"b\":[ 1 ]}");
    performs("{\"action\":\"speak\"}", "speak", "{}");
    performs("{\"a\":1,\"\\u0061ction\":\"speak\",\"\\u0062\":2}", "speak", "{\"a\":1,\"\\u0062\":2}");
    performs("{ \"a\" : 1 }", "receive", "{ \"a\" : 1 }"); /* as it is */
    performs("{\"a\":1,\"action\":null}", "receive", "{\"a\":1}");
    performs("{\"a\":1,\"action\":\"\"}", "receive", "{\"a\":1}");
    performs("{\"action\":\"one\",\"action\":\"two\",\"a\":1,\"a\":2}", "two", "{\"a\":1,\"a\":2}");
    performs("{}", "receive", "{}");
    ck_assert_int_lt(acaction_read(slice_str("[]"), 16, &scratch, &a, &error), 0);
    ck_assert_int_lt(acaction_read(slice_str("\"speak\""), 16, &scratch, &a, &error), 0);
    ck_assert_int_lt(acaction_read(slice_str("{\"action\":7}"), 16, &scratch, &a, &error), 0);
    ck_assert_int_lt(acaction_read(slice_str("{\"action\":\"a\"}{}"), 16, &scratch, &a, &error), 0);
}
END_TEST

static void
said(const char *text)
{
    ck_assert_msg(json_check(scratch.p, scratch.n, 16, &error) == 0, "%.*s: %s", (int)scratch.n,
        (const char *)scratch.p, error);
    check_slice(buf_slice(&scratch), text, strlen(text));
    buf_reset(&scratch);
}

START_TEST(test_frames)
{
    const struct slice id = slice_str(ID), two[] = {id, slice_str("\"b\"")};

    acframe_put_welcome(&scratch, slice_of(NULL, 0));
    said("{\"type\":\"welcome\"}");
    acframe_put_welcome(&scratch, slice_str("a431"));
    said("{\"type\":\"welcome\",\"sid\":\"a431\"}");
    acframe_put_restored(&scratch, slice_str("b"), two, 2);
    said("{\"type\":\"welcome\",\"sid\":\"b\",\"restored\":true,\"restored_ids\":[" ID ",\"b\"]}");
    acframe_put_restored(&scratch, slice_str("b"), NULL, 0);
    said("{\"type\":\"welcome\",\"sid\":\"b\",\"restored\":true,\"restored_ids\":[]}");
    acframe_put_ping(&scratch, 1700000000);
    said("{\"type\":\"ping\",\"message\":1700000000}");
    acframe_put_pong(&scratch);
    said("{\"type\":\"pong\"}");
    acframe_put_confirm(&scratch, id);
    said("{\"identifier\":" ID ",\"type\":\"confirm_subscription\"}");
    acframe_put_reject(&scratch, id);
    said("{\"identifier\":" ID ",\"type\":\"reject_subscription\"}");
    acframe_put_confirm_history(&scratch, id);
    said("{\"identifier\":" ID ",\"type\":\"confirm_history\"}");
    acframe_put_reject_history(&scratch, id);
    said("{\"identifier\":" ID ",\"type\":\"reject_history\"}");
    acframe_put_disconnect(&scratch, "server_restart", true);
    said("{\"type\":\"disconnect\",\"reason\":\"server_restart\",\"reconnect\":true}");
    acframe_put_disconnect(&scratch, "unauthorized", false);
    said("{\"type\":\"disconnect\",\"reason\":\"unauthorized\",\"reconnect\":false}");
}
END_TEST

START_TEST(test_messages)
{
    struct message m = {.topic = slice_str("chat/\"1\""),
        .cursor = slice_str("1f-43"),
        .seq = 43,
        .kind = MESSAGE_JSON,
        .body = slice_str("{\"a\": 1}")};
    struct slice several = slice_of(ID "\0"
                                       "2",
        sizeof(ID) + 1);

    dialect_actioncable.put_message(&scratch, &m, slice_str(ID));
    said("{\"identifier\":" ID ",\"message\":{\"a\": 1}}");
    dialect_actioncable_ext.put_message(&scratch, &m, several);
    said("{\"identifier\":" ID
         ",\"message\":{\"a\": 1},\"stream_id\":\"chat/\\\"1\\\"\",\"epoch\":\"1f\",\"offset\":43}");
    m.topic = slice_str("$whisper/chat/1");
    dialect_actioncable_ext.put_message(&scratch, &m, slice_str(ID));
    said("{\"identifier\":" ID ",\"message\":{\"a\": 1}}");
    m.kind = MESSAGE_TEXT;
    m.body = slice_str("{\"a\n\":");
    dialect_actioncable.put_message(&scratch, &m, several);
    said("{\"identifier\":" ID ",\"message\":\"{\\\"a\\n\\\":\"}");
    m.kind = MESSAGE_BINARY;
    m.body = slice_of("\xff\0", 2);
    dialect_actioncable.put_message(&scratch, &m, slice_str(ID));
    said("{\"identifier\":" ID ",\"message\":\"/wA=\"}");
    m.kind = MESSAGE_JSON;
    m.body.n = 0;
    dialect_actioncable.put_message(&scratch, &m, slice_str(ID));
    said("{\"identifier\":" ID ",\"message\":null}");
}
END_TEST

START_TEST(test_presence_frames)
{
    struct message m = {.topic = slice_str("$presence/chat/1"), .kind = MESSAGE_JSON};
    struct buf records;

    m.body = slice_str("{\"event\":\"join\",\"id\":\"u\\u00311\",\"info\":{\"a\": 1},\"count\":2}");
    dialect_actioncable_ext.put_message(&scratch, &m, slice_str(ID));
    said("{\"type\":\"presence\",\"identifier\":" ID
         ",\"message\":{\"type\":\"join\",\"id\":\"u\\u00311\",\"info\":{\"a\": 1}}}");
    m.body = slice_str("{\"event\":\"leave\",\"id\":\"u1\",\"reason\":\"left\",\"count\":1}");
    dialect_actioncable_ext.put_message(&scratch, &m,
        slice_of(ID "\0"
                    "j",
            sizeof(ID) + 1));
    said("{\"type\":\"presence\",\"identifier\":" ID ",\"message\":{\"type\":\"leave\",\"id\":\"u1\"}}");
    /* What the protocol has no word for. */
    m.body = slice_str("{\"event\":\"count\",\"count\":3}");
    dialect_actioncable_ext.put_message(&scratch, &m, slice_str(ID));
    m.body = slice_str("{\"event\":\"snapshot\",\"id\":1}");
    dialect_actioncable_ext.put_message(&scratch, &m, slice_str(ID));
    m.body = slice_str("text");
    dialect_actioncable_ext.put_message(&scratch, &m, slice_str(ID));
    ck_assert_uint_eq(scratch.n, 0);
    buf_init(&records, 0);
    acframe_put_members(&scratch, slice_str(ID), 0, buf_slice(&records));
    said("{\"type\":\"presence\",\"identifier\":" ID
         ",\"message\":{\"type\":\"info\",\"total\":0,\"records\":[]}}");
    acframe_put_member(&records, slice_str("a\"b"), slice_of(NULL, 0));
    acframe_put_member(&records, slice_str("c"), slice_str("[1]"));
    acframe_put_members(&scratch, slice_str(ID), 7, buf_slice(&records));
    said(
        "{\"type\":\"presence\",\"identifier\":" ID ",\"message\":{\"type\":\"info\",\"total\":7,\"records\":"
        "[{\"id\":\"a\\\"b\"},{\"id\":\"c\",\"info\":[1]}]}}");
    acframe_put_no_members(&scratch, slice_str(ID));
    said("{\"type\":\"presence\",\"identifier\":" ID ",\"message\":{\"type\":\"error\"}}");
    buf_fini(&records);
}
END_TEST

SUITE_MAIN_WITH("actioncable", setup, teardown, test_commands_of_rails, test_identifiers,
    test_long_identifiers, test_malformed, test_history, test_presence_and_whispers, test_actions,
    test_frames, test_messages, test_presence_frames)
