/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the load generator say to each other: load.c (options, scenarios, report), loadnet.c
 * (clients and their sockets), loadtls.c (under them), loadcount.c (what was sent, and the check of what
 * came), and the protocols (loadbusbar.c, loadcable.c, loadpeers.c, loadnats.c, loadamqp.c).
 *
 * A publisher numbers what it publishes: that is a stream. Its messages all go to one topic, or in turn to
 * n_topics of them (scenario topics). Each subscriber has n_streams streams from its first one on, round the
 * end, and must see each of them whole and in order.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens the payload: MARK, 16 digits of its number, ':', 16 digits of nanoseconds, ':', 8 digits of its
 * stream, ':', padding. No other byte of what a server says contains it. */
#define MARK "@@"
#define MARK_AT_NS (2 + 16 + 1)
#define MARK_AT_STREAM (MARK_AT_NS + 16 + 1)
#define MARK_BYTES (MARK_AT_STREAM + 8 + 1)
#define MAX_PAYLOAD 65536

struct ssl_st;

enum phase { PHASE_GREET, PHASE_JOIN, PHASE_READY };

struct client {
    int fd;
    enum phase phase;
    bool is_connected, is_publisher;
    bool is_slow; /* reads --slow-bytes a second, and may lose messages */
    bool is_gone; /* only the slow: the server closed the connection */
    bool is_to_flush, is_to_pump;
    uint32_t number;
    uint32_t stream, n_streams; /* the first that it has or publishes to, and how many */
    uint32_t n_joined;          /* how many were confirmed */
    uint64_t *next;             /* of a subscriber, for each of its streams: the number that must come next */
    uint32_t cursor, in_flight; /* of a publisher: whose turn it is; messages that are not done */
    uint8_t *in;                /* an incomplete message */
    size_t in_n, in_cap;
    uint8_t *out; /* what the socket has yet to take */
    size_t out_n, out_cap;

    struct ssl_st *tls; /* with --tls */

    /* The protocol's own. */
    uint64_t n_answers;
    size_t frame_left;
    char *note; /* load_note() */
};

struct protocol {
    const char *name;
    const char *wild;                /* the filter that matches bench/0, bench/1, ...; NULL: it has none */
    void (*greet)(struct client *c); /* connected: say hello */
    void (*join)(struct client *c);  /* a subscriber, after load_greeted(); NULL: it joined by greeting */
    void (*publish)(struct client *c, uint32_t topic, const char *payload, size_t n);
    /* One message from the front of the input: calls load_greeted(), load_joined(), load_delivered(), ... for
     * it and returns its length; 0 if it is incomplete; -1 if it must not be. */
    ssize_t (*read)(struct client *c, const uint8_t *p, size_t n);
    /* Scenarios acks and requests: asks for an answer, on which read() calls load_acked(). NULL: it has none.
     */
    void (*publish_asking)(struct client *c, uint32_t topic, uint64_t number, const char *payload, size_t n);
};

/* Each ends with name NULL. */
extern const struct protocol busbar_protocols[], cable_protocols[], peer_protocols[], nats_protocols[],
    amqp_protocols[];

struct stream {
    struct client *publisher;
    uint32_t n_subs;
    uint64_t sent, done; /* messages published; delivered to every subscriber */
    uint32_t *missing;   /* ring of --window: how many subscribers have yet to get a message; acks: 1 or 0 */
    uint64_t *sent_ns;   /* ring of --window */
};

struct load_option {
    const char *scenario, *host;
    const struct protocol *protocol;
    int port, publish_port; /* the second: 0 for the same */
    uint32_t n_subs, n_topics, n_publishers, per_client, window;
    size_t size;
    double rate; /* messages a second; 0: as many as --window lets */
    uint32_t n_slow, n_rounds;
    uint32_t n_opening; /* connections that are being opened at once */
    double slow_bytes;  /* of each slow one, a second */
    double seconds, warm_up;
    bool is_tls;
};
extern struct load_option option;

struct load_run {
    uint32_t n_clients, n_ready;
    uint32_t n_streams, n_topics; /* of each stream */
    struct client *clients;
    struct stream *streams;
    bool is_started, is_measuring, is_over; /* publishing, counting, only waiting for the rest */
    bool is_acks;       /* a message is done when it was acknowledged; deliveries are acknowledgements */
    bool has_one_topic; /* all streams go to bench/0 */
    bool is_group;      /* subscribers share what comes, and acknowledge it */
    bool is_wild;       /* subscribers join protocol->wild */
    uint64_t now_ns;    /* when the input that is being read came */
    uint64_t n_deliveries, n_published, n_done;
    uint64_t n_slow_taken, n_slow_dropped, n_slow_gone;
};
extern struct load_run run;

/* A growing set of times; past a million of them, a sample in which each has the same chance to be. */
struct samples {
    uint32_t *of_100ns, n;
    uint64_t n_seen;
};
extern struct samples latencies, completions; /* of each delivery; of the last delivery of each message */

/* ---- loadnet.c: for the protocols ---- */
void load_write(struct client *c, const void *data, size_t n);
void load_write_text(struct client *c, const char *text);
void load_greeted(struct client *c);
void load_joined(struct client *c);             /* one more of its subscriptions stands */
void load_ready(struct client *c);              /* all of them do */
char *load_note(struct client *c, size_t room); /* its own, zeroed at first */
void load_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* ---- loadcount.c: for the protocols ---- */
void load_delivered(struct client *c, const uint8_t *payload, size_t n);
void load_acked(struct client *c, uint64_t number);
void load_taken(const uint8_t *payload, size_t n); /* by one of a group, which share what comes */
/* Calls load_delivered() for each payload in p; returns how many there were. */
unsigned load_delivered_all(struct client *c, const uint8_t *p, size_t n);
/* What a subscriber subscribes to, i < c->n_streams: the name's number. */
uint32_t load_topic(const struct client *c, uint32_t i);

/* ---- between load.c, loadnet.c and loadcount.c ---- */
void net_start(void);
void net_connect_all(void); /* until all are ready */
void net_run(double seconds);
void net_turn(uint64_t until_ns);
void net_pump_later(struct client *publisher);
uint64_t net_now_ns(void);
void net_slow_down(void); /* the slow ones are slow from now on */
void net_speed_up(void);
void *net_alloc(void *old, size_t n);
/* ---- loadtls.c: for loadnet.c; as the system calls ---- */
bool tls_connect(struct client *c); /* false: when the socket tells again */
ssize_t tls_send(struct client *c, const void *p, size_t n);
ssize_t tls_recv(struct client *c, void *p, size_t n);
bool tls_has_more(const struct client *c); /* that the socket will not tell of */

void count_start(void);
void count_pump(struct client *publisher); /* publishes as much as --window lets */
uint64_t count_pump_due(uint64_t now_ns);  /* with --rate: what is due; returns when the next is */
double samples_percentile_us(struct samples *s, double part);
void samples_sort(struct samples *s);

#endif
