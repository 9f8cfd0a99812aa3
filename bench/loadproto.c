/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocols that the load generator speaks, Busbar's and the peers', each as little of it as a benchmark
 * needs. A client's topic is named by its number: bench/0, bench/1, ...
 */
#include "config.h"

#include "bench/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *
find(const uint8_t *p, size_t n, const char *what)
{
    return memmem(p, n, what, strlen(what));
}

static void
write_text(struct client *c, const char *text)
{
    load_write(c, text, strlen(text));
}

/* ---- WebSocket, from the client's side ---- */

static void
ws_upgrade(struct client *c, const char *path, const char *protocol)
{
    char text[512];
    (void)snprintf(text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
        path, protocol != NULL ? "Sec-WebSocket-Protocol: " : "", protocol != NULL ? protocol : "",
        protocol != NULL ? "\r\n" : "");
    write_text(c, text);
}

/* A masked text frame; the mask is zero, which is as valid as any. */
static void
ws_write(struct client *c, const char *payload, size_t n)
{
    static uint8_t frame[1 << 17];
    size_t at = 0;
    frame[at++] = 0x81;
    if (n < 126) {
        frame[at++] = (uint8_t)(0x80 | n);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (uint8_t)(n >> 8);
        frame[at++] = (uint8_t)n;
    }
    memset(frame + at, 0, 4);
    at += 4;
    memcpy(frame + at, payload, n);
    load_write(c, frame, at + n);
}

/* The head of the answer to an upgrade: its length, 0, or -1. */
static ssize_t
ws_read_head(const uint8_t *p, size_t n)
{
    const uint8_t *end = find(p, n, "\r\n\r\n");
    if (end == NULL)
        return 0;
    return memcmp(p, "HTTP/1.1 101", 12) == 0 ? end + 4 - p : -1;
}

/* A frame: its whole length (0: incomplete), the payload and the opcode. */
static size_t
ws_read_frame(const uint8_t *p, size_t n, const uint8_t **ret_payload, size_t *ret_n, int *ret_opcode)
{
    if (n < 2)
        return 0;
    size_t head = 2, size = p[1] & 0x7f;
    if (size == 126) {
        if (n < 4)
            return 0;
        size = (size_t)p[2] << 8 | p[3];
        head = 4;
    } else if (size == 127) {
        if (n < 10)
            return 0;
        size = 0;
        for (int i = 2; i < 10; i++)
            size = size << 8 | p[i];
        head = 10;
    }
    if (n < head + size)
        return 0;
    *ret_payload = p + head;
    *ret_n = size;
    *ret_opcode = p[0] & 0x0f;
    return head + size;
}

/* ---- Busbar ---- */

static size_t
busbar_sub(char *out, size_t room, const struct client *c)
{
    return (size_t)snprintf(out, room, "{\"op\":\"sub\",\"id\":1,\"topic\":\"bench/%u\"}", c->topic);
}

static size_t
busbar_pub(char *out, size_t room, const struct client *c, const char *payload, size_t n)
{
    return (size_t)snprintf(
        out, room, "{\"op\":\"pub\",\"topic\":\"bench/%u\",\"data\":\"%.*s\"}", c->topic, (int)n, payload);
}

/* With the number as the request's id. */
static size_t
busbar_pub_asking(
    char *out, size_t room, const struct client *c, uint64_t number, const char *payload, size_t n)
{
    return (size_t)snprintf(out, room,
        "{\"op\":\"pub\",\"id\":%llu,\"topic\":\"bench/%u\",\"data\":\"%.*s\"}", (unsigned long long)number,
        c->topic, (int)n, payload);
}

static int
busbar_answer(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *id = find(p, n, "\"id\":");

    if (id == NULL)
        return -1;
    load_acked(c, strtoull((const char *)id + 5, NULL, 10));
    return 0;
}

/* One message of the native protocol. */
static int
busbar_message(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *mark = find(p, n, MARK);
    if (mark != NULL)
        load_delivered(c, mark, n - (size_t)(mark - p));
    else if (find(p, n, "\"subscribed\"") != NULL)
        load_ready(c);
    else if (find(p, n, "\"published\"") != NULL)
        return busbar_answer(c, p, n);
    else if (find(p, n, "\"error\"") != NULL || find(p, n, "\"closing\"") != NULL)
        return -1;
    return 0;
}

static void
busbar_ws_greet(struct client *c)
{
    ws_upgrade(c, "/ws", "busbar.v1.json");
}

static void
busbar_ws_join(struct client *c)
{
    char text[256];
    ws_write(c, text, busbar_sub(text, sizeof text, c));
}

static void
busbar_ws_publish(struct client *c, const char *payload, size_t n)
{
    static char text[1 << 17];
    ws_write(c, text, busbar_pub(text, sizeof text, c, payload, n));
}

