/* SPDX-License-Identifier: Apache-2.0 */
/* libbusbar against a server that says what the test tells it to: lists, requests, work and presence. */
#include "config.h"

#include "clients/c/busbar.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "tests/unit/base/suite.h"
#include "tests/unit/clients/busfixture.h"

START_TEST(test_topics)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    ck_assert_int_eq(bb_topics(f.bus, "a/#", on_topic, &f), 0);
    server_wait(&f.server, "{\"op\":\"topics\",\"id\":1,\"filter\":\"a/#\",\"limit\":100}\n", 1);
    server_say(&f.server, "{\"op\":\"topic\",\"id\":1,\"topic\":\"a/"
                          "1\",\"cursor\":\"e-1\",\"messages\":1,\"bytes\":2,\"links\":3}\n"
                          "{\"op\":\"topics_end\",\"id\":1,\"more\":true}\n");
    server_wait(&f.server, "\"after\":\"a/1\"", 1);
    server_say(&f.server, "{\"op\":\"topic\",\"id\":1,\"topic\":\"a/2\",\"cursor\":\"e-1\"}\n");
    loop_until(f.base, &f.n_topics, 2);
    server_drop(&f.server);
    server_wait(&f.server, "\"after\":\"a/2\"", 1); /* not from the start again */
    server_say(&f.server, "{\"op\":\"topics_end\",\"id\":1,\"more\":false}\n");
    loop_until(f.base, &f.n_ends, 1);
    ck_assert_int_eq(f.error, 0);
    ck_assert_str_eq(f.log, "a/1@e-1;a/2@e-1;");
    ck_assert_int_eq(bb_topics(f.bus, NULL, on_topic, &f), 0);
    server_wait(&f.server, "\"filter\":\"#\"", 1);
    server_say(&f.server, "{\"op\":\"topics_end\",\"id\":2,\"more\":true}\n"); /* more of nothing */
    loop_until(f.base, &f.n_ends, 2);
    ck_assert_int_eq(f.error, -EPROTO);
    finish(&f);
}
END_TEST

START_TEST(test_request)
{
    const struct bb_payload payload = {.kind = BB_JSON, .data = "[1,\n2]", .len = 6};
    struct fixture f;

    begin(&f, (struct bb_options){0});
    /* Before there is a connection: it waits for one. */
    ck_assert_int_eq(bb_request(f.bus, "svc/add", &payload,
                         &(struct bb_request_options){.timeout_ms = 5000, .key = "k"}, on_answer, &f),
        0);
    connected(&f);
    server_wait(&f.server,
        "{\"op\":\"request\",\"id\":1,\"topic\":\"svc/add\",\"timeout\":5000,\"key\":\"k\",\"data\":[1, "
        "2]}\n",
        1);
    server_say(&f.server, "{\"op\":\"reply\",\"id\":1,\"headers\":{\"a\":\"b\"},\"data\":\"three\"}\n"
                          "{\"op\":\"reply\",\"id\":1,\"data\":\"twice\"}\n");
    loop_until(f.base, &f.n_results, 1);
    ck_assert_int_eq(f.kind, BB_TEXT);
    ck_assert_int_eq(
        bb_request(f.bus, "svc", &payload, &(struct bb_request_options){.is_async = true}, on_answer, &f), 0);
    server_wait(
        &f.server, "{\"op\":\"request\",\"id\":2,\"topic\":\"svc\",\"async\":true,\"data\":[1, 2]}\n", 1);
    server_say(&f.server, "{\"op\":\"accepted\",\"id\":2,\"request\":\"ID\",\"expires\":9}\n");
    loop_until(f.base, &f.n_results, 2);
    ck_assert_int_eq(bb_result(f.bus, "ID", 1000, on_answer, &f), 0);
    server_wait(&f.server, "{\"op\":\"result\",\"id\":3,\"request\":\"ID\",\"wait\":1000}\n", 1);
    server_say(&f.server, "{\"op\":\"error\",\"id\":3,\"code\":\"pending\",\"message\":\"m\"}\n");
    loop_until(f.base, &f.n_results, 3);
    ck_assert_int_eq(f.error, -EREMOTEIO);
    ck_assert_str_eq(f.code, "pending");
    ck_assert_str_eq(f.log, "reply three;accepted ID;");
    /* Unlike a publish it is not repeated: nobody knows whether it was done. */
    ck_assert_int_eq(bb_request(f.bus, "svc", &payload, NULL, on_answer, &f), 0);
    server_wait(&f.server, "\"id\":4", 1);
    server_drop(&f.server);
    loop_until(f.base, &f.n_results, 4);
    ck_assert_int_eq(f.error, -ECONNRESET);
    loop_until(f.base, &f.n_states[BB_OPEN], 2);
    ck_assert_uint_eq(server_heard(&f.server, "\"op\":\"request\""), 0);
    ck_assert_int_eq(bb_request(f.bus, "svc", &payload, NULL, on_answer, &f), 0);
    finish(&f);
    ck_assert_int_eq(f.error, -ECANCELED);
    ck_assert_uint_eq(f.n_results, 5);
}
END_TEST

