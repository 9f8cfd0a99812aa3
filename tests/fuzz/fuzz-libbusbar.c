/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server says to libbusbar: any bytes. In one piece and in small ones they must lead to the same
 * callbacks, and what a callback is given must be readable to its end.
 */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX 16384u
#define SMALL_PIECE 7u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of everything that was told, so that two runs compare. */
struct told {
    uint64_t hash;
    unsigned n;
};

static void
told_bytes(struct told *told, const void *p, size_t n)
{
    const uint8_t *at = p;

    for (size_t i = 0; i < n; i++)
        told->hash = (told->hash ^ at[i]) * UINT64_C(1099511628211);
    told->n++;
}

static void
told_text(struct told *told, const char *s)
{
    if (s != NULL)
        told_bytes(told, s, strlen(s) + 1);
}

static void
on_message(struct bb_subscription *sub, const struct bb_message *m, void *arg)
{
    struct told *told = arg;

    told_text(told, m->topic);
    told_text(told, m->cursor);
    told_text(told, m->type);
    told_text(told, m->lease);
    told_text(told, m->call);
    told_bytes(told, m->data, m->len + 1);
    for (size_t i = 0; i < m->n_headers; i++) {
        told_text(told, m->headers[i].name);
        told_text(told, m->headers[i].value);
    }
    if (m->len == 13) /* some callbacks end their subscription */
        bb_unsubscribe(sub);
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct told *told = arg;

    (void)sub;
    told_text(told, event->cursor);
    told_text(told, event->code);
    told_text(told, event->text);
    for (size_t i = 0; i < event->n_topics; i++)
        told_text(told, event->topics[i]);
}

static void
on_published(struct bb_client *client, const struct bb_result *result, void *arg)
{
    (void)client;
    told_text(arg, result->cursor);
    told_text(arg, result->code);
    told_text(arg, result->text);
}

static void
on_topic(struct bb_client *client, const struct bb_topic *topic, const struct bb_result *result, void *arg)
{
    (void)client;
    (void)result;
    if (topic != NULL) {
        told_text(arg, topic->topic);
        told_text(arg, topic->cursor);
    }
}

static void
on_answer(struct bb_client *client, const struct bb_answer *answer, void *arg)
{
    (void)client;
    told_text(arg, answer->code);
    told_text(arg, answer->text);
    told_text(arg, answer->request);
    if (answer->message != NULL)
        told_bytes(arg, answer->message->data, answer->message->len + 1);
}

static void
on_line(struct bb_client *client, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    (void)client;
    if (json != NULL)
        told_bytes(arg, json, len + 1);
    else
        told_text(arg, result->code);
}

static void
on_presence(struct bb_subscription *sub, const char *topic, const char *json, size_t len, void *arg)
{
    (void)sub;
    told_text(arg, topic);
    told_bytes(arg, json, len + 1);
}

static void
run(const uint8_t *data, size_t size, size_t piece, struct told *told)
{
    const char *filters[] = {"a/#", "b"}, *why = NULL;
    struct event_base *base = event_base_new();
    struct bb_client *client;
    int pair[2], r = 0;

    if (base == NULL || bb_client_new(base, NULL, &client) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    /* As bb_attempt_address() leaves it, connected. */
    client->fd = pair[0];
    client->is_connected = true;
    client->read_event = event_new(base, client->fd, 0, NULL, NULL);
    client->write_event = event_new(base, client->fd, 0, NULL, NULL);
    (void)bb_subscribe(client, filters, 2, NULL, on_message, on_event, told, NULL);
    (void)bb_publish_text(client, "t", "x", on_published, told);
    (void)bb_topics(client, NULL, on_topic, told);
    (void)bb_subscribe(client, filters, 1, NULL, on_message, on_event, told, NULL);
    /* 5 to 8: a responder, one who is there, a request, a question. */
    (void)bb_subscribe(client, filters, 1, &(struct bb_subscribe_options){.responds = true}, on_message,
        on_event, told, NULL);
    (void)bb_subscribe(client, filters, 1,
        &(struct bb_subscribe_options){.presence = true, .on_presence = on_presence}, on_message, on_event,
        told, NULL);
    (void)bb_request(
        client, "t", &(struct bb_payload){.kind = BB_TEXT, .data = "x", .len = 1}, NULL, on_answer, told);
    (void)bb_ask(client, "queues", NULL, on_line, told);
    for (size_t at = 0; at < size && r == 0; at += piece) {
        size_t n = size - at < piece ? size - at : piece;

        if (send(pair[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
            abort();
        bb_enter(client);
        r = bb_read(client, &why);
        bb_leave(client);
    }
    told->n += r == 0 ? 0 : 1;
    bb_close(client);
    (void)close(pair[1]);
    event_base_free(base);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told whole = {0}, pieces = {0};

    if (size > INPUT_MAX)
        return 0;
    run(data, size, size == 0 ? 1 : size, &whole);
    run(data, size, SMALL_PIECE, &pieces);
    if (whole.hash != pieces.hash || whole.n != pieces.n)
        abort();
    return 0;
}
