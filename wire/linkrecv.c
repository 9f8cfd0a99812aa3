/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving half of a link. Headers are read as batches come, also while the owner has paused the link,
 * so that acks, heartbeats and a dead peer are seen all the time; the frames wait in an inbox that the credit
 * bounds.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/linkimpl.h"

#define INBOX_MIN 8u

void
link_recv_fini(struct link *link)
{
    for (; link->n_inbox > 0; link->n_inbox--) {
        link->transport->release(link->channel, link->inbox[link->inbox_at].message);
        link->inbox_at = (link->inbox_at + 1) & (link->inbox_cap - 1);
    }
    free(link->inbox);
    link->inbox = NULL;
}

static struct link_incoming *
inbox_add(struct link *link)
{
    if (link->n_inbox == link->inbox_cap) {
        size_t cap = link->inbox_cap == 0 ? INBOX_MIN : link->inbox_cap * 2;
        struct link_incoming *inbox = calloc(cap, sizeof *inbox);
        if (inbox == NULL)
            return NULL;
        for (size_t i = 0; i < link->n_inbox; i++)
            inbox[i] = link->inbox[(link->inbox_at + i) & (link->inbox_cap - 1)];
        free(link->inbox);
        link->inbox = inbox;
        link->inbox_cap = cap;
        link->inbox_at = 0;
    }
    return &link->inbox[(link->inbox_at + link->n_inbox++) & (link->inbox_cap - 1)];
}

/* ---- Headers. ---- */

/* NULL, or what is wrong with the header. */
static const char *
check_header(const struct link *link, const struct frame_batch *b)
{
    if (b->session != link->session)
        return "a batch of another session";
    if (b->number != link->received + 1)
        return "a gap in the numbers of the batches";
    if (b->ack < link->acked)
        return "an ack that goes back";
    if (b->ack >= link->next_number)
        return "an ack of a batch that was not sent";
    return NULL;
}

/* May the peer have sent this much? It may pass its credit by one batch, if nothing of it was unacknowledged.
 */
static bool
check_credit(const struct link *link, size_t n)
{
    uint64_t before = link->inbox_bytes + link->unacked_bytes;

    return before == 0 || before + n <= link->own_credit + LINK_CREDIT_SLACK;
}

/* The frames of the batch wait in the inbox; a batch without frames is as good as processed once those before
 * are. */
static int
inbox_put(struct link *link, struct slice message, struct mp frames, const struct frame_batch *b)
{
    if (frames.p == frames.end) {
        if (link->n_inbox > 0) {
            size_t newest = (link->inbox_at + link->n_inbox - 1) & (link->inbox_cap - 1);
            link->inbox[newest].upto = b->number;
            link->inbox[newest].position = b->position;
        } else {
            link->processed = b->number;
            link->has_moved |= link->peer_position != b->position;
            link->peer_position = b->position;
        }
        link->transport->release(link->channel, message);
        return 0;
    }
    struct link_incoming *in = inbox_add(link);
    if (in == NULL) {
        link->transport->release(link->channel, message);
        return -ENOMEM;
    }
    *in = (struct link_incoming){
        .message = message, .cursor = frames, .upto = b->number, .position = b->position};
    link->inbox_bytes += message.n;
    return 0;
}

/* Takes the message over. */
static void
link_take_batch(struct link *link, struct slice message)
{
    struct mp cursor = mp_of(message);
    struct frame f;
    const char *error = "it is empty";

    link->stats.batches_in++;
    link->stats.bytes_in += message.n;
    if (frame_next(&cursor, &f, &error) != FRAME_OK)
        link_end(link, false, "a malformed batch: %s", error);
    else if (f.type != FRAME_BATCH)
        link_end(link, false, "a batch that begins with %s", frame_name(f.type));
    else if ((error = check_header(link, &f.batch)) != NULL)
        link_end(link, false, "%s (batch %llu)", error, (unsigned long long)f.batch.number);
    else if (cursor.p != cursor.end && !check_credit(link, message.n))
        link_end(
            link, false, "more bytes than the credit of %llu allows", (unsigned long long)link->own_credit);
    if (link->state == LINK_DOWN) {
        link->transport->release(link->channel, message);
        return;
    }
    link->received = f.batch.number;
    link->received_at_ms = loop_now_ms(link->loop);
    link->peer_credit = f.batch.credit;
    link_take_ack(link, f.batch.ack);
    if (inbox_put(link, message, cursor, &f.batch) < 0)
        link_end(link, false, "memory ran out");
}

/* ---- Frames. ---- */

