/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libbusbar: a client of the Busbar message bus, for programs with a libevent loop of their own.
 *
 *     #include <busbar.h>
 *
 *     static void
 *     on_message(struct bb_subscription *sub, const struct bb_message *m, void *arg)
 *     {
 *         printf("%s: %.*s\n", m->topic, (int)m->len, (const char *)m->data);
 *     }
 *
 *     struct event_base *base = event_base_new();
 *     struct bb_client *bus;
 *     const char *filters[] = {"chat/#"};
 *
 *     if (bb_client_new(base, NULL, &bus) == 0 && bb_connect(bus, "127.0.0.1", 7070) == 0) {
 *         bb_subscribe(bus, filters, 1, &(struct bb_subscribe_options){.last = 20}, on_message, NULL, NULL,
 * NULL); event_base_dispatch(base);
 *     }
 *
 * The client speaks the native protocol over TCP. It reconnects by itself, with growing delays; each
 * subscription then goes on from the cursor of the last message that it saw, and what could not be made good
 * is told to its on_event. A publish that has no answer is repeated with one idempotency key, so that it is
 * appended once however often the connection was lost.
 *
 * Rules that hold for everything here:
 * - One client belongs to one loop; its functions are called from that loop's thread. Nothing blocks, but
 * bb_connect() for a host that is not a numeric address (see there).
 * - Functions return 0 or a negative errno. On failure nothing was done and no callback follows.
 * - Strings are UTF-8 and end with a NUL. What a function is given is copied before it returns; what a
 * callback is given is valid until the callback returns.
 * - A callback may call anything here, bb_unsubscribe() of its own subscription and bb_close() of its own
 * client too. No callback runs from inside a function that the application called, but those of bb_close().
 * - Times are in milliseconds, sizes in bytes.
 */
#ifndef BUSBAR_H
#define BUSBAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
struct bb_client;
struct bb_subscription;

#define BB_DEFAULT_PORT 7070

/* ---- The client. ---- */

enum bb_state {
    BB_CONNECTING, /* an attempt is under way */
    BB_OPEN,       /* the server answered */
    BB_WAITING,    /* the connection was lost, or could not be made; the next attempt comes after a delay */
    BB_CLOSED,     /* by bb_close(); the last thing that is told */
};

/* Where the connection is. `why` says what was lost or refused, for people ("Connection refused"); NULL if
 * there is nothing to say. */
typedef void (*bb_state_fn)(struct bb_client *client, enum bb_state state, const char *why, void *arg);

/* The server said an error that belongs to no call: `code` is one of the table in docs/protocol.md, `text` is
 * for people. */
typedef void (*bb_error_fn)(struct bb_client *client, const char *code, const char *text, void *arg);

/* Each 0 (or NULL) means the default that stands beside it. */
struct bb_options {
    uint32_t min_delay_ms;       /* 200: before the first new attempt; doubled by each that fails */
    uint32_t max_delay_ms;       /* 10000: the longest; each delay is multiplied by a random 0.5 to 1 */
    uint32_t connect_timeout_ms; /* 10000: for an attempt, until the server's first answer */
    uint32_t ping_after_ms;      /* 25000: silence after which the server is asked whether it is there */
    uint32_t pong_timeout_ms; /* 10000: how long it may then be silent before the connection counts as lost */
    uint32_t publish_timeout_ms; /* no limit: after it a publish without an answer fails with -ETIMEDOUT */
    size_t max_pending;       /* 1000: publishes without an answer, and as many of whatever else is asked */
    size_t max_pending_bytes; /* 16 MiB: of the same, as they are sent */
    size_t max_message_bytes; /* 32 MiB: a longer line from the server ends the connection */
    bb_state_fn on_state;     /* may be NULL */
    bb_error_fn on_error;     /* may be NULL */
    void *arg;                /* given to these two */
};

/* Makes a client on `base`, which must outlive it. options may be NULL: all defaults. The caller owns *ret
 * and ends it with bb_close(). -ENOMEM. */
int bb_client_new(struct event_base *base, const struct bb_options *options, struct bb_client **ret);

