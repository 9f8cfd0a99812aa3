/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frontend process: the loop, the uplink to the broker, the hub of local subscriptions, listeners and
 * connections, limits, figures. A transport is a struct frontend_kind and a main() that calls
 * frontend_main().
 *
 *     listener → the transport's on_accept → conn_open_take() → on_bytes → dialect decode → session_request()
 *     uplink → hub → encoder → session on_deliver → conn_send() → one write at the turn's end
 */
#ifndef SDK_FRONTEND_H
#define SDK_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/slice.h"
#include "base/table.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/options.h"
#include "frontends/sdk/position.h"
#include "frontends/sdk/request.h"

struct block;
struct conn;
struct frontend;
struct hub;
struct listen_passed;
struct memguard;
struct multisend;
struct peer;
struct peers;
struct slow_topics;
struct tls;
struct uplink;

/* Counters of a frontend, one row each, sent to the broker as STATS and logged. */
struct frontend_counters {
#define COUNTER(name, sentence) uint64_t name;
#include "frontends/sdk/counters.tbl.h"
#undef COUNTER
};

struct frontend {
    const struct frontend_kind *kind;
    const char *instance; /* "ws.1" */
    struct loop *loop;
    const struct limits_options *limits; /* a reload points it to others */
    struct memguard *memory;             /* NULL in tests: never tight */
    struct uplink *uplink;
    struct hub *hub;
    struct frontend_counters counters;
    struct request_scratch scratch; /* for the request being decoded */
    struct buf encode_scratch;
    struct block *answers; /* this turn's small answers of all connections */
    struct list conns;
    struct list dirty_conns;
    struct list closed_conns;
    struct loop_hook turn_hook;
    bool is_turn_ending;  /* turn_hook is at work */
    uint8_t *read_buffer; /* shared by all connections */
    uint32_t n_conns;
    bool is_stopping;
    bool is_restarting; /* while stopping: another process listens on the same socket */
    void *state;        /* the transport's, from start() */

    /* For the sdk's own files. */
    struct list closing_conns; /* conn_close_soon(): they end by themselves or by the sweep */
    struct loop_timer closing_sweep;
    struct out_piece incoming;       /* while conn_ops.on_overflow() runs: for what there is no room */
    struct slow_topics *slow_topics; /* NULL until somebody was too slow */
    struct list slow_sessions;       /* those that have not been told yet what they missed */
    struct loop_timer slow_poll;
    struct peers *peers;          /* connections by address */
    struct peer *accepted;        /* of the listener's call under way, until conn_open_take() takes it */
    struct multisend *multisend;  /* NULL: each client is written to by itself */
    struct tls *tls;              /* of those who listen for TLS; NULL: nobody does */
    struct tls *accepted_tls;     /* of the listener's call under way; NULL: not encrypted */
    struct table badges;          /* of sessions that messages may exclude: badge.h */
    uint64_t fd_limit;            /* descriptors this process may have; 0: unknown */
    bool shares_port;             /* several workers listen on one port */
    struct listen_passed *passed; /* sockets that were passed to this process; NULL after the start */
    bool has_passed;              /* and one of them was taken */
};

/* A section of the config beside the transport's own: it is loaded into the options at `offset`. */
struct frontend_section {
    const struct conf_section *section;
    size_t offset;
};
#define FRONTEND_SECTIONS_MAX 8

struct frontend_kind {
    const char *name;                   /* "ws"; also the config section that frontend_main() loads */
    const struct conf_section *section; /* the transport's own options */
    /* More sections: the options are then a struct of options_size bytes that begins with those of
     * `section`. */
    const struct frontend_section *more;
    size_t n_more;
    size_t options_size;
    /* What the tables cannot say; NULL: nothing. */
    void (*check)(struct conf_check *check, const void *options);
    /* Opens listeners. 0, or negative errno after logging why (-EADDRINUSE ends the process with exit code
     * 5). */
    int (*start)(struct frontend *fe, const void *options, void **ret_state);
    /* Planned end: stop listening (listener_stop()). Then leave() is called for each connection, at a paced
     * rate (drain.h); the process ends when none is left, or after limits.drain_time. */
    void (*stop)(struct frontend *fe, void *state);
    /* Answer what is under way, tell the client in its protocol's words that it must connect again, close.
     * False: it has not asked for anything yet; it is asked for again a little later. */
    bool (*leave)(struct frontend *fe, struct conn *c);
    void (*free)(void *state);
    /* The config was read again: `options` hold from now on, the old ones are freed after. Only what its
     * table calls LIVE may change. May be NULL: the options stay as they were until a restart. */
    void (*reload)(struct frontend *fe, void *state, const void *options);
};

/* For tests, and for frontend_main(): a frontend without link, listeners, signals. */
int frontend_init(struct frontend *fe, struct loop *loop, const struct limits_options *limits);
void frontend_fini(struct frontend *fe);

/* Arguments, config, signals, uplink, loop: everything but the protocol. Returns the exit code. */
int frontend_main(int argc, char **argv, const struct frontend_kind *kind);

/* The link to the broker is up and caught up. For health/ready. */
bool frontend_is_ready(const struct frontend *fe);
/* Where this frontend's stream is now. */
struct position frontend_position(const struct frontend *fe);

/* Answers through the session's encoder on a connection: what most transports' on_answer does. */
struct session;
void frontend_send_answer(
    struct frontend *fe, struct conn *c, const struct session *s, const struct answer *answer);

/* ---- Listeners. ---- */

struct listener;
/* fd is non-blocking and close-on-exec, the callee's to keep. Limits (connections, per address, spare
 * descriptors) were checked before: over them the client was closed (after `refuse`, bytes that may be empty,
 * was written) and counted. */
typedef void (*listener_accept_fn)(
    struct frontend *fe, int fd, const struct sockaddr *peer, socklen_t peer_n, void *arg);
int listener_open(struct frontend *fe, const char *address, struct slice refuse, listener_accept_fn on_accept,
    void *arg, struct listener **ret);
/* The same for clients that speak TLS; fe->tls is there. */
int listener_open_tls(
    struct frontend *fe, const char *address, listener_accept_fn on_accept, void *arg, struct listener **ret);
struct listener *listener_close(struct listener *listener); /* NULL is fine */
/* As listener_close(), for a planned end: those that wait to be accepted are accepted first, unless the
 * socket lives on without us. */
struct listener *listener_stop(struct listener *listener);
/* Where it really listens: "127.0.0.1:40123". */
const char *listener_address(const struct listener *listener);
/* What is set on it holds for those that it accepts from then on (tcp(7)). */
int listener_fd(const struct listener *listener);

/* What a transport listens on: in the clear, encrypted, or both; NULL: it does not. */
struct listeners {
    struct listener *plain, *tls;
};
/* What the transport's section says. is_http: as in tls_new(). 0, or negative errno after logging why. */
struct listeners_spec {
    const struct conf_address *listen;
    const struct tls_options *tls;
    bool is_http;
    struct slice refuse;
    listener_accept_fn on_accept;
    void *arg;
};
int listeners_open(struct frontend *fe, const struct listeners_spec *spec, struct listeners *ret);
void listeners_stop(struct listeners *listeners);
void listeners_close(struct listeners *listeners);

#endif
