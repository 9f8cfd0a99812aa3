/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the three files of a link share: link.c (life, clock, parting), linksend.c (batches out), linkrecv.c
 * (batches in). Nothing else includes this.
 *
 * The rules of the credit, which docs/link.md tells outsiders: a batch counts with all its bytes, header
 * included; a batch with nothing but its header counts as nothing and may always go, so that acks cannot be
 * stuck behind a credit that waits for acks; and when nothing is in flight, one batch of any size may go.
 * Only batches that count make the other end send an ack by itself, so two ends never keep acknowledging each
 * other's acks.
 */
#ifndef WIRE_LINKIMPL_H
#define WIRE_LINKIMPL_H

#include <event2/event.h>

#include "base/loop.h"
#include "wire/link.h"
#include "wire/transport.h"

/* The front of each batch's buffer is kept free for its header, which is written when the batch leaves, since
 * its number, ack and credit are known only then: array, number, five u64. */
#define BATCH_HEAD (2 + 5 * 9)

/* Of received batches in one turn: more waits for the next, so that one link cannot starve the others. */
#define LINK_BATCHES_PER_TURN 64
#define LINK_BYTES_PER_TURN (1024u * 1024)

/* What GOODBYE and BYE may take together. */
#define LINK_PART_MS 1000
#define LINK_POLL_MS LOOP_TICK_MS

/* Parting frames do not wait for credit; the receiver allows for them. */
#define LINK_CREDIT_SLACK 4096

#define LINK_REASON_MAX 256

enum link_state {
    LINK_OPENING, /* before ATTACH (broker) or ATTACHED (frontend) */
    LINK_UP,
    LINK_PARTING, /* our GOODBYE is on its way or was sent: frames still come in, BYE ends it */
    LINK_LEFT,    /* the peer said GOODBYE and we BYE: waiting for it to be gone */
    LINK_DOWN,    /* on_down() will be called, or was */
};

/* A batch that waits to be sent: BATCH_HEAD bytes of room, then its frames. */
struct link_outgoing {
    struct link_outgoing *next;
    struct buf frames;
    uint64_t position; /* when it was closed */
};

/* A batch that was received and not yet given to the owner as a whole. */
struct link_incoming {
    struct slice message; /* the transport's */
    struct mp cursor;     /* the next frame */
    uint64_t upto;        /* the ack that it earns: its number, or that of an empty batch behind it */
    uint64_t position;
};

struct link {
    struct loop *loop;
    const struct transport_ops *transport;
    struct channel *channel;
    struct event *recv_event, *send_event;
    bool is_send_waiting; /* send_event is added: the transport pushed back */
    const struct link_ops *ops;
    void *arg;
    bool is_broker;
    enum link_state state;
    uint64_t session;
    uint8_t token[16];
    uint64_t heartbeat_ms;

    struct loop_timer poll;
    uint64_t polled_at_ms;
    struct loop_hook flush_hook, process_hook, down_hook;
    uint64_t deadline_ms; /* of OPENING, PARTING, LEFT */
    uint64_t sent_at_ms, received_at_ms;

    char reason[LINK_REASON_MAX];
    char goodbye[128]; /* the peer's reason */
    bool is_clean;
    bool has_peer_left; /* GOODBYE came: that the peer vanishes now is no fault */

    /* ---- out ---- */
    struct buf open;          /* the batch that is being filled; empty, or BATCH_HEAD of room and frames */
    size_t group_at;          /* where the group that is being put began */
    bool is_putting;          /* between link_buf() and link_commit() */
    uint64_t position_before; /* the group */
    struct link_outgoing *first, **last; /* closed batches, not yet sent */
    size_t n_queued;                     /* bytes of frames in them */
    struct buf head;                     /* scratch for headers */
    uint64_t next_number;                /* of the next batch to send */
    uint64_t acked;                      /* the peer's last ack */
    uint32_t *in_flight_sizes; /* ring: what batch `number` counts, at number % n_sizes, for acked < number <
                                  next_number */
    size_t n_sizes;            /* 0 or a power of two */
    uint64_t in_flight;        /* their sum */
    uint64_t peer_credit;
    uint64_t position;      /* what the owner set */
    uint64_t sent_position; /* of the last batch with frames that left */
    bool wants_ack;
    bool is_closed;        /* the owner's frames are no longer taken: parting */
    struct buf last_words; /* BYE, while the transport has not taken it */
    size_t mark;
    bool is_above_mark;

    /* ---- in ---- */
    struct link_incoming *inbox; /* ring: n_inbox from inbox_at, of inbox_cap (a power of two, or 0) */
    size_t inbox_cap, inbox_at, n_inbox;
    bool is_paused;
    uint64_t received;      /* number of the last batch received */
    uint64_t processed;     /* number of the last batch processed: the ack to send */
    uint64_t inbox_bytes;   /* counted bytes in the inbox */
    uint64_t unacked_bytes; /* counted bytes processed since our last ack */
    uint64_t own_credit;
    uint64_t peer_position;
    bool has_moved; /* peer_position, by a batch without frames; the owner was not told yet */

    struct link_stats stats;
};

/* link.c */
void link_end(struct link *link, bool is_clean, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void link_on_peer_frame(struct link *link, const struct frame *f); /* ATTACH, ATTACHED, GOODBYE, BYE */
void link_on_peer_gone(struct link *link);                         /* all that it sent was received */

/* linksend.c */
void link_send_init(struct link *link);
void link_send_fini(struct link *link);
void link_flush(struct link *link);
void link_send_empty(struct link *link);
void link_take_ack(struct link *link, uint64_t ack);
void link_drop_backlog(struct link *link);
void link_say_bye(struct link *link); /* past the credit and past what is queued */
void link_on_can_send(evutil_socket_t fd, short what, void *arg);
void link_on_flush(void *arg);

/* linkrecv.c */
void link_recv_fini(struct link *link);
void link_receive(struct link *link);
void link_on_can_recv(evutil_socket_t fd, short what, void *arg);
void link_on_process(void *arg);

#endif
