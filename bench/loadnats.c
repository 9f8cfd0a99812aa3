/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NATS for the load generator (docs.nats.io, client protocol), over TCP and WebSocket: subscribers, requests
 * and their responders; and JetStream: acknowledged publishes, and consumers that pull from a work queue and
 * acknowledge each message. The stream BENCH and its consumer "work" are made before by who starts the
 * generator.
 */
#include "config.h"

#include "bench/loadws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELLO                                                                                                \
    "CONNECT "                                                                                               \
    "{\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"0\",\"protocol\":1,\"headers\":"     \
    "true}\r\n"                                                                                              \
    "PING\r\n"
#define BATCH 100 /* what a consumer asks for at once */

static char text[MAX_PAYLOAD + 256];

struct message {
    bool is_message; /* else a line of the protocol's own */
    const char *subject, *reply;
    size_t reply_n; /* 0: there is none */
    const uint8_t *payload;
    size_t n;
};

/* Its length, or 0 if it is incomplete. MSG subject sid [reply] size CRLF payload CRLF; HMSG, which has a
 * head as well, comes only to say that something is wrong. */
static ssize_t
read_message(const uint8_t *p, size_t n, struct message *ret)
{
    const uint8_t *end = load_find(p, n > 4096 ? 4096 : n, "\r\n");
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end + 2 - p);
    ret->is_message = memcmp(p, "MSG ", 4) == 0;
    if (!ret->is_message)
        return (ssize_t)line;
    const uint8_t *words[5] = {p + 4};
    int n_words = 1;
    for (const uint8_t *at = p + 4; at < end && n_words < 5; at++)
        if (*at == ' ')
            words[n_words++] = at + 1;
    ret->subject = (const char *)words[0];
    ret->reply = (const char *)words[2];
    ret->reply_n = n_words == 4 ? (size_t)(words[3] - words[2]) - 1 : 0;
    ret->payload = p + line;
    ret->n = strtoul((const char *)words[n_words - 1], NULL, 10);
    return n < line + ret->n + 2 ? 0 : (ssize_t)(line + ret->n + 2);
}

static int
control_line(struct client *c, const uint8_t *p)
{
    if (memcmp(p, "PONG", 4) == 0) {
        if (c->phase == PHASE_GREET)
            load_greeted(c);
        else
            load_ready(c);
    } else if (memcmp(p, "-ERR", 4) == 0 || memcmp(p, "HMSG", 4) == 0) {
        return c->is_slow ? 0 : -1;
    }
    return 0; /* INFO; PING, which comes after two minutes */
}

/* One message, which on_message() gets, or a line. */
static ssize_t
read_one(struct client *c, const uint8_t *p, size_t n,
    void (*on_message)(struct client *c, const struct message *m))
{
    struct message m;
    ssize_t used = read_message(p, n, &m);

    if (used > 0 && m.is_message)
        on_message(c, &m);
    else if (used > 0 && control_line(c, p) < 0)
        return -1;
    return used;
}

/* PUB subject [reply] size CRLF payload CRLF, into text. */
static size_t
make_pub(const char *subject, const char *reply, const char *payload, size_t n)
{
    size_t at = (size_t)snprintf(
        text, sizeof text, "PUB %s %s%s%zu\r\n", subject, reply, *reply != '\0' ? " " : "", n);
    memcpy(text + at, payload, n);
    memcpy(text + at + n, "\r\n", 2);
    return at + n + 2;
}

static size_t
make_pub_to(uint32_t topic, const char *payload, size_t n)
{
    char subject[32];
    (void)snprintf(subject, sizeof subject, "bench.%u", topic);
    return make_pub(subject, "", payload, n);
}

static size_t
make_subs(const struct client *c)
{
    size_t at = 0;
    if (run.is_wild)
        at += (size_t)snprintf(text, sizeof text, "SUB bench.> 1\r\n");
    for (uint32_t i = 0; i < c->n_streams && !run.is_wild; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "SUB bench.%u %u\r\n", load_topic(c, i), i + 1);
    return at + (size_t)snprintf(text + at, sizeof text - at, "PING\r\n");
}

/* ---- Over TCP ---- */

static void
nats_greet(struct client *c)
{
    if (c->is_publisher && run.is_acks) { /* where its answers come */
        char line[64];
        (void)snprintf(line, sizeof line, "SUB _INBOX.%u.* 1\r\n", c->number);
        load_write_text(c, line);
    }
    load_write_text(c, HELLO);
}

static void
nats_join(struct client *c)
{
    load_write(c, text, make_subs(c));
}

static void
nats_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    load_write(c, text, make_pub_to(topic, payload, n));
}

/* An answer comes to the reply subject, which says to what. */
static void
nats_publish_asking(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    char subject[32], reply[64];
    (void)snprintf(subject, sizeof subject, "bench.%u", topic);
    (void)snprintf(reply, sizeof reply, "_INBOX.%u.%llu", c->number, (unsigned long long)number);
    load_write(c, text, make_pub(subject, reply, payload, n));
}

