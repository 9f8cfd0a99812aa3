/* SPDX-License-Identifier: Apache-2.0 */
/* Two small tables with every type of option, for the tests of the config reader and its fuzz target. */
#ifndef TESTS_UNIT_BASE_TEST_CONF_H
#define TESTS_UNIT_BASE_TEST_CONF_H

#include "base/conf.h"

struct demo {
#define OPTION CONF_FIELD
#include "tests/unit/base/test-conf.tbl.h"
};

struct demo_item {
#define OPTION CONF_FIELD
#include "tests/unit/base/test-conf-item.tbl.h"
};

static const struct conf_row demo_rows[] = {
#define OPTION(...) CONF_ROW(struct demo, __VA_ARGS__)
#include "tests/unit/base/test-conf.tbl.h"
};
static const struct conf_section demo_section =
    CONF_SECTION("demo", demo_rows, struct demo, "Of every type one.");

static const struct conf_row item_rows[] = {
#define OPTION(...) CONF_ROW(struct demo_item, __VA_ARGS__)
#include "tests/unit/base/test-conf-item.tbl.h"
};
static const struct conf_section items_section =
    CONF_SECTION_LIST("items", item_rows, struct demo_item, "A list of mappings.");

#endif
