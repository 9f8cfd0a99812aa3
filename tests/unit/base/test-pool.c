/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/pool.h"

#include "tests/unit/base/suite.h"

START_TEST(test_gives_what_was_put)
{
    struct pool p;
    uint8_t *one, *two;

    pool_init(&p, 1024);
    one = pool_get(&p, 100);
    memset(one, 1, 100);
    pool_put(&p, one, 100);
    ck_assert_uint_eq(p.n_spare, 128);
    two = pool_get(&p, 128); /* of the same size when rounded */
    ck_assert_ptr_eq(two, one);
    memset(two, 2, 128);
    ck_assert_uint_eq(p.n_spare, 0);
    pool_put(&p, two, 128);
    one = pool_get(&p, 129);
    ck_assert_ptr_ne(one, two);
    memset(one, 3, 129);
    pool_put(&p, one, 129);
    ck_assert_uint_eq(p.n_spare, 128 + 192);
    pool_fini(&p);
    ck_assert_uint_eq(p.n_spare, 0);
}
END_TEST

START_TEST(test_keeps_so_much_and_no_large_ones)
{
    struct pool p;
    void *pieces[20];

    pool_init(&p, 10 * POOL_STEP);
    for (int i = 0; i < 20; i++)
        pieces[i] = pool_get(&p, 1);
    for (int i = 0; i < 20; i++)
        pool_put(&p, pieces[i], 1);
    ck_assert_uint_eq(p.n_spare, 10 * POOL_STEP);
    pool_fini(&p);

    pool_init(&p, 1 << 20);
    for (size_t n = POOL_PIECE_MAX; n <= POOL_PIECE_MAX + 1; n++) {
        pieces[0] = pool_get(&p, n);
        memset(pieces[0], 1, n);
        pool_put(&p, pieces[0], n);
        ck_assert_uint_eq(p.n_spare, POOL_PIECE_MAX);
    }
    pool_fini(&p);
}
END_TEST

START_TEST(test_sizes_never_mix)
{
    struct pool p;
    struct {
        uint8_t *p;
        size_t n;
    } held[64] = {0};
    unsigned state = 1;

    pool_init(&p, 16 * 1024);
    for (int i = 0; i < 20000; i++) {
        state = state * 1103515245 + 12345;
        size_t at = state >> 8 & 63;

        if (held[at].p != NULL) {
            for (size_t k = 0; k < held[at].n; k++)
                ck_assert_uint_eq(held[at].p[k], at);
            pool_put(&p, held[at].p, held[at].n);
            held[at].p = NULL;
        } else {
            held[at].n = 1 + (state >> 14) % 1500;
            held[at].p = pool_get(&p, held[at].n);
            memset(held[at].p, (int)at, held[at].n);
        }
        ck_assert_uint_le(p.n_spare, 16 * 1024);
    }
    for (int i = 0; i < 64; i++)
        if (held[i].p != NULL)
            pool_put(&p, held[i].p, held[i].n);
    pool_fini(&p);
}
END_TEST

SUITE_MAIN("pool", test_gives_what_was_put, test_keeps_so_much_and_no_large_ones, test_sizes_never_mix)