START_TEST(test_request_refuses)
{
    const struct bb_payload payload = {.kind = BB_JSON, .data = "{", .len = 1};
    const struct bb_payload text = {.kind = BB_TEXT, .data = "x", .len = 1};
    struct fixture f;

    begin(&f, (struct bb_options){.max_pending = 2});
    ck_assert_int_eq(bb_request(f.bus, "svc", &payload, NULL, on_answer, &f), -EINVAL);
    ck_assert_int_eq(bb_request(f.bus, "\xff", &text, NULL, on_answer, &f), -EILSEQ);
    ck_assert_int_eq(bb_reply(f.bus, "c", &text), -ENOTCONN);
    ck_assert_int_eq(bb_reply_error(f.bus, "c", ""), -EINVAL);
    ck_assert_int_eq(bb_ack(f.bus, "l", NULL, NULL), -ENOTCONN);
    ck_assert_int_eq(bb_ask(f.bus, "purge", "\"a\":1}", on_line, &f), -EINVAL);
    ck_assert_int_eq(bb_ask(f.bus, "purge", "\"id\":1", on_line, &f), -EINVAL);
    ck_assert_int_eq(bb_ask(f.bus, "pur\"ge", NULL, on_line, &f), -EINVAL);
    ck_assert_int_eq(bb_request(f.bus, "svc", &text, NULL, on_answer, &f), 0);
    ck_assert_int_eq(bb_request(f.bus, "svc", &text, NULL, on_answer, &f), 0);
    ck_assert_int_eq(bb_request(f.bus, "svc", &text, NULL, on_answer, &f), -ENOBUFS);
    /* An answer ends the client, with another one waiting. */
    connected(&f);
    server_wait(&f.server, "\"id\":2", 1);
    f.closes_on_message = true;
    server_say(&f.server, "{\"op\":\"reply\",\"id\":1,\"data\":1}\n{\"op\":\"reply\",\"id\":2,\"data\":1}\n");
    loop_until(f.base, &f.n_states[BB_CLOSED], 1);
    ck_assert_uint_eq(f.n_results, 2);
    ck_assert_int_eq(f.error, -ECANCELED);
    finish(&f);
}
END_TEST

