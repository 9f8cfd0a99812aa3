/* SPDX-License-Identifier: Apache-2.0 */
/* libbusbar against a server that says what the test tells it to: messages, and what becomes of links. */
#include "config.h"

#include "clients/c/busbar.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "tests/unit/base/suite.h"
#include "tests/unit/clients/busfixture.h"

START_TEST(test_message_kinds)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    subscribe(&f, "a/#", &(struct bb_subscribe_options){.last = 20});
    server_wait(&f.server, "{\"op\":\"sub\",\"id\":1,\"topic\":[\"a/#\"],\"last\":20}\n", 1);
    server_say(&f.server, "{\"op\":\"subscribed\",\"id\":1,\"state\":\"live\",\"cursor\":\"e-1\"}\n");
    loop_until(f.base, &f.n_events[BB_LIVE], 1);
    ck_assert_str_eq(bb_subscription_cursor(f.sub), "e-1");

    server_say(&f.server, "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a/"
                          "1\",\"cursor\":\"e-2\",\"time\":5,\"data\":\"h\\u00e9\\n\"}\n");
    loop_until(f.base, &f.n_messages, 1);
    ck_assert_int_eq(f.kind, BB_TEXT);
    server_say(&f.server, "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a/1\",\"cursor\":\"e-3\",\"data\": {\"x\": "
                          "[1, 2]} , \"new\":{\"k\":[]}}\r\n");
    loop_until(f.base, &f.n_messages, 2);
    ck_assert_int_eq(f.kind, BB_JSON);
    server_say(&f.server, "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a/"
                          "1\",\"cursor\":\"e-4\",\"encoding\":\"base64\",\"data\":\"AAE=\","
                          "\"key\":\"K\",\"headers\":{\"k\":\"v\",\"\\u006b2\":\"\"}}\n");
    loop_until(f.base, &f.n_messages, 3);
    ck_assert_int_eq(f.kind, BB_BINARY);
    server_say(&f.server, "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a/"
                          "1\",\"cursor\":\"e-5\",\"type\":\"application/json\",\"data\":\"s\"}\n");
    loop_until(f.base, &f.n_messages, 4);
    ck_assert_int_eq(f.kind, BB_JSON);
    ck_assert_str_eq(
        f.log, "a/1=h\xc3\xa9\n;a/1={\"x\": [1, 2]};a/1=;key K;k: v;k2: ;a/1=\"s\";type application/json;");
    ck_assert_str_eq(bb_subscription_cursor(f.sub), "e-5");

    /* A kept value is shown and does not move the stream; what is for nobody, or unknown, is passed over. */
    server_say(&f.server,
        "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a/1\",\"cursor\":\"e-0\",\"retained\":true,\"data\":1}\n"
        "\n{\"op\":\"msg\",\"sub\":9,\"topic\":\"a/1\",\"cursor\":\"e-9\",\"data\":1}\n{\"op\":\"novel\"}\n");
    loop_until(f.base, &f.n_messages, 5);
    ck_assert_str_eq(bb_subscription_cursor(f.sub), "e-5");
    ck_assert_uint_eq(f.n_states[BB_WAITING], 0);
    finish(&f);
}
END_TEST

START_TEST(test_one_byte_at_a_time)
{
    static const char text[] =
        "{\"op\":\"subscribed\",\"id\":1,\"state\":\"gap\",\"cursor\":\"e-7\",\"topics\":[\"a/1\",\"\"]}\n"
        "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a/1\",\"cursor\":\"e-8\",\"data\":\"x\"}\n";
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    subscribe(&f, "a/#", &(struct bb_subscribe_options){.since = "e-3"});
    server_wait(&f.server, "\"since\":\"e-3\"", 1);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        char one[2] = {text[i], '\0'};

        ck_assert_uint_eq(f.n_messages, 0);
        server_say(&f.server, one);
        event_base_loop(f.base, EVLOOP_NONBLOCK);
    }
    loop_until(f.base, &f.n_messages, 1);
    ck_assert_uint_eq(f.n_events[BB_GAP], 1);
    ck_assert_str_eq(f.log, "missing a/1;missing ;a/1=x;");
    finish(&f);
}
END_TEST

