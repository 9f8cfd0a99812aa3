/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "frontends/http/httpreq.h"
#include "frontends/http/httpresp.h"

#define DATE "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

static struct httpdate date;
static struct buf out;

static void
setup(void)
{
    httpdate_set(&date, 784111777123);
    buf_init(&out, 0);
}

static void
teardown(void)
{
    buf_fini(&out);
}

static void
assert_out(const char *want)
{
    ck_assert_msg(slice_is(buf_slice(&out), want), "wrote\n%.*s\nnot\n%s", SLICE_ARG(buf_slice(&out)), want);
    buf_reset(&out);
}

START_TEST(test_date)
{
    ck_assert_str_eq(date.line, DATE);
    httpdate_set(&date, 784111777999);
    ck_assert_str_eq(date.line, DATE);
    httpdate_set(&date, 784111778000);
    ck_assert_str_eq(date.line, "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
    struct httpdate first = {0};
    httpdate_set(&first, 999);
    ck_assert_str_eq(first.line, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
}
END_TEST

START_TEST(test_length)
{
    struct httpresp r = {
        .status = 200, .n_body = 5, .content_type = "text/plain", .minor = 1, .is_keep_alive = true};
    httpresp_put_head(&out, &r, &date);
    assert_out("HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n");
    r = (struct httpresp){
        .status = 404, .etag = slice_str("x"), .headers = slice_str("Allow: GET\r\n"), .minor = 1};
    httpresp_put_head(&out, &r, &date);
    assert_out("HTTP/1.1 404 Not Found\r\n" DATE
               "Content-Length: 0\r\nETag: \"x\"\r\nAllow: GET\r\nConnection: close\r\n\r\n");
    r = (struct httpresp){.status = 200, .minor = 0, .is_keep_alive = true};
    httpresp_put_head(&out, &r, NULL);
    assert_out("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    r = (struct httpresp){.status = 304, .ending = HTTPRESP_NONE, .minor = 1, .is_keep_alive = true};
    httpresp_put_head(&out, &r, NULL);
    assert_out("HTTP/1.1 304 Not Modified\r\n\r\n");
}
END_TEST

START_TEST(test_stream)
{
    struct httpresp r = {.status = 200, .ending = HTTPRESP_STREAM, .minor = 1, .is_keep_alive = true};
    httpresp_put_head(&out, &r, NULL);
    httpresp_put_chunk(&out, slice_str("0123456789abcdefg"), 1);
    httpresp_put_chunk(&out, slice_str(""), 1);
    httpresp_put_end(&out, 1);
    assert_out("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n");
    r.minor = 0;
    httpresp_put_head(&out, &r, NULL);
    httpresp_put_chunk(&out, slice_str("ab"), 0);
    httpresp_put_end(&out, 0);
    assert_out("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab");
}
END_TEST

static struct httpreq *
request(const char *headers)
{
    static struct httpreq req;
    static uint8_t bytes[512];
    struct httpreq_state st = {0};
    size_t n = (size_t)snprintf((char *)bytes, sizeof bytes, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", headers);
    ck_assert_int_eq(httpreq_parse(&st, &httpreq_limits_default, bytes, n, &req), 0);
    return &req;
}

START_TEST(test_cors)
{
    char a[] = "https://a.example", b[] = "http://b", any[] = "*", *list[] = {a, b}, *star[] = {b, any};

    httpcors_put(&out, request(""), star, 2, NULL, "ETag");
    assert_out("");
    httpcors_put(&out, request("Origin: http://x\r\n"), star, 2, NULL, "ETag");
    assert_out("Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: ETag\r\n");
    httpcors_put(&out, request("Origin: http://x\r\n"), list, 2, "GET", NULL);
    assert_out("Vary: Origin\r\n");
    httpcors_put(&out, request(""), list, 2, NULL, NULL);
    assert_out("Vary: Origin\r\n");
    httpcors_put(&out, request("Origin: http://b\r\nAccess-Control-Request-Headers: x-y\r\n"), list, 2,
        "GET, PUT", NULL);
    assert_out(
        "Vary: Origin\r\nAccess-Control-Allow-Origin: http://b\r\nAccess-Control-Allow-Methods: GET, PUT\r\n"
        "Access-Control-Max-Age: 7200\r\nAccess-Control-Allow-Headers: x-y\r\n");
}
END_TEST

START_TEST(test_cors_forbids)
{
    char b[] = "http://b", any[] = "*", *list[] = {b}, *star[] = {any};

    ck_assert(httpcors_allows(request(""), list, 1));
    ck_assert(httpcors_allows(request("Origin: http://b\r\n"), list, 1));
    ck_assert(httpcors_allows(request("Origin: http://c\r\n"), star, 1));
    ck_assert(!httpcors_allows(request("Origin: http://c\r\n"), list, 1));
    ck_assert(!httpcors_allows(request("Origin: null\r\n"), list, 0));
    ck_assert_msg(httpcors_allows(request("Origin: http://A\r\n"), list, 0), "a page of ours");
    ck_assert_msg(!httpcors_allows(request("Origin: http://a:81\r\n"), list, 0), "another port");
}
END_TEST

static bool
matches(const char *value)
{
    return httpresp_etag_matches(slice_str(value), slice_str("a-1"));
}

START_TEST(test_etag)
{
    ck_assert(matches("\"a-1\""));
    ck_assert(matches("W/\"a-1\""));
    ck_assert(matches("\"x\" , W/\"y\",\"a-1\""));
    ck_assert(matches("*"));
    ck_assert(!matches(""));
    ck_assert(!matches("a-1"));
    ck_assert(!matches("\"a-1"));
    ck_assert(!matches("\"a-12\""));
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("httpresp");
    TCase *tc = tcase_create("httpresp");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_date);
    tcase_add_test(tc, test_length);
    tcase_add_test(tc, test_stream);
    tcase_add_test(tc, test_cors);
    tcase_add_test(tc, test_cors_forbids);
    tcase_add_test(tc, test_etag);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int n_failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return n_failed == 0 ? 0 : 1;
}
