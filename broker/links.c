/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a peer and of its link: see links.h. What its frames mean is elsewhere (broker/router.c has the
 * list); this file knows when they may come and what is undone when the link ends.
 */
#include "config.h"

#include "broker/links.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memguard.h"
#include "base/notify.h"
#include "broker/asyncrequest.h"
#include "broker/broker.h"
#include "broker/consumers.h"
#include "broker/listing.h"
#include "broker/outbox.h"
#include "broker/presence.h"
#include "broker/publish.h"
#include "broker/recovery.h"
#include "broker/request.h"
#include "broker/router.h"
#include "broker/subscribe.h"
#include "broker/sys.h"
#include "wire/link.h"

#define ATTACH_TIMEOUT_MS 2000u
#define OUTBOX_LEAST (1u << 20) /* however little memory there is */

size_t
links_mark(const struct broker *broker)
{
    uint64_t most = memguard_limit(broker->memory) / 16, max = broker->options.outbox_max;

    if (most > 0 && most < max)
        max = most > OUTBOX_LEAST ? most : OUTBOX_LEAST;
    return (size_t)(max / 2);
}

size_t
peer_mark(const struct peer *peer)
{
    return links_mark(peer->broker);
}

struct peer *
links_find(const struct broker *broker, unsigned slot, uint64_t session)
{
    struct peer *peer = broker->peers[slot];

    return peer != NULL && peer->session == session ? peer : NULL;
}

int
peer_complain(struct peer *peer, const struct frame *f, const char *fmt, ...)
{
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    log_warn(
        "%s: a %s frame that makes no sense: %s; its link is dropped", peer->name, frame_name(f->type), what);
    peer->broker->counters.malformed++;
    return -EPROTO;
}

void
peer_update_pause(struct peer *peer)
{
    bool is_paused = peer->held != NULL || peer->recoveries_by_req.n_used >= PEER_RECOVERIES_MAX ||
                     peer->recovery_bytes >= PEER_RECOVERY_BYTES_MAX || peer->n_peeks >= PEER_PEEKS_MAX ||
                     peer->n_whos >= PEER_WHOS_MAX;

    if (!peer_is_attached(peer))
        return;
    /* Messages stop at twice the mark. What is above it are answers to a peer that asks and does not read
     * them. */
    link_pause(peer->link, is_paused || link_backlog(peer->link) > 3 * peer_mark(peer));
}

/* ---- The end. ---- */

static void
peer_free(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->n_handles; i++)
        free(peer->handles[i]);
    free(peer->handles);
    free(peer->known);
    free(peer->path);
    gaps_fini(&peer->catchup.gaps);
    table_fini(&peer->filters);
    table_fini(&peer->recoveries_by_req);
    consumers_fini_peer(peer);
    request_fini_peer(peer);
    presence_fini_peer(peer);
    asyncrequest_fini_peer(peer);
    free(peer);
}

void
peer_free_late(struct peer *peer)
{
    if (peer->link == NULL && peer->n_reads == 0)
        peer_free(peer);
}

/* Nothing more for it: its filters go, what it waits for is dropped. Its slot stays taken until the link is
 * gone. */
static void
peer_detach(struct peer *peer)
{
    if (peer->phase == PEER_PARTING)
        return;
    peer->phase = PEER_PARTING;
    loop_cancel(peer->broker->loop, &peer->work);
    subscribe_drop_peer(peer);
    publish_drop_peer(peer);
    recovery_drop_all(peer);
    request_drop_peer(peer);
    asyncrequest_drop_peer(peer);
    consumers_drop_peer(peer);
    presence_drop_peer(peer);
    listing_drop_all(peer);
}

static void
peer_close(struct peer *peer)
{
    struct broker *broker = peer->broker;

    peer_detach(peer);
    peer->link = link_close(peer->link);
    broker->peers[peer->slot] = NULL;
    broker->n_peers--;
    peer_free_late(peer);
}

/* ---- What the link calls. ---- */

