/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST and PUT of a topic: the body is the message, as it is. What kind of message follows from Content-Type:
 *
 *     application/json, application/x+json          JSON; must be
 *     text/x, application/x-www-form-urlencoded     text if it is UTF-8, else binary
 *     none                                          likewise
 *     anything else                                 binary
 *
 * Busbar-Meta-Name: v becomes the message's header `name`, Busbar-Retain: true (and PUT) keeps the message as
 * the topic's value, Idempotency-Key makes a repetition harmless, Busbar-Key is the message's key. The answer
 * waits for the broker's.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "frontends/http/httpencode.h"
#include "frontends/http/httpserver.h"

#define META "busbar-meta-"
/* As in the native protocol. */
#define MAX_TYPE 255
#define MAX_KEY 255
#define MAX_META_NAME 128
#define MAX_META_VALUE 4096

struct publish {
    struct exchange x;
    struct request request; /* valid until session_request() took it; slices into `held` after -EAGAIN */
    struct buf held;
    bool is_taken;
    struct position position; /* the broker's answer */
    enum error_code code;
    struct buf text;
};

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

struct problem {
    enum error_code code;
    const char *text;
    char words[128]; /* where text is put together */
};

static int
bad(struct problem *ret, enum error_code code, const char *text)
{
    *ret = (struct problem){.code = code, .text = text};
    return -EINVAL;
}

static int
bad_json(struct problem *ret, const char *wrong)
{
    *ret = (struct problem){.code = ERROR_BODY_INVALID};
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
    return begins(h->name, META);
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
collect_meta(const struct httpreq *req, struct buf *out, struct problem *ret_problem)
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

static int
collect_retain(const struct httpreq *req, struct request *ret, struct problem *ret_problem)
{
    const struct slice *h = httpreq_header(req, "busbar-retain");

    ret->is_retain = req->method == HTTPREQ_PUT;
    if (h == NULL)
        return 0;
    if (httpreq_is_name(*h, "true") || slice_is(*h, "1"))
        ret->is_retain = true;
    else if (httpreq_is_name(*h, "false") || slice_is(*h, "0"))
        ret->is_retain = false;
    else
        return bad(ret_problem, ERROR_REQUEST_INVALID, "Busbar-Retain is true or false.");
    return 0;
}

static bool
is_key(struct slice key)
{
    return key.n > 0 && key.n <= MAX_KEY && utf8_is_valid(key.p, key.n);
}

static int
collect_keys(const struct httpreq *req, struct request *ret, struct problem *ret_problem)
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
collect_body(struct http_conn *hc, struct request *ret, struct problem *ret_problem)
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

/* --- the exchange ----------------------------------------------------------------------------------- */

static struct publish *
publish_of(struct exchange *x)
{
    return (struct publish *)x;
}

static struct slice
hold(struct buf *out, struct slice s)
{
    size_t at = out->n;
    buf_put_slice(out, s);
    return buf_failed(out) ? slice_of(NULL, 0) : slice_of(out->p + at, s.n);
}

/* The broker is away and the hold buffer full: the request waits in memory of its own until there is room. */
static int
hold_request(struct publish *p)
{
    struct request *r = &p->request;

    if (buf_reserve(&p->held, r->topic.n + r->type.n + r->headers.n + r->key.n + r->once.n + r->body.n + 1) ==
        NULL)
        return -ENOMEM;
    r->topic = hold(&p->held, r->topic);
    r->type = hold(&p->held, r->type);
    r->headers = hold(&p->held, r->headers);
    r->key = hold(&p->held, r->key);
    r->once = hold(&p->held, r->once);
    r->body = hold(&p->held, r->body);
    return 0;
}

static void
publish_fail(struct publish *p, enum error_code code, struct slice text)
{
    p->code = code;
    buf_put_slice(&p->text, text);
    exchange_done(&p->x, 0);
}

static void
publish_try(struct publish *p)
{
    int r = session_request(&p->x.session, &p->request);

    if (r == -EAGAIN && p->held.n == 0)
        r = hold_request(p) == 0 ? -EAGAIN : -ENOMEM;
    if (r == 0)
        p->is_taken = true;
    else if (r != -EAGAIN)
        publish_fail(p, ERROR_INTERNAL, slice_str("The message could not be taken."));
}

static void
publish_on_answer(struct session *s, const struct answer *answer)
{
    struct publish *p = publish_of(exchange_of(s));

    if (answer->type == ANSWER_PUBLISHED) {
        p->position = answer->position;
        exchange_done(&p->x, 0);
    } else if (answer->type == ANSWER_ERROR) {
        publish_fail(p, answer->code, answer->text);
    }
}

static void
publish_on_unblocked(struct session *s)
{
    struct publish *p = publish_of(exchange_of(s));
    if (!p->is_taken)
        publish_try(p);
}

static void
publish_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    (void)s; /* it never subscribes */
    (void)block;
    (void)at;
    (void)n;
}

