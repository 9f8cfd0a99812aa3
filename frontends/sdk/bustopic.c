/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's numbers for topics on this link, and for each topic the filters that match it, found once. */
#include "config.h"

#include "frontends/sdk/hubpriv.h"

#include "base/log.h"
#include "base/siphash.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Matches. ---- */

static void
bus_topic_drop_matches(struct bus_topic *t)
{
    if (t->n_matches > 1)
        free(t->matches.many);
    t->n_matches = 0;
}

static void
bus_topic_free(struct bus_topic *t)
{
    if (t == NULL)
        return;
    bus_topic_drop_matches(t);
    free(t);
}

struct match_walk {
    struct bus_topic *t;
    int error;
};

/* One stands in its place; from two on there is room for a power of two. */
static void
bus_topic_add_match(void *value, void *arg)
{
    struct match_walk *walk = arg;
    struct bus_topic *t = walk->t;
    struct filter *f = value, **many = t->n_matches > 1 ? t->matches.many : NULL;

    if (t->n_matches == 0) {
        t->matches.one = f;
        t->n_matches = 1;
        return;
    }
    if ((t->n_matches & (t->n_matches - 1)) == 0) {
        struct filter **grown = realloc(many, 2 * (size_t)t->n_matches * sizeof many[0]);

        if (grown == NULL) {
            walk->error = -ENOMEM;
            return;
        }
        many = grown;
        if (t->n_matches == 1)
            many[0] = t->matches.one;
        t->matches.many = many;
    }
    many[t->n_matches++] = f;
}

void
bus_topic_forget_matches(struct hub *hub)
{
    if (++hub->generation != 0)
        return;
    hub->generation = 1; /* round: an old one would look like a new one */
    for (size_t i = 0; i < hub->n_topic_slots; i++)
        if (hub->topics[i] != NULL)
            hub->topics[i]->generation = 0;
}

int
bus_topic_match_anew(struct hub *hub, struct bus_topic *t)
{
    struct match_walk walk = {.t = t};

    bus_topic_drop_matches(t);
    filtertree_match(hub->tree, bus_topic_name(t), bus_topic_add_match, &walk);
    if (walk.error == 0)
        t->generation = hub->generation;
    return walk.error;
}

/* ---- Frames. ---- */

static int
bus_topic_reserve(struct hub *hub, uint64_t handle)
{
    size_t n = hub->n_topic_slots == 0 ? 64 : hub->n_topic_slots;
    struct bus_topic **topics;

    if (handle < hub->n_topic_slots)
        return 0;
    while (n <= handle)
        n *= 2;
    topics = realloc(hub->topics, n * sizeof(struct bus_topic *));
    if (topics == NULL)
        return -ENOMEM;
    for (size_t i = hub->n_topic_slots; i < n; i++)
        topics[i] = NULL;
    hub->topics = topics;
    hub->n_topic_slots = n;
    return 0;
}

/* A policy of a newer broker that is not known here costs the client its connection, but no message silently.
 */
static uint8_t
bus_topic_policy(uint64_t policy)
{
    return policy <= SLOW_CATCH_UP ? (uint8_t)policy : SLOW_DISCONNECT;
}

struct slice
hub_topic_name(const struct hub *hub, uint32_t handle, uint32_t tag)
{
    const struct bus_topic *t = handle < hub->n_topic_slots ? hub->topics[handle] : NULL;

    return t != NULL && t->tag == tag ? bus_topic_name(t) : slice_of(NULL, 0);
}

uint64_t
hub_value_of_key(const struct hub *hub, uint32_t group, uint32_t tag, struct slice key)
{
    uint64_t parts[3] = {group, tag};

    if (key.n > 0)
        parts[2] = siphash13(hub->value_key, key.p, key.n) | 1;
    return siphash13(hub->value_key, parts, sizeof parts) | 1;
}

int
bus_topic_on_topic(struct hub *hub, const struct frame *frame)
{
    const struct frame_topic *f = &frame->topic;
    struct bus_topic *t;

    if (f->handle > HANDLES_MAX) {
        log_error(
            "the broker gave a topic the number %llu, which is too high", (unsigned long long)f->handle);
        return -EPROTO;
    }
    if (f->topic.n > UINT16_MAX) {
        log_error("the broker named a topic with %zu bytes, which are too many", f->topic.n);
        return -EPROTO;
    }
    t = malloc(sizeof *t + f->topic.n);
    if (t == NULL || bus_topic_reserve(hub, f->handle) < 0) {
        free(t);
        log_error("no memory for a topic");
        return -ENOMEM;
    }
    *t = (struct bus_topic){
        .tag = ++hub->last_tag, .policy = bus_topic_policy(f->policy), .n_name = (uint16_t)f->topic.n};
    memcpy(t->name, f->topic.p, f->topic.n);
    if (hub->topics[f->handle] != NULL) {
        const struct bus_topic *old = hub->topics[f->handle];

        /* The same topic again has another policy now. */
        if (slice_equal(bus_topic_name(old), f->topic)) {
            t->last_seq = old->last_seq;
            t->tag = old->tag;
        } else if (old->last_seq > hub->base)
            hub->base = old->last_seq;
        bus_topic_free(hub->topics[f->handle]);
    }
    hub->topics[f->handle] = t;
    return 0;
}

int
bus_topic_on_forget(struct hub *hub, const struct frame *frame)
{
    uint64_t handle = frame->forget.handle;
    struct bus_topic *t = bus_topic_find(hub, handle);

    if (t == NULL) {
        log_error("the broker forgets topic %llu, which it never named", (unsigned long long)handle);
        return -EPROTO;
    }
    /* If it is named again, what was seen of it is not known any more. */
    if (t->last_seq > hub->base)
        hub->base = t->last_seq;
    hub->topics[handle] = NULL;
    bus_topic_free(t);
    return 0;
}

void
bus_topic_note_gap(struct hub *hub, struct slice name, uint64_t seq)
{
    for (size_t i = 0; i < hub->n_topic_slots; i++) {
        struct bus_topic *t = hub->topics[i];

        if (t != NULL && seq > t->last_seq && (name.n == 0 || slice_equal(bus_topic_name(t), name)))
            t->last_seq = seq;
    }
}

void
bus_topic_forget_all(struct hub *hub)
{
    for (size_t i = 0; i < hub->n_topic_slots; i++)
        bus_topic_free(hub->topics[i]);
    free(hub->topics);
    hub->topics = NULL;
    hub->n_topic_slots = 0;
}
