/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a token, and any bytes as what a well-signed token says. */
#include "config.h"

#include <assert.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "base/json.h"
#include "frontends/sdk/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "a secret of enough bytes";
static const struct jwt_rules rules = {.now_s = 1000, .issuer = {(const uint8_t *)"me", 2}};

static void
put_base64url(struct buf *out, const void *p, size_t n)
{
    size_t at = out->n;

    base64_put(out, slice_of(p, n));
    while (out->n > at && out->p[out->n - 1] == '=')
        out->n--;
    for (size_t i = at; i < out->n; i++)
        out->p[i] = (uint8_t)(out->p[i] == '+' ? '-' : out->p[i] == '/' ? '_' : out->p[i]);
}

static void
check(const struct jwt_key *key, struct slice token)
{
    const char *why = NULL;
    struct buf claims;
    enum jwt_outcome outcome;

    buf_init(&claims, 0);
    outcome = jwt_verify(key, token, &rules, &claims, &why);
    assert(why != NULL && (outcome == JWT_GOOD || claims.n == 0));
    if (outcome == JWT_GOOD)
        assert(claims.p[0] != '[' && json_check(claims.p, claims.n, JSON_MAX_DEPTH, NULL) == 0);
    buf_fini(&claims);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char header[] = "{\"alg\":\"HS256\"}";
    struct jwt_key *key;
    const char *error;
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct buf token;

    if (jwt_key_new(JWT_HS256, slice_str(secret), &key, &error) < 0)
        return 0;
    check(key, slice_of(data, size));
    buf_init(&token, 0);
    put_base64url(&token, header, sizeof header - 1);
    buf_put_byte(&token, '.');
    put_base64url(&token, data, size);
    if (HMAC(EVP_sha256(), secret, sizeof secret - 1, token.p, token.n, mac, &n) != NULL) {
        buf_put_byte(&token, '.');
        put_base64url(&token, mac, n);
        check(key, buf_slice(&token));
    }
    buf_fini(&token);
    jwt_key_free(key);
    return 0;
}
