/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of frontends/http/options.tbl.h, for the config reader. */
#include "config.h"

#include "frontends/http/options.h"

static const struct conf_row http_rows[] = {
#define OPTION(...) CONF_ROW(struct http_options, __VA_ARGS__)
#include "frontends/http/options.tbl.h"
#define OPTION(...) TLS_ROW(struct http_options, __VA_ARGS__)
#include "frontends/sdk/tls-options.tbl.h"
};

void
http_options_check(struct conf_check *check, const struct http_options *o)
{
    const char *const sources[] = {
        o->broadcast_key_file, o->broadcast_key_env, o->broadcast_secret_file, o->broadcast_secret_env};
    unsigned n = 0;

    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        n += sources[i][0] != '\0';
    if (o->broadcast_access == HTTP_BROADCAST_KEY && n != 1)
        conf_check_note(check, &http_section, 0, "broadcast.access",
            "with key, exactly one of broadcast.key_file, key_env, secret_file and secret_env must say where "
            "the "
            "key comes from");
    if (o->broadcast_path[0] != '/')
        conf_check_note(check, &http_section, 0, "broadcast.path", "an address begins with /");
}

const struct conf_section http_section = CONF_SECTION("http", http_rows, struct http_options,
    "HTTP clients: publish, long-poll, server-sent events, the console (busbar-http).");
