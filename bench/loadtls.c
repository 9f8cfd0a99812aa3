/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator's clients over TLS 1.3. The server's certificate is not looked at: it is made for the
 * run. All servers are to encrypt with the same, so that they are compared and not their ciphers. */
#include "config.h"

#include "bench/load.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

static SSL_CTX *
tls_context(void)
{
    static SSL_CTX *ctx; /* of the one generator that this process is */

    if (ctx != NULL)
        return ctx;
    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1)
        load_die("OpenSSL cannot be set up");
    (void)SSL_CTX_set_mode(
        ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    return ctx;
}

/* As a system call would have it: -1 with errno, 0 at the end. */
static ssize_t
tls_result(struct client *c, int r)
{
    switch (SSL_get_error(c->tls, r)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return -1;
    default:
        load_die("TLS: %s", ERR_reason_error_string(ERR_get_error()));
    }
}

bool
tls_connect(struct client *c)
{
    int r;

    if (c->tls == NULL) {
        c->tls = SSL_new(tls_context());
        if (c->tls == NULL || SSL_set_fd(c->tls, c->fd) != 1)
            load_die("out of memory");
    }
    ERR_clear_error();
    r = SSL_connect(c->tls);
    if (r == 1)
        return true;
    if (tls_result(c, r) == 0 || errno != EAGAIN)
        load_die("a TLS handshake failed: %s", strerror(errno));
    return false;
}

ssize_t
tls_send(struct client *c, const void *p, size_t n)
{
    int r;

    ERR_clear_error();
    r = SSL_write(c->tls, p, n > INT32_MAX ? INT32_MAX : (int)n);
    return r > 0 ? r : tls_result(c, r);
}

ssize_t
tls_recv(struct client *c, void *p, size_t n)
{
    int r;

    ERR_clear_error();
    r = SSL_read(c->tls, p, n > INT32_MAX ? INT32_MAX : (int)n);
    return r > 0 ? r : tls_result(c, r);
}

bool
tls_has_more(const struct client *c)
{
    return SSL_has_pending(c->tls) == 1;
}
