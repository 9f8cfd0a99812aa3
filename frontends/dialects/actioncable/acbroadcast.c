/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/actioncable/acbroadcast.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/json.h"
#include "wire/names.h"

/* The array, the message, its meta, and what newer publishers put there. */
#define ENVELOPE_DEPTH 16

#define FORM                                                                                                 \
    "A broadcast is {\"stream\":\"...\",\"data\":\"...\"}, or an array of these: data is a text, usually "   \
    "JSON."

struct reader {
    struct json json;
    const struct acbroadcast_limits *limits;
    struct acbroadcast *ret;
    struct acbroadcast_error *error;
    bool is_batch;
};

/* What one object says, as far as it has been read. */
struct fields {
    struct acbroadcast_message m;
    bool has_stream, has_data, has_command;
};

static int fail(struct reader *r, enum error_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Which message of a batch it was, then what. */
static int
fail(struct reader *r, enum error_code code, const char *fmt, ...)
{
    char *text = r->error->text;
    size_t n = sizeof r->error->text, at = 0;
    va_list args;

    if (r->is_batch)
        at = (size_t)snprintf(text, n, "Message %zu of the batch: ", r->ret->n + 1);
    va_start(args, fmt);
    (void)vsnprintf(text + at, n - at, fmt, args);
    va_end(args);
    r->error->code = code;
    return -EINVAL;
}

static int
fail_json(struct reader *r)
{
    r->is_batch = false;
    return fail(r, ERROR_REQUEST_INVALID, "Not JSON at byte %zu: %s. %s", json_offset(&r->json),
        r->json.error == NULL ? "something else was expected" : r->json.error, FORM);
}

/* Decoded; in `text`, which has room for all there is. */
static struct slice
decode(struct reader *r, const struct json_token *t)
{
    struct buf *text = &r->ret->text;
    size_t at = text->n;

    if (t->has_escape)
        json_unescape(text, t->raw);
    else
        buf_put_slice(text, t->raw);
    return slice_of(text->p + at, text->n - at);
}

static int
read_string(struct reader *r, const char *what, struct slice *ret)
{
    struct json_token t;

    if (json_next(&r->json, &t) < 0)
        return fail_json(r);
    if (t.type != JSON_STRING)
        return fail(r, ERROR_REQUEST_INVALID, "\"%s\" is not a string. %s", what, FORM);
    *ret = decode(r, &t);
    return 0;
}

static int
skip(struct reader *r)
{
    struct slice raw;

    return json_skip(&r->json, &raw) < 0 ? fail_json(r) : 0;
}

/* A header's value may hold a part of it. */
static int
check_exclude(struct reader *r, struct slice sid)
{
    bool is_good = sid.n <= ACBROADCAST_EXCLUDE_MAX;

    for (size_t i = 0; i < sid.n && is_good; i++)
        is_good = sid.p[i] >= ' ' && sid.p[i] < 0x7f;
    return is_good ? 0 : fail(r, ERROR_REQUEST_INVALID, "\"exclude_socket\" is no session's id.");
}

static int
read_meta(struct reader *r, struct fields *f)
{
    struct json_token t;

    if (json_next(&r->json, &t) < 0)
        return fail_json(r);
    if (t.type == JSON_NULL)
        return 0;
    if (t.type != JSON_OBJECT)
        return fail(r, ERROR_REQUEST_INVALID, "\"meta\" is not an object. %s", FORM);
    for (;;) {
        int e = 0;

        if (json_next(&r->json, &t) < 0)
            return fail_json(r);
        if (t.type == JSON_OBJECT_END)
            return 0;
        if (slice_is(t.raw, "exclude_socket"))
            e = read_string(r, "exclude_socket", &f->m.exclude);
        else
            e = skip(r);
        if (e == 0)
            e = check_exclude(r, f->m.exclude);
        if (e < 0)
            return e;
    }
}

static int
read_member(struct reader *r, const struct json_token *key, struct fields *f)
{
    if (slice_is(key->raw, "stream")) {
        if (f->has_stream)
            return fail(r, ERROR_REQUEST_INVALID, "\"stream\" stands twice.");
        f->has_stream = true;
        return read_string(r, "stream", &f->m.stream);
    }
    if (slice_is(key->raw, "data")) {
        if (f->has_data)
            return fail(r, ERROR_REQUEST_INVALID, "\"data\" stands twice.");
        f->has_data = true;
        return read_string(r, "data", &f->m.data);
    }
    if (slice_is(key->raw, "meta"))
        return read_meta(r, f);
    f->has_command |= slice_is(key->raw, "command");
    return skip(r);
}

/* What is JSON but deeper than this server takes is refused, not taken for a text. */
static int
check_data(struct reader *r, struct fields *f)
{
    struct slice data = f->m.data;

    f->m.is_json = data.n > 0 && json_check(data.p, data.n, r->limits->max_depth, NULL) == 0;
    if (f->m.is_json || data.n == 0 || json_check(data.p, data.n, JSON_MAX_DEPTH, NULL) < 0)
        return 0;
    return fail(r, ERROR_BODY_INVALID, "The JSON in \"data\" is nested too deeply.");
}

static int
take_message(struct reader *r, struct fields *f)
{
    const char *wrong;

    if (!f->has_stream && f->has_command)
        return fail(r, ERROR_OP_UNKNOWN, "Commands (remote disconnects) are not taken here, only messages.");
    if (!f->has_stream || !f->has_data)
        return fail(
            r, ERROR_REQUEST_INVALID, "It has no \"%s\". %s", f->has_stream ? "data" : "stream", FORM);
    wrong = topic_name_error(f->m.stream);
    if (wrong != NULL)
        return fail(r, ERROR_TOPIC_INVALID,
            "The name of the stream is no topic: %s. Choose another: a stream's name is its topic.", wrong);
    if (r->ret->n == r->limits->max_messages)
        return fail(r, ERROR_LIMIT_REACHED,
            "A batch has at most %zu messages (http.broadcast.batch); send several.",
            r->limits->max_messages);
    int e = check_data(r, f);
    if (e < 0)
        return e;
    buf_put(&r->ret->messages, &f->m, sizeof f->m);
    if (buf_failed(&r->ret->messages)) {
        (void)fail(r, ERROR_INTERNAL, "The server is out of memory.");
        return -ENOMEM;
    }
    r->ret->n++;
    return 0;
}

/* Its opening brace has been read. */
static int
read_message(struct reader *r)
{
    struct fields f = {0};
    struct json_token t;

    for (;;) {
        if (json_next(&r->json, &t) < 0)
            return fail_json(r);
        if (t.type == JSON_OBJECT_END)
            return take_message(r, &f);
        int e = read_member(r, &t, &f);
        if (e < 0)
            return e;
    }
}

static int
read_batch(struct reader *r)
{
    struct json_token t;

    r->is_batch = true;
    for (;;) {
        if (json_next(&r->json, &t) < 0)
            return fail_json(r);
        if (t.type == JSON_ARRAY_END)
            break;
        if (t.type != JSON_OBJECT)
            return fail(r, ERROR_REQUEST_INVALID, "It is not an object. %s", FORM);
        int e = read_message(r);
        if (e < 0)
            return e;
    }
    r->is_batch = false;
    return r->ret->n == 0 ? fail(r, ERROR_REQUEST_INVALID, "The batch is empty. %s", FORM) : 0;
}

void
acbroadcast_init(struct acbroadcast *b)
{
    buf_init(&b->text, 0);
    buf_init(&b->messages, 0);
    b->n = 0;
}

void
acbroadcast_fini(struct acbroadcast *b)
{
    buf_fini(&b->text);
    buf_fini(&b->messages);
}

int
acbroadcast_read(struct slice in, const struct acbroadcast_limits *limits, struct acbroadcast *ret,
    struct acbroadcast_error *ret_error)
{
    struct reader r = {.limits = limits, .ret = ret, .error = ret_error};
    struct json_token t;
    int e;

    /* Decoded text is never longer than it was: the slices stay where they are. */
    if (buf_reserve(&ret->text, in.n + 1) == NULL) {
        (void)fail(&r, ERROR_INTERNAL, "The server is out of memory.");
        return -ENOMEM;
    }
    json_init(&r.json, in.p, in.n, ENVELOPE_DEPTH);
    if (json_next(&r.json, &t) < 0)
        return fail_json(&r);
    if (t.type == JSON_OBJECT)
        e = read_message(&r);
    else if (t.type == JSON_ARRAY)
        e = read_batch(&r);
    else
        return fail(&r, ERROR_REQUEST_INVALID, "%s", FORM);
    if (e == 0 && json_next(&r.json, &t) < 0)
        e = fail_json(&r);
    return e;
}
