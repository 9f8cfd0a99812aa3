/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "frontends/http/httpreq.h"
#include "tests/unit/http/http-oracle.h"

#define H "Host: bus.example\r\n"

static const struct httpreq_limits limits = {.max_line = 64, .max_head = 400, .max_body = 32};
static struct httpreq req;

/* A client's bytes, given in pieces of `step`, in an allocation of exactly the right size each time. */
struct feed {
    struct httpreq_state st;
    uint8_t *p;
    size_t n;
};

static int
feed(struct feed *f, const uint8_t *in, size_t n)
{
    uint8_t *grown = malloc(f->n + n + (f->n + n == 0));
    ck_assert_ptr_nonnull(grown);
    if (f->n > 0)
        memcpy(grown, f->p, f->n);
    if (n > 0)
        memcpy(grown + f->n, in, n);
    free(f->p);
    f->p = grown;
    f->n += n;
    return httpreq_parse(&f->st, &limits, f->p, f->n, &req);
}

static void
assert_slice(const char *in, const char *what, struct slice got, const char *want)
{
    ck_assert_msg(slice_is(got, want), "%s\n%s is \"%.*s\", not \"%s\"", in, what, SLICE_ARG(got), want);
}

struct good {
    const char *in, *method, *path, *query, *host, *body;
    bool is_keep_alive;
};

