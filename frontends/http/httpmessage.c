/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages in HTTP: a request's body and headers as a message, and a message as a response. What kind of
 * message a body is follows from Content-Type:
 *
 *     application/json, application/x+json          JSON; must be
 *     text/x, application/x-www-form-urlencoded     text if it is UTF-8, else binary
 *     none                                          likewise
 *     anything else                                 binary
 */
#include "config.h"

#include "frontends/http/httpmessage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/json.h"
#include "base/mp.h"
#include "base/utf8.h"
#include "frontends/http/httpserver.h"

#define META "busbar-meta-"
/* As in the native protocol. */
#define MAX_TYPE 255
#define MAX_KEY 255
#define MAX_META_NAME 128
#define MAX_META_VALUE 4096

/* --- what kind of message --------------------------------------------------------------------------- */

/* "Text/Plain ; charset=x" without its parameters and white space. */
static struct slice
media_type(struct slice type)
{
    const uint8_t *semicolon = type.n == 0 ? NULL : memchr(type.p, ';', type.n);

    if (semicolon != NULL)
        type.n = (size_t)(semicolon - type.p);
    while (type.n > 0 && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t'))
        type.n--;
    return type;
}

static bool
begins(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && httpreq_is_name(slice_of(s.p, n), with);
}

static bool
ends(struct slice s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && httpreq_is_name(slice_of(s.p + s.n - n, n), with);
}

/* Says no more than the kind itself, so that it need not travel with every message. */
static bool
is_usual_type(struct slice type, enum message_kind kind)
{
    static const char *const usual[][3] = {
        [MESSAGE_BINARY] = {"application/octet-stream", "application/octet-stream",
            "application/octet-stream"},
        [MESSAGE_TEXT] = {"text/plain", "text/plain;charset=utf-8", "text/plain; charset=utf-8"},
        [MESSAGE_JSON] = {"application/json", "application/json;charset=utf-8",
            "application/json; charset=utf-8"},
    };
    for (size_t i = 0; i < 3; i++)
        if (httpreq_is_name(type, usual[kind][i]))
            return true;
    return false;
}

static enum message_kind
kind_of(struct slice type, struct slice body)
{
    struct slice media = media_type(type);

    if (httpreq_is_name(media, "application/json") || (begins(media, "application/") && ends(media, "+json")))
        return MESSAGE_JSON;
    if (media.n == 0 || begins(media, "text/") || httpreq_is_name(media, "application/x-www-form-urlencoded"))
        return utf8_is_valid(body.p, body.n) ? MESSAGE_TEXT : MESSAGE_BINARY;
    return MESSAGE_BINARY;
}

/* --- from headers to a request ---------------------------------------------------------------------- */

static int
bad(struct http_problem *ret, enum error_code code, const char *text)
{
    *ret = (struct http_problem){.code = code, .text = text};
    return -EINVAL;
}

static int
bad_json(struct http_problem *ret, const char *wrong)
{
    *ret = (struct http_problem){.code = ERROR_BODY_INVALID};
    (void)snprintf(ret->words, sizeof ret->words, "Content-Type says JSON, and the body is not: %s.", wrong);
    ret->text = ret->words;
    return -EINVAL;
}

static void
put_mp_str(struct buf *out, struct slice s, bool to_lower)
{
    if (s.n < 32) {
        buf_put_byte(out, (uint8_t)(0xa0 | s.n));
    } else {
        buf_put_byte(out, 0xda); /* str 16: headers are never longer than a head */
        buf_put_byte(out, (uint8_t)(s.n >> 8));
        buf_put_byte(out, (uint8_t)s.n);
    }
    size_t at = out->n;
    buf_put_slice(out, s);
    if (!to_lower || buf_failed(out))
        return;
    for (size_t i = at; i < out->n; i++)
        if (out->p[i] >= 'A' && out->p[i] <= 'Z')
            out->p[i] = (uint8_t)(out->p[i] + 0x20);
}

static bool
is_meta(const struct httpreq_header *h)
{
    return h->name.n >= sizeof META - 1 && (h->name.p[0] | 0x20) == META[0] && begins(h->name, META);
}

static const char *
check_meta(const struct httpreq_header *h)
{
    size_t n_name = h->name.n - strlen(META);

    if (n_name == 0 || n_name > MAX_META_NAME)
        return "Busbar-Meta- needs a name of 1 to 128 bytes behind it.";
    if (h->value.n > MAX_META_VALUE)
        return "The value of a Busbar-Meta- header has at most 4096 bytes.";
    if (memchr(h->value.p, '\t', h->value.n) != NULL || !utf8_is_valid(h->value.p, h->value.n))
        return "The value of a Busbar-Meta- header is not UTF-8, or has a control character.";
    return NULL;
}

/* The MessagePack map of Busbar-Meta-x headers, empty if there are none. */
static int
collect_meta(const struct httpreq *req, struct buf *out, struct http_problem *ret_problem)
{
    unsigned n = 0;

    for (unsigned i = 0; i < req->n_headers; i++) {
        const struct httpreq_header *h = &req->headers[i];
        if (!is_meta(h))
            continue;
        const char *wrong = check_meta(h);
        if (wrong != NULL)
            return bad(ret_problem, ERROR_REQUEST_INVALID, wrong);
        for (unsigned k = 0; k < i; k++)
            if (httpreq_is_same_name(req->headers[k].name, h->name))
                return bad(
                    ret_problem, ERROR_REQUEST_INVALID, "The same Busbar-Meta- header is given twice.");
        n++;
    }
    if (n == 0)
        return 0;
    buf_put_byte(out, 0xde); /* map 16 */
    buf_put_byte(out, (uint8_t)(n >> 8));
    buf_put_byte(out, (uint8_t)n);
    for (unsigned i = 0; i < req->n_headers; i++) {
        struct slice name = req->headers[i].name;
        if (!is_meta(&req->headers[i]))
            continue;
        put_mp_str(out, slice_of(name.p + strlen(META), name.n - strlen(META)), true);
        put_mp_str(out, req->headers[i].value, false);
    }
    return 0;
}

static bool
is_key(struct slice key)
{
    return key.n > 0 && key.n <= MAX_KEY && utf8_is_valid(key.p, key.n);
}

static int
collect_keys(const struct httpreq *req, struct request *ret, struct http_problem *ret_problem)
{
    const struct slice *once = httpreq_header(req, "idempotency-key");
    const struct slice *key = httpreq_header(req, "busbar-key");

    if (once != NULL && !is_key(*once))
        return bad(ret_problem, ERROR_REQUEST_INVALID, "Idempotency-Key is 1 to 255 bytes of UTF-8.");
    if (key != NULL && !is_key(*key))
        return bad(ret_problem, ERROR_REQUEST_INVALID, "Busbar-Key is 1 to 255 bytes of UTF-8.");
    if (once != NULL)
        ret->once = *once;
    if (key != NULL)
        ret->key = *key;
    return 0;
}

static bool
is_plain(struct slice type)
{
    for (size_t i = 0; i < type.n; i++)
        if (type.p[i] < ' ' || type.p[i] > '~')
            return false;
    return type.n > 0 && type.n <= MAX_TYPE;
}

static int
collect_body(struct http_conn *hc, struct request *ret, struct http_problem *ret_problem)
{
    const struct httpreq *req = &hc->server->req;
    const struct slice *type = httpreq_header(req, "content-type");
    const struct slice *coding = httpreq_header(req, "content-encoding");
    const char *wrong = NULL;

    if (coding != NULL && !httpreq_is_name(*coding, "identity"))
        return bad(ret_problem, ERROR_BODY_INVALID,
            "Compressed bodies are not taken; send it without Content-Encoding.");
    ret->body = req->body;
    ret->kind = kind_of(type == NULL ? slice_of(NULL, 0) : *type, req->body);
    if (type != NULL && !is_usual_type(*type, ret->kind)) {
        if (!is_plain(*type))
            return bad(ret_problem, ERROR_REQUEST_INVALID, "Content-Type has 1 to 255 plain characters.");
        ret->type = *type;
    }
    /* Nothing at all clears the topic's kept value, whatever type it would have had. */
    if (ret->kind == MESSAGE_JSON && req->body.n == 0 && ret->is_retain)
        ret->kind = MESSAGE_TEXT;
    else if (ret->kind == MESSAGE_JSON &&
             json_check(req->body.p, req->body.n, (unsigned)hc->server->fe->limits->json_depth, &wrong) < 0)
        return bad_json(ret_problem, wrong);
    return 0;
}

int
http_problem_set(struct http_problem *ret, enum error_code code, const char *text)
{
    return bad(ret, code, text);
}

int
http_message_read(struct http_conn *hc, struct request *ret, struct http_problem *ret_problem)
{
    const struct httpreq *req = &hc->server->req;
    struct buf *headers = &hc->server->fe->scratch.headers;

    if (collect_keys(req, ret, ret_problem) < 0 || collect_meta(req, headers, ret_problem) < 0 ||
        collect_body(hc, ret, ret_problem) < 0)
        return -EINVAL;
    if (buf_failed(headers))
        return bad(ret_problem, ERROR_INTERNAL, "out of memory");
    ret->headers = buf_slice(headers);
    return 0;
}

/* --- times ------------------------------------------------------------------------------------------ */

/* "5" and "0.5" are seconds, as everywhere in the interface; with a unit it is as in the config file. */
static int
parse_time(struct slice text, uint64_t *ret_ms)
{
    char copy[32];
    uint64_t whole = 0, part = 0;
    unsigned n_decimals = 0;
    size_t i = 0;

    if (text.n == 0 || text.n >= sizeof copy)
        return -EINVAL;
    for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && whole < UINT32_MAX; i++)
        whole = whole * 10 + (text.p[i] - '0');
    if (i > 0 && i < text.n && text.p[i] == '.')
        for (i++; i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && n_decimals < 3; i++, n_decimals++)
            part = part * 10 + (text.p[i] - '0');
    if (i == text.n) {
        for (; n_decimals < 3; n_decimals++)
            part *= 10;
        *ret_ms = whole * 1000 + part;
        return 0;
    }
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return conf_parse_time(copy, ret_ms);
}