START_TEST(test_resume)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    subscribe(&f, "a/#", &(struct bb_subscribe_options){.last = 5}); /* before there is a connection */
    connected(&f);
    server_wait(&f.server, "\"last\":5", 1);
    server_drop(&f.server);
    server_wait(&f.server, "\"last\":5", 1); /* nothing was answered: asked again as it was */
    server_say(&f.server, "{\"op\":\"subscribed\",\"id\":1,\"state\":\"live\",\"cursor\":\"e-1\"}\n"
                          "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a\",\"cursor\":\"e-2\",\"data\":1}\n");
    loop_until(f.base, &f.n_messages, 1);
    server_drop(&f.server);
    server_wait(&f.server, "{\"op\":\"sub\",\"id\":1,\"topic\":[\"a/#\"],\"since\":\"e-2\"}", 1);
    ck_assert_uint_eq(server_heard(&f.server, "last"), 0);
    server_say(&f.server, "{\"op\":\"subscribed\",\"id\":1,\"state\":\"recovered\",\"cursor\":\"e-2\"}\n");
    loop_until(f.base, &f.n_events[BB_RECOVERED], 1);
    server_say(&f.server, "{\"op\":\"state\",\"sub\":1,\"state\":\"reset\",\"cursor\":\"new-1\"}\n");
    loop_until(f.base, &f.n_events[BB_RESET], 1);
    ck_assert_str_eq(bb_subscription_cursor(f.sub), "new-1");
    server_say(&f.server, "{\"op\":\"dropped\",\"count\":3}\n");
    loop_until(f.base, &f.n_events[BB_DROPPED], 1);

    bb_unsubscribe(f.sub);
    server_wait(&f.server, "{\"op\":\"unsub\",\"id\":1}\n", 1);
    server_drop(&f.server);
    loop_until(f.base, &f.n_states[BB_OPEN], 4);
    ck_assert_uint_eq(server_heard(&f.server, "\"sub\""), 0);
    finish(&f);
}
END_TEST

START_TEST(test_refused)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    subscribe(&f, "a/#/b", NULL);
    server_wait(&f.server, "\"op\":\"sub\"", 1);
    server_say(&f.server, "{\"op\":\"error\",\"id\":1,\"code\":\"filter_invalid\",\"message\":\"no\"}\n");
    loop_until(f.base, &f.n_events[BB_REFUSED], 1);
    ck_assert_str_eq(f.code, "filter_invalid");
    server_say(&f.server, "{\"op\":\"error\",\"code\":\"request_invalid\",\"message\":\"what?\"}\n");
    loop_until(f.base, &f.n_errors, 1);
    server_drop(&f.server);
    loop_until(f.base, &f.n_states[BB_OPEN], 2);
    ck_assert_uint_eq(server_heard(&f.server, "\"op\":\"sub\""), 0); /* not asked again */
    bb_unsubscribe(f.sub);

    /* What passes is no refusal: it is asked again. */
    subscribe(&f, "b", NULL);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "one", on_published, &f), 0);
    ck_assert_int_eq(bb_topics(f.bus, NULL, on_topic, &f), 0);
    server_wait(&f.server, "\"one\"", 1);
    for (const char *id = "234"; *id != '\0'; id++) {
        char text[100];

        snprintf(text, sizeof text,
            "{\"op\":\"error\",\"id\":%c,\"code\":\"unavailable\",\"message\":\"the broker is away\"}\n",
            *id);
        server_say(&f.server, text);
    }
    server_wait(&f.server, "\"op\":\"sub\"", 2);
    server_wait(&f.server, "\"op\":\"topics\"", 2);
    server_wait(&f.server, "\"one\"", 2);
    ck_assert_uint_eq(f.n_events[BB_REFUSED], 1);
    ck_assert_uint_eq(f.n_results, 0);
    ck_assert_uint_eq(f.n_ends, 0);
    ck_assert_uint_eq(f.n_states[BB_WAITING], 1);
    finish(&f);
}
END_TEST

