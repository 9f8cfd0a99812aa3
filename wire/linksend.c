/* SPDX-License-Identifier: Apache-2.0 */
/* The sending half of a link: filling batches, queueing what cannot leave, credit and headers. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/linkimpl.h"

#define SIZES_MIN 64u

void
link_send_init(struct link *link)
{
    /* One group of the largest kind may stand behind frames that were put before it. */
    buf_init(&link->open, LINK_BATCH_BYTES + LINK_BATCH_MAX);
    buf_init(&link->head, BATCH_HEAD);
    buf_init(&link->last_words, 0);
    link->last = &link->first;
    link->next_number = 1;
}

void
link_send_fini(struct link *link)
{
    link_drop_backlog(link);
    buf_fini(&link->open);
    buf_fini(&link->head);
    buf_fini(&link->last_words);
    free(link->in_flight_sizes);
}

/* ---- Filling. ---- */

/* Makes room for the header at the front of an empty buffer; a failure is the buffer's. */
static void
put_head_room(struct buf *b)
{
    if (b->n == 0 && buf_reserve(b, BATCH_HEAD) != NULL)
        buf_commit(b, BATCH_HEAD);
}

struct buf *
link_buf(struct link *link)
{
    if (!link->is_putting) {
        put_head_room(&link->open);
        link->is_putting = true;
        link->group_at = link->open.n;
        link->position_before = link->position;
    }
    return &link->open;
}

/* Closes the open batch: it goes to the end of the queue, and the buffer is empty. */
static int
link_close_batch(struct link *link, uint64_t position)
{
    struct link_outgoing *batch = calloc(1, sizeof *batch);

    if (batch == NULL)
        return -ENOMEM;
    batch->frames = link->open;
    batch->position = position;
    /* It may wait for long, and the buffer has grown by doubling. */
    uint8_t *exact = realloc(batch->frames.p, batch->frames.n);
    if (exact != NULL) {
        batch->frames.p = exact;
        batch->frames.cap = batch->frames.n;
    }
    *link->last = batch;
    link->last = &batch->next;
    link->n_queued += batch->frames.n - BATCH_HEAD;
    buf_init(&link->open, LINK_BATCH_BYTES + LINK_BATCH_MAX);
    return 0;
}

/* The group does not fit behind what stands before it: that becomes a batch, and the group the first of the
 * next. */
static int
link_split(struct link *link)
{
    struct slice group = slice_of(link->open.p + link->group_at, link->open.n - link->group_at);
    struct buf next;

    buf_init(&next, LINK_BATCH_BYTES + LINK_BATCH_MAX);
    put_head_room(&next);
    buf_put_slice(&next, group);
    if (buf_failed(&next)) {
        buf_fini(&next);
        return -ENOMEM;
    }
    link->open.n = link->group_at;
    if (link_close_batch(link, link->position_before) < 0) {
        buf_fini(&next);
        return -ENOMEM;
    }
    link->open = next;
    return 0;
}

static void
link_note_backlog(struct link *link)
{
    if (link->mark > 0 && link_backlog(link) > link->mark)
        link->is_above_mark = true;
}

/* Judges the group that was put. 0, or why it is taken out again. */
static int
link_end_group(struct link *link)
{
    int r = 0;

    if (buf_failed(&link->open) || link->open.n - link->group_at > LINK_BATCH_MAX - BATCH_HEAD)
        r = -EMSGSIZE;
    else if (link->open.n > LINK_BATCH_MAX)
        r = link_split(link);
    if (r < 0) {
        link->open.n = link->group_at;
        link->open.is_failed = false;
    }
    return r;
}

int
link_commit(struct link *link)
{
    if (!link->is_putting)
        return 0;
    link->is_putting = false;
    if (link->is_closed || link->state == LINK_DOWN) {
        link->open.n = link->group_at;
        link->open.is_failed = false;
        return 0;
    }
    int r = link_end_group(link);
    if (r < 0)
        return r;
    link_note_backlog(link);
    loop_defer(link->loop, &link->flush_hook);
    if (link->open.n < LINK_BATCH_BYTES)
        return 0;
    link_flush(link);
    if (link->state != LINK_DOWN && link->open.n >= LINK_BATCH_BYTES &&
        link_close_batch(link, link->position) < 0)
        link_end(link, false, "memory ran out");
    return 0;
}

