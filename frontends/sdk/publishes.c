/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of unanswered publishes, indexed by number. One piece of the pool each; the window of numbers is
 * what the ring spans. */
#include "config.h"

#include "frontends/sdk/publishes.h"

#include "frontends/sdk/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64u
/* Enough for what a busy publisher has under way. */
#define SPARE_BYTES (256u * 1024)

void
publishes_init(struct publishes *p)
{
    *p = (struct publishes){.first = 1, .next = 1};
    pool_init(&p->pool, SPARE_BYTES);
}

void
publishes_fini(struct publishes *p)
{
    for (uint64_t number = p->first; number < p->next; number++) {
        struct publish *publish = publishes_find(p, number);

        if (publish == NULL)
            continue;
        list_remove(&publish->in_session);
        publish_free(p, publish);
    }
    free(p->slots);
    pool_fini(&p->pool);
    publishes_init(p);
}

bool
publishes_has_room(const struct publishes *p, uint64_t n_max, uint64_t bytes_max, size_t n_bytes)
{
    if (p->n_held == 0)
        return true;
    /* The window counts, not only what is in it: one publish without an answer must not make the ring grow
     * for ever. */
    return p->next - p->first < n_max && p->n_bytes + n_bytes <= bytes_max;
}

bool
publishes_has_ease(const struct publishes *p, uint64_t n_max, uint64_t bytes_max)
{
    return p->n_held == 0 || (p->next - p->first < n_max / 4 * 3 + 1 && p->n_bytes <= bytes_max / 4 * 3);
}

static int
publishes_grow(struct publishes *p)
{
    size_t n_slots = p->n_slots == 0 ? FIRST_SLOTS : p->n_slots * 2;
    struct publish **slots;

    if (p->next - p->first < p->n_slots)
        return 0;
    slots = calloc(n_slots, sizeof *slots);
    if (slots == NULL)
        return -ENOMEM;
    for (uint64_t number = p->first; number < p->next; number++)
        slots[number & (n_slots - 1)] = p->slots[number & (p->n_slots - 1)];
    free(p->slots);
    p->slots = slots;
    p->n_slots = n_slots;
    return 0;
}

static uint8_t *
put(uint8_t *to, struct slice s)
{
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    return to + s.n;
}

int
publishes_add(struct publishes *p, struct session *s, const struct request *r, struct slice frame)
{
    struct publish *publish;
    uint8_t *at;

    if (r->id.n > UINT8_MAX || r->topic.n > UINT16_MAX || frame.n > UINT32_MAX)
        return -EMSGSIZE;
    if (publishes_grow(p) < 0)
        return -ENOMEM;
    publish = pool_get(&p->pool, sizeof *publish + r->id.n + r->topic.n + frame.n);
    if (publish == NULL)
        return -ENOMEM;
    publish->session = s;
    publish->n_frame = (uint32_t)frame.n;
    publish->n_topic = (uint16_t)r->topic.n;
    publish->n_id = (uint8_t)r->id.n;
    list_init(&publish->in_session);
    if (s != NULL)
        list_push_back(&s->publishes, &publish->in_session);
    at = put(publish->bytes, r->id);
    at = put(at, r->topic);
    put(at, frame);
    p->slots[p->next++ & (p->n_slots - 1)] = publish;
    p->n_held++;
    p->n_bytes += publish_size(publish);
    return 0;
}

struct publish *
publishes_find(const struct publishes *p, uint64_t number)
{
    if (number < p->first || number >= p->next)
        return NULL;
    return p->slots[number & (p->n_slots - 1)];
}

struct publish *
publishes_take(struct publishes *p, uint64_t number)
{
    struct publish *publish = publishes_find(p, number);

    if (publish == NULL)
        return NULL;
    p->slots[number & (p->n_slots - 1)] = NULL;
    p->n_held--;
    p->n_bytes -= publish_size(publish);
    while (p->first < p->next && p->slots[p->first & (p->n_slots - 1)] == NULL)
        p->first++;
    if (p->n_held == 0 && p->n_slots > 4096) { /* what a burst needed is not kept for ever */
        free(p->slots);
        p->slots = NULL;
        p->n_slots = 0;
    }
    return publish;
}

void
publish_free(struct publishes *p, struct publish *publish)
{
    pool_put(&p->pool, publish, publish_size(publish));
}
