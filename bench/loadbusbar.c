/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Busbar's protocols as the load generator speaks them, each as little of it as a benchmark needs: the native
 * one as JSON and as MessagePack over WebSocket and TCP, raw WebSocket, event streams and
 * long-poll (whose publishers speak WebSocket, at --publish-port), and HTTP. Topics are bench/0, bench/1,
 * ...; a subscription's id is its place.
 */
#include "config.h"

#include "bench/loadws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WILD "bench/#"
#define MESSAGE_ROOM (MAX_PAYLOAD + 256)

static char text[MESSAGE_ROOM];

static size_t
topic_name(const struct client *c, uint32_t i, char room[32])
{
    return run.is_wild ? (size_t)snprintf(room, 32, WILD)
                       : (size_t)snprintf(room, 32, "bench/%u", load_topic(c, i));
}

/* ---- The native protocol, as JSON ---- */

static size_t
json_sub(const struct client *c, uint32_t i)
{
    char topic[32];
    const char *more = run.is_group ? ",\"group\":\"bench\",\"prefetch\":200" : "";
    if (run.is_acks)
        more = ",\"respond\":true,\"prefetch\":1000";
    (void)topic_name(c, i, topic);
    return (size_t)snprintf(
        text, sizeof text, "{\"op\":\"sub\",\"id\":%u,\"topic\":\"%s\"%s}", i, topic, more);
}

static size_t
json_pub(uint32_t topic, const char *payload, size_t n)
{
    size_t at =
        (size_t)snprintf(text, sizeof text, "{\"op\":\"pub\",\"topic\":\"bench/%u\",\"data\":\"", topic);
    memcpy(text + at, payload, n);
    memcpy(text + at + n, "\"}", 2);
    return at + n + 2;
}

/* With the number as the id: a publish, or, if there are responders, a request. */
static size_t
json_pub_asking(uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    return (size_t)snprintf(text, sizeof text,
        "{\"op\":\"%s\",\"id\":%llu,\"topic\":\"bench/%u\",\"data\":\"%.*s\"}",
        option.n_subs > 0 ? "request" : "pub", (unsigned long long)number, topic, (int)n, payload);
}

static int
json_answer(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *id = load_find(p, n, "\"id\":");

    if (id == NULL)
        return -1;
    load_acked(c, strtoull((const char *)id + 5, NULL, 10));
    return 0;
}

/* Sends the n bytes in text as a message. */
typedef void (*say_fn)(struct client *c, size_t n);

/* The value of a string; its length, or 0. */
static size_t
json_text(const uint8_t *p, size_t n, const char *key, const uint8_t **ret)
{
    const uint8_t *at = load_find(p, n, key);
    const uint8_t *end =
        at != NULL ? memchr(at + strlen(key), '"', n - (size_t)(at + strlen(key) - p)) : NULL;
    if (end == NULL)
        return 0;
    *ret = at + strlen(key);
    return (size_t)(end - *ret);
}

/* A share of a queue is acknowledged, a request answered with what it said. */
static int
json_work(struct client *c, const uint8_t *p, size_t n, const uint8_t *mark, say_fn say)
{
    const uint8_t *name;
    size_t name_n = json_text(p, n, run.is_group ? "\"lease\":\"" : "\"call\":\"", &name);
    const uint8_t *end = memchr(mark, '"', n - (size_t)(mark - p));

    if (name_n == 0 || end == NULL)
        return -1;
    if (run.is_group) {
        say(c, (size_t)snprintf(text, sizeof text, "{\"op\":\"ack\",\"lease\":\"%.*s\"}", (int)name_n, name));
        load_taken(mark, (size_t)(end - mark));
    } else {
        say(c, (size_t)snprintf(text, sizeof text, "{\"op\":\"reply\",\"call\":\"%.*s\",\"data\":\"%.*s\"}",
                   (int)name_n, name, (int)(end - mark), mark));
    }
    return 0;
}

/* One message of the native protocol, in either form: the words are the same. A slow client is told what it
 * lost. */
