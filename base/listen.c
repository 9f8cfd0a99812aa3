/* SPDX-License-Identifier: Apache-2.0 */
/* Binding, and telling which passed socket is the one for an address. */
#include "config.h"

#include "base/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/conf.h"

#define BACKLOG 4096 /* the kernel takes its own maximum if that is less */

/* ---- Addresses. ---- */

static int
listen_resolve(const struct conf_address *address, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    const char *host = address->host == NULL ? "::" : address->host;
    char port[8];
    int r;

    (void)snprintf(port, sizeof port, "%u", (unsigned)address->port);
    r = getaddrinfo(host, port, &hints, ret);
    if (r == 0)
        return 0;
    return r == EAI_MEMORY ? -ENOMEM : r == EAI_SYSTEM ? -errno : -EADDRNOTAVAIL;
}

/* Sets the port in host order, and returns what was there. */
static uint16_t
listen_swap_port(struct sockaddr_storage *name, uint16_t port)
{
    in_port_t *at = name->ss_family == AF_INET6 ? &((struct sockaddr_in6 *)name)->sin6_port
                                                : &((struct sockaddr_in *)name)->sin_port;
    uint16_t old = ntohs(*at);

    *at = htons(port);
    return old;
}

static bool
listen_is_any(const struct sockaddr_storage *name)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
    const struct sockaddr_in *in = (const struct sockaddr_in *)name;

    return name->ss_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)
                                       : in->sin_addr.s_addr == htonl(INADDR_ANY);
}

static bool
listen_same_host(const struct sockaddr_storage *name, const struct addrinfo *at)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
    const struct sockaddr_in *in = (const struct sockaddr_in *)name;

    if (at->ai_family != name->ss_family)
        return false;
    if (at->ai_family == AF_INET6)
        return memcmp(&((const struct sockaddr_in6 *)(const void *)at->ai_addr)->sin6_addr, &in6->sin6_addr,
                   sizeof in6->sin6_addr) == 0;
    return ((const struct sockaddr_in *)(const void *)at->ai_addr)->sin_addr.s_addr == in->sin_addr.s_addr;
}

/* ---- Opening. ---- */

static int
listen_set_options(int fd, int family, bool shares_port)
{
    int on = 1, off = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (shares_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
        return -errno;
    /* "*" is both IPv4 and IPv6, whatever the machine's default. */
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    /* Accepted sockets inherit it. */
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return -errno;
    return 0;
}

static int
listen_socket(const struct addrinfo *at, bool shares_port, int *ret_fd)
{
    int r, fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    r = listen_set_options(fd, at->ai_family, shares_port);
    if (r == 0 && (bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0))
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int
listen_open(const struct conf_address *address, bool shares_port, int *ret_fd)
{
    struct addrinfo *list;
    int r = listen_resolve(address, &list);

    if (r < 0)
        return r;
    r = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = list; at != NULL && r < 0; at = at->ai_next)
        r = listen_socket(at, shares_port, ret_fd);
    freeaddrinfo(list);
    if (address->host == NULL && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(address->port)};
        const struct addrinfo at = {
            .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&any, .ai_addrlen = sizeof any};

        r = listen_socket(&at, shares_port, ret_fd);
    }
    return r;
}

void
listen_describe(int fd, const struct conf_address *address, char ret[LISTEN_TEXT_MAX])
{
    struct sockaddr_storage name = {0};
    socklen_t n = sizeof name;
    char host[64] = "?", port[8] = "?"; /* numbers only */

    if (getsockname(fd, (struct sockaddr *)&name, &n) == 0)
        (void)getnameinfo((struct sockaddr *)&name, n, host, sizeof host, port, sizeof port,
            NI_NUMERICHOST | NI_NUMERICSERV);
    if (address->host == NULL)
        (void)snprintf(ret, LISTEN_TEXT_MAX, "*:%s", port);
    else
        (void)snprintf(ret, LISTEN_TEXT_MAX, name.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- Passed sockets. ---- */

/* A variable that is a number and nothing else, below max; else -1. */
static long
listen_variable(const char *name, long max)
{
    const char *text = getenv(name);
    char *end;
    long value;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return -1;
    errno = 0;
    value = strtol(text, &end, 10);
    return errno != 0 || *end != '\0' || value > max ? -1 : value;
}

void
listen_passed_init(struct listen_passed *passed)
{
    long pid = listen_variable("LISTEN_PID", INT32_MAX), n = listen_variable("LISTEN_FDS", INT32_MAX);

    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    passed->n = 0;
    if (pid != (long)getpid() || n <= 0)
        return;
    for (int fd = LISTEN_FIRST_FD; fd < LISTEN_FIRST_FD + n && passed->n < LISTEN_PASSED_MAX; fd++) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            continue; /* it is not there */
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
        passed->fds[passed->n++] = fd;
    }
}

static bool
listen_fits(int fd, const struct conf_address *address, const struct addrinfo *list)
{
    struct sockaddr_storage name = {0};
    socklen_t n = sizeof name, n_int = sizeof(int);
    int is_listening = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &n_int) < 0 || !is_listening ||
        getsockname(fd, (struct sockaddr *)&name, &n) < 0 ||
        (name.ss_family != AF_INET && name.ss_family != AF_INET6))
        return false;
    uint16_t port = listen_swap_port(&name, 0);
    if (address->port != 0 && address->port != port)
        return false;
    if (address->host == NULL)
        return listen_is_any(&name);
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next)
        if (listen_same_host(&name, at))
            return true;
    return false;
}

int
listen_passed_take(struct listen_passed *passed, const struct conf_address *address)
{
    struct addrinfo *list = NULL;
    int fd = -1, on = 1;

    if (passed->n == 0 || (address->host != NULL && listen_resolve(address, &list) < 0))
        return -1;
    for (unsigned i = 0; i < passed->n && fd < 0; i++) {
        if (passed->fds[i] < 0 || !listen_fits(passed->fds[i], address, list))
            continue;
        fd = passed->fds[i];
        passed->fds[i] = -1; /* the caller's now */
    }
    if (list != NULL)
        freeaddrinfo(list);
    if (fd >= 0) /* whoever opened it may not have known that */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

unsigned
listen_passed_fini(struct listen_passed *passed)
{
    unsigned n_left = 0;

    for (unsigned i = 0; i < passed->n; i++) {
        if (passed->fds[i] < 0)
            continue;
        close(passed->fds[i]);
        n_left++;
    }
    passed->n = 0;
    return n_left;
}
