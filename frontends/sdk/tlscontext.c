/* SPDX-License-Identifier: Apache-2.0 */
/* Each step that can fail by what an operator wrote says which option, which file, and what to do. */
#include "config.h"

#include "frontends/sdk/tlscontext.h"

#include "frontends/sdk/options.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a ticket, by which a client that was here before saves the costly half of a handshake. */
#define TICKET_SECONDS 7200

static int fault_set(struct tls_fault *fault, int r, const char *option, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static int
fault_set(struct tls_fault *fault, int r, const char *option, const char *fmt, ...)
{
    va_list args;

    fault->option = option;
    va_start(args, fmt);
    (void)vsnprintf(fault->what, sizeof fault->what, fmt, args);
    va_end(args);
    ERR_clear_error();
    return r;
}

/* OpenSSL's own words for what went wrong first; what comes after is where it noticed. */
static const char *
fault_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return reason != NULL ? reason : "unknown reason";
}

/* Whether it can be read, before OpenSSL says less. */
static int
check_readable(const char *option, const char *path, struct tls_fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error = errno;
    struct stat st;

    if (fd >= 0) {
        bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

        close(fd);
        return is_file ? 0 : fault_set(fault, -EINVAL, option, "\"%.200s\" is not a regular file", path);
    }
    return fault_set(fault, -error, option, "\"%.200s\" cannot be read: %s%s", path, strerror(error),
        error == EACCES ? ". The user that runs this process must be able to read it" : "");
}

/* Nobody is there to type one in. */
static int
on_passphrase(char *to, int n, int is_writing, void *arg)
{
    bool *was_asked = arg;

    (void)to;
    (void)n;
    (void)is_writing;
    *was_asked = true;
    return -1;
}

static int
load_certificate(SSL_CTX *ctx, const struct tls_options *o, struct tls_fault *fault)
{
    int r;

    if (o->certificate[0] == '\0')
        return fault_set(
            fault, -EINVAL, "tls.certificate", "is empty: name the file with the certificate in PEM");
    r = check_readable("tls.certificate", o->certificate, fault);
    if (r < 0)
        return r;
    if (SSL_CTX_use_certificate_chain_file(ctx, o->certificate) != 1)
        return fault_set(fault, -EINVAL, "tls.certificate",
            "\"%.200s\" holds no certificate in PEM that can be used (%s)", o->certificate, fault_reason());
    return 0;
}

static int
load_key(SSL_CTX *ctx, const struct tls_options *o, struct tls_fault *fault)
{
    const char *option = o->key[0] != '\0' ? "tls.key" : "tls.certificate";
    const char *path = o->key[0] != '\0' ? o->key : o->certificate;
    bool was_asked = false, is_loaded;
    int r = check_readable(option, path, fault);

    if (r < 0)
        return r;
    SSL_CTX_set_default_passwd_cb(ctx, on_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &was_asked);
    is_loaded = SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    SSL_CTX_set_default_passwd_cb(ctx, NULL);
    if (was_asked)
        return fault_set(fault, -EINVAL, option,
            "\"%.200s\" is locked by a passphrase: store the key without one (openssl pkey)", path);
    /* A key of another kind is taken at first: OpenSSL keeps one pair of each. */
    if (is_loaded ? SSL_CTX_check_private_key(ctx) != 1
                  : ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
        return fault_set(fault, -EINVAL, option,
            "\"%.200s\" is not the key of the first certificate in \"%.200s\" (the server's own stands "
            "before its issuers')",
            path, o->certificate);
    if (!is_loaded)
        return fault_set(fault, -EINVAL, option,
            "\"%.200s\" holds no private key in PEM that can be used (%s)", path, fault_reason());
    return 0;
}

static int
load_client_ca(SSL_CTX *ctx, const struct tls_options *o, struct tls_fault *fault)
{
    STACK_OF(X509_NAME) * names;
    int r;

    if (o->client_ca[0] == '\0')
        return 0;
    r = check_readable("tls.client_ca", o->client_ca, fault);
    if (r < 0)
        return r;
    if (SSL_CTX_load_verify_file(ctx, o->client_ca) != 1 ||
        (names = SSL_load_client_CA_file(o->client_ca)) == NULL)
        return fault_set(fault, -EINVAL, "tls.client_ca", "\"%.200s\" holds no certificates in PEM (%s)",
            o->client_ca, fault_reason());
    SSL_CTX_set_client_CA_list(ctx, names); /* takes them */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int
set_ciphers(SSL_CTX *ctx, const struct tls_options *o, struct tls_fault *fault)
{
    if (o->ciphers[0] != '\0' && SSL_CTX_set_cipher_list(ctx, o->ciphers) != 1)
        return fault_set(fault, -EINVAL, "tls.ciphers",
            "\"%.200s\" names nothing that this OpenSSL has (`openssl ciphers` lists it)", o->ciphers);
    if (o->ciphersuites[0] != '\0' && SSL_CTX_set_ciphersuites(ctx, o->ciphersuites) != 1)
        return fault_set(fault, -EINVAL, "tls.ciphersuites",
            "\"%.200s\" names something that this OpenSSL has not (`openssl ciphers -tls1_3` lists it)",
            o->ciphersuites);
    return 0;
}

static int
set_manners(SSL_CTX *ctx, const struct tls_options *o)
{
    static const unsigned char id[] = "busbar";
    int version = o->min_version == TLS_MIN_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

    /* A client cannot make us do a handshake again within one connection, nor compress what it may guess.
     * That a connection ends without TLS's own end is usual; whatever depends on the end says so itself. */
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                       SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                       SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* An idle client keeps no room for a record in each direction. */
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    /* Tickets are kept by the clients: one each, and nothing here. */
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_timeout(ctx, TICKET_SECONDS);
    return SSL_CTX_set_min_proto_version(ctx, version) == 1 && SSL_CTX_set_num_tickets(ctx, 1) == 1 &&
                   SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) == 1
               ? 0
               : -EINVAL;
}

int
tlscontext_new(const struct tls_options *options, struct ssl_ctx_st **ret, struct tls_fault *ret_fault)
{
    SSL_CTX *ctx;
    int r;

    ERR_clear_error();
    ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || set_manners(ctx, options) < 0)
        r = fault_set(ret_fault, -ENOMEM, "tls.listen", "OpenSSL cannot be set up: %s", fault_reason());
    else
        r = load_certificate(ctx, options, ret_fault);
    if (r == 0)
        r = load_key(ctx, options, ret_fault);
    if (r == 0)
        r = load_client_ca(ctx, options, ret_fault);
    if (r == 0)
        r = set_ciphers(ctx, options, ret_fault);
    if (r < 0) {
        SSL_CTX_free(ctx);
        return r;
    }
    *ret = ctx;
    return 0;
}

const char *
tlscontext_doubt(const struct ssl_ctx_st *ctx)
{
    const X509 *x = SSL_CTX_get0_certificate(ctx);

    if (x != NULL && X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
        return "has expired";
    if (x != NULL && X509_cmp_current_time(X509_get0_notBefore(x)) > 0)
        return "is not valid yet";
    return NULL;
}
