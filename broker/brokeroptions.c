/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the broker's option tables, for the config reader. */
#include "config.h"

#include "broker/options.h"

#include "wire/names.h"

static const struct conf_row broker_rows[] = {
#define OPTION(...) CONF_ROW(struct broker_options, __VA_ARGS__)
#include "broker/options.tbl.h"
};

const struct conf_section broker_section =
    CONF_SECTION("broker", broker_rows, struct broker_options, "The broker: what it keeps, and its limits.");

static const struct conf_row store_rows[] = {
#define OPTION(...) CONF_ROW(struct store_options, __VA_ARGS__)
#include "broker/store-options.tbl.h"
};

const struct conf_section store_section = CONF_SECTION(
    "store", store_rows, struct store_options, "The file in which the backend sqlite keeps messages.");

static const struct conf_row topic_rows[] = {
#define OPTION(...) CONF_ROW(struct topic_options, __VA_ARGS__)
#include "broker/topic-options.tbl.h"
};

const struct conf_section topics_section = CONF_SECTION_LIST("topics", topic_rows, struct topic_options,
    "Settings of topics: a list, the first item whose match fits a topic holds. "
    "A topic that fits none has the defaults shown here.");

int
topic_options_default(struct topic_options *ret)
{
    return conf_item_default(&topics_section, "match", "#", ret);
}

void
topic_options_fini(struct topic_options *options)
{
    conf_item_fini(&topics_section, options);
}

static bool
is_queue_given(struct conf_check *check, size_t item)
{
    for (size_t i = 0; i < sizeof(topic_rows) / sizeof(topic_rows[0]); i++)
        if (strncmp(topic_rows[i].name, "queue.", strlen("queue.")) == 0 &&
            conf_check_is_given(check, &topics_section, item, topic_rows[i].name))
            return true;
    return false;
}

void
topic_options_check(struct conf_check *check, struct conf_items *topics)
{
    struct topic_options *items = topics->p;

    for (size_t i = 0; i < topics->n; i++) {
        const char *error = filter_error(slice_str(items[i].match));

        if (error != NULL)
            conf_check_note(
                check, &topics_section, i, "match", "\"%.100s\" is not a filter: %s", items[i].match, error);
        if (!conf_check_is_given(check, &topics_section, i, "queue.enabled"))
            items[i].queue_enabled = is_queue_given(check, i);
    }
}
