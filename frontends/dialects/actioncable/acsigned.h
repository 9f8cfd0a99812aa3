/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream names as Rails signs them (ActiveSupport::MessageVerifier with JSON and SHA-256, which is what
 * turbo-rails and AnyCable use):
 *
 *     base64(JSON string) "--" hex(HMAC-SHA256(secret, that base64))
 *
 * The base64 may also be the one for addresses (url_safe: true). Signatures with a purpose or a time at which
 * they end are refused: what is signed there is no string.
 */
#ifndef DIALECTS_ACSIGNED_H
#define DIALECTS_ACSIGNED_H

#include "base/buf.h"
#include "base/slice.h"

/* Appends the name that was signed to out. NULL, or why not, a clause for the log. */
const char *acsigned_verify(struct slice text, struct slice secret, struct buf *out);

/* The secret that turbo-rails derives from Rails' secret_key_base if the application sets none; is_sha1: with
 * the digest of Rails 6.1 and of applications that kept it. 0 or -EIO. */
#define ACSIGNED_TURBO_SECRET_SIZE 64
int acsigned_turbo_secret(
    struct slice secret_key_base, bool is_sha1, uint8_t ret[ACSIGNED_TURBO_SECRET_SIZE]);

#endif
