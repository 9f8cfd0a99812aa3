/* SPDX-License-Identifier: Apache-2.0 */
/* The end of each test program here that has a loop and a frontend: setup and teardown around each test. */
#ifndef TESTS_UNIT_SDK_SUITE_H
#define TESTS_UNIT_SDK_SUITE_H

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/loop.h"

static inline int
suite_main_with(
    const char *name, void (*setup)(void), void (*teardown)(void), const TTest *const *tests, size_t n_tests)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < n_tests; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define SUITE_MAIN_WITH(name, setup, teardown, ...)                                                          \
    int main(void)                                                                                           \
    {                                                                                                        \
        const TTest *const tests[] = {__VA_ARGS__};                                                          \
                                                                                                             \
        return suite_main_with(name, setup, teardown, tests, sizeof tests / sizeof tests[0]);                \
    }

/* Some turns of the loop, which wait for nothing: whatever was ready, and what followed from it, has been
 * done. */
struct settling {
    struct loop *loop;
    struct loop_hook hook;
    int n_turns;
};

static void
settling_turn(void *arg)
{
    struct settling *s = arg;

    if (--s->n_turns == 0)
        loop_stop(s->loop);
    else
        loop_defer(s->loop, &s->hook);
}

static inline void
loop_settle(struct loop *loop)
{
    struct settling s = {.loop = loop, .hook = {.fn = settling_turn, .arg = &s}, .n_turns = 8};

    loop_defer(loop, &s.hook);
    ck_assert_int_eq(loop_run(loop), 0);
}

#endif
