/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines from the server. A line's values are found raw, then read by the operation that wants them; what is
 * decoded (texts, base64) goes to client->text, which is made long enough before, so that nothing in it
 * moves.
 *
 *     {"op":"msg","sub":1,"topic":"chat/room1","cursor":"5f-17","time":1700000000000,"data":"hello"}
 *
 * Operations and keys that are not known are passed over: a newer server may say more.
 */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/base64.h"
#include "base/json.h"

#define LINE_HEADERS_MAX 128
#define LINE_TOPICS_MAX 1024

struct line {
    struct bb_client *client;
    struct slice op, id, sub, topic, cursor, data, encoding, type, key, headers, retained, time;
    struct slice state, topics, code, message, count, more, messages, bytes, links;
    struct slice lease, call, deliveries, expires, timeout, request, due;
    struct slice whole;
};

typedef int (*line_fn)(struct bb_client *client, struct line *line);

/* ---- Values. Each is well-formed JSON without white space around it; an empty one was not given. ---- */

/* The decoded text with a NUL, NULL if it is not a string (or not there). It is never longer than it was with
 * its quotes. */
static const char *
line_text(struct line *line, struct slice raw, size_t *ret_n)
{
    struct buf *text = &line->client->text;
    size_t at = text->n;

    if (raw.n < 2 || raw.p[0] != '"')
        return NULL;
    json_unescape(text, slice_of(raw.p + 1, raw.n - 2));
    if (ret_n != NULL)
        *ret_n = text->n - at;
    buf_put_byte(text, '\0');
    return (const char *)text->p + at;
}

static uint64_t
line_number(struct slice raw)
{
    uint64_t v;

    return raw.n > 0 && json_u64(raw, &v) == 0 ? v : 0;
}

static bool
line_bool(struct slice raw)
{
    return raw.n > 0 && raw.p[0] == 't';
}

/* An array of strings; what there is too much is left out. */
static size_t
line_texts(struct line *line, struct slice raw, const char **items, size_t max)
{
    struct json_token t;
    struct json r;
    size_t n = 0;

    json_init(&r, raw.p, raw.n, JSON_MAX_DEPTH);
    if (raw.n == 0 || json_next(&r, &t) < 0 || t.type != JSON_ARRAY)
        return 0;
    while (n < max && json_next(&r, &t) == 0 && t.type == JSON_STRING)
        items[n++] = line_text(line, slice_of(t.raw.p - 1, t.raw.n + 2), NULL);
    return n;
}

static size_t
line_headers(struct line *line, struct bb_header *headers, size_t max)
{
    struct json_token name, value;
    struct json r;
    size_t n = 0;

    json_init(&r, line->headers.p, line->headers.n, JSON_MAX_DEPTH);
    if (line->headers.n == 0 || json_next(&r, &name) < 0 || name.type != JSON_OBJECT)
        return 0;
    while (n < max && json_next(&r, &name) == 0 && name.type == JSON_KEY) {
        if (json_next(&r, &value) < 0 || value.type != JSON_STRING)
            return n;
        headers[n].name = line_text(line, slice_of(name.raw.p - 1, name.raw.n + 2), NULL);
        headers[n++].value = line_text(line, slice_of(value.raw.p - 1, value.raw.n + 2), NULL);
    }
    return n;
}

/* Decoded as it stands: nothing in base64 needs an escape. */
static int
line_base64(struct line *line, struct bb_message *m)
{
    struct buf *text = &line->client->text;
    size_t at = text->n;

    if (line->data.p[0] != '"' || base64_decode(text, slice_of(line->data.p + 1, line->data.n - 2)) < 0)
        return -EPROTO;
    m->kind = BB_BINARY;
    m->len = text->n - at;
    buf_put_byte(text, '\0');
    m->data = text->p + at;
    return 0;
}

