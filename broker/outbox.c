/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to links: names of topics before their first use, messages packed once. */
#include "config.h"

#include "broker/outbox.h"

#include <stdlib.h>

#include "backends/backend.h"
#include "base/buf.h"
#include "broker/broker.h"
#include "broker/linkset.h"
#include "broker/links.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/link.h"

struct buf *
outbox_begin(struct peer *peer)
{
    return link_buf(peer->link);
}

/* Sizes were checked when the parts came in: only memory can be short here. */
static void
outbox_fail(struct peer *peer)
{
    link_fail(peer->link, "memory ran out while a frame was put");
}

void
outbox_end(struct peer *peer)
{
    if (link_commit(peer->link) < 0)
        outbox_fail(peer);
}

/* ---- Names. ---- */

static bool
peer_knows(const struct peer *peer, uint32_t handle)
{
    return handle / 64 < peer->n_known && (peer->known[handle / 64] >> handle % 64 & 1) != 0;
}

static bool
peer_note_known(struct peer *peer, uint32_t handle)
{
    size_t word = handle / 64;

    if (word >= peer->n_known) {
        size_t n = word + 1 > peer->n_known * 2 ? word + 1 : peer->n_known * 2;
        uint64_t *known = realloc(peer->known, n * sizeof(known[0]));

        if (known == NULL)
            return false;
        memset(known + peer->n_known, 0, (n - peer->n_known) * sizeof(known[0]));
        peer->known = known;
        peer->n_known = n;
    }
    peer->known[word] |= UINT64_C(1) << handle % 64;
    return true;
}

/* Puts TOPIC into the open group if the link does not know the topic. */
static void
outbox_name_topic(struct peer *peer, struct buf *out, const struct topic *topic)
{
    if (peer_knows(peer, topic->handle))
        return;
    if (!peer_note_known(peer, topic->handle)) {
        link_fail(peer->link, "memory ran out for the names of topics");
        return;
    }
    frame_put_topic(
        out, &(struct frame_topic){
                 .handle = topic->handle, .topic = topic_name(topic), .policy = topic->setting->policy});
}

void
outbox_forget_topic(struct broker *broker, const struct topic *topic)
{
    for (unsigned slot = 0; slot < broker->n_slots; slot++) {
        struct peer *peer = broker->peers[slot];

        if (peer == NULL || !peer_knows(peer, topic->handle))
            continue;
        peer->known[topic->handle / 64] &= ~(UINT64_C(1) << topic->handle % 64);
        if (!peer_is_attached(peer))
            continue;
        frame_put_forget(outbox_begin(peer), &(struct frame_forget){.handle = topic->handle});
        outbox_end(peer);
    }
}

/* ---- Messages. ---- */

/* prev: 0 where nothing is said of what came before. */
static void
pack_message(struct buf *out, const struct record *record, uint64_t prev)
{
    const struct topic *topic = record->topic;

    frame_put_message(out, &(struct frame_message){
                               .handle = topic->handle,
                               .seq = record->seq,
                               .prev = prev,
                               .time_ms = (uint64_t)record->time_ms,
                               .flags = record->flags & MESSAGE_RETAIN,
                               .kind = record->kind,
                               .type = record_type(record),
                               .headers = record_headers(record),
                               .key = record_key(record),
                               .body = record_body(record),
                           });
}

/* The name goes before it, and must not be split from it. */
static void
deliver_first(struct peer *peer, const struct topic *topic, uint64_t seq, struct slice packed)
{
    struct buf *out = outbox_begin(peer);

    outbox_name_topic(peer, out, topic);
    buf_put_slice(out, packed);
    link_set_position(peer->link, seq);
    outbox_end(peer);
}

/* most: of what waits for a link. */
static void
deliver_to(struct peer *peer, const struct topic *topic, uint64_t seq, struct slice packed, size_t most)
{
    if (peer->phase != PEER_LIVE)
        return; /* catchup.c reads it from the store */
    if (link_backlog(peer->link) > most) {
        catchup_fall_behind(peer, seq - 1);
        return;
    }
    if (!peer_knows(peer, topic->handle))
        deliver_first(peer, topic, seq, packed);
    else if (link_put(peer->link, packed, seq) < 0)
        outbox_fail(peer);
    peer->counters.delivered++;
    peer->broker->counters.delivered++;
}

void
outbox_deliver(struct broker *broker, struct record *record)
{
    struct topic *topic = record->topic;
    const uint64_t *links = topic_links(broker, topic);

    if (links != NULL) {
        const size_t most = 2 * links_mark(broker);

        buf_reset(&broker->packed);
        /* Of what is not kept there is no telling that something is missing. */
        pack_message(&broker->packed, record, setting_is_volatile(topic->setting) ? 0 : record->prev);
        /* Without memory for it the links would miss it silently: they fall behind and read it from the
         * store. */
        linkset_for_each(slot, links, broker->interest.n_words)
        {
            struct peer *peer = broker->peers[slot];

            if (buf_failed(&broker->packed) && peer->phase == PEER_LIVE)
                catchup_fall_behind(peer, record->seq - 1);
            else
                deliver_to(peer, topic, record->seq, buf_slice(&broker->packed), most);
        }
    }
    broker->last_seq = record->seq;
    loop_defer(broker->loop, &broker->position_hook);
}

void
outbox_put_message(struct peer *peer, const struct record *record)
{
    struct buf *out = outbox_begin(peer);

    outbox_name_topic(peer, out, record->topic);
    /* What the store has read is complete, or told as a gap; but the one before may have expired, and a
     * frontend that never had it would take that for a hole. */
    pack_message(out, record, 0);
    outbox_end(peer);
    peer->counters.replayed++;
    peer->broker->counters.replayed++;
}

void
outbox_put_replay(struct peer *peer, uint64_t req, const struct record *record)
{
    const struct topic *topic = record->topic;
    struct buf *out = outbox_begin(peer);

    outbox_name_topic(peer, out, topic);
    frame_put_replay(out, &(struct frame_replay){
                              .req = req,
                              .handle = topic->handle,
                              .seq = record->seq,
                              .prev = record->prev,
                              .time_ms = (uint64_t)record->time_ms,
                              .flags = record->flags & MESSAGE_RETAIN,
                              .kind = record->kind,
                              .type = record_type(record),
                              .headers = record_headers(record),
                              .key = record_key(record),
                              .body = record_body(record),
                          });
    outbox_end(peer);
    peer->counters.replayed++;
    peer->broker->counters.replayed++;
}

void
outbox_tell_position(struct broker *broker)
{
    for (unsigned slot = 0; slot < broker->n_slots; slot++) {
        struct peer *peer = broker->peers[slot];

        if (peer != NULL && peer->phase == PEER_LIVE)
            link_set_position(peer->link, broker->last_seq);
    }
}
