/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of unanswered publishes, indexed by number. One allocation each; the window of numbers is what the
 * ring spans. */
#include "config.h"

#include "frontends/sdk/publishes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64u

void
publishes_init(struct publishes *p)
{
    *p = (struct publishes){.first = 1, .next = 1};
}

void
publishes_fini(struct publishes *p)
{
    for (uint64_t number = p->first; number < p->next; number++) {
        struct publish *publish = publishes_find(p, number);

        if (publish != NULL && publish->session != NULL)
            list_remove(&publish->in_session);
        free(publish);
    }
    free(p->slots);
    publishes_init(p);
    p->slots = NULL;
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
publishes_add(struct publishes *p, struct session *s, const struct request *r, struct publish **ret)
{
    struct publish *publish;
    uint8_t *at;

    if (r->id.n > UINT8_MAX || r->topic.n > UINT16_MAX || r->type.n > UINT16_MAX || r->key.n > UINT16_MAX ||
        r->once.n > UINT16_MAX || r->headers.n > UINT32_MAX || r->body.n > UINT32_MAX)
        return -EMSGSIZE;
    if (publishes_grow(p) < 0)
        return -ENOMEM;
    publish = malloc(
        sizeof *publish + r->id.n + r->topic.n + r->type.n + r->key.n + r->once.n + r->headers.n + r->body.n);
    if (publish == NULL)
        return -ENOMEM;
    *publish = (struct publish){.number = p->next++,
        .session = s,
        .ttl_ms = r->ttl_ms,
        .delay_ms = r->delay_ms,
        .n_body = (uint32_t)r->body.n,
        .n_headers = (uint32_t)r->headers.n,
        .n_topic = (uint16_t)r->topic.n,
        .n_type = (uint16_t)r->type.n,
        .n_key = (uint16_t)r->key.n,
        .n_once = (uint16_t)r->once.n,
        .n_id = (uint8_t)r->id.n,
        .kind = (uint8_t)r->kind,
        .is_retain = r->is_retain};
    list_init(&publish->in_session);
    at = put(publish->bytes, r->id);
    at = put(at, r->topic);
    at = put(at, r->type);
    at = put(at, r->key);
    at = put(at, r->once);
    at = put(at, r->headers);
    put(at, r->body);
    p->slots[publish->number & (p->n_slots - 1)] = publish;
    p->n_held++;
    p->n_bytes += publish_size(publish);
    *ret = publish;
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
publish_free(struct publish *publish)
{
    free(publish);
}

size_t
publish_size(const struct publish *publish)
{
    return sizeof *publish + publish->n_id + publish->n_topic + publish->n_type + publish->n_key +
           publish->n_once + publish->n_headers + publish->n_body;
}

/* ---- The parts, in the order in which they stand. ---- */

struct slice
publish_id(const struct publish *publish)
{
    return slice_of(publish->bytes, publish->n_id);
}

struct slice
publish_topic(const struct publish *publish)
{
    return slice_of(publish->bytes + publish->n_id, publish->n_topic);
}

struct slice
publish_type(const struct publish *publish)
{
    struct slice before = publish_topic(publish);

    return slice_of(before.p + before.n, publish->n_type);
}

struct slice
publish_key(const struct publish *publish)
{
    struct slice before = publish_type(publish);

    return slice_of(before.p + before.n, publish->n_key);
}

struct slice
publish_once(const struct publish *publish)
{
    struct slice before = publish_key(publish);

    return slice_of(before.p + before.n, publish->n_once);
}

struct slice
publish_headers(const struct publish *publish)
{
    struct slice before = publish_once(publish);

    return slice_of(before.p + before.n, publish->n_headers);
}

struct slice
publish_body(const struct publish *publish)
{
    struct slice before = publish_headers(publish);

    return slice_of(before.p + before.n, publish->n_body);
}
