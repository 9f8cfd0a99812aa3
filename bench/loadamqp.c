/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMQP 0-9-1 for the load generator, as much as a queue needs: publishers with confirmations and persistent
 * messages to the queue "bench", consumers with a prefetch that acknowledge each message. Section numbers are
 * those of the specification's reference.
 */
#include "config.h"

#include "bench/load.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define METHOD(class, method) ((uint32_t)(class) << 16 | (method))
#define FRAME_END 0xce
#define FRAME_MAX 131072
#define PREFETCH 200
#define QUEUE "bench"

enum kind { KIND_METHOD = 1, KIND_HEADER = 2, KIND_BODY = 3, KIND_HEARTBEAT = 8 };

static struct {
    uint8_t bytes[MAX_PAYLOAD + 256];
    size_t n;
} out;

static void
put(uint64_t v, int n_bytes)
{
    for (int i = n_bytes - 1; i >= 0; i--)
        out.bytes[out.n++] = (uint8_t)(v >> (8 * i));
}

static void
put_short(const char *s)
{
    put(strlen(s), 1);
    memcpy(out.bytes + out.n, s, strlen(s));
    out.n += strlen(s);
}

static uint64_t
get(const uint8_t *p, int n_bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < n_bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static void
begin(enum kind kind, int channel)
{
    out.n = 0;
    put(kind, 1);
    put((uint64_t)channel, 2);
    put(0, 4); /* the size, by end() */
}

static void
begin_method(int channel, uint32_t method)
{
    begin(KIND_METHOD, channel);
    put(method, 4);
}

static void
end(struct client *c)
{
    size_t n = out.n;
    out.n = 3;
    put(n - 7, 4);
    out.n = n;
    put(FRAME_END, 1);
    load_write(c, out.bytes, out.n);
}

static void
amqp_greet(struct client *c)
{
    load_write(c, "AMQP\0\0\11\1", 8);
}

static void
start_ok(struct client *c)
{
    begin_method(0, METHOD(10, 11));
    put(0, 4); /* no properties */
    put_short("PLAIN");
    put(12, 4);
    memcpy(out.bytes + out.n, "\0guest\0guest", 12);
    out.n += 12;
    put_short("en_US");
    end(c);
}

static void
tune_ok_and_open(struct client *c)
{
    begin_method(0, METHOD(10, 31));
    put(1, 2); /* channels */
    put(FRAME_MAX, 4);
    put(0, 2); /* no heartbeats */
    end(c);
    begin_method(0, METHOD(10, 40));
    put_short("/");
    put(0, 2);
    end(c);
}

static void
open_channel(struct client *c)
{
    begin_method(1, METHOD(20, 10));
    put_short("");
    end(c);
}

static void
declare_queue(struct client *c)
{
    begin_method(1, METHOD(50, 10));
    put(0, 2);
    put_short(QUEUE);
    put(2, 1); /* durable */
    put(0, 4);
    end(c);
}

static void
select_confirmations(struct client *c)
{
    begin_method(1, METHOD(85, 10));
    put(0, 1);
    end(c);
}

/* basic.qos and basic.consume. */
static void
amqp_join(struct client *c)
{
    begin_method(1, METHOD(60, 10));
    put(0, 4);
    put(PREFETCH, 2);
    put(0, 1);
    end(c);
    begin_method(1, METHOD(60, 20));
    put(0, 2);
    put_short(QUEUE);
    put_short("");
    put(0, 1);
    put(0, 4);
    end(c);
}

static void
amqp_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    (void)topic;
    begin_method(1, METHOD(60, 40));
    put(0, 2);
    put_short(""); /* the default exchange: to the queue of that name */
    put_short(QUEUE);
    put(0, 1);
    end(c);
    begin(KIND_HEADER, 1);
    put(60, 2);
    put(0, 2);
    put(n, 8);
    put(0x1000, 2); /* delivery-mode follows: persistent */
    put(2, 1);
    end(c);
    begin(KIND_BODY, 1);
    memcpy(out.bytes + out.n, payload, n);
    out.n += n;
    end(c);
}

static void
amqp_publish_asking(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n)
{
    (void)number; /* the n-th publish has the delivery tag n */
    amqp_publish(c, topic, payload, n);
}

static void
acknowledge(struct client *c, uint64_t tag)
{
    begin_method(1, METHOD(60, 80));
    put(tag, 8);
    put(0, 1);
    end(c);
}

/* A confirmation of one publish, or of all up to it. */
static void
on_confirmation(struct client *c, uint64_t tag, bool is_multiple)
{
    if (!run.is_acks)
        return;
    if (!is_multiple) {
        load_acked(c, tag - 1);
        return;
    }
    struct stream *s = &run.streams[c->stream];
    for (uint64_t number = s->done; number < tag; number++)
        if (s->missing[number % option.window] > 0)
            load_acked(c, number);
}

/* The handshake goes on by itself: each answer of the server's leads to the next request. */
static int
on_method(struct client *c, const uint8_t *p, size_t n)
{
    switch (get(p, 4)) {
    case METHOD(10, 10):
        start_ok(c);
        return 0;
    case METHOD(10, 30):
        tune_ok_and_open(c);
        return 0;
    case METHOD(10, 41):
        open_channel(c);
        return 0;
    case METHOD(20, 11):
        declare_queue(c);
        return 0;
    case METHOD(50, 11):
        if (c->is_publisher)
            select_confirmations(c);
        else
            load_greeted(c);
        return 0;
    case METHOD(85, 11):
        load_greeted(c);
        return 0;
    case METHOD(60, 11):
        return 0;
    case METHOD(60, 21):
        load_ready(c);
        return 0;
    case METHOD(60, 60): /* deliver: the tag comes after the consumer's, the payload in a frame of its own */
        c->n_answers = get(p + 4 + 1 + p[4], 8);
        return n > 13u + p[4] ? 0 : -1;
    case METHOD(60, 80):
        on_confirmation(c, get(p + 4, 8), p[12] & 1);
        return 0;
    default:
        return -1;
    }
}

static ssize_t
amqp_read(struct client *c, const uint8_t *p, size_t n)
{
    if (n < 7)
        return 0;
    size_t size = get(p + 3, 4);
    if (size > FRAME_MAX)
        return -1;
    if (n < size + 8)
        return 0;
    if (p[0] == KIND_METHOD && on_method(c, p + 7, size) < 0)
        return -1;
    if (p[0] == KIND_BODY) {
        acknowledge(c, c->n_answers);
        load_taken(p + 7, size);
    }
    return (ssize_t)(size + 8);
}

const struct protocol amqp_protocols[] = {
    {"amqp", NULL, amqp_greet, amqp_join, amqp_publish, amqp_read, amqp_publish_asking},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
