/* SPDX-License-Identifier: Apache-2.0 */
/* Options that every process knows: the top level of the config file, and how it logs. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include "base/conf.h"

struct bus_options {
#define OPTION CONF_FIELD
#include "base/bus-options.tbl.h"
};
extern const struct conf_section bus_section;

/* log_options.format */
enum log_options_format { LOG_OPTIONS_AUTO, LOG_OPTIONS_TEXT, LOG_OPTIONS_JSON, LOG_OPTIONS_JOURNAL };

struct log_options {
#define OPTION CONF_FIELD
#include "base/log-options.tbl.h"
};
extern const struct conf_section log_section;

/* Applies level and format to the log of this process (log_open() came first). */
void log_options_apply(const struct log_options *options);

#endif
