/* SPDX-License-Identifier: Apache-2.0 */
/* One datagram each to $NOTIFY_SOCKET: a path, or @ and a name in the abstract namespace. */
#include "config.h"

#include "base/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void
notify_send(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t n = path != NULL ? strlen(path) : 0;

    if (n < 2 || n >= sizeof addr.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(addr.sun_path, path, n);
    if (path[0] == '@')
        addr.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&addr,
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)close(fd);
}

void
notify_ready(void)
{
    notify_send("READY=1");
}

static void
notify_address(const char *name, const char *address)
{
    char text[320];

    (void)snprintf(text, sizeof text, "%s=%s", name, address);
    notify_send(text);
}

void
notify_listening(const char *address)
{
    notify_address("X_BUSBAR_LISTEN", address);
}

void
notify_listening_tls(const char *address)
{
    notify_address("X_BUSBAR_LISTEN_TLS", address);
}

void
notify_status(const char *fmt, ...)
{
    char text[512] = "STATUS=";
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text + strlen(text), sizeof text - strlen(text), fmt, ap);
    va_end(ap);
    for (char *p = text; *p != '\0'; p++) {
        if (*p == '\n') /* a line end would begin another assignment */
            *p = ' ';
    }
    notify_send(text);
}

/* systemd wants the time too, so that it can tell this reload's READY=1 from an older one. */
void
notify_reloading(void)
{
    char text[80];
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
        (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    notify_send(text);
}

void
notify_stopping(void)
{
    notify_send("STOPPING=1");
}
