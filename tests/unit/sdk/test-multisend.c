/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/multisend.h"

#include "tests/unit/base/suite.h"
#include "tests/unit/sdk/refuse.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
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
        ck_assert(r == -EOPNOTSUPP || r == -ENOSYS || r == -EPERM);
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
        ck_assert_int_eq(multisend_was_one_call(ms), n >= 4);
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

/* A peer that went away with a reset. */
START_TEST(test_reset)
{
    struct multisend *ms = multisend_here();
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger at_once = {.l_onoff = 1};
    socklen_t n = sizeof to;
    int listener, fds[8][2];

    if (ms == NULL)
        return;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&to, sizeof to), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&to, &n), 0);
    for (unsigned i = 0; i < 8; i++) {
        fds[i][1] = socket(AF_INET, SOCK_STREAM, 0);
        ck_assert_int_eq(connect(fds[i][1], (struct sockaddr *)&to, sizeof to), 0);
        fds[i][0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        ck_assert_int_ge(fds[i][0], 0);
    }
    for (unsigned i = 0; i < 8; i += 2) {
        ck_assert_int_eq(setsockopt(fds[i][1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
        close(fds[i][1]);
    }
    for (unsigned i = 0; i < 8; i++)
        multisend_push(ms, fds[i][0], "x", 1, &results[i]);
    ck_assert_uint_eq(multisend_flush(ms, on_sent), 8);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(results[i], i % 2 == 0 ? -ECONNRESET : 1);
        close(fds[i][0]);
        if (i % 2 == 1)
            close(fds[i][1]);
    }
    ck_assert(!multisend_has_failed(ms));
    close(listener);
    ms = multisend_free(ms);
}
END_TEST

/* Many processes, none of which may lock memory. */
START_TEST(test_no_memory_to_lock)
{
    struct rlimit none = {0, 0};
    struct multisend *many[40] = {NULL};

    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    for (unsigned i = 0; i < 40; i++) {
        int r = multisend_new(&many[i]);

        ck_assert(r == 0 || r == -ENOMEM || r == -EOPNOTSUPP || r == -ENOSYS || r == -EPERM);
        ck_assert_int_eq(many[i] != NULL, r == 0);
    }
    for (unsigned i = 0; i < 40; i++)
        many[i] = multisend_free(many[i]);
}
END_TEST

/* ---- A kernel that refuses. ---- */

#define N_PAIRS 64

static int pairs[N_PAIRS][2];

static void
pairs_open(void)
{
    for (unsigned i = 0; i < N_PAIRS; i++)
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pairs[i]), 0);
}

static void
pairs_close(void)
{
    for (unsigned i = 0; i < N_PAIRS; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
}

/* One byte to each; -EIO is said of the first `n_lost`, and all others have theirs once. */
static void
pairs_write(struct multisend *ms, unsigned n_lost)
{
    char text[N_PAIRS], got[8];

    n_results = 0;
    for (unsigned i = 0; i < N_PAIRS; i++) {
        text[i] = (char)i;
        multisend_push(ms, pairs[i][0], &text[i], 1, &results[i]);
    }
    ck_assert_uint_eq(multisend_flush(ms, on_sent), N_PAIRS);
    ck_assert_uint_eq(n_results, N_PAIRS);
    for (unsigned i = 0; i < N_PAIRS; i++) {
        ck_assert_int_eq(results[i], i < n_lost ? -EIO : 1);
        ck_assert_int_eq(read(pairs[i][1], got, sizeof got), 1);
        ck_assert_int_eq(got[0], text[i]);
    }
}

START_TEST(test_kernel_refuses_a_ring)
{
    static const unsigned errors[] = {ENOSYS, EPERM, EACCES, ENOMEM};
    struct multisend *ms = NULL;
    int r;

    if ((ms = multisend_here()) == NULL)
        return;
    ms = multisend_free(ms);
    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) { /* the last filter decides */
        refuse_call(SYS_io_uring_setup, errors[i]);
        r = multisend_new(&ms);
        ck_assert_int_eq(r, -(int)errors[i]);
        ck_assert_ptr_null(ms);
    }
}
END_TEST

/* Linux before 5.6 cannot be asked what a ring can do, because it can do little. */
START_TEST(test_kernel_cannot_send)
{
    struct multisend *ms = multisend_here();

    if (ms == NULL)
        return;
    ms = multisend_free(ms);
    refuse_call(SYS_io_uring_register, EINVAL);
    ck_assert_int_eq(multisend_new(&ms), -ENOSYS);
    ck_assert_ptr_null(ms);
}
END_TEST