static int
native_message(struct client *c, const uint8_t *p, size_t n, say_fn say)
{
    const uint8_t *mark = load_find(p, n, MARK);
    if (mark != NULL && run.is_acks && c->is_publisher)
        return json_answer(c, p, n);
    if (mark != NULL && (run.is_group || run.is_acks))
        return json_work(c, p, n, mark, say);
    if (mark != NULL)
        load_delivered(c, mark, n - (size_t)(mark - p));
    else if (load_find(p, n, "subscribed") != NULL)
        load_joined(c);
    else if (load_find(p, n, "\"published\"") != NULL)
        return json_answer(c, p, n);
    else if (load_find(p, n, "error") != NULL || load_find(p, n, "closing") != NULL)
        return c->is_slow ? 0 : -1;
    return 0;
}

static void
ws_say(struct client *c, size_t n)
{
    ws_write(c, WS_TEXT, text, n);
}

static int
ws_message(struct client *c, const uint8_t *p, size_t n)
{
    return native_message(c, p, n, ws_say);
}

static void
json_ws_greet(struct client *c)
{
    ws_upgrade(c, "/ws", "busbar.v1.json");
}

static void
json_ws_join(struct client *c)
{
    for (uint32_t i = 0; i < (run.is_wild ? 1 : c->n_streams); i++)
        ws_write(c, WS_TEXT, text, json_sub(c, i));
}

static void
json_ws_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    ws_write(c, WS_TEXT, text, json_pub(topic, payload, n));
}

static void
json_ws_publish_asking(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    ws_write(c, WS_TEXT, text, json_pub_asking(topic, number, payload, n));
}

static ssize_t
native_ws_read(struct client *c, const uint8_t *p, size_t n)
{
    return ws_read(c, p, n, ws_message);
}

static void
write_line(struct client *c, size_t n)
{
    text[n] = '\n';
    load_write(c, text, n + 1);
}

static void
json_tcp_join(struct client *c)
{
    for (uint32_t i = 0; i < (run.is_wild ? 1 : c->n_streams); i++)
        write_line(c, json_sub(c, i));
}

static void
json_tcp_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    write_line(c, json_pub(topic, payload, n));
}

static void
json_tcp_publish_asking(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    write_line(c, json_pub_asking(topic, number, payload, n));
}

static ssize_t
json_tcp_read(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *end = memchr(p, '\n', n);
    if (end == NULL)
        return 0;
    return native_message(c, p, (size_t)(end - p), write_line) != 0 ? -1 : end + 1 - p;
}

/* ---- The same as MessagePack ---- */

static size_t
mp_str(char *out, const char *s, size_t n)
{
    size_t at = 0;
    if (n < 32) {
        out[at++] = (char)(0xa0 | n);
    } else {
        out[at++] = (char)0xda;
        out[at++] = (char)(n >> 8);
        out[at++] = (char)n;
    }
    memcpy(out + at, s, n);
    return at + n;
}

static size_t
mp_sub(const struct client *c, uint32_t i)
{
    char topic[32];
    size_t topic_n = topic_name(c, i, topic), at = 0;
    memcpy(text, "\x83\xa2op\xa3sub\xa2id\xce", 12), at += 12;
    for (int shift = 24; shift >= 0; shift -= 8)
        text[at++] = (char)(i >> shift);
    at += mp_str(text + at, "topic", 5);
    return at + mp_str(text + at, topic, topic_n);
}

static size_t
mp_pub(uint32_t topic, const char *payload, size_t n)
{
    char name[32];
    size_t name_n = (size_t)snprintf(name, sizeof name, "bench/%u", topic), at = 8;
    memcpy(text, "\x83\xa2op\xa3pub", 8);
    at += mp_str(text + at, "topic", 5);
    at += mp_str(text + at, name, name_n);
    at += mp_str(text + at, "data", 4);
    return at + mp_str(text + at, payload, n);
}

static void
mp_ws_greet(struct client *c)
{
    ws_upgrade(c, "/ws", "busbar.v1.msgpack");
}

