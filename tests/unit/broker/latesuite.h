/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the test programs here that test-late-store.sh runs once more, with latebroker.c as the broker.
 */
#ifndef TESTS_UNIT_BROKER_LATESUITE_H
#define TESTS_UNIT_BROKER_LATESUITE_H

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* add_late adds what a store that answers later could break; add_other the rest, which runs without one. */
static inline int
late_suite_main(const char *name, void (*add_late)(TCase *t), void (*add_other)(TCase *t))
{
    bool is_late = getenv("BUSBAR_TEST_LATE") != NULL;
    char full_name[64];
    Suite *s;
    TCase *t = tcase_create(name);
    SRunner *runner;
    int n_failed;

    (void)snprintf(full_name, sizeof full_name, "%s%s", name, is_late ? " with a late store" : "");
    s = suite_create(full_name);
    tcase_set_timeout(t, 60);
    add_late(t);
    if (!is_late)
        add_other(t);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}

#endif
