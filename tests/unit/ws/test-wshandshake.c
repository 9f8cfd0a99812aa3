/* SPDX-License-Identifier: Apache-2.0 */
/* Each test changes one header of a good request and says what the server must answer. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "frontends/ws/wshandshake.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define MAX_FIELDS 12

struct fields {
    const char *name[MAX_FIELDS], *value[MAX_FIELDS];
    const char *method;
    unsigned version;
};

static const char *const protocols[] = {"busbar.v1", "mqtt"};
static const char *const origins[] = {"https://app.example.com", "https://*.example.org"};
static const struct wshandshake_policy policy = {
    .subprotocols = protocols, .n_subprotocols = 2, .origins = origins, .n_origins = 2, .has_deflate = true};

static struct fields
good_request(void)
{
    return (struct fields){.method = "GET",
        .version = 11,
        .name = {"Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"},
        .value = {"bus.example.net:8080", "websocket", "Upgrade", KEY, "13"}};
}

/* Adds a field; a NULL value removes it, and `set` replaces it. */
static void
add(struct fields *f, const char *name, const char *value)
{
    for (unsigned i = 0; i < MAX_FIELDS; i++)
        if (f->value[i] == NULL) {
            f->name[i] = name;
            f->value[i] = value;
            return;
        }
    ck_abort_msg("too many fields");
}

static void
set(struct fields *f, const char *name, const char *value)
{
    for (unsigned i = 0; i < MAX_FIELDS; i++)
        if (f->value[i] != NULL && strcmp(f->name[i], name) == 0)
            f->value[i] = NULL;
    if (value != NULL)
        add(f, name, value);
}

static struct slice
lookup(void *arg, const char *name, unsigned i)
{
    const struct fields *f = arg;
    for (unsigned k = 0; k < MAX_FIELDS; k++)
        if (f->value[k] != NULL && strcasecmp(f->name[k], name) == 0 && i-- == 0)
            return slice_str(f->value[k]);
    return slice_of(NULL, 0);
}

static struct wshandshake_result
answer(struct fields *f, const struct wshandshake_policy *p, char *ret_text, size_t n_text)
{
    struct wshandshake_request request = {
        .method = slice_str(f->method), .version = f->version, .header = lookup, .header_arg = f};
    struct wshandshake_policy policy_here = *p;
    struct wshandshake_result result;
    struct buf out;

    buf_init(&out, 0);
    policy_here.sha1 = wshandshake_sha1_new();
    ck_assert_ptr_nonnull(policy_here.sha1);
    for (unsigned i = 0; i < 2; i++) { /* used again it gives the same */
        buf_reset(&out);
        wshandshake_answer(&request, &policy_here, &out, &result);
    }
    policy_here.sha1 = wshandshake_sha1_free(policy_here.sha1);
    snprintf(ret_text, n_text, "%.*s", SLICE_ARG(buf_slice(&out)));
    buf_fini(&out);
    return result;
}

static void
expect(struct fields f, unsigned status, const char *want_line)
{
    char text[2048];
    struct wshandshake_result r = answer(&f, &policy, text, sizeof text);
    if (r.status != status || (want_line != NULL && strstr(text, want_line) == NULL))
        ck_abort_msg(
            "status %u, wanted %u with \"%s\" in:\n%s", r.status, status, want_line ? want_line : "", text);
    ck_assert(status == 101 ? r.reason == NULL : r.reason != NULL);
}

static void
expect_changed(const char *name, const char *value, unsigned status, const char *want_line)
{
    struct fields f = good_request();
    set(&f, name, value);
    expect(f, status, want_line);
}

