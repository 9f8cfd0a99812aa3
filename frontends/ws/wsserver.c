/* SPDX-License-Identifier: Apache-2.0 */
/* The WebSocket frontend's start, reload and end. */
#include "config.h"

#include "frontends/ws/wsserver.h"

#include "base/log.h"
#include "frontends/dialects/actioncable/options.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/tls.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsdeflate.h"
#include "frontends/ws/wsframe.h"
#include "frontends/ws/wshandshake.h"

#include <errno.h>
#include <stdlib.h>

/* Fast and nearly as small as the best for messages of a few KiB. */
#define DEFLATE_LEVEL 4

/* To clients that are one too many. */
static const char refuse[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 75\r\n\r\n"
                             "This server has as many connections as it takes, or stops; try again later\n";

static void
wsserver_free(void *state)
{
    struct wsserver *server = state;

    if (server == NULL)
        return;
    listeners_close(&server->listeners);
    block_unref(server->ping);
    server->sha1 = wshandshake_sha1_free(server->sha1);
    wscables_fini(&server->cables);
    wsencoders_fini(&server->encoders);
    server->deflate = wsdeflate_free(server->deflate);
    buf_fini(&server->inflated);
    buf_fini(&server->scratch);
    free(server);
}

static int
wsserver_make_ping(struct wsserver *server)
{
    server->ping = block_new();
    if (server->ping == NULL)
        return -ENOMEM;
    wsframe_put(&server->ping->buf, WSFRAME_OP_PING, false, slice_of(NULL, 0));
    return buf_failed(&server->ping->buf) ? -ENOMEM : 0;
}

static int
wsserver_start(struct frontend *fe, const void *options, void **ret_state)
{
    const struct wsserver_config *config = options;
    struct wsserver *server = calloc(1, sizeof *server);
    int r;

    if (server == NULL)
        return -ENOMEM;
    server->fe = fe;
    server->options = &config->ws;
    buf_init(&server->inflated, 0);
    buf_init(&server->scratch, 0);
    wsencoders_init(&server->encoders, NULL, server->options->deflate_threshold);
    r = wsdeflate_new(DEFLATE_LEVEL, &server->deflate);
    if (r == 0)
        r = wsserver_make_ping(server);
    server->sha1 = wshandshake_sha1_new();
    if (r == 0 && server->sha1 == NULL) {
        log_error("OpenSSL has no SHA-1: without it no WebSocket can be opened");
        r = -ENOTSUP;
    }
    if (r == 0)
        r = wscables_init(&server->cables, fe, config);
    server->encoders.deflate = server->deflate;
    if (r == 0)
        r = listeners_open(fe,
            &(struct listeners_spec){.listen = &config->ws.listen,
                .tls = &config->ws.tls,
                .is_http = true,
                .refuse = slice_of(refuse, sizeof refuse - 1),
                .on_accept = wsconn_on_accept,
                .arg = server},
            &server->listeners);
    if (r < 0) {
        wsserver_free(server);
        return r;
    }
    *ret_state = server;
    return 0;
}

static void
wsserver_stop(struct frontend *fe, void *state)
{
    struct wsserver *server = state;

    (void)fe;
    listeners_stop(&server->listeners);
}

static void
wsserver_reload(struct frontend *fe, void *state, const void *options)
{
    const struct wsserver_config *config = options;
    struct wsserver *server = state;

    server->options = &config->ws;
    tls_reload(fe->tls, &config->ws.tls);
    wscables_reload(&server->cables, config);
    server->encoders.threshold = server->options->deflate_threshold;
}

static void
wsserver_check(struct conf_check *check, const void *options)
{
    const struct wsserver_config *config = options;

    channel_options_check(check, &config->channels);
    tls_options_check(check, &ws_section, &config->ws.tls);
}

static const struct frontend_section wsserver_sections[] = {
    {&jwt_section, offsetof(struct wsserver_config, jwt)},
    {&cable_section, offsetof(struct wsserver_config, cable)},
    {&channels_section, offsetof(struct wsserver_config, channels)},
};

const struct frontend_kind wsserver_kind = {
    .name = "ws",
    .section = &ws_section,
    .more = wsserver_sections,
    .n_more = sizeof wsserver_sections / sizeof wsserver_sections[0],
    .options_size = sizeof(struct wsserver_config),
    .check = wsserver_check,
    .start = wsserver_start,
    .stop = wsserver_stop,
    .leave = wsconn_on_leave,
    .free = wsserver_free,
    .reload = wsserver_reload,
};
