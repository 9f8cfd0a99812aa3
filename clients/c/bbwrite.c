/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes to the socket. Publishes stand in the client's list as whole lines; they are copied to `out` as
 * it drains, so that a thousand of them take one write and none of them takes memory twice for long.
 */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>

void
bb_want_write(struct bb_client *client)
{
    if (client->is_connected)
        (void)event_add(client->write_event, NULL);
}

/* The next piece: what was asked before, then publishes. */
static void
bb_fill(struct bb_client *client)
{
    buf_reset(&client->out);
    client->out_at = 0;
    buf_put_slice(&client->out, buf_slice(&client->control));
    if (buf_failed(&client->out))
        return;
    buf_reset(&client->control);
    while (client->unsent != &client->pending && client->out.n < BB_WRITE_BYTES) {
        struct bb_pending *pending = list_entry(client->unsent, struct bb_pending, in_pending);

        buf_put(&client->out, pending->line, pending->n);
        if (buf_failed(&client->out))
            return;
        client->unsent = client->unsent->next;
    }
}

int
bb_write(struct bb_client *client)
{
    size_t written = 0;
    ssize_t n;

    if (buf_failed(&client->control))
        return -ENOMEM;
    for (;;) {
        if (client->out_at == client->out.n) {
            bb_fill(client);
            if (buf_failed(&client->out))
                return -ENOMEM;
            if (client->out.n == 0) {
                buf_trim(&client->out);
                return 0;
            }
        }
        n = send(client->fd, client->out.p + client->out_at, client->out.n - client->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return -errno;
        if (n > 0) {
            client->out_at += (size_t)n;
            written += (size_t)n;
        }
        if (n < 0 || written >= BB_READ_BYTES) /* full, or enough for one turn */
            return event_add(client->write_event, NULL) < 0 ? -ENOMEM : 0;
    }
}

void
bb_say_again(struct bb_client *client)
{
    buf_put_str(&client->control, "{\"op\":\"hello\"}\n");
    for (size_t i = 0; i < client->n_subs; i++) {
        client->subs[i]->is_put_off = false;
        if (!client->subs[i]->is_refused)
            bb_sub_put_request(client->subs[i], &client->control);
    }
    list_for_each_safe(it, next, &client->queries)
    {
        list_entry(it, struct bb_query, in_queries)->is_put_off = false;
        bb_query_put_request(list_entry(it, struct bb_query, in_queries), &client->control);
    }
    bb_asks_say(client);
    client->unsent = client->pending.next;
}

void
bb_say_put_off(struct bb_client *client)
{
    for (size_t i = 0; i < client->n_subs; i++) {
        if (client->subs[i]->is_put_off)
            bb_sub_put_request(client->subs[i], &client->control);
        client->subs[i]->is_put_off = false;
    }
    list_for_each_safe(it, next, &client->queries)
    {
        struct bb_query *query = list_entry(it, struct bb_query, in_queries);

        if (query->is_put_off)
            bb_query_put_request(query, &client->control);
        query->is_put_off = false;
    }
    client->unsent = client->pending.next; /* their keys make more of it harmless */
    bb_want_write(client);
}