START_TEST(test_publish)
{
    const struct bb_header header = {"k", "v"};
    struct bb_payload payload = {
        .kind = BB_JSON, .data = " {\"a\":\n 1}\n", .len = 11, .headers = &header, .n_headers = 1};
    struct fixture f;
    size_t bytes;

    begin(&f, (struct bb_options){0});
    connected(&f);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "h\"i", on_published, &f), 0);
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload,
                         &(struct bb_publish_options){.key = "K", .is_retain = true}, on_published, &f),
        0);
    payload = (struct bb_payload){.kind = BB_BINARY, .data = "\0\1", .len = 2, .type = "image/png"};
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, on_published, &f), 0);
    payload = (struct bb_payload){.kind = BB_JSON, .data = "\"s\"", .len = 3};
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, &(struct bb_publish_options){.key = "K", .once = "O"},
                         on_published, &f),
        0);
    ck_assert_uint_eq(bb_pending(f.bus, &bytes), 4);
    ck_assert_uint_gt(bytes, 100);
    server_wait(&f.server, "{\"op\":\"pub\",\"id\":1,\"topic\":\"t\",\"once\":\"", 1);
    server_wait(&f.server, "\"data\":\"h\\\"i\"}\n", 1);
    server_wait(&f.server,
        "{\"op\":\"pub\",\"id\":2,\"topic\":\"t\",\"key\":\"K\",\"retain\":true,\"headers\":{\"k\":\"v\"},"
        "\"data\":{\"a\":  1}}\n",
        1);
    server_wait(&f.server, "\"type\":\"image/png\",\"encoding\":\"base64\",\"data\":\"AAE=\"}\n", 1);
    server_wait(&f.server, "\"key\":\"K\",\"once\":\"O\",\"type\":\"application/json\",\"data\":\"s\"}\n", 1);
    server_say(&f.server, "{\"op\":\"published\",\"id\":2,\"cursor\":\"e-2\"}\n");
    loop_until(f.base, &f.n_results, 1);
    ck_assert_int_eq(f.error, 0);
    ck_assert_str_eq(f.cursor, "e-2");
    server_say(&f.server, "{\"op\":\"error\",\"id\":3,\"code\":\"not_allowed\",\"message\":\"no\"}\n");
    loop_until(f.base, &f.n_results, 2);
    ck_assert_int_eq(f.error, -EREMOTEIO);
    ck_assert_str_eq(f.code, "not_allowed");
    server_say(&f.server, "{\"op\":\"published\",\"id\":3,\"cursor\":\"e-3\"}\n{\"op\":\"published\",\"id\":"
                          "1,\"cursor\":\"e-1\"}\n");
    loop_until(f.base, &f.n_results, 3);
    ck_assert_uint_eq(bb_pending(f.bus, NULL), 1);
    f.bus = bb_close(f.bus);
    ck_assert_uint_eq(f.n_results, 4);
    ck_assert_int_eq(f.error, -ECANCELED);
    finish(&f);
}
END_TEST

START_TEST(test_publish_refuses)
{
    struct bb_payload payload = {.kind = BB_TEXT, .data = "\xff", .len = 1};
    char key[300];
    struct fixture f;

    begin(&f, (struct bb_options){.max_pending = 2, .max_pending_bytes = 1000});
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), -EILSEQ);
    payload.kind = BB_JSON;
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), -EINVAL);
    payload =
        (struct bb_payload){.kind = BB_TEXT, .data = "x", .len = 1, .type = "application/vnd.x+json; v=1"};
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), -EINVAL);
    payload = (struct bb_payload){.kind = BB_JSON, .data = "\"x\"", .len = 3, .type = "text/plain"};
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(bb_publish_text(f.bus, "\xff", "x", NULL, NULL), -EILSEQ);
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    payload = (struct bb_payload){.kind = BB_TEXT, .data = "x", .len = 1};
    ck_assert_int_eq(
        bb_publish(f.bus, "t", &payload, &(struct bb_publish_options){.key = key}, NULL, NULL), -EINVAL);
    ck_assert_int_eq(
        bb_publish(f.bus, "t", &payload, &(struct bb_publish_options){.once = key}, NULL, NULL), -EINVAL);
    ck_assert_int_eq(
        bb_publish(f.bus, "t", &payload, &(struct bb_publish_options){.key = "\xff"}, NULL, NULL), -EILSEQ);
    payload.len = 1001;
    payload.data = calloc(1, 1001);
    memset((char *)payload.data, 'x', 1001);
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), -EMSGSIZE);
    payload.len = 800;
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), 0);
    ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, NULL, NULL), -ENOBUFS);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "x", NULL, NULL), 0);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "", NULL, NULL), -ENOBUFS);
    free((void *)payload.data);
    ck_assert_int_eq(bb_connect(f.bus, "127.0.0.1", 0), -EINVAL);
    ck_assert_int_eq(bb_subscribe(f.bus, NULL, 0, NULL, NULL, NULL, NULL, NULL), -EINVAL);
    finish(&f);
}
END_TEST

/* The same lines with the same keys come again until they are answered, in order, whatever is asked
 * meanwhile. */
