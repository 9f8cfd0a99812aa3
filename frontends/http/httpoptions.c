/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of frontends/http/options.tbl.h, for the config reader. */
#include "config.h"

#include "frontends/http/options.h"

static const struct conf_row http_rows[] = {
#define OPTION(...) CONF_ROW(struct http_options, __VA_ARGS__)
#include "frontends/http/options.tbl.h"
};

const struct conf_section http_section = CONF_SECTION("http", http_rows, struct http_options,
    "HTTP clients: publish, long-poll, server-sent events, the console (busbar-http).");
