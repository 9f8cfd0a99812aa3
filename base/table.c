/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash table: linear probing in a power of two of slots, at most three quarters full. A slot keeps the
 * whole hash beside the pointer, so a probe touches the value only when all 64 bits agree, and growing
 * never asks for a key.
 *
 * A table of a million values would take 30 ms to grow at once. So the slots that it had are kept beside the
 * new ones, and each insert and removal moves some of what is in them, always whole runs: a run of slots that
 * are in use is either still all there or gone, so both halves are tables in which a probe ends at a free
 * slot.
 */
#include "config.h"

#include "base/table.h"

#include "base/rand.h"
#include "base/siphash.h"

#include <errno.h>
#include <stdlib.h>

#define TABLE_FIRST_SLOTS 8u
#define TABLE_SHRINK_SLOTS 64u /* smaller tables are not worth shrinking */
#define TABLE_ONCE_SLOTS 4096u /* smaller ones are moved at once: it takes some 20 us */
/* Old slots that an insert or a removal moves. 16 empty those of a table before it can grow or shrink again,
 * whatever comes and goes: to halve the new slots takes a removal for each 16th of the old ones. */
#define TABLE_STEP_SLOTS 16u

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
    free(t->old);
    t->slots = t->old = NULL;
    t->n_slots = t->n_old = 0;
    t->n_used = 0;
}

/* Where the key is, or the free slot where it would go. There is always a free one. */
static size_t
table_probe(
    const struct table *t, const struct table_slot *slots, size_t n_slots, uint64_t hash, struct slice key)
{
    size_t mask = n_slots - 1;
    size_t at = (size_t)hash & mask;

    for (;; at = (at + 1) & mask) {
        const struct table_slot *slot = &slots[at];

        if (slot->value == NULL)
            return at;
        if (slot->hash == hash && slice_equal(t->key_of(slot->value), key))
            return at;
    }
}

/* ---- Growing and shrinking. ---- */

static void
table_put_moved(struct table *t, struct table_slot slot)
{
    size_t mask = t->n_slots - 1;
    size_t at = (size_t)slot.hash & mask;

    while (t->slots[at].value != NULL)
        at = (at + 1) & mask;
    t->slots[at] = slot;
}

/* So many of the old slots, and on to the end of a run. */
static void
table_move(struct table *t, size_t n)
{
    size_t end = t->n_moved + n < t->n_old ? t->n_moved + n : t->n_old;

    while (t->n_moved < t->n_old) {
        struct table_slot *slot = &t->old[(t->first_old + t->n_moved) & (t->n_old - 1)];

        if (slot->value == NULL && t->n_moved >= end)
            return;
        if (slot->value != NULL)
            table_put_moved(t, *slot);
        slot->value = NULL;
        t->n_moved++;
    }
    free(t->old);
    t->old = NULL;
    t->n_old = 0;
}

static int
table_resize(struct table *t, size_t n_slots)
{
    struct table_slot *slots = calloc(n_slots, sizeof *slots);

    if (slots == NULL)
        return -ENOMEM;
    table_move(t, t->n_old); /* TABLE_STEP_SLOTS: there is nothing left */
    t->old = t->slots;
    t->n_old = t->n_slots;
    t->first_old = t->n_moved = 0;
    t->slots = slots;
    t->n_slots = n_slots;
    while (t->first_old < t->n_old && t->old[t->first_old].value != NULL)
        t->first_old++;
    if (t->n_old < TABLE_ONCE_SLOTS)
        table_move(t, t->n_old);
    return 0;
}

/* ---- Values. ---- */

uint64_t
table_hash(struct table *t, struct slice key)
{
    if (!t->has_key) { /* only now: many tables stay empty, and each key costs a system call */
        rand_bytes(t->hash_key, sizeof t->hash_key);
        t->has_key = true;
    }
    return siphash13(t->hash_key, key.p, key.n);
}

