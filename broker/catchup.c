/* SPDX-License-Identifier: Apache-2.0 */
/* Links that are behind: see catchup.h. */
#include "config.h"

#include "broker/catchup.h"

#include "backends/backend.h"
#include "base/log.h"
#include "broker/broker.h"
#include "broker/consumers.h"
#include "broker/linkset.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/recovery.h"
#include "broker/settings.h"
#include "wire/link.h"

/* Of one read of the store; and of one turn of the loop, so that the others get theirs. */
#define CHUNK_BYTES (256u * 1024)
#define TURN_BYTES (1024u * 1024)

static void
peer_begin_behind(struct peer *peer, uint64_t since, uint64_t state)
{
    peer->phase = PEER_BEHIND;
    peer->catchup.since = since;
    peer->catchup.told_at = 0;
    peer->catchup.state = state;
    link_set_position(peer->link, 0);
}

void
catchup_fall_behind(struct peer *peer, uint64_t since)
{
    log_notice("%s does not keep up (%zu bytes wait for it): it will be sent from the store what it wants "
               "after seq %llu",
        peer->name, link_backlog(peer->link), (unsigned long long)since);
    peer->counters.fell_behind++;
    peer->broker->counters.fell_behind++;
    peer_begin_behind(peer, since, STATE_RECOVERED);
    /* on_drained() goes on: the backlog is above the mark. Without one (memory ran out) the next turn does.
     */
    if (link_backlog(peer->link) <= peer_mark(peer))
        loop_defer(peer->broker->loop, &peer->work);
}

/* ---- The store's answers. ---- */

static bool
catchup_wants(void *topic, void *arg)
{
    struct peer *peer = arg;
    const struct topic *wanted = topic;
    const uint64_t *links;

    if (peer->phase != PEER_BEHIND || setting_is_volatile(wanted->setting))
        return false;
    links = topic_links(peer->broker, topic);
    return links != NULL && linkset_has(links, peer->slot);
}

static void
catchup_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct peer *peer = arg;

    if (peer->phase == PEER_BEHIND)
        gaps_tell(&peer->catchup.gaps, peer, 0, topic, seq);
}

static void
catchup_on_record(struct record *record, void *arg)
{
    struct peer *peer = arg;

    if (peer->phase != PEER_BEHIND)
        return;
    gaps_flush(&peer->catchup.gaps, peer, 0);
    outbox_put_message(peer, record);
}

/* Nothing is left: live from here, and told so. */
static void
catchup_finish(struct peer *peer)
{
    struct broker *broker = peer->broker;
    struct catchup *c = &peer->catchup;
    uint64_t state = c->gaps.has_any && c->state != STATE_RESET ? STATE_GAP : c->state;

    frame_put_resumed(outbox_begin(peer),
        &(struct frame_resumed){
            .state = state, .epoch = broker->store_ops->epoch(broker->store), .seq = c->since});
    peer->phase = PEER_LIVE;
    link_set_position(peer->link, c->since);
    outbox_end(peer);
    gaps_fini(&c->gaps);
    recovery_go_on(peer);
}

static void
catchup_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct peer *peer = arg;
    struct broker *broker = peer->broker;

    broker->n_reads--;
    peer->n_reads--;
    peer->catchup.is_reading = false;
    if (!peer_is_attached(peer)) { /* it went away while the store was reading */
        peer_free_late(peer);
        return;
    }
    if (error < 0) {
        link_fail(peer->link, "the store could not be read");
        return;
    }
    gaps_flush(&peer->catchup.gaps, peer, 0);
    peer->catchup.since = upto;
    if (!is_cut_short && upto >= broker->last_seq)
        catchup_finish(peer);
    else
        loop_defer(broker->loop, &peer->work);
}

static bool
catchup_read(struct peer *peer)
{
    struct broker *broker = peer->broker;
    uint64_t told_at = peer->catchup.told_at;
    int r;

    peer->catchup.is_reading = true;
    peer->catchup.told_at = broker->store_ops->last_seq(broker->store);
    broker->n_reads++;
    peer->n_reads++;
    r = broker->store_ops->read(broker->store, &(struct store_read){
                                                   .wants = catchup_wants,
                                                   .since = peer->catchup.since,
                                                   .told_at = told_at,
                                                   .max_bytes = CHUNK_BYTES,
                                                   .on_record = catchup_on_record,
                                                   .on_gap = catchup_on_gap,
                                                   .on_done = catchup_on_done,
                                                   .arg = peer,
                                               });
    if (r == 0)
        return true;
    broker->n_reads--;
    peer->n_reads--;
    peer->catchup.is_reading = false;
    link_fail(peer->link, "the store could not be read");
    return false;
}

void
catchup_go_on(struct peer *peer)
{
    for (size_t done = 0; done < TURN_BYTES; done += CHUNK_BYTES) {
        if (peer->phase != PEER_BEHIND || peer->catchup.is_reading ||
            link_backlog(peer->link) > peer_mark(peer))
            return;
        if (!catchup_read(peer))
            return;
    }
}

/* ---- RESUME. ---- */

int
catchup_on_resume(struct peer *peer, const struct frame *f)
{
    struct broker *broker = peer->broker;
    uint64_t epoch = f->resume.epoch, seq = f->resume.seq;

    if (peer->has_resumed)
        return peer_complain(peer, f, "twice on one link");
    peer->has_resumed = true;
    /* A new frontend, and one that knew another epoch, know the position that ATTACHED told: from there
     * nothing is left out, though publishes of others may have come between. */
    if (epoch == 0)
        peer_begin_behind(peer, peer->attach_seq, STATE_LIVE);
    else if (epoch != broker->store_ops->epoch(broker->store) || seq > broker->last_seq)
        peer_begin_behind(peer, peer->attach_seq, STATE_RESET);
    else
        peer_begin_behind(peer, seq, STATE_RECOVERED);
    consumers_on_resume(peer);
    catchup_go_on(peer);
    return 0;
}
