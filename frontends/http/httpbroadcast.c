/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST of broadcasts as AnyCable's publishers send them: {"stream":...,"data":...}, or an array of these. Who
 * may is settled by one key, which is given or made from AnyCable's application secret:
 *
 *     Authorization: Bearer hex(HMAC-SHA256(secret, "broadcast-cable"))
 *
 * A batch is published in its order. The answer, 201, comes when the broker has answered for each message.
 */
#include "config.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/secret.h"
#include "base/utf8.h"
#include "frontends/dialects/actioncable/acbroadcast.h"
#include "frontends/http/httpencode.h"
#include "frontends/http/httpserver.h"
#include "frontends/sdk/badge.h"

#define KEY_PHRASE "broadcast-cable"
#define BEARER "bearer "
#define ONCE_MAX 255 /* as in the native protocol */
#define NUMBER_MAX 24

struct broadcast {
    struct exchange x;
    struct acbroadcast b;
    struct buf once; /* the request's Idempotency-Key */
    size_t n_wanted; /* all; fewer when it is over before they were all taken */
    size_t n_taken, n_answered, n_refused;
    struct position position; /* of the last that the broker has */
    enum error_code code;     /* of the first that was refused */
    struct buf text;
};

/* --- the key ---------------------------------------------------------------------------------------- */

static int
key_derive(const struct buf *secret, struct buf *ret)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (HMAC(EVP_sha256(), secret->p, (int)secret->n, (const uint8_t *)KEY_PHRASE, strlen(KEY_PHRASE), digest,
            &n) == NULL)
        return -EIO;
    for (unsigned i = 0; i < n; i++)
        buf_printf(ret, "%02x", digest[i]);
    OPENSSL_cleanse(digest, sizeof digest);
    return buf_failed(ret) ? -ENOMEM : 0;
}

static int
key_load(const struct http_options *o, struct buf *ret)
{
    struct buf secret;
    int r = secret_load(o->broadcast_key_file, o->broadcast_key_env, "http.broadcast.key", ret);

    if (r < 0 || ret->n > 0)
        return r;
    r = secret_load(o->broadcast_secret_file, o->broadcast_secret_env, "http.broadcast.secret", &secret);
    if (r < 0)
        return r;
    if (secret.n > 0)
        r = key_derive(&secret, ret);
    secret_fini(&secret);
    return r;
}

int
http_broadcast_load(struct http_server *server)
{
    struct buf key;

    buf_init(&key, 0);
    if (server->options->broadcast_access == HTTP_BROADCAST_KEY) {
        int r = key_load(server->options, &key);

        if (r < 0) {
            secret_fini(&key);
            return r;
        }
    }
    http_broadcast_forget(server);
    server->broadcast_key = key;
    return 0;
}

void
http_broadcast_forget(struct http_server *server)
{
    secret_fini(&server->broadcast_key);
}

/* How long the key is may be learnt from the time this takes, and nothing else. */
static bool
may_broadcast(const struct http_server *server)
{
    const struct slice *given = httpreq_header(&server->req, "authorization");
    size_t n = strlen(BEARER);

    if (server->options->broadcast_access == HTTP_BROADCAST_OPEN)
        return true;
    if (given == NULL || given->n < n || !httpreq_is_name(slice_of(given->p, n), BEARER))
        return false;
    return server->broadcast_key.n > 0 && given->n - n == server->broadcast_key.n &&
           CRYPTO_memcmp(given->p + n, server->broadcast_key.p, server->broadcast_key.n) == 0;
}

/* --- publishing ------------------------------------------------------------------------------------- */

static struct broadcast *
broadcast_of(struct exchange *x)
{
    return (struct broadcast *)x;
}

static void
broadcast_look(struct broadcast *p)
{
    if (p->n_answered == p->n_wanted)
        exchange_done(&p->x, 0);
}

