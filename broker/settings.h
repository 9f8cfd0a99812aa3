/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for a topic: the config's ordered list `topics`, compiled. The first item whose filter matches
 * holds; what matches none has the defaults. Names that begin with '$' are the bus's own and follow built-in
 * settings, whatever the list says.
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

/* Shared by all topics that it holds for; belongs to its struct settings. */
struct setting {
    struct store_limits limits;
    uint64_t max_message;
    uint64_t policy; /* enum slow_policy */
    bool may_publish, may_subscribe;
};

/* max_message: broker.max_message, which holds for all. -EINVAL for a bad filter, -ENOMEM. */
int settings_new(const struct conf_items *items, uint64_t max_message, struct settings **ret);
struct settings *settings_free(struct settings *settings);

/* Never NULL. topic is a valid name. */
const struct setting *settings_find(const struct settings *settings, struct slice topic);

#endif
