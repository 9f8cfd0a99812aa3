/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native protocol as MessagePack: one map for each message, with the keys of the JSON form; on a byte
 * stream one after another, for each says where it ends. A payload is bin (bytes), str (text), or str with
 * "encoding":"json" (JSON text).
 */
#include "config.h"

#include "frontends/dialects/native/native.h"

#include <errno.h>

#include "base/json.h"
#include "base/mp.h"
#include "base/mpput.h"
#include "base/utf8.h"

/* ---- Reading values: each is known to be one whole value. ---- */

static bool
nmsgpack_is(struct slice raw, enum mp_type type)
{
    struct mp c = mp_of(raw);
    enum mp_type seen;

    return mp_peek(&c, &seen) == 0 && seen == type;
}

static bool
nmsgpack_is_id(struct slice raw)
{
    struct mp c = mp_of(raw);
    struct slice text;

    if (nmsgpack_is(raw, MP_UINT) || nmsgpack_is(raw, MP_INT))
        return true;
    return mp_str(&c, &text) == 0 && utf8_is_valid(text.p, text.n);
}

static bool
nmsgpack_is_array(struct slice raw)
{
    return nmsgpack_is(raw, MP_ARRAY);
}

static int
nmsgpack_next_string(struct mp *c, struct slice *ret)
{
    struct slice s;

    if (mp_str(c, &s) < 0)
        return -EINVAL;
    if (!utf8_is_valid(s.p, s.n))
        return -EILSEQ;
    *ret = s;
    return 0;
}

static int
nmsgpack_read_string(struct native *n, struct slice raw, struct slice *ret)
{
    struct mp c = mp_of(raw);

    (void)n;
    return nmsgpack_next_string(&c, ret);
}

static int
nmsgpack_read_u64(struct slice raw, uint64_t *ret)
{
    struct mp c = mp_of(raw);

    return mp_u64(&c, ret) < 0 ? -EINVAL : 0;
}

static int
nmsgpack_read_bool(struct slice raw, bool *ret)
{
    struct mp c = mp_of(raw);

    return mp_bool(&c, ret) < 0 ? -EINVAL : 0;
}

static int
nmsgpack_read_strings(struct native *n, struct slice raw, struct slice *items, size_t max, size_t *ret_n)
{
    struct mp c = mp_of(raw);
    uint32_t count;

    (void)n;
    if (mp_array(&c, &count) < 0)
        return -EINVAL;
    if (count > max)
        return -E2BIG;
    for (uint32_t i = 0; i < count; i++) {
        int r = nmsgpack_next_string(&c, &items[i]);

        if (r < 0)
            return r;
    }
    *ret_n = count;
    return 0;
}

static int
nmsgpack_read_pairs(struct native *n, struct slice raw, struct native_pair *pairs, size_t max, size_t *ret_n)
{
    struct mp c = mp_of(raw);
    uint32_t count;

    (void)n;
    if (mp_map(&c, &count) < 0)
        return -EINVAL;
    if (count > max)
        return -E2BIG;
    for (uint32_t i = 0; i < count; i++) {
        int r = nmsgpack_next_string(&c, &pairs[i].name);

        if (r == 0)
            r = nmsgpack_next_string(&c, &pairs[i].value);
        if (r < 0)
            return r;
    }
    *ret_n = count;
    return 0;
}

static int
nmsgpack_read_member(struct native *n, struct slice raw, struct slice *ret_id, struct slice *ret_info)
{
    struct mp c = mp_of(raw);
    struct slice key, value;
    uint32_t count;
    int r = 0;

    if (mp_map(&c, &count) < 0)
        return -EINVAL;
    for (; r == 0 && count > 0; count--) {
        if (nmsgpack_next_string(&c, &key) < 0)
            return -EINVAL;
        if (slice_is(key, "id")) {
            r = nmsgpack_next_string(&c, ret_id);
        } else if (slice_is(key, "info")) {
            r = nmsgpack_next_string(&c, ret_info);
            if (r == 0 && json_check(ret_info->p, ret_info->n, n->max_depth, NULL) < 0)
                r = -EINVAL;
        } else if (mp_skip(&c, &value) < 0) {
            r = -EINVAL;
        }
    }
    return r;
}

static int
nmsgpack_read_json(struct native *n, struct slice text, struct request *ret)
{
    const char *error = "";

    if (json_check(text.p, text.n, n->max_depth, &error) < 0)
        return native_fail(n, ERROR_BODY_INVALID, "\"data\" is not JSON: %s.", error);
    ret->kind = MESSAGE_JSON;
    ret->body = text;
    return 0;
}