START_TEST(test_good)
{
    char text[2048];
    struct fields f = good_request();
    struct wshandshake_result r = answer(&f, &policy, text, sizeof text);
    ck_assert_uint_eq(r.status, 101);
    ck_assert_int_eq(r.subprotocol, -1);
    ck_assert(!r.deflate.is_on);
    ck_assert_str_eq(text, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    expect_changed("Connection", "keep-alive, upgrade", 101, NULL);
    expect_changed("Upgrade", "h2c , WebSocket", 101, NULL);
    add(&f, "Connection", "keep-alive");
    expect(f, 101, NULL);
}
END_TEST

START_TEST(test_refusals)
{
    expect_changed("Host", NULL, 400, "Host");
    expect_changed("Upgrade", NULL, 426, "\r\nUpgrade: websocket\r\n");
    expect_changed("Upgrade", "websockets", 426, NULL);
    expect_changed("Connection", NULL, 400, "Connection: close");
    expect_changed("Connection", "close", 400, NULL);
    expect_changed("Sec-WebSocket-Version", NULL, 426, "Sec-WebSocket-Version: 13\r\n");
    expect_changed("Sec-WebSocket-Version", "8", 426, "Sec-WebSocket-Version: 13\r\n");
    expect_changed("Sec-WebSocket-Version", "13, 8", 426, NULL);
    expect_changed("Sec-WebSocket-Key", NULL, 400, NULL);
    expect_changed("Sec-WebSocket-Key", "", 400, NULL);
    expect_changed("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=", 400, NULL);
    expect_changed("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZSEh", 400, NULL); /* 18 bytes */
    expect_changed("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j!Q==", 400, NULL);

    struct fields f = good_request();
    f.method = "POST";
    expect(f, 405, "\r\nAllow: GET\r\n");
    f = good_request();
    f.version = 10;
    expect(f, 400, NULL);
    f = good_request();
    add(&f, "Sec-WebSocket-Key", KEY);
    expect(f, 400, NULL);
    f = good_request();
    add(&f, "Host", "other");
    expect(f, 400, NULL);
    f = good_request();
    add(&f, "Sec-WebSocket-Version", "13");
    expect(f, 426, NULL);
}
END_TEST

START_TEST(test_error_body_has_its_length)
{
    char text[2048], want[64];
    struct fields f = good_request();
    set(&f, "Sec-WebSocket-Key", NULL);
    (void)answer(&f, &policy, text, sizeof text);
    const char *body = strstr(text, "\r\n\r\n");
    ck_assert_ptr_nonnull(body);
    snprintf(want, sizeof want, "\r\nContent-Length: %zu\r\n", strlen(body + 4));
    ck_assert_msg(strstr(text, want) != NULL, "%s in %s", want, text);
}
END_TEST

START_TEST(test_subprotocols)
{
    expect_changed("Sec-WebSocket-Protocol", "mqtt", 101, "\r\nSec-WebSocket-Protocol: mqtt\r\n");
    expect_changed(
        "Sec-WebSocket-Protocol", "soap, mqtt,busbar.v1", 101, "\r\nSec-WebSocket-Protocol: mqtt\r\n");
    expect_changed(
        "Sec-WebSocket-Protocol", "busbar.v1,mqtt", 101, "\r\nSec-WebSocket-Protocol: busbar.v1\r\n");
    struct fields f = good_request();
    add(&f, "Sec-WebSocket-Protocol", "soap");
    add(&f, "sec-websocket-protocol", "mqtt");
    expect(f, 101, "Protocol: mqtt\r\n");

    char text[2048];
    set(&f, "Sec-WebSocket-Protocol", "MQTT, soap");
    set(&f, "sec-websocket-protocol", NULL);
    ck_assert_int_eq(answer(&f, &policy, text, sizeof text).subprotocol, -1);
    ck_assert_ptr_null(strstr(text, "Protocol:"));
}
END_TEST

START_TEST(test_origins)
{
    expect_changed("Origin", "https://app.example.com", 101, NULL);
    expect_changed("Origin", "https://a.b.example.org", 101, NULL);
    expect_changed("Origin", "http://bus.example.net:8080", 403, NULL); /* the list alone counts */
    expect_changed("Origin", "https://example.org", 403, NULL);
    expect_changed("Origin", "https://.example.org", 403, NULL);
    expect_changed("Origin", "https://evil-example.org", 403, NULL);
    expect_changed("Origin", "http://a.example.org", 403, NULL);
    expect_changed("Origin", "null", 403, NULL);
    expect_changed("Origin", "", 403, NULL);
    expect_changed("Origin", "https://app.example.com.evil.net", 403, NULL);

    static const char *const any[] = {"*"};
    struct wshandshake_policy open = policy;
    struct fields f = good_request();
    char text[2048];
    open.origins = any;
    open.n_origins = 1;
    set(&f, "Origin", "null");
    ck_assert_uint_eq(answer(&f, &open, text, sizeof text).status, 101);
}
END_TEST

/* Without a list: the host's name decides, not its port. */
START_TEST(test_own_origin)
{
    static const struct {
        const char *host, *origin;
        unsigned status;
    } cases[] = {
        {"bus.example.net:8081", "http://bus.example.net:8080", 101},
        {"bus.example.net:8081", "https://BUS.example.net", 101},
        {"bus.example.net", "http://bus.example.net:8080", 101},
        {"[::1]:8081", "http://[::1]:8080", 101},
        {"[::1]:8081", "http://[::2]:8080", 403},
        {"127.0.0.1:8081", "http://localhost:8081", 403},
        {"bus.example.net:8081", "http://bus.example.net.evil.net", 403},
        {"bus.example.net:8081", "http://evil.net:80/bus.example.net", 403},
        {"bus.example.net:8081", "ws://bus.example.net", 403},
        {"bus.example.net:8081", "null", 403},
        {":8081", "http://:80", 403},
    };
    struct wshandshake_policy own = policy;
    char text[2048];

    own.n_origins = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fields f = good_request();
        set(&f, "Host", cases[i].host);
        set(&f, "Origin", cases[i].origin);
        unsigned status = answer(&f, &own, text, sizeof text).status;
        ck_assert_msg(status == cases[i].status, "%s from %s: %u instead of %u", cases[i].host,
            cases[i].origin, status, cases[i].status);
    }
}
END_TEST

START_TEST(test_extensions)
{
    expect_changed("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits", 101,
        "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
        "client_no_context_takeover\r\n");
    expect_changed("Sec-WebSocket-Extensions", "permessage-deflate;;", 400, NULL);

    struct wshandshake_policy plain = policy;
    struct fields f = good_request();
    char text[2048];
    plain.has_deflate = false;
    set(&f, "Sec-WebSocket-Extensions", "permessage-deflate");
    struct wshandshake_result r = answer(&f, &plain, text, sizeof text);
    ck_assert(r.status == 101 && !r.deflate.is_on);
    ck_assert_ptr_null(strstr(text, "Extensions"));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wshandshake");
    TCase *tc = tcase_create("wshandshake");
    tcase_add_test(tc, test_good);
    tcase_add_test(tc, test_refusals);
    tcase_add_test(tc, test_error_body_has_its_length);
    tcase_add_test(tc, test_subprotocols);
    tcase_add_test(tc, test_origins);
    tcase_add_test(tc, test_own_origin);
    tcase_add_test(tc, test_extensions);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