/* Connects, now and again whenever the connection is lost, until bb_close(). Once for each client;
 * subscriptions and publishes may be given before. A host that is not a numeric address is resolved here,
 * once, by getaddrinfo(), which may block; later attempts take the addresses that it gave in turn.
 * -EHOSTUNREACH: the name is unknown; -EAGAIN: no name server answered; -EALREADY: called before; -EINVAL:
 * port 0. That nothing listens there is no error here: on_state is told. */
int bb_connect(struct bb_client *client, const char *host, uint16_t port);

/* Where the connection is now. Before bb_connect(): BB_WAITING. */
enum bb_state bb_client_state(const struct bb_client *client);

/* How many publishes have no answer yet, and in *ret_bytes (may be NULL) how long they are. */
size_t bb_pending(const struct bb_client *client, size_t *ret_bytes);

/* Ends the client: publishes and whatever else has no answer are told -ECANCELED (a publish may have been
 * appended or not), then on_state is told BB_CLOSED, and the client and its subscriptions are freed. NULL is
 * fine. Returns NULL, for `client = bb_close(client)`. */
struct bb_client *bb_close(struct bb_client *client);

/* ---- Payloads. ---- */

enum bb_kind {
    BB_TEXT,   /* UTF-8 */
    BB_JSON,   /* one JSON value */
    BB_BINARY, /* any bytes */
};

struct bb_header {
    const char *name, *value;
};

/* ---- Subscriptions. ---- */

struct bb_message {
    const char *topic;  /* NULL: of a reply */
    const char *cursor; /* NULL: of a request or a reply. Where this message is: to be given as `since` later,
                           on any transport */
    enum bb_kind kind;
    const void *data; /* len bytes, and a NUL after them */
    size_t len;
    const char *type;                /* content type; NULL: the usual one of its kind */
    const char *key;                 /* what it is the value of; NULL: its publisher gave none */
    const struct bb_header *headers; /* n_headers of them */
    size_t n_headers;
    int64_t time_ms;       /* when the bus took it, since 1970 */
    bool is_retained;      /* the kept value of its topic, from before the subscription: not news */
    const char *lease;     /* of a member of a group: to be settled by bb_ack() or bb_nack(); else NULL */
    const char *call;      /* of a responder: to be answered by bb_reply(); else NULL */
    uint64_t n_deliveries; /* of these two: how often it has been given out, this time included */
    uint64_t expires_ms;   /* of these two: how long there is for that */
};

typedef void (*bb_message_fn)(struct bb_subscription *sub, const struct bb_message *message, void *arg);

enum bb_event_type {
    BB_LIVE,      /* subscribed: messages come from now on */
    BB_RECOVERED, /* nothing is missing since the cursor; what was kept follows, if it did not come before */
    BB_GAP,       /* messages of `topics` are gone; what is kept follows */
    BB_RESET,     /* the bus lost its history: the old cursor is void, this is the new one */
    BB_DROPPED,   /* `count` messages were dropped because this client reads too slowly */
    BB_REFUSED, /* `code` and `text` say why: this subscription will bring nothing; end it by bb_unsubscribe()
                 */
};

/* What happened to a subscription's stream. */
struct bb_event {
    enum bb_event_type type;
    const char *cursor;        /* where the stream is now; NULL: not known */
    const char *const *topics; /* n_topics names; an empty name stands for topics that are not known */
    size_t n_topics;
    uint64_t count;
    const char *code, *text; /* of BB_REFUSED; NULL otherwise */
};

typedef void (*bb_event_fn)(struct bb_subscription *sub, const struct bb_event *event, void *arg);

/* Who comes and goes on a topic: a JSON object as docs/protocol.md has it ("presence"), len bytes and a NUL.
 */
typedef void (*bb_presence_fn)(
    struct bb_subscription *sub, const char *topic, const char *json, size_t len, void *arg);

