/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of cli/options.tbl.h, for the config reader. */
#include "config.h"

#include "cli/options.h"

static const struct conf_row up_rows[] = {
#define OPTION(...) CONF_ROW(struct up_options, __VA_ARGS__)
#include "cli/options.tbl.h"
};

const struct conf_section up_section =
    CONF_SECTION("up", up_rows, struct up_options, "How `busbar up` runs the processes of the bus.");
