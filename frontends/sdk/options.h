/* SPDX-License-Identifier: Apache-2.0 */
/* Section limits of the config file: what all frontends have in common. */
#ifndef FRONTENDS_SDK_OPTIONS_H
#define FRONTENDS_SDK_OPTIONS_H

#include "base/conf.h"

struct limits_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/options.tbl.h"
};
extern const struct conf_section limits_section;

#endif