static void
broadcast_stop(struct broadcast *p, enum error_code code)
{
    p->n_refused += p->n_wanted - p->n_taken;
    p->n_wanted = p->n_taken;
    if (p->code == ERROR_NONE)
        p->code = code;
    broadcast_look(p);
}

/* 0, or what session_request() says. */
static int
broadcast_one(struct broadcast *p, size_t i)
{
    const struct acbroadcast_message *m = acbroadcast_at(&p->b, i);
    struct request_scratch *scratch = &p->x.hc->server->fe->scratch;
    char id[NUMBER_MAX];
    struct request r = {.op = REQUEST_PUB,
        .topic = m->stream,
        .kind = m->is_json ? MESSAGE_JSON : MESSAGE_TEXT,
        .body = m->data};

    (void)snprintf(id, sizeof id, "%zu", i);
    r.id = slice_str(id);
    buf_reset(&scratch->headers);
    buf_reset(&scratch->text);
    if (m->exclude.n > 0)
        badge_put_exclude(&scratch->headers, m->exclude);
    buf_put_slice(&scratch->text, buf_slice(&p->once));
    if (p->once.n > 0 && p->b.n > 1)
        buf_printf(&scratch->text, ".%zu", i);
    if (buf_failed(&scratch->headers) || buf_failed(&scratch->text))
        return -ENOMEM;
    r.headers = buf_slice(&scratch->headers);
    r.once = buf_slice(&scratch->text);
    return session_request(&p->x.session, &r);
}

/* As many as are taken; the rest when there is room again. */
static void
broadcast_pump(struct broadcast *p)
{
    while (p->n_taken < p->n_wanted) {
        size_t i = p->n_taken++; /* it may be answered before session_request() returns */
        int r = broadcast_one(p, i);

        if (r == 0)
            continue;
        p->n_taken--;
        if (r != -EAGAIN)
            broadcast_stop(p, ERROR_INTERNAL);
        return;
    }
}

static void
broadcast_on_answer(struct session *s, const struct answer *answer)
{
    struct broadcast *p = broadcast_of(exchange_of(s));

    if (answer->type == ANSWER_PUBLISHED) {
        p->position = answer->position;
    } else if (answer->type == ANSWER_ERROR) {
        if (p->code == ERROR_NONE) {
            p->code = answer->code;
            buf_put_slice(&p->text, answer->text);
        }
        p->n_refused++;
    } else {
        return;
    }
    p->n_answered++;
    broadcast_look(p);
}

static void
broadcast_on_unblocked(struct session *s)
{
    broadcast_pump(broadcast_of(exchange_of(s)));
}

static void
broadcast_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    (void)s; /* it never subscribes */
    (void)block;
    (void)at;
    (void)n;
}

/* --- the exchange ----------------------------------------------------------------------------------- */

static void
broadcast_finish(struct exchange *x)
{
    struct broadcast *p = broadcast_of(x);
    struct httpresp r = {.status = 201, .content_type = "application/json"};
    char cursor[CURSOR_MAX], json[CURSOR_MAX + 20];
    struct buf text;

    if (p->code == ERROR_NONE) {
        (void)cursor_format(cursor, p->position);
        (void)snprintf(json, sizeof json, "{\"cursor\":\"%s\"}\n", cursor);
        http_respond(x->hc, &x->reply, &r, slice_str(json));
        return;
    }
    buf_init(&text, 0);
    buf_put_slice(&text, p->text.n > 0 ? buf_slice(&p->text) : slice_str(error_code_sentence(p->code)));
    if (p->b.n > 1)
        buf_printf(&text, " This is so of %zu of the batch's %zu messages; the others were published.",
            p->n_refused, p->b.n);
    http_respond_code(x->hc, &x->reply, p->code, buf_slice(&text));
    buf_fini(&text);
}

static void
broadcast_on_timer(struct exchange *x)
{
    (void)x; /* the uplink has a limit for how long it holds a publish */
}