/* A string is text, unless its type says that it is JSON. */
static int
line_body(struct line *line, struct bb_message *m)
{
    struct buf *text = &line->client->text;
    size_t at;

    if (line->data.n == 0)
        return -EPROTO;
    if (slice_is(line->encoding, "\"base64\""))
        return line_base64(line, m);
    if (line->data.p[0] == '"' && (m->type == NULL || !bb_is_json_type(m->type))) {
        m->kind = BB_TEXT;
        m->data = line_text(line, line->data, &m->len);
        return 0;
    }
    at = text->n;
    buf_put_slice(text, line->data);
    buf_put_byte(text, '\0');
    m->kind = BB_JSON;
    m->data = text->p + at;
    m->len = line->data.n;
    return 0;
}

/* ---- Operations. Each returns 0 or -EPROTO. ---- */

/* An answer to something that was asked by bb_ask(), or settled. */
static int
line_tell_ask(struct bb_client *client, struct line *line)
{
    static const char *const several[] = {"\"queue\"", "\"peeked\"", "\"member\"", "\"topic\""};
    struct bb_ask *ask = line->id.n > 0 ? bb_ask_find(client, line_number(line->id)) : NULL;
    struct buf *text = &client->text;
    bool is_last = true;

    if (ask == NULL)
        return 0;
    for (size_t i = 0; i < sizeof several / sizeof several[0]; i++)
        is_last = is_last && !slice_is(line->op, several[i]);
    buf_reset(text);
    buf_put_slice(text, line->whole);
    buf_put_byte(text, '\0');
    if (buf_failed(text))
        return -ENOMEM;
    bb_ask_tell(client, ask, (const char *)text->p, line->whole.n, is_last);
    return 0;
}

/* Everything but the cursor that a message, a request or a reply may have. */
static int
line_message(struct line *line, struct bb_message *m, struct bb_header headers[LINE_HEADERS_MAX])
{
    m->topic = line_text(line, line->topic, NULL);
    m->type = line_text(line, line->type, NULL);
    m->key = line_text(line, line->key, NULL);
    m->headers = headers;
    m->n_headers = line_headers(line, headers, LINE_HEADERS_MAX);
    m->lease = line_text(line, line->lease, NULL);
    m->call = line_text(line, line->call, NULL);
    m->n_deliveries = line_number(line->deliveries);
    return line_body(line, m);
}

static int
on_msg(struct bb_client *client, struct line *line)
{
    struct bb_subscription *sub = bb_sub_find(client, line_number(line->sub));
    struct bb_header headers[LINE_HEADERS_MAX];
    struct bb_message m = {0};
    int r;

    if (sub == NULL) /* ended while this was on its way */
        return 0;
    m.cursor = line_text(line, line->cursor, NULL);
    m.time_ms = (int64_t)line_number(line->time);
    m.is_retained = line_bool(line->retained);
    m.expires_ms = line_number(line->expires);
    r = line_message(line, &m, headers);
    if (r < 0 || m.topic == NULL || m.cursor == NULL)
        return -EPROTO;
    /* A kept value is old: it does not move the stream. */
    r = m.is_retained || sub->takes_work ? 0 : bb_sub_set_cursor(sub, m.cursor);
    if (r == 0 && sub->on_message != NULL)
        sub->on_message(sub, &m, sub->arg);
    return r;
}

/* A request for a responder. */
static int
on_request(struct bb_client *client, struct line *line)
{
    struct bb_subscription *sub = bb_sub_find(client, line_number(line->sub));
    struct bb_header headers[LINE_HEADERS_MAX];
    struct bb_message m = {.expires_ms = line_number(line->timeout)};

    if (sub == NULL)
        return 0;
    if (line_message(line, &m, headers) < 0 || m.topic == NULL || m.call == NULL)
        return -EPROTO;
    if (m.n_deliveries == 0)
        m.n_deliveries = 1;
    if (sub->on_message != NULL)
        sub->on_message(sub, &m, sub->arg);
    return 0;
}

static int
on_reply(struct bb_client *client, struct line *line)
{
    struct bb_ask *ask = bb_ask_find(client, line_number(line->id));
    struct bb_header headers[LINE_HEADERS_MAX];
    struct bb_message m = {0};
    const struct bb_answer answer = {.message = &m};

    if (ask == NULL || ask->on_line != NULL)
        return line_tell_ask(client, line);
    if (line_message(line, &m, headers) < 0)
        return -EPROTO;
    bb_ask_end(client, ask, &answer);
    return 0;
}