/* A responder sends back what it was asked. */
static void
on_request(struct client *c, const struct message *m)
{
    char reply[64];
    (void)snprintf(reply, sizeof reply, "%.*s", (int)m->reply_n, m->reply);
    load_write(c, text, make_pub(reply, "", (const char *)m->payload, m->n));
}

static void
on_nats_message(struct client *c, const struct message *m)
{
    if (!run.is_acks)
        load_delivered(c, m->payload, m->n);
    else if (!c->is_publisher)
        on_request(c, m);
    else
        load_acked(c, strtoull(strchr(m->subject + strlen("_INBOX."), '.') + 1, NULL, 10));
}

static ssize_t
nats_read(struct client *c, const uint8_t *p, size_t n)
{
    return read_one(c, p, n, on_nats_message);
}

/* ---- Over WebSocket: the same bytes in binary frames, whole messages in each ---- */

static void
nats_ws_greet(struct client *c)
{
    ws_upgrade(c, "/", NULL);
}

static ssize_t
nats_ws_read(struct client *c, const uint8_t *p, size_t n)
{
    if (c->phase == PHASE_GREET && c->n_answers == 0) {
        ssize_t head = ws_read_head(p, n);
        if (head > 0) {
            c->n_answers = 1;
            ws_write(c, WS_BINARY, HELLO, strlen(HELLO));
        }
        return head;
    }
    if (c->frame_left == 0) { /* a frame can be megabytes long: its messages are read as they come */
        int opcode;
        size_t head = ws_read_frame_head(p, n, &c->frame_left, &opcode);
        return opcode == 8 && head > 0 && !c->is_slow ? -1 : (ssize_t)head;
    }
    ssize_t used = nats_read(c, p, n < c->frame_left ? n : c->frame_left);
    if (used == 0 && n >= c->frame_left)
        return -1;
    c->frame_left -= used > 0 ? (size_t)used : 0;
    return used;
}

static void
nats_ws_join(struct client *c)
{
    ws_write(c, WS_BINARY, text, make_subs(c));
}

static void
nats_ws_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    ws_write(c, WS_BINARY, text, make_pub_to(topic, payload, n));
}

/* ---- JetStream ---- */

static void
on_jetstream_ack(struct client *c, const struct message *m)
{
    if (load_find(m->payload, m->n, "\"seq\":") == NULL)
        load_die("JetStream did not take a message: %.*s", (int)m->n, m->payload);
    if (run.is_acks)
        on_nats_message(c, m);
}

static ssize_t
jetstream_read(struct client *c, const uint8_t *p, size_t n)
{
    return read_one(c, p, n, on_jetstream_ack);
}

static void
queue_pull(struct client *c)
{
    char inbox[32];
    static const char request[] = "{\"batch\":100}";
    (void)snprintf(inbox, sizeof inbox, "_INBOX.%u", c->number);
    load_write(c, text, make_pub("$JS.API.CONSUMER.MSG.NEXT.BENCH.work", inbox, request, sizeof request - 1));
}

static void
queue_greet(struct client *c)
{
    char line[64];
    (void)snprintf(line, sizeof line, "SUB _INBOX.%u 1\r\n", c->number);
    load_write_text(c, line);
    load_write_text(c, HELLO);
}

/* Two requests are open at a time. */
static void
queue_join(struct client *c)
{
    queue_pull(c);
    queue_pull(c);
    load_write_text(c, "PING\r\n");
}

/* The publisher's confirmations come to its inbox too; it is not they that are counted. */
static void
queue_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    char inbox[32];
    (void)topic;
    (void)snprintf(inbox, sizeof inbox, "_INBOX.%u", c->number);
    load_write(c, text, make_pub("bench.0", inbox, payload, n));
}

static void
on_queue_message(struct client *c, const struct message *m)
{
    char reply[160];

    if (c->is_publisher) {
        on_jetstream_ack(c, m);
        return;
    }
    (void)snprintf(reply, sizeof reply, "%.*s", (int)m->reply_n, m->reply);
    load_write(c, text, make_pub(reply, "", "+ACK", 4));
    load_taken(m->payload, m->n);
    if (++c->n_answers % BATCH == 0)
        queue_pull(c);
}

static ssize_t
queue_read(struct client *c, const uint8_t *p, size_t n)
{
    return read_one(c, p, n, on_queue_message);
}

const struct protocol nats_protocols[] = {
    {"nats", "bench.>", nats_greet, nats_join, nats_publish, nats_read, nats_publish_asking},
    {"nats-ws", "bench.>", nats_ws_greet, nats_ws_join, nats_ws_publish, nats_ws_read, NULL},
    {"jetstream", NULL, nats_greet, NULL, nats_publish, jetstream_read, nats_publish_asking},
    {"jetstream-queue", NULL, queue_greet, queue_join, queue_publish, queue_read, NULL},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
