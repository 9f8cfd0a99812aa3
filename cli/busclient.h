/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands share that speak with a bus as any client does: where the bus is, the loop, the
 * connection and what is said of it. A command fills the arguments with bus_args_take(), opens, asks with
 * libbusbar, runs, and closes.
 */
#ifndef CLI_BUSCLIENT_H
#define CLI_BUSCLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/proc.h"
#include "clients/c/busbar.h"

struct event;
struct event_base;

struct bus_args {
    struct proc_args proc; /* config and set, for the address */
    const char *server;    /* --server; NULL: look elsewhere */
    bool is_waiting;       /* --wait: for a bus that is not there yet */
    bool is_quiet;
    uint64_t timeout_ms; /* 0: none */
};

/* The options of all of them, for getopt_long(). */
#define BUS_SHORT_OPTIONS "s:c:qt:h"
#define BUS_LONG_OPTIONS                                                                                     \
    {"server", required_argument, NULL, 's'}, {"config", required_argument, NULL, 'c'},                      \
        {"set", required_argument, NULL, 1}, {"wait", no_argument, NULL, 2},                                 \
        {"quiet", no_argument, NULL, 'q'}, {"timeout", required_argument, NULL, 't'},                        \
    {                                                                                                        \
        "help", no_argument, NULL, 'h'                                                                       \
    }
/* The command's own are numbered from here. */
#define BUS_OPTION_FIRST 16

#define BUS_OPTIONS_HELP                                                                                     \
    "  -s, --server HOST:PORT  the bus's TCP address (default: $BUSBAR_SERVER, else the configuration's\n"   \
    "                          tcp.listen, else 127.0.0.1:7070)\n"                                           \
    "  -c, --config FILE       the configuration to take the address from; --set NAME=VALUE as for `busbar " \
    "up`\n"                                                                                                  \
    "  --wait                  wait for a bus that is not there yet\n"                                       \
    "  -q, --quiet             say nothing of the connection\n"

/* One option that getopt_long() returned: 0 if it was one of these and right; 1: end with *ret_exit; -1: it
 * is not one of these. */
int bus_args_take(
    struct bus_args *args, const char *command, int c, const char *value, const char *help, int *ret_exit);

/* The time that an option was given, such as 500ms or 10s; a number alone is seconds. 0, or -EINVAL, said on
 * stderr. */
int bus_take_time(const char *command, const char *option, const char *text, uint64_t *ret_ms);

struct bus_client {
    const char *command; /* "busbar pub", before what it says */
    const struct bus_args *args;
    struct event_base *base;
    struct bb_client *bb;
    char server[300];
    bool was_open, is_lost, is_ended;
    unsigned n_refused;
    int exit_code;
    uint64_t opened_at_ms;
    struct event *signals[2], *deadline;
    /* The command's, may be NULL: the time is up (bus_end() is called after, with what it returns); it was
     * stopped by a signal. */
    int (*on_timeout)(void *arg);
    int (*on_stop)(void *arg);
    void *arg;
};

/* Finds the bus and begins to connect. 0, or an exit code, said on stderr. publish_timeout_ms: as in struct
 * bb_options. */
int bus_open(
    struct bus_client *c, const char *command, const struct bus_args *args, uint32_t publish_timeout_ms);

/* Runs until bus_end(); returns the exit code. */
int bus_run(struct bus_client *c);

/* The first call counts. */
void bus_end(struct bus_client *c, int exit_code);

void bus_close(struct bus_client *c);

/* A line on stderr, after the command's name. bus_note() is silent with --quiet. */
void bus_note(const struct bus_client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bus_complain(const struct bus_client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What an answer's error is for people. */
const char *bus_result_text(const struct bb_result *result);

/* The stream is a terminal that takes colour (and $NO_COLOR is not set). */
bool bus_has_colour(FILE *to);

#endif
