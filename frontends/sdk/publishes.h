/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishes that the broker has not answered, by their numbers: 1, 2, 3 ... without gaps for the life of the
 * process. Each keeps the frame that says it, to be sent again on another link, and whom to tell. Answers may
 * come in any order.
 */
#ifndef SDK_PUBLISHES_H
#define SDK_PUBLISHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "base/slice.h"
#include "frontends/sdk/request.h"

struct session;

struct publish {
    struct session *session; /* NULL: nobody waits for the answer any more */
    struct list in_session;
    uint32_t n_frame;
    uint16_t n_topic;
    uint8_t n_id;
    uint8_t bytes[]; /* id, topic, frame */
};

struct publishes {
    struct publish **slots; /* by number & (n_slots - 1); NULL: answered */
    size_t n_slots;         /* 0 or a power of two */
    uint64_t first;         /* the lowest number that may be held; slots outside first .. next-1 are NULL */
    uint64_t next;          /* the number of the next publish */
    size_t n_held, n_bytes;
    struct pool pool; /* of struct publish */
};

void publishes_init(struct publishes *p);
void publishes_fini(struct publishes *p);

/* Room for one more, if at most n_max and bytes_max may be held. One is always taken when nothing is held. */
bool publishes_has_room(const struct publishes *p, uint64_t n_max, uint64_t bytes_max, size_t n_bytes);
/* Below three quarters of both limits. */
bool publishes_has_ease(const struct publishes *p, uint64_t n_max, uint64_t bytes_max);

/* Copies the id and the topic of a PUB and its PUBLISH, which has the number p->next and any handle; the next
 * one's number is one more. It is in the list of the session, which may be NULL. 0, -ENOMEM, or -EMSGSIZE (a
 * part is too large for its field). */
int publishes_add(struct publishes *p, struct session *s, const struct request *r, struct slice frame);

/* NULL if it is not held. */
struct publish *publishes_find(const struct publishes *p, uint64_t number);
/* Takes it out; the caller frees it by publish_free(). NULL if it is not held. */
struct publish *publishes_take(struct publishes *p, uint64_t number);
void publish_free(struct publishes *p, struct publish *publish);

static inline size_t
publish_size(const struct publish *publish)
{
    return sizeof *publish + publish->n_id + publish->n_topic + publish->n_frame;
}

static inline struct slice
publish_id(const struct publish *publish)
{
    return slice_of(publish->bytes, publish->n_id);
}

static inline struct slice
publish_topic(const struct publish *publish)
{
    return slice_of(publish->bytes + publish->n_id, publish->n_topic);
}

static inline struct slice
publish_frame(const struct publish *publish)
{
    return slice_of(publish->bytes + publish->n_id + publish->n_topic, publish->n_frame);
}

#endif
