/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of libbusbar. A client is a list of what it must say (subscriptions, publishes and lists without
 * an answer) and a connection that is there or not; a new connection says all of it again.
 *
 *     bbclient.c   lifetime, callbacks, who frees what when
 *     bbconnect.c  addresses, attempts, delays, deadlines
 *     bbwrite.c    what goes to the socket, in which order
 *     bbread.c     lines from the socket, and what each answer does
 *     bbsub.c, bbpub.c, bbtopics.c   subscriptions, publishes, lists of topics: said again until answered
 *     bbask.c      what is said once: requests, work, whatever else
 *
 * Every event callback stands between bb_enter() and bb_leave(): what a callback of the application ended is
 * freed by the outermost bb_leave(). After each callback of the application the caller looks at is_closed.
 */
#ifndef CLIENTS_C_BBPRIV_H
#define CLIENTS_C_BBPRIV_H

#include <netdb.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/slice.h"
#include "clients/c/busbar.h"

struct event;

#define BB_FILTERS_MAX 64
#define BB_KEY_MAX 255
#define BB_HEADERS_MAX 64
/* What waits in memory beside publishes: more is refused. */
#define BB_CONTROL_MAX (1u << 20)
/* What is copied for one write(). */
#define BB_WRITE_BYTES (64u << 10)
/* What is read in one turn, so that a fast server does not starve the application's other events. */
#define BB_READ_BYTES (256u << 10)
#define BB_TOPICS_PAGE 100u
/* How long something is put off that the server cannot do now, times 0.5 to 1. */
#define BB_AGAIN_MS 1000u

struct bb_subscription {
    struct bb_client *client;
    uint64_t id;
    struct buf filters; /* as a JSON array */
    char *cursor;       /* NULL: none yet */
    size_t cursor_cap;
    uint64_t last;
    struct buf role; /* pairs of its sub: of one that takes work, or is there */
    bool takes_work; /* its cursor says nothing */
    bb_message_fn on_message;
    bb_event_fn on_event;
    bb_presence_fn on_presence;
    void *arg;
    bool is_refused;
    bool is_put_off; /* the server cannot now: asked again at again_ms */
    bool is_ended;   /* by bb_unsubscribe(): in the client's graveyard */
    struct bb_subscription *next_dead;
};

struct bb_pending {
    struct list in_pending;
    uint64_t id;
    uint64_t began_ms;
    uint8_t *line;
    size_t n;
    bb_published_fn on_published;
    void *arg;
};

struct bb_query {
    struct list in_queries;
    uint64_t id;
    uint64_t began_ms;
    struct buf filter, after; /* texts; after: the last topic that was told */
    bool is_put_off;          /* as of a subscription */
    bool has_progress;        /* this page told a topic */
    bb_topic_fn on_topic;
    void *arg;
};

/* Said once, on one connection. One of the three functions, or none. */
struct bb_ask {
    struct list in_asks;
    uint64_t id;
    uint64_t due_ms;
    struct buf line; /* empty once it was said */
    bb_answer_fn on_answer;
    bb_done_fn on_done;
    bb_line_fn on_line;
    void *arg;
};

struct bb_client {
    struct event_base *base;
    struct bb_options options; /* no zeros, but publish_timeout_ms */
    enum bb_state state;
    bool is_closed;
    unsigned n_busy; /* event callbacks of ours that are on the stack */

    /* The connection. */
    struct addrinfo *addresses, *address; /* address: the one to try next */
    int fd;
    bool is_connected; /* connect() is done; the server may not have answered yet */
    struct event *read_event, *write_event, *timer;
    unsigned n_attempts; /* that failed since the server last answered */
    uint64_t due_ms;     /* of the next attempt, or the end of this one */
    uint64_t heard_ms;   /* when something came last */
    uint64_t pinged_ms;  /* 0: no ping is out */
    uint64_t again_ms;   /* when what the server put off is asked again; 0: nothing is */
    char why[160];       /* of the server's "closing"; "" otherwise */

    /* To the server. */
    struct buf out; /* what is being written: out_at bytes of it are */
    size_t out_at;
    struct buf control; /* whole lines that go before publishes */
    uint64_t next_id;
    char once_prefix[20];
    struct list pending; /* publishes in the order of their ids */
    struct list *unsent; /* the first of them that was not written on this connection; &pending: none */
    size_t n_pending, n_pending_bytes;
    struct list queries;
    size_t n_queries;
    struct list asks;
    size_t n_asks, n_ask_bytes; /* bytes of those that were not said */
    uint64_t asks_due_ms;       /* none is due before */