START_TEST(test_responder)
{
    const struct bb_payload payload = {.kind = BB_TEXT, .data = "2", .len = 1};
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    subscribe(&f, "svc/+", &(struct bb_subscribe_options){.responds = true, .prefetch = 4});
    server_wait(
        &f.server, "{\"op\":\"sub\",\"id\":1,\"topic\":[\"svc/+\"],\"respond\":true,\"prefetch\":4}\n", 1);
    server_say(&f.server,
        "{\"op\":\"subscribed\",\"id\":1,\"state\":\"live\",\"cursor\":\"e-1\"}\n"
        "{\"op\":\"request\",\"sub\":1,\"call\":\"c1\",\"topic\":\"svc/add\",\"timeout\":4990,"
        "\"key\":\"k\",\"data\":\"1+1\"}\n");
    loop_until(f.base, &f.n_messages, 1);
    ck_assert_str_eq(f.log, "svc/add=1+1;key k;call c1;");
    ck_assert_int_eq(bb_reply(f.bus, "c1", &payload), 0);
    ck_assert_int_eq(bb_reply_error(f.bus, "c2", "no \"idea\""), 0);
    server_wait(&f.server,
        "{\"op\":\"reply\",\"call\":\"c1\",\"data\":\"2\"}\n"
        "{\"op\":\"reply\",\"call\":\"c2\",\"error\":\"no \\\"idea\\\"\"}\n",
        1);
    /* Again on a new connection, and from no cursor: requests are never from before. */
    server_drop(&f.server);
    loop_until(f.base, &f.n_states[BB_WAITING], 1);
    ck_assert_int_eq(bb_reply(f.bus, "c3", &payload), -ENOTCONN);
    server_wait(
        &f.server, "{\"op\":\"sub\",\"id\":1,\"topic\":[\"svc/+\"],\"respond\":true,\"prefetch\":4}\n", 1);
    finish(&f);
}
END_TEST

START_TEST(test_work)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    subscribe(&f, "jobs", &(struct bb_subscribe_options){.group = "g", .since = "e-3"});
    server_wait(
        &f.server, "{\"op\":\"sub\",\"id\":1,\"topic\":[\"jobs\"],\"since\":\"e-3\",\"group\":\"g\"}\n", 1);
    server_say(&f.server,
        "{\"op\":\"subscribed\",\"id\":1,\"state\":\"live\",\"cursor\":\"e-9\"}\n"
        "{\"op\":\"msg\",\"sub\":1,\"lease\":\"l1\",\"deliveries\":2,\"expires\":30000,\"topic\":"
        "\"jobs\",\"cursor\":\"e-4\",\"time\":1,\"data\":\"x\"}\n");
    loop_until(f.base, &f.n_messages, 1);
    ck_assert_str_eq(f.log, "jobs=x;lease l1 again;");
    ck_assert_int_eq(bb_extend(f.bus, "l1", on_published, &f), 0);
    ck_assert_int_eq(bb_ack(f.bus, "l1", on_published, &f), 0);
    ck_assert_int_eq(bb_nack(f.bus, "l2", 5000, false, "busy", on_published, &f), 0);
    ck_assert_int_eq(bb_nack(f.bus, "l3", 0, true, NULL, NULL, NULL), 0);
    server_wait(&f.server,
        "{\"op\":\"extend\",\"id\":2,\"lease\":\"l1\"}\n{\"op\":\"ack\",\"id\":3,\"lease\":\"l1\"}\n"
        "{\"op\":\"nack\",\"id\":4,\"lease\":\"l2\",\"delay\":5000,\"reason\":\"busy\"}\n"
        "{\"op\":\"nack\",\"id\":5,\"lease\":\"l3\",\"dead\":true}\n",
        1);
    server_say(&f.server, "{\"op\":\"extended\",\"id\":2}\n{\"op\":\"acked\",\"id\":3}\n"
                          "{\"op\":\"nacked\",\"id\":5}\n"
                          "{\"op\":\"error\",\"id\":4,\"code\":\"lease_lost\",\"message\":\"m\"}\n");
    loop_until(f.base, &f.n_results, 3);
    ck_assert_int_eq(f.error, -EREMOTEIO);
    ck_assert_str_eq(f.code, "lease_lost");
    /* Where it is, its leases say and not its messages. */
    server_drop(&f.server);
    loop_until(f.base, &f.n_states[BB_OPEN], 2);
    server_wait(&f.server, "\"since\":\"e-3\",\"group\":\"g\"}\n", 1);
    finish(&f);
}
END_TEST