static void
mp_ws_join(struct client *c)
{
    for (uint32_t i = 0; i < (run.is_wild ? 1 : c->n_streams); i++)
        ws_write(c, WS_BINARY, text, mp_sub(c, i));
}

static void
mp_ws_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    ws_write(c, WS_BINARY, text, mp_pub(topic, payload, n));
}

static void
mp_tcp_join(struct client *c)
{
    for (uint32_t i = 0; i < (run.is_wild ? 1 : c->n_streams); i++)
        load_write(c, text, mp_sub(c, i));
}

static void
mp_tcp_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    load_write(c, text, mp_pub(topic, payload, n));
}

/* The head of a value: its length, that of the bytes that follow it, and how many values are in it. */
static bool
mp_head(const uint8_t *p, size_t n, size_t *ret_length, size_t *ret_n_values)
{
    static const uint8_t fixed[] = {
        1, 1, 1, 1, 2, 3, 5, 3, 4, 6, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18, 2, 3, 5};
    uint8_t b = p[0];
    size_t length = 1, values = 0, size_bytes = 0;

    if (b >= 0x80 && b < 0x90)
        values = 2 * (b & 15u);
    else if (b >= 0x90 && b < 0xa0)
        values = b & 15u;
    else if (b >= 0xa0 && b < 0xc0)
        length += b & 31u;
    else if (b >= 0xc0 && b < 0xdb)
        length = fixed[b - 0xc0];
    if (b >= 0xc4 && b <= 0xc6)
        size_bytes = 1u << (b - 0xc4);
    else if (b >= 0xd9 && b <= 0xdb)
        size_bytes = 1u << (b - 0xd9);
    else if (b >= 0xdc && b <= 0xdf)
        size_bytes = (b & 1) ? 4 : 2;
    if (n < 1 + size_bytes)
        return false;
    size_t size = 0;
    for (size_t i = 0; i < size_bytes; i++)
        size = size << 8 | p[1 + i];
    if (b >= 0xdc && b <= 0xdf)
        values = size * (b >= 0xde ? 2 : 1), length = 1 + size_bytes;
    else if (size_bytes > 0)
        length = 1 + size_bytes + size;
    *ret_length = length;
    *ret_n_values = values;
    return true;
}

static ssize_t
mp_tcp_read(struct client *c, const uint8_t *p, size_t n)
{
    size_t at = 0;
    for (size_t missing = 1; missing > 0; missing--) {
        size_t length, values;
        if (at >= n || !mp_head(p + at, n - at, &length, &values) || n - at < length)
            return 0;
        at += length;
        missing += values;
    }
    return native_message(c, p, at, NULL) != 0 ? -1 : (ssize_t)at;
}

/* ---- Raw WebSocket: every topic an address of its own ---- */

static void
raw_greet(struct client *c)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/raw/bench/%u", c->stream);
    ws_upgrade(c, path, NULL);
}

static void
raw_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    (void)topic;
    ws_write(c, WS_TEXT, payload, n);
}

/* A publisher is a subscriber as well; that it hears itself is not what is measured. */
static int
raw_message(struct client *c, const uint8_t *p, size_t n)
{
    if (!c->is_publisher)
        load_delivered(c, p, n);
    return 0;
}

static ssize_t
raw_read(struct client *c, const uint8_t *p, size_t n)
{
    return ws_read(c, p, n, raw_message);
}

/* ---- Event streams: who publishes speaks WebSocket ---- */

static void
sse_greet(struct client *c)
{
    if (c->is_publisher) {
        json_ws_greet(c);
        return;
    }
    (void)snprintf(text, sizeof text,
        "GET /topics/bench/%u HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", c->stream);
    load_write_text(c, text);
}

/* A head, then lines; the lines that chunks begin and end with have no mark either. */
static ssize_t
sse_read(struct client *c, const uint8_t *p, size_t n)
{
    if (c->is_publisher)
        return native_ws_read(c, p, n);
    if (c->phase == PHASE_GREET) {
        const uint8_t *head_end = load_find(p, n, "\r\n\r\n");
        if (head_end == NULL)
            return 0;
        if (memcmp(p, "HTTP/1.1 200", 12) != 0)
            return -1;
        load_greeted(c);
        return head_end + 4 - p;
    }
    const uint8_t *end = memchr(p, '\n', n);
    if (end == NULL)
        return 0;
    const uint8_t *mark = load_find(p, (size_t)(end - p), MARK);
    if (mark != NULL)
        load_delivered(c, mark, (size_t)(end - mark));
    return end + 1 - p;
}

