/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of the opening handshake (RFC 6455, 4.2): one parsed HTTP request in, one whole HTTP
 * response out. It knows no request parser: header fields are asked for by name.
 */
#ifndef FRONTENDS_WS_WSHANDSHAKE_H
#define FRONTENDS_WS_WSHANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "frontends/ws/wsdeflate.h"

/* Gives the i-th value (from 0) of the header field with this name, without the space around it; .p is
 * NULL if there are not so many. Names are compared without regard to case. */
typedef struct slice (*wshandshake_header_fn)(void *arg, const char *name, unsigned i);

struct wshandshake_request {
    struct slice method;
    unsigned version; /* 11 for HTTP/1.1 */
    wshandshake_header_fn header;
    void *header_arg;
};

/* What this listener takes. */
struct wshandshake_policy {
    const char *const *subprotocols; /* that the server speaks; the client's order decides */
    size_t n_subprotocols;
    /* Origins that a browser may come from: scheme and host as a browser sends them, the host's first
     * labels may be a star and a dot; or a star alone for any. None: pages of the host that the request's
     * own Host names, whatever its port. A request without Origin is always allowed: no browser sent it. */
    const char *const *origins;
    size_t n_origins;
    bool has_deflate;           /* agree to permessage-deflate if the client offers it */
    struct evp_md_ctx_st *sha1; /* from wshandshake_sha1_new(), and used here only */
};

struct wshandshake_result {
    unsigned status;    /* 101, or an error's */
    const char *reason; /* of an error: a clause for log and response */
    int subprotocol;    /* index in the policy; -1: none */
    struct wsdeflate_params deflate;
};

/* Decides, and appends the response to *out. After an error the connection is to be closed. */
void wshandshake_answer(const struct wshandshake_request *request, const struct wshandshake_policy *policy,
    struct buf *out, struct wshandshake_result *ret);

/* The request asks for a WebSocket: the Upgrade header lists it. Everything else may still be wrong. */
bool wshandshake_is_asked(const struct wshandshake_request *request);

/* Appends an error response with a one-line text body, after which the connection closes. */
void wshandshake_put_error(struct buf *out, unsigned status, const char *reason);

/* What Sec-WebSocket-Accept is made with: OpenSSL takes longer to look SHA-1 up than to compute it. NULL: it
 * has none, or memory ran out. */
struct evp_md_ctx_st *wshandshake_sha1_new(void);
struct evp_md_ctx_st *wshandshake_sha1_free(struct evp_md_ctx_st *sha1); /* NULL is fine */

#endif
