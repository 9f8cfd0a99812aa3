/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/unit/http/http-oracle.h"

#include "frontends/http/httpreq.h"

#ifdef HAVE_HTTP_PARSER
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

struct seen {
    struct buf url, body;
    unsigned n_headers;
    int is_whole;
    int is_keep_alive;
};

static int
on_url(http_parser *p, const char *at, size_t n)
{
    buf_put(&((struct seen *)p->data)->url, at, n);
    return 0;
}

static int
on_body(http_parser *p, const char *at, size_t n)
{
    buf_put(&((struct seen *)p->data)->body, at, n);
    return 0;
}

static int
on_complete(http_parser *p)
{
    struct seen *seen = p->data;
    seen->is_whole = 1;
    seen->is_keep_alive = http_should_keep_alive(p);
    http_parser_pause(p, 1);
    return 0;
}

static int
ends_with(struct slice whole, struct slice end)
{
    return whole.n >= end.n && memcmp(whole.p + whole.n - end.n, end.p, end.n) == 0;
}

/* The target as the client wrote it holds path and query at its end. */
static const char *
compare(const struct seen *seen, const http_parser *p, const struct httpreq *req)
{
    struct slice url = buf_slice(&seen->url);

    if (!slice_is(req->method_name, http_method_str((enum http_method)p->method)))
        return "another method";
    if (p->http_minor != req->minor)
        return "another version";
    if (req->query.n > 0) {
        if (!ends_with(url, req->query) || url.n == req->query.n)
            return "another query";
        url.n -= req->query.n + 1;
    } else if (url.n > 0 && url.p[url.n - 1] == '?') {
        url.n--;
    }
    if (!ends_with(url, req->path) && !slice_is(req->path, "/"))
        return "another path";
    if (!slice_equal(buf_slice(&seen->body), req->body))
        return "another body";
    if (seen->is_keep_alive != req->is_keep_alive)
        return "another keep-alive";
    return NULL;
}

/* http-parser 2.9.4 takes `Transfer-Encoding-X` for Transfer-Encoding: there it is no judge. */
static int
oracle_is_confused(const struct httpreq *req)
{
    for (unsigned i = 0; i < req->n_headers; i++) {
        struct slice name = req->headers[i].name;
        size_t n = strlen("transfer-encoding");
        if (name.n > n && httpreq_is_name(slice_of(name.p, n), "transfer-encoding"))
            return 1;
    }
    return 0;
}

const char *
oracle_disagrees(const uint8_t *wire, size_t n, const struct httpreq *req)
{
    static const http_parser_settings settings = {
        .on_url = on_url, .on_body = on_body, .on_message_complete = on_complete};
    struct seen seen = {0};
    http_parser p;
    const char *ret = NULL;

    if (oracle_is_confused(req))
        return NULL;
    buf_init(&seen.url, 0);
    buf_init(&seen.body, 0);
    http_parser_init(&p, HTTP_REQUEST);
    p.data = &seen;
    (void)http_parser_execute(&p, &settings, (const char *)wire, n);
    enum http_errno e = HTTP_PARSER_ERRNO(&p);
    if (seen.is_whole)
        ret = compare(&seen, &p, req);
    else if (e != HPE_INVALID_METHOD)
        ret = e == HPE_OK ? "not the end" : http_errno_description(e);
    buf_fini(&seen.url);
    buf_fini(&seen.body);
    return ret;
}

#else

const char *
oracle_disagrees(const uint8_t *wire, size_t n, const struct httpreq *req)
{
    (void)wire;
    (void)n;
    (void)req;
    return NULL;
}

#endif
