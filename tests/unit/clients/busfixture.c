/* SPDX-License-Identifier: Apache-2.0 */
/* A client for tests: see busfixture.h. */
#include "config.h"

#include "tests/unit/clients/busfixture.h"

#include <check.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

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

void
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

void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct fixture *f = arg;

    f->n_events[event->type]++;
    for (size_t i = 0; i < event->n_topics; i++)
        note(f, "missing %s%s;", event->topics[i], "");
    if (event->code != NULL)
        snprintf(f->code, sizeof f->code, "%s", event->code);
}

void
on_published(struct bb_client *client, const struct bb_result *result, void *arg)
{
    struct fixture *f = arg;

    f->n_results++;
    f->error = result->error;
    snprintf(f->cursor, sizeof f->cursor, "%s", result->cursor != NULL ? result->cursor : "");
    snprintf(f->code, sizeof f->code, "%s", result->code != NULL ? result->code : "");
}

void
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

void
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

void
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

void
on_presence(struct bb_subscription *sub, const char *topic, const char *json, size_t len, void *arg)
{
    struct fixture *f = arg;

    ck_assert_uint_eq(strlen(json), len);
    f->n_messages++;
    note(f, "%s: %s;", topic, json);
}

void
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

void
connected(struct fixture *f)
{
    ck_assert_int_eq(bb_connect(f->bus, "127.0.0.1", f->server.port), 0);
    ck_assert_uint_eq(f->n_states[BB_CONNECTING], 0); /* no callback from inside a call */
    loop_until(f->base, &f->n_states[BB_OPEN], 1);
}

void
finish(struct fixture *f)
{
    if (f->bus != NULL) {
        f->bus = bb_close(f->bus);
        ck_assert_uint_eq(f->n_states[BB_CLOSED], 1);
    }
    server_fini(&f->server);
    event_base_free(f->base);
}

void
subscribe(struct fixture *f, const char *filter, const struct bb_subscribe_options *options)
{
    ck_assert_int_eq(bb_subscribe(f->bus, &filter, 1, options, on_message, on_event, f, &f->sub), 0);
}
