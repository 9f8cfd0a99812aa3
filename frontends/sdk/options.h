/* SPDX-License-Identifier: Apache-2.0 */
/* Sections limits and jwt of the config file: what all frontends have in common. */
#ifndef FRONTENDS_SDK_OPTIONS_H
#define FRONTENDS_SDK_OPTIONS_H

#include "base/conf.h"

struct limits_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/options.tbl.h"
};
extern const struct conf_section limits_section;

/* jwt_options.algorithm is an enum jwt_algorithm. */
struct jwt_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/jwt-options.tbl.h"
};
extern const struct conf_section jwt_section;

#endif
