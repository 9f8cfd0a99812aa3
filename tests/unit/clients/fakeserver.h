/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server for tests of libbusbar, on the test's own loop: it keeps every line that the client sends and says
 * what the test tells it to. One client at a time; the port stays the same over server_stop() and
 * server_start().
 */
#ifndef TESTS_UNIT_CLIENTS_FAKESERVER_H
#define TESTS_UNIT_CLIENTS_FAKESERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event;
struct event_base;

struct server {
    struct event_base *base;
    uint16_t port;
    int listener, fd; /* -1: none */
    struct event *accept_event, *read_event;
    char *in; /* all that came on this connection, NUL-terminated */
    size_t n_in;
    unsigned n_connections;
    bool is_mute;      /* does not answer hello and pings */
    size_t n_answered; /* bytes of in that were looked at for that */
};

void server_init(struct server *s, struct event_base *base); /* and starts */
void server_start(struct server *s);
void server_stop(struct server *s); /* the listener too: connections are refused */
void server_drop(struct server *s); /* the client's connection only */
void server_fini(struct server *s);

/* To the client; as it is. */
void server_say(struct server *s, const char *text);

/* How often the text came on this connection. */
unsigned server_heard(const struct server *s, const char *text);

/* Turns the loop until the text came n times; fails the test after some seconds. */
void server_wait(struct server *s, const char *text, unsigned n);

/* Turns the loop until *condition is at least n. */
void loop_until(struct event_base *base, const unsigned *condition, unsigned n);

/* Turns the loop once, waiting a moment at most. */
void loop_turn(struct event_base *base);

#endif
