/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a link: opening, the clock (heartbeats, a peer that is gone, timeouts), parting, the end. The
 * batches themselves are in linksend.c and linkrecv.c.
 *
 *     OPENING --attach--> UP --link_part()--> PARTING --BYE--> DOWN
 *        |                |--GOODBYE came--> LEFT --the peer is gone--> DOWN
 *        `----------------+------ any doubt ------------------------> DOWN
 *
 * DOWN calls on_down() from a hook of the loop, never from inside a call of the owner's.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/linkimpl.h"

#define HEARTBEATS_MISSED 3

/* ---- The end. ---- */

void
link_end(struct link *link, bool is_clean, const char *fmt, ...)
{
    va_list ap;

    if (link->state == LINK_DOWN)
        return;
    link->state = LINK_DOWN;
    link->is_clean = is_clean;
    va_start(ap, fmt);
    (void)vsnprintf(link->reason, sizeof link->reason, fmt, ap);
    va_end(ap);
    (void)event_del(link->recv_event);
    (void)event_del(link->send_event);
    loop_timer_stop(link->loop, &link->poll);
    loop_cancel(link->loop, &link->flush_hook);
    loop_cancel(link->loop, &link->process_hook);
    loop_defer(link->loop, &link->down_hook);
}

static void
link_on_down(void *arg)
{
    struct link *link = arg;
    char reason[LINK_REASON_MAX]; /* the owner may free the link before it has used the reason up */

    memcpy(reason, link->reason, sizeof reason);
    link->ops->on_down(link, reason, link->is_clean, link->arg);
}

void
link_fail(struct link *link, const char *reason)
{
    link_end(link, false, "%s", reason);
}

/* ---- Attaching and parting. ---- */

/* In a time that does not tell how much of it was right. */
static bool
token_equal(const uint8_t *own, struct slice given)
{
    uint8_t differs = 0;

    if (given.n != sizeof((struct link *)NULL)->token)
        return false;
    for (size_t i = 0; i < given.n; i++)
        differs |= own[i] ^ given.p[i];
    return differs == 0;
}

static void
link_on_attach(struct link *link, const struct frame *f)
{
    if (f->attach.session != link->session || !token_equal(link->token, f->attach.token)) {
        link_end(link, false, "ATTACH with a wrong session or token");
        return;
    }
    link->state = LINK_UP;
    link->ops->on_up(link, f, link->arg);
}

static void
link_on_attached(struct link *link, const struct frame *f)
{
    link->state = LINK_UP;
    link->ops->on_up(link, f, link->arg);
}

static void
link_on_goodbye(struct link *link, const struct frame *f)
{
    (void)snprintf(link->goodbye, sizeof link->goodbye, "%.*s",
        (int)(f->goodbye.reason.n < sizeof link->goodbye ? f->goodbye.reason.n : sizeof link->goodbye - 1),
        (const char *)f->goodbye.reason.p);
    link->has_peer_left = true;
    link->is_closed = true;
    link_say_bye(link);
    if (link->state == LINK_DOWN)
        return;
    if (link->state == LINK_PARTING && link_backlog(link) == 0)
        return; /* our own GOODBYE, which is the last of the backlog, was sent too: the peer's BYE is still to
                   come */
    link_drop_backlog(link);
    link->state = LINK_LEFT;
    link->deadline_ms = loop_now_ms(link->loop) + LINK_PART_MS;
}

static void
link_on_bye(struct link *link, const struct frame *f)
{
    if (link->state == LINK_PARTING)
        link_end(link, true, "parted");
    else
        link_end(link, false, "a BYE without a GOODBYE");
}

void
link_on_peer_frame(struct link *link, const struct frame *f)
{
    if (f->type == FRAME_ATTACH)
        link_on_attach(link, f);
    else if (f->type == FRAME_ATTACHED)
        link_on_attached(link, f);
    else if (f->type == FRAME_GOODBYE)
        link_on_goodbye(link, f);
    else
        link_on_bye(link, f);
}

void
link_part(struct link *link, const char *reason)
{
    if (link->state == LINK_OPENING) {
        link_end(link, false, "parted before the link stood");
        return;
    }
    if (link->state != LINK_UP)
        return;
    frame_put_goodbye(link_buf(link), &(struct frame_goodbye){.reason = slice_str(reason)});
    if (link_commit(link) < 0) {
        link_end(link, false, "memory ran out");
        return;
    }
    if (link->state == LINK_DOWN)
        return;
    link->is_closed = true;
    link->state = LINK_PARTING;
    link->deadline_ms = loop_now_ms(link->loop) + LINK_PART_MS;
}

/* ---- The clock. ---- */

static void
check_deadline(struct link *link, uint64_t now)
{
    if (now < link->deadline_ms)
        return;
    if (link->state == LINK_OPENING)
        link_end(link, false, "nobody attached in time");
    else if (link->state == LINK_PARTING)
        link_end(link, link->has_peer_left, "no BYE in time");
    else if (link->state == LINK_LEFT)
        link_end(link, true, "the peer said goodbye: %s", link->goodbye);
}

void
link_on_peer_gone(struct link *link)
{
    if (link->has_peer_left)
        link_end(link, true, "the peer said goodbye: %s", link->goodbye);
    else
        link_end(link, false, "the peer is gone");
}

/* The transport has no peer any more. What it still holds is read first: it may be the peer's GOODBYE. */
static void
check_peer(struct link *link)
{
    if (link->transport->has_peer(link->channel))
        return;
    link_receive(link);
    link_on_peer_gone(link);
}

static void
check_silence(struct link *link, uint64_t now)
{
    uint64_t limit = link->heartbeat_ms * HEARTBEATS_MISSED;

    /* We were not scheduled for long (a stopped process, a busy machine): what came meanwhile has not been
     * looked at. */
    if (now - link->polled_at_ms > link->heartbeat_ms)
        link->received_at_ms = now;
    if (now - link->received_at_ms <= limit)
        return;
    link_receive(link);
    if (now - link->received_at_ms > limit)
        link_end(link, false, "nothing came from the peer for %llu ms",
            (unsigned long long)(now - link->received_at_ms));
}

/* Every 50 ms. */
static void
link_on_poll(void *arg)
{
    struct link *link = arg;
    uint64_t now = loop_now_ms(link->loop);

    loop_timer_start(link->loop, &link->poll, LINK_POLL_MS);
    if (link->state != LINK_UP)
        check_deadline(link, now);
    if (link->state == LINK_OPENING || link->state == LINK_DOWN)
        return;
    check_peer(link);
    check_silence(link, now);
    link->polled_at_ms = now;
    if (link->state != LINK_UP && link->state != LINK_PARTING)
        return;
    if (link->unacked_bytes > 0) { /* nothing went out that could carry the ack */
        link->wants_ack = true;
        link_flush(link);
    } else if (now - link->sent_at_ms >= link->heartbeat_ms) {
        link_send_empty(link);
    }
}

/* ---- Open and close. ---- */

static void
link_init(struct link *link, const struct link_config *config, const struct link_ops *ops, void *arg)
{
    uint64_t now = loop_now_ms(config->loop);

    link->loop = config->loop;
    link->transport = config->transport;
    link->ops = ops;
    link->arg = arg;
    link->is_broker = config->is_broker;
    link->session = config->session;
    memcpy(link->token, config->token, sizeof link->token);
    link->peer_credit = config->peer_credit;
    link->own_credit = config->own_credit;
    link->heartbeat_ms = config->heartbeat_ms;
    link->deadline_ms = now + config->attach_timeout_ms;
    link->sent_at_ms = link->received_at_ms = link->polled_at_ms = now;
    link->poll = (struct loop_timer){.fn = link_on_poll, .arg = link};
    link->flush_hook = (struct loop_hook){.fn = link_on_flush, .arg = link};
    link->process_hook = (struct loop_hook){.fn = link_on_process, .arg = link};
    link->down_hook = (struct loop_hook){.fn = link_on_down, .arg = link};
    link_send_init(link);
}

static int
link_open_channel(struct link *link, const char *path)
{
    const struct transport_ops *t = link->transport;
    struct event_base *base = loop_base(link->loop);
    int r = link->is_broker ? t->bind(path, &link->channel) : t->connect(path, &link->channel);

    if (r < 0)
        return r;
    link->recv_event =
        event_new(base, t->recv_fd(link->channel), EV_READ | EV_PERSIST, link_on_can_recv, link);
    link->send_event =
        event_new(base, t->send_fd(link->channel), EV_READ | EV_PERSIST, link_on_can_send, link);
    if (link->recv_event == NULL || link->send_event == NULL || event_add(link->recv_event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

int
link_open(const struct link_config *config, const struct link_ops *ops, void *arg, struct link **ret)
{
    struct link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return -ENOMEM;
    link_init(link, config, ops, arg);
    int r = link_open_channel(link, config->path);
    if (r < 0) {
        link_close(link);
        return r;
    }
    if (!link->is_broker) {
        frame_put_attach(link_buf(link), &(struct frame_attach){.session = link->session,
                                             .token = slice_of(link->token, sizeof link->token)});
        (void)link_commit(link);
    }
    loop_timer_start(link->loop, &link->poll, LINK_POLL_MS);
    *ret = link;
    return 0;
}

struct link *
link_close(struct link *link)
{
    if (link == NULL)
        return NULL;
    loop_timer_stop(link->loop, &link->poll);
    loop_cancel(link->loop, &link->flush_hook);
    loop_cancel(link->loop, &link->process_hook);
    loop_cancel(link->loop, &link->down_hook);
    if (link->recv_event != NULL)
        event_free(link->recv_event);
    if (link->send_event != NULL)
        event_free(link->send_event);
    link_recv_fini(link);
    link->transport->close(link->channel);
    link_send_fini(link);
    free(link);
    return NULL;
}

uint64_t
link_session(const struct link *link)
{
    return link->session;
}

bool
link_is_up(const struct link *link)
{
    return link->state == LINK_UP;
}

void
link_get_stats(const struct link *link, struct link_stats *ret)
{
    *ret = link->stats;
}
