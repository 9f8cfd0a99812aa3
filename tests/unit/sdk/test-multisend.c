/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/multisend.h"

#include "tests/unit/base/suite.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t results[MULTISEND_MAX];
static unsigned n_results;

static void
on_sent(void *arg, ssize_t r)
{
    ck_assert_ptr_eq(arg, &results[n_results]);
    results[n_results++] = r;
}

/* NULL: this build or machine has none. */
static struct multisend *
multisend_here(void)
{
    struct multisend *ms = NULL;
    int r = multisend_new(&ms);

    if (r < 0) {
        ck_assert(r == -ENOSYS || r == -EPERM);
        (void)fprintf(stderr, "no io_uring here: not tested\n");
    }
    n_results = 0;
    return ms;
}

/* Every number of sockets, from one that is sent by itself to as many as it takes, and several times. */
START_TEST(test_each_gets_its_own)
{
    struct multisend *ms = multisend_here();
    int fds[MULTISEND_MAX][2];
    char texts[MULTISEND_MAX], got[8];

    if (ms == NULL)
        return;
    for (unsigned i = 0; i < MULTISEND_MAX; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds[i]), 0);
        texts[i] = (char)i;
    }
    for (unsigned n = 0; n <= MULTISEND_MAX; n = n < 6                    ? n + 1
                                                 : n * 2 <= MULTISEND_MAX ? n * 2
                                                                          : n + MULTISEND_MAX) {
        n_results = 0;
        for (unsigned i = 0; i < n; i++) {
            ck_assert(!multisend_is_full(ms));
            multisend_push(ms, fds[i][0], &texts[i], 1, &results[i]);
        }
        ck_assert_int_eq(multisend_is_full(ms), n == MULTISEND_MAX);
        ck_assert_uint_eq(multisend_flush(ms, on_sent), n);
        ck_assert_uint_eq(n_results, n);
        for (unsigned i = 0; i < n; i++) {
            ck_assert_ptr_eq(multisend_arg(ms, i), &results[i]);
            ck_assert_int_eq(results[i], 1);
            ck_assert_int_eq(read(fds[i][1], got, sizeof got), 1);
            ck_assert_int_eq(got[0], texts[i]);
        }
    }
    ck_assert(!multisend_has_failed(ms));
    for (unsigned i = 0; i < MULTISEND_MAX; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
    ms = multisend_free(ms);
}
END_TEST

/* One that is full, one that takes a part, one whose peer has gone, one that is no socket, beside one that
 * takes all; nothing waits, and no signal comes. */
START_TEST(test_says_what_send_would)
{
    static char large[8 * 1024 * 1024];
    struct multisend *ms = multisend_here();
    int fds[5][2];

    if (ms == NULL)
        return;
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds[i]), 0);
    while (send(fds[0][0], large, sizeof large, MSG_NOSIGNAL) > 0)
        ;
    close(fds[2][1]);
    close(fds[3][0]);
    for (unsigned i = 0; i < 5; i++)
        multisend_push(ms, fds[i][0], large, i < 2 ? sizeof large : 100, &results[i]);
    ck_assert_uint_eq(multisend_flush(ms, on_sent), 5);
    ck_assert_int_eq(results[0], -EAGAIN);
    ck_assert_int_gt(results[1], 0);
    ck_assert_int_lt(results[1], (ssize_t)sizeof large);
    ck_assert_int_eq(results[2], -EPIPE);
    ck_assert_int_eq(results[3], -EBADF);
    ck_assert_int_eq(results[4], 100);
    ck_assert(!multisend_has_failed(ms));
    for (unsigned i = 0; i < 5; i++) {
        if (i != 3)
            close(fds[i][0]);
        if (i != 2)
            close(fds[i][1]);
    }
    ms = multisend_free(ms);
}
END_TEST

SUITE_MAIN("multisend", test_each_gets_its_own, test_says_what_send_would)
