/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/actioncable/acsigned.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "base/json.h"

#define MAC_SIZE 32u
#define HEX_SIZE (2u * MAC_SIZE)
/* As turbo-rails' engine and Rails' key generator have it. */
#define TURBO_SALT "turbo/signed_stream_verifier_key"
#define TURBO_ITERATIONS 1000

static bool
is_signature(struct slice data, struct slice hex, struct slice secret)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t mac[EVP_MAX_MD_SIZE], wanted[HEX_SIZE];
    unsigned n = 0;

    if (secret.n == 0 || secret.n > INT_MAX || hex.n != HEX_SIZE ||
        HMAC(EVP_sha256(), secret.p, (int)secret.n, data.p, data.n, mac, &n) == NULL || n != MAC_SIZE)
        return false;
    for (unsigned i = 0; i < MAC_SIZE; i++) {
        wanted[2 * i] = (uint8_t)digits[mac[i] >> 4];
        wanted[2 * i + 1] = (uint8_t)digits[mac[i] & 15];
    }
    return CRYPTO_memcmp(hex.p, wanted, HEX_SIZE) == 0;
}

static int
decode(struct slice data, struct buf *out)
{
    size_t at = out->n;

    if (base64_decode(out, data) == 0)
        return 0;
    out->n = at;
    return base64url_decode(out, data);
}

/* The JSON string, into out. */
static const char *
read_name(struct slice json, struct buf *out)
{
    struct json_token t = {0}, end = {0};
    struct json r;

    json_init(&r, json.p, json.n, 4);
    if (json_next(&r, &t) < 0 || json_next(&r, &end) < 0 || t.type != JSON_STRING || end.type != JSON_END)
        return "what is signed is no name";
    json_unescape(out, t.raw);
    return buf_failed(out) ? "memory ran out" : NULL;
}

const char *
acsigned_verify(struct slice text, struct slice secret, struct buf *out)
{
    const char *error = "its signature is wrong";
    struct slice data, hex;
    struct buf json;

    if (secret.n == 0)
        return "no secret is configured for signed streams";
    if (text.n <= HEX_SIZE + 2 || memcmp(text.p + text.n - HEX_SIZE - 2, "--", 2) != 0)
        return "its stream name is not signed";
    data = slice_of(text.p, text.n - HEX_SIZE - 2);
    hex = slice_of(text.p + text.n - HEX_SIZE, HEX_SIZE);
    if (!is_signature(data, hex, secret))
        return error;
    buf_init(&json, 0);
    if (decode(data, &json) < 0)
        error = "what is signed is no base64";
    else
        error = buf_failed(&json) ? "memory ran out" : read_name(buf_slice(&json), out);
    buf_fini(&json);
    return error;
}

int
acsigned_turbo_secret(struct slice secret_key_base, bool is_sha1, uint8_t ret[ACSIGNED_TURBO_SECRET_SIZE])
{
    static const char salt[] = TURBO_SALT;

    if (secret_key_base.n > INT_MAX ||
        PKCS5_PBKDF2_HMAC((const char *)secret_key_base.p, (int)secret_key_base.n, (const uint8_t *)salt,
            (int)sizeof salt - 1, TURBO_ITERATIONS, is_sha1 ? EVP_sha1() : EVP_sha256(),
            ACSIGNED_TURBO_SECRET_SIZE, ret) != 1)
        return -EIO;
    return 0;
}