/* Which frames are the link's own business, and which may not be in a batch at all. */
static void
link_take_frame(struct link *link, const struct frame *f)
{
    enum frame_direction to = link->is_broker ? TO_BROKER : TO_FRONTEND;
    enum frame_type first = link->is_broker ? FRAME_ATTACH : FRAME_ATTACHED;

    link->stats.frames_in++;
    if ((frame_direction(f->type) & to) == 0 || f->type == FRAME_HELLO || f->type == FRAME_WELCOME ||
        f->type == FRAME_REFUSED || f->type == FRAME_BATCH) {
        link_end(link, false, "a %s frame does not belong here", frame_name(f->type));
        return;
    }
    if ((link->state == LINK_OPENING) != (f->type == first)) {
        link_end(link, false, f->type == first ? "a second %s" : "a %s frame before the link stood",
            frame_name(f->type));
        return;
    }
    if (f->type == first || f->type == FRAME_GOODBYE || f->type == FRAME_BYE) {
        link_on_peer_frame(link, f);
        return;
    }
    if (link->ops->on_frame(link, f, link->arg) < 0 && link->state != LINK_DOWN)
        link_end(link, false, "a %s frame that makes no sense", frame_name(f->type));
}

/* Gives the frames of the oldest batch to the owner. False if it was stopped before the batch's end. */
static bool
link_process_batch(struct link *link)
{
    struct mp cursor = link->inbox[link->inbox_at].cursor;
    const char *error = NULL;
    struct frame f;
    int r;

    while ((r = frame_next(&cursor, &f, &error)) == FRAME_OK) {
        link->inbox[link->inbox_at].cursor = cursor;
        link_take_frame(link, &f);
        if (link->state == LINK_DOWN || link->state == LINK_LEFT)
            return false;
        if (link->is_paused && cursor.p != cursor.end)
            return false;
    }
    if (r < 0) {
        link_end(link, false, "a malformed frame in batch %llu: %s",
            (unsigned long long)link->inbox[link->inbox_at].upto, error);
        return false;
    }
    return true;
}

/* Processes the inbox within the budget of a turn. */
static void
link_process(struct link *link)
{
    size_t n_batches = 0, n_bytes = 0;

    if (link->has_moved) {
        link->has_moved = false;
        if (link->state == LINK_UP && link->ops->on_batch_end != NULL)
            link->ops->on_batch_end(link, link->arg);
    }
    while (link->n_inbox > 0 && !link->is_paused && link->state != LINK_DOWN && link->state != LINK_LEFT) {
        if (n_batches >= LINK_BATCHES_PER_TURN || n_bytes >= LINK_BYTES_PER_TURN) {
            loop_defer(link->loop, &link->process_hook);
            return;
        }
        if (!link_process_batch(link))
            return;
        struct link_incoming *in = &link->inbox[link->inbox_at];
        link->processed = in->upto;
        link->peer_position = in->position;
        link->inbox_bytes -= in->message.n;
        link->unacked_bytes += in->message.n;
        n_batches++;
        n_bytes += in->message.n;
        link->transport->release(link->channel, in->message);
        link->inbox_at = (link->inbox_at + 1) & (link->inbox_cap - 1);
        link->n_inbox--;
        if (link->unacked_bytes > link->own_credit / 4) {
            link->wants_ack = true;
            loop_defer(link->loop, &link->flush_hook);
        }
        if (link->ops->on_batch_end != NULL)
            link->ops->on_batch_end(link, link->arg);
    }
}

/* The last words of a peer that is gone are heard before its end: what a turn's budget leaves of them brings
 * us back, because so does the descriptor. */
static void
link_receive_end(struct link *link, int error)
{
    if (error != -ECONNRESET) {
        link_end(link, false, "receiving failed: %s", strerror(-error));
        return;
    }
    link_process(link);
    if (link->n_inbox == 0 || link->is_paused || link->state == LINK_LEFT)
        link_on_peer_gone(link);
}

/* Takes what the transport has, within the budget of a turn: its descriptor is level-triggered and brings us
 * back. */
void
link_receive(struct link *link)
{
    size_t n_bytes = 0;

    for (int i = 0; i < LINK_BATCHES_PER_TURN && n_bytes < LINK_BYTES_PER_TURN; i++) {
        struct slice message;
        int r = link->transport->recv(link->channel, &message);
        if (r == -EAGAIN)
            break;
        if (r < 0) {
            link_receive_end(link, r);
            return;
        }
        n_bytes += message.n;
        link_take_batch(link, message);
        if (link->state == LINK_DOWN)
            return;
    }
    link_process(link);
    /* An ack may have made room for what waits. */
    if (link->state != LINK_DOWN && link_backlog(link) > 0)
        loop_defer(link->loop, &link->flush_hook);
}

void
link_on_can_recv(evutil_socket_t fd, short what, void *arg)
{
    link_receive(arg);
}

void
link_on_process(void *arg)
{
    link_process(arg);
}

void
link_pause(struct link *link, bool is_paused)
{
    if (link->is_paused == is_paused)
        return;
    link->is_paused = is_paused;
    if (!is_paused && link->state != LINK_DOWN)
        loop_defer(link->loop, &link->process_hook);
}

uint64_t
link_peer_position(const struct link *link)
{
    return link->peer_position;
}