static int
on_accepted(struct bb_client *client, struct line *line)
{
    struct bb_ask *ask = bb_ask_find(client, line_number(line->id));
    struct bb_answer answer = {.expires_ms = (int64_t)line_number(line->expires)};

    if (ask == NULL || ask->on_line != NULL)
        return line_tell_ask(client, line);
    answer.request = line_text(line, line->request, NULL);
    if (answer.request == NULL)
        return -EPROTO;
    bb_ask_end(client, ask, &answer);
    return 0;
}

/* Of a subscription: who is there. */
static int
on_presence(struct bb_client *client, struct line *line)
{
    struct bb_subscription *sub = bb_sub_find(client, line_number(line->sub));
    struct bb_message m = {0};
    const char *topic;

    if (sub == NULL || sub->on_presence == NULL)
        return 0;
    topic = line_text(line, line->topic, NULL);
    if (topic == NULL || line_body(line, &m) < 0)
        return -EPROTO;
    sub->on_presence(sub, topic, m.data, m.len, sub->arg);
    return 0;
}

static int
line_event_type(struct slice state, enum bb_event_type *ret)
{
    static const struct {
        const char *name;
        enum bb_event_type type;
    } states[] = {
        {"\"live\"", BB_LIVE}, {"\"recovered\"", BB_RECOVERED}, {"\"gap\"", BB_GAP}, {"\"reset\"", BB_RESET}};

    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (slice_is(state, states[i].name)) {
            *ret = states[i].type;
            return 0;
        }
    }
    return -EPROTO;
}

static int
line_tell_state(struct bb_client *client, struct line *line, struct bb_subscription *sub)
{
    const char *topics[LINE_TOPICS_MAX];
    struct bb_event event = {0};

    (void)client;
    if (sub == NULL)
        return 0;
    if (line_event_type(line->state, &event.type) < 0)
        return -EPROTO;
    event.cursor = line_text(line, line->cursor, NULL);
    event.topics = topics;
    event.n_topics = line_texts(line, line->topics, topics, LINE_TOPICS_MAX);
    if (event.cursor != NULL && !sub->takes_work && bb_sub_set_cursor(sub, event.cursor) < 0)
        return -ENOMEM;
    bb_sub_tell(sub, &event);
    return 0;
}

static int
on_subscribed(struct bb_client *client, struct line *line)
{
    return line_tell_state(client, line, bb_sub_find(client, line_number(line->id)));
}

static int
on_state(struct bb_client *client, struct line *line)
{
    return line_tell_state(client, line, bb_sub_find(client, line_number(line->sub)));
}

/* Messages were dropped for the whole connection, or for one subscription. */
static int
on_dropped(struct bb_client *client, struct line *line)
{
    const char *topic = line_text(line, line->topic, NULL);
    struct bb_event event = {.type = BB_DROPPED, .count = line_number(line->count), .topics = &topic};
    uint64_t last = client->n_subs > 0 ? client->subs[client->n_subs - 1]->id : 0;
    struct bb_subscription *sub;

    /* Answers that waited in the server's queue may be gone with them: what has none is asked again. */
    list_for_each_safe(it, next, &client->queries) list_entry(it, struct bb_query, in_queries)->is_put_off =
        true;
    bb_say_put_off(client);
    event.n_topics = topic != NULL ? 1 : 0;
    if (line->sub.n > 0) {
        sub = bb_sub_find(client, line_number(line->sub));
        if (sub != NULL)
            bb_sub_tell(sub, &event);
        return 0;
    }
    /* By id: a callback may end any of them, or begin new ones, which did not lose anything. */
    for (uint64_t id = 0; !client->is_closed && id < last;) {
        sub = NULL;
        for (size_t i = 0; i < client->n_subs && sub == NULL; i++)
            sub = client->subs[i]->id > id ? client->subs[i] : NULL;
        if (sub == NULL || sub->id > last)
            break;
        id = sub->id;
        event.cursor = sub->cursor;
        bb_sub_tell(sub, &event);
    }
    return 0;
}

