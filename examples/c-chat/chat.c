/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chat on the terminal: libbusbar and standard input on one libevent loop.
 *
 *     cc chat.c -o chat $(pkg-config --cflags --libs busbar libevent_core)
 *     ./chat chat/room1 Ada             # the bus: $BUSBAR_SERVER, or 127.0.0.1:7070
 */
#include <busbar.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chat {
    struct event_base *base;
    struct bb_client *bus;
    const char *topic, *name;
    char line[4096];
    size_t n;
    bool is_leaving; /* standard input ended: leave when everything is acknowledged */
};

static void
on_message(struct bb_subscription *sub, const struct bb_message *m, void *arg)
{
    (void)sub;
    (void)arg;
    printf("%.*s\n", (int)m->len, (const char *)m->data);
    fflush(stdout);
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    (void)sub;
    (void)arg;
    if (event->type == BB_GAP)
        fprintf(stderr, "-- some messages are no longer kept\n");
    else if (event->type == BB_REFUSED)
        fprintf(stderr, "-- %s\n", event->text);
}

static void
on_state(struct bb_client *client, enum bb_state state, const char *why, void *arg)
{
    (void)client;
    (void)arg;
    if (state == BB_WAITING)
        fprintf(stderr, "-- not connected: %s\n", why);
    else if (state == BB_OPEN)
        fprintf(stderr, "-- connected\n");
}

static void
leave_if_done(struct chat *chat)
{
    if (chat->is_leaving && bb_pending(chat->bus, NULL) == 0)
        event_base_loopbreak(chat->base);
}

static void
on_published(struct bb_client *client, const struct bb_result *result, void *arg)
{
    (void)client;
    if (result->error < 0)
        fprintf(
            stderr, "-- not published: %s\n", result->text != NULL ? result->text : strerror(-result->error));
    leave_if_done(arg);
}

static void
say(struct chat *chat, const char *line)
{
    char text[sizeof chat->line + 64];
    int r;

    snprintf(text, sizeof text, "%s: %s", chat->name, line);
    r = bb_publish_text(chat->bus, chat->topic, text, on_published, chat);
    if (r < 0)
        fprintf(stderr, "-- not published: %s\n", strerror(-r));
}

static void
on_input(int fd, short what, void *arg)
{
    struct chat *chat = arg;
    ssize_t n = read(fd, chat->line + chat->n, sizeof chat->line - 1 - chat->n);
    char *newline;

    (void)what;
    if (n <= 0) {
        chat->is_leaving = n == 0 || errno != EAGAIN;
        leave_if_done(chat);
        return;
    }
    chat->n += (size_t)n;
    chat->line[chat->n] = '\0';
    while ((newline = strchr(chat->line, '\n')) != NULL || chat->n == sizeof chat->line - 1) {
        size_t used = newline != NULL ? (size_t)(newline - chat->line) + 1 : chat->n;

        if (newline != NULL)
            *newline = '\0';
        say(chat, chat->line);
        memmove(chat->line, chat->line + used, chat->n - used + 1);
        chat->n -= used;
    }
}

/* "HOST:PORT" from the environment. */
static int
connect_to_bus(struct bb_client *bus)
{
    const char *server = getenv("BUSBAR_SERVER");
    const char *colon = server != NULL ? strrchr(server, ':') : NULL;
    char host[256];

    if (colon == NULL)
        return bb_connect(bus, "127.0.0.1", BB_DEFAULT_PORT);
    snprintf(host, sizeof host, "%.*s", (int)(colon - server), server);
    return bb_connect(bus, host, (uint16_t)atoi(colon + 1));
}

int
main(int argc, char **argv)
{
    struct chat chat = {.topic = argc > 1 ? argv[1] : "chat/room1", .name = argc > 2 ? argv[2] : "somebody"};
    struct bb_options options = {.on_state = on_state};
    struct event *input;
    int r;

    /* poll(2) can watch a terminal, a pipe and a file alike; epoll refuses files. */
    struct event_config *config = event_config_new();
    event_config_avoid_method(config, "epoll");
    chat.base = event_base_new_with_config(config);
    event_config_free(config);
    r = bb_client_new(chat.base, &options, &chat.bus);
    if (r == 0)
        r = connect_to_bus(chat.bus);
    if (r == 0)
        r = bb_subscribe(chat.bus, &chat.topic, 1, &(struct bb_subscribe_options){.last = 20}, on_message,
            on_event, &chat, NULL);
    if (r < 0) {
        fprintf(stderr, "chat: %s\n", strerror(-r));
        return 1;
    }
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    input = event_new(chat.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &chat);
    event_add(input, NULL);
    event_base_dispatch(chat.base);
    event_free(input);
    bb_close(chat.bus);
    event_base_free(chat.base);
    return 0;
}
