/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: attempts one address after the other, delays between them, and the deadlines, all on one
 * timer. */
#include "config.h"

#include "clients/c/bbpriv.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rand.h"

static void bb_attempt(struct bb_client *client);

/* ---- The timer. ---- */

static uint64_t
bb_publish_due(const struct bb_client *client, uint64_t began_ms)
{
    return began_ms + client->options.publish_timeout_ms;
}

/* The earliest deadline, UINT64_MAX for none. It may be too early (heard_ms moved on): on_timer then finds
 * nothing to do. */
static uint64_t
bb_next_due(const struct bb_client *client)
{
    uint64_t due = UINT64_MAX, at;

    if (client->addresses != NULL && client->state != BB_OPEN)
        due = client->due_ms;
    if (client->state == BB_OPEN)
        due = client->pinged_ms > 0 ? client->pinged_ms + client->options.pong_timeout_ms
                                    : client->heard_ms + client->options.ping_after_ms;
    if (client->again_ms > 0 && client->again_ms < due)
        due = client->again_ms;
    if (client->asks_due_ms < due)
        due = client->asks_due_ms;
    if (client->options.publish_timeout_ms == 0)
        return due;
    if (!list_empty(&client->pending)) {
        at =
            bb_publish_due(client, list_entry(client->pending.next, struct bb_pending, in_pending)->began_ms);
        due = at < due ? at : due;
    }
    if (!list_empty(&client->queries)) {
        at = bb_publish_due(client, list_entry(client->queries.next, struct bb_query, in_queries)->began_ms);
        due = at < due ? at : due;
    }
    return due;
}

void
bb_timer_arm(struct bb_client *client)
{
    uint64_t due = bb_next_due(client), now = bb_now_ms(), left;
    struct timeval tv;

    if (due == UINT64_MAX) {
        (void)evtimer_del(client->timer);
        return;
    }
    left = due > now ? due - now : 0;
    tv.tv_sec = (time_t)(left / 1000);
    tv.tv_usec = (suseconds_t)(left % 1000 * 1000);
    (void)evtimer_add(client->timer, &tv);
}

static void
bb_end_late(struct bb_client *client, uint64_t now)
{
    static const struct bb_result late = {.error = -ETIMEDOUT};
    struct bb_pending *pending;
    struct bb_query *query;

    while (client->options.publish_timeout_ms > 0 && !list_empty(&client->pending)) {
        pending = list_entry(client->pending.next, struct bb_pending, in_pending);
        if (bb_publish_due(client, pending->began_ms) > now)
            break;
        bb_pending_end(client, pending, &late);
    }
    while (client->options.publish_timeout_ms > 0 && !list_empty(&client->queries)) {
        query = list_entry(client->queries.next, struct bb_query, in_queries);
        if (bb_publish_due(client, query->began_ms) > now)
            break;
        bb_query_end(client, query, &late);
    }
}

void
bb_put_off(struct bb_client *client)
{
    uint16_t random;

    if (client->again_ms > 0)
        return;
    rand_bytes(&random, sizeof random);
    client->again_ms = bb_now_ms() + BB_AGAIN_MS / 2 + BB_AGAIN_MS / 2 * random / UINT16_MAX;
    bb_timer_arm(client);
}

static void
bb_check_silence(struct bb_client *client, uint64_t now)
{
    if (client->pinged_ms > 0 && now >= client->pinged_ms + client->options.pong_timeout_ms) {
        bb_lose(client, "no answer to a ping");
    } else if (client->pinged_ms == 0 && now >= client->heard_ms + client->options.ping_after_ms) {
        client->pinged_ms = now;
        buf_put_str(&client->control, "{\"op\":\"ping\"}\n");
        bb_want_write(client);
    }
}

void
bb_on_timer(int fd, short what, void *arg)
{
    struct bb_client *client = arg;
    uint64_t now = bb_now_ms();

    (void)fd;
    (void)what;
    bb_enter(client);
    bb_end_late(client, now);
    if (!client->is_closed)
        bb_asks_end_late(client, now);
    if (!client->is_closed && client->again_ms > 0 && now >= client->again_ms) {
        client->again_ms = 0;
        bb_say_put_off(client);
    }
    if (!client->is_closed && client->state == BB_OPEN)
        bb_check_silence(client, now);
    else if (!client->is_closed && client->addresses != NULL && now >= client->due_ms) {
        if (client->state == BB_CONNECTING)
            bb_lose(client, "no answer in time");
        else
            bb_attempt(client);
    }
    if (!client->is_closed)
        bb_timer_arm(client);
    bb_leave(client);
}

/* ---- Events of the socket. ---- */

