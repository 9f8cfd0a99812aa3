/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said once. Nobody knows whether it was done when a connection was lost before the answer, and it
 * may be no harmless thing to do twice: so it is told, and not repeated. What was not said yet waits for a
 * connection.
 */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"

#define REQUEST_USUAL_MS 30000u
#define ANSWER_USUAL_MS 30000u
/* How much later than the server a time is over here. */
#define SLACK_MS 2000u
#define REASON_MAX 1024u

/* ---- The list. ---- */

struct bb_ask *
bb_ask_find(struct bb_client *client, uint64_t id)
{
    list_for_each_safe(it, next, &client->asks)
    {
        struct bb_ask *ask = list_entry(it, struct bb_ask, in_asks);

        if (ask->id == id)
            return ask;
        if (ask->id > id)
            break;
    }
    return NULL;
}

static void
bb_ask_drop_line(struct bb_client *client, struct bb_ask *ask)
{
    client->n_ask_bytes -= ask->line.n;
    buf_fini(&ask->line);
}

void
bb_ask_end(struct bb_client *client, struct bb_ask *ask, const struct bb_answer *answer)
{
    struct bb_ask told = *ask;
    struct bb_result result = {.error = answer->error, .code = answer->code, .text = answer->text};

    bb_ask_drop_line(client, ask);
    list_remove(&ask->in_asks);
    client->n_asks--;
    free(ask);
    if (told.on_answer != NULL)
        told.on_answer(client, answer, told.arg);
    else if (told.on_done != NULL)
        told.on_done(client, &result, told.arg);
    else if (told.on_line != NULL)
        told.on_line(client, NULL, 0, &result, told.arg);
}

void
bb_ask_tell(struct bb_client *client, struct bb_ask *ask, const char *json, size_t n, bool is_last)
{
    static const struct bb_answer done = {0};
    uint64_t id = ask->id;

    if (ask->on_line != NULL)
        ask->on_line(client, json, n, NULL, ask->arg);
    ask = is_last && !client->is_closed ? bb_ask_find(client, id) : NULL;
    if (ask != NULL)
        bb_ask_end(client, ask, &done);
}

static void
bb_ask_fail(struct bb_client *client, struct bb_ask *ask, int error)
{
    const struct bb_answer answer = {.error = error};

    bb_ask_end(client, ask, &answer);
}

/* ---- Saying. ---- */

static void
bb_ask_say(struct bb_client *client, struct bb_ask *ask)
{
    buf_put_slice(&client->control, buf_slice(&ask->line));
    bb_ask_drop_line(client, ask);
    bb_want_write(client);
}

void
bb_asks_say(struct bb_client *client)
{
    list_for_each_safe(it, next, &client->asks)
    {
        struct bb_ask *ask = list_entry(it, struct bb_ask, in_asks);

        if (ask->line.n > 0)
            bb_ask_say(client, ask);
    }
}

void
bb_asks_lost(struct bb_client *client)
{
    bool is_any = true;

    while (is_any && !client->is_closed) {
        is_any = false;
        for (struct list *it = client->asks.next; it != &client->asks && !is_any; it = it->next) {
            struct bb_ask *ask = list_entry(it, struct bb_ask, in_asks);

            is_any = ask->line.n == 0;
            if (is_any)
                bb_ask_fail(client, ask, -ECONNRESET); /* the list may be another one after */
        }
    }
}

void
bb_asks_end_late(struct bb_client *client, uint64_t now)
{
    bool is_any = now >= client->asks_due_ms;
    uint64_t due_ms;

    while (is_any && !client->is_closed) {
        is_any = false;
        due_ms = UINT64_MAX;
        for (struct list *it = client->asks.next; it != &client->asks && !is_any; it = it->next) {
            struct bb_ask *ask = list_entry(it, struct bb_ask, in_asks);

            is_any = now >= ask->due_ms;
            due_ms = ask->due_ms < due_ms ? ask->due_ms : due_ms;
            if (is_any)
                bb_ask_fail(client, ask, -ETIMEDOUT);
        }
        if (!is_any)
            client->asks_due_ms = due_ms;
    }
}

void
bb_asks_fini(struct bb_client *client)
{
    while (!list_empty(&client->asks))
        bb_ask_fail(client, list_entry(client->asks.next, struct bb_ask, in_asks), -ECANCELED);
}