START_TEST(test_publish_again)
{
    struct fixture f;
    char *first, *second;

    begin(&f, (struct bb_options){0});
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "one", on_published, &f), 0);
    connected(&f);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "two", on_published, &f), 0);
    server_wait(&f.server, "\"two\"", 1);
    first = strdup(strstr(f.server.in, "{\"op\":\"pub\""));
    server_say(&f.server, "{\"op\":\"closing\",\"code\":\"shutting_down\",\"message\":\"stopping\"}\n");
    loop_turn(f.base);
    server_stop(&f.server);
    loop_until(f.base, &f.n_states[BB_WAITING], 3); /* refused for a while */
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "three", on_published, &f), 0);
    server_start(&f.server);
    server_wait(&f.server, "\"three\"", 1);
    second = strstr(f.server.in, "{\"op\":\"pub\"");
    ck_assert_msg(strncmp(first, second, strlen(first)) == 0, "%s\n%s", first, second);
    ck_assert_ptr_nonnull(strstr(second + strlen(first), "\"three\""));
    server_say(&f.server, "{\"op\":\"published\",\"id\":1,\"cursor\":\"e-1\"}\n");
    loop_until(f.base, &f.n_results, 1);
    server_drop(&f.server);
    server_wait(&f.server, "\"three\"", 1);
    ck_assert_uint_eq(server_heard(&f.server, "\"one\""), 0);
    ck_assert_uint_eq(server_heard(&f.server, "\"two\""), 1);
    free(first);
    finish(&f);
}
END_TEST

/* A server that drops what a slow client did not read drops its acknowledgements too. */
START_TEST(test_dropped_answers)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "one", on_published, &f), 0);
    server_wait(&f.server, "\"one\"", 1);
    server_say(&f.server, "{\"op\":\"dropped\",\"count\":3}\n");
    server_wait(&f.server, "\"one\"", 2);
    ck_assert_uint_eq(f.n_states[BB_WAITING], 0);
    finish(&f);
}
END_TEST

START_TEST(test_closing_says_why)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    server_say(&f.server, "{\"op\":\"closing\",\"code\":\"shutting_down\",\"message\":\"stopping\"}\n");
    server_drop(&f.server);
    loop_until(f.base, &f.n_states[BB_WAITING], 1);
    ck_assert_str_eq(f.why, "stopping");
    finish(&f);
}
END_TEST

START_TEST(test_publish_timeout)
{
    struct fixture f;

    begin(&f, (struct bb_options){.publish_timeout_ms = 50});
    connected(&f);
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "one", on_published, &f), 0);
    loop_until(f.base, &f.n_results, 1);
    ck_assert_int_eq(f.error, -ETIMEDOUT);
    /* The late answer belongs to nothing any more. */
    server_say(&f.server, "{\"op\":\"published\",\"id\":1,\"cursor\":\"e-1\"}\n");
    ck_assert_int_eq(bb_publish_text(f.bus, "t", "two", on_published, &f), 0);
    server_wait(&f.server, "\"two\"", 1);
    server_say(&f.server, "{\"op\":\"published\",\"id\":2,\"cursor\":\"e-2\"}\n");
    loop_until(f.base, &f.n_results, 2);
    ck_assert_str_eq(f.cursor, "e-2");
    finish(&f);
}
END_TEST

START_TEST(test_ping)
{
    struct fixture f;

    begin(&f, (struct bb_options){.ping_after_ms = 30, .pong_timeout_ms = 60});
    connected(&f);
    server_wait(&f.server, "{\"op\":\"ping\"}\n", 2);
    ck_assert_uint_eq(f.n_states[BB_WAITING], 0); /* the first was answered */
    f.server.is_mute = true;
    loop_until(f.base, &f.n_states[BB_WAITING], 1);
    ck_assert_str_eq(f.why, "no answer to a ping");
    f.server.is_mute = false;
    loop_until(f.base, &f.n_states[BB_OPEN], 2);
    finish(&f);
}
END_TEST

START_TEST(test_mute_server)
{
    struct fixture f;

    begin(&f, (struct bb_options){.connect_timeout_ms = 40});
    f.server.is_mute = true;
    ck_assert_int_eq(bb_connect(f.bus, "localhost", f.server.port), 0);
    loop_until(f.base, &f.n_states[BB_WAITING], 2);
    ck_assert_uint_eq(f.n_states[BB_OPEN], 0);
    ck_assert_int_eq(bb_connect(f.bus, "localhost", f.server.port), -EALREADY);
    finish(&f);
}
END_TEST

