/* SPDX-License-Identifier: Apache-2.0 */
/* Subscriptions: what is asked, where each stream is. */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"

/* Where the id stands in the client's array, or would: ids only grow, so it is sorted by being appended to.
 */
static size_t
bb_sub_index(const struct bb_client *client, uint64_t id)
{
    size_t low = 0, high = client->n_subs;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (client->subs[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct bb_subscription *
bb_sub_find(struct bb_client *client, uint64_t id)
{
    size_t i = bb_sub_index(client, id);

    return i < client->n_subs && client->subs[i]->id == id ? client->subs[i] : NULL;
}

static struct bb_subscription *
bb_sub_free(struct bb_subscription *sub)
{
    if (sub == NULL)
        return NULL;
    buf_fini(&sub->filters);
    buf_fini(&sub->role);
    free(sub->cursor);
    free(sub);
    return NULL;
}

int
bb_sub_set_cursor(struct bb_subscription *sub, const char *cursor)
{
    size_t n = strlen(cursor) + 1;

    if (n > sub->cursor_cap) {
        char *grown = realloc(sub->cursor, n + 16); /* the digits grow slowly */

        if (grown == NULL)
            return -ENOMEM;
        sub->cursor = grown;
        sub->cursor_cap = n + 16;
    }
    memcpy(sub->cursor, cursor, n);
    return 0;
}

void
bb_sub_put_request(const struct bb_subscription *sub, struct buf *out)
{
    buf_printf(out, "{\"op\":\"sub\",\"id\":%llu,\"topic\":", (unsigned long long)sub->id);
    buf_put_slice(out, buf_slice(&sub->filters));
    if (sub->cursor != NULL) {
        buf_put_str(out, ",\"since\":");
        json_put_string(out, slice_str(sub->cursor));
    } else if (sub->last > 0) {
        buf_printf(out, ",\"last\":%llu", (unsigned long long)sub->last);
    }
    buf_put_slice(out, buf_slice(&sub->role));
    buf_put_str(out, "}\n");
}

static bool
bb_sub_takes_work(const struct bb_subscribe_options *options)
{
    return options != NULL && (options->group != NULL || options->responds);
}

/* What a subscription takes part in beside getting messages. */
static int
bb_sub_check_role(const struct bb_subscribe_options *options, size_t n_filters)
{
    const char *info = options->member_info;

    if (bb_sub_takes_work(options) && (n_filters != 1 || options->presence || options->last > 0 ||
                                          (options->responds && options->since != NULL) ||
                                          (options->group != NULL && !bb_is_utf8(options->group))))
        return -EINVAL;
    if (options->member != NULL && !bb_is_utf8(options->member))
        return -EINVAL;
    if (info != NULL && json_check(info, strlen(info), JSON_MAX_DEPTH - 2, NULL) < 0)
        return -EINVAL;
    return 0;
}

static void
bb_sub_put_role(struct bb_subscription *sub, const struct bb_subscribe_options *options)
{
    struct buf *out = &sub->role;

    sub->takes_work = bb_sub_takes_work(options);
    if (options->responds)
        buf_put_str(out, ",\"respond\":true");
    if (options->group != NULL)
        bb_put_pair(out, "group", options->group);
    if (options->prefetch > 0)
        buf_printf(out, ",\"prefetch\":%u", (unsigned)options->prefetch);
    if (!options->presence)
        return;
    if (options->member == NULL) {
        buf_put_str(out, ",\"presence\":true");
        return;
    }
    buf_put_str(out, ",\"presence\":{\"id\":");
    json_put_string(out, slice_str(options->member));
    if (options->member_info != NULL) {
        buf_put_str(out, ",\"info\":");
        bb_put_json(out, slice_str(options->member_info));
    }
    buf_put_byte(out, '}');
}

static int
bb_sub_check(const struct bb_client *client, const char *const *filters, size_t n,
    const struct bb_subscribe_options *options)
{
    if (n == 0 || n > BB_FILTERS_MAX)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (filters[i] == NULL || !bb_is_utf8(filters[i]))
            return -EINVAL;
    }
    if (options != NULL && options->since != NULL && (options->last > 0 || !bb_is_utf8(options->since)))
        return -EINVAL;
    if (options != NULL && bb_sub_check_role(options, n) < 0)
        return -EINVAL;
    if (client->is_closed)
        return -ECANCELED;
    return client->control.n > BB_CONTROL_MAX ? -ENOBUFS : 0;
}

static int
bb_sub_append(struct bb_client *client, struct bb_subscription *sub)
{
    if (client->n_subs == client->cap_subs) {
        size_t cap = client->cap_subs == 0 ? 8 : client->cap_subs * 2;
        struct bb_subscription **grown = reallocarray(client->subs, cap, sizeof *grown);

        if (grown == NULL)
            return -ENOMEM;
        client->subs = grown;
        client->cap_subs = cap;
    }
    sub->id = client->next_id++;
    client->subs[client->n_subs++] = sub;
    return 0;
}

int
bb_subscribe(struct bb_client *client, const char *const *filters, size_t n,
    const struct bb_subscribe_options *options, bb_message_fn on_message, bb_event_fn on_event, void *arg,
    struct bb_subscription **ret)
{
    struct bb_subscription *sub;
    int r = bb_sub_check(client, filters, n, options);

    if (r < 0)
        return r;
    sub = calloc(1, sizeof *sub);
    if (sub == NULL)
        return -ENOMEM;
    sub->client = client;
    sub->on_message = on_message;
    sub->on_event = on_event;
    sub->arg = arg;
    sub->last = options != NULL ? options->last : 0;
    buf_init(&sub->filters, 0);
    buf_init(&sub->role, 0);
    if (options != NULL) {
        bb_sub_put_role(sub, options);
        sub->on_presence = options->on_presence;
    }
    for (size_t i = 0; i < n; i++) {
        buf_put_byte(&sub->filters, i == 0 ? '[' : ',');
        json_put_string(&sub->filters, slice_str(filters[i]));
    }
    buf_put_byte(&sub->filters, ']');
    if (options != NULL && options->since != NULL)
        r = bb_sub_set_cursor(sub, options->since);
    if (r == 0 && (buf_failed(&sub->filters) || buf_failed(&sub->role)))
        r = -ENOMEM;
    if (r == 0)
        r = bb_sub_append(client, sub);
    if (r < 0) {
        bb_sub_free(sub);
        return r;
    }
    if (client->is_connected)
        bb_sub_put_request(sub, &client->control);
    bb_want_write(client);
    if (ret != NULL)
        *ret = sub;
    return 0;
}

/* Freed at once, unless a callback that may be this subscription's is on the stack. */
static void
bb_sub_end(struct bb_client *client, struct bb_subscription *sub)
{
    sub->is_ended = true;
    sub->next_dead = client->dead;
    client->dead = sub;
    if (client->n_busy == 0)
        bb_bury(client);
}

void
bb_unsubscribe(struct bb_subscription *sub)
{
    struct bb_client *client;
    size_t i;

    if (sub == NULL || sub->is_ended)
        return;
    client = sub->client;
    i = bb_sub_index(client, sub->id);
    memmove(&client->subs[i], &client->subs[i + 1], (client->n_subs - i - 1) * sizeof *client->subs);
    client->n_subs--;
    if (client->is_connected && !sub->is_refused) {
        buf_printf(&client->control, "{\"op\":\"unsub\",\"id\":%llu}\n", (unsigned long long)sub->id);
        bb_want_write(client);
    }
    bb_sub_end(client, sub);
}

const char *
bb_subscription_cursor(const struct bb_subscription *sub)
{
    return sub->cursor;
}

void
bb_sub_tell(struct bb_subscription *sub, const struct bb_event *event)
{
    if (sub->on_event != NULL)
        sub->on_event(sub, event, sub->arg);
}

void
bb_subs_fini(struct bb_client *client)
{
    while (client->n_subs > 0)
        bb_sub_end(client, client->subs[--client->n_subs]);
    free(client->subs);
    client->subs = NULL;
    client->cap_subs = 0;
}

void
bb_bury(struct bb_client *client)
{
    while (client->dead != NULL) {
        struct bb_subscription *next = client->dead->next_dead;

        bb_sub_free(client->dead);
        client->dead = next;
    }
}
