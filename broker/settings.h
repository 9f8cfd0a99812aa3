/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for a topic: the config's ordered list `topics`, compiled. The first item whose filter matches
 * holds; what matches none has the defaults, and below dead/, where dead letters go if nothing else was said,
 * those for dead letters. Names that begin with '$' are the bus's own and follow built-in settings, whatever
 * the list says; the queue of asynchronous requests on a topic, its presence and its whispers take over what
 * is said of that topic.
 */
#ifndef BROKER_SETTINGS_H
#define BROKER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "base/slice.h"

struct conf_errors;
struct conf_items;
struct settings;

/* Of a queue, and of groups on other topics. */
struct queue_setting {
    bool is_queue;   /* keeps what is not done; limits.is_held is the same */
    bool trims_done; /* what all groups have done is removed */
    bool has_ordered_keys;
    uint32_t max_deliveries;
    uint64_t max_messages, max_unsettled;
    uint64_t lease_ms, retry_delay_ms;
    const char *dead_letter; /* with {topic} in it, or empty; belongs to the struct settings */
};

/* Who is there on a topic. */
struct presence_setting {
    uint8_t mode; /* enum presence_mode */
    uint64_t linger_ms, max_members;
};

/* Shared by all topics that it holds for; belongs to its struct settings. */
struct setting {
    struct store_limits limits;
    uint64_t max_message;
    uint64_t policy; /* enum slow_policy */
    uint64_t max_ttl_ms, max_delay_ms;
    bool may_publish, may_subscribe;
    bool may_respond; /* of $requests/TOPIC: may_subscribe of TOPIC */
    bool is_hidden;   /* not in lists of topics */
    bool is_key_once; /* a key alone makes a publish happen once */
    struct queue_setting queue;
    uint64_t request_ttl_ms, reply_ttl_ms;
    struct presence_setting presence;
    const struct setting *requests; /* what holds for the queue of asynchronous requests on the topic */
};

/* max_message: broker.max_message, which holds for all. -EINVAL for a bad filter, -ENOMEM. */
int settings_new(const struct conf_items *items, uint64_t max_message, struct settings **ret);
struct settings *settings_free(struct settings *settings);

/* Its messages are for who is subscribed at that moment: they are not kept, and nobody misses one. */
static inline bool
setting_is_volatile(const struct setting *setting)
{
    return setting->limits.is_unrecoverable && setting->limits.messages == 0 && !setting->limits.is_held;
}

/* Never NULL. topic is a valid name. */
const struct setting *settings_find(const struct settings *settings, struct slice topic);

#endif
