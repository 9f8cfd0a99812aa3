/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which address does what:
 *
 *     /topics/{name}            GET HEAD POST PUT    everything behind /topics/ is one name, slashes and all
 *     /topics?topic=a&topic=b   GET HEAD
 *     /requests/{name}          POST                 requests to responders
 *     /requests/id/{id}         GET HEAD DELETE      asynchronous ones
 *     /queues/{name}/{group}    GET POST DELETE      work queues; /queues lists them
 *     /presence/{name}          GET HEAD             who is there
 *     /health/live, /ready      GET HEAD
 *     http.broadcast.path       POST                 if http.broadcast.access says so
 *     anything else             GET HEAD             a file
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "frontends/http/httpencode.h"
#include "frontends/http/httpserver.h"
#include "frontends/http/httpstatic.h"
#include "frontends/sdk/session.h"
#include "wire/names.h"

#define ADDRESSES                                                                                            \
    "There are /topics/{name}, /topics?topic={name}, /requests/{name}, /queues/{name}/{group}, "             \
    "/presence/{name}, /health/live, /health/ready, /busbar.js and the "                                     \
    "console at /."

/* Headers that a script of another site may read beside the usual ones. */
#define EXPOSED                                                                                              \
    "ETag, Retry-After, Location, Preference-Applied, Busbar-Lease, Busbar-Lease-Time, Busbar-Deliveries, "  \
    "Busbar-Cursor, Busbar-Key"