/* One name, one live link: the newer one is right, for a frontend that was killed and started again is sooner
 * here than the news of its death. */
static void
evict_namesakes(struct peer *peer)
{
    struct broker *broker = peer->broker;

    for (unsigned slot = 0; slot < broker->n_slots; slot++) {
        struct peer *other = broker->peers[slot];

        if (other == NULL || other == peer || strcmp(other->name, peer->name) != 0 ||
            !peer_is_attached(other))
            continue;
        log_warn("%s attached again (pid %llu, before that pid %llu): the older link is closed", peer->name,
            (unsigned long long)peer->pid, (unsigned long long)other->pid);
        link_part(other->link, LINK_NAMESAKE);
        peer_detach(other);
    }
}

static void
peer_on_up(struct link *link, const struct frame *f, void *arg)
{
    struct peer *peer = arg;
    struct broker *broker = peer->broker;

    peer->phase = PEER_LISTING;
    peer->attach_seq = broker->last_seq;
    evict_namesakes(peer);
    frame_put_attached(outbox_begin(peer),
        &(struct frame_attached){.epoch = broker->store_ops->epoch(broker->store), .seq = peer->attach_seq});
    outbox_end(peer);
    broker->counters.links_opened++;
    notify_status("%u frontends", broker->n_peers);
    log_info("%s attached (%s %s, pid %llu)", peer->name, peer->kind, peer->version,
        (unsigned long long)peer->pid);
}

static int
peer_on_frame(struct link *link, const struct frame *f, void *arg)
{
    struct peer *peer = arg;

    if (!peer_is_attached(peer))
        return 0; /* it is being sent away; what it still says does not matter, it will say it again elsewhere
                   */
    return router_dispatch(peer, f);
}

static void
peer_on_batch_end(struct link *link, void *arg)
{
    struct peer *peer = arg;

    if (!peer_is_attached(peer))
        return;
    publish_flush_run(peer);
    peer_update_pause(peer);
}

static void
peer_go_on(struct peer *peer)
{
    publish_flush_run(peer);
    if (peer->phase == PEER_BEHIND)
        catchup_go_on(peer);
    else if (peer->phase == PEER_LIVE)
        recovery_go_on(peer);
    listing_go_on(peer->broker);
    presence_go_on(peer->broker);
    peer_update_pause(peer);
}

static void
peer_on_drained(struct link *link, void *arg)
{
    struct peer *peer = arg;

    if (!peer_is_attached(peer))
        return;
    peer_go_on(peer);
    consumers_go_on(peer);
}

static void
peer_on_work(void *arg)
{
    struct peer *peer = arg;

    peer->spent_bytes = 0;
    if (peer_is_attached(peer))
        peer_go_on(peer);
}

static void
peer_on_down(struct link *link, const char *reason, bool is_clean, void *arg)
{
    struct peer *peer = arg;
    struct broker *broker = peer->broker;
    bool was_attached = peer->phase != PEER_OFFERED;

    if (is_clean) {
        log_info("%s left: %s", peer->name, reason);
    } else if (was_attached) {
        log_warn("%s is lost: %s", peer->name, reason);
        broker->counters.links_lost++;
    } else {
        log_info("%s asked for a link and did not attach: %s", peer->name, reason);
    }
    if (was_attached)
        sys_forget_peer(peer);
    peer_close(peer);
    notify_status("%u frontends", broker->n_peers);
    broker_on_peer_gone(broker);
}

static const struct link_ops peer_link_ops = {
    .on_up = peer_on_up,
    .on_frame = peer_on_frame,
    .on_batch_end = peer_on_batch_end,
    .on_drained = peer_on_drained,
    .on_down = peer_on_down,
};

/* ---- The beginning. ---- */

static struct slice
filter_key_of(const void *value)
{
    const struct peer_filter *filter = value;

    return slice_of(&filter->number, sizeof(filter->number));
}

static struct slice
recovery_key_of(const void *value)
{
    return slice_of(value, sizeof(uint64_t)); /* the request's number stands first */
}

