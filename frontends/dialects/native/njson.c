/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native protocol as JSON: one object for each message, on a byte stream one a line.
 *
 *     {"op":"pub","id":1,"topic":"chat/room1","data":{"any":"JSON"}}
 *
 * The reader checks the whole line once; the payload is what json_skip() passed, byte for byte.
 */
#include "config.h"

#include "frontends/dialects/native/native.h"

#include <errno.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/mp.h"

/* ---- Reading values: each is known to be well-formed JSON, without white space around it. ---- */

static bool
njson_is_id(struct slice raw)
{
    if (raw.p[0] == '"')
        return true;
    for (size_t i = raw.p[0] == '-' ? 1 : 0; i < raw.n; i++) {
        if (raw.p[i] < '0' || raw.p[i] > '9')
            return false;
    }
    return true;
}

static bool
njson_is_array(struct slice raw)
{
    return raw.p[0] == '[';
}

static int
njson_unescape(struct native *n, struct slice inner, struct slice *ret)
{
    struct buf *text = &n->scratch->text;
    size_t at;

    if (inner.n == 0 || memchr(inner.p, '\\', inner.n) == NULL) {
        *ret = inner;
        return 0;
    }
    if (native_reserve(n, inner.n) < 0)
        return -ENOMEM;
    at = text->n;
    json_unescape(text, inner);
    *ret = slice_of(text->p + at, text->n - at);
    return 0;
}

/* What stands between the quotes. */
static inline int
njson_unquote(struct native *n, struct slice inner, struct slice *ret)
{
    if (n->has_escape)
        return njson_unescape(n, inner, ret);
    *ret = inner;
    return 0;
}

static int
njson_read_string(struct native *n, struct slice raw, struct slice *ret)
{
    if (raw.p[0] != '"')
        return -EINVAL;
    return njson_unquote(n, slice_of(raw.p + 1, raw.n - 2), ret);
}

static int
njson_read_u64(struct slice raw, uint64_t *ret)
{
    return json_u64(raw, ret) == 0 ? 0 : -EINVAL;
}

static int
njson_read_bool(struct slice raw, bool *ret)
{
    if (raw.p[0] != 't' && raw.p[0] != 'f')
        return -EINVAL;
    *ret = raw.p[0] == 't';
    return 0;
}

static int
njson_read_strings(struct native *n, struct slice raw, struct slice *items, size_t max, size_t *ret_n)
{
    struct json_token t;
    struct json r;
    size_t count = 0;
    int e;

    json_init(&r, raw.p, raw.n, JSON_MAX_DEPTH);
    if (json_next(&r, &t) < 0 || t.type != JSON_ARRAY)
        return -EINVAL;
    while (json_next(&r, &t) == 0 && t.type == JSON_STRING) {
        if (count == max)
            return -E2BIG;
        e = njson_unquote(n, t.raw, &items[count++]);
        if (e < 0)
            return e;
    }
    *ret_n = count;
    return t.type == JSON_ARRAY_END ? 0 : -EINVAL;
}