static void
publish_finish(struct exchange *x)
{
    struct publish *p = publish_of(x);
    struct httpresp r = {.status = 200, .content_type = "application/json"};
    char cursor[CURSOR_MAX], json[CURSOR_MAX + 20];

    if (p->code != ERROR_NONE) {
        http_respond_code(x->hc, &x->reply, p->code, buf_slice(&p->text));
        return;
    }
    (void)cursor_format(cursor, p->position);
    (void)snprintf(json, sizeof json, "{\"cursor\":\"%s\"}\n", cursor);
    http_respond(x->hc, &x->reply, &r, slice_str(json));
}

static void
publish_on_timer(struct exchange *x)
{
    (void)x; /* the uplink has a limit for how long it holds a publish */
}

/* Whoever half-closes after asking still wants to be told. */
static void
publish_on_eof(struct exchange *x)
{
    (void)x;
}

static void
publish_on_stop(struct exchange *x)
{
    struct publish *p = publish_of(x);
    if (!p->is_taken)
        publish_fail(p, ERROR_SHUTTING_DOWN, slice_str(""));
}

static void
publish_fini(struct exchange *x)
{
    struct publish *p = publish_of(x);
    buf_fini(&p->held);
    buf_fini(&p->text);
}

static const struct exchange_ops publish_ops = {
    .finish = publish_finish,
    .on_timer = publish_on_timer,
    .on_eof = publish_on_eof,
    .on_stop = publish_on_stop,
    .fini = publish_fini,
};

static const struct session_ops publish_session_ops = {
    .on_deliver = publish_on_deliver,
    .on_answer = publish_on_answer,
    .on_unblocked = publish_on_unblocked,
};

void
http_publish_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic)
{
    const struct httpreq *req = &hc->server->req;
    struct request request = {.op = REQUEST_PUB, .id = slice_str("1"), .topic = topic};
    struct buf *headers = &hc->server->fe->scratch.headers;
    struct problem problem = {0};

    if (collect_retain(req, &request, &problem) < 0 || collect_keys(req, &request, &problem) < 0 ||
        collect_meta(req, headers, &problem) < 0 || collect_body(hc, &request, &problem) < 0) {
        http_respond_code(hc, reply, problem.code, slice_str(problem.text));
        return;
    }
    if (buf_failed(headers)) {
        http_respond_code(hc, reply, ERROR_INTERNAL, slice_str("out of memory"));
        return;
    }
    request.headers = buf_slice(headers);
    struct publish *p =
        exchange_new(hc, reply, sizeof *p, &publish_ops, &http_poll_encoder, &publish_session_ops);
    if (p == NULL)
        return;
    buf_init(&p->held, 0);
    buf_init(&p->text, 0);
    p->request = request;
    hc->server->fe->counters.publishes++;
    publish_try(p);
}