static int
nmsgpack_read_body(struct native *n, bool has_encoding, struct slice encoding, struct request *ret)
{
    struct mp c = mp_of(n->raw[NATIVE_DATA]);
    struct slice text;

    if (has_encoding && !slice_is(encoding, "json"))
        return native_fail(n, ERROR_BODY_INVALID,
            "\"encoding\" must be \"json\", or left out: in MessagePack bytes are sent as bin.");
    if (!has_encoding && nmsgpack_is(n->raw[NATIVE_DATA], MP_BIN) && mp_bin(&c, &ret->body) == 0) {
        ret->kind = MESSAGE_BINARY;
        return 0;
    }
    if (mp_str(&c, &text) < 0)
        return native_fail(n, ERROR_BODY_INVALID,
            "\"data\" must be bin (bytes), str (text), or str with \"encoding\":\"json\" (JSON text).");
    if (has_encoding || native_is_json_type(ret->type))
        return nmsgpack_read_json(n, text, ret);
    if (!utf8_is_valid(text.p, text.n))
        return native_fail(n, ERROR_BODY_INVALID, "\"data\" is a str and not UTF-8: send bytes as bin.");
    ret->kind = MESSAGE_TEXT;
    ret->body = text;
    return 0;
}

static const struct native_form nmsgpack_form = {
    .null_mark = 0xc0,
    .is_id = nmsgpack_is_id,
    .is_array = nmsgpack_is_array,
    .read_string = nmsgpack_read_string,
    .read_u64 = nmsgpack_read_u64,
    .read_bool = nmsgpack_read_bool,
    .read_strings = nmsgpack_read_strings,
    .read_pairs = nmsgpack_read_pairs,
    .read_member = nmsgpack_read_member,
    .read_body = nmsgpack_read_body,
};

/* ---- The whole message. ---- */

static int
nmsgpack_fail(struct native *n, struct slice in, const struct mp *c, int r)
{
    return native_fail(n, ERROR_REQUEST_INVALID, "Not MessagePack at byte %zu: %s.", (size_t)(c->p - in.p),
        r == -EAGAIN ? "the message ends inside a value" : "a value that is malformed or nested too deeply");
}

static int
nmsgpack_decode(struct slice in, unsigned max_depth, struct request_scratch *scratch, struct request *ret,
    struct dialect_error *ret_error)
{
    struct mp c = mp_of(in);
    struct slice key, raw;
    struct native n;
    uint32_t count;
    int r;

    native_begin(&n, &nmsgpack_form, in, max_depth, scratch, ret_error);
    if (mp_map(&c, &count) < 0)
        return native_fail(&n, ERROR_REQUEST_INVALID,
            "A message is one MessagePack map, such as that of {\"op\":\"hello\"}.");
    for (; count > 0; count--) {
        r = mp_str(&c, &key);
        if (r == -EINVAL)
            return native_fail(&n, ERROR_REQUEST_INVALID, "At byte %zu: the keys of a message are str.",
                (size_t)(c.p - in.p));
        if (r == 0)
            r = mp_skip(&c, &raw);
        if (r < 0)
            return nmsgpack_fail(&n, in, &c, r);
        native_take(&n, key, raw);
    }
    if (c.p != c.end)
        return native_fail(
            &n, ERROR_REQUEST_INVALID, "Something follows the map at byte %zu.", (size_t)(c.p - in.p));
    return native_request(&n, ret);
}

/* Where a container begins: how many values follow its head. mp_map() wants them to be there already. */
static int
nmsgpack_container(const struct mp *c, size_t *ret_head, uint64_t *ret_values)
{
    uint8_t mark = *c->p;
    size_t left = (size_t)(c->end - c->p), n_arg = mark == 0xdd || mark == 0xdf ? 4 : mark >= 0xdc ? 2 : 0;
    uint64_t n = mark & 15;

    if (left < 1 + n_arg)
        return -EAGAIN;
    if (n_arg > 0) {
        n = 0;
        for (size_t i = 1; i <= n_arg; i++)
            n = n << 8 | c->p[i];
    }
    *ret_head = 1 + n_arg;
    *ret_values = (mark & 0xf0) == 0x80 || mark >= 0xde ? 2 * n : n;
    return 0;
}

/* Passes the short values that come first of what is left in the innermost container. */
static inline void
nmsgpack_scan_short(struct slice in, struct dialect_scan *scan)
{
    uint32_t *left = &scan->left[scan->depth - 1];
    size_t n;

    while (*left > 0 && (n = mp_short(in.p + scan->at, in.n - scan->at)) > 0) {
        scan->at += n;
        --*left;
    }
}

/* Leaves the containers that end here. */
static inline void
nmsgpack_scan_leave(struct dialect_scan *scan)
{
    while (scan->depth > 0 && scan->left[scan->depth - 1] == 0)
        scan->depth--;
}