void
link_set_position(struct link *link, uint64_t position)
{
    link->position = position;
}

/* May a group of n bytes just be written behind those that are there, with nothing to begin or to end? */
static bool
link_is_filling(const struct link *link, size_t n)
{
    return link->open.n > 0 && n < LINK_BATCH_BYTES && link->open.n + n < LINK_BATCH_BYTES &&
           !link->is_putting && !link->is_closed && link->state != LINK_DOWN;
}

int
link_put(struct link *link, struct slice group, uint64_t position)
{
    uint8_t *to = link_is_filling(link, group.n) ? buf_reserve(&link->open, group.n) : NULL;

    if (to == NULL) { /* or memory ran out, which link_commit() says */
        buf_put_slice(link_buf(link), group);
        link->position = position;
        return link_commit(link);
    }
    memcpy(to, group.p, group.n);
    buf_commit(&link->open, group.n);
    link->position = position;
    link_note_backlog(link);
    loop_defer(link->loop, &link->flush_hook);
    return 0;
}

size_t
link_backlog(const struct link *link)
{
    return link->n_queued + (link->open.n > BATCH_HEAD ? link->open.n - BATCH_HEAD : 0);
}

void
link_set_mark(struct link *link, size_t bytes)
{
    link->mark = bytes;
    link_note_backlog(link); /* who is above the old one still waits for on_drained() */
    if (link->is_above_mark)
        loop_defer(link->loop, &link->flush_hook);
}

void
link_drop_backlog(struct link *link)
{
    while (link->first != NULL) {
        struct link_outgoing *batch = link->first;
        link->first = batch->next;
        buf_fini(&batch->frames);
        free(batch);
    }
    link->last = &link->first;
    link->n_queued = 0;
    buf_reset(&link->open);
    link->is_putting = false;
}

/* ---- In flight. ---- */

static int
link_reserve_size(struct link *link)
{
    uint64_t n = link->next_number - 1 - link->acked;

    if (n < link->n_sizes)
        return 0;
    size_t n_new = link->n_sizes == 0 ? SIZES_MIN : link->n_sizes * 2;
    uint32_t *sizes = calloc(n_new, sizeof *sizes);
    if (sizes == NULL)
        return -ENOMEM;
    for (uint64_t i = link->acked + 1; i < link->next_number; i++)
        sizes[i & (n_new - 1)] = link->in_flight_sizes[i & (link->n_sizes - 1)];
    free(link->in_flight_sizes);
    link->in_flight_sizes = sizes;
    link->n_sizes = n_new;
    return 0;
}

void
link_take_ack(struct link *link, uint64_t ack)
{
    while (link->acked < ack) {
        link->acked++;
        link->in_flight -= link->in_flight_sizes[link->acked & (link->n_sizes - 1)];
    }
}

static bool
link_has_credit(const struct link *link, size_t n)
{
    if (link->in_flight == 0)
        return true;
    return link->in_flight < link->peer_credit && n <= link->peer_credit - link->in_flight;
}

/* ---- Leaving. ---- */

static void
link_wait_for_room(struct link *link, bool is_waiting)
{
    if (link->is_send_waiting == is_waiting)
        return;
    link->is_send_waiting = is_waiting;
    if (is_waiting ? event_add(link->send_event, NULL) < 0 : event_del(link->send_event) < 0)
        link_end(link, false, "the event loop refused an event");
}

static struct slice
link_head(struct link *link, uint64_t position)
{
    buf_reset(&link->head);
    frame_put_batch(&link->head, &(struct frame_batch){.session = link->session,
                                     .number = link->next_number,
                                     .ack = link->processed,
                                     .credit = link->own_credit,
                                     .position = position});
    return buf_slice(&link->head);
}