/* ---- Long-poll: the first request brings the cursor, each answer the next one ---- */

#define CURSOR_ROOM 64

static void
poll_request(struct client *c)
{
    const char *cursor = load_note(c, CURSOR_ROOM);
    (void)snprintf(text, sizeof text, "GET /topics/bench/%u%s%s%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        c->stream, *cursor != '\0' ? "?since=" : "", cursor, *cursor != '\0' ? "&wait=60" : "");
    load_write_text(c, text);
}

static void
poll_greet(struct client *c)
{
    if (c->is_publisher)
        json_ws_greet(c);
    else
        poll_request(c);
}

static ssize_t
poll_read(struct client *c, const uint8_t *p, size_t n)
{
    size_t head, body_n;
    const uint8_t *body;

    if (c->is_publisher)
        return native_ws_read(c, p, n);
    ssize_t used = http_read_answer(p, n, &head, &body, &body_n);
    if (used <= 0)
        return used;
    const uint8_t *cursor = load_find(body, body_n, "\"cursor\":\"");
    const uint8_t *end =
        cursor != NULL ? memchr(cursor + 10, '"', body_n - (size_t)(cursor + 10 - body)) : NULL;
    if (end == NULL || end - cursor - 10 >= CURSOR_ROOM || load_find(body, body_n, "\"gap\"") != NULL)
        return -1;
    (void)snprintf(load_note(c, CURSOR_ROOM), CURSOR_ROOM, "%.*s", (int)(end - cursor - 10), cursor + 10);
    poll_request(c);
    load_ready(c);
    (void)load_delivered_all(c, body, body_n);
    return used;
}

/* ---- HTTP: who publishes posts; who subscribes has an event stream ---- */

static void
http_greet(struct client *c)
{
    if (c->is_publisher)
        load_greeted(c);
    else
        sse_greet(c);
}

static void
http_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    int head = snprintf(text, sizeof text,
        "POST /topics/bench/%u HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: "
        "%zu\r\n\r\n",
        topic, n);
    load_write(c, text, (size_t)head);
    load_write(c, payload, n);
}

static void
http_publish_asking(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    (void)number; /* answers come in order */
    http_publish(c, topic, payload, n);
}

static ssize_t
http_read(struct client *c, const uint8_t *p, size_t n)
{
    size_t head, body_n;
    const uint8_t *body;

    if (!c->is_publisher)
        return sse_read(c, p, n);
    ssize_t used = http_read_answer(p, n, &head, &body, &body_n);
    if (used > 0 && run.is_acks)
        load_acked(c, c->n_answers++);
    return used;
}

const struct protocol busbar_protocols[] = {
    {"busbar-ws", WILD, json_ws_greet, json_ws_join, json_ws_publish, native_ws_read, json_ws_publish_asking},
    {"busbar-ws-msgpack", WILD, mp_ws_greet, mp_ws_join, mp_ws_publish, native_ws_read, NULL},
    {"busbar-raw", NULL, raw_greet, NULL, raw_publish, raw_read, NULL},
    {"busbar-tcp", WILD, load_greeted, json_tcp_join, json_tcp_publish, json_tcp_read,
        json_tcp_publish_asking},
    {"busbar-tcp-msgpack", WILD, load_greeted, mp_tcp_join, mp_tcp_publish, mp_tcp_read, NULL},
    {"busbar-sse", NULL, sse_greet, NULL, json_ws_publish, sse_read, NULL},
    {"busbar-poll", NULL, poll_greet, NULL, json_ws_publish, poll_read, NULL},
    {"busbar-http", NULL, http_greet, NULL, http_publish, http_read, http_publish_asking},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
