/* SPDX-License-Identifier: Apache-2.0 */
/* The table of topics, their handles, their cached links, and their end. */
#include "config.h"

#include "broker/topic.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/loop.h"
#include "broker/broker.h"
#include "broker/linkset.h"
#include "broker/outbox.h"
#include "broker/queue.h"
#include "broker/settings.h"
#include "wire/names.h"

/* Where a reply was there is nothing to come back to. */
#define REPLY_IDLE_S 1u

static struct slice
topic_key_of(const void *value)
{
    return topic_name(value);
}

void
topics_init(struct topics *topics)
{
    *topics = (struct topics){.next_serial = 1};
    table_init(&topics->by_name, topic_key_of);
}

static bool
links_are_many(const struct broker *broker)
{
    return broker->interest.n_words > 1;
}

static void
topic_free(struct broker *broker, struct topic *topic)
{
    if (links_are_many(broker))
        free(topic->links.many);
    queue_on_topic_gone(topic);
    free(topic);
}

void
topics_fini(struct broker *broker)
{
    struct topics *t = &broker->topics;

    for (uint32_t i = 0; i < t->n_handles; i++)
        if (t->by_handle[i] != NULL)
            topic_free(broker, t->by_handle[i]);
    free(t->by_handle);
    free(t->free_handles);
    free(t->retained);
    table_fini(&t->by_name);
    *t = (struct topics){0};
}

struct topic *
topic_find(const struct broker *broker, struct slice name)
{
    return table_find(&broker->topics.by_name, name);
}

uint64_t
topic_hash(struct broker *broker, struct slice name)
{
    return table_hash(&broker->topics.by_name, name);
}

void
topic_prefetch(const struct broker *broker, uint64_t hash)
{
    table_prefetch(&broker->topics.by_name, hash);
}

struct topic *
topic_find_hashed(const struct broker *broker, uint64_t hash, struct slice name)
{
    return table_find_hashed(&broker->topics.by_name, hash, name);
}

/* ---- Handles. ---- */

static int
vector_reserve(void **items, uint32_t *room, uint32_t n, size_t item_size)
{
    uint32_t wanted = *room == 0 ? 64 : *room * 2;
    void *grown;

    if (n < *room)
        return 0;
    grown = realloc(*items, wanted * item_size);
    if (grown == NULL)
        return -ENOMEM;
    *items = grown;
    *room = wanted;
    return 0;
}

static bool
is_reply(const struct topic *topic)
{
    const size_t n = strlen(REPLIES_PREFIX);

    return topic->n_name > n && memcmp(topic->name, REPLIES_PREFIX, n) == 0;
}

static int
handle_take(struct topics *t, struct topic *topic)
{
    if (t->n_free_handles > 0) {
        topic->handle = t->free_handles[--t->n_free_handles];
    } else {
        /* Room for it on the free list too: giving it back cannot fail. */
        if (vector_reserve((void **)&t->by_handle, &t->handles_room, t->n_handles, sizeof(t->by_handle[0])) <
                0 ||
            vector_reserve(
                (void **)&t->free_handles, &t->free_room, t->n_handles, sizeof(t->free_handles[0])) < 0)
            return -ENOMEM;
        topic->handle = t->n_handles++;
    }
    t->by_handle[topic->handle] = topic;
    t->n_replies += is_reply(topic);
    return 0;
}

static void
handle_give_back(struct topics *t, struct topic *topic)
{
    t->n_replies -= is_reply(topic);
    t->by_handle[topic->handle] = NULL;
    t->free_handles[t->n_free_handles++] = topic->handle;
}

/* ---- Birth. ---- */

/* With a name and a handle; no store yet. */
static int
topic_add(struct broker *broker, struct slice name, struct topic **ret)
{
    struct topics *t = &broker->topics;
    struct topic *topic = malloc(sizeof(*topic) + name.n);
    int r;

    if (topic == NULL)
        return -ENOMEM;
    *topic = (struct topic){
        .setting = settings_find(broker->settings, name),
        .serial = t->next_serial++,
        .used_s = (uint32_t)(loop_now_ms(broker->loop) / 1000),
        .retained_at = TOPIC_NO_RETAINED,
        .n_name = (uint16_t)name.n,
    };
    memcpy(topic->name, name.p, name.n);
    r = handle_take(t, topic);
    if (r < 0)
        goto fail;
    r = table_insert(&t->by_name, topic);
    if (r < 0)
        goto fail_handle;
    *ret = topic;
    return 0;
fail_handle:
    handle_give_back(t, topic);
fail:
    topic_free(broker, topic);
    return r;
}

static int
topic_new(struct broker *broker, struct slice name, struct topic **ret)
{
    struct topic *topic;
    int r = topic_add(broker, name, &topic);

    if (r < 0)
        return r;
    r = broker->store_ops->topic_open(broker->store, name, topic, &topic->setting->limits, &topic->store);
    if (r == 0) {
        r = queue_on_setting(broker, topic, true);
        if (r < 0)
            broker->store_ops->topic_drop(broker->store, topic->store);
    }
    if (r < 0) {
        (void)table_remove(&broker->topics.by_name, name);
        handle_give_back(&broker->topics, topic);
        topic_free(broker, topic);
        return r;
    }
    *ret = topic;
    return 0;
}

int
topic_restore(struct broker *broker, struct slice name, struct store_topic *store, struct topic **ret)
{
    int r = topic_add(broker, name, ret);

    if (r < 0)
        return r;
    (*ret)->store = store;
    topic_note_retained(broker, *ret);
    return queue_on_setting(broker, *ret, false);
}

