/* SPDX-License-Identifier: Apache-2.0 */
/* libbusbar against a server that says what the test tells it to. */
#include "config.h"

#include "clients/c/busbar.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "tests/unit/base/suite.h"
#include "tests/unit/clients/fakeserver.h"

struct fixture {
    struct event_base *base;
    struct server server;
    struct bb_client *bus;
    struct bb_subscription *sub;
    unsigned n_states[BB_CLOSED + 1], n_errors;
    char why[200];

    unsigned n_messages, n_events[BB_REFUSED + 1], n_results, n_topics, n_ends;
    char log[65536]; /* messages and events, for people and for strcmp() */
    enum bb_kind kind;
    int error; /* of the last result */
    char cursor[64];
    char code[64];
    bool closes_on_message, ends_on_message;
};

static void
note(struct fixture *f, const char *fmt, const char *a, const char *b)
{
    size_t n = strlen(f->log);

    snprintf(f->log + n, sizeof f->log - n, fmt, a, b);
}

static void
on_state(struct bb_client *client, enum bb_state state, const char *why, void *arg)
{
    struct fixture *f = arg;

    f->n_states[state]++;
    if (state == BB_WAITING) {
        ck_assert_ptr_nonnull(why);
        snprintf(f->why, sizeof f->why, "%s", why);
    }
}

static void
on_error(struct bb_client *client, const char *code, const char *text, void *arg)
{
    struct fixture *f = arg;

    f->n_errors++;
    snprintf(f->code, sizeof f->code, "%s", code);
}

static void
on_message(struct bb_subscription *sub, const struct bb_message *m, void *arg)
{
    struct fixture *f = arg;

    f->n_messages++;
    f->kind = m->kind;
    ck_assert_int_eq(((const char *)m->data)[m->len], '\0');
    note(f, "%s=%s;", m->topic, m->data);
    if (m->type != NULL)
        note(f, "type %s%s;", m->type, "");
    if (m->key != NULL)
        note(f, "key %s%s;", m->key, "");
    for (size_t i = 0; i < m->n_headers; i++)
        note(f, "%s: %s;", m->headers[i].name, m->headers[i].value);
    if (m->is_retained)
        note(f, "retained%s%s;", "", "");
    if (m->lease != NULL)
        note(f, "lease %s%s;", m->lease, m->n_deliveries == 2 && m->expires_ms == 30000 ? " again" : "");
    if (m->call != NULL)
        note(f, "call %s%s;", m->call, m->n_deliveries == 1 && m->expires_ms == 4990 ? "" : " again");
    if (f->ends_on_message)
        bb_unsubscribe(sub);
    if (f->closes_on_message)
        f->bus = bb_close(f->bus);
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct fixture *f = arg;

    f->n_events[event->type]++;
    for (size_t i = 0; i < event->n_topics; i++)
        note(f, "missing %s%s;", event->topics[i], "");
    if (event->code != NULL)
        snprintf(f->code, sizeof f->code, "%s", event->code);
}

static void
on_published(struct bb_client *client, const struct bb_result *result, void *arg)
{
    struct fixture *f = arg;

    f->n_results++;
    f->error = result->error;
    snprintf(f->cursor, sizeof f->cursor, "%s", result->cursor != NULL ? result->cursor : "");
    snprintf(f->code, sizeof f->code, "%s", result->code != NULL ? result->code : "");
}

static void
on_topic(struct bb_client *client, const struct bb_topic *topic, const struct bb_result *result, void *arg)
{
    struct fixture *f = arg;

    if (topic == NULL) {
        f->n_ends++;
        f->error = result->error;
        return;
    }
    f->n_topics++;
    note(f, "%s@%s;", topic->topic, topic->cursor);
}

static void
on_answer(struct bb_client *client, const struct bb_answer *answer, void *arg)
{
    struct fixture *f = arg;

    f->n_results++;
    f->error = answer->error;
    snprintf(f->code, sizeof f->code, "%s", answer->code != NULL ? answer->code : "");
    if (answer->message != NULL) {
        f->kind = answer->message->kind;
        ck_assert_ptr_null(answer->message->topic);
        note(f, "reply %s%s;", answer->message->data, "");
    }
    if (answer->request != NULL)
        note(f, "accepted %s%s;", answer->request, "");
    if (f->closes_on_message)
        f->bus = bb_close(f->bus);
}

static void
on_line(struct bb_client *client, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct fixture *f = arg;

    if (json == NULL) {
        f->n_ends++;
        f->error = result->error;
        snprintf(f->code, sizeof f->code, "%s", result->code != NULL ? result->code : "");
        return;
    }
    ck_assert_uint_eq(strlen(json), len);
    note(f, "%s%s;", json, "");
}

static void
on_presence(struct bb_subscription *sub, const char *topic, const char *json, size_t len, void *arg)
{
    struct fixture *f = arg;

    ck_assert_uint_eq(strlen(json), len);
    f->n_messages++;
    note(f, "%s: %s;", topic, json);
}

static void
begin(struct fixture *f, struct bb_options options)
{
    memset(f, 0, sizeof *f);
    f->base = event_base_new();
    server_init(&f->server, f->base);
    options.min_delay_ms = options.min_delay_ms ? options.min_delay_ms : 5;
    options.max_delay_ms = 20;
    options.on_state = on_state;
    options.on_error = on_error;
    options.arg = f;
    ck_assert_int_eq(bb_client_new(f->base, &options, &f->bus), 0);
    ck_assert_int_eq(bb_client_state(f->bus), BB_WAITING);
}

static void
connected(struct fixture *f)
{
    ck_assert_int_eq(bb_connect(f->bus, "127.0.0.1", f->server.port), 0);
    ck_assert_uint_eq(f->n_states[BB_CONNECTING], 0); /* no callback from inside a call */
    loop_until(f->base, &f->n_states[BB_OPEN], 1);
}

static void
end(struct fixture *f)
{
    if (f->bus != NULL) {
        f->bus = bb_close(f->bus);
        ck_assert_uint_eq(f->n_states[BB_CLOSED], 1);
    }
    server_fini(&f->server);
    event_base_free(f->base);
}

static void
subscribe(struct fixture *f, const char *filter, const struct bb_subscribe_options *options)
{
    ck_assert_int_eq(bb_subscribe(f->bus, &filter, 1, options, on_message, on_event, f, &f->sub), 0);
}

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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
        end(&f);
    }
}
END_TEST

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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
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
    end(&f);
}
END_TEST

SUITE_MAIN("libbusbar", test_message_kinds, test_one_byte_at_a_time, test_resume, test_refused, test_publish,
    test_publish_refuses, test_publish_again, test_dropped_answers, test_closing_says_why,
    test_publish_timeout, test_ping, test_mute_server, test_nonsense, test_end_inside, test_topics,
    test_request, test_request_refuses, test_responder, test_work, test_presence, test_ask, test_later,
    test_much)