    /* From the server. */
    struct buf in;
    size_t in_scanned; /* bytes of `in` without a line's end */
    struct buf text;   /* what was decoded of the line at hand */

    struct bb_subscription **subs; /* n_subs of them, by id */
    size_t n_subs, cap_subs;
    struct bb_subscription *dead;
};

/* ---- bbclient.c ---- */
void bb_enter(struct bb_client *client);
void bb_leave(struct bb_client *client); /* the client may be gone after */
void bb_tell_state(struct bb_client *client, enum bb_state state, const char *why);
uint64_t bb_now_ms(void);

/* ---- bbconnect.c ---- */
void bb_connect_fini(struct bb_client *client);
void bb_disconnect(struct bb_client *client); /* nothing is told */
void bb_lose(
    struct bb_client *client, const char *why); /* the connection ends, the next attempt is planned */
void bb_heard(struct bb_client *client);        /* a line came */
void bb_put_off(struct bb_client *client);      /* something is to be asked again a little later */
void bb_timer_arm(struct bb_client *client);    /* something became due earlier */
void bb_on_timer(int fd, short what, void *arg);

/* ---- bbwrite.c ---- */
void bb_want_write(struct bb_client *client);
int bb_write(struct bb_client *client);      /* 0, or negative errno: the connection is lost */
void bb_say_again(struct bb_client *client); /* on a new connection: everything */
/* Once more, on this connection: every publish without an answer, and the lists and subscriptions that were
 * put off. */
void bb_say_put_off(struct bb_client *client);

/* ---- bbread.c ---- */
/* Reads and handles what is there. 0; or negative errno, *ret_why NULL or what was wrong: the connection is
 * lost. */
int bb_read(struct bb_client *client, const char **ret_why);

/* ---- bbsub.c ---- */
struct bb_subscription *bb_sub_find(struct bb_client *client, uint64_t id);
void bb_sub_put_request(const struct bb_subscription *sub, struct buf *out);
int bb_sub_set_cursor(struct bb_subscription *sub, const char *cursor);
void bb_sub_tell(struct bb_subscription *sub, const struct bb_event *event);
void bb_subs_fini(struct bb_client *client);
void bb_bury(struct bb_client *client);

/* ---- bbpub.c ---- */
struct bb_pending *bb_pending_find(struct bb_client *client, uint64_t id);
void bb_pending_end(struct bb_client *client, struct bb_pending *pending, const struct bb_result *result);
bool bb_is_utf8(const char *s);
bool bb_is_json_type(const char *type);

int bb_check_payload(const char *topic, const struct bb_payload *payload, const char *key, const char *once);
void bb_put_pair(struct buf *out, const char *name, const char *value);
/* A line is a line: JSON's own strings hold no line break, so those that there are stand between tokens. */
void bb_put_json(struct buf *out, struct slice body);
/* type, headers, data */
void bb_put_payload(struct buf *out, const struct bb_payload *payload);

/* ---- bbask.c ---- */
struct bb_ask *bb_ask_find(struct bb_client *client, uint64_t id);
void bb_ask_end(struct bb_client *client, struct bb_ask *ask, const struct bb_answer *answer);
/* An answer as JSON. is_last: of its answers. */
void bb_ask_tell(struct bb_client *client, struct bb_ask *ask, const char *json, size_t n, bool is_last);
void bb_asks_say(struct bb_client *client);  /* on a new connection: what was not said */
void bb_asks_lost(struct bb_client *client); /* it is gone: what was said has no answer */
void bb_asks_end_late(struct bb_client *client, uint64_t now);
void bb_asks_fini(struct bb_client *client);

/* ---- bbtopics.c ---- */
struct bb_query *bb_query_find(struct bb_client *client, uint64_t id);
void bb_query_put_request(const struct bb_query *query, struct buf *out);
void bb_query_tell(struct bb_client *client, struct bb_query *query, const struct bb_topic *topic);
void bb_query_page_end(struct bb_client *client, struct bb_query *query, bool has_more);
void bb_query_end(struct bb_client *client, struct bb_query *query, const struct bb_result *result);

#endif
