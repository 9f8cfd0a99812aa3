/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of RFC 7515 and of other implementations (Ruby's and OpenSSL's own command), and what is wrong with
 * others. */
#include "config.h"

#include "frontends/sdk/jwt.h"

#include "tests/unit/base/suite.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "base/base64.h"

/* RFC 7515, A.1: HS256. */
#define RFC_KEY "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
#define RFC_CLAIMS                                                                                           \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RFC_HS256                                                                                            \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_CLAIMS ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define RFC_EXP 1300819380

/* RFC 7515, A.3: ES256. */
#define RFC_ES256                                                                                            \
    "eyJhbGciOiJFUzI1NiJ9." RFC_CLAIMS                                                                       \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

static const char p256_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
                               "6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
                               "-----END PUBLIC KEY-----\n";
static const char p384_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEnkuQjaPsEKW8BGbrJkgZudR6qC21/84e\n"
                               "/5DBibEHuutmeXVdHdB+4uzqBTElG8/pjIKYSHwbuig6F1Yw95/Y7ulyPfAV5Sqg\n"
                               "u/2CUsNZ+V7G6Yx60yGtIb+nrpR9/2h+\n"
                               "-----END PUBLIC KEY-----\n";
static const char rsa_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAhTeNEFhgE0aailOs9Ueg\n"
                              "8kTk2VV0aTBQzbtxJ4DyZGk1aVFqmlMSZZ0bW3GRuSuOayk228rBCShreath9UFp\n"
                              "t1OF4UY3dR4QQT71Cohxl7nojs3AisSjtrHjqkBb5yzsBxRrFPfspcVsH0t2IWQ7\n"
                              "vOh+QelSoYT6ufpHvlH0exd7/fISCmBkGhI1UAsepkPg1JMobCh9Dr/cyWGqaOUe\n"
                              "HKpg+xf8fWQB3m8qiIctaL803NATks+P6LIYyRjndsDtygfk0yWrLTNT+IrPDBo1\n"
                              "VP08IcyMoZ6vXDkpJqlsAkHkrLnq3CINhWYxtl5BIFQoDi6y2QfM6Al5h+UD9NzG\n"
                              "lQIDAQAB\n"
                              "-----END PUBLIC KEY-----\n";
static const char weak_rsa_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                   "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDVzJ+d/LPKMN/DMni8lbqAt2Cx\n"
                                   "Df4OBVitVcKs8OSp5S8B+jyxA67OICxaJ7JVGNsJxSimPPkO+n6Iokw9PpB/wgO5\n"
                                   "AFvt8x61DTyMzewt0NYmaEqVflmGUOA6jj0Xs7TUrivM6fzj4U9uZ82LGTbFBntH\n"
                                   "Txalo+/M4WUlDfHk6QIDAQAB\n"
                                   "-----END PUBLIC KEY-----\n";
static const char ed25519_pem[] = "-----BEGIN PUBLIC KEY-----\n"
                                  "MCowBQYDK2VwAyEAGnWaU17kQuKVYrMiOiI0CJLE0UrtqHXqV44Num9yRM8=\n"
                                  "-----END PUBLIC KEY-----\n";
static const char rs256_token[] =
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm4iLCJleHAiOjIwMDB9.PXvmjNf1V06z70DE5zTz"
    "HNG8Ow6_OGQAEj47_p-EnUQ4R_V8MgehrzkCs5PRH_ecROkE96s4o_A75jZSYgYUMqkfK6KFsWTemAEffLnbPUpJzB"
    "vsH1ckhqb0W9M8TRQR9cbY_9tr1zbY9y5jeU6kehAWpBG9EqF52mOyAYWezPW-YHv4WyNWeP6BE02aypQ86QjFyCMz"
    "uPZH7qt4rkcDEigmOkz0mvelaQfIAujgsfmyf4upYEzLyPUs74OF4xlFzb1OSDDT0enaql-0jJC2NpU1dJPZS3VTe-"
    "04bv2DmAYtR01WztZQR1umytTi4qkUC80FR-4qfTp3JpAuWVJ4eA";
static const char eddsa_token[] =
    "eyJhbGciOiAiRWREU0EifQ.eyJzdWIiOiAiYW5uIiwgImV4cCI6IDIwMDB9.wFiEwKBYIpUVOwcoyJfK_2KCzPhNaj"
    "j80jJNRTdCXFaioLWJ53b69Pe2sv0j_4YbAGN9rBfHWaMWkMyMHU3DCA";

