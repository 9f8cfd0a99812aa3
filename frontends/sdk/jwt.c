/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/jwt.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/secret.h"

#define DEPTH 16u
#define SECRET_MIN 16u
#define RSA_BITS_MIN 2048
#define ES256_SIZE 64u /* two numbers of 32 bytes */
/* An hour that no calendar has: beyond it a time is no time. */
#define TIME_MAX_S (INT64_C(1) << 52)

struct jwt_key {
    enum jwt_algorithm algorithm;
    struct buf secret;
    EVP_PKEY *public;
};

static const struct {
    const char *name;
    bool is_hmac;
    const char *key_type; /* OpenSSL's */
} algorithms[] = {
    [JWT_HS256] = {"HS256", true, NULL},
    [JWT_HS384] = {"HS384", true, NULL},
    [JWT_HS512] = {"HS512", true, NULL},
    [JWT_RS256] = {"RS256", false, "RSA"},
    [JWT_ES256] = {"ES256", false, "EC"},
    [JWT_EDDSA] = {"EdDSA", false, "ED25519"},
};

/* ---- Keys. ---- */

static EVP_PKEY *
read_public_key(struct slice pem)
{
    BIO *bio = pem.n > INT_MAX ? NULL : BIO_new_mem_buf(pem.p, (int)pem.n);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);

    BIO_free(bio);
    return key;
}

/* NULL, or what is wrong with it. */
static const char *
public_key_error(const EVP_PKEY *key, enum jwt_algorithm algorithm)
{
    char curve[64] = "";

    if (key == NULL)
        return "it is no public key in PEM";
    if (!EVP_PKEY_is_a(key, algorithms[algorithm].key_type))
        return "it is a key for another algorithm";
    if (algorithm == JWT_RS256 && EVP_PKEY_get_bits(key) < RSA_BITS_MIN)
        return "it has less than 2048 bits";
    if (algorithm == JWT_ES256 &&
        (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof curve, NULL) != 1 ||
            strcmp(curve, "prime256v1") != 0))
        return "it is not of the curve P-256";
    return NULL;
}

int
jwt_key_new(enum jwt_algorithm algorithm, struct slice material, struct jwt_key **ret, const char **ret_error)
{
    struct jwt_key *key = calloc(1, sizeof *key);
    const char *error = NULL;

    if (key == NULL)
        return -ENOMEM;
    key->algorithm = algorithm;
    buf_init(&key->secret, 0);
    if (algorithms[algorithm].is_hmac) {
        if (material.n < SECRET_MIN)
            error = "the secret has less than 16 bytes";
        buf_put_slice(&key->secret, material);
    } else {
        key->public = read_public_key(material);
        error = public_key_error(key->public, algorithm);
    }
    if (error != NULL || buf_failed(&key->secret)) {
        jwt_key_free(key);
        *ret_error = error;
        return error != NULL ? -EINVAL : -ENOMEM;
    }
    *ret = key;
    return 0;
}

struct jwt_key *
jwt_key_free(struct jwt_key *key)
{
    if (key == NULL)
        return NULL;
    EVP_PKEY_free(key->public);
    secret_fini(&key->secret);
    free(key);
    return NULL;
}

/* ---- Signatures. ---- */

static bool
verify_hmac(const struct jwt_key *key, struct slice text, struct slice signature)
{
    const EVP_MD *md = key->algorithm == JWT_HS256   ? EVP_sha256()
                       : key->algorithm == JWT_HS384 ? EVP_sha384()
                                                     : EVP_sha512();
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    return HMAC(md, key->secret.p, (int)key->secret.n, text.p, text.n, mac, &n) != NULL && signature.n == n &&
           CRYPTO_memcmp(signature.p, mac, n) == 0;
}

static bool
verify_public(const struct jwt_key *key, struct slice text, struct slice signature)
{
    const EVP_MD *md = key->algorithm == JWT_EDDSA ? NULL : EVP_sha256();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_good = context != NULL && EVP_DigestVerifyInit(context, NULL, md, NULL, key->public) == 1 &&
                   EVP_DigestVerify(context, signature.p, signature.n, text.p, text.n) == 1;

    EVP_MD_CTX_free(context);
    return is_good;
}