struct route {
    const char *path;
    bool is_prefix;
    const char *methods; /* what it takes, for Allow */
    unsigned takes;      /* a bit for each enum httpreq_method */
    void (*handle)(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
};

static void handle_topic(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_topics(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_request(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_request_id(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_queues(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_presence(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_live(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_ready(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_file(struct http_conn *hc, const struct http_reply *reply, struct slice rest);
static void handle_broadcast(struct http_conn *hc, const struct http_reply *reply, struct slice rest);

#define READS (1u << HTTPREQ_GET | 1u << HTTPREQ_HEAD)
#define POSTS (1u << HTTPREQ_POST)
#define DELETES (1u << HTTPREQ_DELETE)
#define WRITES (1u << HTTPREQ_POST | 1u << HTTPREQ_PUT)

static const struct route routes[] = {
    {"/topics/", true, "GET, HEAD, POST, PUT, OPTIONS", READS | WRITES, handle_topic},
    {"/topics", false, "GET, HEAD, OPTIONS", READS, handle_topics},
    {"/requests/id/", true, "GET, HEAD, DELETE, POST, OPTIONS", READS | DELETES | POSTS, handle_request_id},
    {"/requests/", true, "POST, OPTIONS", POSTS, handle_request},
    {"/queues/", true, "GET, HEAD, POST, DELETE, OPTIONS", READS | POSTS | DELETES, http_queue_start},
    {"/queues", false, "GET, HEAD, OPTIONS", READS, handle_queues},
    {"/presence/", true, "GET, HEAD, OPTIONS", READS, handle_presence},
    {"/health/live", false, "GET, HEAD, OPTIONS", READS, handle_live},
    {"/health/ready", false, "GET, HEAD, OPTIONS", READS, handle_ready},
    {"/", true, "GET, HEAD, OPTIONS", READS, handle_file},
};

static const struct route broadcast_route = {
    NULL, false, "POST, OPTIONS", 1u << HTTPREQ_POST, handle_broadcast};

static const struct route *
route_find(const struct http_options *options, struct slice path, struct slice *ret_rest)
{
    if (options->broadcast_access != HTTP_BROADCAST_OFF && slice_is(path, options->broadcast_path))
        return &broadcast_route;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t n = strlen(routes[i].path);
        if (path.n < n || memcmp(path.p, routes[i].path, n) != 0 || (!routes[i].is_prefix && path.n != n))
            continue;
        *ret_rest = slice_of(path.p + n, path.n - n);
        return &routes[i];
    }
    return NULL;
}

/* What may be done here; for a page of another site, whether it may. */
static void
respond_options(struct http_conn *hc, struct http_reply *reply, const char *methods)
{
    struct http_server *server = hc->server;
    const struct conf_list *origins = &server->options->cors_origins;
    struct httpresp r = {.status = 204, .ending = HTTPRESP_NONE};
    struct buf allow;

    buf_reset(&server->cors);
    httpcors_put(&server->cors, &server->req, origins->items, origins->n, methods, NULL);
    reply->cors = buf_slice(&server->cors);
    buf_init(&allow, 0);
    buf_printf(&allow, "Allow: %s\r\n", methods);
    r.headers = buf_slice(&allow);
    http_respond(hc, reply, &r, slice_str(""));
    buf_fini(&allow);
}

void
http_respond_method(struct http_conn *hc, const struct http_reply *reply, const char *methods)
{
    struct buf allow, text;

    buf_init(&allow, 0);
    buf_init(&text, 0);
    buf_printf(&allow, "Allow: %s\r\n", methods);
    buf_printf(&text, "This address takes %s.", methods);
    http_respond_error(hc, reply, 405, ERROR_OP_UNKNOWN, buf_slice(&text), buf_slice(&allow));
    buf_fini(&allow);
    buf_fini(&text);
}

static struct slice
cors_lines(struct http_server *server)
{
    const struct conf_list *origins = &server->options->cors_origins;

    if (httpreq_header(&server->req, "origin") == NULL)
        return httpcors_without_origin(origins->items, origins->n);
    buf_reset(&server->cors);
    httpcors_put(&server->cors, &server->req, origins->items, origins->n, NULL, EXPOSED);
    return buf_slice(&server->cors);
}

void
http_handle(struct http_conn *hc)
{
    struct http_server *server = hc->server;
    const struct httpreq *req = &server->req;
    const struct conf_list *origins = &server->options->cors_origins;
    struct http_reply reply = {
        .minor = req->minor, .is_keep_alive = req->is_keep_alive, .is_head = req->method == HTTPREQ_HEAD};
    struct request_scratch *scratch = &server->fe->scratch;
    struct slice rest = slice_of(NULL, 0);

    reply.cors = cors_lines(server);

    /* All that is decoded below fits, so that slices into it stay where they are. */
    buf_reset(&scratch->text);
    buf_reset(&scratch->headers);
    if (buf_reserve(&scratch->text, req->path.n + req->query.n + 1) == NULL) {
        http_respond_code(hc, &reply, ERROR_INTERNAL, slice_str("out of memory"));
        return;
    }
    const struct route *route = route_find(server->options, req->path, &rest);
    if (req->method == HTTPREQ_OPTIONS)
        respond_options(hc, &reply, route == NULL ? "GET, HEAD, POST, PUT, OPTIONS" : route->methods);
    else if (!httpcors_allows(req, origins->items, origins->n))
        http_respond_code(hc, &reply, ERROR_NOT_ALLOWED,
            slice_str("Pages of that site may not use this server; see http.cors_origins of its config."));
    else if (route == NULL)
        http_respond_code(
            hc, &reply, ERROR_NOT_FOUND, slice_str("There is nothing at this address. " ADDRESSES));
    else if ((route->takes >> req->method & 1) == 0)
        http_respond_method(hc, &reply, route->methods);
    else
        route->handle(hc, &reply, rest);
}

/* --- health and files ------------------------------------------------------------------------------- */

static void
respond_json(struct http_conn *hc, const struct http_reply *reply, const char *json)
{
    struct httpresp r = {.status = 200,
        .content_type = "application/json",
        .headers = slice_str("Cache-Control: no-store\r\n")};
    http_respond(hc, reply, &r, slice_str(json));
}

static void
handle_live(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    (void)rest;
    respond_json(hc, reply, "{\"status\":\"live\"}\n");
}

static void
handle_ready(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    struct frontend *fe = hc->server->fe;

    (void)rest;
    if (fe->is_stopping)
        http_respond_code(hc, reply, ERROR_SHUTTING_DOWN, slice_str(""));
    else if (!frontend_is_ready(fe))
        http_respond_code(hc, reply, ERROR_UNAVAILABLE, slice_str("The broker cannot be reached now."));
    else
        respond_json(hc, reply, "{\"status\":\"ready\"}\n");
}

static void
handle_broadcast(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    (void)rest;
    http_broadcast_start(hc, reply);
}

static void
respond_file(struct http_conn *hc, const struct http_reply *reply, const struct httpfile *file)
{
    const struct slice *known = httpreq_header(&hc->server->req, "if-none-match");
    struct httpresp r = {
        .status = 200,
        .content_type = file->type,
        .etag = slice_str(file->etag),
        .headers = slice_str("Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"),
    };

    if (known != NULL && file->etag[0] != '\0' && httpresp_etag_matches(*known, slice_str(file->etag))) {
        r.status = 304;
        r.ending = HTTPRESP_NONE;
        r.content_type = NULL;
    }
    conn_flush(&hc->c); /* a file may be larger than what may wait for a slow client */
    if (!hc->c.is_closed)
        http_respond(hc, reply, &r, r.status == 200 ? buf_slice(&file->data) : slice_str(""));
}

static void
handle_file(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    struct http_server *server = hc->server;
    struct buf *path = &server->fe->scratch.text;
    struct httpfile file;

    (void)rest;
    if (httpreq_decode(path, server->req.path, false) < 0) {
        http_respond_code(hc, reply, ERROR_REQUEST_INVALID, slice_str("The address has a %00 in it."));
    } else if (httpstatic_read(server->files, buf_slice(path), &file) < 0) {
        http_respond_code(
            hc, reply, ERROR_NOT_FOUND, slice_str("There is nothing at this address. " ADDRESSES));
    } else {
        respond_file(hc, reply, &file);
        httpfile_fini(&file);
    }
}

/* --- topics ----------------------------------------------------------------------------------------- */

static int
refuse(struct http_conn *hc, const struct http_reply *reply, enum error_code code, const char *text)
{
    http_respond_code(hc, reply, code, slice_str(text));
    return -EINVAL;
}

static int
refuse_name(struct http_conn *hc, const struct http_reply *reply, enum error_code code, const char *wrong)
{
    char text[SESSION_NAME_ERROR_MAX];

    session_name_error(text, code, wrong);
    return refuse(hc, reply, code, text);
}

/* A `+` is a space in a query, but a whole level of it is meant as the wildcard by everybody who types it. */
int
http_decode_filter(struct buf *out, struct slice raw)
{
    size_t start = 0;

    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] != '+')
            continue;
        int r = httpreq_decode(out, slice_of(raw.p + start, i - start), false);
        if (r < 0)
            return r;
        start = i + 1;
        bool begins =
            i == 0 || raw.p[i - 1] == '/' || (i >= 3 && httpreq_is_name(slice_of(raw.p + i - 3, 3), "%2f"));
        bool ends = start == raw.n || raw.p[start] == '/' ||
                    (raw.n - start >= 3 && httpreq_is_name(slice_of(raw.p + start, 3), "%2f"));
        buf_put_byte(out, begins && ends ? '+' : ' ');
    }
    return httpreq_decode(out, slice_of(raw.p + start, raw.n - start), false);
}

static int
add_filter(struct http_conn *hc, const struct http_reply *reply, struct slice raw, bool is_query,
    struct request *sub)
{
    struct request_scratch *scratch = &hc->server->fe->scratch;
    size_t at = scratch->text.n;

    if (sub->n_filters == REQUEST_FILTERS_MAX)
        return refuse(hc, reply, ERROR_LIMIT_REACHED, "One request may name 64 topics at most.");
    int r = is_query ? http_decode_filter(&scratch->text, raw) : httpreq_decode(&scratch->text, raw, false);
    if (r < 0)
        return refuse(hc, reply, ERROR_FILTER_INVALID, "The topic has a bad escape in it.");
    struct slice filter = slice_of(scratch->text.p + at, scratch->text.n - at);
    const char *wrong = filter_error(filter);
    if (wrong != NULL)
        return refuse_name(hc, reply, ERROR_FILTER_INVALID, wrong);
    scratch->filters[sub->n_filters++] = filter;
    return 0;
}

static int
parse_number(struct slice text, uint64_t max, uint64_t *ret)
{
    uint64_t n = 0;

    if (text.n == 0)
        return -EINVAL;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -EINVAL;
        n = n * 10 + (text.p[i] - '0');
        if (n > max)
            n = max;
    }
    *ret = n;
    return 0;
}

/* Seconds, with up to three decimals. */
static int
parse_wait(struct slice text, uint64_t max_ms, uint64_t *ret_ms)
{
    const uint8_t *point = text.n == 0 ? NULL : memchr(text.p, '.', text.n);
    size_t n_whole = point == NULL ? text.n : (size_t)(point - text.p);
    uint64_t whole, part = 0;

    if (parse_number(slice_of(text.p, n_whole), 1000000, &whole) < 0)
        return -EINVAL;
    if (point != NULL) {
        struct slice decimals = slice_of(point + 1, text.n - n_whole - 1);
        if (decimals.n > 3 || parse_number(decimals, 999, &part) < 0)
            return -EINVAL;
        for (size_t i = decimals.n; i < 3; i++)
            part *= 10;
    }
    *ret_ms = whole * 1000 + part < max_ms ? whole * 1000 + part : max_ms;
    return 0;
}

static int
parse_parameter(struct http_conn *hc, const struct http_reply *reply, struct slice name, struct slice value,
    struct topics_get *get)
{
    struct request *sub = &get->sub;

    if (slice_is(name, "topic"))
        return add_filter(hc, reply, value, true, sub);
    if (slice_is(name, "since")) {
        if (sub->from == FROM_LAST)
            return refuse(hc, reply, ERROR_REQUEST_INVALID, "Give since or last, not both.");
        if (value.n == 0)
            return refuse(hc, reply, ERROR_CURSOR_INVALID, "since is empty; leave it out to begin now.");
        sub->from = FROM_SINCE;
        sub->since = value;
    } else if (slice_is(name, "last")) {
        if (sub->from == FROM_SINCE)
            return refuse(hc, reply, ERROR_REQUEST_INVALID, "Give since or last, not both.");
        if (parse_number(value, UINT32_MAX, &sub->last) < 0)
            return refuse(hc, reply, ERROR_REQUEST_INVALID, "last is a number of messages.");
        sub->from = FROM_LAST;
    } else if (slice_is(name, "wait")) {
        if (parse_wait(value, hc->server->options->poll_wait_max_ms, &get->wait_ms) < 0)
            return refuse(hc, reply, ERROR_REQUEST_INVALID, "wait is a number of seconds.");
    } else if (slice_is(name, "envelope")) {
        if (!slice_is(value, "0") && !slice_is(value, "1"))
            return refuse(hc, reply, ERROR_REQUEST_INVALID, "envelope is 0 or 1.");
        get->envelope = value.p[0] - '0';
    } else if (!slice_is(name, "_")) { /* what libraries add against caches */
        return refuse(hc, reply, ERROR_REQUEST_INVALID,
            "An unknown parameter; there are topic, since, last, wait and envelope.");
    }
    return 0;
}

/* The cursor inside `If-None-Match: "…"`; empty if it is not one of ours. */
static struct slice
tag_cursor(struct slice value)
{
    struct position position;

    if (value.n > 2 && value.p[0] == 'W' && value.p[1] == '/')
        value = slice_of(value.p + 2, value.n - 2);
    if (value.n < 2 || value.p[0] != '"' || value.p[value.n - 1] != '"')
        return slice_of(NULL, 0);
    struct slice cursor = slice_of(value.p + 1, value.n - 2);
    return cursor_parse(cursor, &position) == 0 ? cursor : slice_of(NULL, 0);
}

/* What the browser knows better than the address that it was once given. */
static void
apply_headers(const struct httpreq *req, bool is_stream, struct topics_get *get)
{
    const struct slice *h = httpreq_header(req, is_stream ? "last-event-id" : "if-none-match");

    if (h == NULL || h->n == 0)
        return;
    if (is_stream) {
        get->sub.from = FROM_SINCE;
        get->sub.since = *h;
    } else if (get->sub.from == FROM_LIVE) {
        get->tag = tag_cursor(*h);
        if (get->tag.n > 0) {
            get->sub.from = FROM_SINCE;
            get->sub.since = get->tag;
        }
    }
}

static void
get_topics(struct http_conn *hc, const struct http_reply *reply, struct slice raw_name)
{
    const struct httpreq *req = &hc->server->req;
    struct topics_get get = {.envelope = -1};
    struct slice rest = req->query, name, value;
    bool is_stream = httpreq_has_token(req, "accept", "text/event-stream");

    get.sub.op = REQUEST_SUB;
    get.sub.id = slice_str("1");
    get.sub.from = FROM_LIVE;
    get.sub.filters = hc->server->fe->scratch.filters;
    if (raw_name.n > 0 && add_filter(hc, reply, raw_name, false, &get.sub) < 0)
        return;
    while (httpreq_query_next(&rest, &name, &value) == 1)
        if (parse_parameter(hc, reply, name, value, &get) < 0)
            return;
    if (get.sub.n_filters == 0) {
        (void)refuse(
            hc, reply, ERROR_REQUEST_INVALID, "Name a topic: /topics/{name} or /topics?topic={name}.");
        return;
    }
    apply_headers(req, is_stream, &get);
    get.sub.wants_latest = !is_stream && get.wait_ms == 0;
    if (is_stream)
        http_sse_start(hc, reply, &get);
    else
        http_poll_start(hc, reply, &get);
}

static void
handle_topics(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    (void)rest;
    get_topics(hc, reply, slice_of(NULL, 0));
}

/* The topic of an address, decoded into the scratch. Whether it is one, the session says. */
static int
decode_topic(struct http_conn *hc, const struct http_reply *reply, struct slice raw, struct slice *ret)
{
    struct buf *text = &hc->server->fe->scratch.text;

    if (httpreq_decode(text, raw, false) < 0)
        return refuse(hc, reply, ERROR_TOPIC_INVALID, "The topic has a %00 in it.");
    *ret = buf_slice(text);
    return 0;
}

static int
read_topic(struct http_conn *hc, const struct http_reply *reply, struct slice raw, struct slice *ret)
{
    if (decode_topic(hc, reply, raw, ret) < 0)
        return -EINVAL;
    const char *wrong = topic_name_error(*ret);
    return wrong == NULL ? 0 : refuse_name(hc, reply, ERROR_TOPIC_INVALID, wrong);
}

static void
handle_topic(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    enum httpreq_method method = hc->server->req.method;
    struct slice topic;

    if (method == HTTPREQ_GET || method == HTTPREQ_HEAD)
        get_topics(hc, reply, rest);
    else if (decode_topic(hc, reply, rest, &topic) == 0)
        http_publish_start(hc, reply, topic);
}

/* --- requests, queues, presence --------------------------------------------------------------------- */

static void
handle_request(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    struct slice topic;

    if (read_topic(hc, reply, rest, &topic) == 0)
        http_ask_start(hc, reply, topic);
}

/* There may be a topic `id`, too: one asks of it by POST, which an id does not take. */
static void
handle_request_id(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    size_t n_id = strlen("id/");

    if (hc->server->req.method == HTTPREQ_POST)
        handle_request(hc, reply, slice_of(rest.p - n_id, rest.n + n_id));
    else
        http_request_id(hc, reply, rest);
}

static void
handle_queues(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    (void)rest;
    http_queues_list(hc, reply);
}

static void
handle_presence(struct http_conn *hc, const struct http_reply *reply, struct slice rest)
{
    struct slice topic;

    if (read_topic(hc, reply, rest, &topic) == 0)
        http_presence_start(hc, reply, topic);
}
