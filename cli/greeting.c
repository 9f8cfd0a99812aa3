/* SPDX-License-Identifier: Apache-2.0 */
/* Three lines that show the bus at work, for the frontends that run. */
#include "config.h"

#include "cli/greeting.h"

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

void
greeting_put(struct buf *out, const struct greeting *g)
{
    char http[300], ws[300], tcp[300];

    greeting_connectable(g->http != NULL ? g->http : "", http, sizeof http);
    greeting_connectable(g->ws != NULL ? g->ws : "", ws, sizeof ws);
    greeting_connectable(g->tcp != NULL ? g->tcp : "", tcp, sizeof tcp);

    buf_put_str(out, "The bus is up.\n");
    if (g->http != NULL)
        buf_printf(out, "  HTTP       http://%s/\n", http);
    if (g->ws != NULL)
        buf_printf(out, "  WebSocket  ws://%s%s\n", ws, g->ws_path);
    if (g->tcp != NULL)
        buf_printf(out, "  TCP        %s\n", tcp);
    buf_put_str(out, "Listen with the first line, publish with the others, all on the topic hello:\n");
    if (g->http != NULL)
        buf_printf(out, "  curl -N -H 'Accept: text/event-stream' http://%s/topics/hello\n", http);
    if (g->tcp != NULL) {
        buf_put_str(out, "  echo '{\"op\":\"pub\",\"topic\":\"hello\",\"data\":\"from nc\"}' | nc -N ");
        put_for_nc(out, tcp);
        buf_put_byte(out, '\n');
    }
    if (g->ws != NULL)
        buf_printf(out,
            "  in a browser's console: ws = new WebSocket('ws://%s%s'); ws.onmessage = e => "
            "console.log(e.data);\n"
            "    ws.onopen = () => ws.send('{\"op\":\"pub\",\"topic\":\"hello\",\"data\":\"from a "
            "browser\"}')\n",
            ws, g->ws_path);
    else if (g->http != NULL)
        buf_printf(out, "  curl -d 'from curl' http://%s/topics/hello\n", http);
    buf_put_str(out, "Ctrl-C ends it.\n");
}
