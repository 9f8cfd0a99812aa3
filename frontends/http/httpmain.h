/* SPDX-License-Identifier: Apache-2.0 */
/* The process busbar-http: what main() knows beyond the SDK's struct frontend_kind. */
#ifndef FRONTENDS_HTTP_HTTPMAIN_H
#define FRONTENDS_HTTP_HTTPMAIN_H

#include "frontends/sdk/frontend.h"

struct http_main {
    struct frontend_kind kind; /* first: http_main_of() */
    /* For the console's /console.json: where the other frontends are, from their sections of the same config.
     * "{host}" stands for the host that the page came from. */
    char *websocket;     /* "ws://{host}:8081/ws"; NULL: it does not listen in the clear */
    char *websocket_tls; /* "wss://{host}:8443/ws", for a page that came by https://; NULL: likewise */
    char *tcp;           /* "{host}:7070" */
};

static inline const struct http_main *
http_main_of(const struct frontend *fe)
{
    return (const struct http_main *)(const void *)fe->kind;
}

int http_server_start(struct frontend *fe, const void *options, void **ret_state);
void http_server_stop(struct frontend *fe, void *state);
bool http_server_leave(struct frontend *fe, struct conn *c);
void http_server_reload(struct frontend *fe, void *state, const void *options);
void http_server_free(void *state);

#endif
