/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of frontends/sdk/jwt-options.tbl.h, for the config reader. */
#include "config.h"

#include "frontends/sdk/options.h"

static const struct conf_row jwt_rows[] = {
#define OPTION(...) CONF_ROW(struct jwt_options, __VA_ARGS__)
#include "frontends/sdk/jwt-options.tbl.h"
};

const struct conf_section jwt_section = CONF_SECTION(
    "jwt", jwt_rows, struct jwt_options, "JSON Web Tokens that say who an Action Cable client is.");
