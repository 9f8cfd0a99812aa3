/* SPDX-License-Identifier: Apache-2.0 */
/* What OpenSSL needs to begin a connection, from the options: certificates, keys, versions. */
#ifndef SDK_TLSCONTEXT_H
#define SDK_TLSCONTEXT_H

#include <stddef.h>

struct ssl_ctx_st;
struct tls_options;

/* What does not work: the option's name and a sentence for people. */
struct tls_fault {
    const char *option; /* "tls.key" */
    char what[512];
};

/* Reads the files. 0, or negative errno with *ret_fault filled. The context takes part in nothing else of
 * this process: no randomness is drawn, nothing is kept of the options. Free with SSL_CTX_free(). */
int tlscontext_new(const struct tls_options *options, struct ssl_ctx_st **ret, struct tls_fault *ret_fault);

/* "has expired", "is not valid yet": what clients will hold against its certificate; or NULL. */
const char *tlscontext_doubt(const struct ssl_ctx_st *ctx);

#endif
