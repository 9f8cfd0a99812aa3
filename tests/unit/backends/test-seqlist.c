/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "backends/seqlist.h"

#include "tests/unit/base/suite.h"

#include <stdbool.h>

#define N 5000u

struct member {
    uint64_t seq;
    struct list in_all;
    bool is_there;
};

static struct member members[N];

static uint64_t
seq_of(const struct list *member)
{
    return list_entry(member, struct member, in_all)->seq;
}

static uint64_t
next_random(uint64_t *random)
{
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return *random;
}

/* 0: there is none. */
static uint64_t
above(const struct seqlist *l, uint64_t seq)
{
    struct list *at = seqlist_above(l, seq);

    return at == &l->all ? 0 : seq_of(at);
}

START_TEST(test_empty)
{
    struct seqlist l;

    seqlist_init(&l, seq_of);
    ck_assert_uint_eq(above(&l, 0), 0);
    members[0] = (struct member){.seq = 7};
    seqlist_push(&l, &members[0].in_all);
    ck_assert_uint_eq(above(&l, 0), 7);
    ck_assert_uint_eq(above(&l, 6), 7);
    ck_assert_uint_eq(above(&l, 7), 0);
    seqlist_remove(&l, &members[0].in_all);
    ck_assert_uint_eq(above(&l, 0), 0);
    seqlist_fini(&l);
}
END_TEST

/* Comes and goes at random, beside a plain walk: mostly the oldest go, or any, or nearly all. */
START_TEST(test_random)
{
    for (unsigned kind = 0; kind < 3; kind++) {
        uint64_t random = 88172645463325252u + kind, seq = 0;
        unsigned first = 0, n = 0;
        struct seqlist l;

        seqlist_init(&l, seq_of);
        for (unsigned step = 0; step < 12000; step++) {
            if (n < N && next_random(&random) % 5 < 3) {
                seq += 1 + (next_random(&random) % 8 == 0 ? next_random(&random) % 600 : 0);
                members[n] = (struct member){.seq = seq, .is_there = true};
                seqlist_push(&l, &members[n++].in_all);
            } else if (first < n) {
                unsigned i = kind == 0 ? first : first + (unsigned)(next_random(&random) % (n - first));

                if (members[i].is_there)
                    seqlist_remove(&l, &members[i].in_all);
                members[i].is_there = false;
            }
            while (first < n && !members[first].is_there)
                first++;
            if (step % 16 == 0) {
                uint64_t since = next_random(&random) % (seq + 2), expected = 0;

                for (unsigned i = first; i < n && expected == 0; i++)
                    if (members[i].is_there && members[i].seq > since)
                        expected = members[i].seq;
                ck_assert_uint_eq(above(&l, since), expected);
            }
        }
        for (; first < n; first++)
            if (members[first].is_there)
                seqlist_remove(&l, &members[first].in_all);
        ck_assert_uint_eq(l.n_marks, 0);
        seqlist_fini(&l);
    }
}
END_TEST

SUITE_MAIN("seqlist", test_empty, test_random)
