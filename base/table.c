/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash table: linear probing in a power of two of slots, at most three quarters full. A slot keeps the
 * whole hash beside the pointer, so a probe touches the value only when all 64 bits agree, and growing
 * never asks for a key.
 */
#include "config.h"

#include "base/table.h"

#include "base/rand.h"
#include "base/siphash.h"

#include <errno.h>
#include <stdlib.h>

#define TABLE_FIRST_SLOTS 8u
#define TABLE_SHRINK_SLOTS 64u /* smaller tables are not worth shrinking */

struct table_slot {
    uint64_t hash;
    void *value; /* NULL: the slot is free */
};

void
table_init(struct table *t, table_key_fn key_of)
{
    *t = (struct table){.key_of = key_of};
}

void
table_fini(struct table *t)
{
    free(t->slots);
    t->slots = NULL;
    t->n_slots = 0;
    t->n_used = 0;
}

/* Where the key is, or the free slot where it would go. There is always a free one. */
static size_t
table_probe(const struct table *t, uint64_t hash, struct slice key)
{
    size_t mask = t->n_slots - 1;
    size_t at = (size_t)hash & mask;

    for (;; at = (at + 1) & mask) {
        const struct table_slot *slot = &t->slots[at];

        if (slot->value == NULL)
            return at;
        if (slot->hash == hash && slice_equal(t->key_of(slot->value), key))
            return at;
    }
}

static int
table_resize(struct table *t, size_t n_slots)
{
    struct table_slot *slots = calloc(n_slots, sizeof *slots);
    size_t mask = n_slots - 1;

    if (slots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_slots; i++) {
        size_t at = (size_t)t->slots[i].hash & mask;

        if (t->slots[i].value == NULL)
            continue;
        while (slots[at].value != NULL)
            at = (at + 1) & mask;
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->n_slots = n_slots;
    return 0;
}

void *
table_find(const struct table *t, struct slice key)
{
    if (t->n_used == 0)
        return NULL;
    return t->slots[table_probe(t, siphash13(t->hash_key, key.p, key.n), key)].value;
}

int
table_insert(struct table *t, void *value)
{
    struct slice key = t->key_of(value);
    uint64_t hash;
    size_t at;
    int r;

    if (t->n_slots == 0) {
        /* Only now: many tables stay empty, and each key costs a system call. */
        rand_bytes(t->hash_key, sizeof t->hash_key);
        r = table_resize(t, TABLE_FIRST_SLOTS);
        if (r < 0)
            return r;
    }
    hash = siphash13(t->hash_key, key.p, key.n);
    at = table_probe(t, hash, key);
    if (t->slots[at].value != NULL)
        return -EEXIST;
    if (t->n_used + 1 > t->n_slots / 4 * 3) {
        if (t->n_slots > SIZE_MAX / 2 / sizeof *t->slots)
            return -ENOMEM;
        r = table_resize(t, t->n_slots * 2);
        if (r < 0)
            return r;
        at = table_probe(t, hash, key);
    }
    t->slots[at] = (struct table_slot){.hash = hash, .value = value};
    t->n_used++;
    return 0;
}

/* Frees a slot by moving back each later one of the same run that may stand there: a value may not stand
 * before the slot that its hash names. */
static void
table_shift_back(struct table *t, size_t hole)
{
    size_t mask = t->n_slots - 1;

    for (size_t at = (hole + 1) & mask; t->slots[at].value != NULL; at = (at + 1) & mask) {
        size_t home = (size_t)t->slots[at].hash & mask;

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        t->slots[hole] = t->slots[at];
        hole = at;
    }
    t->slots[hole] = (struct table_slot){.value = NULL};
}

void *
table_remove(struct table *t, struct slice key)
{
    void *value;
    size_t at;

    if (t->n_used == 0)
        return NULL;
    at = table_probe(t, siphash13(t->hash_key, key.p, key.n), key);
    value = t->slots[at].value;
    if (value == NULL)
        return NULL;
    table_shift_back(t, at);
    t->n_used--;
    if (t->n_slots > TABLE_SHRINK_SLOTS && t->n_used < t->n_slots / 8)
        (void)table_resize(t, t->n_slots / 2); /* without memory it merely stays large */
    return value;
}

void *
table_next(const struct table *t, size_t *pos)
{
    while (*pos < t->n_slots) {
        void *value = t->slots[(*pos)++].value;

        if (value != NULL)
            return value;
    }
    return NULL;
}