/* Passes one head, or one value that is none. */
static int
nmsgpack_scan_step(struct slice in, struct dialect_scan *scan, size_t max)
{
    struct mp c = mp_of(slice_of(in.p + scan->at, in.n - scan->at));
    enum mp_type type;
    struct slice raw;
    uint64_t n = 0;
    size_t n_head;
    int r = mp_peek(&c, &type);

    if (r < 0)
        return r;
    if (type == MP_ARRAY || type == MP_MAP) {
        r = nmsgpack_container(&c, &n_head, &n);
        if (r < 0)
            return r;
        /* Each value takes a byte at least. */
        if (n > max)
            return -EMSGSIZE;
        if (n > 0 && scan->depth == DIALECT_SCAN_DEPTH)
            return -EINVAL;
        scan->at += n_head;
    } else {
        r = mp_skip(&c, &raw);
        if (r < 0)
            return r;
        scan->at += raw.n;
    }
    if (scan->depth > 0)
        scan->left[scan->depth - 1]--;
    if (n > 0)
        scan->left[scan->depth++] = (uint32_t)n;
    if (scan->depth > 0)
        nmsgpack_scan_short(in, scan);
    nmsgpack_scan_leave(scan);
    return 0;
}

static int
nmsgpack_split(
    struct slice in, struct dialect_scan *scan, size_t max, size_t *ret_n, struct slice *ret_message)
{
    if (scan->at == 0 && in.n > 0 && !nmsgpack_is(in, MP_MAP))
        return -EINVAL;
    do {
        int r = nmsgpack_scan_step(in, scan, max);

        if (r == -EAGAIN)
            return in.n > max ? -EMSGSIZE : -EAGAIN;
        if (r < 0)
            return r;
        if (scan->at > max)
            return -EMSGSIZE;
    } while (scan->depth > 0);
    *ret_n = scan->at;
    *ret_message = slice_of(in.p, scan->at);
    scan->at = 0;
    return 0;
}

/* ---- Deliveries. ---- */

/* A literal of at most 31 bytes with its head before it, in octal: the head of "topic" is \245. */
#define PUT(at, literal) mp_put_bytes((at), slice_of((literal), sizeof(literal) - 1))

/* All the words and heads that a message can have around its slices, and the largest time. */
#define NMSGPACK_WORDS 112u

static uint8_t *
nmsgpack_put_body(uint8_t *at, const struct message *m)
{
    if (m->kind == MESSAGE_JSON)
        at = PUT(at, "\250encoding\244json");
    at = PUT(at, "\244data");
    return m->kind == MESSAGE_BINARY ? mp_put_bin(at, m->body) : mp_put_str(at, m->body);
}

/* Who came and went. It has no cursor: nobody goes on from there. */
static uint8_t *
nmsgpack_put_presence(uint8_t *at, const struct message *m, struct slice topic, struct slice sub_id)
{
    *at++ = (uint8_t)(0x80 | (4u + (sub_id.n > 0) + (m->kind == MESSAGE_JSON)));
    at = PUT(at, "\242op\250presence");
    if (sub_id.n > 0)
        at = mp_put_bytes(PUT(at, "\243sub"), sub_id);
    at = mp_put_str(PUT(at, "\245topic"), topic);
    at = mp_put_u64(PUT(at, "\244time"), m->time_ms);
    return nmsgpack_put_body(at, m);
}

static uint8_t *
nmsgpack_put_msg(uint8_t *at, const struct message *m, struct slice sub_id)
{
    unsigned n_pairs = 5u + (sub_id.n > 0) + m->is_retained + (m->type.n > 0) + (m->key.n > 0) +
                       (m->headers.n > 0) + (m->kind == MESSAGE_JSON);

    *at++ = (uint8_t)(0x80 | n_pairs);
    at = PUT(at, "\242op\243msg");
    if (sub_id.n > 0)
        at = mp_put_bytes(PUT(at, "\243sub"), sub_id);
    at = mp_put_str(PUT(at, "\245topic"), m->topic);
    at = mp_put_str(PUT(at, "\246cursor"), m->cursor);
    at = mp_put_u64(PUT(at, "\244time"), m->time_ms);
    if (m->is_retained)
        at = PUT(at, "\250retained\303");
    if (m->type.n > 0)
        at = mp_put_str(PUT(at, "\244type"), m->type);
    if (m->key.n > 0)
        at = mp_put_str(PUT(at, "\243key"), m->key);
    if (m->headers.n > 0)
        at = mp_put_bytes(PUT(at, "\247headers"), m->headers);
    return nmsgpack_put_body(at, m);
}

