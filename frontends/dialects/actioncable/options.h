/* SPDX-License-Identifier: Apache-2.0 */
/* The list channels of the config file: what Action Cable's channels are on this bus. */
#ifndef DIALECTS_ACTIONCABLE_OPTIONS_H
#define DIALECTS_ACTIONCABLE_OPTIONS_H

#include "base/conf.h"

/* One item. channels_section loads a struct conf_items whose p points to n of these. */
struct channel_options {
#define OPTION CONF_FIELD
#include "frontends/dialects/actioncable/channel-options.tbl.h"
};
extern const struct conf_section channels_section;

/* What the table cannot say: bad templates, channels that are given twice. */
void channel_options_check(struct conf_check *check, const struct conf_items *channels);
/* NULL, or what is wrong with a template for a name. */
const char *channel_options_name_error(const char *text);

#endif
