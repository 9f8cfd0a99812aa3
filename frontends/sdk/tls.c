/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS of one frontend: contexts, the handshakes under way, and how OpenSSL reads and writes. */
#include "config.h"

#include "frontends/sdk/tls.h"

#include "base/log.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/tlscontext.h"
#include "frontends/sdk/tlspriv.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

/* Handshakes that go on in one turn of the loop; those who are connected are not to wait for more. */
#define STEPS_PER_TURN 16u

/* ---- The context. ---- */

static int
tls_on_alpn(
    SSL *ssl, const unsigned char **ret, unsigned char *ret_n, const unsigned char *in, unsigned n, void *arg)
{
    static const unsigned char known[] = "\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, ret_n, known, sizeof known - 1, in, n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* OpenSSL tells of each step that is not data. */
static void
tls_on_step(const SSL *ssl, int where, int r)
{
    (void)where;
    (void)r;
    tls_on_own_step(SSL_get_app_data(ssl));
}

/* 0, or negative errno after logging why: tls is as it was. */
static int
tls_load(struct tls *tls, const struct tls_options *o)
{
    struct tls_fault fault;
    const char *doubt;
    SSL_CTX *ctx;
    int r = tlscontext_new(o, &ctx, &fault);

    if (r < 0) {
        log_error("%s.%s: %s", tls->fe->kind != NULL ? tls->fe->kind->name : "?", fault.option, fault.what);
        return r;
    }
    if (tls->is_http)
        SSL_CTX_set_alpn_select_cb(ctx, tls_on_alpn, NULL);
    SSL_CTX_set_info_callback(ctx, tls_on_step);
    doubt = tlscontext_doubt(ctx);
    if (doubt != NULL)
        log_warn("the certificate in %s %s: clients will refuse it", o->certificate, doubt);
    SSL_CTX_free(tls->ctx); /* those connected with it hold it too */
    tls->ctx = ctx;
    tls->handshake_timeout_ms = o->handshake_timeout_ms;
    tls->handshakes_max = o->handshakes;
    return 0;
}

void
tls_reload(struct tls *tls, const struct tls_options *options)
{
    if (tls != NULL && tls_load(tls, options) < 0)
        log_error("the certificate and key stay as they were");
}

/* ---- What OpenSSL reads and writes. ---- */

static int
bio_on_read(BIO *bio, char *to, int n)
{
    const struct tls_stream *s = BIO_get_data(bio);
    struct tls *tls = s->tls;
    size_t left = tls->in_n - tls->in_at;

    BIO_clear_retry_flags(bio);
    if (s->verdict != NULL)
        return -1; /* for good */
    if (left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if ((size_t)n < left)
        left = (size_t)n;
    memcpy(to, tls->in + tls->in_at, left);
    tls->in_at += left;
    return (int)left;
}

static int
bio_on_write(BIO *bio, const char *p, int n)
{
    struct tls *tls = ((struct tls_stream *)BIO_get_data(bio))->tls;

    BIO_clear_retry_flags(bio);
    buf_put(&tls->out, p, (size_t)n);
    return buf_failed(&tls->out) ? -1 : n;
}

static long
bio_on_ctrl(BIO *bio, int command, long n, void *arg)
{
    (void)bio;
    (void)n;
    (void)arg;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int
bio_on_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

struct bio_st *
tls_bio_new(struct tls_stream *s)
{
    BIO *bio = BIO_new(s->tls->bio_method);

    if (bio != NULL)
        BIO_set_data(bio, s);
    return bio;
}

static int
tls_make_method(struct tls *tls)
{
    int type = BIO_get_new_index();

    tls->bio_method = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "busbar");
    return tls->bio_method != NULL && BIO_meth_set_read(tls->bio_method, bio_on_read) &&
                   BIO_meth_set_write(tls->bio_method, bio_on_write) &&
                   BIO_meth_set_ctrl(tls->bio_method, bio_on_ctrl) &&
                   BIO_meth_set_create(tls->bio_method, bio_on_create)
               ? 0
               : -ENOMEM;
}

/* ---- Handshakes. ---- */

bool
tls_has_room(const struct tls *tls)
{
    return tls->n_shaking < tls->handshakes_max;
}

static void
tls_on_turn_end(void *arg)
{
    ((struct tls *)arg)->n_steps = 0;
}

bool
tls_take_step(struct tls *tls)
{
    if (tls->n_steps == 0)
        loop_defer(tls->fe->loop, &tls->turn_hook);
    if (tls->n_steps == STEPS_PER_TURN)
        return false;
    tls->n_steps++;
    return true;
}

static void
tls_on_shaking_timer(void *arg)
{
    struct tls *tls = arg;
    uint64_t now = loop_now_ms(tls->fe->loop);

    while (!list_empty(&tls->shaking)) {
        struct tls_stream *s = list_entry(tls->shaking.next, struct tls_stream, in_shaking);
        uint64_t due = s->begun_at_ms + tls->handshake_timeout_ms;

        if (due > now) {
            loop_timer_start(tls->fe->loop, &tls->shaking_timer, due - now);
            return;
        }
        tls->fe->counters.closed_timeout++;
        conn_close(s->conn, "the TLS handshake took too long");
    }
}

void
tls_on_shaken(struct tls_stream *s)
{
    if (list_empty(&s->in_shaking))
        return;
    list_remove(&s->in_shaking);
    s->tls->n_shaking--;
    if (s->tls->n_shaking == 0)
        loop_timer_stop(s->tls->fe->loop, &s->tls->shaking_timer);
}

/* ---- Begin and end. ---- */

uint8_t *
tls_scratch(struct tls *tls)
{
    return tls->scratch;
}

int
tls_new(struct frontend *fe, const struct tls_options *options, bool is_http, struct tls **ret)
{
    struct tls *tls = calloc(1, sizeof *tls);
    int r;

    if (tls == NULL)
        return -ENOMEM;
    tls->fe = fe;
    tls->is_http = is_http;
    list_init(&tls->shaking);
    tls->shaking_timer = (struct loop_timer){.fn = tls_on_shaking_timer, .arg = tls};
    tls->turn_hook = (struct loop_hook){.fn = tls_on_turn_end, .arg = tls};
    buf_init(&tls->out, 0);
    r = tls_make_method(tls);
    if (r == 0)
        r = tls_load(tls, options);
    if (r < 0) {
        tls_free(tls);
        return r;
    }
    *ret = tls;
    return 0;
}

struct tls *
tls_free(struct tls *tls)
{
    if (tls == NULL)
        return NULL;
    loop_timer_stop(tls->fe->loop, &tls->shaking_timer);
    loop_cancel(tls->fe->loop, &tls->turn_hook);
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->bio_method);
    buf_fini(&tls->out);
    free(tls);
    return NULL;
}
