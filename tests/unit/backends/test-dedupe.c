/* SPDX-License-Identifier: Apache-2.0 */
/* Repeats of publish numbers and keys: windows, growth, what is pushed out. */
#include "config.h"

#include <check.h>
#include <inttypes.h>

#include "backends/dedupe.h"

static void
note(struct dedupe *d, uint64_t boot, uint64_t pub, uint64_t seq)
{
    uint64_t got;

    ck_assert_int_eq(dedupe_check_pub(d, boot, pub, 0, &got), DEDUPE_NEW);
    dedupe_note_pub(d, boot, pub, seq);
}

static void
check_pub(struct dedupe *d, uint64_t boot, uint64_t pub, int outcome, uint64_t seq)
{
    uint64_t got = 0;

    ck_assert_int_eq(dedupe_check_pub(d, boot, pub, 0, &got), outcome);
    ck_assert_uint_eq(got, seq);
}

START_TEST(the_whole_window_is_remembered_while_the_ring_grows)
{
    struct dedupe d;

    dedupe_init(&d);
    for (uint64_t pub = 1; pub <= 3 * DEDUPE_WINDOW; pub++)
        note(&d, 5, pub, pub * 10);
    for (uint64_t pub = 2 * DEDUPE_WINDOW + 1; pub <= 3 * DEDUPE_WINDOW; pub += 997)
        check_pub(&d, 5, pub, DEDUPE_REPEATED, pub * 10);
    check_pub(&d, 5, 2 * DEDUPE_WINDOW, DEDUPE_FORGOTTEN, 0);
    dedupe_fini(&d);
}
END_TEST

START_TEST(a_boot_may_begin_anywhere)
{
    struct dedupe d;

    dedupe_init(&d);
    note(&d, 5, 1000000, 1);
    check_pub(&d, 5, 1000000, DEDUPE_REPEATED, 1);
    check_pub(&d, 5, 999999, DEDUPE_FORGOTTEN, 0);
    note(&d, 6, UINT64_MAX - 1, 2);
    note(&d, 6, UINT64_MAX, 3);
    check_pub(&d, 6, UINT64_MAX - 1, DEDUPE_REPEATED, 2);
    dedupe_fini(&d);
}
END_TEST

START_TEST(a_jump_leaves_no_stale_numbers)
{
    struct dedupe d;

    dedupe_init(&d);
    for (uint64_t pub = 1; pub <= 100; pub++)
        note(&d, 5, pub, pub);
    note(&d, 5, 1 + DEDUPE_WINDOW * 4, 101);
    for (uint64_t pub = 2 + DEDUPE_WINDOW * 3; pub < 1 + DEDUPE_WINDOW * 4; pub += 101)
        check_pub(&d, 5, pub, DEDUPE_NEW, 0);
    check_pub(&d, 5, 1, DEDUPE_FORGOTTEN, 0);
    dedupe_fini(&d);
}
END_TEST

START_TEST(the_boot_unused_longest_is_pushed_out)
{
    struct dedupe d;

    dedupe_init(&d);
    for (uint64_t boot = 1; boot <= DEDUPE_BOOTS_MAX; boot++)
        note(&d, boot, 1, boot);
    check_pub(&d, 1, 1, DEDUPE_REPEATED, 1); /* used: now boot 2 is the oldest */
    note(&d, DEDUPE_BOOTS_MAX + 1, 1, 7);
    check_pub(&d, 1, 1, DEDUPE_REPEATED, 1);
    check_pub(&d, 3, 1, DEDUPE_REPEATED, 3);
    check_pub(&d, 2, 1, DEDUPE_NEW, 0);
    dedupe_fini(&d);
}
END_TEST

START_TEST(idle_boots_and_old_keys_expire)
{
    struct dedupe d;
    uint64_t seq;

    dedupe_init(&d);
    d.key_window_ms = 1000;
    d.keys_max = 10;
    ck_assert_int_eq(dedupe_check_pub(&d, 5, 1, 1000, &seq), DEDUPE_NEW);
    dedupe_note_pub(&d, 5, 1, 9);
    ck_assert_int_eq(dedupe_note_key(&d, 1, slice_str("k"), 4, 1000), 0);
    ck_assert_uint_eq(dedupe_find_key(&d, 1, slice_str("k"), 1999), 4);
    ck_assert_uint_eq(dedupe_find_key(&d, 2, slice_str("k"), 1999), 0);
    dedupe_expire(&d, 1999, 10);
    ck_assert_uint_eq(d.keys.n_used, 1);
    dedupe_expire(&d, 2000, 10);
    ck_assert_uint_eq(d.keys.n_used, 0);
    ck_assert_uint_eq(d.boots.n_used, 1);
    dedupe_expire(&d, 1000 + DEDUPE_BOOT_IDLE_MS, 10);
    ck_assert_uint_eq(d.boots.n_used, 0);
    dedupe_fini(&d);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("dedupe");
    TCase *t = tcase_create("dedupe");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_whole_window_is_remembered_while_the_ring_grows);
    tcase_add_test(t, a_boot_may_begin_anywhere);
    tcase_add_test(t, a_jump_leaves_no_stale_numbers);
    tcase_add_test(t, the_boot_unused_longest_is_pushed_out);
    tcase_add_test(t, idle_boots_and_old_keys_expire);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
