/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a client: options, callbacks, and who frees what when a callback ends its own client. */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/rand.h"

uint64_t
bb_now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void
bb_options_complete(struct bb_options *o)
{
#define DEFAULT(field, value) o->field = o->field == 0 ? (value) : o->field
    DEFAULT(min_delay_ms, 200);
    DEFAULT(max_delay_ms, 10000);
    DEFAULT(connect_timeout_ms, 10000);
    DEFAULT(ping_after_ms, 25000);
    DEFAULT(pong_timeout_ms, 10000);
    DEFAULT(max_pending, 1000);
    DEFAULT(max_pending_bytes, (size_t)16 << 20);
    DEFAULT(max_message_bytes, (size_t)32 << 20);
#undef DEFAULT
    if (o->max_delay_ms < o->min_delay_ms)
        o->max_delay_ms = o->min_delay_ms;
}

int
bb_client_new(struct event_base *base, const struct bb_options *options, struct bb_client **ret)
{
    struct bb_client *client = calloc(1, sizeof *client);
    uint64_t random;

    if (client == NULL)
        return -ENOMEM;
    client->timer = evtimer_new(base, bb_on_timer, client);
    if (client->timer == NULL) {
        free(client);
        return -ENOMEM;
    }
    client->base = base;
    if (options != NULL)
        client->options = *options;
    bb_options_complete(&client->options);
    client->state = BB_WAITING;
    client->fd = -1;
    client->next_id = 1;
    buf_init(&client->out, 0);
    buf_init(&client->control, 0);
    buf_init(&client->in, client->options.max_message_bytes + BB_READ_BYTES);
    buf_init(&client->text, 0);
    list_init(&client->pending);
    list_init(&client->queries);
    list_init(&client->asks);
    client->asks_due_ms = UINT64_MAX;
    client->unsent = &client->pending;
    rand_bytes(&random, sizeof random);
    (void)snprintf(client->once_prefix, sizeof client->once_prefix, "%016llx", (unsigned long long)random);
    *ret = client;
    return 0;
}

static void
bb_free(struct bb_client *client)
{
    bb_bury(client);
    buf_fini(&client->out);
    buf_fini(&client->control);
    buf_fini(&client->in);
    buf_fini(&client->text);
    event_free(client->timer);
    free(client);
}

struct bb_client *
bb_close(struct bb_client *client)
{
    static const struct bb_result canceled = {.error = -ECANCELED};

    if (client == NULL || client->is_closed)
        return NULL;
    bb_enter(client);
    client->is_closed = true; /* nothing can be asked any more, so the lists only shrink */
    bb_connect_fini(client);
    while (!list_empty(&client->pending))
        bb_pending_end(client, list_entry(client->pending.next, struct bb_pending, in_pending), &canceled);
    while (!list_empty(&client->queries))
        bb_query_end(client, list_entry(client->queries.next, struct bb_query, in_queries), &canceled);
    bb_asks_fini(client);
    bb_subs_fini(client);
    bb_tell_state(client, BB_CLOSED, NULL);
    bb_leave(client);
    return NULL;
}

void
bb_enter(struct bb_client *client)
{
    client->n_busy++;
}

void
bb_leave(struct bb_client *client)
{
    if (--client->n_busy > 0)
        return;
    if (client->is_closed)
        bb_free(client);
    else
        bb_bury(client);
}

void
bb_tell_state(struct bb_client *client, enum bb_state state, const char *why)
{
    client->state = state;
    if (client->options.on_state != NULL)
        client->options.on_state(client, state, why, client->options.arg);
}

enum bb_state
bb_client_state(const struct bb_client *client)
{
    return client->state;
}

size_t
bb_pending(const struct bb_client *client, size_t *ret_bytes)
{
    if (ret_bytes != NULL)
        *ret_bytes = client->n_pending_bytes;
    return client->n_pending;
}
