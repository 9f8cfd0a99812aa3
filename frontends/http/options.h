/* SPDX-License-Identifier: Apache-2.0 */
/* Section http of the config file. */
#ifndef FRONTENDS_HTTP_OPTIONS_H
#define FRONTENDS_HTTP_OPTIONS_H

#include "base/conf.h"
#include "frontends/sdk/options.h"

struct http_options {
#define OPTION CONF_FIELD
#include "frontends/http/options.tbl.h"
    struct tls_options tls;
};
extern const struct conf_section http_section;

/* http.broadcast.access, in the order of the table. */
enum http_broadcast { HTTP_BROADCAST_OFF, HTTP_BROADCAST_KEY, HTTP_BROADCAST_OPEN };

/* What the table cannot say. */
void http_options_check(struct conf_check *check, const struct http_options *o);

#endif
