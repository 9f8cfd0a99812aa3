/* SPDX-License-Identifier: Apache-2.0 */
/* The list `topics`, compiled into a filter tree whose values are the items: the matching one that is first
 * holds. */
#include "config.h"

#include "broker/settings.h"

#include <errno.h>
#include <stdlib.h>

#include "base/conf.h"
#include "broker/options.h"
#include "wire/filtertree.h"
#include "wire/frame.h"
#include "wire/names.h"

struct settings {
    struct filtertree *tree;
    struct setting *items; /* in the list's order */
    size_t n_items;
    struct setting usual; /* what matches no item */
    struct setting sys;   /* $sys */
    struct setting bus;   /* other names with '$' */
};

static void
setting_compile(struct setting *to, const struct topic_options *from, uint64_t max_message)
{
    static const uint64_t policies[] = {
        [TOPIC_SLOW_DISCONNECT] = SLOW_DISCONNECT,
        [TOPIC_SLOW_DROP_OLDEST] = SLOW_DROP_OLDEST,
        [TOPIC_SLOW_CONFLATE] = SLOW_CONFLATE,
        [TOPIC_SLOW_CATCH_UP] = SLOW_CATCH_UP,
    };

    *to = (struct setting){
        .limits =
            {
                .messages = from->history_messages,
                .age_ms = from->history_age_ms,
                .bytes = from->history_bytes,
                .keeps_last_retained = from->retain == TOPIC_RETAIN_LAST,
                .keeps_no_retained = from->retain == TOPIC_RETAIN_NONE,
            },
        .max_message = from->max_message < max_message ? from->max_message : max_message,
        .policy = policies[from->slow_consumer],
        .may_publish = from->publish,
        .may_subscribe = from->subscribe,
    };
}

static int
settings_compile(struct settings *s, const struct conf_items *items, uint64_t max_message)
{
    const struct topic_options *options = items->p;
    struct topic_options defaults = {0};
    int r = topic_options_default(&defaults);

    if (r < 0)
        return r;
    setting_compile(&s->usual, &defaults, max_message);
    topic_options_fini(&defaults);
    s->sys = (struct setting){
        .limits = {.keeps_last_retained = true, .is_unrecoverable = true},
        .max_message = max_message,
        .policy = SLOW_DROP_OLDEST,
        .may_subscribe = true,
    };
    s->bus =
        (struct setting){.max_message = max_message, .may_subscribe = true, .limits.is_unrecoverable = true};
    for (size_t i = 0; i < items->n; i++) {
        struct slice filter = slice_str(options[i].match);
        void **at;

        if (filter_error(filter) != NULL) /* topic_options_check() has told */
            return -EINVAL;
        setting_compile(&s->items[i], &options[i], max_message);
        at = filtertree_at(s->tree, filter);
        if (at == NULL)
            return -ENOMEM;
        if (*at == NULL) /* the same filter again can never hold */
            *at = &s->items[i];
    }
    return 0;
}

int
settings_new(const struct conf_items *items, uint64_t max_message, struct settings **ret)
{
    struct settings *s = calloc(1, sizeof(*s));
    int r;

    if (s == NULL)
        return -ENOMEM;
    s->n_items = items->n;
    s->items = calloc(items->n > 0 ? items->n : 1, sizeof(s->items[0]));
    r = s->items == NULL ? -ENOMEM : filtertree_new(&s->tree);
    if (r == 0)
        r = settings_compile(s, items, max_message);
    if (r < 0) {
        settings_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

struct settings *
settings_free(struct settings *settings)
{
    if (settings == NULL)
        return NULL;
    if (settings->tree != NULL)
        filtertree_free(settings->tree);
    free(settings->items);
    free(settings);
    return NULL;
}

/* The item that stands first in the list is the one with the lowest address. */
static void
settings_on_match(void *value, void *arg)
{
    struct setting **first = arg, *setting = value;

    if (*first == NULL || setting < *first)
        *first = setting;
}

const struct setting *
settings_find(const struct settings *settings, struct slice topic)
{
    struct setting *first = NULL;

    if (topic_is_reserved(topic))
        return &settings->sys;
    if (topic.n > 0 && topic.p[0] == '$')
        return &settings->bus;
    filtertree_match(settings->tree, topic, settings_on_match, &first);
    return first != NULL ? first : &settings->usual;
}