int
http_time_read(struct http_conn *hc, const char *header, const char *parameter, uint64_t *ret_ms,
    struct http_problem *ret_problem)
{
    const struct slice *h = header == NULL ? NULL : httpreq_header(&hc->server->req, header);
    struct slice rest = hc->server->req.query, name, value = slice_of(NULL, 0);

    if (h != NULL) {
        value = *h;
    } else {
        while (
            parameter != NULL && httpreq_query_next(&rest, &name, &value) == 1 && !slice_is(name, parameter))
            value = slice_of(NULL, 0);
        if (value.p == NULL)
            return 0;
    }
    if (parse_time(value, ret_ms) == 0)
        return 0;
    *ret_problem = (struct http_problem){.code = ERROR_REQUEST_INVALID};
    (void)snprintf(ret_problem->words, sizeof ret_problem->words,
        "%s is a time: a number of seconds, or with a unit as in 500ms, 5s, 2m, 1h.",
        h != NULL ? header : parameter);
    ret_problem->text = ret_problem->words;
    return -EINVAL;
}

/* --- what waits ------------------------------------------------------------------------------------- */

static struct slice
hold(struct buf *out, struct slice s)
{
    size_t at = out->n;
    buf_put_slice(out, s);
    return buf_failed(out) ? slice_of(NULL, 0) : slice_of(out->p + at, s.n);
}

