/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who an Action Cable client is: a token in a header (X-JID), in the address (?jid=) or, for browsers that
 * want it in neither, among the subprotocols. Never in a log.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "frontends/http/httpreq.h"
#include "frontends/sdk/jwt.h"
#include "frontends/sdk/options.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

#define TOKEN_SUBPROTOCOL "anycable-token."

/* Among the subprotocols of one header. */
static bool
find_subprotocol(struct slice list, struct slice *ret)
{
    const size_t n_prefix = sizeof TOKEN_SUBPROTOCOL - 1;

    while (list.n > 0) {
        const uint8_t *comma = memchr(list.p, ',', list.n);
        struct slice each = slice_of(list.p, comma == NULL ? list.n : (size_t)(comma - list.p));
        size_t n = each.n + (comma != NULL);

        list = slice_of(list.p + n, list.n - n);
        while (each.n > 0 && (each.p[0] == ' ' || each.p[0] == '\t'))
            each = slice_of(each.p + 1, each.n - 1);
        while (each.n > 0 && (each.p[each.n - 1] == ' ' || each.p[each.n - 1] == '\t'))
            each.n--;
        if (each.n > n_prefix && memcmp(each.p, TOKEN_SUBPROTOCOL, n_prefix) == 0) {
            *ret = slice_of(each.p + n_prefix, each.n - n_prefix);
            return true;
        }
    }
    return false;
}

/* Empty: it has none. */
static void
read_token(const struct jwt_options *options, const struct httpreq *req, struct buf *out)
{
    const struct slice *header;
    struct slice token;
    char name[80];

    (void)snprintf(name, sizeof name, "X-%s", options->param);
    header = httpreq_header(req, name);
    if (header != NULL && header->n > 0) {
        buf_put_slice(out, *header);
        return;
    }
    if (httpreq_query_get(req->query, options->param, out) > 0 && out->n > 0)
        return;
    buf_reset(out);
    for (unsigned i = 0; i < req->n_headers; i++) {
        if (httpreq_is_name(req->headers[i].name, "Sec-WebSocket-Protocol") &&
            find_subprotocol(req->headers[i].value, &token)) {
            buf_put_slice(out, token);
            return;
        }
    }
}

static const char *
turn_away(struct wsconn *c, const char *reason, const char *why)
{
    c->conn.fe->counters.cable_unauthorized++;
    log_info("an Action Cable client was turned away: %s", why);
    return reason;
}

static const char *
check_token(struct wsconn *c, struct slice token, struct buf *claims)
{
    const struct wscables *all = &wsconn_server(c)->cables;
    const struct jwt_rules rules = {.now_s = loop_wall_ms(c->conn.fe->loop) / 1000,
        .leeway_s = (int64_t)(all->jwt->leeway_ms / 1000),
        .issuer = slice_str(all->jwt->issuer),
        .audience = slice_str(all->jwt->audience)};
    const char *why;
    enum jwt_outcome outcome = jwt_verify(all->jwt_key, token, &rules, claims, &why);

    if (outcome == JWT_GOOD)
        return NULL;
    /* AnyCable's client gets itself another one then. */
    return turn_away(c, outcome == JWT_EXPIRED ? "token_expired" : "unauthorized", why);
}

const char *
wscable_identify(struct wsconn *c, const struct httpreq *req)
{
    const struct wscables *all = &wsconn_server(c)->cables;
    const char *reason = NULL;
    struct buf token, claims;

    if (all->jwt_key == NULL)
        return NULL;
    buf_init(&token, 2 * JWT_MAX);
    buf_init(&claims, JWT_MAX);
    read_token(all->jwt, req, &token);
    if (buf_failed(&token))
        reason = turn_away(c, "unauthorized", "its token is too long");
    else if (token.n > 0)
        reason = check_token(c, buf_slice(&token), &claims);
    else if (all->jwt->required)
        reason = turn_away(c, "unauthorized", "it has no token");
    if (reason == NULL && claims.n > 0) {
        size_t n;

        c->cable->n_claims = (uint16_t)claims.n;
        c->cable->claims = buf_steal(&claims, &n);
    }
    buf_fini(&token);
    buf_fini(&claims);
    return reason;
}
