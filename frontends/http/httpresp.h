/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes HTTP responses into a buffer: pure, no socket and no clock. A response always says how it ends:
 * by its Content-Length, by its last chunk, or (HTTP/1.0 only, where there are no chunks) by the close.
 */
#ifndef FRONTENDS_HTTP_HTTPRESP_H
#define FRONTENDS_HTTP_HTTPRESP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

struct httpreq;

/* The Date line of the current second, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"; zero is its start. */
struct httpdate {
    int64_t second;
    char line[40];
};

/* Costs nothing while the second is the same. */
void httpdate_set(struct httpdate *date, int64_t wall_ms);

enum httpresp_ending {
    HTTPRESP_LENGTH, /* n_body bytes follow */
    HTTPRESP_STREAM, /* chunked in 1.1, until close in 1.0: httpresp_put_chunk(), httpresp_put_end() */
    HTTPRESP_NONE,   /* 1xx, 204, 304: nothing follows and no length is told */
};

struct httpresp {
    int status;
    enum httpresp_ending ending;
    uint64_t n_body;
    const char *content_type; /* may be NULL */
    struct slice etag;        /* without its quotes; may be empty */
    struct slice headers;     /* further header lines, each with its CRLF */
    struct slice cors;        /* from httpcors_put(); empty: none */
    unsigned minor;           /* the request's: HTTP/1.0 gets no chunks, and is told of keep-alive */
    bool is_keep_alive;       /* false: `Connection: close` is said, the caller closes */
};

const char *httpresp_phrase(int status);

/* The status line and the headers with the empty line. */
void httpresp_put_head(struct buf *out, const struct httpresp *r, const struct httpdate *date);

/* One piece of a HTTPRESP_STREAM body as it stands on the wire for HTTP/1.minor. An empty piece puts
 * nothing (an empty chunk would be the end). */
void httpresp_put_chunk(struct buf *out, struct slice piece, unsigned minor);
void httpresp_put_end(struct buf *out, unsigned minor);

/* The interim answer to `Expect: 100-continue`. */
struct slice httpresp_continue(void);

/* The header lines that let a page of another site read this answer. allowed: the sites
 * ("https://example.org"), or "*" among them for all. methods: for a preflight ("GET, POST"), else NULL.
 * exposed: headers that a script may read, or NULL. Appends to out. */
void httpcors_put(struct buf *out, const struct httpreq *req, char *const *allowed, size_t n_allowed,
    const char *methods, const char *exposed);

/* The same for a request that no page made: a literal. */
struct slice httpcors_without_origin(char *const *allowed, size_t n_allowed);

/* False for a request that a page of a site made which is neither allowed nor ourselves. */
bool httpcors_allows(const struct httpreq *req, char *const *allowed, size_t n_allowed);

/* Whether `If-None-Match: value` names the tag (weak comparison; "*" names every tag). */
bool httpresp_etag_matches(struct slice value, struct slice tag);

#endif
