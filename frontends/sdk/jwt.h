/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies JSON Web Tokens (RFC 7519, signed as in RFC 7515, compact). It signs none.
 *
 * The algorithm belongs to the key, not to the token: a token that names another one is refused, whatever it
 * is. So is one with critical headers, of which this knows none. What it says is not looked at before the
 * signature is.
 */
#ifndef SDK_JWT_H
#define SDK_JWT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

struct jwt_key;

/* The names are those of the config, and RFC 7518's. */
enum jwt_algorithm { JWT_HS256, JWT_HS384, JWT_HS512, JWT_RS256, JWT_ES256, JWT_EDDSA };

#define JWT_MAX (8u * 1024) /* bytes of a token */

enum jwt_outcome {
    JWT_GOOD,
    JWT_REFUSED, /* no token, not signed with this key, not for us */
    JWT_EXPIRED,
    JWT_EARLY, /* not valid yet */
};

/* What must hold beside the signature. */
struct jwt_rules {
    int64_t now_s;                 /* since 1970 */
    int64_t leeway_s;              /* that clocks may differ */
    struct slice issuer, audience; /* empty: any */
};

/* material: the secret of HS256, HS384, HS512 (at least as long as RFC 7518 wants: 32, 48, 64 bytes is not
 * enforced, but 16 are); else the public key in PEM: RSA of 2048 bits or more, P-256, Ed25519. 0, -EINVAL
 * with *ret_error (a clause), -ENOMEM. */
int jwt_key_new(
    enum jwt_algorithm algorithm, struct slice material, struct jwt_key **ret, const char **ret_error);
struct jwt_key *jwt_key_free(struct jwt_key *key); /* NULL is fine */

/* The claims, a JSON object, are appended to out if it is good. ret_why: a clause for the log. */
enum jwt_outcome jwt_verify(const struct jwt_key *key, struct slice token, const struct jwt_rules *rules,
    struct buf *out, const char **ret_why);

#endif
