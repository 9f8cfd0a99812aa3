/* SPDX-License-Identifier: Apache-2.0 */
/* Section up of the config file. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/conf.h"

struct up_options {
#define OPTION CONF_FIELD
#include "cli/options.tbl.h"
};
extern const struct conf_section up_section;

#endif
