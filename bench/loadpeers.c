/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocols of servers that Busbar is measured beside: nginx with nchan (WebSocket, event streams,
 * long-poll), uWebSockets.js and ws behind uws.mjs and ws.mjs of bench/peers, Redis (pub/sub, and Streams for
 * acknowledged publishes), MQTT 3.1.1 at QoS 0. NATS is in loadnats.c, AMQP in loadamqp.c.
 */
#include "config.h"

#include "bench/loadws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[MAX_PAYLOAD + 256];

/* ---- nchan: subscribers by WebSocket, event stream or long-poll, the publisher by WebSocket; bare payloads
 * ---- */

static void
nchan_greet(struct client *c)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/%s/%u", c->is_publisher ? "pub" : "sub", c->stream);
    ws_upgrade(c, path, NULL);
}

static void
bare_ws_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    (void)topic;
    ws_write(c, WS_TEXT, payload, n);
}

/* A publisher is told of each message how it went: that has no mark. */
static int
bare_message(struct client *c, const uint8_t *p, size_t n)
{
    if (!c->is_publisher && n >= 2 && memcmp(p, MARK, 2) == 0)
        load_delivered(c, p, n);
    return 0;
}

static ssize_t
nchan_read(struct client *c, const uint8_t *p, size_t n)
{
    return ws_read(c, p, n, bare_message);
}

static void
nchan_sse_greet(struct client *c)
{
    if (c->is_publisher) {
        nchan_greet(c);
        return;
    }
    (void)snprintf(text, sizeof text,
        "GET /events/%u HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", c->stream);
    load_write_text(c, text);
}

static ssize_t
nchan_sse_read(struct client *c, const uint8_t *p, size_t n)
{
    if (c->is_publisher)
        return nchan_read(c, p, n);
    const uint8_t *end = c->phase == PHASE_GREET ? load_find(p, n, "\r\n\r\n") : memchr(p, '\n', n);
    if (end == NULL)
        return 0;
    if (c->phase == PHASE_GREET) {
        if (memcmp(p, "HTTP/1.1 200", 12) != 0)
            return -1;
        load_greeted(c);
        return end + 4 - p;
    }
    const uint8_t *mark = load_find(p, (size_t)(end - p), MARK);
    if (mark != NULL)
        load_delivered(c, mark, (size_t)(end - mark));
    return end + 1 - p;
}

/* The place of the last message: the values of Last-Modified and Etag. */
struct nchan_place {
    char modified[64], tag[64];
};

static void
nchan_poll_request(struct client *c)
{
    const struct nchan_place *place = (struct nchan_place *)load_note(c, sizeof *place);
    int n = snprintf(text, sizeof text, "GET /poll/%u HTTP/1.1\r\nHost: 127.0.0.1\r\n", c->stream);
    if (place->tag[0] != '\0')
        n += snprintf(text + n, sizeof text - (size_t)n, "If-Modified-Since: %s\r\nIf-None-Match: %s\r\n",
            place->modified, place->tag);
    (void)snprintf(text + n, sizeof text - (size_t)n, "\r\n");
    load_write_text(c, text);
}

static void
nchan_poll_greet(struct client *c)
{
    if (c->is_publisher) {
        nchan_greet(c);
        return;
    }
    nchan_poll_request(c);
    load_greeted(c);
}

static bool
copy_header(const uint8_t *head, size_t n, const char *name, char ret[64])
{
    const uint8_t *at = load_find(head, n, name);
    const uint8_t *end = at != NULL ? load_find(at, n - (size_t)(at - head), "\r\n") : NULL;
    if (end == NULL)
        return false;
    at += strlen(name);
    return snprintf(ret, 64, "%.*s", (int)(end - at), at) < 64;
}

