/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving half of wire/unix.c: a peer that sends any bytes, in pieces of any size. The input's first
 * byte gives the sizes of the pieces, the rest is what is sent. What recv() gives is compared with what a few
 * lines find in the whole.
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire/frame.h"
#include "wire/transport.h"

#undef NDEBUG
#include <assert.h>

#define INPUT_MAX (64u * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct transport_ops *const unix_ops = &transport_unix;

/* 1 and the message at *at; 0: it is not all there; -1: its length is too large. */
static int
expect(struct slice all, size_t *at, struct slice *ret)
{
    const uint8_t *p = all.p + *at;

    if (all.n - *at < 4)
        return 0;
    size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (n > LINK_BATCH_MAX)
        return -1;
    if (all.n - *at - 4 < n)
        return 0;
    *ret = slice_of(p + 4, n);
    *at += 4 + n;
    return 1;
}

/* Takes all that there is. 0, or the error that ended it. */
static int
receive(struct channel *c, struct slice all, size_t *at)
{
    struct pollfd p = {.fd = unix_ops->recv_fd(c), .events = POLLIN};
    struct slice m, want;

    while (poll(&p, 1, 0) == 1) {
        int r = unix_ops->recv(c, &m);
        if (r == -EAGAIN)
            continue;
        if (r < 0)
            return r;
        assert(expect(all, at, &want) == 1);
        assert(m.n == want.n && memcmp(m.p, want.p, m.n) == 0);
        unix_ops->release(c, m);
    }
    return 0;
}

static int
connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert(fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    return fd;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct channel *c;
    struct slice m;
    size_t at = 0;
    int r = 0;

    if (size == 0 || size > INPUT_MAX)
        return 0;
    (void)snprintf(path, sizeof path, "/tmp/fuzz-unix-%ld.sock", (long)getpid());
    assert(unix_ops->bind(path, &c) == 0);
    int fd = connect_to(path);
    struct slice all = slice_of(data + 1, size - 1);
    size_t piece = data[0] == 0 ? size : data[0];
    for (size_t sent = 0; sent < all.n && r == 0;) {
        size_t n = all.n - sent < piece ? all.n - sent : piece;
        assert(write(fd, all.p + sent, n) == (ssize_t)n);
        sent += n;
        r = receive(c, all, &at);
    }
    (void)close(fd);
    if (r == 0)
        r = receive(c, all, &at);
    /* Nothing whole was left behind, and the end is the right one. */
    int rest = expect(all, &at, &m);
    assert(rest <= 0);
    assert(rest < 0 ? r == -EPROTO || r == -EPROTONOSUPPORT : r == -ECONNRESET);
    unix_ops->close(c);
    assert(access(path, F_OK) < 0);
    return 0;
}
