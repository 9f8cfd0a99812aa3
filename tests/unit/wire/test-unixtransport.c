/* SPDX-License-Identifier: Apache-2.0 */
/* What only AF_UNIX promises: its channels by hand. */
#include "config.h"

#include "tests/unit/wire/linkfixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct channel *a, *b;

static void
open_channels(void)
{
    struct slice m;

    ck_assert_int_eq(transport->bind(path, &a), 0);
    ck_assert_int_eq(transport->connect(path, &b), 0);
    ck_assert_int_eq(transport->recv(a, &m), -EAGAIN); /* accepts */
    ck_assert(transport->has_peer(a) && transport->has_peer(b));
}

static void
close_channels(void)
{
    if (a != NULL)
        transport->close(a);
    if (b != NULL)
        transport->close(b);
    a = b = NULL;
}

static bool
is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void
assert_received(struct channel *c, const char *want_text)
{
    struct slice m;
    int r;

    while ((r = transport->recv(c, &m)) == -EAGAIN)
        ck_assert(is_readable(transport->recv_fd(c)));
    ck_assert_int_eq(r, 0);
    ck_assert_msg(slice_is(m, want_text), "'%.*s', not '%s'", SLICE_ARG(m), want_text);
    transport->release(c, m);
}

START_TEST(test_descriptors_say_what_would_work)
{
    struct slice m;

    ck_assert_int_eq(transport->connect(path, &b), 0);
    ck_assert_int_eq(transport->send(b, slice_str("x")), -EAGAIN);
    ck_assert_int_eq(transport->bind(path, &a), 0);
    for (int i = 0; i < 200 && transport->send(b, slice_str("one")) == -EAGAIN; i++) {
        struct pollfd p = {.fd = transport->send_fd(b), .events = POLLIN};
        ck_assert_int_eq(poll(&p, 1, 1000), 1); /* says when to try again */
    }
    ck_assert(is_readable(transport->send_fd(b)));
    ck_assert_int_eq(transport->send(b, slice_str("")), 0);
    ck_assert_int_eq(transport->send(b, slice_str("three")), 0);
    ck_assert(is_readable(transport->recv_fd(a)));
    assert_received(a, "one"); /* one read brings all three */
    ck_assert(is_readable(transport->recv_fd(a)));
    assert_received(a, "");
    ck_assert(is_readable(transport->recv_fd(a)));
    assert_received(a, "three");
    ck_assert(!is_readable(transport->recv_fd(a)));
    ck_assert_int_eq(transport->recv(a, &m), -EAGAIN);
    ck_assert_int_eq(access(path, F_OK), -1); /* used once: nobody else finds it */
    close_channels();
}
END_TEST

START_TEST(test_a_message_in_parts)
{
    struct slice m = slice_of(filler, LINK_BATCH_MAX);
    int n = 0, r;

    open_channels();
    ck_assert_int_eq(transport->send(b, slice_of(filler, sizeof filler)), -EMSGSIZE);
    filler[0] = 'a';
    filler[LINK_BATCH_MAX - 1] = 'z';
    ck_assert_int_eq(transport->send(b, m), 0); /* taken, though the kernel has no room for all of it */
    ck_assert_int_eq(transport->send(b, slice_str("next")), -EAGAIN);
    ck_assert(!is_readable(transport->send_fd(b)));
    ck_assert(!is_readable(transport->recv_fd(b)));
    while ((r = transport->recv(a, &m)) == -EAGAIN) {
        ck_assert(is_readable(transport->recv_fd(b))); /* there is room: the rest goes on, by recv() */
        ck_assert_int_eq(transport->recv(b, &m), -EAGAIN);
        ck_assert_int_lt(++n, 10000);
    }
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(m.n, LINK_BATCH_MAX);
    ck_assert(m.p[0] == 'a' && m.p[m.n - 1] == 'z');
    transport->release(a, m);
    ck_assert(!is_readable(transport->recv_fd(b))); /* nothing is left to write */
    ck_assert_int_eq(transport->send(b, slice_str("next")), 0);
    assert_received(a, "next");
    close_channels();
}
END_TEST

START_TEST(test_last_words)
{
    struct slice m;

    open_channels();
    ck_assert_int_eq(transport->send(b, slice_str("one")), 0);
    ck_assert_int_eq(transport->send(b, slice_str("two")), 0);
    ck_assert_int_eq(transport->send(a, slice_str("unread")), 0);
    transport->close(b);
    b = NULL;
    ck_assert_int_eq(transport->send(a, slice_str("lost")), 0);
    ck_assert_int_eq(transport->send(a, slice_str("lost")), 0);
    assert_received(a, "one");
    assert_received(a, "two");
    while (transport->recv(a, &m) == -EAGAIN)
        ck_assert(is_readable(transport->recv_fd(a)));
    ck_assert_int_eq(transport->recv(a, &m), -ECONNRESET);
    ck_assert(!transport->has_peer(a));
    close_channels();
}
END_TEST

START_TEST(test_one_byte_at_a_time)
{
    static const char bytes[] = "\0\0\0\3abc\0\0\0\0\0\0\0\2de";
    struct slice m;

    ck_assert_int_eq(transport->bind(path, &a), 0);
    int fd = connect_bare();
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        write_bare(fd, bytes + i, 1);
        if (i == 6)
            assert_received(a, "abc");
        else if (i == 10)
            assert_received(a, "");
        else if (i == 16)
            assert_received(a, "de");
        while (is_readable(transport->recv_fd(a)))
            ck_assert_int_eq(transport->recv(a, &m), -EAGAIN);
        (void)transport->recv(a, &m);
    }
    write_bare(fd, "\0\0\0\5abc", 7); /* and never the rest */
    (void)close(fd);
    int r;
    while ((r = transport->recv(a, &m)) == -EAGAIN)
        ck_assert(is_readable(transport->recv_fd(a)));
    ck_assert_int_eq(r, -ECONNRESET);
    close_channels();
}
END_TEST

START_TEST(test_malformed_lengths)
{
    static const struct {
        const char bytes[9];
        int error;
    } cases[] = {{"\1\1\0\1", -EPROTO}, {"\xff\xff\xff\xff", -EPROTO}, {"\x7f\xff\xff\xff", -EPROTO},
        {"\0SP\0\0\x10\0\0", 0 /* fits into a link's */}};
    struct slice m;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(transport->bind(path, &a), 0);
        int fd = connect_bare(), r;
        write_bare(fd, cases[i].bytes, 8);
        if (cases[i].error == 0)
            (void)close(fd);
        while ((r = transport->recv(a, &m)) == -EAGAIN)
            ck_assert(is_readable(transport->recv_fd(a)));
        ck_assert_int_eq(r, cases[i].error == 0 ? -ECONNRESET : cases[i].error);
        if (cases[i].error != 0)
            (void)close(fd);
        close_channels();
    }
}
END_TEST

START_TEST(test_stale_socket)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd);
    open_channels(); /* in its place */
    close_channels();
}
END_TEST

int
main(void)
{
    const TTest *const tests[] = {test_descriptors_say_what_would_work, test_a_message_in_parts,
        test_last_words, test_one_byte_at_a_time, test_malformed_lengths, test_stale_socket};

    return run_tests(&transport_unix, tests, sizeof tests / sizeof tests[0]) == 0 ? 0 : 1;
}
