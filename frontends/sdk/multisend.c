/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each request carries MSG_DONTWAIT, so the kernel ends it while it takes it: a socket without room gives
 * -EAGAIN, nothing is ever left waiting in the ring. If the kernel takes fewer than it was given, the rest
 * and everything later goes by send().
 */
#include "config.h"

#include "frontends/sdk/multisend.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#ifdef HAVE_LIBURING
#include <liburing.h>

/* For fewer the ring costs more than it saves. */
#define RING_MIN 4u

struct multisend {
    struct io_uring ring;
    bool has_failed;   /* the ring was closed */
    bool was_one_call; /* the last flush */
    unsigned n;
    struct {
        void *arg;
        const void *p;
        size_t n;
        ssize_t r;
        int fd;
        bool is_done;
    } one[MULTISEND_MAX];
};

/* Linux 5.1 to 5.5, and those who put something else in Linux's place, have rings that do less. */
static bool
ring_can_send(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool can;

    if (probe == NULL)
        return false;
    can = io_uring_opcode_supported(probe, IORING_OP_SEND);
    io_uring_free_probe(probe);
    return can;
}

int
multisend_new(struct multisend **ret)
{
    struct multisend *ms = calloc(1, sizeof *ms);
    int r;

    if (ms == NULL)
        return -ENOMEM;
    r = io_uring_queue_init(
        MULTISEND_MAX, &ms->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (r == -EINVAL) /* before Linux 6.1 */
        r = io_uring_queue_init(MULTISEND_MAX, &ms->ring, 0);
    if (r == 0 && !ring_can_send(&ms->ring)) {
        io_uring_queue_exit(&ms->ring);
        r = -ENOSYS;
    }
    if (r < 0) {
        free(ms);
        return r;
    }
    *ret = ms;
    return 0;
}

struct multisend *
multisend_free(struct multisend *ms)
{
    if (ms == NULL)
        return NULL;
    if (!ms->has_failed)
        io_uring_queue_exit(&ms->ring);
    free(ms);
    return NULL;
}

void
multisend_push(struct multisend *ms, int fd, const void *p, size_t n, void *arg)
{
    unsigned i = ms->n++;

    ms->one[i].fd = fd;
    ms->one[i].p = p;
    ms->one[i].n = n;
    ms->one[i].arg = arg;
    ms->one[i].is_done = false;
}

bool
multisend_is_full(const struct multisend *ms)
{
    return ms->n == MULTISEND_MAX;
}

/* Takes what the kernel has ended; returns how many. */
static unsigned
multisend_reap(struct multisend *ms)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&ms->ring, head, cqe)
    {
        ms->one[cqe->user_data].r = cqe->res;
        ms->one[cqe->user_data].is_done = true;
        n++;
    }
    io_uring_cq_advance(&ms->ring, n);
    return n;
}

/* Gives all to the kernel. Returns how many it took: the first ones. */
static unsigned
multisend_submit(struct multisend *ms)
{
    unsigned n_taken = 0;

    for (unsigned i = 0; i < ms->n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ms->ring);

        io_uring_prep_send(sqe, ms->one[i].fd, ms->one[i].p, ms->one[i].n, MSG_NOSIGNAL | MSG_DONTWAIT);
        sqe->user_data = i;
    }
    while (n_taken < ms->n) {
        int r = io_uring_submit_and_wait(&ms->ring, ms->n - n_taken);

        if (r == -EINTR)
            continue;
        if (r <= 0)
            break;
        n_taken += (unsigned)r;
    }
    return n_taken;
}

static void
multisend_by_ring(struct multisend *ms)
{
    unsigned n_taken = multisend_submit(ms), n_done = multisend_reap(ms);

    ms->was_one_call = n_taken > 0;
    while (n_done < n_taken) { /* a signal came between */
        struct io_uring_cqe *cqe;
        int r = io_uring_wait_cqe(&ms->ring, &cqe);

        if (r < 0 && r != -EINTR)
            break;
        n_done += multisend_reap(ms);
    }
    if (n_done == ms->n)
        return;
    /* What was taken and did not end: nobody knows how much of it went. */
    for (unsigned i = 0; i < n_taken; i++) {
        if (!ms->one[i].is_done) {
            ms->one[i].r = -EIO;
            ms->one[i].is_done = true;
        }
    }
    io_uring_queue_exit(&ms->ring);
    ms->has_failed = true;
}

unsigned
multisend_flush(struct multisend *ms, multisend_sent_fn on_sent)
{
    unsigned n = ms->n;

    ms->was_one_call = false;
    if (n >= RING_MIN && !ms->has_failed)
        multisend_by_ring(ms);
    for (unsigned i = 0; i < n; i++) {
        if (ms->one[i].is_done)
            continue;
        ms->one[i].r = send(ms->one[i].fd, ms->one[i].p, ms->one[i].n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (ms->one[i].r < 0)
            ms->one[i].r = -errno;
    }
    for (unsigned i = 0; i < n; i++)
        on_sent(ms->one[i].arg, ms->one[i].r);
    ms->n = 0;
    return n;
}

void *
multisend_arg(const struct multisend *ms, unsigned i)
{
    return ms->one[i].arg;
}

bool
multisend_was_one_call(const struct multisend *ms)
{
    return ms->was_one_call;
}

bool
multisend_has_failed(const struct multisend *ms)
{
    return ms->has_failed;
}

#else /* without liburing there is none of these */

int
multisend_new(struct multisend **ret)
{
    (void)ret;
    return -EOPNOTSUPP;
}

struct multisend *
multisend_free(struct multisend *ms)
{
    return ms;
}

void
multisend_push(struct multisend *ms, int fd, const void *p, size_t n, void *arg)
{
    (void)ms, (void)fd, (void)p, (void)n, (void)arg;
}

bool
multisend_is_full(const struct multisend *ms)
{
    (void)ms;
    return false;
}

unsigned
multisend_flush(struct multisend *ms, multisend_sent_fn on_sent)
{
    (void)ms, (void)on_sent;
    return 0;
}

void *
multisend_arg(const struct multisend *ms, unsigned i)
{
    (void)ms, (void)i;
    return NULL;
}

bool
multisend_was_one_call(const struct multisend *ms)
{
    (void)ms;
    return false;
}

bool
multisend_has_failed(const struct multisend *ms)
{
    (void)ms;
    return true;
}
#endif