static const struct good goods[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", "GET", "/", "", "bus.example", "", true},
    {"GET /a?b=c&d HTTP/1.1\r\n" H "\r\n", "GET", "/a", "b=c&d", "bus.example", "", true},
    {"GET /a%2fb? HTTP/1.1\r\nHost:bus.example:80 \r\n\r\n", "GET", "/a%2fb", "", "bus.example:80", "", true},
    {"HEAD / HTTP/1.0\r\n\r\n", "HEAD", "/", "", "", "", false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", "/", "", "", "", true},
    {"GET / HTTP/1.1\r\n" H "Connection: Upgrade, CLOSE\r\n\r\n", "GET", "/", "", "bus.example", "", false},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS", "*", "", "bus.example", "", true},
    {"GET http://other:81/x?y HTTP/1.1\r\n" H "\r\n", "GET", "/x", "y", "other:81", "", true},
    {"GET HTTPS://other?y HTTP/1.1\r\n" H "\r\n", "GET", "/", "y", "other", "", true},
    {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET", "/", "", "[::1]:8080", "", true},
    {"\r\nGET / HTTP/1.1\r\n" H "\r\n", "GET", "/", "", "bus.example", "", true},
    {"POST /t HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", "POST", "/t", "", "bus.example", "hello",
        true},
    {"POST /t HTTP/1.1\r\n" H "content-length:\t005 \r\n\r\nhello", "POST", "/t", "", "bus.example", "hello",
        true},
    {"\r\nPUT /t HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "PUT", "/t", "", "", "hi", false},
    {"POST /t HTTP/1.1\r\n" H "Content-Length: 0\r\nX-Empty:\r\n\r\n", "POST", "/t", "", "bus.example", "",
        true},
    {"POST /t HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST", "/t", "",
        "bus.example", "hello", true},
    {"POST /t HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n02;a=\"b\"\r\nhe\r\n3;x\r\nllo\r\n000\r\n"
     "X-Sum: 1\r\nY: 2\r\n\r\n",
        "POST", "/t", "", "bus.example", "hello", true},
    {"POST /t HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST", "/t", "", "bus.example",
        "", true},
    {"POST /t HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1F\r\n0123456789012345678901234567890\r\n"
     "1\r\n1\r\n0\r\n\r\n",
        "POST", "/t", "", "bus.example", "01234567890123456789012345678901", true},
};

static void
assert_good(const struct good *g, const struct feed *f, size_t n_rest)
{
    assert_slice(g->in, "method", req.method_name, g->method);
    assert_slice(g->in, "path", req.path, g->path);
    assert_slice(g->in, "query", req.query, g->query);
    assert_slice(g->in, "host", req.host, g->host);
    assert_slice(g->in, "body", req.body, g->body);
    ck_assert_msg(req.is_keep_alive == g->is_keep_alive, "%s\nkeep-alive is %d", g->in, req.is_keep_alive);
    ck_assert_msg(
        f->n == req.n_used + n_rest, "%s\nused %zu of %zu, %zu are left", g->in, req.n_used, f->n, n_rest);
    ck_assert(httpreq_is_idle(&f->st));
    const char *other = oracle_disagrees((const uint8_t *)g->in, strlen(g->in), &req);
    ck_assert_msg(other == NULL, "%s\nhttp-parser saw %s", g->in, other);
}

START_TEST(test_good_whole)
{
    const struct good *g = &goods[_i];
    struct feed f = {0};
    int r = feed(&f, (const uint8_t *)g->in, strlen(g->in));
    ck_assert_msg(r == 0, "%s\ngave %d: %d %s", g->in, r, req.status, req.reason);
    assert_good(g, &f, 0);
    free(f.p);
}
END_TEST

START_TEST(test_good_byte_by_byte)
{
    const struct good *g = &goods[_i];
    struct feed f = {0};
    size_t n = strlen(g->in);
    for (size_t i = 0; i < n; i++) {
        int r = feed(&f, (const uint8_t *)g->in + i, 1);
        ck_assert_msg(
            r == (i + 1 < n ? HTTPREQ_MORE : 0), "%.*s\ngave %d: %s", (int)i + 1, g->in, r, req.reason);
    }
    assert_good(g, &f, 0);
    free(f.p);
}
END_TEST

START_TEST(test_good_prefixes_and_rests)
{
    const struct good *g = &goods[_i];
    size_t n = strlen(g->in);
    for (size_t i = 0; i <= n; i++) {
        struct feed f = {0};
        int r = feed(&f, (const uint8_t *)g->in, i);
        ck_assert_msg(r == (i < n ? HTTPREQ_MORE : 0), "%.*s\ngave %d", (int)i, g->in, r);
        if (r == HTTPREQ_MORE) { /* the rest, with the next request's first bytes behind it */
            char *rest = malloc(n - i + 3);
            ck_assert_ptr_nonnull(rest);
            memcpy(rest, g->in + i, n - i);
            memcpy(rest + n - i, "GET", 3);
            ck_assert_int_eq(feed(&f, (const uint8_t *)rest, n - i + 3), 0);
            assert_good(g, &f, 3);
            ck_assert_mem_eq(f.p + req.n_used, "GET", 3);
            free(rest);
        }
        free(f.p);
    }
}
END_TEST

struct bad {
    const char *in;
    int status;
};

#define CHUNKED "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"
#define TEN "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static const struct bad bads[] = {
    {"GET / HTTP/1.1\n" H "\r\n", 400}, /* bare LF */
    {"GET / HTTP/1.1\r\n" H "\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400}, /* bare CR */
    {"\n", 400},
    {"\r\n\r\n", 400}, /* two empty lines first */
    {"\r\rGET", 400},
    {" GET / HTTP/1.1\r\n", 400},
    {"\x16\x03\x01", 400}, /* TLS to a plain port */
    {"GET\r\n", 400},
    {"GET /\r\n", 400}, /* HTTP/0.9 */
    {"GET  / HTTP/1.1\r\n", 400},
    {"GET / HTTP/1.1 \r\n", 400},
    {"GET / http/1.1\r\n", 400},
    {"GET / HTTP/1.1x\r\n", 400},
    {"GET\t/ HTTP/1.1\r\n", 400},
    {"G(T / HTTP/1.1\r\n", 400},
    {"PRI * HTTP/2.0\r\n", 505},
    {"GET / HTTP/1.2\r\n", 505},
    {"GET / HTTP/0.9\r\n", 505},
    {"GET * HTTP/1.1\r\n", 400},
    {"GET a HTTP/1.1\r\n", 400},
    {"CONNECT a:80 HTTP/1.1\r\n", 400},
    {"GET ftp://a/ HTTP/1.1\r\n", 400},
    {"GET http:///x HTTP/1.1\r\n", 400},
    {"GET http://u@a/x HTTP/1.1\r\n", 400},
    {"GET /a#b HTTP/1.1\r\n", 400},
    {"GET /a%2 HTTP/1.1\r\n", 400},
    {"GET /a%zz HTTP/1.1\r\n", 400},
    {"GET /?% HTTP/1.1\r\n", 400},
    {"GET /\xc3\xa9 HTTP/1.1\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\n", 400},
    {"GET / HTTP/1.1\r\n\r\n", 400}, /* no Host */
    {"GET / HTTP/1.1\r\n" H H "\r\n", 400},
    {"GET / HTTP/1.0\r\n" H H "\r\n", 400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400},
    {"GET http://o/ HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X : y\r\n\r\n", 400}, /* space before the colon */
    {"GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H ": y\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400}, /* folded */
    {"GET / HTTP/1.1\r\n X: a\r\n" H "\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: \x01\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X: \x7f\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n" H "X\x80: y\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 33\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999999\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
     "chunked\r\n\r\n",
        400},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\n" H "Expect: 200-maybe\r\n\r\n", 417},
    {CHUNKED "\r\n", 400},
    {CHUNKED "g\r\n", 400},
    {CHUNKED "+1\r\n", 400},
    {CHUNKED "0x1\r\n", 400},
    {CHUNKED "1 \r\n", 400},
    {CHUNKED "1\n", 400},
    {CHUNKED "1;\x01\r\n", 400},
    {CHUNKED "00000000000000001\r\n", 400},
    {CHUNKED "ffffffffffffffff\r\n", 413},
    {CHUNKED "21\r\n", 413},
    {CHUNKED "1\r\na\r\n20\r\n", 413},
    {CHUNKED "1\r\nab\r\n", 400},
    {CHUNKED "1\r\na\rb", 400},
    {CHUNKED "1\r\na\n", 400},
    {CHUNKED "1;" FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY, 400},
    {CHUNKED "0\r\nX\r\n", 400},
    {CHUNKED "0\r\n X: y\r\n", 400},
    {CHUNKED "0\r\nContent-Length: 1\r\n", 400},
    {CHUNKED "0\r\n\n", 400},
    {CHUNKED "0\r\nA: " FIFTY FIFTY FIFTY "\r\nB: " FIFTY FIFTY FIFTY "\r\nC: " FIFTY FIFTY FIFTY "\r\n",
        431},
    {"GET /" FIFTY TEN " HTTP/1.1\r\n", 414},
    {"GET /" FIFTY FIFTY, 414},
    {"GET / HTTP/1.1\r\n" H "A: " FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY "\r\n\r\n", 431},
};

START_TEST(test_bad)
{
    const struct bad *b = &bads[_i];
    size_t n = strlen(b->in);
    struct feed whole = {0}, bytes = {0};

    int r = feed(&whole, (const uint8_t *)b->in, n);
    ck_assert_msg(r == HTTPREQ_REFUSED, "%s\ngave %d", b->in, r);
    ck_assert_msg(
        req.status == b->status, "%s\ngave %d %s, not %d", b->in, req.status, req.reason, b->status);
    r = HTTPREQ_MORE;
    for (size_t i = 0; i < n && r == HTTPREQ_MORE; i++)
        r = feed(&bytes, (const uint8_t *)b->in + i, 1);
    ck_assert_msg(r == HTTPREQ_REFUSED, "%s\nbyte by byte gave %d", b->in, r);
    ck_assert_msg(req.status == b->status, "%s\nbyte by byte gave %d, not %d", b->in, req.status, b->status);
    free(whole.p);
    free(bytes.p);
}
END_TEST

START_TEST(test_nul_bytes)
{
    static const char in[] = "GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n";
    static const char in2[] = "GET /\0 HTTP/1.1\r\n" H "\r\n";
    struct feed f = {0}, f2 = {0};
    ck_assert_int_eq(feed(&f, (const uint8_t *)in, sizeof in - 1), HTTPREQ_REFUSED);
    ck_assert_int_eq(req.status, 400);
    ck_assert_int_eq(feed(&f2, (const uint8_t *)in2, sizeof in2 - 1), HTTPREQ_REFUSED);
    ck_assert_int_eq(req.status, 400);
    free(f.p);
    free(f2.p);
}
END_TEST

START_TEST(test_header_count)
{
    for (int n_more = HTTPREQ_MAX_HEADERS - 1; n_more <= HTTPREQ_MAX_HEADERS; n_more++) {
        struct feed f = {0};
        struct buf in;
        buf_init(&in, 0);
        buf_put_str(&in, "GET / HTTP/1.1\r\n" H);
        for (int i = 0; i < n_more; i++)
            buf_put_str(&in, "a:\r\n");
        buf_put_str(&in, "\r\n");
        int r = feed(&f, in.p, in.n);
        ck_assert_int_eq(r, n_more < HTTPREQ_MAX_HEADERS ? 0 : HTTPREQ_REFUSED);
        if (r != 0)
            ck_assert_int_eq(req.status, 431);
        buf_fini(&in);
        free(f.p);
    }
}
END_TEST

/* The limit holds for the whole head, its last CRLF too, however it comes. */
START_TEST(test_head_limit_is_exact)
{
    for (size_t n = limits.max_head - 3; n <= limits.max_head + 3; n++) {
        struct feed whole = {0}, bytes = {0};
        struct buf in;
        buf_init(&in, 0);
        buf_put_str(&in, "GET / HTTP/1.1\r\n" H "A: ");
        while (in.n < n - 4)
            buf_put_byte(&in, 'a');
        buf_put_str(&in, "\r\n\r\n");
        int want = n <= limits.max_head ? 0 : HTTPREQ_REFUSED, r = HTTPREQ_MORE;
        ck_assert_int_eq(feed(&whole, in.p, in.n), want);
        ck_assert(want == 0 || req.status == 431);
        for (size_t i = 0; i < in.n && r == HTTPREQ_MORE; i++)
            r = feed(&bytes, in.p + i, 1);
        ck_assert_int_eq(r, want);
        ck_assert(want == 0 || req.status == 431);
        buf_fini(&in);
        free(whole.p);
        free(bytes.p);
    }
}
END_TEST

/* What a chunked body is wrapped in is bounded too, whatever it is wrapped in. */
START_TEST(test_chunk_framing_is_bounded)
{
    static const struct httpreq_limits wide = {.max_line = 64, .max_head = 400, .max_body = 64 * 1024};
    struct httpreq_state st = {0};
    struct buf in;

    buf_init(&in, 0);
    buf_put_str(&in, CHUNKED);
    for (int i = 0; i < 30; i++) /* 30 times one byte of body and 200 of extension */
        buf_put_str(&in, "1;" FIFTY FIFTY FIFTY FIFTY "\r\na\r\n");
    ck_assert_int_eq(httpreq_parse(&st, &wide, in.p, in.n, &req), HTTPREQ_REFUSED);
    ck_assert_int_eq(req.status, 400);

    buf_reset(&in);
    st = (struct httpreq_state){0};
    buf_put_str(&in, CHUNKED);
    for (int i = 0; i < 40000; i++)
        buf_put_str(&in, "1\r\na\r\n");
    ck_assert_int_eq(httpreq_parse(&st, &wide, in.p, in.n, &req), HTTPREQ_REFUSED);
    ck_assert_int_eq(req.status, 413);
    buf_fini(&in);
}
END_TEST

/* Behind a chunked body stands the next request, and it is found although the framing was taken out. */
START_TEST(test_pipelined)
{
    static const char in[] =
        CHUNKED "3\r\nabc\r\n0\r\nT: x\r\n\r\n"
                "POST /2 HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\nhiGET /3 HTTP/1.0\r\n\r\n";
    static const char *const paths[] = {"/", "/2", "/3"}, *const bodies[] = {"abc", "hi", ""};

    for (size_t step = 1; step < sizeof in; step++) {
        struct feed f = {0};
        size_t n_found = 0;
        for (size_t i = 0; i < sizeof in - 1; i += step) {
            size_t n = sizeof in - 1 - i < step ? sizeof in - 1 - i : step;
            int r = feed(&f, (const uint8_t *)in + i, n);
            for (; r == 0; n_found++) {
                ck_assert_uint_lt(n_found, 3);
                assert_slice(in, "path", req.path, paths[n_found]);
                assert_slice(in, "body", req.body, bodies[n_found]);
                f.n -= req.n_used;
                memmove(f.p, f.p + req.n_used, f.n);
                r = feed(&f, NULL, 0);
            }
            ck_assert_msg(r == HTTPREQ_MORE, "step %zu at %zu: %s", step, i, req.reason);
        }
        ck_assert_uint_eq(n_found, 3);
        ck_assert_uint_eq(f.n, 0);
        ck_assert(httpreq_is_idle(&f.st));
        free(f.p);
    }
}
END_TEST

START_TEST(test_expect_continue)
{
    static const char head[] = "POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
    static const char old[] = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    struct feed f = {0}, f2 = {0}, f3 = {0};

    ck_assert_int_eq(feed(&f, (const uint8_t *)head, sizeof head - 1), HTTPREQ_MORE);
    ck_assert(f.st.wants_continue);
    f.st.wants_continue = false;
    ck_assert_int_eq(feed(&f, (const uint8_t *)"h", 1), HTTPREQ_MORE);
    ck_assert(!f.st.wants_continue);
    ck_assert_int_eq(feed(&f, (const uint8_t *)"i", 1), 0);
    assert_slice(head, "body", req.body, "hi");

    ck_assert_int_eq(feed(&f2, (const uint8_t *)old, sizeof old - 1), HTTPREQ_MORE);
    ck_assert(!f2.st.wants_continue);

    static const char with_body[] =
        "POST / HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nh";
    ck_assert_int_eq(feed(&f3, (const uint8_t *)with_body, sizeof with_body - 1), HTTPREQ_MORE);
    ck_assert_msg(!f3.st.wants_continue, "the body is on its way already");
    free(f.p);
    free(f2.p);
    free(f3.p);
}
END_TEST

START_TEST(test_headers_by_name)
{
    static const char in[] = "GET / HTTP/1.1\r\n" H "Accept: a\r\nACCEPT: text/x ; q=1 ,\tB\r\n"
                             "Connection: x, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    struct feed f = {0};
    ck_assert_int_eq(feed(&f, (const uint8_t *)in, sizeof in - 1), 0);
    ck_assert_ptr_null(httpreq_header(&req, "Accep"));
    ck_assert_ptr_null(httpreq_header(&req, "Accepts"));
    assert_slice(in, "accept", *httpreq_header(&req, "accept"), "a");
    ck_assert(httpreq_has_token(&req, "Accept", "b"));
    ck_assert(httpreq_has_token(&req, "Accept", "TEXT/X"));
    ck_assert(!httpreq_has_token(&req, "Accept", "text"));
    ck_assert(req.is_upgrade);
    free(f.p);
}
END_TEST

static void
assert_decodes(const char *in, bool is_query, const char *want)
{
    struct buf out;
    buf_init(&out, 0);
    int r = httpreq_decode(&out, slice_str(in), is_query);
    ck_assert_msg(r == (want == NULL ? -EINVAL : 0), "\"%s\" gave %d", in, r);
    if (want != NULL)
        assert_slice(in, "decoded", buf_slice(&out), want);
    buf_fini(&out);
}

START_TEST(test_decode)
{
    assert_decodes("", false, "");
    assert_decodes("a/b+c", false, "a/b+c");
    assert_decodes("a/b+c", true, "a/b c");
    assert_decodes("%41%7e%2F%c3%A9", false, "A~/\xc3\xa9");
    assert_decodes("%", false, NULL);
    assert_decodes("a%4", false, NULL);
    assert_decodes("%g0", false, NULL);
    assert_decodes("%0g", false, NULL);
    assert_decodes("%00", false, NULL);
}
END_TEST

START_TEST(test_query)
{
    struct slice rest = slice_str("&a=1&b&a=%32&&=x&c=d=e&"), name, value;
    static const char *const want[] = {"a", "1", "b", "", "a", "%32", "", "x", "c", "d=e"};
    for (size_t i = 0; i < 10; i += 2) {
        ck_assert_int_eq(httpreq_query_next(&rest, &name, &value), 1);
        assert_slice("query", "name", name, want[i]);
        assert_slice("query", "value", value, want[i + 1]);
    }
    ck_assert_int_eq(httpreq_query_next(&rest, &name, &value), 0);

    struct buf out;
    buf_init(&out, 0);
    ck_assert_int_eq(httpreq_query_get(slice_str("x=1&topic=a%2Fb&topic=c"), "topic", &out), 1);
    assert_slice("query", "topic", buf_slice(&out), "a/b");
    ck_assert_int_eq(httpreq_query_get(slice_str("x=1"), "topic", &out), 0);
    ck_assert_int_eq(httpreq_query_get(slice_str("topic=%00"), "topic", &out), -EINVAL);
    buf_fini(&out);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("httpreq");
    TCase *tc = tcase_create("httpreq");
    tcase_add_loop_test(tc, test_good_whole, 0, sizeof goods / sizeof *goods);
    tcase_add_loop_test(tc, test_good_byte_by_byte, 0, sizeof goods / sizeof *goods);
    tcase_add_loop_test(tc, test_good_prefixes_and_rests, 0, sizeof goods / sizeof *goods);
    tcase_add_loop_test(tc, test_bad, 0, sizeof bads / sizeof *bads);
    tcase_add_test(tc, test_nul_bytes);
    tcase_add_test(tc, test_header_count);
    tcase_add_test(tc, test_head_limit_is_exact);
    tcase_add_test(tc, test_chunk_framing_is_bounded);
    tcase_add_test(tc, test_pipelined);
    tcase_add_test(tc, test_expect_continue);
    tcase_add_test(tc, test_headers_by_name);
    tcase_add_test(tc, test_decode);
    tcase_add_test(tc, test_query);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int n_failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return n_failed == 0 ? 0 : 1;
}