/* JWS has the two numbers as they are, OpenSSL wants them in DER. */
static bool
verify_es256(const struct jwt_key *key, struct slice text, struct slice signature)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = NULL, *s = NULL;
    uint8_t *der = NULL;
    bool is_good = false;
    int n;

    if (sig != NULL && signature.n == ES256_SIZE) {
        r = BN_bin2bn(signature.p, ES256_SIZE / 2, NULL);
        s = BN_bin2bn(signature.p + ES256_SIZE / 2, ES256_SIZE / 2, NULL);
    }
    if (r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL; /* now owned by sig */
        n = i2d_ECDSA_SIG(sig, &der);
        is_good = n > 0 && verify_public(key, text, slice_of(der, (size_t)n));
    }
    BN_free(r);
    BN_free(s);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    return is_good;
}

static bool
verify_signature(const struct jwt_key *key, struct slice text, struct slice signature)
{
    if (algorithms[key->algorithm].is_hmac)
        return verify_hmac(key, text, signature);
    if (key->algorithm == JWT_ES256)
        return verify_es256(key, text, signature);
    return verify_public(key, text, signature);
}

/* ---- What it says. ---- */

static bool
header_is_ours(const struct jwt_key *key, struct slice header)
{
    const char *name = algorithms[key->algorithm].name;
    struct slice alg = {.n = 0}, critical;

    return json_member(header, DEPTH, slice_str("alg"), &alg) == 1 && alg.n == strlen(name) + 2 &&
           alg.p[0] == '"' && slice_is(slice_of(alg.p + 1, alg.n - 2), name) &&
           json_member(header, DEPTH, slice_str("crit"), &critical) == 0;
}

/* A JSON number of seconds, its fraction cut off. */
static bool
read_time(struct slice raw, int64_t *ret)
{
    char text[32], *end;
    double value;

    if (raw.n == 0 || raw.n >= sizeof text || (raw.p[0] != '-' && (raw.p[0] < '0' || raw.p[0] > '9')))
        return false;
    memcpy(text, raw.p, raw.n);
    text[raw.n] = '\0';
    value = strtod(text, &end);
    if (*end != '\0' || !(value > -(double)TIME_MAX_S && value < (double)TIME_MAX_S))
        return false;
    *ret = (int64_t)value;
    return true;
}

/* 0 if it is not there, 1, or -1 if it is no time. */
static int
claim_time(struct slice claims, const char *name, int64_t *ret)
{
    struct slice raw;
    int r = json_member(claims, DEPTH, slice_str(name), &raw);

    return r < 1 ? r : read_time(raw, ret) ? 1 : -1;
}

static enum jwt_outcome
check_times(struct slice claims, const struct jwt_rules *rules, const char **ret_why)
{
    int64_t expires_s, begins_s;
    int has_end = claim_time(claims, "exp", &expires_s), has_begin = claim_time(claims, "nbf", &begins_s);

    if (has_end < 0 || has_begin < 0) {
        *ret_why = "its times are no times";
        return JWT_REFUSED;
    }
    if (has_end > 0 && rules->now_s >= expires_s + rules->leeway_s) {
        *ret_why = "it has expired";
        return JWT_EXPIRED;
    }
    if (has_begin > 0 && rules->now_s < begins_s - rules->leeway_s) {
        *ret_why = "it is not valid yet";
        return JWT_EARLY;
    }
    return JWT_GOOD;
}

static bool
string_is(struct slice raw, struct slice wanted)
{
    struct buf text;
    bool is_equal;

    if (raw.n < 2 || raw.p[0] != '"')
        return false;
    buf_init(&text, 0);
    json_unescape(&text, slice_of(raw.p + 1, raw.n - 2));
    is_equal = !buf_failed(&text) && slice_equal(buf_slice(&text), wanted);
    buf_fini(&text);
    return is_equal;
}

