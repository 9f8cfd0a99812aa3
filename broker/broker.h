/* SPDX-License-Identifier: Apache-2.0 */
/* The broker: everything that its modules share hangs from here. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "backends/memory/memory.h"
#include "backends/sqlite/sqlite.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/options.h"
#include "broker/interest.h"
#include "broker/options.h"
#include "broker/topic.h"
#include "wire/options.h"

struct asyncrequests;
struct control;
struct memguard;
struct peer;
struct publish_pending;
struct presence;
struct queues;
struct requests;
struct responders;
struct settings;
struct transport_ops;

/* One load of the config file. */
struct broker_config {
    struct bus_options bus;
    struct log_options log;
    struct link_options link;
    struct broker_options broker;
    struct store_options store;
    struct conf_items topics;
    const struct backend_ops *store_ops; /* NULL: the one that the options name */
};

struct broker_counters {
    uint64_t published, rejected, repeated; /* publishes */
    uint64_t scheduled;                     /* those with a delay, when they came */
    uint64_t delivered;                     /* MESSAGE frames put, one for each link */
    uint64_t replayed;                 /* REPLAY frames put, and MESSAGE frames of links that caught up */
    uint64_t recoveries;               /* RECOVER frames answered */
    uint64_t fell_behind;              /* times that a link was let fall behind */
    uint64_t links_opened, links_lost; /* lost: without a goodbye */
    uint64_t refused;                  /* HELLOs */
    uint64_t refused_memory;           /* publishes, filters and HELLOs, because memory was nearly used up */
    uint64_t malformed;                /* links dropped for what they sent */
};

struct broker {
    struct loop *loop;
    const struct transport_ops *transport;
    struct control *control;
    uint8_t token[16];       /* of the last WELCOME; the control socket packs it after hello.c has returned */
    char url[160];           /* likewise */
    const char *config_path; /* for SIGHUP; NULL: there was none */
    const char *const *set;
    size_t n_set;
    struct broker_config config;   /* as it was loaded last */
    struct broker_options options; /* what holds now: what needs a restart is as it was at the start */
    char *runtime_dir;
    int lock_fd;
    uint64_t looked_at_ms; /* when the runtime directory was seen to be there */

    struct memguard *memory;
    struct settings *settings;
    const struct backend_ops *store_ops;
    struct backend *store;
    uint64_t
        last_seq; /* of the last record that was delivered: every live link has what it wants up to here */
    unsigned n_reads;                     /* of the store, under way: no topic may be forgotten */
    struct publish_pending *free_pending; /* publish.c's */
    uint64_t n_scheduling;                /* messages with a delay that the store has not answered yet */
    unsigned n_held;                      /* links whose publish the store had no room for */
    struct loop_hook held_hook;           /* tries those again when the store has answered something */

    struct topics topics;
    struct interest interest;
    struct responders *responders;
    struct queues *queues;
    struct asyncrequests *async;
    struct requests *requests;
    struct presence *presence;
    uint64_t n_consumers; /* of all links */
    struct peer **peers;  /* by slot; NULL: free */
    unsigned n_slots;
    unsigned n_peers;
    uint64_t next_session;
    struct buf packed;    /* one MESSAGE frame while it is delivered */
    struct list listings; /* LISTs that wait for their answer, in the order in which they came */
    struct loop_hook listing_hook;
    struct loop_hook position_hook; /* tells live links the position at the end of a turn */

    struct loop_timer tick, sys_timer;
    uint64_t started_ms;
    uint64_t served_ms; /* the first HELLO: opening a large store may take its time */
    int64_t started_wall_ms;
    bool is_stopping;
    bool is_broken; /* the store is: we end so that it is opened anew */
    struct loop_timer stop_timer;
    struct broker_counters counters;
};

/* Takes over what config owns, in any case. Then path and set are for SIGHUP. 0, or a PROC_EXIT_ (why was
 * logged). */
int broker_new(struct broker_config *config, const char *path, const char *const *set, size_t n_set,
    struct broker **ret);
/* Serves until SIGTERM or SIGINT. 0 or a PROC_EXIT_. */
int broker_run(struct broker *broker);
struct broker *broker_free(struct broker *broker);

/* Says goodbye to all links, ends the loop when they are gone or a second has passed. */
void broker_stop(struct broker *broker);
/* A link is gone; may end the loop. */
void broker_on_peer_gone(struct broker *broker);

/* Reads the file anew. Whatever is wrong is logged and nothing changes. */
void broker_reload(struct broker *broker);

/* How long frontends that were there before this broker may still be on their way; 0: whoever could come is
 * here. */
uint64_t broker_grace_left_ms(const struct broker *broker);

/* One load into config (zero or freed before). Errors are printed to stderr; 0 or negative errno. */
int broker_config_load(struct broker_config *config, const char *path, const char *const *set, size_t n_set);
void broker_config_free(struct broker_config *config);

#endif
