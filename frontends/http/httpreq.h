/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict parser for HTTP/1.1 and 1.0 requests (RFC 9112): pure, no socket, no clock, no allocation.
 *
 * The caller has the connection's unread bytes in one piece, p[0..n), and gives them again, longer, until
 * the request is whole. What is found are slices into those bytes. Between two calls only
 * `struct httpreq_state` is kept, which is all zero between two requests: a connection that waits for its
 * next request needs nothing else. The bytes may move between calls.
 *
 *     httpreq_parse() -> HTTPREQ_MORE           read more, call again with all that is unread
 *                     -> 0                      req is whole; req->n_used bytes are its own, what follows
 *                                               is the next request
 *                     -> HTTPREQ_REFUSED        answer req->status with req->reason, then close: what
 *                                               follows cannot be trusted to be a request
 *
 * A chunked body is decoded in place: the caller's bytes change, but only those that this request uses.
 * Its framing may cost as much as limits.max_body again, so that is what one request can hold in memory.
 *
 * Refused, though lenient servers take it, because two readers could see two different requests: a line
 * that ends in LF alone, two Content-Length (even equal ones), a length with a sign, Content-Length beside
 * Transfer-Encoding, any coding but `chunked`, none or two Host in 1.1, white space before a colon, a
 * folded header, control characters, a bad percent escape, a fragment or userinfo in the target.
 */
#ifndef FRONTENDS_HTTP_HTTPREQ_H
#define FRONTENDS_HTTP_HTTPREQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

struct buf;

#define HTTPREQ_MAX_HEADERS 64
#define HTTPREQ_MAX_METHOD 32
#define HTTPREQ_MAX_CHUNK_LINE 256        /* a chunk's size with its extension */
#define HTTPREQ_MAX_CHUNK_EXTENSIONS 4096 /* all extensions of one body */

struct httpreq_limits {
    size_t max_line; /* the request line: 414 */
    size_t max_head; /* request line and headers; also the trailers: 431. At most 1 MiB */
    size_t max_body; /* 413, told before a byte of the body is waited for */
};

/* What suits a public listener: 8 KiB, 16 KiB and 1 MiB. */
extern const struct httpreq_limits httpreq_limits_default;

enum httpreq_phase {
    HTTPREQ_IN_HEAD,
    HTTPREQ_IN_LENGTH_BODY,
    HTTPREQ_IN_CHUNK_LINE,
    HTTPREQ_IN_CHUNK,
    HTTPREQ_IN_CHUNK_END,
    HTTPREQ_IN_TRAILER,
    HTTPREQ_IN_DONE, /* only inside httpreq_parse() */
};

/* What is remembered of a request that is not whole. Zero is its start. */
struct httpreq_state {
    size_t n_body;       /* of a length body: its length; of a chunked one: bytes decoded so far */
    size_t n_chunk_left; /* of the current chunk */
    size_t n_gap;        /* bytes between the decoded body and what is still raw */
    uint32_t n_head;     /* the head's length; 0 until it has ended */
    uint32_t n_seen;     /* bytes of the head, or of the current chunk or trailer line, without an LF */
    uint32_t n_spare;    /* bytes spent on chunk extensions, then on trailers */
    uint8_t phase;       /* enum httpreq_phase */
    bool wants_continue; /* the client waits for `100 Continue`; the caller sends it and clears this */
};

enum httpreq_method {
    HTTPREQ_OTHER, /* a valid token that we have no name for */
    HTTPREQ_GET,
    HTTPREQ_HEAD,
    HTTPREQ_POST,
    HTTPREQ_PUT,
    HTTPREQ_DELETE,
    HTTPREQ_PATCH,
    HTTPREQ_OPTIONS,
};

enum httpreq_result { HTTPREQ_MORE = 1, HTTPREQ_REFUSED };

struct httpreq_header {
    struct slice name, value; /* the value without white space around it */
};

struct httpreq {
    enum httpreq_method method;
    struct slice method_name;
    struct slice path;  /* still escaped (but every escape is good); begins with '/', or is "*" */
    struct slice query; /* behind the '?', still escaped */
    struct slice host;  /* of the target if that was absolute, else of the Host header; empty in 1.0 */
    struct slice body;
    unsigned minor;     /* HTTP/1.minor: 0 or 1 */
    bool is_keep_alive; /* the client lets the connection stay open */
    bool is_upgrade;    /* Connection names `upgrade` */
    bool is_chunked;
    size_t n_used;
    int status;         /* when refused */
    const char *reason; /* when refused: a clause for the client */
    uint64_t names;     /* httpreq_name_bit() of each header: most that are asked for are not there */
    unsigned n_headers;
    struct httpreq_header headers[HTTPREQ_MAX_HEADERS];
};

/* See above. Fields of ret other than status and reason mean nothing unless 0 is returned. */
int httpreq_parse(
    struct httpreq_state *st, const struct httpreq_limits *limits, uint8_t *p, size_t n, struct httpreq *ret);

/* True when nothing of a request has come yet: the connection is idle. */
static inline bool
httpreq_is_idle(const struct httpreq_state *st)
{
    return st->phase == HTTPREQ_IN_HEAD && st->n_seen == 0;
}

/* Equal but for ASCII case. */
bool httpreq_is_same_text(const uint8_t *a, const uint8_t *b, size_t n);

static inline bool
httpreq_is_same_name(struct slice a, struct slice b)
{
    return a.n == b.n && httpreq_is_same_text(a.p, b.p, a.n);
}

static inline bool
httpreq_is_name(struct slice a, const char *name)
{
    return httpreq_is_same_name(a, slice_of(name, strlen(name)));
}

/* By length and first letter. The name is not empty. */
static inline uint64_t
httpreq_name_bit(struct slice name)
{
    return UINT64_C(1) << ((name.n * 5 + (name.p[0] & 0x1f)) & 63);
}

const struct slice *httpreq_find_header(const struct httpreq *req, struct slice name, unsigned i);

/* The i-th header of this name, from 0 (ASCII case does not matter), or NULL. */
static inline const struct slice *
httpreq_header_at(const struct httpreq *req, const char *name, unsigned i)
{
    struct slice s = slice_of(name, strlen(name));

    return s.n == 0 || (req->names & httpreq_name_bit(s)) == 0 ? NULL : httpreq_find_header(req, s, i);
}

static inline const struct slice *
httpreq_header(const struct httpreq *req, const char *name)
{
    return httpreq_header_at(req, name, 0);
}

/* Whether a comma list in any header of this name has the token (no case, parameters behind a `;` do not
 * count): ("Connection", "upgrade"), ("Accept", "text/event-stream"). */
bool httpreq_has_token(const struct httpreq *req, const char *name, const char *token);

/* Percent-decodes. is_query: `+` is a space, as HTML forms write it. 0; -EINVAL for a bad escape or %00. */
int httpreq_decode(struct buf *out, struct slice in, bool is_query);

/* Walks `a=1&b&c=2`: *rest starts as the query. 1 with the raw parts (ret_value empty without `=`), 0 at
 * the end. Empty pairs are passed over. */
int httpreq_query_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);

/* The first parameter of this name, decoded: 1, 0 if there is none, -EINVAL. */
int httpreq_query_get(struct slice query, const char *name, struct buf *ret);

#endif