/* One audience, or a list of them. */
static bool
audience_has(struct slice raw, struct slice wanted)
{
    struct json_token t;
    struct slice each;
    struct json r;

    if (raw.n == 0 || raw.p[0] != '[')
        return string_is(raw, wanted);
    json_init(&r, raw.p, raw.n, DEPTH);
    if (json_next(&r, &t) < 0)
        return false;
    while (json_has_more(&r) && json_skip(&r, &each) == 0)
        if (string_is(each, wanted))
            return true;
    return false;
}

static bool
is_for_us(struct slice claims, const struct jwt_rules *rules)
{
    struct slice raw = {.n = 0};

    if (rules->issuer.n > 0 &&
        (json_member(claims, DEPTH, slice_str("iss"), &raw) < 1 || !string_is(raw, rules->issuer)))
        return false;
    return rules->audience.n == 0 ||
           (json_member(claims, DEPTH, slice_str("aud"), &raw) == 1 && audience_has(raw, rules->audience));
}

static enum jwt_outcome
check_claims(struct slice claims, const struct jwt_rules *rules, const char **ret_why)
{
    struct slice none;

    *ret_why = "what it says is no JSON object";
    if (json_member(claims, DEPTH, slice_str("exp"), &none) < 0)
        return JWT_REFUSED;
    *ret_why = "its issuer or audience is another";
    if (!is_for_us(claims, rules))
        return JWT_REFUSED;
    return check_times(claims, rules, ret_why);
}

/* ---- The whole. ---- */

struct parts {
    struct slice header, claims, signature; /* in base64 */
    struct slice text;                      /* that is signed */
};

static bool
split_token(struct slice token, struct parts *ret)
{
    const uint8_t *end = token.p + token.n, *first, *second;

    first = token.n == 0 ? NULL : memchr(token.p, '.', token.n);
    second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL)
        return false;
    ret->header = slice_of(token.p, (size_t)(first - token.p));
    ret->claims = slice_of(first + 1, (size_t)(second - first - 1));
    ret->signature = slice_of(second + 1, (size_t)(end - second - 1));
    ret->text = slice_of(token.p, (size_t)(second - token.p));
    return true;
}

static enum jwt_outcome
verify_parts(const struct jwt_key *key, const struct parts *parts, const struct jwt_rules *rules,
    struct buf *decoded, struct buf *out, const char **ret_why)
{
    enum jwt_outcome outcome;

    *ret_why = "its header is not that of a token for this key";
    if (base64url_decode(decoded, parts->header) < 0 || !header_is_ours(key, buf_slice(decoded)))
        return JWT_REFUSED;
    buf_reset(decoded);
    *ret_why = "its signature is wrong";
    if (base64url_decode(decoded, parts->signature) < 0 ||
        !verify_signature(key, parts->text, buf_slice(decoded)))
        return JWT_REFUSED;
    buf_reset(decoded);
    *ret_why = "what it says is no base64";
    if (base64url_decode(decoded, parts->claims) < 0)
        return JWT_REFUSED;
    outcome = check_claims(buf_slice(decoded), rules, ret_why);
    if (outcome == JWT_GOOD)
        buf_put_slice(out, buf_slice(decoded));
    return outcome;
}

enum jwt_outcome
jwt_verify(const struct jwt_key *key, struct slice token, const struct jwt_rules *rules, struct buf *out,
    const char **ret_why)
{
    enum jwt_outcome outcome;
    struct parts parts;
    struct buf decoded;

    *ret_why = "it is longer than 8 KiB";
    if (token.n > JWT_MAX)
        return JWT_REFUSED;
    *ret_why = "it has not three parts";
    if (!split_token(token, &parts))
        return JWT_REFUSED;
    buf_init(&decoded, 0);
    outcome = verify_parts(key, &parts, rules, &decoded, out, ret_why);
    if (buf_failed(&decoded) || buf_failed(out)) {
        *ret_why = "memory ran out";
        outcome = JWT_REFUSED;
    }
    buf_fini(&decoded);
    return outcome;
}
