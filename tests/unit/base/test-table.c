/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/table.h"

#include "tests/unit/base/suite.h"

#include "base/rand.h"
#include "base/siphash.h"

#include <errno.h>
#include <stdio.h>

struct item {
    char key[24];
    size_t n_key;
    bool is_in;
};

static struct slice
item_key(const void *value)
{
    const struct item *item = value;

    return slice_of(item->key, item->n_key);
}

static struct item *
items_new(size_t n)
{
    struct item *items = calloc(n, sizeof *items);

    ck_assert_ptr_nonnull(items);
    for (size_t i = 0; i < n; i++)
        items[i].n_key = (size_t)snprintf(items[i].key, sizeof items[i].key, "chat/room/%zu", i);
    return items;
}

START_TEST(test_empty)
{
    struct table t;
    size_t pos = 0;

    table_init(&t, item_key);
    ck_assert_ptr_null(table_find(&t, slice_str("x")));
    ck_assert_ptr_null(table_remove(&t, slice_str("x")));
    ck_assert_ptr_null(table_next(&t, &pos));
    table_fini(&t);
}
END_TEST

START_TEST(test_insert_find_remove)
{
    struct item *items = items_new(3);
    struct item twin = items[0], empty = {.n_key = 0};
    struct table t;

    table_init(&t, item_key);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(table_insert(&t, &items[i]), 0);
    ck_assert_int_eq(table_insert(&t, &twin), -EEXIST);
    ck_assert_ptr_eq(table_find(&t, item_key(&twin)), &items[0]);
    ck_assert_uint_eq(t.n_used, 3);
    ck_assert_int_eq(table_insert(&t, &empty), 0);
    ck_assert_ptr_eq(table_find(&t, slice_of(NULL, 0)), &empty);
    ck_assert_ptr_eq(table_remove(&t, item_key(&items[1])), &items[1]);
    ck_assert_ptr_null(table_remove(&t, item_key(&items[1])));
    ck_assert_ptr_eq(table_find(&t, item_key(&items[2])), &items[2]);
    table_fini(&t);
    free(items);
}
END_TEST

START_TEST(test_a_million)
{
    const size_t n = 1000000;
    struct item *items = items_new(n);
    struct table t;
    size_t pos = 0, n_seen = 0;

    table_init(&t, item_key);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(table_insert(&t, &items[i]), 0);
    ck_assert_uint_eq(t.n_used, n);
    ck_assert_uint_eq(t.n_slots, 1u << 21);
    for (size_t i = 0; i < n; i++)
        ck_assert_ptr_eq(table_find(&t, item_key(&items[i])), &items[i]);
    for (struct item *item; (item = table_next(&t, &pos)) != NULL; n_seen++)
        item->is_in = true;
    ck_assert_uint_eq(n_seen, n);
    for (size_t i = 0; i < n; i++)
        ck_assert(items[i].is_in);
    for (size_t i = 0; i < n; i++)
        ck_assert_ptr_eq(table_remove(&t, item_key(&items[i])), &items[i]);
    ck_assert_uint_eq(t.n_used, 0);
    ck_assert_uint_le(t.n_slots, 64); /* the memory was given back */
    table_fini(&t);
    free(items);
}
END_TEST

START_TEST(test_random_walk_against_a_model)
{
    struct item *items = items_new(300);
    size_t n_in = 0;
    struct table t;
    uint64_t seed;

    rand_bytes(&seed, sizeof seed);
    table_init(&t, item_key);
    for (unsigned step = 0; step < 200000; step++) {
        struct item *item;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        item = &items[(seed >> 33) % 300];
        ck_assert_ptr_eq(table_find(&t, item_key(item)), item->is_in ? item : NULL);
        if (item->is_in) {
            ck_assert_ptr_eq(table_remove(&t, item_key(item)), item);
            n_in--;
        } else {
            ck_assert_int_eq(table_insert(&t, item), 0);
            n_in++;
        }
        item->is_in = !item->is_in;
        ck_assert_uint_eq(t.n_used, n_in);
    }
    for (size_t i = 0; i < 300; i++)
        ck_assert_ptr_eq(table_find(&t, item_key(&items[i])), items[i].is_in ? &items[i] : NULL);
    table_fini(&t);
    free(items);
}
END_TEST

/* While it grows and shrinks: what is where, by every way of looking. Counted, for there is very much of it.
 */
