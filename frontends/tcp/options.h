/* SPDX-License-Identifier: Apache-2.0 */
/* Section tcp of the config file. */
#ifndef FRONTENDS_TCP_OPTIONS_H
#define FRONTENDS_TCP_OPTIONS_H

#include "base/conf.h"
#include "frontends/sdk/options.h"

struct tcp_options {
#define OPTION CONF_FIELD
#include "frontends/tcp/options.tbl.h"
    struct tls_options tls;
};
extern const struct conf_section tcp_section;

#endif