static int
on_published(struct bb_client *client, struct line *line)
{
    struct bb_pending *pending = bb_pending_find(client, line_number(line->id));
    struct bb_result result = {0};

    if (pending == NULL)
        return line_tell_ask(client, line);
    result.cursor = line_text(line, line->cursor, NULL);
    result.due_ms = (int64_t)line_number(line->due);
    bb_pending_end(client, pending, &result);
    return 0;
}

/* The server cannot do this now, and another moment or connection may: it is asked again, and nobody is told.
 */
static bool
is_passing(const char *code)
{
    return strcmp(code, "unavailable") == 0 || strcmp(code, "timeout") == 0 ||
           strcmp(code, "shutting_down") == 0;
}

static void
refuse_sub(struct bb_subscription *sub, const struct bb_result *result)
{
    struct bb_event event = {
        .type = BB_REFUSED, .cursor = sub->cursor, .code = result->code, .text = result->text};

    sub->is_refused = true;
    bb_sub_tell(sub, &event);
}

static int
on_error(struct bb_client *client, struct line *line)
{
    uint64_t id = line_number(line->id);
    struct bb_pending *pending = bb_pending_find(client, id);
    struct bb_subscription *sub = bb_sub_find(client, id);
    struct bb_query *query = bb_query_find(client, id);
    struct bb_ask *ask = bb_ask_find(client, id);
    struct bb_result result = {.error = -EREMOTEIO};

    result.code = line_text(line, line->code, NULL);
    result.text = line_text(line, line->message, NULL);
    if (result.code == NULL)
        return -EPROTO;
    if (result.text == NULL)
        result.text = result.code;
    if (line->id.n == 0) {
        if (client->options.on_error != NULL)
            client->options.on_error(client, result.code, result.text, client->options.arg);
    } else if (ask != NULL) {
        bb_ask_end(client, ask,
            &(struct bb_answer){.error = result.error, .code = result.code, .text = result.text});
    } else if (is_passing(result.code)) {
        if (sub != NULL)
            sub->is_put_off = true;
        if (query != NULL)
            query->is_put_off = true;
        if (pending != NULL || sub != NULL || query != NULL)
            bb_put_off(client);
    } else if (pending != NULL) {
        bb_pending_end(client, pending, &result);
    } else if (sub != NULL) {
        refuse_sub(sub, &result);
    } else if (query != NULL) {
        bb_query_end(client, query, &result);
    }
    return 0;
}

static int
on_topic(struct bb_client *client, struct line *line)
{
    struct bb_query *query = bb_query_find(client, line_number(line->id));
    struct bb_topic topic = {.n_messages = line_number(line->messages),
        .n_bytes = line_number(line->bytes),
        .n_links = line_number(line->links)};

    if (query == NULL)
        return line_tell_ask(client, line);
    topic.topic = line_text(line, line->topic, NULL);
    topic.cursor = line_text(line, line->cursor, NULL);
    if (topic.topic == NULL)
        return -EPROTO;
    bb_query_tell(client, query, &topic);
    return 0;
}

static int
on_topics_end(struct bb_client *client, struct line *line)
{
    struct bb_query *query = bb_query_find(client, line_number(line->id));

    if (query == NULL)
        return line_tell_ask(client, line);
    bb_query_page_end(client, query, line_bool(line->more));
    return 0;
}

/* The server ends the connection after this; it says better why than the socket will. */
static int
on_closing(struct bb_client *client, struct line *line)
{
    const char *text = line_text(line, line->message, NULL);

    (void)snprintf(
        client->why, sizeof client->why, "%s", text != NULL ? text : "the server closes the connection");
    return 0;
}

static const struct {
    const char *name; /* as it stands in the line */
    line_fn fn;
} operations[] = {
    {"\"msg\"", on_msg},
    {"\"published\"", on_published},
    {"\"subscribed\"", on_subscribed},
    {"\"state\"", on_state},
    {"\"dropped\"", on_dropped},
    {"\"error\"", on_error},
    {"\"topic\"", on_topic},
    {"\"topics_end\"", on_topics_end},
    {"\"closing\"", on_closing},
    {"\"request\"", on_request},
    {"\"reply\"", on_reply},
    {"\"accepted\"", on_accepted},
    {"\"presence\"", on_presence},
};

/* ---- Lines. ---- */