/* Hands one message to the transport. 0; -EAGAIN: wait; anything else has ended the link. */
static int
link_send(struct link *link, struct slice message, size_t counted)
{
    if (link_reserve_size(link) < 0) {
        link_end(link, false, "memory ran out");
        return -ENOMEM;
    }
    int r = link->transport->send(link->channel, message);
    if (r == -EAGAIN) {
        link_wait_for_room(link, true);
        return r;
    }
    if (r < 0) {
        link_end(link, false, "sending failed: %s", strerror(-r));
        return r;
    }
    link->in_flight_sizes[link->next_number & (link->n_sizes - 1)] = (uint32_t)counted;
    link->in_flight += counted;
    link->next_number++;
    link->unacked_bytes = 0;
    link->wants_ack = false;
    link->sent_at_ms = loop_now_ms(link->loop);
    link->stats.batches_out++;
    link->stats.bytes_out += message.n;
    return 0;
}

/* The header is written right-aligned into the room before the frames, so that the message is in one piece.
 */
static int
link_send_frames(struct link *link, struct buf *frames, uint64_t position, bool needs_credit)
{
    struct slice head = link_head(link, position);
    uint8_t *start = frames->p + BATCH_HEAD - head.n;
    struct slice message = slice_of(start, frames->n - (size_t)(start - frames->p));

    if (needs_credit && !link_has_credit(link, message.n))
        return -EDQUOT;
    memcpy(start, head.p, head.n);
    int r = link_send(link, message, message.n);
    if (r == 0)
        link->sent_position = position;
    return r;
}

void
link_send_empty(struct link *link)
{
    /* With frames still waiting here, the peer has not been sent all that the owner's position covers. */
    bool is_behind = link_backlog(link) > 0;

    (void)link_send(link, link_head(link, is_behind ? link->sent_position : link->position), 0);
}

/* BYE does not wait for what is queued, nor for credit: its receiver has said that it is leaving. */
static void
link_send_last_words(struct link *link)
{
    if (link->last_words.n > 0 && link_send_frames(link, &link->last_words, link->sent_position, false) == 0)
        buf_reset(&link->last_words);
}

void
link_say_bye(struct link *link)
{
    link_flush(link);
    if (link->state == LINK_DOWN)
        return;
    put_head_room(&link->last_words);
    frame_put_bye(&link->last_words, &(struct frame_bye){});
    if (buf_failed(&link->last_words))
        link_end(link, false, "memory ran out");
    else
        link_send_last_words(link);
}

/* Sends closed batches, then the open one if no group is being put into it. 0 when all has left. */
static int
link_send_waiting(struct link *link)
{
    while (link->first != NULL) {
        struct link_outgoing *batch = link->first;
        int r = link_send_frames(link, &batch->frames, batch->position, true);
        if (r < 0)
            return r;
        link->n_queued -= batch->frames.n - BATCH_HEAD;
        link->first = batch->next;
        if (link->first == NULL)
            link->last = &link->first;
        buf_fini(&batch->frames);
        free(batch);
    }
    if (link->open.n <= BATCH_HEAD || link->is_putting)
        return 0;
    int r = link_send_frames(link, &link->open, link->position, true);
    if (r < 0)
        return r;
    /* A busy link keeps the room that it just needed: growing by doubling once for each batch would copy
     * every byte twice. */
    if (link->open.cap > 2 * LINK_BATCH_BYTES)
        buf_fini(&link->open);
    buf_trim(&link->open);
    buf_reset(&link->open);
    return 0;
}

void
link_flush(struct link *link)
{
    if (link->state == LINK_DOWN)
        return;
    if (link->state == LINK_OPENING && link->is_broker)
        return; /* there is nobody yet who has shown the token */
    link_send_last_words(link);
    int r = link_send_waiting(link);
    if (r != 0 && r != -EDQUOT)
        return;
    if (link->wants_ack)
        link_send_empty(link);
    else
        link_wait_for_room(link, false);
}

void
link_on_can_send(evutil_socket_t fd, short what, void *arg)
{
    struct link *link = arg;

    link_wait_for_room(link, false);
    if (link->state == LINK_DOWN)
        return;
    link_flush(link);
    loop_defer(link->loop, &link->flush_hook); /* for on_drained() */
}

/* The end of a turn. */
void
link_on_flush(void *arg)
{
    struct link *link = arg;

    link_flush(link);
    if (link->state == LINK_DOWN || !link->is_above_mark || link_backlog(link) >= link->mark / 2)
        return;
    link->is_above_mark = false;
    if (link->ops->on_drained != NULL)
        link->ops->on_drained(link, link->arg);
}