/* Bytes of another protocol end the connection, and never more. */
START_TEST(test_nonsense)
{
    static const char *const lines[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "[]\n",
        "{\"op\":\"msg\"\n",
        "{\"op\":\"msg\",\"sub\":1}\n",
        "{\"op\":\"msg\",\"sub\":1,\"topic\":1,\"cursor\":\"e-1\",\"data\":1}\n",
        ("{\"op\":\"msg\",\"sub\":1,\"topic\":\"a\",\"cursor\":\"e-1\",\"encoding\":\"base64\",\"data\":\"="
         "\"}"
         "\n"),
        "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a\",\"cursor\":\"e-1\",\"encoding\":\"base64\",\"data\":5}\n",
        "{\"op\":\"subscribed\",\"id\":1,\"state\":\"odd\"}\n",
        "{\"op\":\"error\",\"id\":1}\n",
        "\xff\n",
    };
    struct fixture f;

    begin(&f, (struct bb_options){.max_message_bytes = 5000});
    subscribe(&f, "a", NULL);
    connected(&f);
    for (unsigned i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        server_wait(&f.server, "\"op\":\"sub\"", 1);
        server_say(&f.server, lines[i]);
        loop_until(f.base, &f.n_states[BB_WAITING], i + 1);
        loop_until(f.base, &f.n_states[BB_OPEN], i + 2);
    }
    ck_assert_uint_eq(f.n_messages, 0);
    for (unsigned i = 0; i < 200 && f.server.fd >= 0; i++) {
        server_say(&f.server, "01234567890123456789012345678901234567890123456789");
        loop_turn(f.base);
    }
    loop_until(f.base, &f.n_states[BB_WAITING], sizeof lines / sizeof lines[0] + 1);
    ck_assert_ptr_nonnull(strstr(f.why, "max_message_bytes"));
    finish(&f);
}
END_TEST

/* A callback may end everything that it stands on. */
START_TEST(test_end_inside)
{
    static const char two[] = "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a\",\"cursor\":\"e-1\",\"data\":1}\n"
                              "{\"op\":\"msg\",\"sub\":1,\"topic\":\"a\",\"cursor\":\"e-2\",\"data\":2}\n";
    struct fixture f;

    for (int i = 0; i < 2; i++) {
        begin(&f, (struct bb_options){0});
        f.ends_on_message = true;
        f.closes_on_message = i == 1;
        subscribe(&f, "a", NULL);
        connected(&f);
        ck_assert_int_eq(bb_publish_text(f.bus, "t", "one", on_published, &f), 0);
        server_wait(&f.server, "\"op\":\"pub\"", 1);
        server_say(&f.server, two);
        loop_until(f.base, &f.n_messages, 1);
        if (i == 0)
            server_wait(&f.server, "\"unsub\"", 1);
        else
            ck_assert_uint_eq(f.n_results, 1);
        loop_turn(f.base);
        ck_assert_uint_eq(f.n_messages, 1);
        finish(&f);
    }
}
END_TEST

/* More than the socket takes at once: all of it comes, in order. */
START_TEST(test_much)
{
    struct bb_payload payload = {.kind = BB_TEXT, .len = 8000};
    char *text = malloc(payload.len);
    char mark[64];
    struct fixture f;

    begin(&f, (struct bb_options){.max_pending_bytes = 64 << 20});
    memset(text, 'x', payload.len);
    payload.data = text;
    for (int i = 0; i < 500; i++)
        ck_assert_int_eq(bb_publish(f.bus, "t", &payload, NULL, on_published, &f), 0);
    connected(&f);
    server_wait(&f.server, "\"id\":500,", 1);
    while (f.server.in[f.server.n_in - 1] != '\n')
        loop_turn(f.base);
    ck_assert_uint_eq(server_heard(&f.server, "\"op\":\"pub\""), 500);
    for (int i = 1; i <= 500; i++) {
        snprintf(mark, sizeof mark, "{\"op\":\"published\",\"id\":%d,\"cursor\":\"e-%d\"}\n", i, i);
        server_say(&f.server, mark);
    }
    loop_until(f.base, &f.n_results, 500);
    ck_assert_str_eq(f.cursor, "e-500");
    free(text);
    finish(&f);
}
END_TEST

SUITE_MAIN("libbusbar", test_message_kinds, test_one_byte_at_a_time, test_resume, test_refused, test_publish,
    test_publish_refuses, test_publish_again, test_dropped_answers, test_closing_says_why,
    test_publish_timeout, test_ping, test_mute_server, test_nonsense, test_end_inside, test_much)