/* Takes the line, whose id is the client's next. */
static int
bb_ask_start(struct bb_client *client, struct buf *line, uint64_t time_ms, const struct bb_ask *functions)
{
    struct bb_ask *ask = NULL;
    int r = 0;

    buf_put_str(line, "}\n");
    if (client->is_closed)
        r = -ECANCELED;
    else if (buf_failed(line))
        r = -ENOMEM;
    else if (line->n > client->options.max_pending_bytes)
        r = -EMSGSIZE;
    else if (client->n_asks >= client->options.max_pending ||
             line->n > client->options.max_pending_bytes - client->n_ask_bytes ||
             client->control.n > client->options.max_pending_bytes - line->n)
        r = -ENOBUFS;
    else if ((ask = malloc(sizeof *ask)) == NULL)
        r = -ENOMEM;
    if (r < 0) {
        buf_fini(line);
        return r;
    }
    *ask = *functions;
    ask->id = client->next_id++;
    ask->due_ms = bb_now_ms() + time_ms + SLACK_MS;
    ask->line = *line; /* now the ask's */
    client->n_ask_bytes += line->n;
    list_push_back(&client->asks, &ask->in_asks);
    client->n_asks++;
    if (client->is_connected)
        bb_ask_say(client, ask);
    if (ask->due_ms < client->asks_due_ms) {
        client->asks_due_ms = ask->due_ms;
        bb_timer_arm(client);
    }
    return 0;
}

/* Begins a line with the id that bb_ask_start() gives. */
static void
bb_ask_begin(const struct bb_client *client, struct buf *out, const char *op)
{
    buf_init(out, 0);
    buf_printf(out, "{\"op\":\"%s\",\"id\":%llu", op, (unsigned long long)client->next_id);
}

/* ---- Requests. ---- */

int
bb_request(struct bb_client *client, const char *topic, const struct bb_payload *payload,
    const struct bb_request_options *options, bb_answer_fn on_answer, void *arg)
{
    static const struct bb_request_options usual = {0};
    struct buf line;
    uint32_t timeout_ms;
    int r;

    if (options == NULL)
        options = &usual;
    r = bb_check_payload(topic, payload, options->key, NULL);
    if (r < 0)
        return r;
    timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : REQUEST_USUAL_MS;
    bb_ask_begin(client, &line, "request");
    bb_put_pair(&line, "topic", topic);
    if (options->is_async)
        buf_put_str(&line, ",\"async\":true");
    if (options->timeout_ms > 0 || !options->is_async)
        buf_printf(&line, ",\"timeout\":%u", (unsigned)timeout_ms);
    if (options->key != NULL)
        bb_put_pair(&line, "key", options->key);
    bb_put_payload(&line, payload);
    return bb_ask_start(client, &line, options->is_async ? ANSWER_USUAL_MS : timeout_ms,
        &(struct bb_ask){.on_answer = on_answer, .arg = arg});
}

int
bb_result(struct bb_client *client, const char *request, uint32_t wait_ms, bb_answer_fn on_answer, void *arg)
{
    struct buf line;

    if (!bb_is_utf8(request))
        return -EILSEQ;
    bb_ask_begin(client, &line, "result");
    bb_put_pair(&line, "request", request);
    buf_printf(&line, ",\"wait\":%u", (unsigned)wait_ms);
    return bb_ask_start(client, &line, (uint64_t)wait_ms + ANSWER_USUAL_MS,
        &(struct bb_ask){.on_answer = on_answer, .arg = arg});
}

/* Of something that ends with the connection. */
static int
bb_check_connected(const struct bb_client *client, const char *token)
{
    if (!bb_is_utf8(token))
        return -EILSEQ;
    if (client->is_closed)
        return -ECANCELED;
    return client->is_connected ? 0 : -ENOTCONN;
}

static int
bb_put_reply(struct bb_client *client, const char *call, const struct bb_payload *payload, const char *error)
{
    struct buf line;
    int r = bb_check_connected(client, call);

    if (r < 0)
        return r;
    buf_init(&line, client->options.max_pending_bytes);
    buf_put_str(&line, "{\"op\":\"reply\"");
    bb_put_pair(&line, "call", call);
    if (error != NULL)
        bb_put_pair(&line, "error", error);
    else if (payload != NULL)
        bb_put_payload(&line, payload);
    buf_put_str(&line, "}\n");
    if (buf_failed(&line))
        r = -EMSGSIZE;
    else if (client->control.n > client->options.max_pending_bytes)
        r = -ENOBUFS;
    else
        buf_put_slice(&client->control, buf_slice(&line));
    buf_fini(&line);
    bb_want_write(client);
    return r;
}

