/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of frontends/sdk/options.tbl.h, for the config reader. */
#include "config.h"

#include "frontends/sdk/options.h"

static const struct conf_row limits_rows[] = {
#define OPTION(...) CONF_ROW(struct limits_options, __VA_ARGS__)
#include "frontends/sdk/options.tbl.h"
};

const struct conf_section limits_section = CONF_SECTION(
    "limits", limits_rows, struct limits_options, "What clients may cost, for each frontend process.");