static int
njson_read_pairs(struct native *n, struct slice raw, struct native_pair *pairs, size_t max, size_t *ret_n)
{
    struct json_token t;
    struct json r;
    size_t count = 0;
    int e;

    json_init(&r, raw.p, raw.n, JSON_MAX_DEPTH);
    if (json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return -EINVAL;
    while (json_next(&r, &t) == 0 && t.type == JSON_KEY) {
        if (count == max)
            return -E2BIG;
        e = njson_unquote(n, t.raw, &pairs[count].name);
        if (e == 0 && (json_next(&r, &t) < 0 || t.type != JSON_STRING))
            e = -EINVAL;
        if (e == 0)
            e = njson_unquote(n, t.raw, &pairs[count++].value);
        if (e < 0)
            return e;
    }
    *ret_n = count;
    return 0;
}

static int
njson_read_member(struct native *n, struct slice raw, struct slice *ret_id, struct slice *ret_info)
{
    struct slice key, value;
    struct json_token t;
    struct json r;
    int e = 0;

    json_init(&r, raw.p, raw.n, JSON_MAX_DEPTH);
    if (json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return -EINVAL;
    while (e == 0 && json_next(&r, &t) == 0 && t.type == JSON_KEY) {
        if (njson_unquote(n, t.raw, &key) < 0)
            return -ENOMEM;
        if (json_skip(&r, &value) < 0)
            return -EINVAL;
        if (slice_is(key, "id"))
            e = njson_read_string(n, value, ret_id);
        else if (slice_is(key, "info"))
            *ret_info = value;
    }
    return e;
}

static int
njson_read_base64(struct native *n, struct request *ret)
{
    struct buf *text = &n->scratch->text;
    struct slice characters;
    size_t at;
    int r = njson_read_string(n, n->raw[NATIVE_DATA], &characters);

    if (r == -EINVAL)
        return native_fail(
            n, ERROR_BODY_INVALID, "With \"encoding\":\"base64\" the \"data\" must be a string.");
    if (r == 0)
        r = native_reserve(n, characters.n);
    if (r < 0)
        return native_fail(n, ERROR_INTERNAL, "The server is out of memory; try again later.");
    at = text->n;
    if (base64_decode(text, characters) < 0)
        return native_fail(n, ERROR_BODY_INVALID,
            "\"data\" is not base64 (RFC 4648, section 4: with padding, without line breaks).");
    ret->kind = MESSAGE_BINARY;
    ret->body = slice_of(text->p + at, text->n - at);
    return 0;
}

static int
njson_read_body(struct native *n, bool has_encoding, struct slice encoding, struct request *ret)
{
    struct slice raw = n->raw[NATIVE_DATA];

    if (has_encoding) {
        if (slice_is(encoding, "base64"))
            return njson_read_base64(n, ret);
        return native_fail(n, ERROR_BODY_INVALID, "\"encoding\" must be \"base64\", or left out.");
    }
    if (raw.p[0] != '"' || native_is_json_type(ret->type)) {
        ret->kind = MESSAGE_JSON;
        ret->body = raw;
        return 0;
    }
    ret->kind = MESSAGE_TEXT;
    if (njson_read_string(n, raw, &ret->body) < 0)
        return native_fail(n, ERROR_INTERNAL, "The server is out of memory; try again later.");
    return 0;
}

static const struct native_form njson_form = {
    .null_mark = 'n',
    .is_id = njson_is_id,
    .is_array = njson_is_array,
    .read_string = njson_read_string,
    .read_u64 = njson_read_u64,
    .read_bool = njson_read_bool,
    .read_strings = njson_read_strings,
    .read_pairs = njson_read_pairs,
    .read_member = njson_read_member,
    .read_body = njson_read_body,
};

/* ---- The whole message. ---- */

/* So many are read at once: most messages have no more. */
#define NJSON_MEMBERS 8

static int
njson_fail(struct native *n, const struct json *r)
{
    return native_fail(n, ERROR_REQUEST_INVALID, "Not JSON at byte %zu: %s.", json_offset(r), r->error);
}

/* It begins with something else than an object. */
static int
njson_fail_type(struct native *n, struct json *r)
{
    struct json_token t;

    if (json_next(r, &t) < 0)
        return njson_fail(n, r);
    return native_fail(n, ERROR_REQUEST_INVALID, "A message is one JSON object, such as {\"op\":\"hello\"}.");
}

static int
njson_decode(struct slice in, unsigned max_depth, struct request_scratch *scratch, struct request *ret,
    struct dialect_error *ret_error)
{
    struct json_member members[NJSON_MEMBERS];
    struct native n;
    struct json r;
    unsigned n_members;
    int e;

    native_begin(&n, &njson_form, in, max_depth, scratch, ret_error);
    /* The message itself is one level more than its payload. */
    json_init(&r, in.p, in.n, max_depth + 1);
    if (!json_enter_object(&r))
        return njson_fail_type(&n, &r);
    do {
        e = json_next_members(&r, members, NJSON_MEMBERS, &n_members);
        n.has_escape = r.has_escape;
        for (unsigned i = 0; i < n_members; i++) {
            struct slice key = members[i].name;

            if (members[i].has_escape && njson_unquote(&n, key, &key) < 0)
                return native_fail(&n, ERROR_INTERNAL, "The server is out of memory; try again later.");
            native_take(&n, key, members[i].raw);
        }
    } while (e > 0);
    if (e < 0 || json_end(&r) < 0)
        return njson_fail(&n, &r);
    return native_request(&n, ret);
}

static bool
njson_is_blank(struct slice line)
{
    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] != ' ' && line.p[i] != '\t' && line.p[i] != '\r')
            return false;
    }
    return true;
}

