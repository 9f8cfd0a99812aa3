/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of frontends/tcp/options.tbl.h, for the config reader. */
#include "config.h"

#include "frontends/tcp/options.h"

static const struct conf_row tcp_rows[] = {
#define OPTION(...) CONF_ROW(struct tcp_options, __VA_ARGS__)
#include "frontends/tcp/options.tbl.h"
#define OPTION(...) TLS_ROW(struct tcp_options, __VA_ARGS__)
#include "frontends/sdk/tls-options.tbl.h"
};

const struct conf_section tcp_section = CONF_SECTION(
    "tcp", tcp_rows, struct tcp_options, "Clients on plain TCP: lines of JSON, or MessagePack (busbar-tcp).");
