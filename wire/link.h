/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a link: batches in order, cumulative acks, credit, heartbeats, parting. The broker has one for
 * each frontend, a frontend has one. It knows BATCH, ATTACH, ATTACHED, GOODBYE and BYE; every other frame
 * goes to its owner. Any doubt (a gap in the numbers, a foreign session, a malformed frame, a silent peer)
 * ends the link: on_down() is called once, from the loop, and the owner frees it. A frontend then starts
 * again from HELLO on a new path.
 *
 * Sending: put frames into link_buf() with frame_put_x(), then call link_commit(). The batch leaves when it
 * has grown to LINK_BATCH_BYTES, at the latest at the end of the loop's turn. What cannot leave (the peer's
 * credit is used up, or the transport pushes back) is queued here; the owner watches link_backlog() and stops
 * in time: nothing is ever dropped here.
 */
#ifndef WIRE_LINK_H
#define WIRE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "wire/frame.h"

struct link;
struct loop;
struct transport_ops;

struct link_ops {
    /* The link stands (broker: ATTACH was right, and its owner puts ATTACHED first of all, in here; frontend:
     * ATTACHED came). f is that frame. */
    void (*on_up)(struct link *link, const struct frame *f, void *arg);
    /* A frame for the owner. 0, or negative errno: the frame makes no sense, drop the link (the owner has
     * logged why). The owner must not free the link in here; it may call link_fail(). */
    int (*on_frame)(struct link *link, const struct frame *f, void *arg);
    /* A whole batch of frames has been given to on_frame(), or one without frames brought a new position. */
    void (*on_batch_end)(struct link *link, void *arg);
    /* The backlog has fallen below half of the mark set by link_set_mark(), after it was above it. */
    void (*on_drained)(struct link *link, void *arg);
    /* The end, once. reason is for the log. is_clean: after GOODBYE and BYE. The owner may free the link
     * here. */
    void (*on_down)(struct link *link, const char *reason, bool is_clean, void *arg);
};

struct link_config {
    struct loop *loop;
    const struct transport_ops *transport;
    const char *path; /* the link's own file path, used once; copied */
    const char *peer; /* for logs: "ws.1", "broker"; copied */
    bool is_broker;
    uint64_t session;
    uint8_t token[16];
    uint64_t peer_credit; /* bytes that we may have in flight, until the peer's first batch says more */
    uint64_t own_credit;  /* bytes that the peer may have in flight towards us */
    uint64_t heartbeat_ms;
    uint64_t attach_timeout_ms;
};

/* Opens the channel and starts: the broker's end waits for ATTACH, the frontend's sends it. */
int link_open(const struct link_config *config, const struct link_ops *ops, void *arg, struct link **ret);
struct link *link_close(struct link *link); /* at once, without a word; NULL is fine; returns NULL */

/* Flushes, says GOODBYE and waits for BYE (a second at most), then on_down(is_clean). Only heartbeats go on.
 */
void link_part(struct link *link, const char *reason);

/* Ends the link from outside (protocol error seen by the owner): on_down() comes from the loop, soon. */
void link_fail(struct link *link, const char *reason);

/* Where to put the next frames. Valid until link_commit(). */
struct buf *link_buf(struct link *link);
/* Ends a group of frames that must not be split from each other; notes that there is something to send.
 * -EMSGSIZE if the group is larger than LINK_BATCH_MAX: it is taken out again and nothing else is harmed. */
int link_commit(struct link *link);

/* Puts a group that was packed elsewhere, and sets the position that it brings the link to: link_buf(), a
 * copy, link_set_position() and link_commit() at once. For what goes to many links. */
int link_put(struct link *link, struct slice group, uint64_t position);

/* The position that the next batch headers carry (broker's end only). Set it after the commit of the last
 * frame that it covers: a batch carries the position at the time when it was closed, not when it could leave.
 */
void link_set_position(struct link *link, uint64_t position);
/* The position of the last batch that was processed whole (frontend's end), 0 if unknown. */
uint64_t link_peer_position(const struct link *link);

/* Bytes put and not yet taken by the transport. */
size_t link_backlog(const struct link *link);
void link_set_mark(struct link *link, size_t bytes);

/* Holds back or gives the acknowledgement of what was received: a frontend whose clients are full, or a
 * broker whose backend is behind, pauses, and the peer's credit runs out. on_frame() is not called while
 * paused. */
void link_pause(struct link *link, bool is_paused);

uint64_t link_session(const struct link *link);
bool link_is_up(const struct link *link);

struct link_stats {
    uint64_t batches_in, batches_out, bytes_in, bytes_out, frames_in;
};
void link_get_stats(const struct link *link, struct link_stats *ret);

/* ---- The control socket. ---- */

/* Where it is in the bus's runtime_dir; a link's own path, which WELCOME gives as "ipc://PATH", is there too.
 */
#define CONTROL_SOCKET_NAME "control.sock"
/* Why a link is parted whose name another frontend took: the evicted one knows it by this. */
#define LINK_NAMESAKE "another frontend with this name attached"
#define LINK_URL_SCHEME "ipc://"

struct control;

/* Broker: serves HELLO at path. on_hello() fills *ret_answer (WELCOME or REFUSED) before it returns; slices
 * in it must live until the next call. Malformed requests are answered with REFUSED and counted. */
typedef void (*control_hello_fn)(const struct frame_hello *hello, struct frame *ret_answer, void *arg);
int control_serve(struct loop *loop, const struct transport_ops *transport, const char *path,
    control_hello_fn on_hello, void *arg, struct control **ret);

/* Frontend: sends one HELLO and waits timeout_ms; fn is called once from the loop with WELCOME, REFUSED, or
 * NULL and the errno (-ETIMEDOUT, ...). The control is freed by control_close() only, also after the answer.
 */
typedef void (*control_answer_fn)(const struct frame *answer, int error, void *arg);
int control_call(struct loop *loop, const struct transport_ops *transport, const char *path,
    const struct frame_hello *hello, uint64_t timeout_ms, control_answer_fn fn, void *arg,
    struct control **ret);

struct control *control_close(struct control *control);

#endif