/* Whoever half-closes after asking still wants to be told. */
static void
broadcast_on_eof(struct exchange *x)
{
    (void)x;
}

static void
broadcast_on_stop(struct exchange *x)
{
    struct broadcast *p = broadcast_of(x);

    if (p->n_taken < p->n_wanted)
        broadcast_stop(p, ERROR_SHUTTING_DOWN);
}

static void
broadcast_fini(struct exchange *x)
{
    struct broadcast *p = broadcast_of(x);

    acbroadcast_fini(&p->b);
    buf_fini(&p->once);
    buf_fini(&p->text);
}

static const struct exchange_ops broadcast_ops = {
    .finish = broadcast_finish,
    .on_timer = broadcast_on_timer,
    .on_eof = broadcast_on_eof,
    .on_stop = broadcast_on_stop,
    .fini = broadcast_fini,
};

static const struct session_ops broadcast_session_ops = {
    .on_deliver = broadcast_on_deliver,
    .on_answer = broadcast_on_answer,
    .on_unblocked = broadcast_on_unblocked,
};

static int
refuse(struct http_conn *hc, const struct http_reply *reply, const struct acbroadcast_error *error)
{
    int status = error->code == ERROR_OP_UNKNOWN ? 501 : error_code_http(error->code);

    http_respond_error(hc, reply, status, error->code, slice_str(error->text), slice_str(""));
    return -EINVAL;
}

/* 0, or -EINVAL after answering. */
static int
read_request(
    struct http_conn *hc, const struct http_reply *reply, struct acbroadcast *ret, struct slice *ret_once)
{
    const struct http_server *server = hc->server;
    const struct slice *once = httpreq_header(&server->req, "idempotency-key");
    const struct acbroadcast_limits limits = {.max_depth = (unsigned)server->fe->limits->json_depth,
        .max_messages = (size_t)server->options->broadcast_batch};
    struct acbroadcast_error error = {0};

    if (acbroadcast_read(server->req.body, &limits, ret, &error) < 0)
        return refuse(hc, reply, &error);
    *ret_once = once == NULL ? slice_of(NULL, 0) : *once;
    if (once == NULL || (once->n > 0 && once->n <= ONCE_MAX - (ret->n > 1 ? NUMBER_MAX : 0) &&
                            utf8_is_valid(once->p, once->n)))
        return 0;
    error.code = ERROR_REQUEST_INVALID;
    (void)snprintf(error.text, sizeof error.text,
        "Idempotency-Key is 1 to %d bytes of UTF-8; for a batch 1 to %d, since each message gets its number "
        "behind it.",
        ONCE_MAX, ONCE_MAX - NUMBER_MAX);
    return refuse(hc, reply, &error);
}

void
http_broadcast_start(struct http_conn *hc, const struct http_reply *reply)
{
    struct acbroadcast b;
    struct slice once = slice_of(NULL, 0);

    if (!may_broadcast(hc->server)) {
        http_respond_error(hc, reply, 401, ERROR_NOT_ALLOWED,
            slice_str("Broadcasts need \"Authorization: Bearer KEY\" with the key of http.broadcast."),
            slice_str("WWW-Authenticate: Bearer\r\n"));
        return;
    }
    acbroadcast_init(&b);
    if (read_request(hc, reply, &b, &once) < 0) {
        acbroadcast_fini(&b);
        return;
    }
    struct broadcast *p =
        exchange_new(hc, reply, sizeof *p, &broadcast_ops, &http_poll_encoder, &broadcast_session_ops);
    if (p == NULL) {
        acbroadcast_fini(&b);
        return;
    }
    p->b = b; /* now owned by the exchange */
    p->n_wanted = b.n;
    buf_init(&p->once, 0);
    buf_init(&p->text, 0);
    buf_put_slice(&p->once, once);
    if (buf_failed(&p->once))
        broadcast_stop(p, ERROR_INTERNAL);
    else
        broadcast_pump(p);
}
