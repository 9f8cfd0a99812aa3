/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/http/httpresp.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "frontends/http/httpreq.h"

void
httpdate_set(struct httpdate *date, int64_t wall_ms)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (date->line[0] != '\0' && date->second == (int64_t)now)
        return;
    if (gmtime_r(&now, &tm) == NULL)
        return;
    date->second = now;
    (void)snprintf(date->line, sizeof date->line, "Date: %.3s, %02u %.3s %04u %02u:%02u:%02u GMT\r\n",
        days + 3 * tm.tm_wday, (unsigned)tm.tm_mday % 100, months + 3 * tm.tm_mon,
        (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
        (unsigned)tm.tm_sec % 100);
}

static const struct phrase {
    int status;
    const char *text;
} phrases[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *
httpresp_phrase(int status)
{
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status)
            return phrases[i].text;
    return "Unknown";
}

/* The head's own words, all together, need less. */
#define HEAD_WORDS 256

/* Room for the whole head is made once; these only copy. */
static inline uint8_t *
put(uint8_t *to, const void *p, size_t n)
{
    if (n > 0)
        memcpy(to, p, n);
    return to + n;
}

#define PUT_LITERAL(to, text) put(to, text, sizeof(text) - 1)

static uint8_t *
put_number(uint8_t *to, uint64_t v)
{
    uint8_t digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    return put(to, digits + at, sizeof digits - at);
}

static uint8_t *
put_status(uint8_t *to, int status)
{
    const char *phrase;

    if (status == 200)
        return PUT_LITERAL(to, "HTTP/1.1 200 OK\r\n");
    phrase = httpresp_phrase(status);
    to = put_number(PUT_LITERAL(to, "HTTP/1.1 "), (uint64_t)status);
    to = PUT_LITERAL(to, " ");
    to = put(to, phrase, strlen(phrase));
    return PUT_LITERAL(to, "\r\n");
}

void
httpresp_put_head(struct buf *out, const struct httpresp *r, const struct httpdate *date)
{
    size_t n_date = date == NULL ? 0 : strlen(date->line);
    size_t n_type = r->content_type == NULL ? 0 : strlen(r->content_type);
    uint8_t *start = buf_reserve(out, HEAD_WORDS + n_date + n_type + r->etag.n + r->headers.n + r->cors.n);
    uint8_t *to = start;

    if (to == NULL)
        return;
    to = put_status(to, r->status);
    if (date != NULL)
        to = put(to, date->line, n_date);
    if (r->content_type != NULL) {
        to = put(PUT_LITERAL(to, "Content-Type: "), r->content_type, n_type);
        to = PUT_LITERAL(to, "\r\n");
    }
    if (r->ending == HTTPRESP_LENGTH) {
        to = put_number(PUT_LITERAL(to, "Content-Length: "), r->n_body);
        to = PUT_LITERAL(to, "\r\n");
    } else if (r->ending == HTTPRESP_STREAM && r->minor >= 1) {
        to = PUT_LITERAL(to, "Transfer-Encoding: chunked\r\n");
    }
    if (r->etag.n > 0) {
        to = put(PUT_LITERAL(to, "ETag: \""), r->etag.p, r->etag.n);
        to = PUT_LITERAL(to, "\"\r\n");
    }
    to = put(to, r->headers.p, r->headers.n);
    to = put(to, r->cors.p, r->cors.n);
    if (!r->is_keep_alive || (r->ending == HTTPRESP_STREAM && r->minor == 0))
        to = PUT_LITERAL(to, "Connection: close\r\n");
    else if (r->minor == 0)
        to = PUT_LITERAL(to, "Connection: keep-alive\r\n");
    to = PUT_LITERAL(to, "\r\n");
    buf_commit(out, (size_t)(to - start));
}

void
httpresp_put_chunk(struct buf *out, struct slice piece, unsigned minor)
{
    if (piece.n == 0)
        return;
    if (minor >= 1)
        buf_printf(out, "%zx\r\n", piece.n);
    buf_put_slice(out, piece);
    if (minor >= 1)
        buf_put_str(out, "\r\n");
}

void
httpresp_put_end(struct buf *out, unsigned minor)
{
    if (minor >= 1)
        buf_put_str(out, "0\r\n\r\n");
}

struct slice
httpresp_continue(void)
{
    return slice_str("HTTP/1.1 100 Continue\r\n\r\n");
}

static bool
list_names(char *const *allowed, size_t n_allowed, struct slice origin)
{
    for (size_t i = 0; i < n_allowed; i++)
        if (slice_is(origin, allowed[i]))
            return true;
    return false;
}

bool
httpcors_allows(const struct httpreq *req, char *const *allowed, size_t n_allowed)
{
    const struct slice *origin = httpreq_header(req, "origin");

    if (origin == NULL || list_names(allowed, n_allowed, slice_str("*")) ||
        list_names(allowed, n_allowed, *origin))
        return true;
    /* A page that we served ourselves: its origin is http:// or https:// and our own name. */
    for (size_t n_scheme = 7; n_scheme <= 8 && n_scheme <= origin->n; n_scheme++) {
        struct slice host = slice_of(origin->p + n_scheme, origin->n - n_scheme);
        if (memcmp(origin->p, n_scheme == 7 ? "http://" : "https://", n_scheme) == 0 && req->host.n > 0 &&
            httpreq_is_same_name(host, req->host))
            return true;
    }
    return false;
}

struct slice
httpcors_without_origin(char *const *allowed, size_t n_allowed)
{
    /* A cache must keep the answers to different sites apart. */
    return slice_str(list_names(allowed, n_allowed, slice_str("*")) ? "" : "Vary: Origin\r\n");
}

void
httpcors_put(struct buf *out, const struct httpreq *req, char *const *allowed, size_t n_allowed,
    const char *methods, const char *exposed)
{
    const struct slice *origin = httpreq_header(req, "origin");

    buf_put_slice(out, httpcors_without_origin(allowed, n_allowed));
    if (origin == NULL)
        return;
    if (list_names(allowed, n_allowed, slice_str("*"))) {
        buf_put_str(out, "Access-Control-Allow-Origin: *\r\n");
    } else {
        if (!list_names(allowed, n_allowed, *origin))
            return;
        buf_put_str(out, "Access-Control-Allow-Origin: ");
        buf_put_slice(out, *origin);
        buf_put_str(out, "\r\n");
    }
    if (exposed != NULL)
        buf_printf(out, "Access-Control-Expose-Headers: %s\r\n", exposed);
    if (methods == NULL)
        return;
    buf_printf(out, "Access-Control-Allow-Methods: %s\r\nAccess-Control-Max-Age: 7200\r\n", methods);
    const struct slice *wanted = httpreq_header(req, "access-control-request-headers");
    if (wanted != NULL && wanted->n > 0) { /* a field value, so without CR and LF */
        buf_put_str(out, "Access-Control-Allow-Headers: ");
        buf_put_slice(out, *wanted);
        buf_put_str(out, "\r\n");
    }
}

bool
httpresp_etag_matches(struct slice value, struct slice tag)
{
    const uint8_t *p = value.p, *end = value.p + value.n;

    if (slice_is(value, "*"))
        return true;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == ','))
            p++;
        if (end - p >= 2 && p[0] == 'W' && p[1] == '/')
            p += 2;
        if (p == end || *p != '"')
            return false;
        const uint8_t *close = memchr(p + 1, '"', (size_t)(end - p) - 1);
        if (close == NULL)
            return false;
        if (slice_equal(slice_of(p + 1, (size_t)(close - p) - 1), tag))
            return true;
        p = close + 1;
    }
    return false;
}