#define SECRET "a secret of enough bytes"

static struct jwt_rules rules;
static const char *why;

static struct jwt_key *
key_of(enum jwt_algorithm algorithm, const char *material)
{
    struct jwt_key *key = NULL;
    int r = jwt_key_new(algorithm, slice_str(material), &key, &why);

    ck_assert_msg(r == 0, "%s", why);
    return key;
}

static void
no_key(enum jwt_algorithm algorithm, const char *material, const char *error)
{
    struct jwt_key *key = NULL;

    ck_assert_int_lt(jwt_key_new(algorithm, slice_str(material), &key, &why), 0);
    ck_assert_ptr_null(key);
    ck_assert_msg(strstr(why, error) != NULL, "%s", why);
}

/* Frees the key if it is the last use: the tests make one for each. */
static enum jwt_outcome
verify(struct jwt_key *key, const char *token, struct buf *claims)
{
    buf_reset(claims);
    return jwt_verify(key, slice_str(token), &rules, claims, &why);
}

START_TEST(test_rfc)
{
    struct jwt_key *key;
    struct buf secret, claims;

    buf_init(&secret, 0);
    buf_init(&claims, 0);
    rules = (struct jwt_rules){.now_s = RFC_EXP - 1};
    ck_assert_int_eq(base64url_decode(&secret, slice_str(RFC_KEY)), 0);
    ck_assert_int_eq(jwt_key_new(JWT_HS256, buf_slice(&secret), &key, &why), 0);
    ck_assert_int_eq(verify(key, RFC_HS256, &claims), JWT_GOOD);
    ck_assert(slice_is(buf_slice(&claims),
        "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"));
    rules.now_s = RFC_EXP;
    ck_assert_int_eq(verify(key, RFC_HS256, &claims), JWT_EXPIRED);
    ck_assert_uint_eq(claims.n, 0);
    rules.leeway_s = 1;
    ck_assert_int_eq(verify(key, RFC_HS256, &claims), JWT_GOOD);
    jwt_key_free(key);
    key = key_of(JWT_ES256, p256_pem);
    ck_assert_int_eq(verify(key, RFC_ES256, &claims), JWT_GOOD);
    ck_assert_int_eq(verify(key, RFC_HS256, &claims), JWT_REFUSED);
    jwt_key_free(key);
    buf_fini(&secret);
    buf_fini(&claims);
}
END_TEST

START_TEST(test_public_keys)
{
    struct jwt_key *rsa = key_of(JWT_RS256, rsa_pem), *ed = key_of(JWT_EDDSA, ed25519_pem);
    struct buf claims;

    buf_init(&claims, 0);
    rules = (struct jwt_rules){.now_s = 1999};
    ck_assert_int_eq(verify(rsa, rs256_token, &claims), JWT_GOOD);
    ck_assert(slice_is(buf_slice(&claims), "{\"sub\":\"ann\",\"exp\":2000}"));
    ck_assert_int_eq(verify(ed, eddsa_token, &claims), JWT_GOOD);
    ck_assert_int_eq(verify(rsa, eddsa_token, &claims), JWT_REFUSED);
    ck_assert_int_eq(verify(ed, rs256_token, &claims), JWT_REFUSED);
    rules.now_s = 2000;
    ck_assert_int_eq(verify(rsa, rs256_token, &claims), JWT_EXPIRED);
    jwt_key_free(rsa);
    jwt_key_free(ed);
    buf_fini(&claims);
    no_key(JWT_RS256, weak_rsa_pem, "2048");
    no_key(JWT_ES256, p384_pem, "P-256");
    no_key(JWT_RS256, p256_pem, "another algorithm");
    no_key(JWT_EDDSA, rsa_pem, "another algorithm");
    no_key(JWT_ES256, "", "PEM");
    no_key(JWT_RS256, "a secret of enough bytes", "PEM");
    no_key(JWT_HS256, "too short", "16 bytes");
}
END_TEST

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

/* A token signed with SECRET. */
static void
sign(struct buf *out, const EVP_MD *md, const char *header, const char *claims)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    buf_reset(out);
    put_base64url(out, header, strlen(header));
    buf_put_byte(out, '.');
    put_base64url(out, claims, strlen(claims));
    ck_assert_ptr_nonnull(HMAC(md, SECRET, sizeof SECRET - 1, out->p, out->n, mac, &n));
    buf_put_byte(out, '.');
    put_base64url(out, mac, n);
    buf_put_byte(out, '\0');
}