static int
njson_split(struct slice in, struct dialect_scan *scan, size_t max, size_t *ret_n, struct slice *ret_message)
{
    const uint8_t *newline = in.n > scan->at ? memchr(in.p + scan->at, '\n', in.n - scan->at) : NULL;
    struct slice line;

    if (newline == NULL) {
        scan->at = in.n;
        return in.n > max ? -EMSGSIZE : -EAGAIN;
    }
    scan->at = 0;
    line = slice_of(in.p, (size_t)(newline - in.p));
    if (line.n > max)
        return -EMSGSIZE;
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (njson_is_blank(line))
        line.n = 0;
    *ret_n = (size_t)(newline - in.p) + 1;
    *ret_message = line;
    return 0;
}

/* ---- Deliveries: the hot path, no pair written by a call through a table. ---- */

#define PUT(out, literal) buf_put((out), (literal), sizeof(literal) - 1)

static void
njson_put_headers(struct buf *out, struct slice headers)
{
    struct native_pair pair;
    bool is_first = true;
    uint32_t n;
    struct mp c;

    if (!native_headers_begin(headers, &c, &n))
        return;
    PUT(out, ",\"headers\":{");
    while (native_headers_next(&c, &n, &pair)) {
        if (!is_first)
            buf_put_byte(out, ',');
        is_first = false;
        json_put_string(out, pair.name);
        buf_put_byte(out, ':');
        json_put_string(out, pair.value);
    }
    buf_put_byte(out, '}');
}

static void
njson_put_body(struct buf *out, const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_JSON:
        if (m->body.n > 0)
            buf_put_slice(out, m->body);
        else
            PUT(out, "null"); /* nobody publishes it, but the line must stay JSON */
        break;
    case MESSAGE_TEXT:
        json_put_string(out, m->body);
        break;
    case MESSAGE_BINARY:
        buf_put_byte(out, '"');
        base64_put(out, m->body);
        buf_put_byte(out, '"');
        break;
    }
}

/* A string that is a JSON payload differs from a text by its type alone, so it then is always told. */
static struct slice
njson_type_of(const struct message *m)
{
    if (m->type.n == 0 && m->kind == MESSAGE_JSON && m->body.n > 0 && m->body.p[0] == '"')
        return slice_str("application/json");
    return m->type;
}

/* Who came and went. It has no cursor: nobody goes on from there. */
static void
njson_put_presence(struct buf *out, const struct message *m, struct slice topic, struct slice sub_id)
{
    PUT(out, "{\"op\":\"presence\"");
    if (sub_id.n > 0) {
        PUT(out, ",\"sub\":");
        buf_put_slice(out, sub_id);
    }
    PUT(out, ",\"topic\":");
    json_put_string(out, topic);
    PUT(out, ",\"time\":");
    buf_put_u64(out, m->time_ms);
    PUT(out, ",\"data\":");
    njson_put_body(out, m);
    buf_put_byte(out, '}');
}

