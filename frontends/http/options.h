/* SPDX-License-Identifier: Apache-2.0 */
/* Section http of the config file. */
#ifndef FRONTENDS_HTTP_OPTIONS_H
#define FRONTENDS_HTTP_OPTIONS_H

#include "base/conf.h"

struct http_options {
#define OPTION CONF_FIELD
#include "frontends/http/options.tbl.h"
};
extern const struct conf_section http_section;

#endif