/* Room for all of it at once: nothing needs an escape, so what it takes is known. */
static void
nmsgpack_put_message(struct buf *out, const struct message *m, struct slice sub_id)
{
    struct slice presence = native_presence_topic(m->topic);
    size_t n = m->topic.n + m->cursor.n + m->type.n + m->key.n + m->headers.n + m->body.n + sub_id.n;
    uint8_t *to = buf_reserve(out, NMSGPACK_WORDS + n), *at;

    if (to == NULL)
        return;
    at = presence.n > 0 ? nmsgpack_put_presence(to, m, presence, sub_id) : nmsgpack_put_msg(to, m, sub_id);
    buf_commit(out, (size_t)(at - to));
}

/* ---- Answers. ---- */

/* Room for a key and n bytes of its value, beside a head. NULL if there is none. */
static uint8_t *
nmsgpack_put_key(struct native_writer *w, const char *key, size_t n)
{
    struct slice name = slice_str(key);
    uint8_t *to = buf_reserve(w->out, MP_PUT_HEAD + name.n + MP_PUT_U64 + n);

    w->n++;
    return to == NULL ? NULL : mp_put_str(to, name);
}

static void
nmsgpack_commit(struct native_writer *w, const uint8_t *at)
{
    buf_commit(w->out, (size_t)(at - (w->out->p + w->out->n)));
}

static void
nmsgpack_begin(struct native_writer *w)
{
    w->at = w->out->n;
    buf_put_byte(w->out, 0x80); /* the count follows at the end */
}

static void
nmsgpack_put_string_pair(struct native_writer *w, const char *key, struct slice value)
{
    uint8_t *at = nmsgpack_put_key(w, key, value.n);

    if (at != NULL)
        nmsgpack_commit(w, mp_put_str(at, value));
}

static void
nmsgpack_put_u64_pair(struct native_writer *w, const char *key, uint64_t value)
{
    uint8_t *at = nmsgpack_put_key(w, key, 0);

    if (at != NULL)
        nmsgpack_commit(w, mp_put_u64(at, value));
}

static void
nmsgpack_put_raw_pair(struct native_writer *w, const char *key, struct slice raw)
{
    uint8_t *at = nmsgpack_put_key(w, key, raw.n);

    if (at != NULL)
        nmsgpack_commit(w, mp_put_bytes(at, raw));
}

static void
nmsgpack_put_bool_pair(struct native_writer *w, const char *key, bool value)
{
    nmsgpack_put_raw_pair(w, key, slice_str(value ? "\303" : "\302"));
}

static void
nmsgpack_put_strings_pair(struct native_writer *w, const char *key, const struct slice *items, size_t n)
{
    uint8_t *at = nmsgpack_put_key(w, key, 0);

    if (at != NULL)
        nmsgpack_commit(w, mp_put_array(at, (uint32_t)n));
    for (size_t i = 0; i < n; i++) {
        at = buf_reserve(w->out, MP_PUT_HEAD + items[i].n);
        if (at != NULL)
            nmsgpack_commit(w, mp_put_str(at, items[i]));
    }
}

static void
nmsgpack_put_content(struct native_writer *w, const struct message *m)
{
    uint8_t *to;

    if (m->type.n > 0)
        nmsgpack_put_string_pair(w, "type", m->type);
    if (m->headers.n > 0)
        nmsgpack_put_raw_pair(w, "headers", m->headers);
    w->n += 1u + (m->kind == MESSAGE_JSON);
    to = buf_reserve(w->out, NMSGPACK_WORDS + m->body.n);
    if (to != NULL)
        buf_commit(w->out, (size_t)(nmsgpack_put_body(to, m) - to));
}

static void
nmsgpack_end(struct native_writer *w)
{
    if (!buf_failed(w->out))
        w->out->p[w->at] = (uint8_t)(0x80 | w->n);
}

static const struct native_writer_ops nmsgpack_writer = {
    .begin = nmsgpack_begin,
    .put_string = nmsgpack_put_string_pair,
    .put_u64 = nmsgpack_put_u64_pair,
    .put_bool = nmsgpack_put_bool_pair,
    .put_raw = nmsgpack_put_raw_pair,
    .put_strings = nmsgpack_put_strings_pair,
    .put_json = nmsgpack_put_string_pair,
    .put_content = nmsgpack_put_content,
    .end = nmsgpack_end,
};

static void
nmsgpack_put_answer(struct buf *out, const struct answer *a)
{
    native_put_answer(&nmsgpack_writer, out, a);
}

const struct dialect dialect_native_msgpack = {
    .name = "busbar.v1.msgpack",
    .is_text = false,
    .expansion = 1,
    .decode = nmsgpack_decode,
    .split = nmsgpack_split,
    .put_message = nmsgpack_put_message,
    .put_answer = nmsgpack_put_answer,
};
