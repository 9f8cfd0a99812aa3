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
#include "base/digits.h"
#include "base/json.h"
#include "base/mp.h"
#include "base/scan.h"

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
            if (members[i].has_escape && njson_unescape(&n, members[i].name, &members[i].name) < 0)
                return native_fail(&n, ERROR_INTERNAL, "The server is out of memory; try again later.");
            native_take(&n, members[i].name, members[i].raw);
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

/* ---- Deliveries: the hot path. Room is made once for what has a known length, and written through `at`,
 * which stands behind out->n by what is not committed yet. ---- */

#define PUT(out, literal) buf_put((out), (literal), sizeof(literal) - 1)
#define WRITE(at, literal) njson_write((at), slice_of((literal), sizeof(literal) - 1))

/* All the words that a message has around its slices, at most, with the longest time. */
#define NJSON_WORDS                                                                                          \
    (sizeof "{\"op\":\"presence\",\"sub\":,\"topic\":\"\",\"cursor\":\"\",\"time\":,\"data\":\"\"}" +        \
        DIGITS_ROOM)
/* Likewise around a pair of an answer. */
#define NJSON_PAIR (sizeof "{\"\":\"\"" + DIGITS_ROOM)

static inline uint8_t *
njson_write(uint8_t *at, struct slice s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static inline void
njson_commit(struct buf *out, const uint8_t *at)
{
    buf_commit(out, (size_t)(at - (out->p + out->n)));
}

/* A text for which there is room if nothing in it needs an escape. If something does, it takes what it needs,
 * and room is made anew for `more` bytes after it. NULL if there is none. */
static inline uint8_t *
njson_write_string(struct buf *out, uint8_t *at, struct slice text, size_t more)
{
    if (scan_copy_plain(at + 1, text.p, text.n)) {
        at[0] = at[text.n + 1] = '"';
        return at + text.n + 2;
    }
    njson_commit(out, at);
    json_put_string(out, text);
    return buf_reserve(out, more);
}

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
njson_put_data(struct buf *out, const struct message *m)
{
    /* The longest of the words, or quotes. */
    uint8_t *at = buf_reserve(out, sizeof ",\"data\":null" + m->body.n);

    if (at == NULL)
        return;
    if (m->kind == MESSAGE_BINARY) {
        PUT(out, ",\"encoding\":\"base64\",\"data\":\"");
        base64_put(out, m->body);
        buf_put_byte(out, '"');
        return;
    }
    at = WRITE(at, ",\"data\":");
    if (m->kind == MESSAGE_TEXT)
        at = njson_write_string(out, at, m->body, 0);
    else if (m->kind == MESSAGE_JSON && m->body.n > 0)
        at = njson_write(at, m->body);
    else
        at = WRITE(at, "null"); /* nobody publishes it, but the line must stay JSON */
    if (at != NULL)
        njson_commit(out, at);
}

/* A string that is a JSON payload differs from a text by its type alone, so it then is always told. */
static struct slice
njson_type_of(const struct message *m)
{
    if (m->type.n == 0 && m->kind == MESSAGE_JSON && m->body.n > 0 && m->body.p[0] == '"')
        return slice_str("application/json");
    return m->type;
}

/* What most messages do not have. */
static void
njson_put_extras(struct buf *out, const struct message *m, struct slice type)
{
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
}

/* Who came and went has no cursor: nobody goes on from there. */
static void
njson_put_message(struct buf *out, const struct message *m, struct slice sub_id)
{
    struct slice type = njson_type_of(m), presence = native_presence_topic(m->topic);
    struct slice topic = presence.n > 0 ? presence : m->topic;
    const size_t n_after = NJSON_WORDS + m->cursor.n + m->body.n;
    uint8_t *at = buf_reserve(out, n_after + sub_id.n + topic.n);

    if (at == NULL)
        return;
    at = presence.n > 0 ? WRITE(at, "{\"op\":\"presence\"") : WRITE(at, "{\"op\":\"msg\"");
    if (sub_id.n > 0)
        at = njson_write(WRITE(at, ",\"sub\":"), sub_id);
    at = njson_write_string(out, WRITE(at, ",\"topic\":"), topic, n_after);
    if (at == NULL)
        return;
    if (presence.n == 0) {
        at = njson_write(WRITE(at, ",\"cursor\":\""), m->cursor);
        *at++ = '"';
    }
    at = digits_put(WRITE(at, ",\"time\":"), m->time_ms);
    njson_commit(out, at);
    if (presence.n == 0 && (m->is_retained || type.n > 0 || m->key.n > 0 || m->headers.n > 0))
        njson_put_extras(out, m, type);
    njson_put_data(out, m);
    buf_put_byte(out, '}');
}

/* ---- Answers. ---- */

/* Room for a key and n bytes of its value, beside a number or quotes. NULL if there is none. */
static uint8_t *
njson_write_key(struct native_writer *w, const char *key, size_t n)
{
    struct slice name = slice_str(key);
    uint8_t *at = buf_reserve(w->out, NJSON_PAIR + name.n + n);

    if (at == NULL)
        return NULL;
    *at++ = w->n++ == 0 ? '{' : ',';
    *at++ = '"';
    return WRITE(njson_write(at, name), "\":");
}

static void
njson_begin(struct native_writer *w)
{
    (void)w; /* the first key opens */
}

static void
njson_put_string_pair(struct native_writer *w, const char *key, struct slice value)
{
    uint8_t *at = njson_write_key(w, key, value.n);

    if (at != NULL)
        at = njson_write_string(w->out, at, value, 0);
    if (at != NULL)
        njson_commit(w->out, at);
}

static void
njson_put_u64_pair(struct native_writer *w, const char *key, uint64_t value)
{
    uint8_t *at = njson_write_key(w, key, 0);

    if (at != NULL)
        njson_commit(w->out, digits_put(at, value));
}

static void
njson_put_raw_pair(struct native_writer *w, const char *key, struct slice raw)
{
    uint8_t *at = njson_write_key(w, key, raw.n);

    if (at != NULL)
        njson_commit(w->out, njson_write(at, raw));
}

static void
njson_put_bool_pair(struct native_writer *w, const char *key, bool value)
{
    njson_put_raw_pair(w, key, slice_str(value ? "true" : "false"));
}

static void
njson_put_strings_pair(struct native_writer *w, const char *key, const struct slice *items, size_t n)
{
    njson_put_raw_pair(w, key, slice_str("["));
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
    njson_put_data(w->out, m);
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
    .is_lines = true,
    .expansion = 6,
    .decode = njson_decode,
    .split = njson_split,
    .put_message = njson_put_message,
    .put_answer = njson_put_answer,
};
