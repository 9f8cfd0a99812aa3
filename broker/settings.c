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

#define DEAD_PREFIX "dead/"
#define DEAD_MESSAGES 1000000u

/* What holds for a topic, for the requests on it, for who is there, and for what is said and not kept. */
struct pair {
    struct setting own, requests, presence, whisper;
};

struct settings {
    struct filtertree *tree;
    struct pair *items; /* in the list's order */
    size_t n_items;
    struct pair usual;      /* what matches no item */
    struct pair dead;       /* likewise, below dead/ */
    struct setting sys;     /* $sys */
    struct setting replies; /* $replies, and what the bus keeps for itself below $queues */
    struct setting bus;     /* other names with '$' */
    char **texts;           /* that settings point to */
    size_t n_texts;
};

/* A copy that lives as long as the settings. There is room for one of each item and one more. */
static const char *
keep_text(struct settings *s, const char *text)
{
    char *copy = strdup(text != NULL ? text : "");

    if (copy != NULL)
        s->texts[s->n_texts++] = copy;
    return copy;
}

/* Nobody but the broker touches it: clients ask and answer. What is said of how often and how long work is
 * given out holds for topics; a request is given out until it expires. */
static void
setting_compile_requests(struct pair *pair)
{
    const struct setting *own = &pair->own;

    pair->requests = (struct setting){
        .limits = {.is_held = true, .is_unrecoverable = true, .keeps_no_retained = true},
        .max_message = own->max_message,
        .is_hidden = true,
        .may_respond = own->may_subscribe,
        .queue = own->queue,
        .request_ttl_ms = own->request_ttl_ms,
        .reply_ttl_ms = own->reply_ttl_ms,
    };
    pair->requests.queue.is_queue = true;
    pair->requests.queue.trims_done = true;
    pair->requests.queue.has_ordered_keys = false;
}

/* Told once to who is subscribed at that moment. Presence is the broker's own to tell; of what waits for a
 * client that is too slow the latest of each member will do. */
static void
setting_compile_volatile(struct pair *pair)
{
    const struct setting *own = &pair->own;

    pair->presence = (struct setting){
        .limits = {.is_unrecoverable = true, .is_volatile = true, .keeps_no_retained = true},
        .max_message = own->max_message,
        .policy = SLOW_CONFLATE,
        .may_subscribe = own->may_subscribe,
    };
    pair->whisper = (struct setting){
        .limits = {.is_unrecoverable = true, .is_volatile = true, .keeps_no_retained = true},
        .max_message = own->max_message,
        .policy = SLOW_DROP_OLDEST,
        .max_ttl_ms = own->max_ttl_ms,
        .may_publish = own->may_publish,
        .may_subscribe = own->may_subscribe,
    };
}

static int
setting_compile(struct settings *s, struct pair *pair, const struct topic_options *from, uint64_t max_message)
{
    static const uint64_t policies[] = {
        [TOPIC_SLOW_DISCONNECT] = SLOW_DISCONNECT,
        [TOPIC_SLOW_DROP_OLDEST] = SLOW_DROP_OLDEST,
        [TOPIC_SLOW_CONFLATE] = SLOW_CONFLATE,
        [TOPIC_SLOW_CATCH_UP] = SLOW_CATCH_UP,
    };
    static const uint8_t modes[] = {
        [TOPIC_PRESENCE_OFF] = PRESENCE_OFF,
        [TOPIC_PRESENCE_MEMBERS] = PRESENCE_MEMBERS,
        [TOPIC_PRESENCE_COUNT] = PRESENCE_COUNT,
    };
    const char *dead_letter = keep_text(s, from->queue_dead_letter);

    if (dead_letter == NULL)
        return -ENOMEM;
    pair->own = (struct setting){
        .limits =
            {
                .messages = from->history_messages,
                .age_ms = from->history_age_ms,
                .bytes = from->history_bytes,
                .keeps_last_retained = from->retain == TOPIC_RETAIN_LAST,
                .keeps_no_retained = from->retain == TOPIC_RETAIN_NONE,
                .is_held = from->queue_enabled,
            },
        .max_message = from->max_message < max_message ? from->max_message : max_message,
        .policy = policies[from->slow_consumer],
        .max_ttl_ms = from->max_ttl_ms,
        .max_delay_ms = from->max_delay_ms,
        .may_publish = from->publish,
        .may_subscribe = from->subscribe,
        .is_key_once = from->slow_consumer != TOPIC_SLOW_CONFLATE && !from->queue_ordered_keys,
        .queue =
            {
                .is_queue = from->queue_enabled,
                .trims_done = from->queue_enabled,
                .has_ordered_keys = from->queue_ordered_keys,
                .max_deliveries = (uint32_t)from->queue_max_deliveries,
                .max_messages = from->queue_max_messages,
                .max_unsettled = from->queue_max_unsettled,
                .lease_ms = from->queue_lease_ms,
                .retry_delay_ms = from->queue_retry_delay_ms,
                .dead_letter = dead_letter,
            },
        .request_ttl_ms = from->request_ttl_ms,
        .reply_ttl_ms = from->request_reply_ttl_ms,
        .requests = &pair->requests,
        .presence =
            {
                .mode = modes[from->presence_mode],
                .linger_ms = from->presence_linger_ms,
                .max_members = from->presence_max_members,
            },
    };
    setting_compile_requests(pair);
    setting_compile_volatile(pair);
    return 0;
}