int
topic_get(struct broker *broker, struct slice name, struct topic **ret)
{
    struct topic *topic = topic_find(broker, name);

    if (topic != NULL) {
        *ret = topic;
        return 0;
    }
    if (broker->topics.by_name.n_used >= broker->options.topics_max)
        return -ENOSPC;
    return topic_new(broker, name, ret);
}

/* ---- Who wants it. ---- */

const uint64_t *
topic_links(struct broker *broker, struct topic *topic)
{
    struct interest *in = &broker->interest;
    uint64_t *links;

    if (links_are_many(broker) && topic->links.many == NULL) {
        topic->links.many = malloc(in->n_words * sizeof(topic->links.many[0]));
        if (topic->links.many == NULL) {
            log_error("memory ran out: %.*s is not delivered", SLICE_ARG(topic_name(topic)));
            return NULL;
        }
        topic->links_generation = 0;
    }
    links = links_are_many(broker) ? topic->links.many : &topic->links.one;
    if (topic->links_generation != in->generation) {
        interest_collect(in, topic_name(topic), links);
        topic->links_generation = in->generation;
    }
    if (!topic->setting->may_subscribe || linkset_is_empty(links, in->n_words))
        return NULL;
    return links;
}

void
topic_forget_links(struct broker *broker, struct slice name)
{
    struct topic *topic = topic_find(broker, name);

    if (topic != NULL)
        topic->links_generation = 0;
}

/* ---- Retained values. ---- */

static bool
topic_is_hidden(const struct topic *topic)
{
    return topic->name[0] == '$';
}

static int
retained_add(struct topics *t, struct topic *topic)
{
    int r = vector_reserve((void **)&t->retained, &t->retained_room, t->n_retained, sizeof(t->retained[0]));

    if (r < 0)
        return r;
    topic->retained_at = t->n_retained;
    t->retained[t->n_retained++] = topic;
    t->n_retained_sys += topic_is_hidden(topic);
    return 0;
}

static void
retained_remove(struct topics *t, struct topic *topic)
{
    struct topic *last = t->retained[--t->n_retained];

    t->retained[topic->retained_at] = last;
    last->retained_at = topic->retained_at;
    topic->retained_at = TOPIC_NO_RETAINED;
    t->n_retained_sys -= topic_is_hidden(topic);
}

void
topic_note_retained(struct broker *broker, struct topic *topic)
{
    struct record *record = broker->store_ops->retained(broker->store, topic->store);
    bool has_one = record != NULL;

    record_unref(record);
    if (has_one && topic->retained_at == TOPIC_NO_RETAINED) {
        if (retained_add(&broker->topics, topic) < 0)
            log_error("memory ran out: the retained value of %.*s is not found by wildcards",
                SLICE_ARG(topic_name(topic)));
    } else if (!has_one && topic->retained_at != TOPIC_NO_RETAINED) {
        retained_remove(&broker->topics, topic);
    }
}

/* ---- Reload and end. ---- */

void
topics_apply_settings(struct broker *broker)
{
    struct topics *t = &broker->topics;

    for (uint32_t i = 0; i < t->n_handles; i++) {
        struct topic *topic = t->by_handle[i];

        if (topic == NULL)
            continue;
        topic->setting = settings_find(broker->settings, topic_name(topic));
        broker->store_ops->topic_limit(broker->store, topic->store, &topic->setting->limits);
        topic_note_retained(broker, topic);
        topic->links_generation = 0;
        if (queue_on_setting(broker, topic, true) < 0)
            log_error("memory ran out: %.*s is no queue", SLICE_ARG(topic_name(topic)));
    }
}

static void
topic_forget(struct broker *broker, struct topic *topic)
{
    struct topics *t = &broker->topics;

    assert(topic->n_pins == 0);
    queue_on_topic_gone(topic);
    outbox_forget_topic(broker, topic);
    broker->store_ops->topic_drop(broker->store, topic->store);
    topic->store = NULL;
    if (topic->retained_at != TOPIC_NO_RETAINED)
        retained_remove(t, topic);
    (void)table_remove(&t->by_name, topic_name(topic));
    handle_give_back(t, topic);
    topic_free(broker, topic);
    t->n_forgotten++;
}

/* Keys are remembered along with the topic: it has to outlive them. */
static uint32_t
idle_limit_s(const struct broker *broker)
{
    uint64_t idle_ms = broker->options.topic_idle_ms, keys_ms = broker->options.dedupe_window_ms;

    return (uint32_t)((idle_ms > keys_ms ? idle_ms : keys_ms) / 1000);
}

void
topics_expire(struct broker *broker, unsigned budget)
{
    struct topics *t = &broker->topics;
    uint32_t now_s = (uint32_t)(loop_now_ms(broker->loop) / 1000), limit_s = idle_limit_s(broker);

    if (broker->n_reads > 0)
        return;
    if (budget > t->n_handles)
        budget = t->n_handles;
    while (budget-- > 0) {
        struct topic *topic;

        if (t->expire_at >= t->n_handles)
            t->expire_at = 0;
        topic = t->by_handle[t->expire_at++];
        if (topic == NULL || topic->n_pins > 0 ||
            now_s - topic->used_s <= (is_reply(topic) ? REPLY_IDLE_S : limit_s))
            continue;
        if (topic->retained_at != TOPIC_NO_RETAINED)
            topic_note_retained(broker, topic); /* it may have expired */
        if (broker->store_ops->topic_is_idle(broker->store, topic->store))
            topic_forget(broker, topic);
    }
}