/* From one call to the next: everything goes by send(), then and later. */
START_TEST(test_kernel_refuses_late)
{
    struct multisend *ms = multisend_here();

    if (ms == NULL)
        return;
    pairs_open();
    pairs_write(ms, 0);
    ck_assert(multisend_was_one_call(ms));
    refuse_call(SYS_io_uring_enter, EPERM);
    for (unsigned i = 0; i < 3; i++) {
        pairs_write(ms, 0);
        ck_assert(multisend_has_failed(ms));
        ck_assert(!multisend_was_one_call(ms));
    }
    pairs_close();
    ms = multisend_free(ms);
}
END_TEST

#ifdef HAVE_LIBURING
#include <liburing.h>

/* These stand before liburing's own of the same names. */
static struct {
    bool is_on;
    unsigned n_takes; /* of the first call */
    int then;         /* of the second call; later ones are the kernel's */
    unsigned n_calls;
    bool loses_one; /* the first result is lost, and waiting for it fails */
} kernel;

int
io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    static int (*real)(struct io_uring *, unsigned);
    unsigned tail = ring->sq.sqe_tail;
    int r;

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
    ck_assert(real != NULL);
    if (kernel.is_on && kernel.n_calls++ == 1)
        return kernel.then;
    if (!kernel.is_on || kernel.n_calls > 1)
        return real(ring, n);
    ring->sq.sqe_tail = ring->sq.sqe_head + kernel.n_takes;
    r = real(ring, kernel.n_takes);
    ring->sq.sqe_tail = tail;
    if (kernel.loses_one)
        io_uring_cq_advance(ring, 1);
    return r;
}

int
__io_uring_get_cqe(
    struct io_uring *ring, struct io_uring_cqe **ret, unsigned submit, unsigned wait_nr, sigset_t *mask)
{
    ck_assert(kernel.loses_one);
    return -EBADR;
}

/* The rest goes by send(): nobody is left out or written to twice. */
START_TEST(test_kernel_takes_a_part_and_refuses)
{
    static const int errors[] = {-EAGAIN, -EBUSY, -ENOMEM, -EPERM, 0};

    for (unsigned i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct multisend *ms = multisend_here();

        if (ms == NULL)
            return;
        pairs_open();
        kernel.is_on = true;
        kernel.n_takes = 1 + i * 15;
        kernel.then = errors[i];
        kernel.n_calls = 0;
        pairs_write(ms, 0);
        ck_assert(multisend_has_failed(ms));
        kernel.is_on = false;
        pairs_write(ms, 0);
        pairs_close();
        ms = multisend_free(ms);
    }
}
END_TEST

START_TEST(test_kernel_takes_a_part_and_goes_on)
{
    struct multisend *ms = multisend_here();

    if (ms == NULL)
        return;
    pairs_open();
    kernel.is_on = true;
    kernel.n_takes = 40;
    kernel.then = -EINTR;
    pairs_write(ms, 0);
    ck_assert_uint_eq(kernel.n_calls, 3);
    ck_assert(!multisend_has_failed(ms));
    pairs_write(ms, 0);
    pairs_close();
    ms = multisend_free(ms);
}
END_TEST

/* It may have gone or not: an error, after which the connection is closed. */
START_TEST(test_kernel_does_not_say_what_became_of_it)
{
    struct multisend *ms = multisend_here();

    if (ms == NULL)
        return;
    pairs_open();
    kernel.is_on = true;
    kernel.n_takes = N_PAIRS;
    kernel.loses_one = true;
    pairs_write(ms, 1);
    ck_assert(multisend_has_failed(ms));
    kernel.is_on = false;
    pairs_write(ms, 0);
    pairs_close();
    ms = multisend_free(ms);
}
END_TEST

#define TESTS_OF_LIBURING                                                                                    \
    , test_kernel_takes_a_part_and_refuses, test_kernel_takes_a_part_and_goes_on,                            \
        test_kernel_does_not_say_what_became_of_it
#else
#define TESTS_OF_LIBURING
#endif

SUITE_MAIN("multisend", test_each_gets_its_own, test_says_what_send_would, test_reset TESTS_OF_LIBURING,
    test_no_memory_to_lock, test_kernel_refuses_a_ring, test_kernel_cannot_send, test_kernel_refuses_late)
