/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the tables in this folder, for the config reader. */
#include "config.h"

#include "frontends/ws/options.h"

static const struct conf_row ws_rows[] = {
#define OPTION(...) CONF_ROW(struct ws_options, __VA_ARGS__)
#include "frontends/ws/options.tbl.h"
#define OPTION(...) TLS_ROW(struct ws_options, __VA_ARGS__)
#include "frontends/sdk/tls-options.tbl.h"
};

const struct conf_section ws_section =
    CONF_SECTION("ws", ws_rows, struct ws_options, "WebSocket clients (busbar-ws).");

static const struct conf_row cable_rows[] = {
#define OPTION(...) CONF_ROW(struct cable_options, __VA_ARGS__)
#include "frontends/ws/cable-options.tbl.h"
};

const struct conf_section cable_section = CONF_SECTION(
    "cable", cable_rows, struct cable_options, "Action Cable clients (busbar-ws); its channels are below.");
