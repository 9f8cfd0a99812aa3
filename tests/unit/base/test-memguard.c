/* SPDX-License-Identifier: Apache-2.0 */
/* Memory against its limits. Each test runs in a process of its own: the limits are its own too. */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/loop.h"
#include "base/memguard.h"
#include "tests/unit/base/suite.h"

#define MIB ((size_t)1 << 20)

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

struct fixture {
    struct loop *loop;
    struct memguard *guard;
    struct loop_timer timer;
    bool wanted;
    unsigned n_waits;
};

static struct fixture f;

static void
setup(void)
{
    f = (struct fixture){0};
    ck_assert_int_eq(loop_new(&f.loop), 0);
    ck_assert_int_eq(memguard_new(f.loop, "test.memory_max", "tests", &f.guard), 0);
}

static void
teardown(void)
{
    f.guard = memguard_free(f.guard);
    f.loop = loop_free(f.loop);
}

static void
on_timer(void *arg)
{
    if (memguard_is_tight(f.guard) == f.wanted || ++f.n_waits > 200)
        loop_stop(f.loop);
    else
        loop_timer_start(f.loop, &f.timer, LOOP_TICK_MS);
}

/* Seen by the poll alone. */
static void
becomes(bool is_tight)
{
    f.wanted = is_tight;
    f.n_waits = 0;
    f.timer = (struct loop_timer){.fn = on_timer};
    loop_timer_start(f.loop, &f.timer, 0);
    ck_assert_int_eq(loop_run(f.loop), 0);
    ck_assert_int_eq(memguard_is_tight(f.guard), is_tight);
}

static size_t
statm(unsigned at)
{
    size_t values[6] = {0};
    FILE *file = fopen("/proc/self/statm", "r");

    ck_assert_ptr_nonnull(file);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(fscanf(file, "%zu", &values[i]), 1);
    (void)fclose(file);
    return values[at] * 4096;
}

static void
limit(int resource, size_t n)
{
    struct rlimit l;

    ck_assert_int_eq(getrlimit(resource, &l), 0);
    l.rlim_cur = n;
    ck_assert_int_eq(setrlimit(resource, &l), 0);
}

static void *
pages(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(p, MAP_FAILED);
    return p;
}

START_TEST(test_no_limit)
{
    setup();
    ck_assert_uint_eq(memguard_limit(f.guard), 0);
    ck_assert(!memguard_take(f.guard, SIZE_MAX));
    ck_assert(!memguard_is_tight(f.guard));
    ck_assert(!memguard_is_tight(NULL));
    ck_assert(!memguard_take(NULL, 1));
    ck_assert_uint_eq(memguard_limit(NULL), 0);
    ck_assert_ptr_null(memguard_free(NULL));
    teardown();
}
END_TEST

static void
space_runs_out(int resource, unsigned at)
{
    size_t now = statm(at);
    void *p;

    limit(resource, now + 64 * MIB);
    setup();
    ck_assert_uint_eq(memguard_limit(f.guard), now + 64 * MIB);
    ck_assert(!memguard_is_tight(f.guard));
    p = pages(48 * MIB);
    becomes(true);
    ck_assert(memguard_take(f.guard, 1));
    ck_assert_int_eq(munmap(p, 48 * MIB), 0);
    becomes(false);
    /* Within a turn, before the poll could see it. */
    p = pages(48 * MIB);
    ck_assert(!memguard_take(f.guard, 1));
    ck_assert(memguard_take(f.guard, 48 * MIB));
    ck_assert_int_eq(munmap(p, 48 * MIB), 0);
    teardown();
}

START_TEST(test_address_space)
{
    if (!IS_SANITIZED)
        space_runs_out(RLIMIT_AS, 0);
}
END_TEST

START_TEST(test_data)
{
    if (!IS_SANITIZED)
        space_runs_out(RLIMIT_DATA, 5);
}
END_TEST

/* What is free inside malloc is no address space given back, but it is room. */
START_TEST(test_free_pieces_are_room)
{
    enum { N = 48 * 1024 };
    void **pieces = pages(N * sizeof *pieces);

    if (IS_SANITIZED)
        return;
    limit(RLIMIT_AS, statm(0) + 64 * MIB);
    setup();
    for (unsigned i = 0; i < N; i++) {
        pieces[i] = malloc(1000);
        ck_assert_ptr_nonnull(pieces[i]);
    }
    becomes(true);
    for (unsigned i = 0; i + 1 < N; i++) /* the last keeps the heap from shrinking */
        free(pieces[i]);
    becomes(false);
    free(pieces[N - 1]);
    teardown();
}
END_TEST

START_TEST(test_resident)
{
    size_t n = 40 * MIB;
    void *p;

    setup();
    memguard_set_max(f.guard, statm(1) + 30 * MIB);
    ck_assert(!memguard_is_tight(f.guard));
    p = pages(n);
    becomes(false); /* address space is not what is counted */
    memset(p, 1, n);
    becomes(true);
    ck_assert_int_eq(munmap(p, n), 0);
    becomes(false);
    memguard_set_max(f.guard, 1);
    ck_assert(memguard_is_tight(f.guard));
    memguard_set_max(f.guard, 0);
    ck_assert(!memguard_is_tight(f.guard));
    ck_assert_uint_eq(memguard_limit(f.guard), 0);
    teardown();
}
END_TEST

SUITE_MAIN("memguard", test_no_limit, test_address_space, test_data, test_free_pieces_are_room, test_resident)
