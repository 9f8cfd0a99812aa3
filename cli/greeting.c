/* SPDX-License-Identifier: Apache-2.0 */
/* Three lines that show the bus at work, for the frontends that run. */
#include "config.h"

#include "cli/greeting.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

void
greeting_connectable(const char *address, char *ret, unsigned long ret_size)
{
    const char *colon = strrchr(address, ':');
    size_t n_host = colon != NULL ? (size_t)(colon - address) : 0;

    if (colon != NULL &&
        ((n_host == 1 && address[0] == '*') || (n_host == 7 && memcmp(address, "0.0.0.0", 7) == 0)))
        (void)snprintf(ret, ret_size, "127.0.0.1%s", colon);
    else if (colon != NULL && n_host == 4 && memcmp(address, "[::]", 4) == 0)
        (void)snprintf(ret, ret_size, "[::1]%s", colon);
    else
        (void)snprintf(ret, ret_size, "%s", address);
}

/* "127.0.0.1:7070" as nc takes it: "127.0.0.1 7070", and no brackets. */
static void
put_for_nc(struct buf *out, const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon != NULL ? (size_t)(colon - address) : strlen(address);

    if (n > 2 && address[0] == '[')
        buf_put(out, address + 1, n - 2);
    else
        buf_put(out, address, n);
    if (colon != NULL)
        buf_printf(out, " %s", colon + 1);
}

/* One line: the addresses of a frontend, as a client is given them. */
static void
put_addresses(struct buf *out, const char *label, const struct greeting_address *a, const char *scheme,
    const char *tls_scheme, const char *path)
{
    char text[300];

    if (a->plain == NULL && a->tls == NULL)
        return;
    buf_printf(out, "  %-9s", label);
    if (a->plain != NULL) {
        greeting_connectable(a->plain, text, sizeof text);
        buf_printf(out, "  %s%s%s", scheme, text, path);
    }
    if (a->tls != NULL) {
        greeting_connectable(a->tls, text, sizeof text);
        buf_printf(out, "  %s%s%s", tls_scheme, text, path);
    }
    buf_put_byte(out, '\n');
}

/* What is to be pasted: in the clear where that is offered, so that nobody's certificate is in the way. */
struct pasted {
    char address[300];
    bool is_there, is_tls;
};

static struct pasted
pasted_of(const struct greeting_address *a)
{
    const char *address = a->plain != NULL ? a->plain : a->tls;
    struct pasted p = {.is_there = address != NULL, .is_tls = a->plain == NULL};

    greeting_connectable(address != NULL ? address : "", p.address, sizeof p.address);
    return p;
}

void
greeting_put(struct buf *out, const struct greeting *g)
{
    const struct pasted http = pasted_of(&g->http), ws = pasted_of(&g->ws), tcp = pasted_of(&g->tcp);
    const char *s = http.is_tls ? "s" : "";

    buf_put_str(out, "The bus is up.\n");
    put_addresses(out, "HTTP", &g->http, "http://", "https://", "/");
    put_addresses(out, "WebSocket", &g->ws, "ws://", "wss://", g->ws_path);
    put_addresses(out, "TCP", &g->tcp, "", "tls://", "");
    buf_put_str(out, "Listen with the first line, publish with the others, all on the topic hello:\n");
    if (http.is_there)
        buf_printf(
            out, "  curl -N -H 'Accept: text/event-stream' http%s://%s/topics/hello\n", s, http.address);
    if (tcp.is_there && !tcp.is_tls) {
        buf_put_str(out, "  echo '{\"op\":\"pub\",\"topic\":\"hello\",\"data\":\"from nc\"}' | nc -N ");
        put_for_nc(out, tcp.address);
        buf_put_byte(out, '\n');
    }
    if (ws.is_there)
        buf_printf(out,
            "  in a browser's console: ws = new WebSocket('ws%s://%s%s'); ws.onmessage = e => "
            "console.log(e.data);\n"
            "    ws.onopen = () => ws.send('{\"op\":\"pub\",\"topic\":\"hello\",\"data\":\"from a "
            "browser\"}')\n",
            ws.is_tls ? "s" : "", ws.address, g->ws_path);
    else if (http.is_there)
        buf_printf(out, "  curl -d 'from curl' http%s://%s/topics/hello\n", s, http.address);
    buf_put_str(out, "Ctrl-C ends it.\n");
}
