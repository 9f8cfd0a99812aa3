/* SPDX-License-Identifier: Apache-2.0 */
/* Section ws of the config file. */
#ifndef FRONTENDS_WS_OPTIONS_H
#define FRONTENDS_WS_OPTIONS_H

#include "base/conf.h"

struct ws_options {
#define OPTION CONF_FIELD
#include "frontends/ws/options.tbl.h"
};
extern const struct conf_section ws_section;

#endif