int
bb_reply(struct bb_client *client, const char *call, const struct bb_payload *payload)
{
    int r = bb_check_payload("", payload, NULL, NULL);

    return r < 0 ? r : bb_put_reply(client, call, payload, NULL);
}

int
bb_reply_error(struct bb_client *client, const char *call, const char *text)
{
    if (!bb_is_utf8(text))
        return -EILSEQ;
    if (text[0] == '\0' || strlen(text) > REASON_MAX)
        return -EINVAL;
    return bb_put_reply(client, call, NULL, text);
}

/* ---- Work. ---- */

static int
bb_settle(struct bb_client *client, const char *op, const char *lease, struct buf *more, bb_done_fn on_done,
    void *arg)
{
    struct buf line;
    int r = bb_check_connected(client, lease);

    if (r < 0)
        return r;
    bb_ask_begin(client, &line, op);
    bb_put_pair(&line, "lease", lease);
    if (more != NULL)
        buf_put_slice(&line, buf_slice(more));
    return bb_ask_start(client, &line, ANSWER_USUAL_MS, &(struct bb_ask){.on_done = on_done, .arg = arg});
}

int
bb_ack(struct bb_client *client, const char *lease, bb_done_fn on_done, void *arg)
{
    return bb_settle(client, "ack", lease, NULL, on_done, arg);
}

int
bb_extend(struct bb_client *client, const char *lease, bb_done_fn on_done, void *arg)
{
    return bb_settle(client, "extend", lease, NULL, on_done, arg);
}

int
bb_nack(struct bb_client *client, const char *lease, uint64_t delay_ms, bool is_dead, const char *reason,
    bb_done_fn on_done, void *arg)
{
    struct buf more;
    int r;

    if (reason != NULL && !bb_is_utf8(reason))
        return -EILSEQ;
    if (reason != NULL && strlen(reason) > REASON_MAX)
        return -EINVAL;
    buf_init(&more, 0);
    if (is_dead)
        buf_put_str(&more, ",\"dead\":true");
    if (delay_ms > 0)
        buf_printf(&more, ",\"delay\":%llu", (unsigned long long)delay_ms);
    if (reason != NULL)
        bb_put_pair(&more, "reason", reason);
    r = buf_failed(&more) ? -ENOMEM : bb_settle(client, "nack", lease, &more, on_done, arg);
    buf_fini(&more);
    return r;
}

/* ---- Whatever else. ---- */

/* Pairs of an object, and no id among them that would be another's. */
static bool
bb_is_members(const char *members)
{
    struct json_token t;
    struct slice raw;
    struct buf object;
    struct json r;
    bool is_well = true;

    buf_init(&object, 0);
    buf_printf(&object, "{%s}", members);
    json_init(&r, object.p, object.n, JSON_MAX_DEPTH);
    is_well = !buf_failed(&object) && json_next(&r, &t) == 0;
    while (is_well && json_next(&r, &t) == 0 && t.type == JSON_KEY)
        is_well = json_skip(&r, &raw) == 0 && !slice_is(t.raw, "id") && !slice_is(t.raw, "op");
    is_well = is_well && t.type == JSON_OBJECT_END && json_next(&r, &t) == 0 && t.type == JSON_END;
    buf_fini(&object);
    return is_well;
}

int
bb_ask(struct bb_client *client, const char *op, const char *members, bb_line_fn on_line, void *arg)
{
    struct buf line;

    if (op == NULL || strspn(op, "abcdefghijklmnopqrstuvwxyz_") != strlen(op) ||
        (members != NULL && !bb_is_members(members)))
        return -EINVAL;
    bb_ask_begin(client, &line, op);
    if (members != NULL && members[strspn(members, " \t\r\n")] != '\0') {
        buf_put_byte(&line, ',');
        bb_put_json(&line, slice_str(members));
    }
    return bb_ask_start(client, &line, ANSWER_USUAL_MS, &(struct bb_ask){.on_line = on_line, .arg = arg});
}