static ssize_t
busbar_ws_read(struct client *c, const uint8_t *p, size_t n)
{
    if (c->phase == PHASE_GREET) {
        ssize_t head = ws_read_head(p, n);
        if (head > 0)
            load_greeted(c);
        return head;
    }
    const uint8_t *payload;
    size_t payload_n;
    int opcode;
    size_t used = ws_read_frame(p, n, &payload, &payload_n, &opcode);
    if (used > 0 && (opcode == 8 || (opcode == 1 && busbar_message(c, payload, payload_n) != 0)))
        return -1;
    return (ssize_t)used;
}

static void
busbar_tcp_greet(struct client *c)
{
    load_greeted(c);
}

static void
busbar_tcp_join(struct client *c)
{
    char text[256];
    size_t n = busbar_sub(text, sizeof text, c);
    text[n++] = '\n';
    load_write(c, text, n);
}

static void
busbar_tcp_publish(struct client *c, const char *payload, size_t n)
{
    static char text[1 << 17];
    size_t k = busbar_pub(text, sizeof text, c, payload, n);
    text[k++] = '\n';
    load_write(c, text, k);
}

static void
busbar_tcp_publish_asking(struct client *c, uint64_t number, const char *payload, size_t n)
{
    static char text[1 << 17];
    size_t k = busbar_pub_asking(text, sizeof text, c, number, payload, n);
    text[k++] = '\n';
    load_write(c, text, k);
}

static ssize_t
busbar_tcp_read(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *end = memchr(p, '\n', n);
    if (end == NULL)
        return 0;
    return busbar_message(c, p, (size_t)(end - p)) != 0 ? -1 : end + 1 - p;
}

/* ---- nginx with nchan: subscribers and the publisher by WebSocket, bare payloads ---- */

static void
nchan_greet(struct client *c)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/%s/%u", c->is_publisher ? "pub" : "sub", c->topic);
    ws_upgrade(c, path, NULL);
}

static ssize_t
nchan_read(struct client *c, const uint8_t *p, size_t n)
{
    if (c->phase == PHASE_GREET) {
        ssize_t head = ws_read_head(p, n);
        if (head > 0)
            load_greeted(c);
        return head;
    }
    const uint8_t *payload;
    size_t payload_n;
    int opcode;
    size_t used = ws_read_frame(p, n, &payload, &payload_n, &opcode);
    if (used > 0 && opcode == 8)
        return -1;
    /* A publisher is told of each message how it went: that has no mark. */
    if (used > 0 && opcode <= 2 && !c->is_publisher && payload_n >= 2 && memcmp(payload, MARK, 2) == 0)
        load_delivered(c, payload, payload_n);
    return (ssize_t)used;
}

/* ---- Event streams: who publishes speaks WebSocket ---- */

static void
sse_request(struct client *c, const char *path)
{
    char text[256];
    (void)snprintf(text, sizeof text,
        "GET %s%u HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", path, c->topic);
    write_text(c, text);
}