static void
says(const char *header, const char *text, enum jwt_outcome wanted)
{
    struct jwt_key *key = key_of(JWT_HS256, SECRET);
    struct buf token, claims;
    enum jwt_outcome seen;

    buf_init(&token, 0);
    buf_init(&claims, 0);
    sign(&token, EVP_sha256(), header, text);
    seen = verify(key, (const char *)token.p, &claims);
    ck_assert_msg(seen == wanted, "%s %s: %d, %s", header, text, seen, why);
    ck_assert(seen != JWT_GOOD || slice_is(buf_slice(&claims), text));
    buf_fini(&token);
    buf_fini(&claims);
    jwt_key_free(key);
}

START_TEST(test_headers)
{
    rules = (struct jwt_rules){.now_s = 1000};
    says("{\"alg\":\"HS256\"}", "{}", JWT_GOOD);
    says("{\"typ\":\"anything\",\"kid\":\"7\",\"alg\":\"HS256\"}", "{}", JWT_GOOD);
    says("{\"alg\":\"none\"}", "{}", JWT_REFUSED);
    says("{\"alg\":\"HS512\"}", "{}", JWT_REFUSED);
    says("{\"alg\":\"RS256\"}", "{}", JWT_REFUSED);
    says("{\"alg\":\"hs256\"}", "{}", JWT_REFUSED);
    says("{\"alg\":256}", "{}", JWT_REFUSED);
    says("{}", "{}", JWT_REFUSED);
    says("[\"HS256\"]", "{}", JWT_REFUSED);
    says("", "{}", JWT_REFUSED);
    says("{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", "{}", JWT_REFUSED);
    says("{\"alg\":\"none\",\"alg\":\"HS256\"}", "{}", JWT_GOOD); /* the last, for every reader of ours */
}
END_TEST

START_TEST(test_times)
{
    static const char header[] = "{\"alg\":\"HS256\"}";

    rules = (struct jwt_rules){.now_s = 1000};
    says(header, "{\"exp\":1001}", JWT_GOOD);
    says(header, "{\"exp\":1000}", JWT_EXPIRED);
    says(header, "{\"exp\":1000.9}", JWT_EXPIRED);
    says(header, "{\"exp\":1e3}", JWT_EXPIRED);
    says(header, "{\"exp\":1.1e3}", JWT_GOOD);
    says(header, "{\"exp\":-1}", JWT_EXPIRED);
    says(header, "{\"exp\":\"1001\"}", JWT_REFUSED);
    says(header, "{\"exp\":null}", JWT_REFUSED);
    says(header, "{\"exp\":1e300}", JWT_REFUSED);
    says(header, "{\"exp\":99999999999999999999999999999999}", JWT_REFUSED);
    says(header, "{\"nbf\":1000}", JWT_GOOD);
    says(header, "{\"nbf\":1001}", JWT_EARLY);
    says(header, "{\"nbf\":[]}", JWT_REFUSED);
    rules.leeway_s = 5;
    says(header, "{\"exp\":996,\"nbf\":1005}", JWT_GOOD);
    says(header, "{\"exp\":995}", JWT_EXPIRED);
    says(header, "{\"nbf\":1006}", JWT_EARLY);
}
END_TEST

START_TEST(test_for_whom)
{
    static const char header[] = "{\"alg\":\"HS256\"}";

    rules = (struct jwt_rules){.now_s = 1000, .issuer = slice_str("me"), .audience = slice_str("bus")};
    says(header, "{\"iss\":\"me\",\"aud\":\"bus\"}", JWT_GOOD);
    says(header, "{\"iss\":\"m\\u0065\",\"aud\":[\"x\",\"bus\",7]}", JWT_GOOD);
    says(header, "{\"iss\":\"me\",\"aud\":[]}", JWT_REFUSED);
    says(header, "{\"iss\":\"me\",\"aud\":[\"x\",[\"bus\"]]}", JWT_REFUSED);
    says(header, "{\"iss\":\"me\"}", JWT_REFUSED);
    says(header, "{\"iss\":\"you\",\"aud\":\"bus\"}", JWT_REFUSED);
    says(header, "{\"iss\":[\"me\"],\"aud\":\"bus\"}", JWT_REFUSED);
    says(header, "[]", JWT_REFUSED);
    says(header, "\"me\"", JWT_REFUSED);
    says(header, "{\"iss\":\"me\",\"aud\":\"bus\"", JWT_REFUSED);
}
END_TEST