static void
njson_put_message(struct buf *out, const struct message *m, struct slice sub_id)
{
    struct slice type = njson_type_of(m), presence = native_presence_topic(m->topic);

    if (presence.n > 0) {
        njson_put_presence(out, m, presence, sub_id);
        return;
    }

    /* One growth for all of it; less than what follows, so that a limit is not passed by the estimate. */
    (void)buf_reserve(out, m->body.n + m->topic.n + m->cursor.n + sub_id.n + 40);
    PUT(out, "{\"op\":\"msg\"");
    if (sub_id.n > 0) {
        PUT(out, ",\"sub\":");
        buf_put_slice(out, sub_id);
    }
    PUT(out, ",\"topic\":");
    json_put_string(out, m->topic);
    PUT(out, ",\"cursor\":\"");
    buf_put_slice(out, m->cursor);
    PUT(out, "\",\"time\":");
    buf_put_u64(out, m->time_ms);
    if (m->is_retained)
        PUT(out, ",\"retained\":true");
    if (type.n > 0) {
        PUT(out, ",\"type\":");
        json_put_string(out, type);
    }
    if (m->key.n > 0) {
        PUT(out, ",\"key\":");
        json_put_string(out, m->key);
    }
    if (m->headers.n > 0)
        njson_put_headers(out, m->headers);
    if (m->kind == MESSAGE_BINARY)
        PUT(out, ",\"encoding\":\"base64\"");
    PUT(out, ",\"data\":");
    njson_put_body(out, m);
    buf_put_byte(out, '}');
}

/* ---- Answers. ---- */

static void
njson_put_key(struct native_writer *w, const char *key)
{
    buf_put_byte(w->out, w->n++ == 0 ? '{' : ',');
    buf_put_byte(w->out, '"');
    buf_put_str(w->out, key);
    buf_put(w->out, "\":", 2);
}

static void
njson_begin(struct native_writer *w)
{
    (void)w; /* the first key opens */
}

static void
njson_put_string_pair(struct native_writer *w, const char *key, struct slice value)
{
    njson_put_key(w, key);
    json_put_string(w->out, value);
}

static void
njson_put_u64_pair(struct native_writer *w, const char *key, uint64_t value)
{
    njson_put_key(w, key);
    buf_put_u64(w->out, value);
}

static void
njson_put_bool_pair(struct native_writer *w, const char *key, bool value)
{
    njson_put_key(w, key);
    buf_put_str(w->out, value ? "true" : "false");
}

static void
njson_put_raw_pair(struct native_writer *w, const char *key, struct slice raw)
{
    njson_put_key(w, key);
    buf_put_slice(w->out, raw);
}

static void
njson_put_strings_pair(struct native_writer *w, const char *key, const struct slice *items, size_t n)
{
    njson_put_key(w, key);
    buf_put_byte(w->out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_byte(w->out, ',');
        json_put_string(w->out, items[i]);
    }
    buf_put_byte(w->out, ']');
}

static void
njson_put_content(struct native_writer *w, const struct message *m)
{
    struct slice type = njson_type_of(m);

    if (type.n > 0)
        njson_put_string_pair(w, "type", type);
    if (m->headers.n > 0)
        njson_put_headers(w->out, m->headers);
    if (m->kind == MESSAGE_BINARY)
        PUT(w->out, ",\"encoding\":\"base64\"");
    PUT(w->out, ",\"data\":");
    njson_put_body(w->out, m);
}

static void
njson_end(struct native_writer *w)
{
    buf_put_byte(w->out, '}');
}

static const struct native_writer_ops njson_writer = {
    .begin = njson_begin,
    .put_string = njson_put_string_pair,
    .put_u64 = njson_put_u64_pair,
    .put_bool = njson_put_bool_pair,
    .put_raw = njson_put_raw_pair,
    .put_strings = njson_put_strings_pair,
    .put_json = njson_put_raw_pair,
    .put_content = njson_put_content,
    .end = njson_end,
};

static void
njson_put_answer(struct buf *out, const struct answer *a)
{
    native_put_answer(&njson_writer, out, a);
}

const struct dialect dialect_native_json = {
    .name = "busbar.v1.json",
    .is_text = true,
    .expansion = 6,
    .decode = njson_decode,
    .split = njson_split,
    .put_message = njson_put_message,
    .put_answer = njson_put_answer,
};