static int
bb_connect_outcome(struct bb_client *client)
{
    int error = 0;
    socklen_t n = sizeof error;

    if (getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        return -errno;
    return -error;
}

static void
bb_on_write(int fd, short what, void *arg)
{
    struct bb_client *client = arg;
    int r = 0;

    (void)fd;
    (void)what;
    bb_enter(client);
    if (!client->is_connected) {
        r = bb_connect_outcome(client);
        if (r == 0) {
            client->is_connected = true;
            (void)event_add(client->read_event, NULL);
            bb_say_again(client);
        }
    }
    if (r == 0)
        r = bb_write(client);
    if (r < 0)
        bb_lose(client, strerror(-r));
    bb_leave(client);
}

static void
bb_on_read(int fd, short what, void *arg)
{
    struct bb_client *client = arg;
    const char *why = NULL;
    int r;

    (void)fd;
    (void)what;
    bb_enter(client);
    r = bb_read(client, &why);
    if (r < 0 && !client->is_closed)
        bb_lose(client, client->why[0] != '\0' ? client->why : why != NULL ? why : strerror(-r));
    bb_leave(client);
}

/* ---- Attempts. ---- */

void
bb_disconnect(struct bb_client *client)
{
    if (client->read_event != NULL)
        event_free(client->read_event);
    client->read_event = NULL;
    if (client->write_event != NULL)
        event_free(client->write_event);
    client->write_event = NULL;
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    client->is_connected = false;
    client->pinged_ms = 0;
    client->again_ms = 0;
    buf_reset(&client->out);
    client->out_at = 0;
    buf_reset(&client->control);
    buf_reset(&client->in);
    client->in_scanned = 0;
}

static uint32_t
bb_delay_ms(struct bb_client *client)
{
    unsigned shift = client->n_attempts < 16 ? client->n_attempts : 16;
    uint64_t delay = (uint64_t)client->options.min_delay_ms << shift;
    uint16_t random;

    if (delay > client->options.max_delay_ms)
        delay = client->options.max_delay_ms;
    rand_bytes(&random, sizeof random);
    return (uint32_t)(delay / 2 + delay / 2 * random / UINT16_MAX);
}

void
bb_lose(struct bb_client *client, const char *why)
{
    char copy[sizeof client->why];

    (void)snprintf(copy, sizeof copy, "%s", why);
    client->why[0] = '\0';
    bb_disconnect(client);
    client->due_ms = bb_now_ms() + bb_delay_ms(client);
    client->n_attempts++;
    bb_tell_state(client, BB_WAITING, copy);
    bb_asks_lost(client);
    if (!client->is_closed)
        bb_timer_arm(client);
}

void
bb_heard(struct bb_client *client)
{
    client->heard_ms = bb_now_ms();
    client->pinged_ms = 0;
    if (client->state == BB_OPEN)
        return;
    client->n_attempts = 0;
    bb_tell_state(client, BB_OPEN, NULL);
    if (!client->is_closed)
        bb_timer_arm(client);
}

static int
bb_attempt_address(struct bb_client *client, const struct addrinfo *address)
{
    int on = 1;

    client->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return -errno;
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a wish, not a need */
    client->read_event = event_new(client->base, client->fd, EV_READ | EV_PERSIST, bb_on_read, client);
    client->write_event = event_new(client->base, client->fd, EV_WRITE, bb_on_write, client);
    if (client->read_event == NULL || client->write_event == NULL)
        return -ENOMEM;
    if (connect(client->fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    return event_add(client->write_event, NULL) < 0 ? -ENOMEM : 0;
}

static void
bb_attempt(struct bb_client *client)
{
    const struct addrinfo *address = client->address;
    int r;

    client->address = address->ai_next != NULL ? address->ai_next : client->addresses;
    client->due_ms = bb_now_ms() + client->options.connect_timeout_ms;
    bb_tell_state(client, BB_CONNECTING, NULL);
    if (client->is_closed)
        return;
    r = bb_attempt_address(client, address);
    if (r < 0)
        bb_lose(client, strerror(-r));
}

static int
bb_resolve(struct bb_client *client, const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    char service[8];
    int r;

    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    r = getaddrinfo(host, service, &hints, &client->addresses);
    if (r == EAI_NONAME) {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        r = getaddrinfo(host, service, &hints, &client->addresses);
    }
    if (r == 0)
        return 0;
    client->addresses = NULL;
    return r == EAI_MEMORY ? -ENOMEM : r == EAI_AGAIN ? -EAGAIN : -EHOSTUNREACH;
}

int
bb_connect(struct bb_client *client, const char *host, uint16_t port)
{
    int r;

    if (port == 0 || host == NULL || host[0] == '\0')
        return -EINVAL;
    if (client->is_closed || client->addresses != NULL)
        return -EALREADY;
    r = bb_resolve(client, host, port);
    if (r < 0)
        return r;
    client->address = client->addresses;
    client->due_ms = bb_now_ms(); /* from the loop: no callback runs in here */
    bb_timer_arm(client);
    return 0;
}

void
bb_connect_fini(struct bb_client *client)
{
    bb_disconnect(client);
    (void)evtimer_del(client->timer);
    if (client->addresses != NULL)
        freeaddrinfo(client->addresses);
    client->addresses = client->address = NULL;
}