/* At most one of `since` and `last`; at most one of `group` (also with `responds`) and `presence`. */
struct bb_subscribe_options {
    const char *since; /* a cursor: everything after it first; NULL: none */
    uint64_t last;     /* so many of the last messages of each topic first; 0: none */
    /* Takes work. One filter, which for a group is a topic. What it holds when the connection is lost goes to
     * others. */
    const char *group; /* a member of this group of the topic's queue: each message has a lease */
    bool responds;     /* answers requests: each has a call */
    uint32_t prefetch; /* so many at once, without having settled or answered any; 0: 16 */
    /* Is there, or looks who is. The filters are topics. */
    bool presence;           /* on_presence is told: first who is there, then who comes and goes */
    const char *member;      /* and this client is there as this one; NULL: it only looks */
    const char *member_info; /* JSON, for the others; NULL: none */
    bb_presence_fn on_presence;
};

/* Subscribes to n filters (1 to 64), which share one order and one cursor; it is repeated after each
 * reconnection. options, on_message, on_event and ret may be NULL. *ret is the client's: it is valid until
 * bb_unsubscribe() or bb_close(). -EINVAL: no filter, too many, both options, or something is not UTF-8;
 * -ENOBUFS: too much waits to be sent; -ECANCELED, -ENOMEM. A filter that the server refuses is told by
 * BB_REFUSED. */
int bb_subscribe(struct bb_client *client, const char *const *filters, size_t n,
    const struct bb_subscribe_options *options, bb_message_fn on_message, bb_event_fn on_event, void *arg,
    struct bb_subscription **ret);

/* Ends a subscription: its callbacks are not called again, and the pointer is void. NULL is fine. */
void bb_unsubscribe(struct bb_subscription *sub);

/* Where the stream is; NULL before anything came. Valid until the loop runs on: copy it. A program that
 * stores it and gives it as `since` goes on there after its own restart. */
const char *bb_subscription_cursor(const struct bb_subscription *sub);

/* ---- Publishing. ---- */

struct bb_payload {
    enum bb_kind kind;
    const void *data; /* may be NULL if len is 0 */
    size_t len;
    const char *type; /* content type; NULL: the usual one */
    const struct bb_header *headers;
    size_t n_headers;
};

struct bb_publish_options {
    const char *key;   /* what it is the value of, at most 255 bytes; subscribers get it */
    const char *once;  /* idempotency key, at most 255 bytes: the bus appends one publish of them. NULL: the
                          client makes one; if `key` is given, that serves as one instead, unless the topic's
                          slow_consumer is conflate */
    bool is_retain;    /* keep it as the topic's value for those who come later */
    uint64_t ttl_ms;   /* how long it may be delivered; 0: as long as it is kept */
    uint64_t delay_ms; /* it is published so much later; 0: now */
};

/* error is 0 and cursor says where the message is; or error is negative: -EREMOTEIO, the server refused, and
 * code and text say why; -ETIMEDOUT and -ECANCELED (bb_close()), no answer came: it may have been appended or
 * not. What does not apply is NULL. */
struct bb_result {
    int error;
    const char *cursor, *code, *text;
    int64_t due_ms; /* of a publish with a delay, which has no cursor yet: when it will be published, since
                       1970 */
};

typedef void (*bb_published_fn)(struct bb_client *client, const struct bb_result *result, void *arg);

/* Publishes. It is sent as soon as there is a connection, in the order of the calls, and repeated until it is
 * answered; on_published (may be NULL) is then called once. options may be NULL. JSON passes byte for byte,
 * but that line breaks between its tokens become blanks.
 *   -ENOBUFS    max_pending or max_pending_bytes is reached: try again when an answer came
 *   -EMSGSIZE   longer than max_pending_bytes alone
 *   -EILSEQ     text, type, a header or the topic is not UTF-8
 *   -EINVAL     it is not JSON, or a text is said to be of a JSON type, or a JSON string of another, or the
 *               a key is too long
 *   -ECANCELED  the client is being closed
 *   -ENOMEM */
int bb_publish(struct bb_client *client, const char *topic, const struct bb_payload *payload,
    const struct bb_publish_options *options, bb_published_fn on_published, void *arg);

/* The same for text. */
int bb_publish_text(
    struct bb_client *client, const char *topic, const char *text, bb_published_fn on_published, void *arg);

/* ---- Topics. ---- */

struct bb_topic {
    const char *topic;
    const char *cursor;  /* of its last message; NULL: not known */
    uint64_t n_messages; /* that are kept, and their size */
    uint64_t n_bytes;
    uint64_t n_links; /* frontends that want it */
};