static ssize_t
nchan_poll_read(struct client *c, const uint8_t *p, size_t n)
{
    size_t head, body_n;
    const uint8_t *body;

    if (c->is_publisher)
        return nchan_read(c, p, n);
    ssize_t used = http_read_answer(p, n, &head, &body, &body_n);
    if (used <= 0)
        return used;
    struct nchan_place *place = (struct nchan_place *)load_note(c, sizeof *place);
    if (!copy_header(p, head, "Last-Modified: ", place->modified) ||
        !copy_header(p, head, "Etag: ", place->tag))
        return -1;
    nchan_poll_request(c);
    (void)load_delivered_all(c, body, body_n);
    return used;
}

/* ---- uws.mjs and ws.mjs of bench/peers: "S topic" is answered by "ok", "P topic payload" comes bare ---- */

static void
plain_greet(struct client *c)
{
    ws_upgrade(c, "/", NULL);
}

static void
plain_join(struct client *c)
{
    for (uint32_t i = 0; i < c->n_streams; i++)
        ws_write(c, WS_TEXT, text, (size_t)snprintf(text, sizeof text, "S bench/%u", load_topic(c, i)));
}

static void
plain_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    size_t at = (size_t)snprintf(text, sizeof text, "P bench/%u ", topic);
    memcpy(text + at, payload, n);
    ws_write(c, WS_TEXT, text, at + n);
}

static int
plain_message(struct client *c, const uint8_t *p, size_t n)
{
    if (n == 2 && memcmp(p, "ok", 2) == 0)
        load_joined(c);
    else
        load_delivered(c, p, n);
    return 0;
}

static ssize_t
plain_read(struct client *c, const uint8_t *p, size_t n)
{
    return ws_read(c, p, n, plain_message);
}

/* ---- Redis ---- */

static void
redis_join(struct client *c)
{
    char line[64];
    if (run.is_wild) {
        load_write_text(c, "*2\r\n$10\r\nPSUBSCRIBE\r\n$7\r\nbench/*\r\n");
        return;
    }
    (void)snprintf(line, sizeof line, "*%u\r\n$9\r\nSUBSCRIBE\r\n", c->n_streams + 1);
    load_write_text(c, line);
    for (uint32_t i = 0; i < c->n_streams; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "bench/%u", load_topic(c, i));
        (void)snprintf(line, sizeof line, "$%d\r\n%s\r\n", n, name);
        load_write_text(c, line);
    }
}

/* A command's last word. */
static void
redis_payload(struct client *c, size_t at, const char *payload, size_t n)
{
    at += (size_t)snprintf(text + at, sizeof text - at, "$%zu\r\n", n);
    memcpy(text + at, payload, n);
    memcpy(text + at + n, "\r\n", 2);
    load_write(c, text, at + n + 2);
}

static void
redis_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    char name[32];
    int name_n = snprintf(name, sizeof name, "bench/%u", topic);
    int at = snprintf(text, sizeof text, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n", name_n, name);
    redis_payload(c, (size_t)at, payload, n);
}

static void
redis_publish_asking(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    char name[32];
    int name_n = snprintf(name, sizeof name, "bench:%u", topic);
    int at =
        snprintf(text, sizeof text, "*5\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$1\r\nd\r\n", name_n, name);
    (void)number; /* answers come in order */
    redis_payload(c, (size_t)at, payload, n);
}

/* A bulk string, or the one line of anything else: its whole length, 0 if it is incomplete. */
static size_t
redis_value(const uint8_t *p, size_t n, const uint8_t **ret, size_t *ret_n)
{
    const uint8_t *end = load_find(p, n, "\r\n");
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end + 2 - p);
    if (p[0] != '$') {
        *ret = p + 1;
        *ret_n = line - 3;
        return line;
    }
    size_t size = strtoul((const char *)p + 1, NULL, 10);
    if (n < line + size + 2)
        return 0;
    *ret = p + line;
    *ret_n = size;
    return line + size + 2;
}

