/* SPDX-License-Identifier: Apache-2.0 */
/* A number is a place in an array and, above it, how many were given before. */
#include "config.h"

#include "frontends/sdk/numbers.h"

#include <stddef.h>
#include <stdlib.h>

#define SLOT_BITS 24
#define SLOTS_MAX (1u << SLOT_BITS)

struct numbers_slot {
    uint64_t number; /* the last that was given for this place */
    void *value;     /* NULL: it is free */
    uint32_t next;   /* of a free one: the next */
};

void
numbers_init(struct numbers *n)
{
    *n = (struct numbers){0};
}

void
numbers_fini(struct numbers *n)
{
    free(n->slots);
    numbers_init(n);
}

static bool
numbers_grow(struct numbers *n)
{
    uint32_t n_slots = n->n_slots == 0 ? 16 : n->n_slots * 2;
    struct numbers_slot *slots;

    if (n_slots > SLOTS_MAX)
        return false;
    slots = realloc(n->slots, n_slots * sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t i = n->n_slots; i < n_slots; i++)
        slots[i] = (struct numbers_slot){.next = i + 1};
    n->slots = slots;
    n->first_free = n->n_slots;
    n->n_slots = n_slots;
    return true;
}

uint64_t
numbers_add(struct numbers *n, void *value)
{
    struct numbers_slot *slot;
    uint32_t at;

    if (n->first_free == n->n_slots && !numbers_grow(n))
        return 0;
    at = n->first_free;
    slot = &n->slots[at];
    n->first_free = slot->next;
    slot->number = ++n->count << SLOT_BITS | at;
    slot->value = value;
    return slot->number;
}

static struct numbers_slot *
numbers_slot_of(const struct numbers *n, uint64_t number)
{
    uint32_t at = number & (SLOTS_MAX - 1);

    return at < n->n_slots && n->slots[at].number == number ? &n->slots[at] : NULL;
}

void *
numbers_find(const struct numbers *n, uint64_t number)
{
    const struct numbers_slot *slot = numbers_slot_of(n, number);

    return slot == NULL ? NULL : slot->value;
}

void
numbers_remove(struct numbers *n, uint64_t number)
{
    struct numbers_slot *slot = numbers_slot_of(n, number);

    if (slot == NULL || slot->value == NULL)
        return;
    slot->value = NULL;
    slot->next = n->first_free;
    n->first_free = (uint32_t)(slot - n->slots);
}

bool
numbers_was_given(const struct numbers *n, uint64_t number)
{
    uint64_t count = number >> SLOT_BITS;

    return count > 0 && count <= n->count && (number & (SLOTS_MAX - 1)) < n->n_slots;
}