START_TEST(test_presence)
{
    const char *filters[] = {"a", "b", "#"};
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    ck_assert_int_eq(
        bb_subscribe(f.bus, filters, 2,
            &(struct bb_subscribe_options){
                .presence = true, .member = "u\"1", .member_info = "{\n}", .on_presence = on_presence},
            on_message, on_event, &f, &f.sub),
        0);
    server_wait(&f.server,
        "{\"op\":\"sub\",\"id\":1,\"topic\":[\"a\",\"b\"],\"presence\":{\"id\":\"u\\\"1\",\"info\":{ }}}\n",
        1);
    server_say(&f.server,
        "{\"op\":\"presence\",\"sub\":1,\"topic\":\"a\",\"time\":1,\"data\":{\"event\":\"snapshot\"}}\n"
        "{\"op\":\"presence\",\"sub\":7,\"topic\":\"a\",\"data\":{}}\n");
    loop_until(f.base, &f.n_messages, 1);
    ck_assert_str_eq(f.log, "a: {\"event\":\"snapshot\"};");
    subscribe(&f, "c", &(struct bb_subscribe_options){.presence = true});
    server_wait(&f.server, "{\"op\":\"sub\",\"id\":2,\"topic\":[\"c\"],\"presence\":true}\n", 1);
    ck_assert_int_eq(bb_subscribe(f.bus, filters, 1,
                         &(struct bb_subscribe_options){.presence = true, .member = "u", .member_info = "{"},
                         on_message, on_event, &f, NULL),
        -EINVAL);
    ck_assert_int_eq(bb_subscribe(f.bus, filters, 2, &(struct bb_subscribe_options){.group = "g"}, on_message,
                         on_event, &f, NULL),
        -EINVAL);
    finish(&f);
}
END_TEST

START_TEST(test_ask)
{
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    ck_assert_int_eq(bb_ask(f.bus, "queues", "\"filter\":\"a/#\"", on_line, &f), 0);
    server_wait(&f.server, "{\"op\":\"queues\",\"id\":1,\"filter\":\"a/#\"}\n", 1);
    server_say(&f.server,
        "{\"op\":\"queue\",\"id\":1,\"ready\":3}\n{\"op\":\"queues_end\",\"id\":1,\"more\":false}\n"
        "{\"op\":\"queue\",\"id\":1,\"ready\":4}\n");
    loop_until(f.base, &f.n_ends, 1);
    ck_assert_int_eq(f.error, 0);
    ck_assert_str_eq(
        f.log, "{\"op\":\"queue\",\"id\":1,\"ready\":3};{\"op\":\"queues_end\",\"id\":1,\"more\":false};");
    ck_assert_int_eq(bb_ask(f.bus, "purge", NULL, on_line, &f), 0);
    server_say(&f.server, "{\"op\":\"error\",\"id\":2,\"code\":\"request_invalid\",\"message\":\"m\"}\n");
    loop_until(f.base, &f.n_ends, 2);
    ck_assert_int_eq(f.error, -EREMOTEIO);
    ck_assert_str_eq(f.code, "request_invalid");
    finish(&f);
}
END_TEST

START_TEST(test_later)
{
    const struct bb_payload payload = {.kind = BB_TEXT, .data = "x", .len = 1};
    struct fixture f;

    begin(&f, (struct bb_options){0});
    connected(&f);
    ck_assert_int_eq(
        bb_publish(f.bus, "t", &payload,
            &(struct bb_publish_options){.once = "o", .ttl_ms = 60000, .delay_ms = 5000}, on_published, &f),
        0);
    server_wait(&f.server,
        "{\"op\":\"pub\",\"id\":1,\"topic\":\"t\",\"once\":\"o\",\"ttl\":60000,\"delay\":5000,\"data\":\"x\"}"
        "\n",
        1);
    server_say(&f.server, "{\"op\":\"published\",\"id\":1,\"due\":1700000005000}\n");
    loop_until(f.base, &f.n_results, 1);
    ck_assert_int_eq(f.error, 0);
    finish(&f);
}
END_TEST

SUITE_MAIN("libbusbar asks", test_topics, test_request, test_request_refuses, test_responder, test_work,
    test_presence, test_ask, test_later)