void
table_prefetch(const struct table *t, uint64_t hash)
{
    if (t->n_slots > 0)
        __builtin_prefetch(&t->slots[(size_t)hash & (t->n_slots - 1)]);
}

void *
table_find_hashed(const struct table *t, uint64_t hash, struct slice key)
{
    void *value;

    if (t->n_used == 0)
        return NULL;
    value = t->slots[table_probe(t, t->slots, t->n_slots, hash, key)].value;
    if (value == NULL && t->old != NULL)
        value = t->old[table_probe(t, t->old, t->n_old, hash, key)].value;
    return value;
}

void *
table_find(const struct table *t, struct slice key)
{
    return t->n_used == 0 ? NULL : table_find_hashed(t, siphash13(t->hash_key, key.p, key.n), key);
}

int
table_insert_hashed(struct table *t, uint64_t hash, void *value)
{
    struct slice key = t->key_of(value);
    size_t at;
    int r;

    if (t->n_slots == 0) {
        r = table_resize(t, TABLE_FIRST_SLOTS);
        if (r < 0)
            return r;
    }
    if (t->old != NULL) {
        if (t->old[table_probe(t, t->old, t->n_old, hash, key)].value != NULL)
            return -EEXIST;
        table_move(t, TABLE_STEP_SLOTS);
    }
    at = table_probe(t, t->slots, t->n_slots, hash, key);
    if (t->slots[at].value != NULL)
        return -EEXIST;
    if (t->n_used + 1 > t->n_slots / 4 * 3) {
        if (t->n_slots > SIZE_MAX / 2 / sizeof *t->slots)
            return -ENOMEM;
        r = table_resize(t, t->n_slots * 2);
        if (r < 0)
            return r;
        at = table_probe(t, t->slots, t->n_slots, hash, key);
    }
    t->slots[at] = (struct table_slot){.hash = hash, .value = value};
    t->n_used++;
    return 0;
}

int
table_insert(struct table *t, void *value)
{
    return table_insert_hashed(t, table_hash(t, t->key_of(value)), value);
}

/* Frees a slot by moving back each later one of the same run that may stand there: a value may not stand
 * before the slot that its hash names. */
static void
table_shift_back(struct table_slot *slots, size_t n_slots, size_t hole)
{
    size_t mask = n_slots - 1;

    for (size_t at = (hole + 1) & mask; slots[at].value != NULL; at = (at + 1) & mask) {
        size_t home = (size_t)slots[at].hash & mask;

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        slots[hole] = slots[at];
        hole = at;
    }
    slots[hole] = (struct table_slot){.value = NULL};
}

void *
table_remove_hashed(struct table *t, uint64_t hash, struct slice key)
{
    struct table_slot *slots = t->slots;
    size_t n_slots = t->n_slots, at;
    void *value;

    if (t->n_used == 0)
        return NULL;
    if (t->old != NULL)
        table_move(t, TABLE_STEP_SLOTS);
    at = table_probe(t, slots, n_slots, hash, key);
    if (slots[at].value == NULL && t->old != NULL) {
        slots = t->old;
        n_slots = t->n_old;
        at = table_probe(t, slots, n_slots, hash, key);
    }
    value = slots[at].value;
    if (value == NULL)
        return NULL;
    table_shift_back(slots, n_slots, at);
    t->n_used--;
    if (t->n_slots > TABLE_SHRINK_SLOTS && t->n_used < t->n_slots / 8)
        (void)table_resize(t, t->n_slots / 2); /* without memory it merely stays large */
    return value;
}

void *
table_remove(struct table *t, struct slice key)
{
    return t->n_used == 0 ? NULL : table_remove_hashed(t, siphash13(t->hash_key, key.p, key.n), key);
}

void *
table_next(const struct table *t, size_t *pos)
{
    while (*pos < t->n_slots + t->n_old) {
        size_t at = (*pos)++;
        void *value = at < t->n_slots ? t->slots[at].value : t->old[at - t->n_slots].value;

        if (value != NULL)
            return value;
    }
    return NULL;
}
