/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busbar-http inside: a server, its connections, and the exchanges that cannot be answered at once.
 *
 *     httpserver.c    listener, connections, timers, responses
 *     httpapi.c       which address does what
 *     httpmessage.c   bodies as messages, messages as responses
 *     httppublish.c   POST and PUT of a topic
 *     httpbroadcast.c POST of AnyCable's broadcasts
 *     httppoll.c      the long-poll
 *     httpsse.c       event streams
 *     httpask.c       requests to responders
 *     httpqueue.c     work queues, and who is present
 *     httpstatic.c    the console's files
 *
 * A connection handles one request at a time. One that can be answered at once (an error, a file) is; for
 * the others an exchange is made, reading is paused, and what follows in the pipeline waits. An exchange
 * that has all it needs is finished at the end of the turn, outside of whatever called it, so that nothing
 * is freed under the SDK's feet; a publish, of whose answer nobody wants anything after, at once. An idle
 * connection has no exchange and no buffer.
 */
#ifndef FRONTENDS_HTTP_HTTPSERVER_H
#define FRONTENDS_HTTP_HTTPSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "frontends/http/httpreq.h"
#include "frontends/http/httpresp.h"
#include "frontends/http/options.h"
#include "frontends/sdk/conn.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/session.h"

struct exchange;
struct httpstatic;

struct http_server {
    struct frontend *fe;
    const struct http_options *options;
    struct listeners listeners;
    struct httpstatic *files;
    struct httpdate date;
    struct httpreq req;       /* the request being handled */
    struct buf out;           /* the response being written */
    struct buf json;          /* its body, if it is a short one */
    struct buf cors;          /* the CORS lines of the request being handled */
    struct buf broadcast_key; /* empty: none, and nobody has it */
    struct list done;         /* exchanges to be finished at the turn's end */
    struct loop_hook done_hook;
};

enum http_phase {
    HTTP_IDLE,    /* between two requests */
    HTTP_HEAD,    /* some of a head has come */
    HTTP_BODY,    /* some of a body is awaited */
    HTTP_BUSY,    /* an exchange */
    HTTP_CLOSING, /* the last response is on its way */
};

struct http_conn {
    struct conn c; /* first: the SDK's pointer is ours */
    struct http_server *server;
    struct httpreq_state parse;
    struct loop_timer timer; /* of the phase */
    struct exchange *exchange;
    uint8_t phase;
    bool is_draining; /* paused because responses wait to be read */
    bool has_asked;   /* a request has come whole */
    bool has_eof;     /* the client will send no more; what it asked before is still answered */
};

/* What the response must know of the request once the request is gone. */
struct http_reply {
    unsigned minor;
    bool is_keep_alive, is_head;
    struct slice cors; /* in server->cors, or a literal */
};

struct exchange_ops {
    bool
        is_stream; /* what is unsent are deliveries; the answers of the others are sent whole or not at all */
    /* All is there, or the time is up: respond. Then the exchange is freed. */
    void (*finish)(struct exchange *x);
    void (*on_timer)(struct exchange *x);
    /* The client will send no more. */
    void (*on_eof)(struct exchange *x);
    /* The process stops. */
    void (*on_stop)(struct exchange *x);
    /* Frees what is more than struct exchange; may be NULL. */
    void (*fini)(struct exchange *x);
};

/* Embedded first in a publish, a poll or a stream. */
struct exchange {
    const struct exchange_ops *ops;
    struct http_conn *hc;
    struct session session;
    struct http_reply reply;
    struct buf cors; /* what reply.cors points into */
    struct list in_done;
    uint8_t n_turns; /* in which it stays there */
};

/* --- httpserver.c --- */

/* Makes an exchange of `size` bytes for the request being handled and pauses the connection. NULL: no
 * memory; that was answered. */
void *exchange_new(struct http_conn *hc, const struct http_reply *reply, size_t size,
    const struct exchange_ops *ops, const struct encoder *encoder, const struct session_ops *session_ops);
/* Has it finished at the end of this turn, or of the nth after it. */
void exchange_done(struct exchange *x, unsigned n_turns);
/* Finishes and frees it: only where nobody further up still uses its session. */
void exchange_finish(struct exchange *x);
/* The exchange that a session belongs to. */
struct exchange *exchange_of(struct session *s);
void exchange_timer(struct exchange *x, uint64_t delay_ms);

/* Responses. r's minor, is_keep_alive and cors are filled in from the reply. */
void http_respond(
    struct http_conn *hc, const struct http_reply *reply, struct httpresp *r, struct slice body);
void http_respond_error(struct http_conn *hc, const struct http_reply *reply, int status,
    enum error_code code, struct slice text, struct slice headers);
/* The client is told no more than what is queued. */
void http_close_after_response(struct http_conn *hc);
/* Of an error with its usual status. */
void http_respond_code(
    struct http_conn *hc, const struct http_reply *reply, enum error_code code, struct slice text);

/* 405, and which methods there are ("GET, HEAD"). */
void http_respond_method(struct http_conn *hc, const struct http_reply *reply, const char *methods);

/* --- httpapi.c --- */

/* A filter out of a query: a `+` that is a whole level is the wildcard, any other a space. 0 or -EINVAL. */
int http_decode_filter(struct buf *out, struct slice raw);

/* Handles server->req: responds, or makes an exchange. */
void http_handle(struct http_conn *hc);

/* --- httppoll.c and httpsse.c: GET of topics; the request has been decoded --- */

struct topics_get {
    struct request sub; /* filters, from, since, last; borrowed */
    uint64_t wait_ms;
    struct slice tag; /* the If-None-Match that serves as since; may be empty */
    int envelope;     /* 0, 1, or -1: as usual for these filters */
};
void http_poll_start(struct http_conn *hc, const struct http_reply *reply, const struct topics_get *get);
void http_sse_start(struct http_conn *hc, const struct http_reply *reply, const struct topics_get *get);

/* --- httppublish.c: POST and PUT --- */

void http_publish_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic);

/* --- httpask.c --- */

/* POST of a request to this topic. */
void http_ask_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic);
/* GET, HEAD, DELETE of an asynchronous request. */
void http_request_id(struct http_conn *hc, const struct http_reply *reply, struct slice id);

/* --- httpqueue.c --- */

/* What stands behind /queues/, raw. */
void http_queue_start(struct http_conn *hc, const struct http_reply *reply, struct slice path);
void http_queues_list(struct http_conn *hc, const struct http_reply *reply);
void http_presence_start(struct http_conn *hc, const struct http_reply *reply, struct slice topic);

/* --- httpbroadcast.c --- */

/* Reads the key that the options name: 0, or negative errno after logging why; the old one is then kept. */
int http_broadcast_load(struct http_server *server);
void http_broadcast_forget(struct http_server *server);
void http_broadcast_start(struct http_conn *hc, const struct http_reply *reply);

#endif