static void
line_take(struct line *line, struct slice key, struct slice raw)
{
    const struct {
        const char *name;
        struct slice *to;
    } keys[] = {
        {"op", &line->op},
        {"sub", &line->sub},
        {"id", &line->id},
        {"topic", &line->topic},
        {"cursor", &line->cursor},
        {"data", &line->data},
        {"time", &line->time},
        {"type", &line->type},
        {"key", &line->key},
        {"encoding", &line->encoding},
        {"headers", &line->headers},
        {"retained", &line->retained},
        {"state", &line->state},
        {"topics", &line->topics},
        {"code", &line->code},
        {"message", &line->message},
        {"count", &line->count},
        {"more", &line->more},
        {"messages", &line->messages},
        {"bytes", &line->bytes},
        {"links", &line->links},
        {"lease", &line->lease},
        {"call", &line->call},
        {"deliveries", &line->deliveries},
        {"expires", &line->expires},
        {"timeout", &line->timeout},
        {"request", &line->request},
        {"due", &line->due},
    };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (slice_is(key, keys[i].name)) {
            *keys[i].to = raw;
            return;
        }
    }
}

static int
line_parse(struct line *line, struct slice in, const char **ret_why)
{
    struct json_token t;
    struct slice raw;
    struct json r;

    *ret_why = "the server does not speak Busbar's protocol";
    json_init(&r, in.p, in.n, JSON_MAX_DEPTH);
    if (json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return -EPROTO;
    for (;;) {
        if (json_next(&r, &t) < 0)
            return -EPROTO;
        if (t.type == JSON_OBJECT_END)
            break;
        if (json_skip(&r, &raw) < 0)
            return -EPROTO;
        line_take(line, t.raw, raw);
    }
    return json_next(&r, &t);
}

static int
bb_handle_line(struct bb_client *client, struct slice in, const char **ret_why)
{
    struct line line = {.client = client, .whole = in};
    int r = line_parse(&line, in, ret_why);

    if (r < 0)
        return r;
    bb_heard(client);
    if (client->is_closed)
        return 0;
    buf_reset(&client->text);
    if (buf_reserve(&client->text, in.n + 64) ==
        NULL) /* a NUL for each value beside, and the copy of a payload */
        return -ENOMEM;
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (slice_is(line.op, operations[i].name))
            return operations[i].fn(client, &line);
    }
    return line_tell_ask(client, &line);
}

/* Every whole line that is in; one memmove at the end. */
static int
bb_handle_lines(struct bb_client *client, const char **ret_why)
{
    size_t at = 0;
    int r = 0;

    while (r == 0 && !client->is_closed) {
        size_t from = at + client->in_scanned;
        const uint8_t *newline =
            from < client->in.n ? memchr(client->in.p + from, '\n', client->in.n - from) : NULL;
        size_t n;

        if (newline == NULL) {
            client->in_scanned = client->in.n - at;
            break;
        }
        n = (size_t)(newline - client->in.p) - at;
        client->in_scanned = 0;
        if (n > 0)
            r = bb_handle_line(client, slice_of(client->in.p + at, n), ret_why);
        at += n + 1;
    }
    if (r < 0 || client->is_closed)
        return r;
    buf_consume(&client->in, at);
    buf_trim(&client->in);
    buf_trim(&client->text);
    if (client->in.n <= client->options.max_message_bytes)
        return 0;
    *ret_why = "the server sent a longer message than max_message_bytes";
    return -EMSGSIZE;
}

int
bb_read(struct bb_client *client, const char **ret_why)
{
    size_t n_read = 0;
    ssize_t n;
    int r;

    while (n_read < BB_READ_BYTES) {
        uint8_t *room = buf_reserve(&client->in, BB_READ_BYTES / 4);

        if (room == NULL)
            return -ENOMEM;
        n = recv(client->fd, room, BB_READ_BYTES / 4, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return -errno;
        if (n == 0) {
            *ret_why = "the server closed the connection";
            return -ECONNRESET;
        }
        buf_commit(&client->in, (size_t)n);
        n_read += (size_t)n;
        r = bb_handle_lines(client, ret_why);
        if (r < 0 || client->is_closed)
            return r;
    }
    return 0;
}
