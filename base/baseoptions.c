/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of base/options.h as rows, and the names of all sections. */
#include "config.h"

#include "base/options.h"

#include "base/log.h"

static const struct conf_row bus_rows[] = {
#define OPTION(...) CONF_ROW(struct bus_options, __VA_ARGS__)
#include "base/bus-options.tbl.h"
};

const struct conf_section bus_section =
    CONF_SECTION("", bus_rows, struct bus_options, "Options that stand at the top level.");

static const struct conf_row log_rows[] = {
#define OPTION(...) CONF_ROW(struct log_options, __VA_ARGS__)
#include "base/log-options.tbl.h"
};

const struct conf_section log_section =
    CONF_SECTION("log", log_rows, struct log_options, "What every process writes to its standard error.");

const char *const conf_all_sections[] = {
#define SECTION(name) name,
#include "base/sections.tbl.h"
    NULL,
};

void
log_options_apply(const struct log_options *options)
{
    log_set_level((enum log_level)options->level);
    switch ((enum log_options_format)options->format) {
    case LOG_OPTIONS_AUTO:
        break;
    case LOG_OPTIONS_TEXT:
        log_set_format(LOG_FORMAT_TEXT);
        break;
    case LOG_OPTIONS_JSON:
        log_set_format(LOG_FORMAT_JSON);
        break;
    case LOG_OPTIONS_JOURNAL:
        log_set_format(LOG_FORMAT_JOURNAL);
        break;
    }
}