/* Called for each topic, in the order of their names; then once with topic NULL: result->error is 0 if that
 * was all, or what went wrong (as for a publish). result is NULL before. */
typedef void (*bb_topic_fn)(
    struct bb_client *client, const struct bb_topic *topic, const struct bb_result *result, void *arg);

/* Lists the topics that match the filter (NULL: "#"), all pages of them; a lost connection does not begin it
 * anew. -ENOBUFS, -EILSEQ, -ECANCELED, -ENOMEM as for a publish. */
int bb_topics(struct bb_client *client, const char *filter, bb_topic_fn on_topic, void *arg);

/* ---- Requests. ---- */

struct bb_request_options {
    uint32_t timeout_ms; /* how long to wait for the reply; 0: 30 seconds */
    const char *key;     /* for the responder; NULL: none */
    bool is_async;       /* it waits until a responder takes it, and is answered at once by its name */
};

/* error is 0, and message is the reply, or request the name of an asynchronous one; or error is negative:
 * -EREMOTEIO, code and text say why there is no reply (no_responder, timeout, responder_failed, ...);
 * -ECONNRESET, the connection was lost, and -ETIMEDOUT and -ECANCELED (bb_close()): it may have been done or
 * not. */
struct bb_answer {
    int error;
    const char *code, *text;
    const struct bb_message *message;
    const char *request;
    int64_t expires_ms; /* of `request`: until when it waits for a responder, since 1970 */
};

typedef void (*bb_answer_fn)(struct bb_client *client, const struct bb_answer *answer, void *arg);

/* Asks one of the responders of the topic; on_answer is called once. What was not sent yet waits for a
 * connection, within its time. Nothing is sent twice: who may repeat it asks again. Errors as for
 * bb_publish(). */
int bb_request(struct bb_client *client, const char *topic, const struct bb_payload *payload,
    const struct bb_request_options *options, bb_answer_fn on_answer, void *arg);

/* The reply to an asynchronous request, asked for by its name; code `pending` if it did not come within
 * wait_ms. */
int bb_result(
    struct bb_client *client, const char *request, uint32_t wait_ms, bb_answer_fn on_answer, void *arg);

/* Answers a request (the call of a message that a responder was given); nobody is told how that went.
 * -ENOTCONN: the connection was lost meanwhile, and the call with it; else as for bb_publish(). */
int bb_reply(struct bb_client *client, const char *call, const struct bb_payload *payload);
/* The asker gets `responder_failed` with this text, of at most 1024 bytes. */
int bb_reply_error(struct bb_client *client, const char *call, const char *text);

/* ---- Work. ---- */

/* result->error is 0: the bus has kept it; or as for a publish, and -ECONNRESET: the connection was lost. */
typedef bb_published_fn bb_done_fn;

/* Settles a message that has a lease; on_done may be NULL. -ENOTCONN: the connection was lost meanwhile, and
 * the lease with it. */
int bb_ack(struct bb_client *client, const char *lease, bb_done_fn on_done, void *arg);
/* Not done: somebody may try again after delay_ms; with is_dead nobody will. reason may be NULL. */
int bb_nack(struct bb_client *client, const char *lease, uint64_t delay_ms, bool is_dead, const char *reason,
    bb_done_fn on_done, void *arg);
/* Still at it: the lease begins anew. */
int bb_extend(struct bb_client *client, const char *lease, bb_done_fn on_done, void *arg);

/* ---- Whatever else the protocol has. ---- */

/* Called for each answer, a JSON object as docs/protocol.md has it; then, after the last or instead of it,
 * once with json NULL: result->error is 0 if that was all, else as for a request. result is NULL before. */
typedef void (*bb_line_fn)(
    struct bb_client *client, const char *json, size_t len, const struct bb_result *result, void *arg);

/* Asks {"op":OP,"id":...,MEMBERS}, for example bb_ask(client, "purge", "\"topic\":\"a\",\"group\":\"g\"",
 * ...). members may be NULL. -EINVAL: that is not JSON. It is not repeated on another connection. */
int bb_ask(struct bb_client *client, const char *op, const char *members, bb_line_fn on_line, void *arg);

#ifdef __cplusplus
}
#endif

#endif
