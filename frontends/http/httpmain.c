/* SPDX-License-Identifier: Apache-2.0 */
/* busbar-http: HTTP clients, by publish, long-poll and event streams, and the console. */
#include "config.h"

#include "frontends/http/httpmain.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/options.h"
#include "base/proc.h"
#include "frontends/http/options.h"
#include "frontends/tcp/options.h"
#include "frontends/ws/options.h"

/* As a browser on another machine would write it: what listens everywhere, or on this machine only, is found
 * under the name that the page itself came from. */
static char *
address_text(const char *before, const struct conf_address *a, const char *after)
{
    struct buf b;
    bool is_here = a->host == NULL || strcmp(a->host, "127.0.0.1") == 0 || strcmp(a->host, "::1") == 0;
    bool is_v6 = !is_here && strchr(a->host, ':') != NULL;
    size_t n;

    buf_init(&b, 0);
    buf_printf(&b, "%s%s%s%s:%u%s", before, is_v6 ? "[" : "", is_here ? "{host}" : a->host, is_v6 ? "]" : "",
        a->port, after);
    buf_put_byte(&b, '\0');
    char *text = buf_failed(&b) ? NULL : (char *)buf_steal(&b, &n);
    buf_fini(&b);
    return text;
}

/* A config that cannot be read is frontend_main()'s to complain about. */
static void
read_neighbours(int argc, char **argv, struct http_main *ret)
{
    struct ws_options ws = {0};
    struct tcp_options tcp = {0};
    struct bus_options bus = {0}; /* not wanted, but its names stand at the top level */
    const struct conf_bind binds[] = {{&bus_section, &bus}, {&ws_section, &ws}, {&tcp_section, &tcp}};
    struct conf_errors *errors = calloc(1, sizeof *errors);
    struct proc_args args;
    int exit_code;

    opterr = 0; /* complaints are for the second reading */
    if (errors == NULL ||
        proc_args_parse(&args, argc, argv, "http.1", "Serves HTTP clients.", &exit_code) != 0) {
        free(errors);
        return;
    }
    struct conf_request request = {.path = args.config,
        .binds = binds,
        .n_binds = 3,
        .ignored = conf_all_sections,
        .set = args.set,
        .n_set = args.n_set};
    if (conf_load(&request, errors) == 0) {
        if (ws.listen.text != NULL)
            ret->websocket = address_text("ws://", &ws.listen, ws.path);
        if (ws.tls.listen.text != NULL)
            ret->websocket_tls = address_text("wss://", &ws.tls.listen, ws.path);
        if (tcp.listen.text != NULL)
            ret->tcp = address_text("", &tcp.listen, "");
        conf_free(binds, 3);
    }
    free(errors);
}

static void
check_options(struct conf_check *check, const void *options)
{
    const struct http_options *o = options;

    http_options_check(check, o);
    tls_options_check(check, &http_section, &o->tls);
}

int
main(int argc, char **argv)
{
    struct http_main self = {
        .kind =
            {
                .name = "http",
                .section = &http_section,
                .check = check_options,
                .start = http_server_start,
                .stop = http_server_stop,
                .leave = http_server_leave,
                .reload = http_server_reload,
                .free = http_server_free,
            },
    };

    /* --help and --version are for one reader only. */
    bool is_plain = true;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--version") == 0)
            is_plain = false;
    if (is_plain)
        read_neighbours(argc, argv, &self);
    opterr = 1;
    optind = 0; /* read the arguments anew */
    int exit_code = frontend_main(argc, argv, &self.kind);
    free(self.websocket);
    free(self.websocket_tls);
    free(self.tcp);
    return exit_code;
}
