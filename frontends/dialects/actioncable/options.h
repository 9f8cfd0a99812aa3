/* SPDX-License-Identifier: Apache-2.0 */
/* The list channels of the config file: what Action Cable's channels are on this bus. */
#ifndef DIALECTS_ACTIONCABLE_OPTIONS_H
#define DIALECTS_ACTIONCABLE_OPTIONS_H

#include "base/conf.h"

/* channel_options.secret */
enum channel_secret { CHANNEL_SECRET_STREAMS, CHANNEL_SECRET_TURBO };

/* One item. channels_section loads a struct conf_items whose p points to n of these. */
struct channel_options {
#define OPTION CONF_FIELD
#include "frontends/dialects/actioncable/channel-options.tbl.h"
};
extern const struct conf_section channels_section;

/* What the table cannot say: bad templates, channels without a topic or given twice. */
void channel_options_check(struct conf_check *check, const struct conf_items *channels);

#endif
