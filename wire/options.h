/* SPDX-License-Identifier: Apache-2.0 */
/* Section link of the config file. */
#ifndef WIRE_OPTIONS_H
#define WIRE_OPTIONS_H

#include "base/conf.h"

struct link_options {
#define OPTION CONF_FIELD
#include "wire/options.tbl.h"
};
extern const struct conf_section link_section;

/* What option transport says, for transport_find(). */
const char *link_options_transport(const struct link_options *options);

#endif
