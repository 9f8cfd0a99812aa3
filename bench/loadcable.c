/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action Cable as the load generator speaks it. The channel BenchChannel streams bench/{room}.
 *
 *     cable          to the bus and to Rails alike: who publishes has a subscription too, and performs
 * `speak`, with the payload as `body` busbar-cable   who publishes speaks the bus's own protocol at /ws
 */
#include "config.h"

#include "bench/loadws.h"

#include <stdio.h>
#include <string.h>

#define IDENTIFIER "\"{\\\"channel\\\":\\\"BenchChannel\\\",\\\"room\\\":\\\"%u\\\"}\""

static char text[MAX_PAYLOAD + 512];

static void
cable_subscribe(struct client *c, uint32_t room)
{
    int n = snprintf(text, sizeof text, "{\"command\":\"subscribe\",\"identifier\":" IDENTIFIER "}", room);
    ws_write(c, WS_TEXT, text, (size_t)n);
}

static void
cable_greet(struct client *c)
{
    ws_upgrade(c, "/cable", "actioncable-v1-json");
}

static void
cable_join(struct client *c)
{
    for (uint32_t i = 0; i < c->n_streams; i++)
        cable_subscribe(c, load_topic(c, i));
}

/* As the stock client: it asks for nothing before it is welcome. */
static int
cable_message(struct client *c, const uint8_t *p, size_t n)
{
    const uint8_t *mark = load_find(p, n, MARK);
    if (mark != NULL)
        load_delivered(c, mark, n - (size_t)(mark - p));
    else if (load_find(p, n, "\"confirm_subscription\"") != NULL)
        load_joined(c);
    else if (load_find(p, n, "\"welcome\"") != NULL)
        load_greeted(c);
    else if (load_find(p, n, "\"reject_subscription\"") != NULL || load_find(p, n, "\"disconnect\"") != NULL)
        return -1;
    return 0; /* ping */
}

/* The answer to the upgrade, then frames. */
static ssize_t
read_with(struct client *c, const uint8_t *p, size_t n,
    int (*on_message)(struct client *c, const uint8_t *p, size_t n))
{
    if (c->phase != PHASE_GREET)
        return ws_read(c, p, n, on_message);
    ssize_t head = ws_read_head(p, n);
    if (head > 0)
        c->phase = PHASE_JOIN;
    return head;
}

/* ---- Who publishes by performing ---- */

static void
speak(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    int head = snprintf(text, sizeof text,
        "{\"command\":\"message\",\"identifier\":" IDENTIFIER ",\"data\":\"{\\\"action\\\":\\\"speak\\\","
        "\\\"body\\\":\\\"",
        topic);
    static const char tail[] = "\\\"}\"}";

    memcpy(text + head, payload, n);
    memcpy(text + head + n, tail, sizeof tail - 1);
    ws_write(c, WS_TEXT, text, (size_t)head + n + sizeof tail - 1);
}

/* It hears itself, which counts for nothing. */
static int
speaker_message(struct client *c, const uint8_t *p, size_t n)
{
    if (load_find(p, n, MARK) != NULL)
        return 0;
    if (load_find(p, n, "\"welcome\"") != NULL)
        cable_subscribe(c, c->stream);
    else if (load_find(p, n, "\"confirm_subscription\"") != NULL)
        load_ready(c);
    else if (load_find(p, n, "\"reject_subscription\"") != NULL || load_find(p, n, "\"disconnect\"") != NULL)
        return -1;
    return 0;
}

static ssize_t
cable_read(struct client *c, const uint8_t *p, size_t n)
{
    return read_with(c, p, n, c->is_publisher ? speaker_message : cable_message);
}

/* ---- Who publishes natively ---- */

static const struct protocol *const native = &busbar_protocols[0]; /* busbar-ws */

static void
mixed_greet(struct client *c)
{
    if (c->is_publisher)
        native->greet(c);
    else
        cable_greet(c);
}

static void
mixed_publish(struct client *c, uint32_t topic, const char *payload, size_t n)
{
    native->publish(c, topic, payload, n);
}

static ssize_t
mixed_read(struct client *c, const uint8_t *p, size_t n)
{
    return c->is_publisher ? native->read(c, p, n) : read_with(c, p, n, cable_message);
}

const struct protocol cable_protocols[] = {
    {"cable", NULL, cable_greet, cable_join, speak, cable_read, NULL},
    {"busbar-cable", NULL, mixed_greet, cable_join, mixed_publish, mixed_read, NULL},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