/* [p]message: ..., payload; [p]subscribe: ..., count; a publisher's own answers are one value. */
static ssize_t
redis_read(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *value, *kind = NULL;
    size_t value_n, at, values = 1;

    at = redis_value(p, n, &value, &value_n);
    if (at == 0)
        return 0;
    if (p[0] == '-')
        return -1;
    if (p[0] == '*')
        values = strtoul((const char *)p + 1, NULL, 10);
    for (size_t i = 0; p[0] == '*' && i < values; i++) {
        size_t k = at < n ? redis_value(p + at, n - at, &value, &value_n) : 0;
        if (k == 0)
            return 0;
        kind = i == 0 ? value : kind;
        at += k;
    }
    if (kind == NULL && run.is_acks)
        load_acked(c, c->n_answers++);
    else if (kind != NULL && (kind[0] == 'm' || kind[1] == 'm'))
        load_delivered(c, value, value_n);
    else if (kind != NULL)
        load_joined(c);
    return (ssize_t)at;
}

/* ---- MQTT 3.1.1, QoS 0 ---- */

static size_t
mqtt_length(char *out, size_t n)
{
    size_t at = 0;
    do {
        out[at++] = (char)((n & 127) | (n > 127 ? 128 : 0));
        n >>= 7;
    } while (n > 0);
    return at;
}

static void
mqtt_greet(struct client *c)
{
    load_write(c, "\x10\x0c\0\4MQTT\4\2\0\0\0\0", 14);
}

static size_t
mqtt_string(char *out, const char *s, size_t n)
{
    out[0] = (char)(n >> 8);
    out[1] = (char)n;
    memcpy(out + 2, s, n);
    return n + 2;
}

static void
mqtt_join(struct client *c)
{
    char head[8] = {(char)0x82}, name[32];
    size_t at = 2;

    memcpy(text, "\0\1", 2);
    for (uint32_t i = 0; i < (run.is_wild ? 1 : c->n_streams); i++) {
        size_t n = run.is_wild ? (size_t)snprintf(name, sizeof name, "bench/#")
                               : (size_t)snprintf(name, sizeof name, "bench/%u", load_topic(c, i));
        at += mqtt_string(text + at, name, n);
        text[at++] = 0;
    }
    load_write(c, head, 1 + mqtt_length(head + 1, at));
    load_write(c, text, at);
}

static void
mqtt_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    char head[8] = {0x30}, name[32];
    size_t name_n = (size_t)snprintf(name, sizeof name, "bench/%u", topic);
    load_write(c, head, 1 + mqtt_length(head + 1, name_n + 2 + n));
    load_write(c, text, mqtt_string(text, name, name_n));
    load_write(c, payload, n);
}

static ssize_t
mqtt_read(struct client *c, const uint8_t *p, size_t n)
{
    size_t size = 0, at = 1;
    for (int shift = 0;; shift += 7) {
        if (at >= n)
            return 0;
        size |= (size_t)(p[at] & 127) << shift;
        if ((p[at++] & 128) == 0)
            break;
    }
    if (n < at + size)
        return 0;
    int kind = p[0] >> 4;
    if (kind == 2 && p[at + 1] == 0)
        load_greeted(c);
    else if (kind == 9)
        load_ready(c);
    else if (kind == 3 && size > 2u + p[at + 1])
        load_delivered(c, p + at + 2 + p[at + 1], size - 2 - p[at + 1]);
    else
        return -1;
    return (ssize_t)(at + size);
}

const struct protocol peer_protocols[] = {
    {"nchan", NULL, nchan_greet, NULL, bare_ws_publish, nchan_read, NULL},
    {"nchan-sse", NULL, nchan_sse_greet, NULL, bare_ws_publish, nchan_sse_read, NULL},
    {"nchan-poll", NULL, nchan_poll_greet, NULL, bare_ws_publish, nchan_poll_read, NULL},
    {"plain-ws", NULL, plain_greet, plain_join, plain_publish, plain_read, NULL},
    {"redis", "bench/*", load_greeted, redis_join, redis_publish, redis_read, redis_publish_asking},
    {"mqtt", "bench/#", mqtt_greet, mqtt_join, mqtt_publish, mqtt_read, NULL},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
