/* SPDX-License-Identifier: Apache-2.0 */
/* A client of libbusbar, the server that it talks to, and a note of all that it was given. */
#ifndef TESTS_UNIT_CLIENTS_BUSFIXTURE_H
#define TESTS_UNIT_CLIENTS_BUSFIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "clients/c/busbar.h"
#include "tests/unit/clients/fakeserver.h"

struct fixture {
    struct event_base *base;
    struct server server;
    struct bb_client *bus;
    struct bb_subscription *sub;
    unsigned n_states[BB_CLOSED + 1], n_errors;
    char why[200];

    unsigned n_messages, n_events[BB_REFUSED + 1], n_results, n_topics, n_ends;
    char log[65536]; /* messages and events, for people and for strcmp() */
    enum bb_kind kind;
    int error; /* of the last result */
    char cursor[64];
    char code[64];
    bool closes_on_message, ends_on_message;
};

/* A client that has not been told where to connect to; it is now; and it and the server go. */
void begin(struct fixture *f, struct bb_options options);
void connected(struct fixture *f);
void finish(struct fixture *f);

/* With on_message and on_event; the subscription is in f->sub. */
void subscribe(struct fixture *f, const char *filter, const struct bb_subscribe_options *options);

/* All of them note; arg is the fixture. */
void on_message(struct bb_subscription *sub, const struct bb_message *m, void *arg);
void on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg);
void on_published(struct bb_client *client, const struct bb_result *result, void *arg);
void on_topic(
    struct bb_client *client, const struct bb_topic *topic, const struct bb_result *result, void *arg);
void on_answer(struct bb_client *client, const struct bb_answer *answer, void *arg);
void on_line(
    struct bb_client *client, const char *json, size_t len, const struct bb_result *result, void *arg);
void on_presence(struct bb_subscription *sub, const char *topic, const char *json, size_t len, void *arg);

#endif