static void
copy_text(char *to, struct slice from)
{
    size_t n = from.n < PEER_NAME_MAX ? from.n : PEER_NAME_MAX;

    if (n > 0)
        memcpy(to, from.p, n);
    to[n] = '\0';
}

static struct peer *
peer_new(struct broker *broker, const struct frame_hello *hello, unsigned slot)
{
    struct peer *peer = calloc(1, sizeof(*peer));

    if (peer == NULL)
        return NULL;
    peer->broker = broker;
    peer->slot = slot;
    peer->session = broker->next_session++;
    peer->boot = hello->boot;
    peer->pid = hello->pid;
    peer->is_older = hello->epoch != 0;
    copy_text(peer->name, hello->name);
    copy_text(peer->kind, hello->kind);
    copy_text(peer->version, hello->version);
    peer->since_wall_ms = loop_wall_ms(broker->loop);
    table_init(&peer->filters, filter_key_of);
    table_init(&peer->recoveries_by_req, recovery_key_of);
    consumers_init_peer(peer);
    request_init_peer(peer);
    presence_init_peer(peer);
    asyncrequest_init_peer(peer);
    list_init(&peer->waiting);
    list_init(&peer->running);
    gaps_init(&peer->catchup.gaps);
    peer->work = (struct loop_hook){.fn = peer_on_work, .arg = peer};
    if (asprintf(&peer->path, "%s/link/%llu.sock", broker->runtime_dir, (unsigned long long)peer->session) <
        0) {
        peer->path = NULL;
        peer_free(peer);
        return NULL;
    }
    return peer;
}

static int
peer_open_link(struct peer *peer, const uint8_t token[16])
{
    const struct broker_options *options = &peer->broker->options;
    struct link_config config = {
        .loop = peer->broker->loop,
        .transport = peer->broker->transport,
        .path = peer->path,
        .peer = peer->name,
        .is_broker = true,
        .session = peer->session,
        .peer_credit = LINK_BATCH_BYTES, /* until its first batch says more */
        .own_credit = options->link_credit,
        .heartbeat_ms = options->heartbeat_ms,
        .attach_timeout_ms = ATTACH_TIMEOUT_MS,
    };
    int r;

    memcpy(config.token, token, sizeof(config.token));
    r = link_open(&config, &peer_link_ops, peer, &peer->link);
    if (r < 0)
        return r;
    link_set_mark(peer->link, peer_mark(peer));
    return 0;
}

int
links_add(struct broker *broker, const struct frame_hello *hello, const uint8_t token[16], struct peer **ret)
{
    struct peer *peer;
    unsigned slot = 0;
    int r;

    while (slot < broker->n_slots && broker->peers[slot] != NULL)
        slot++;
    if (slot == broker->n_slots)
        return -ENOSPC;
    peer = peer_new(broker, hello, slot);
    if (peer == NULL)
        return -ENOMEM;
    r = peer_open_link(peer, token);
    if (r < 0) {
        peer_free(peer);
        return r;
    }
    broker->peers[slot] = peer;
    broker->n_peers++;
    *ret = peer;
    return 0;
}

/* ---- All of them. ---- */

void
links_part(struct broker *broker, const char *reason)
{
    for (unsigned slot = 0; slot < broker->n_slots; slot++) {
        struct peer *peer = broker->peers[slot];

        if (peer == NULL)
            continue;
        if (peer_is_attached(peer))
            publish_flush_run(peer);
        link_part(peer->link, reason);
        peer_detach(peer);
    }
}

void
links_apply_options(struct broker *broker)
{
    for (unsigned slot = 0; slot < broker->n_slots; slot++)
        if (broker->peers[slot] != NULL)
            link_set_mark(broker->peers[slot]->link, peer_mark(broker->peers[slot]));
}

void
links_close(struct broker *broker)
{
    for (unsigned slot = 0; slot < broker->n_slots; slot++)
        if (broker->peers[slot] != NULL)
            peer_close(broker->peers[slot]);
}
