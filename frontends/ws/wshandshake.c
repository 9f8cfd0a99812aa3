/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks in the order of RFC 6455, 4.2.1, each a function that says what is wrong; then the choices
 * (subprotocol, extension) and the response.
 */
#include "config.h"

#include "frontends/ws/wshandshake.h"

#include <errno.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/base64.h"

#define KEY_SIZE 24   /* base64 of 16 bytes */
#define VALUES_MAX 16 /* values of one header field that are looked at */

static const char accept_guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static uint8_t
lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool
equal_nocase(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

static struct slice
trim(struct slice s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Cuts the next element off a comma-separated list; false at its end. */
static bool
list_next(struct slice *list, struct slice *ret)
{
    if (list->p == NULL)
        return false;
    const uint8_t *comma = list->n == 0 ? NULL : memchr(list->p, ',', list->n);
    if (comma == NULL) {
        *ret = trim(*list);
        *list = slice_of(NULL, 0);
    } else {
        size_t n = (size_t)(comma - list->p);
        *ret = trim(slice_of(list->p, n));
        *list = slice_of(comma + 1, list->n - n - 1);
    }
    return true;
}

static struct slice
header_of(const struct wshandshake_request *request, const char *name, unsigned i)
{
    return request->header(request->header_arg, name, i);
}

/* The one value of a field that may stand once; .p is NULL if it is missing or doubled. */
static struct slice
header_once(const struct wshandshake_request *request, const char *name)
{
    struct slice second = header_of(request, name, 1);
    return second.p != NULL ? slice_of(NULL, 0) : header_of(request, name, 0);
}

static bool
has_token(const struct wshandshake_request *request, const char *name, const char *token)
{
    struct slice want = slice_str(token), element;

    for (unsigned i = 0; i < VALUES_MAX; i++) {
        struct slice value = header_of(request, name, i);
        if (value.p == NULL)
            return false;
        while (list_next(&value, &element))
            if (equal_nocase(element, want))
                return true;
    }
    return false;
}

bool
wshandshake_is_asked(const struct wshandshake_request *request)
{
    return has_token(request, "Upgrade", "websocket");
}

static bool
is_key(struct slice key)
{
    struct buf raw;
    bool is_good = false;

    if (key.n != KEY_SIZE)
        return false;
    buf_init(&raw, 0);
    is_good = base64_decode(&raw, key) == 0 && !buf_failed(&raw) && raw.n == 16;
    buf_fini(&raw);
    return is_good;
}

/* a star stands for one or more labels: "*.example.com" takes a.b.example.com, not example.com. */
static bool
origin_matches(const char *pattern, struct slice origin)
{
    struct slice whole = slice_str(pattern);
    const char *star = strstr(pattern, "://*.");

    if (strcmp(pattern, "*") == 0)
        return true;
    if (star == NULL)
        return equal_nocase(whole, origin);
    size_t n_head = (size_t)(star - pattern) + 3; /* with "://" */
    size_t n_tail = whole.n - n_head - 1;         /* from the dot on */
    return origin.n > n_head + n_tail &&
           equal_nocase(slice_of(origin.p, n_head), slice_of(whole.p, n_head)) &&
           equal_nocase(
               slice_of(origin.p + origin.n - n_tail, n_tail), slice_of(whole.p + whole.n - n_tail, n_tail));
}

/* "[::1]:8081" gives "[::1]", "example.com:8081" gives "example.com". */
static struct slice
host_name(struct slice host)
{
    const uint8_t *end = NULL;

    if (host.n == 0)
        return host;
    if (host.p[0] == '[')
        end = memchr(host.p, ']', host.n);
    if (end != NULL)
        return slice_of(host.p, (size_t)(end - host.p) + 1);
    end = memchr(host.p, ':', host.n);
    return end == NULL ? host : slice_of(host.p, (size_t)(end - host.p));
}

/* "https://example.com:8443" and Host "example.com:8081". */
static bool
is_own_origin(struct slice origin, struct slice host)
{
    static const char *const schemes[] = {"http://", "https://"};
    struct slice own = host_name(host);

    for (size_t i = 0; own.n > 0 && i < 2; i++) {
        struct slice scheme = slice_str(schemes[i]);
        if (origin.n > scheme.n && equal_nocase(slice_of(origin.p, scheme.n), scheme))
            return equal_nocase(host_name(slice_of(origin.p + scheme.n, origin.n - scheme.n)), own);
    }
    return false;
}

static bool
is_origin_allowed(const struct wshandshake_request *request, const struct wshandshake_policy *policy)
{
    struct slice origin = header_of(request, "Origin", 0);

    if (origin.p == NULL)
        return true;
    if (header_of(request, "Origin", 1).p != NULL)
        return false;
    for (size_t i = 0; i < policy->n_origins; i++)
        if (origin_matches(policy->origins[i], origin))
            return true;
    return policy->n_origins == 0 && is_own_origin(origin, header_of(request, "Host", 0));
}

/* 0 or the status to refuse with. */
static unsigned
check_request(const struct wshandshake_request *request, const struct wshandshake_policy *policy,
    const char **ret_reason)
{
    struct slice host = header_once(request, "Host");

    *ret_reason = "a WebSocket is opened with GET";
    if (!slice_is(request->method, "GET"))
        return 405;
    *ret_reason = "a WebSocket needs HTTP/1.1";
    if (request->version < 11)
        return 400;
    *ret_reason = "the Host header must stand once";
    if (host.p == NULL || host.n == 0)
        return 400;
    *ret_reason = "this address is a WebSocket: Upgrade: websocket is missing";
    if (!wshandshake_is_asked(request))
        return 426;
    *ret_reason = "the Connection header does not list Upgrade";
    if (!has_token(request, "Connection", "Upgrade"))
        return 400;
    *ret_reason = "Sec-WebSocket-Version must be 13";
    if (!slice_is(header_once(request, "Sec-WebSocket-Version"), "13"))
        return 426;
    *ret_reason = "Sec-WebSocket-Key must stand once and be base64 of 16 bytes";
    if (!is_key(header_once(request, "Sec-WebSocket-Key")))
        return 400;
    *ret_reason = "this Origin is not allowed here";
    if (!is_origin_allowed(request, policy))
        return 403;
    *ret_reason = NULL;
    return 0;
}

/* The first of the client's list that the policy has; -1: none. */
static int
choose_subprotocol(const struct wshandshake_request *request, const struct wshandshake_policy *policy)
{
    struct slice element;

    for (unsigned i = 0; i < VALUES_MAX; i++) {
        struct slice value = header_of(request, "Sec-WebSocket-Protocol", i);
        if (value.p == NULL)
            return -1;
        while (list_next(&value, &element))
            for (size_t k = 0; k < policy->n_subprotocols; k++)
                if (slice_is(element, policy->subprotocols[k]))
                    return (int)k;
    }
    return -1;
}

/* 0, or -EINVAL if an extension header breaks the grammar. */
static int
choose_deflate(const struct wshandshake_request *request, const struct wshandshake_policy *policy,
    struct wsdeflate_params *ret)
{
    wsdeflate_offer_begin(ret);
    for (unsigned i = 0; i < VALUES_MAX; i++) {
        struct slice value = header_of(request, "Sec-WebSocket-Extensions", i);
        if (value.p == NULL)
            break;
        if (wsdeflate_offer_take(ret, value) < 0)
            return -EINVAL;
    }
    ret->is_on = ret->is_on && policy->has_deflate;
    return 0;
}

EVP_MD_CTX *
wshandshake_sha1_new(void)
{
    EVP_MD_CTX *sha1 = EVP_MD_CTX_new();

    if (sha1 != NULL && EVP_DigestInit_ex(sha1, EVP_sha1(), NULL) == 1)
        return sha1;
    return wshandshake_sha1_free(sha1);
}

EVP_MD_CTX *
wshandshake_sha1_free(EVP_MD_CTX *sha1)
{
    EVP_MD_CTX_free(sha1);
    return NULL;
}

/* The Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key. 0, -ENOMEM, or -EIO without SHA-1. */
static int
put_accept(struct buf *out, struct slice key, EVP_MD_CTX *sha1)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;

    if (sha1 == NULL || key.n != KEY_SIZE || EVP_DigestInit_ex(sha1, NULL, NULL) != 1 || /* begins anew */
        EVP_DigestUpdate(sha1, key.p, key.n) != 1 ||
        EVP_DigestUpdate(sha1, accept_guid, sizeof accept_guid - 1) != 1 ||
        EVP_DigestFinal_ex(sha1, digest, &n_digest) != 1)
        return -EIO;
    base64_put(out, slice_of(digest, n_digest));
    return buf_failed(out) ? -ENOMEM : 0;
}

static const char *
status_name(unsigned status)
{
    static const struct {
        unsigned status;
        const char *name;
    } names[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == status)
            return names[i].name;
    return "Error";
}

void
wshandshake_put_error(struct buf *out, unsigned status, const char *reason)
{
    buf_printf(out, "HTTP/1.1 %u %s\r\n", status, status_name(status));
    if (status == 405)
        buf_put_str(out, "Allow: GET\r\n");
    if (status == 426)
        buf_put_str(out, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n");
    else
        buf_put_str(out, "Connection: close\r\n");
    buf_printf(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n\r\n%s\n",
        strlen(reason) + 1, reason);
}

static int
put_switching(struct buf *out, struct slice key, const struct wshandshake_policy *policy,
    const struct wshandshake_result *result)
{
    buf_put_str(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: ");
    int got = put_accept(out, key, policy->sha1);
    if (got < 0)
        return got;
    if (result->subprotocol >= 0) {
        buf_put_str(out, "\r\nSec-WebSocket-Protocol: ");
        buf_put_str(out, policy->subprotocols[result->subprotocol]);
    }
    if (result->deflate.is_on) {
        buf_put_str(out, "\r\nSec-WebSocket-Extensions: ");
        wsdeflate_put_answer(&result->deflate, out);
    }
    buf_put_str(out, "\r\n\r\n");
    return buf_failed(out) ? -ENOMEM : 0;
}

static void
refuse(struct buf *out, struct wshandshake_result *ret, unsigned status, const char *reason)
{
    *ret = (struct wshandshake_result){.status = status, .reason = reason, .subprotocol = -1};
    wshandshake_put_error(out, status, reason);
}

void
wshandshake_answer(const struct wshandshake_request *request, const struct wshandshake_policy *policy,
    struct buf *out, struct wshandshake_result *ret)
{
    const size_t n_before = out->n;
    const char *reason;
    struct wshandshake_result result = {.status = 101};
    unsigned status = check_request(request, policy, &reason);

    if (status != 0) {
        refuse(out, ret, status, reason);
        return;
    }
    result.subprotocol = choose_subprotocol(request, policy);
    if (choose_deflate(request, policy, &result.deflate) < 0) {
        refuse(out, ret, 400, "Sec-WebSocket-Extensions is malformed");
        return;
    }
    if (put_switching(out, header_of(request, "Sec-WebSocket-Key", 0), policy, &result) < 0) {
        out->n = n_before;
        refuse(out, ret, 500, "the handshake could not be answered");
        return;
    }
    *ret = result;
}
