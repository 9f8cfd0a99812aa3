/* SPDX-License-Identifier: Apache-2.0 */
/* What the table of group tls cannot say: whether the files can be used. */
#include "config.h"

#include "frontends/sdk/options.h"
#include "frontends/sdk/tlscontext.h"

#include <openssl/ssl.h>

void
tls_options_check(
    struct conf_check *check, const struct conf_section *section, const struct tls_options *options)
{
    struct tls_fault fault;
    SSL_CTX *ctx = NULL;

    if (options->listen.text == NULL)
        return;
    if (tlscontext_new(options, &ctx, &fault) < 0)
        conf_check_note(check, section, 0, fault.option, "%s", fault.what);
    SSL_CTX_free(ctx);
}

const char *
tls_options_doubt(const struct tls_options *options)
{
    const char *doubt = NULL;
    struct tls_fault fault;
    SSL_CTX *ctx = NULL;

    if (options->listen.text != NULL && tlscontext_new(options, &ctx, &fault) == 0)
        doubt = tlscontext_doubt(ctx);
    SSL_CTX_free(ctx);
    return doubt;
}
