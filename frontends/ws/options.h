/* SPDX-License-Identifier: Apache-2.0 */
/* Sections ws and cable of the config file. */
#ifndef FRONTENDS_WS_OPTIONS_H
#define FRONTENDS_WS_OPTIONS_H

#include "base/conf.h"
#include "frontends/sdk/options.h"

struct ws_options {
#define OPTION CONF_FIELD
#include "frontends/ws/options.tbl.h"
    struct tls_options tls;
};
extern const struct conf_section ws_section;

/* cable_options.rails_digest */
enum cable_rails_digest { CABLE_RAILS_SHA256, CABLE_RAILS_SHA1 };

struct cable_options {
#define OPTION CONF_FIELD
#include "frontends/ws/cable-options.tbl.h"
};
extern const struct conf_section cable_section;

#endif
