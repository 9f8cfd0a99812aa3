/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of topics: page after page, each beginning after the last topic that was told, on whichever
 * connection. */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"

static struct bb_query *
bb_query_free(struct bb_query *query)
{
    buf_fini(&query->filter);
    buf_fini(&query->after);
    free(query);
    return NULL;
}

void
bb_query_put_request(const struct bb_query *query, struct buf *out)
{
    buf_printf(out, "{\"op\":\"topics\",\"id\":%llu,\"filter\":", (unsigned long long)query->id);
    json_put_string(out, buf_slice(&query->filter));
    if (query->after.n > 0) {
        buf_put_str(out, ",\"after\":");
        json_put_string(out, buf_slice(&query->after));
    }
    buf_printf(out, ",\"limit\":%u}\n", BB_TOPICS_PAGE);
}

static void
bb_query_ask(struct bb_client *client, struct bb_query *query)
{
    query->has_progress = false;
    if (client->is_connected)
        bb_query_put_request(query, &client->control);
    bb_want_write(client);
}

int
bb_topics(struct bb_client *client, const char *filter, bb_topic_fn on_topic, void *arg)
{
    struct bb_query *query;

    if (filter == NULL)
        filter = "#";
    if (!bb_is_utf8(filter))
        return -EILSEQ;
    if (client->is_closed)
        return -ECANCELED;
    if (client->n_queries >= client->options.max_pending || client->control.n > BB_CONTROL_MAX)
        return -ENOBUFS;
    query = calloc(1, sizeof *query);
    if (query == NULL)
        return -ENOMEM;
    buf_init(&query->filter, 0);
    buf_init(&query->after, 0);
    buf_put_str(&query->filter, filter);
    if (buf_failed(&query->filter)) {
        bb_query_free(query);
        return -ENOMEM;
    }
    query->id = client->next_id++;
    query->began_ms = bb_now_ms();
    query->on_topic = on_topic;
    query->arg = arg;
    list_push_back(&client->queries, &query->in_queries);
    client->n_queries++;
    bb_query_ask(client, query);
    if (client->options.publish_timeout_ms > 0)
        bb_timer_arm(client);
    return 0;
}

struct bb_query *
bb_query_find(struct bb_client *client, uint64_t id)
{
    list_for_each_safe(it, next, &client->queries)
    {
        struct bb_query *query = list_entry(it, struct bb_query, in_queries);

        if (query->id == id)
            return query;
    }
    return NULL;
}

void
bb_query_tell(struct bb_client *client, struct bb_query *query, const struct bb_topic *topic)
{
    buf_reset(&query->after);
    buf_put_str(&query->after, topic->topic);
    query->has_progress = true;
    query->on_topic(client, topic, NULL, query->arg);
}

void
bb_query_page_end(struct bb_client *client, struct bb_query *query, bool has_more)
{
    struct bb_result result = {0};

    if (has_more && query->has_progress && !buf_failed(&query->after)) {
        bb_query_ask(client, query);
        return;
    }
    if (has_more) /* more of nothing would be asked for ever */
        result.error = buf_failed(&query->after) ? -ENOMEM : -EPROTO;
    bb_query_end(client, query, &result);
}

void
bb_query_end(struct bb_client *client, struct bb_query *query, const struct bb_result *result)
{
    bb_topic_fn on_topic = query->on_topic;
    void *arg = query->arg;

    list_remove(&query->in_queries);
    client->n_queries--;
    bb_query_free(query);
    on_topic(client, NULL, result, arg);
}