/* Dead letters are there to be looked at: they stay until somebody has put them back or purged them. */
static void
setting_compile_dead(struct pair *dead, const struct pair *usual)
{
    *dead = *usual;
    dead->own.requests = &dead->requests;
    dead->own.limits.messages = DEAD_MESSAGES;
    dead->own.limits.age_ms = 0;
    dead->own.limits.bytes = 0;
    dead->own.queue.trims_done = true;
}

static int
settings_compile(struct settings *s, const struct conf_items *items, uint64_t max_message)
{
    const struct topic_options *options = items->p;
    struct topic_options defaults = {0};
    int r = topic_options_default(&defaults);

    if (r < 0)
        return r;
    r = setting_compile(s, &s->usual, &defaults, max_message);
    topic_options_fini(&defaults);
    if (r < 0)
        return r;
    setting_compile_dead(&s->dead, &s->usual);
    s->sys = (struct setting){
        .limits = {.keeps_last_retained = true, .is_unrecoverable = true, .is_volatile = true},
        .max_message = max_message,
        .policy = SLOW_DROP_OLDEST,
        .may_subscribe = true,
    };
    s->replies =
        (struct setting){.max_message = max_message, .limits.is_unrecoverable = true, .is_hidden = true};
    s->bus = (struct setting){
        .limits = {.is_unrecoverable = true, .is_volatile = true},
        .max_message = max_message,
        .may_subscribe = true,
    };
    for (size_t i = 0; i < items->n; i++) {
        struct slice filter = slice_str(options[i].match);
        void **at;

        if (filter_error(filter) != NULL) /* topic_options_check() has told */
            return -EINVAL;
        r = setting_compile(s, &s->items[i], &options[i], max_message);
        if (r < 0)
            return r;
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
    s->texts = calloc(items->n + 1, sizeof(s->texts[0]));
    r = s->items == NULL || s->texts == NULL ? -ENOMEM : filtertree_new(&s->tree);
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
    for (size_t i = 0; i < settings->n_texts; i++)
        free(settings->texts[i]);
    free(settings->texts);
    free(settings->items);
    free(settings);
    return NULL;
}

/* The item that stands first in the list is the one with the lowest address. */
static void
settings_on_match(void *value, void *arg)
{
    struct pair **first = arg, *pair = value;

    if (*first == NULL || pair < *first)
        *first = pair;
}

static bool
has_prefix(struct slice topic, const char *prefix)
{
    size_t n = strlen(prefix);

    return topic.n > n && memcmp(topic.p, prefix, n) == 0;
}

static const struct pair *
find_pair(const struct settings *settings, struct slice topic)
{
    struct pair *first = NULL;

    filtertree_match(settings->tree, topic, settings_on_match, &first);
    if (first != NULL)
        return first;
    return has_prefix(topic, DEAD_PREFIX) ? &settings->dead : &settings->usual;
}

/* Of PREFIX TOPIC that of TOPIC, if that is one of the clients'; else NULL. */
static const struct pair *
find_pair_below(const struct settings *settings, struct slice topic, const char *prefix)
{
    const size_t n = strlen(prefix);

    if (!has_prefix(topic, prefix) || topic.p[n] == '$')
        return NULL;
    return find_pair(settings, slice_of(topic.p + n, topic.n - n));
}

const struct setting *
settings_find(const struct settings *settings, struct slice topic)
{
    const struct pair *pair;

    if (topic.n == 0 || topic.p[0] != '$')
        return &find_pair(settings, topic)->own;
    if (topic_is_reserved(topic))
        return &settings->sys;
    if ((pair = find_pair_below(settings, topic, REQUESTS_PREFIX)) != NULL)
        return &pair->requests;
    if ((pair = find_pair_below(settings, topic, PRESENCE_PREFIX)) != NULL)
        return &pair->presence;
    if ((pair = find_pair_below(settings, topic, WHISPER_PREFIX)) != NULL)
        return &pair->whisper;
    if (has_prefix(topic, REPLIES_PREFIX) || has_prefix(topic, "$queues/"))
        return &settings->replies;
    return &settings->bus;
}
