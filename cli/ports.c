/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tries an address by listening on it for a moment. Without SO_REUSEPORT on purpose: with it, a second bus of
 * the same user would share the port of the first, and take half of its clients.
 */
#include "config.h"

#include "cli/ports.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/conf.h"

static int
try_listen(const struct addrinfo *ai)
{
    int on = 1, r = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return errno == EAFNOSUPPORT ? 0 : -errno; /* no IPv6 here: not what is asked */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 1) < 0)
        r = -errno;
    (void)close(fd);
    return r;
}

static void
explain(int error, const struct conf_address *a, const char *option, char *what, size_t size)
{
    switch (error) {
    case EADDRINUSE:
        (void)snprintf(what, size,
            "%s: another program listens on %.100s already (`ss -ltnp sport = :%u` names it). Stop that one, "
            "or change "
            "%s in the configuration, or for once with --set %s=HOST:PORT",
            option, a->text, a->port, option, option);
        break;
    case EACCES:
    case EPERM:
        (void)snprintf(what, size,
            "%s: this user may not listen on %.100s: ports below 1024 need CAP_NET_BIND_SERVICE", option,
            a->text);
        break;
    case EADDRNOTAVAIL:
        (void)snprintf(what, size, "%s: %.100s is not an address of this machine", option, a->text);
        break;
    default:
        (void)snprintf(what, size, "%s: cannot listen on %.100s: %s", option, a->text, strerror(error));
    }
}

int
ports_check(const struct conf_address *a, const char *option, char *ret_what, size_t what_size)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int r = 0;

    if (a->port == 0)
        return 0;
    (void)snprintf(port, sizeof port, "%u", a->port);
    int e = getaddrinfo(a->host, port, &hints, &found);
    if (e != 0) {
        (void)snprintf(
            ret_what, what_size, "%s: the host of %.100s is not known: %s", option, a->text, gai_strerror(e));
        return -EINVAL;
    }
    for (const struct addrinfo *ai = found; ai != NULL && r == 0; ai = ai->ai_next)
        r = try_listen(ai);
    freeaddrinfo(found);
    if (r < 0)
        explain(-r, a, option, ret_what, what_size);
    return r;
}