int
http_request_hold(struct buf *held, struct request *r)
{
    if (buf_reserve(held, r->topic.n + r->type.n + r->headers.n + r->key.n + r->once.n + r->body.n + 1) ==
        NULL)
        return -ENOMEM;
    r->topic = hold(held, r->topic);
    r->type = hold(held, r->type);
    r->headers = hold(held, r->headers);
    r->key = hold(held, r->key);
    r->once = hold(held, r->once);
    r->body = hold(held, r->body);
    return 0;
}

void
http_stored_init(struct http_stored *stored)
{
    stored->kind = MESSAGE_BINARY;
    buf_init(&stored->type, 0);
    buf_init(&stored->headers, 0);
    buf_init(&stored->body, 0);
}

void
http_stored_set(struct http_stored *to, const struct message *m)
{
    to->kind = m->kind;
    buf_reset(&to->type);
    buf_reset(&to->headers);
    buf_reset(&to->body);
    buf_put_slice(&to->type, m->type);
    buf_put_slice(&to->headers, m->headers);
    buf_put_slice(&to->body, m->body);
}

void
http_stored_fini(struct http_stored *stored)
{
    buf_fini(&stored->type);
    buf_fini(&stored->headers);
    buf_fini(&stored->body);
}

/* --- a message as a response ------------------------------------------------------------------------ */

/* RFC 9110, section 5.6.2. */
static bool
is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]) != NULL)
            return false;
    return s.n > 0;
}

static bool
is_line(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

static void
put_meta_lines(struct buf *out, struct slice packed)
{
    struct mp c = mp_of(packed);
    struct slice name, value;
    uint32_t n;

    if (mp_map(&c, &n) != 0)
        return;
    for (uint32_t i = 0; i < n && mp_str(&c, &name) == 0 && mp_str(&c, &value) == 0; i++)
        if (is_token(name) && is_line(value))
            buf_printf(out, "Busbar-Meta-%.*s: %.*s\r\n", SLICE_ARG(name), SLICE_ARG(value));
}

void
http_stored_respond(struct http_conn *hc, const struct http_reply *reply, const struct http_stored *stored,
    struct slice lines)
{
    struct httpresp r = {.status = 200};
    struct slice type = buf_slice(&stored->type);
    struct buf headers, content_type;

    buf_init(&headers, 0);
    buf_init(&content_type, 0);
    buf_put_str(&headers, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    buf_put_slice(&headers, lines);
    if (stored->headers.n > 0)
        put_meta_lines(&headers, buf_slice(&stored->headers));
    if (is_plain(type))
        buf_put_slice(&content_type, type);
    else
        buf_put_str(&content_type, message_kind_type(stored->kind));
    buf_put_byte(&content_type, '\0');
    if (buf_failed(&headers) || buf_failed(&content_type) || buf_failed(&stored->type) ||
        buf_failed(&stored->headers) || buf_failed(&stored->body)) {
        http_respond_code(hc, reply, ERROR_INTERNAL, slice_str("out of memory"));
    } else {
        r.content_type = (const char *)content_type.p;
        r.headers = buf_slice(&headers);
        http_respond(hc, reply, &r, buf_slice(&stored->body));
    }
    buf_fini(&headers);
    buf_fini(&content_type);
}
