/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/frontend.h"

#include "tests/unit/sdk/suite.h"

#include "frontends/sdk/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 64

static struct loop *loop;
static struct frontend fe;
static struct limits_options limits;
static struct conn conns[CLIENTS_MAX];
static unsigned n_accepted;
static bool refuses_all;

static ssize_t
on_bytes(struct conn *c, uint8_t *data, size_t n)
{
    return (ssize_t)n;
}

static void
on_eof(struct conn *c)
{
    conn_close(c, NULL);
}

static void
on_closed(struct conn *c, const char *reason)
{
}

static const struct conn_ops ops = {.on_bytes = on_bytes, .on_eof = on_eof, .on_closed = on_closed};

static void
on_accept(struct frontend *f, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg)
{
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    if (refuses_all) {
        close(fd);
        return;
    }
    ck_assert_uint_lt(n_accepted, CLIENTS_MAX);
    ck_assert_int_eq(conn_open_take(&conns[n_accepted++], f, fd, &ops), 0);
}

static void
setup(void)
{
    ck_assert_int_eq(loop_new(&loop), 0);
    limits = (struct limits_options){.queue_bytes = 65536, .message_bytes = 65536, .connections = 100};
    ck_assert_int_eq(frontend_init(&fe, loop, &limits), 0);
    n_accepted = 0;
}

static void
teardown(void)
{
    for (unsigned i = 0; i < n_accepted; i++)
        conn_close(&conns[i], NULL);
    loop_settle(loop);
    ck_assert_uint_eq(fe.n_conns, 0);
    frontend_fini(&fe);
    loop = loop_free(loop);
}

static struct listener *
listen_on(const char *address)
{
    struct listener *l = NULL;

    ck_assert_int_eq(listener_open(&fe, address, slice_str("no room\n"), on_accept, NULL, &l), 0);
    return l;
}

static int
call(const struct listener *l)
{
    const char *address = listener_address(l);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS, "%d", errno);
    loop_settle(loop);
    return fd;
}

/* What a client sees: "" while it is served, what it was told when it was turned away. */
static void
sees(int fd, const char *text)
{
    char got[64] = {0};
    ssize_t n = read(fd, got, sizeof got - 1);
    int error = errno;

    if (*text == '\0') {
        ck_assert_msg(n < 0 && errno == EAGAIN, "%d %s", (int)n, got);
        return;
    }
    ck_assert_msg(n > 0 && strcmp(got, text) == 0, "%d %d %s", (int)n, error, got);
    ck_assert_int_eq(read(fd, got, sizeof got), 0);
}

START_TEST(test_addresses)
{
    struct listener *l = listen_on("127.0.0.1:0"), *same = NULL;

    ck_assert_int_eq(strncmp(listener_address(l), "127.0.0.1:", 10), 0);
    ck_assert_str_ne(listener_address(l), "127.0.0.1:0");
    ck_assert_int_eq(
        listener_open(&fe, listener_address(l), slice_str(""), on_accept, NULL, &same), -EADDRINUSE);
    ck_assert_int_eq(listener_open(&fe, "127.0.0.1", slice_str(""), on_accept, NULL, &same), -EINVAL);
    ck_assert_int_eq(
        listener_open(&fe, "192.0.2.1:0", slice_str(""), on_accept, NULL, &same), -EADDRNOTAVAIL);
    ck_assert_ptr_null(same);
    listener_close(l);
    l = listen_on("*:0");
    ck_assert_int_eq(strncmp(listener_address(l), "*:", 2), 0);
    sees(call(l), "");
    listener_close(l);
}
END_TEST

START_TEST(test_workers_share_a_port)
{
    struct listener *l, *other;

    fe.shares_port = true;
    l = listen_on("127.0.0.1:0");
    other = listen_on(listener_address(l));
    ck_assert_str_eq(listener_address(l), listener_address(other));
    listener_close(l);
    listener_close(other);
}
END_TEST

START_TEST(test_limit_of_connections)
{
    struct listener *l = listen_on("127.0.0.1:0");
    int one, two, three;

    limits.connections = 2;
    one = call(l);
    two = call(l);
    three = call(l);
    sees(one, "");
    sees(two, "");
    sees(three, "no room\n");
    ck_assert_uint_eq(fe.counters.refused_limit, 1);
    close(one);
    loop_settle(loop);
    sees(call(l), "");
    ck_assert_uint_eq(fe.counters.accepted, 3);
    listener_close(l);
}
END_TEST

START_TEST(test_limit_of_one_address)
{
    struct listener *l = listen_on("127.0.0.1:0");
    int one, two;

    limits.connections_per_address = 1;
    one = call(l);
    two = call(l);
    sees(one, "");
    sees(two, "no room\n");
    close(one);
    loop_settle(loop);
    one = call(l);
    sees(one, "");
    refuses_all = true; /* what the transport does not keep does not count */
    limits.connections_per_address = 2;
    close(call(l));
    refuses_all = false;
    sees(call(l), "");
    listener_close(l);
}
END_TEST

START_TEST(test_no_descriptor_is_left)
{
    struct listener *l = listen_on("127.0.0.1:0");
    int waiting = call(l), refused, fill[256];
    unsigned n_fill = 0;
    struct rlimit limit = {.rlim_cur = 256, .rlim_max = 256};

    sees(waiting, "");
    refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while (n_fill < 256 && (fill[n_fill] = dup(0)) >= 0)
        n_fill++;
    ck_assert_uint_lt(n_fill, 256);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(listener_address(l), ':') + 1));
    (void)connect(refused, (struct sockaddr *)&to, sizeof to);
    loop_settle(loop);
    sees(refused, "no room\n");
    ck_assert_uint_eq(fe.counters.refused_fds, 1);
    while (n_fill > 0)
        close(fill[--n_fill]);
    sees(call(l), ""); /* and it goes on */
    fe.fd_limit = 80;  /* some are kept for others */
    for (n_fill = 0; n_fill < 60; n_fill++)
        fill[n_fill] = dup(0);
    sees(call(l), "no room\n");
    ck_assert_uint_eq(fe.counters.refused_fds, 2);
    listener_close(l);
}
END_TEST

SUITE_MAIN_WITH("listener", setup, teardown, test_addresses, test_workers_share_a_port,
    test_limit_of_connections, test_limit_of_one_address, test_no_descriptor_is_left)
