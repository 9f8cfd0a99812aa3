/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of channel-options.tbl.h, for the config reader, and what they cannot say. */
#include "config.h"

#include "frontends/dialects/actioncable/options.h"

#include <string.h>

#include "frontends/dialects/actioncable/actemplate.h"

static const struct conf_row channel_rows[] = {
#define OPTION(...) CONF_ROW(struct channel_options, __VA_ARGS__)
#include "frontends/dialects/actioncable/channel-options.tbl.h"
};

const struct conf_section channels_section = CONF_SECTION_LIST("channels", channel_rows,
    struct channel_options,
    "Channels of Action Cable: a list, one item for each class that clients may subscribe to. $pubsub and "
    "Turbo::StreamsChannel are there without an item, as cable's options say.");

static void
check_topic(struct conf_check *check, size_t item, const char *name, const char *text)
{
    const char *error = text[0] == '\0' ? NULL : actemplate_error(text, true);

    if (error != NULL)
        conf_check_note(check, &channels_section, item, name, "\"%.100s\" gives no topic: %s", text, error);
}

static void
check_topics(struct conf_check *check, size_t item, const struct channel_options *c)
{
    const char *error;

    for (size_t i = 0; i < c->stream.n; i++) {
        error = actemplate_error(c->stream.items[i], false);
        if (error != NULL)
            conf_check_note(check, &channels_section, item, "stream", "\"%.100s\" gives no topic: %s",
                c->stream.items[i], error);
    }
    check_topic(check, item, "publish_topic", c->publish_topic);
    check_topic(check, item, "request_topic", c->request_topic);
}

static void
check_actions(struct conf_check *check, size_t item, const struct channel_options *c)
{
    if (c->request.n > 0 && c->request_topic[0] == '\0')
        conf_check_note(
            check, &channels_section, item, "request", "needs a request_topic: where shall they go?");
    for (size_t i = 0; i < c->request.n; i++) {
        for (size_t k = 0; k < c->publish.n; k++) {
            if (strcmp(c->request.items[i], c->publish.items[k]) == 0)
                conf_check_note(check, &channels_section, item, "request",
                    "%.100s stands in publish, too: an action does one of them", c->request.items[i]);
        }
    }
}

static void
check_item(struct conf_check *check, size_t item, const struct channel_options *c)
{
    check_topics(check, item, c);
    check_actions(check, item, c);
    if (c->channel[0] == '$')
        conf_check_note(check, &channels_section, item, "channel",
            "\"%.100s\": names that begin with $ are built in", c->channel);
}

void
channel_options_check(struct conf_check *check, const struct conf_items *channels)
{
    const struct channel_options *items = channels->p;

    for (size_t i = 0; i < channels->n; i++) {
        check_item(check, i, &items[i]);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(items[i].channel, items[k].channel) == 0)
                conf_check_note(
                    check, &channels_section, i, "channel", "%.100s has an item already", items[i].channel);
        }
    }
}

const char *
channel_options_name_error(const char *text)
{
    return actemplate_error(text, false);
}