/* A head, then lines; the lines that chunks begin and end with have no mark either. */
static ssize_t
sse_read(struct client *c, const uint8_t *p, size_t n)
{
    if (c->phase == PHASE_GREET) {
        const uint8_t *head_end = find(p, n, "\r\n\r\n");
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
    const uint8_t *mark = find(p, (size_t)(end - p), MARK);
    if (mark != NULL)
        load_delivered(c, mark, (size_t)(end - mark));
    return end + 1 - p;
}

static void
busbar_sse_greet(struct client *c)
{
    if (c->is_publisher)
        busbar_ws_greet(c);
    else
        sse_request(c, "/topics/bench/");
}

static ssize_t
busbar_sse_read(struct client *c, const uint8_t *p, size_t n)
{
    return c->is_publisher ? busbar_ws_read(c, p, n) : sse_read(c, p, n);
}

static void
nchan_sse_greet(struct client *c)
{
    if (c->is_publisher)
        nchan_greet(c);
    else
        sse_request(c, "/events/");
}

static ssize_t
nchan_sse_read(struct client *c, const uint8_t *p, size_t n)
{
    return c->is_publisher ? nchan_read(c, p, n) : sse_read(c, p, n);
}

/* ---- NATS: docs.nats.io, client protocol ---- */

static void
nats_greet(struct client *c)
{
    write_text(c,
        "CONNECT "
        "{\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"0\",\"protocol\":1}\r\nPING\r\n");
}

static void
nats_join(struct client *c)
{
    char text[128];
    (void)snprintf(text, sizeof text, "SUB bench.%u 1\r\nPING\r\n", c->topic);
    write_text(c, text);
}

static void
nats_publish(struct client *c, const char *payload, size_t n)
{
    static char text[1 << 17];
    int head = snprintf(text, sizeof text, "PUB bench.%u %zu\r\n", c->topic, n);
    memcpy(text + head, payload, n);
    memcpy(text + (size_t)head + n, "\r\n", 2);
    load_write(c, text, (size_t)head + n + 2);
}

static ssize_t
nats_read(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *end = find(p, n > 4096 ? 4096 : n, "\r\n");
    if (end == NULL)
        return 0;
    ssize_t line = end + 2 - p;
    if (memcmp(p, "MSG ", 4) == 0) {
        const uint8_t *size_at = end;
        while (size_at[-1] != ' ')
            size_at--;
        size_t size = strtoul((const char *)size_at, NULL, 10);
        if (n < (size_t)line + size + 2)
            return 0;
        load_delivered(c, p + line, size);
        return line + (ssize_t)size + 2;
    }
    if (memcmp(p, "PONG", 4) == 0) {
        if (c->phase == PHASE_GREET)
            load_greeted(c);
        else
            load_ready(c);
    } else if (memcmp(p, "PING", 4) == 0) {
        write_text(c, "PONG\r\n");
    } else if (memcmp(p, "-ERR", 4) == 0) {
        return -1;
    }
    return line;
}

/* ---- NATS with JetStream: an answer comes to the reply subject, which says whose it is ---- */

static void
jetstream_greet(struct client *c)
{
    char text[128];
    (void)snprintf(text, sizeof text, "SUB _INBOX.%u.* 1\r\n", c->topic);
    nats_greet(c);
    write_text(c, text);
}

static void
jetstream_publish_asking(struct client *c, uint64_t number, const char *payload, size_t n)
{
    static char text[1 << 17];
    int head = snprintf(text, sizeof text, "PUB bench.%u _INBOX.%u.%llu %zu\r\n", c->topic, c->topic,
        (unsigned long long)number, n);
    memcpy(text + head, payload, n);
    memcpy(text + (size_t)head + n, "\r\n", 2);
    load_write(c, text, (size_t)head + n + 2);
}

static ssize_t
jetstream_read(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *line_end = find(p, n > 4096 ? 4096 : n, "\r\n");
    if (line_end == NULL || memcmp(p, "MSG _INBOX.", 11) != 0)
        return nats_read(c, p, n);
    const uint8_t *size_at = line_end, *number = p + 11;
    while (size_at[-1] != ' ')
        size_at--;
    while (*number != '.')
        number++;
    size_t line = (size_t)(line_end + 2 - p), size = strtoul((const char *)size_at, NULL, 10);
    if (n < line + size + 2)
        return 0;
    if (find(p + line, size, "\"seq\":") == NULL)
        return -1;
    load_acked(c, strtoull((const char *)number + 1, NULL, 10));
    return (ssize_t)(line + size + 2);
}

/* ---- Redis Streams: answers come in order ---- */

static void
redis_publish_asking(struct client *c, uint64_t number, const char *payload, size_t n)
{
    static char text[1 << 17];
    char key[32];
    int key_n = snprintf(key, sizeof key, "bench:%u", c->topic);
    int head = snprintf(
        text, sizeof text, "*5\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$1\r\nd\r\n$%zu\r\n", key_n, key, n);
    (void)number;
    memcpy(text + head, payload, n);
    memcpy(text + (size_t)head + n, "\r\n", 2);
    load_write(c, text, (size_t)head + n + 2);
}

/* A bulk string: $LENGTH CRLF the entry's id CRLF. */
static ssize_t
redis_read(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *line_end = find(p, n, "\r\n");
    if (line_end == NULL)
        return 0;
    if (p[0] != '$')
        return -1;
    size_t whole = (size_t)(line_end + 2 - p) + strtoul((const char *)p + 1, NULL, 10) + 2;
    if (n < whole)
        return 0;
    load_acked(c, c->next++);
    return (ssize_t)whole;
}

const struct protocol protocols[] = {
    {"busbar-ws", busbar_ws_greet, busbar_ws_join, busbar_ws_publish, busbar_ws_read, NULL},
    {"busbar-tcp", busbar_tcp_greet, busbar_tcp_join, busbar_tcp_publish, busbar_tcp_read,
        busbar_tcp_publish_asking},
    {"nchan", nchan_greet, NULL, ws_write, nchan_read, NULL},
    {"busbar-sse", busbar_sse_greet, NULL, busbar_ws_publish, busbar_sse_read, NULL},
    {"nchan-sse", nchan_sse_greet, NULL, ws_write, nchan_sse_read, NULL},
    {"nats", nats_greet, nats_join, nats_publish, nats_read, NULL},
    {"jetstream", jetstream_greet, NULL, nats_publish, jetstream_read, jetstream_publish_asking},
    {"redis", busbar_tcp_greet, NULL, NULL, redis_read, redis_publish_asking},
    {NULL, NULL, NULL, NULL, NULL, NULL},
};