START_TEST(test_step_by_step)
{
    enum { N = 40000 };
    struct item *items = items_new(N);
    size_t n_in = 0, n_growing = 0, n_shrinking = 0, n_wrong = 0;
    struct table t;
    uint64_t seed;

    rand_bytes(&seed, sizeof seed);
    table_init(&t, item_key);
    /* Up, down, up: 15 of 16 steps go the way, the others back. */
    for (unsigned step = 0; step < 12 * N; step++) {
        bool is_up = step / (4 * N) != 1;
        size_t n_slots = t.n_slots, pos = 0, n_seen = 0;
        struct item *item;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        item = &items[(seed >> 33) % N];
        if (((seed >> 20) % 16 != 0) == is_up) {
            n_wrong += table_insert(&t, item) != (item->is_in ? -EEXIST : 0);
            n_in += !item->is_in;
            item->is_in = true;
        } else {
            n_wrong += table_remove(&t, item_key(item)) != (item->is_in ? item : NULL);
            n_in -= item->is_in;
            item->is_in = false;
        }
        n_wrong += t.n_used != n_in;
        n_wrong += table_find(&t, item_key(item)) != (item->is_in ? item : NULL);
        item = &items[(seed >> 40) % N];
        n_wrong += table_find(&t, item_key(item)) != (item->is_in ? item : NULL);
        n_growing += t.old != NULL && t.n_old < t.n_slots;
        n_shrinking += t.old != NULL && t.n_old > t.n_slots;
        if (t.n_slots == n_slots && (t.old == NULL || step % 256 != 0))
            continue;
        for (size_t i = 0; i < N; i++) /* all of them, in the middle of it */
            n_wrong += table_find(&t, item_key(&items[i])) != (items[i].is_in ? &items[i] : NULL);
        for (const struct item *seen; (seen = table_next(&t, &pos)) != NULL; n_seen++)
            n_wrong += !seen->is_in;
        n_wrong += n_seen != n_in;
    }
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_gt(n_growing, 1000);
    ck_assert_uint_gt(n_shrinking, 500);
    table_fini(&t);
    free(items);
}
END_TEST

/* No insert moves more than a few of those that are there. */
START_TEST(test_grows_evenly)
{
    enum { N = 200000 };
    struct item *items = items_new(N);
    size_t most = 0, n_whole = 0;
    struct table t;

    table_init(&t, item_key);
    for (size_t i = 0; i < N; i++) {
        size_t n_slots = t.n_slots, n_moved = t.n_moved;

        (void)table_insert(&t, &items[i]);
        if (t.n_slots <= 8192)
            continue;
        n_whole += t.n_slots != n_slots && t.old == NULL;
        if (t.n_slots == n_slots && t.n_moved - n_moved > most)
            most = t.n_moved - n_moved;
    }
    ck_assert_uint_eq(t.n_used, N);
    ck_assert_uint_eq(n_whole, 0);
    ck_assert_uint_lt(most, 1000); /* 16, and the rest of a run */
    table_fini(&t);
    free(items);
}
END_TEST

START_TEST(test_each_table_has_its_own_key)
{
    struct item *items = items_new(1);
    struct table a, b;

    table_init(&a, item_key);
    table_init(&b, item_key);
    ck_assert_int_eq(table_insert(&a, &items[0]), 0);
    ck_assert_int_eq(table_insert(&b, &items[0]), 0);
    ck_assert_mem_ne(a.hash_key, b.hash_key, sizeof a.hash_key);
    table_fini(&a);
    table_fini(&b);
    free(items);
}
END_TEST

/* The two values come from an implementation in Python that was first checked, with 2 and 4 rounds, against
 * the vector of the SipHash paper. */
START_TEST(test_siphash)
{
    uint8_t key[16], bytes[32];

    for (unsigned i = 0; i < 16; i++)
        key[i] = (uint8_t)i;
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    for (unsigned i = 0; i < 32; i++) {
        /* Each byte and the length count. */
        uint64_t whole = siphash13(key, bytes, i);

        for (unsigned k = 0; k < i; k++) {
            bytes[k] ^= 0x80;
            ck_assert_uint_ne(siphash13(key, bytes, i), whole);
            bytes[k] ^= 0x80;
        }
        ck_assert_uint_ne(siphash13(key, bytes, i + 1 < 32 ? i + 1 : 0), whole);
    }
    ck_assert_uint_eq(siphash13(key, bytes, 0), UINT64_C(0xabac0158050fc4dc));
    ck_assert_uint_eq(siphash13(key, bytes, 15), UINT64_C(0xd320d86d2a519956));
}
END_TEST

SUITE_MAIN("table", test_empty, test_insert_find_remove, test_a_million, test_random_walk_against_a_model,
    test_step_by_step, test_grows_evenly, test_each_table_has_its_own_key, test_siphash)
