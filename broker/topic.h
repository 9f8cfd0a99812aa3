/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topics that there are: by name, and by the number that stands for them on all links (the handle of
 * TOPIC and MESSAGE). A topic comes into being by its first publish. It is forgotten when it keeps nothing,
 * has no retained value and was not published to for a while; links that know its handle are told.
 *
 * There may be a million of them, so a topic is small: what is the same for many (settings, limits) is
 * shared.
 */
#ifndef BROKER_TOPIC_H
#define BROKER_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/table.h"

struct broker;
struct queue_topic;
struct setting;
struct store_topic;

#define TOPIC_NO_RETAINED UINT32_MAX

struct topic {
    const struct setting *setting;
    struct store_topic *store;
    struct queue_topic *queue; /* NULL: it has no queues, and is none */
    union {
        uint64_t one;   /* if a linkset is one word, as it is with up to 64 links */
        uint64_t *many; /* else; NULL until somebody asked */
    } links;
    uint64_t serial;           /* never used again, unlike the handle */
    uint32_t links_generation; /* of struct interest when `links` was collected; 0: void */
    uint32_t handle;
    uint32_t n_pins;      /* somebody holds a pointer to it: it may not be forgotten */
    uint32_t used_s;      /* the last publish, in seconds of the loop's clock */
    uint32_t retained_at; /* its place among those with a retained value, or TOPIC_NO_RETAINED */
    uint16_t n_name;
    char name[];
};

struct topics {
    struct table by_name;
    struct topic **by_handle; /* NULL: a free handle */
    uint32_t n_handles, handles_room;
    uint32_t *free_handles;
    uint32_t n_free_handles, free_room;
    struct topic **retained; /* those that have a retained value, in no order */
    uint32_t n_retained, retained_room;
    uint32_t n_retained_sys; /* of them: those that only wildcards below $sys can match */
    uint32_t expire_at;      /* handle where topics_expire() goes on */
    uint64_t next_serial;
    uint64_t n_forgotten;
    uint64_t n_replies; /* topics below $replies/ */
};

static inline struct slice
topic_name(const struct topic *topic)
{
    return slice_of(topic->name, topic->n_name);
}

void topics_init(struct topics *topics);
void topics_fini(struct broker *broker); /* the store goes with its topics */

struct topic *topic_find(const struct broker *broker, struct slice name);
/* The hash of a name that is looked for soon; what the look-up needs first is fetched meanwhile. */
uint64_t topic_hash(struct broker *broker, struct slice name);
void topic_prefetch(const struct broker *broker, uint64_t hash);
struct topic *topic_find_hashed(const struct broker *broker, uint64_t hash, struct slice name);
/* Finds or makes it; name is valid. -ENOSPC: broker.topics_max; -ENOMEM or what the store says. */
int topic_get(struct broker *broker, struct slice name, struct topic **ret);

/* One that the store has from before. Its limit is the store's, not broker.topics_max. */
int topic_restore(struct broker *broker, struct slice name, struct store_topic *store, struct topic **ret);

/* Who wants it, as a linkset; from the cache while that is good. NULL: nobody, or memory ran out (which is
 * logged). */
const uint64_t *topic_links(struct broker *broker, struct topic *topic);
/* An exact filter for this name came or went. */
void topic_forget_links(struct broker *broker, struct slice name);

/* After an append: is there a retained value now? */
void topic_note_retained(struct broker *broker, struct topic *topic);

/* Settings were loaded anew: finds each topic's and tells the store. */
void topics_apply_settings(struct broker *broker);

/* Looks at so many topics and forgets the idle ones. */
void topics_expire(struct broker *broker, unsigned budget);

#endif
