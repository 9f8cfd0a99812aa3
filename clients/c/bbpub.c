/* SPDX-License-Identifier: Apache-2.0 */
/* Publishes: each is written as its line once, when it is asked for, and kept until it is answered. */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/utf8.h"

bool
bb_is_utf8(const char *s)
{
    return utf8_is_valid(s, strlen(s));
}

/* ---- Checks. ---- */

/* application/json or anything +json, parameters aside: the server reads a JSON string of such a type as
 * JSON. */
bool
bb_is_json_type(const char *type)
{
    size_t n = strcspn(type, ";");

    while (n > 0 && type[n - 1] == ' ')
        n--;
    if (n == strlen("application/json"))
        return strncasecmp(type, "application/json", n) == 0;
    return n > strlen("+json") && strncasecmp(type + n - strlen("+json"), "+json", strlen("+json")) == 0;
}

static struct slice
bb_without_space(struct slice s)
{
    while (s.n > 0 && strchr(" \t\r\n", s.p[0]) != NULL) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && strchr(" \t\r\n", s.p[s.n - 1]) != NULL)
        s.n--;
    return s;
}

static int
bb_check_body(const struct bb_payload *payload)
{
    bool is_json_type = payload->type != NULL && bb_is_json_type(payload->type);
    struct slice body = bb_without_space(slice_of(payload->data, payload->len));

    switch (payload->kind) {
    case BB_TEXT:
        if (!utf8_is_valid(payload->data, payload->len))
            return -EILSEQ;
        return is_json_type ? -EINVAL : 0;
    case BB_JSON:
        if (json_check(payload->data, payload->len, JSON_MAX_DEPTH - 1, NULL) < 0)
            return -EINVAL;
        return body.p[0] == '"' && payload->type != NULL && !is_json_type ? -EINVAL : 0;
    case BB_BINARY:
        return 0;
    }
    return -EINVAL;
}

static int
bb_check_key(const char *key)
{
    if (key != NULL && strlen(key) > BB_KEY_MAX)
        return -EINVAL;
    return key == NULL || bb_is_utf8(key) ? 0 : -EILSEQ;
}

int
bb_check_payload(const char *topic, const struct bb_payload *payload, const char *key, const char *once)
{
    int r;

    if (topic == NULL || payload == NULL || (payload->data == NULL && payload->len > 0) ||
        payload->n_headers > BB_HEADERS_MAX)
        return -EINVAL;
    r = bb_check_body(payload);
    if (r < 0)
        return r;
    r = bb_check_key(key);
    if (r == 0)
        r = bb_check_key(once);
    if (r < 0)
        return r;
    for (size_t i = 0; i < payload->n_headers; i++) {
        if (!bb_is_utf8(payload->headers[i].name) || !bb_is_utf8(payload->headers[i].value))
            return -EILSEQ;
    }
    return bb_is_utf8(topic) && (payload->type == NULL || bb_is_utf8(payload->type)) ? 0 : -EILSEQ;
}

/* Before anything is allocated: the shortest that the line can be. */
static int
bb_check_room(const struct bb_client *client, size_t n_body)
{
    if (client->is_closed)
        return -ECANCELED;
    if (n_body > client->options.max_pending_bytes)
        return -EMSGSIZE;
    if (client->n_pending >= client->options.max_pending ||
        n_body > client->options.max_pending_bytes - client->n_pending_bytes)
        return -ENOBUFS;
    return 0;
}

/* ---- The line. ---- */

void
bb_put_pair(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    json_put_string(out, slice_str(value));
}

static void
bb_put_headers(struct buf *out, const struct bb_payload *payload)
{
    if (payload->n_headers == 0)
        return;
    buf_put_str(out, ",\"headers\":{");
    for (size_t i = 0; i < payload->n_headers; i++) {
        if (i > 0)
            buf_put_byte(out, ',');
        json_put_string(out, slice_str(payload->headers[i].name));
        buf_put_byte(out, ':');
        json_put_string(out, slice_str(payload->headers[i].value));
    }
    buf_put_byte(out, '}');
}

void
bb_put_json(struct buf *out, struct slice body)
{
    size_t at = out->n;

    buf_put_slice(out, body);
    if (buf_failed(out))
        return;
    for (size_t i = at; i < out->n; i++) {
        if (out->p[i] == '\n' || out->p[i] == '\r')
            out->p[i] = ' ';
    }
}

static void
bb_put_body(struct buf *out, const struct bb_payload *payload)
{
    struct slice body = slice_of(payload->data, payload->len);

    switch (payload->kind) {
    case BB_TEXT:
        buf_put_str(out, ",\"data\":");
        json_put_string(out, body);
        break;
    case BB_JSON:
        body = bb_without_space(body);
        if (body.p[0] == '"' && payload->type == NULL)
            bb_put_pair(out, "type", "application/json"); /* without it a JSON string is text */
        buf_put_str(out, ",\"data\":");
        bb_put_json(out, body);
        break;
    case BB_BINARY:
        buf_put_str(out, ",\"encoding\":\"base64\",\"data\":\"");
        base64_put(out, body);
        buf_put_byte(out, '"');
        break;
    }
}

