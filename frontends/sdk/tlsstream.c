/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS of one connection. */
#include "config.h"

#include "frontends/sdk/tls.h"

#include "base/log.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/tlspriv.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

/* New keys, refused renegotiations and alerts cost a client little and us much, and are hardly ever needed.
 * One of them is two or three steps, a whole handshake about twenty. */
#define OWN_STEPS_MAX 100u
#define OWN_STEPS_MS 10000u
/* Of a client: OpenSSL would keep a hello of 128 KiB. Usual are 2 KiB, and as much for each certificate. */
#define HANDSHAKE_MAX (32u * 1024)
/* A record, and what TLS says of itself to who does not read. */
#define UNSENT_MAX (2u * TLS_RECORD_MAX)

/* To who came to this port without TLS. */
static const char without_tls[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"
                                  "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 53\r\n\r\n"
                                  "This port speaks TLS: use https:// or wss:// instead\n";

/* ---- Begin and end. ---- */

int
tls_stream_new(struct tls *tls, struct conn *c, struct tls_stream **ret)
{
    struct tls_stream *s = calloc(1, sizeof *s);

    if (s == NULL)
        return -ENOMEM;
    s->tls = tls;
    s->conn = c;
    buf_init(&s->unsent, 0);
    list_init(&s->in_shaking);
    s->begun_at_ms = loop_now_ms(tls->fe->loop);
    list_push_back(&tls->shaking, &s->in_shaking);
    if (tls->n_shaking++ == 0)
        loop_timer_start(tls->fe->loop, &tls->shaking_timer, tls->handshake_timeout_ms);
    *ret = s;
    return 0;
}

struct tls_stream *
tls_stream_free(struct tls_stream *s)
{
    if (s == NULL)
        return NULL;
    tls_on_shaken(s);
    SSL_free(s->ssl);
    buf_fini(&s->unsent);
    free(s);
    return NULL;
}

/* The first byte has come. */
static int
stream_begin(struct tls_stream *s)
{
    SSL *ssl = SSL_new(s->tls->ctx);
    BIO *bio = ssl == NULL ? NULL : tls_bio_new(s);

    if (bio == NULL) {
        SSL_free(ssl);
        return -ENOMEM;
    }
    SSL_set_bio(ssl, bio, bio); /* takes it */
    SSL_set_accept_state(ssl);
    SSL_set_app_data(ssl, s);
    s->ssl = ssl;
    return 0;
}

bool
tls_stream_is_open(const struct tls_stream *s)
{
    return s->is_open;
}

bool
tls_stream_has_unsent(const struct tls_stream *s)
{
    return s->unsent.n > 0;
}

bool
tls_stream_is_over(const struct tls_stream *s)
{
    return s->has_eof || s->has_failed;
}

struct tls *
tls_stream_tls(const struct tls_stream *s)
{
    return s->tls;
}

/* ---- Sending what is encrypted. ---- */

/* As much of p[0..n) as goes; negative errno if nothing ever will. */
static ssize_t
stream_send_some(struct tls_stream *s, const uint8_t *p, size_t n)
{
    ssize_t r;

    do
        r = send(s->conn->fd, p, n, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r < 0 && errno != EAGAIN)
        return -errno;
    return r < 0 ? 0 : r;
}

/* What OpenSSL has made in this call goes out, or behind what waits already. */
static int
stream_send_out(struct tls_stream *s)
{
    struct buf *out = &s->tls->out;
    ssize_t r = 0;

    if (out->n > 0 && s->unsent.n == 0)
        r = stream_send_some(s, out->p, out->n);
    if (r >= 0 && (size_t)r < out->n)
        buf_put(&s->unsent, out->p + r, out->n - (size_t)r);
    buf_reset(out);
    if (r >= 0 && buf_failed(&s->unsent))
        r = -ENOMEM;
    if (r >= 0 && s->is_open && s->unsent.n > UNSENT_MAX) {
        s->tls->fe->counters.closed_too_slow++;
        r = -ENOBUFS;
    }
    return r < 0 ? (int)r : 0;
}

/* 1: nothing is unsent any more; 0: something is; or negative errno. */
static int
stream_send_unsent(struct tls_stream *s)
{
    ssize_t r;

    if (s->unsent.n == 0)
        return 1;
    r = stream_send_some(s, s->unsent.p, s->unsent.n);
    if (r < 0)
        return (int)r;
    if ((size_t)r < s->unsent.n) {
        buf_consume(&s->unsent, (size_t)r);
        return 0;
    }
    buf_fini(&s->unsent); /* an idle client keeps nothing */
    buf_init(&s->unsent, 0);
    return 1;
}

ssize_t
tls_stream_send(struct tls_stream *s, const uint8_t *p, size_t n)
{
    size_t taken;
    int r = stream_send_unsent(s);

    if (r < 0) {
        errno = -r;
        return -1;
    }
    if (r == 0 || !s->is_open) {
        errno = EAGAIN;
        return -1;
    }
    if (n == 0)
        return 0;
    ERR_clear_error();
    if (s->has_failed || s->has_said_bye || SSL_write_ex(s->ssl, p, n, &taken) != 1) {
        s->has_failed = true;
        buf_reset(&s->tls->out);
        errno = EPIPE;
        return -1;
    }
    r = stream_send_out(s);
    if (r < 0) {
        errno = -r;
        return -1;
    }
    return (ssize_t)taken;
}

bool
tls_stream_say_bye(struct tls_stream *s)
{
    if (s->is_open && !s->has_failed && !s->has_said_bye) {
        s->has_said_bye = true;
        ERR_clear_error();
        (void)SSL_shutdown(s->ssl);
        if (stream_send_out(s) < 0) /* nobody will hear it */
            return true;
    }
    return s->unsent.n == 0;
}

/* ---- Receiving. ---- */

/* What a stranger sent was not TLS, or none that we agree with. */
static void
stream_fail(struct tls_stream *s)
{
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_reason_error_string(error);
    bool is_plain = ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST;

    s->has_failed = true;
    if (s->verdict != NULL)
        reason = s->verdict;
    if (s->is_open) {
        s->tls->fe->counters.closed_bad_input++;
        log_info("a TLS connection broke: %s", reason != NULL ? reason : "unknown reason");
        return;
    }
    s->tls->fe->counters.tls_failed++;
    if (is_plain)
        log_notice("a client sent plain HTTP to the TLS port: it must use https:// or wss://");
    else
        log_info("a TLS handshake failed: %s", reason != NULL ? reason : "unknown reason");
    if (is_plain && s->tls->is_http)
        buf_put(&s->tls->out, without_tls, sizeof without_tls - 1);
    tls_on_shaken(s);
}

static void
stream_on_open(struct tls_stream *s)
{
    s->is_open = true;
    s->tls->fe->counters.tls_handshakes++;
    if (SSL_session_reused(s->ssl))
        s->tls->fe->counters.tls_resumed++;
    tls_on_shaken(s);
}

void
tls_on_own_step(struct tls_stream *s)
{
    uint64_t now = loop_now_ms(s->tls->fe->loop);

    if (now - s->own_since_ms > OWN_STEPS_MS) {
        s->own_since_ms = now;
        s->n_own_steps = 0;
    }
    if (++s->n_own_steps > OWN_STEPS_MAX)
        s->verdict = "it asks for new keys, or sends alerts, over and over";
}

/* Decrypts all that was received. Returns the bytes for on_bytes(). */
static size_t
stream_decrypt(struct tls_stream *s, uint8_t *to, size_t n)
{
    size_t got = 0, more;

    ERR_clear_error();
    while (got < n && SSL_read_ex(s->ssl, to + got, n - got, &more) == 1)
        got += more;
    if (!s->is_open && SSL_is_init_finished(s->ssl))
        stream_on_open(s);
    if (!s->is_open && s->n_shaken == HANDSHAKE_MAX) {
        s->verdict = "the handshake is too long";
        stream_fail(s);
        return got;
    }
    assert(got < n); /* TLS_IN_BYTES sees to it */
    switch (SSL_get_error(s->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        break;
    case SSL_ERROR_ZERO_RETURN:
        s->has_eof = true;
        break;
    default:
        stream_fail(s);
    }
    return got;
}

bool
tls_stream_may_end(const struct tls_stream *s)
{
    uint8_t head[5]; /* type, version, length */

    if (recv(s->conn->fd, head, sizeof head, MSG_PEEK) != sizeof head)
        return false;
    return head[0] ==
               SSL3_RT_ALERT || /* since TLS 1.3 it looks like data: 2 bytes, their type and 16 of proof */
           (head[0] == SSL3_RT_APPLICATION_DATA && head[3] == 0 && head[4] == 2 + 1 + 16);
}

ssize_t
tls_stream_recv(struct tls_stream *s, uint8_t *to, size_t n)
{
    struct tls *tls = s->tls;
    size_t got;
    ssize_t r;

    if (s->has_eof)
        return 0;
    if (s->has_failed || (!s->is_open && !tls_take_step(tls))) {
        errno = s->has_failed ? EPROTO : EAGAIN;
        return -1;
    }
    r = recv(s->conn->fd, tls->in, s->is_open ? sizeof tls->in : HANDSHAKE_MAX - s->n_shaken, 0);
    if (r <= 0) {
        s->has_eof = r == 0;
        return r;
    }
    if (!s->is_open)
        s->n_shaken += (size_t)r;
    if (s->ssl == NULL && stream_begin(s) < 0) {
        errno = ENOMEM;
        return -1;
    }
    tls->in_at = 0;
    tls->in_n = (size_t)r;
    got = stream_decrypt(s, to, n);
    r = stream_send_out(s);
    if (got > 0)
        return (ssize_t)got;
    if (r == 0 && s->has_eof)
        return 0;
    errno = r < 0 ? (int)-r : s->has_failed ? EPROTO : EAGAIN;
    return -1;
}