START_TEST(test_lengths_of_hmac)
{
    static const struct {
        enum jwt_algorithm algorithm;
        const char *header;
    } all[] = {{JWT_HS256, "{\"alg\":\"HS256\"}"}, {JWT_HS384, "{\"alg\":\"HS384\"}"},
        {JWT_HS512, "{\"alg\":\"HS512\"}"}};
    const EVP_MD *const mds[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    struct buf token, claims;

    rules = (struct jwt_rules){.now_s = 1000};
    buf_init(&token, 0);
    buf_init(&claims, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct jwt_key *key = key_of(all[i].algorithm, SECRET);

        for (unsigned k = 0; k < 3; k++) {
            sign(&token, mds[k], all[i].header, "{}");
            ck_assert_int_eq(verify(key, (const char *)token.p, &claims), i == k ? JWT_GOOD : JWT_REFUSED);
        }
        jwt_key_free(key);
    }
    buf_fini(&token);
    buf_fini(&claims);
}
END_TEST

/* Each bit that is changed, each byte that is left out or put in, breaks each kind. */
START_TEST(test_every_byte_counts)
{
    const struct {
        enum jwt_algorithm algorithm;
        const char *key, *token;
    } kinds[] = {{JWT_RS256, rsa_pem, rs256_token}, {JWT_EDDSA, ed25519_pem, eddsa_token},
        {JWT_ES256, p256_pem, RFC_ES256}};
    struct buf claims;

    rules = (struct jwt_rules){.now_s = 0};
    buf_init(&claims, 0);
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct jwt_key *key = key_of(kinds[i].algorithm, kinds[i].key);
        size_t n = strlen(kinds[i].token);
        char *text = malloc(n + 2);

        ck_assert_int_eq(verify(key, kinds[i].token, &claims), JWT_GOOD);
        for (size_t at = 0; at < n; at++) {
            memcpy(text, kinds[i].token, n + 1);
            text[at] = text[at] == 'A' ? 'B' : 'A';
            ck_assert_msg(verify(key, text, &claims) == JWT_REFUSED, "%u: changed at %zu", i, at);
            memcpy(text, kinds[i].token, n + 1);
            text[at] = '\0';
            ck_assert_int_eq(verify(key, text, &claims), JWT_REFUSED);
        }
        (void)snprintf(text, n + 2, "%s.", kinds[i].token);
        ck_assert_int_eq(verify(key, text, &claims), JWT_REFUSED);
        free(text);
        jwt_key_free(key);
    }
    buf_fini(&claims);
}
END_TEST

START_TEST(test_shapes)
{
    static const char *const none[] = {"", ".", "..", "...", "a", "a.b", "a.b.c", "a.b.c.d",
        "=.=.=", "eyJhbGciOiJIUzI1NiJ9..", "eyJhbGciOiJIUzI1NiJ9.e30.", "eyJhbGciOiJub25lIn0.e30."};
    struct jwt_key *key = key_of(JWT_HS256, SECRET);
    struct buf claims, large;

    rules = (struct jwt_rules){.now_s = 0};
    buf_init(&claims, 0);
    buf_init(&large, 0);
    for (unsigned i = 0; i < sizeof none / sizeof none[0]; i++)
        ck_assert_int_eq(verify(key, none[i], &claims), JWT_REFUSED);
    sign(&large, EVP_sha256(), "{\"alg\":\"HS256\"}", "{\"a\":1}");
    ck_assert_int_eq(verify(key, (const char *)large.p, &claims), JWT_GOOD);
    buf_reset(&claims);
    for (unsigned i = 0; i < JWT_MAX; i++)
        buf_put_byte(&claims, 'x');
    buf_put_byte(&claims, '\0');
    sign(&large, EVP_sha256(), "{\"alg\":\"HS256\"}", (const char *)claims.p);
    ck_assert_int_eq(verify(key, (const char *)large.p, &claims), JWT_REFUSED);
    ck_assert_ptr_nonnull(strstr(why, "8 KiB"));
    jwt_key_free(key);
    buf_fini(&claims);
    buf_fini(&large);
}
END_TEST

SUITE_MAIN("jwt", test_rfc, test_public_keys, test_headers, test_times, test_for_whom, test_lengths_of_hmac,
    test_every_byte_counts, test_shapes)