void
bb_put_payload(struct buf *out, const struct bb_payload *payload)
{
    if (payload->type != NULL)
        bb_put_pair(out, "type", payload->type);
    bb_put_headers(out, payload);
    bb_put_body(out, payload);
}

static void
bb_put_publish(struct bb_client *client, struct buf *out, uint64_t id, const char *topic,
    const struct bb_payload *payload, const struct bb_publish_options *options)
{
    (void)buf_reserve(out, payload->len + 200);
    buf_printf(out, "{\"op\":\"pub\",\"id\":%llu", (unsigned long long)id);
    bb_put_pair(out, "topic", topic);
    if (options != NULL && options->key != NULL)
        bb_put_pair(out, "key", options->key);
    if (options != NULL && options->once != NULL)
        bb_put_pair(out, "once", options->once);
    else if (options == NULL || options->key == NULL)
        buf_printf(out, ",\"once\":\"%s-%llu\"", client->once_prefix, (unsigned long long)id);
    if (options != NULL && options->is_retain)
        buf_put_str(out, ",\"retain\":true");
    if (options != NULL && options->ttl_ms > 0)
        buf_printf(out, ",\"ttl\":%llu", (unsigned long long)options->ttl_ms);
    if (options != NULL && options->delay_ms > 0)
        buf_printf(out, ",\"delay\":%llu", (unsigned long long)options->delay_ms);
    bb_put_payload(out, payload);
    buf_put_str(out, "}\n");
}

/* ---- The list. ---- */

static int
bb_pending_append(
    struct bb_client *client, struct buf *line, uint64_t id, bb_published_fn on_published, void *arg)
{
    struct bb_pending *pending;
    int r = bb_check_room(client, line->n);

    if (r < 0)
        return r;
    pending = calloc(1, sizeof *pending);
    if (pending == NULL)
        return -ENOMEM;
    pending->id = id;
    pending->began_ms = bb_now_ms();
    pending->on_published = on_published;
    pending->arg = arg;
    buf_trim(line);
    pending->line = buf_steal(line, &pending->n);
    list_push_back(&client->pending, &pending->in_pending);
    if (client->unsent == &client->pending)
        client->unsent = &pending->in_pending;
    client->n_pending++;
    client->n_pending_bytes += pending->n;
    return 0;
}

int
bb_publish(struct bb_client *client, const char *topic, const struct bb_payload *payload,
    const struct bb_publish_options *options, bb_published_fn on_published, void *arg)
{
    uint64_t id = client->next_id;
    struct buf line;
    int r;

    r = bb_check_payload(
        topic, payload, options != NULL ? options->key : NULL, options != NULL ? options->once : NULL);
    if (r == 0)
        r = bb_check_room(client, payload->len);
    if (r < 0)
        return r;
    buf_init(&line, 0);
    bb_put_publish(client, &line, id, topic, payload, options);
    r = buf_failed(&line) ? -ENOMEM : bb_pending_append(client, &line, id, on_published, arg);
    buf_fini(&line);
    if (r < 0)
        return r;
    client->next_id++;
    bb_want_write(client);
    if (client->options.publish_timeout_ms > 0 && client->n_pending == 1)
        bb_timer_arm(client);
    return 0;
}

int
bb_publish_text(
    struct bb_client *client, const char *topic, const char *text, bb_published_fn on_published, void *arg)
{
    struct bb_payload payload = {.kind = BB_TEXT, .data = text, .len = strlen(text)};

    return bb_publish(client, topic, &payload, NULL, on_published, arg);
}

/* Answers come in the order of the publishes or nearly so: the search ends at once. */
struct bb_pending *
bb_pending_find(struct bb_client *client, uint64_t id)
{
    list_for_each_safe(it, next, &client->pending)
    {
        struct bb_pending *pending = list_entry(it, struct bb_pending, in_pending);

        if (pending->id == id)
            return pending;
        if (pending->id > id)
            break;
    }
    return NULL;
}

void
bb_pending_end(struct bb_client *client, struct bb_pending *pending, const struct bb_result *result)
{
    bb_published_fn on_published = pending->on_published;
    void *arg = pending->arg;

    if (client->unsent == &pending->in_pending)
        client->unsent = client->unsent->next;
    list_remove(&pending->in_pending);
    client->n_pending--;
    client->n_pending_bytes -= pending->n;
    free(pending->line);
    free(pending);
    if (on_published != NULL)
        on_published(client, result, arg);
}
