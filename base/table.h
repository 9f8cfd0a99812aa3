/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table from byte strings to pointers. Keys come from strangers, so the hash is SipHash-1-3 with a
 * random key of its own per table. The key lives in the value: the table holds 16 bytes per slot, open
 * addressing, no tombstones (backward shift on removal). A large table grows and shrinks step by step, with
 * what is inserted and removed: no single call takes long, however many values there are.
 */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* The key inside a value; it must not change while the value is in a table. */
typedef struct slice (*table_key_fn)(const void *value);

struct table {
    struct table_slot *slots;
    size_t n_slots; /* 0 or a power of two */
    size_t n_used;
    /* What has not moved to `slots` yet, while it grows or shrinks: n_old slots, of which n_moved, from
     * first_old on, are empty. NULL: nothing. */
    struct table_slot *old;
    size_t n_old, first_old, n_moved;
    table_key_fn key_of;
    uint8_t hash_key[16];
    bool has_key;
};

void table_init(struct table *t, table_key_fn key_of);
void table_fini(struct table *t); /* the values are the caller's */

void *table_find(const struct table *t, struct slice key);

/* 0, -EEXIST (nothing changed), or -ENOMEM. */
int table_insert(struct table *t, void *value);

/* Gives the value that was removed, or NULL. */
void *table_remove(struct table *t, struct slice key);

/* The same in two steps, where a key is looked for more than once, or some time after it is known. A hash
 * holds for this table, as long as it lives. */
uint64_t table_hash(struct table *t, struct slice key);
void table_prefetch(const struct table *t, uint64_t hash); /* what a find will look at first */
void *table_find_hashed(const struct table *t, uint64_t hash, struct slice key);
int table_insert_hashed(struct table *t, uint64_t hash, void *value);
void *table_remove_hashed(struct table *t, uint64_t hash, struct slice key);

/* Walks all values in no order: *pos starts at 0; NULL at the end. Nothing may be inserted or removed
 * during the walk. */
void *table_next(const struct table *t, size_t *pos);

#endif
