/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of frontends/sdk/io-options.tbl.h, for the config reader. */
#include "config.h"

#include "frontends/sdk/options.h"

static const struct conf_row io_rows[] = {
#define OPTION(...) CONF_ROW(struct io_options, __VA_ARGS__)
#include "frontends/sdk/io-options.tbl.h"
};

const struct conf_section io_section =
    CONF_SECTION("io", io_rows, struct io_options, "How frontends ask the kernel.");
