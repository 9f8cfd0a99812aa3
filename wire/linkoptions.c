/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of wire/options.tbl.h, for the config reader. */
#include "config.h"

#include "wire/options.h"

static const struct conf_row link_rows[] = {
#define OPTION(...) CONF_ROW(struct link_options, __VA_ARGS__)
#include "wire/options.tbl.h"
};

const struct conf_section link_section =
    CONF_SECTION("link", link_rows, struct link_options, "How frontends keep in touch with the broker.");

const char *
link_options_transport(const struct link_options *options)
{
    static const char *const names[] = {"nanomsg", "unix"}; /* in the order of the option's choices */

    return names[options->transport];
}
