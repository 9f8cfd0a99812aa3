/* SPDX-License-Identifier: Apache-2.0 */
/* Publications as AnyCable's publishers write them, and what is wrong with others. */
#include "config.h"

#include "frontends/dialects/actioncable/acbroadcast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/sdk/suite.h"

static struct acbroadcast b;
static struct acbroadcast_error error;
static struct acbroadcast_limits limits;

static void
setup(void)
{
    acbroadcast_init(&b);
    limits = (struct acbroadcast_limits){.max_depth = 4, .max_messages = 3};
}

static void
teardown(void)
{
    acbroadcast_fini(&b);
}

/* From an allocation of the exact size, so that a read past its end is seen. */
static int
read_n(const char *text, size_t n)
{
    static uint8_t *input;

    free(input);
    input = malloc(n == 0 ? 1 : n);
    ck_assert_ptr_nonnull(input);
    memcpy(input, text, n);
    acbroadcast_fini(&b);
    acbroadcast_init(&b);
    error = (struct acbroadcast_error){0};
    return acbroadcast_read(slice_of(input, n), &limits, &b, &error);
}

static void
taken(const char *text, size_t n)
{
    int r = read_n(text, strlen(text));

    ck_assert_msg(r == 0, "%s: %s", text, error.text);
    ck_assert_uint_eq(b.n, n);
    /* No part of it is a publication. */
    for (size_t i = 0; i < strlen(text); i++)
        ck_assert_msg(read_n(text, i) == -EINVAL && error.text[0] != '\0', "%.*s", (int)i, text);
    ck_assert_int_eq(read_n(text, strlen(text)), 0);
}

static void
message(size_t i, const char *stream, const char *data, bool is_json, const char *exclude)
{
    const struct acbroadcast_message *m = acbroadcast_at(&b, i);

    ck_assert_msg(slice_is(m->stream, stream), "%.*s", (int)m->stream.n, m->stream.p);
    ck_assert_msg(slice_is(m->data, data), "%.*s", (int)m->data.n, m->data.p);
    ck_assert_msg(slice_is(m->exclude, exclude), "%.*s", (int)m->exclude.n, m->exclude.p);
    ck_assert_int_eq(m->is_json, is_json);
}

static void
refused(const char *text, enum error_code code, const char *why)
{
    ck_assert_int_eq(read_n(text, strlen(text)), -EINVAL);
    ck_assert_msg(error.code == code, "%s: %s", text, error_code_name(error.code));
    ck_assert_msg(strstr(error.text, why) != NULL, "%s: %s", text, error.text);
}

START_TEST(test_one)
{
    taken("{\"stream\":\"chat/1\",\"data\":\"{\\\"text\\\":\\\"h\\u00e9\\\"}\"}", 1);
    message(0, "chat/1", "{\"text\":\"h\xc3\xa9\"}", true, "");
    taken(" { \"meta\" : {\"exclude_socket\":\"s1\",\"transient\":true,\"x\":{\"y\":[]}} , \"more\":[1], "
          "\"data\":\"not json\",\"stream\":\"a\"}",
        1);
    message(0, "a", "not json", false, "s1");
    taken("{\"stream\":\"a\",\"data\":\"\",\"meta\":null}", 1);
    message(0, "a", "", false, "");
    taken("{\"stream\":\"a\",\"data\":\"\\\"quoted\\\"\",\"meta\":{}}", 1);
    message(0, "a", "\"quoted\"", true, "");
    taken("{\"stream\":\"a\",\"data\":\"null\",\"command\":\"disconnect\"}", 1);
    message(0, "a", "null", true, "");
}
END_TEST

START_TEST(test_batch)
{
    taken("[{\"stream\":\"a\",\"data\":\"1\"},{\"stream\":\"b\",\"data\":\"2\",\"meta\":{\"exclude_socket\":"
          "\"s\"}}, "
          "{\"data\":\"[3]\",\"stream\":\"c\"} ]",
        3);
    message(0, "a", "1", true, "");
    message(1, "b", "2", true, "s");
    message(2, "c", "[3]", true, "");
    refused("[]", ERROR_REQUEST_INVALID, "empty");
    refused("[{\"stream\":\"a\",\"data\":\"1\"},5]", ERROR_REQUEST_INVALID, "Message 2");
    refused("[{\"stream\":\"a\",\"data\":\"1\"},{\"stream\":\"a#\",\"data\":\"1\"}]", ERROR_TOPIC_INVALID,
        "Message 2");
    refused("[{\"stream\":\"a\",\"data\":\"1\"},{\"stream\":\"a\",\"data\":\"1\"},{\"stream\":\"a\",\"data\":"
            "\"1\"},"
            "{\"stream\":\"a\",\"data\":\"1\"}]",
        ERROR_LIMIT_REACHED, "at most 3");
    refused("[[{\"stream\":\"a\",\"data\":\"1\"}]]", ERROR_REQUEST_INVALID, "not an object");
}
END_TEST

START_TEST(test_refused)
{
    refused("", ERROR_REQUEST_INVALID, "Not JSON");
    refused("5", ERROR_REQUEST_INVALID, "A broadcast is");
    refused("{}", ERROR_REQUEST_INVALID, "no \"stream\"");
    refused("{\"stream\":\"a\"}", ERROR_REQUEST_INVALID, "no \"data\"");
    refused("{\"data\":\"1\"}", ERROR_REQUEST_INVALID, "no \"stream\"");
    refused("{\"stream\":\"a\",\"data\":{\"x\":1}}", ERROR_REQUEST_INVALID, "\"data\" is not a string");
    refused("{\"stream\":null,\"data\":\"1\"}", ERROR_REQUEST_INVALID, "\"stream\" is not a string");
    refused("{\"stream\":\"a\",\"stream\":\"b\",\"data\":\"1\"}", ERROR_REQUEST_INVALID, "twice");
    refused("{\"stream\":\"a\",\"data\":\"1\",\"data\":\"2\"}", ERROR_REQUEST_INVALID, "twice");
    refused("{\"stream\":\"a\",\"data\":\"1\",\"meta\":[]}", ERROR_REQUEST_INVALID, "\"meta\"");
    refused("{\"stream\":\"a\",\"data\":\"1\",\"meta\":{\"exclude_socket\":1}}", ERROR_REQUEST_INVALID,
        "exclude_socket");
    refused("{\"stream\":\"a\",\"data\":\"1\",\"meta\":{\"exclude_socket\":\"a\\nb\"}}",
        ERROR_REQUEST_INVALID, "session");
    refused("{\"stream\":\"a\",\"data\":\"1\",\"meta\":{\"exclude_socket\":\"\u00e9\"}}",
        ERROR_REQUEST_INVALID, "session");
    refused("{\"stream\":\"a\",\"data\":\"1\"}x", ERROR_REQUEST_INVALID, "Not JSON");
    refused("{\"stream\":\"\",\"data\":\"1\"}", ERROR_TOPIC_INVALID, "empty");
    refused("{\"stream\":\"a/+\",\"data\":\"1\"}", ERROR_TOPIC_INVALID, "wildcard");
    refused("{\"stream\":\"a\",\"data\":\"[[[[[]]]]]\"}", ERROR_BODY_INVALID, "deep");
    refused("{\"command\":\"disconnect\",\"payload\":{\"identifier\":\"1\",\"reconnect\":true}}",
        ERROR_OP_UNKNOWN, "Commands");
    refused("{\"a\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}", ERROR_REQUEST_INVALID, "deeply");
}
END_TEST

SUITE_MAIN_WITH("acbroadcast", setup, teardown, test_one, test_batch, test_refused)
