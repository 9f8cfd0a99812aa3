/* SPDX-License-Identifier: Apache-2.0 */
/* $sys: see sys.h. */
#include "config.h"

#include "broker/sys.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/json.h"
#include "broker/asyncrequest.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/presence.h"
#include "broker/publish.h"
#include "broker/queue.h"
#include "broker/request.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define SYS_SOON_MS 100u
#define STATS_DEPTH 8u

static void
put_figure(struct buf *out, const char *name, uint64_t value)
{
    buf_printf(out, "%s\"%s\":%llu", out->n > 1 ? "," : "", name, (unsigned long long)value);
}

static void
put_text(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s\"%s\":", out->n > 1 ? "," : "", name);
    json_put_string(out, slice_str(value));
}

/* Takes the text of out. */
static void
publish_figures(struct broker *broker, const char *topic, const char *name, struct buf *out)
{
    char full[sizeof("$sys/frontends/") + PEER_NAME_MAX];

    (void)snprintf(full, sizeof(full), "%s%s", topic, name);
    buf_put_str(out, "}");
    if (!buf_failed(out))
        publish_own(broker, slice_str(full), buf_slice(out));
    buf_reset(out);
}

static void
put_requests(struct buf *out, const struct request_figures *r)
{
    put_figure(out, "requests", r->n_asked);
    put_figure(out, "requests_replied", r->n_replied);
    put_figure(out, "requests_failed", r->n_failed);
    put_figure(out, "requests_no_responder", r->n_alone);
    put_figure(out, "requests_responder_gone", r->n_gone);
    put_figure(out, "requests_timeout", r->n_timeout);
    put_figure(out, "requests_refused", r->n_refused);
    put_figure(out, "requests_abandoned", r->n_abandoned);
    put_figure(out, "requests_open", r->n_open);
    put_figure(out, "requests_waiting", r->n_waiting);
    put_figure(out, "replies_late", r->n_late);
}

static void
put_presence(struct buf *out, const struct presence *presence)
{
    const struct presence_figures *p = presence_figures(presence);

    put_figure(out, "presence_topics", presence_topics(presence));
    put_figure(out, "presence_members", p->n_members);
    put_figure(out, "presence_connections", p->n_connections);
    put_figure(out, "presence_lingering", p->n_lingering);
    put_figure(out, "presence_joins", p->n_joins);
    put_figure(out, "presence_leaves", p->n_leaves);
    put_figure(out, "presence_events", p->n_events);
    put_figure(out, "presence_events_lost", p->n_events_lost);
    put_figure(out, "presence_refused", p->n_refused);
}

static void
publish_broker(struct broker *broker, struct buf *out)
{
    const struct broker_counters *c = &broker->counters;
    const struct queue_totals *q = queues_totals(broker->queues);
    const struct asyncrequest_figures *a = asyncrequests_figures(broker->async);
    struct store_stats stats;

    broker->store_ops->stats(broker->store, &stats);
    buf_put_str(out, "{");
    put_text(out, "version", PACKAGE_VERSION);
    put_text(out, "backend", broker->store_ops->name);
    put_figure(out, "epoch", broker->store_ops->epoch(broker->store));
    put_figure(out, "seq", broker->last_seq);
    put_figure(out, "uptime_s", (loop_now_ms(broker->loop) - broker->started_ms) / 1000);
    put_figure(out, "links", broker->n_peers);
    put_figure(out, "topics", broker->topics.by_name.n_used);
    put_figure(out, "topics_forgotten", broker->topics.n_forgotten);
    put_figure(out, "retained", broker->topics.n_retained);
    put_figure(out, "filters", interest_count(&broker->interest));
    put_figure(out, "consumers", broker->n_consumers);
    put_figure(out, "published", c->published);
    put_figure(out, "rejected", c->rejected);
    put_figure(out, "repeated", c->repeated);
    put_figure(out, "scheduled", c->scheduled);
    put_figure(out, "delivered", c->delivered);
    put_figure(out, "replayed", c->replayed);
    put_figure(out, "recoveries", c->recoveries);
    put_figure(out, "fell_behind", c->fell_behind);
    put_figure(out, "links_opened", c->links_opened);
    put_figure(out, "links_lost", c->links_lost);
    put_figure(out, "malformed", c->malformed);
    put_figure(out, "refused", c->refused);
    put_figure(out, "refused_memory", c->refused_memory);
    put_figure(out, "queues", q->n_groups);
    put_figure(out, "queue_given", q->n_given);
    put_figure(out, "queue_given_again", q->n_given_again);
    put_figure(out, "queue_done", q->n_done);
    put_figure(out, "queue_leases_ended", q->n_ended);
    put_figure(out, "queue_leased", q->n_leased);
    put_figure(out, "queue_dead", q->n_dead);
    put_figure(out, "queue_lost", q->n_lost);
    put_figure(out, "queue_expired", q->n_expired);
    put_figure(out, "queue_refused", q->n_refused);
    put_figure(out, "queue_cache_bytes", q->cache_bytes);
    put_figure(out, "kept_requests", broker->topics.n_replies);
    put_figure(out, "kept_requests_accepted", a->n_accepted);
    put_figure(out, "kept_requests_answered", a->n_answered);
    put_figure(out, "kept_requests_failed", a->n_failed);
    put_figure(out, "kept_requests_withdrawn", a->n_withdrawn);
    put_figure(out, "kept_requests_waiting", a->n_waiting);
    put_figure(out, "stored_messages", stats.n_records);
    put_figure(out, "stored_bytes", stats.n_bytes);
    put_figure(out, "stored_scheduled", stats.n_scheduled);
    put_figure(out, "evicted", stats.n_evicted);
    put_figure(out, "expired", stats.n_expired);
    put_figure(out, "scheduled_messages", stats.n_scheduled);
    put_figure(out, "scheduled_bytes", stats.n_scheduled_bytes);
    put_figure(out, "queue_groups", stats.n_groups);
    put_figure(out, "queue_items", stats.n_items);
    put_figure(out, "store_failed", stats.n_failed);
    put_requests(out, requests_figures(broker->requests));
    put_presence(out, broker->presence);
    publish_figures(broker, "$sys/broker", "", out);
}

static void
publish_link(struct peer *peer, struct buf *out)
{
    struct link_stats stats;

    link_get_stats(peer->link, &stats);
    buf_put_str(out, "{");
    put_text(out, "kind", peer->kind);
    put_text(out, "version", peer->version);
    put_text(out, "state",
        peer->phase == PEER_LIVE     ? "live"
        : peer->phase == PEER_BEHIND ? "behind"
                                     : "attaching");
    put_figure(out, "pid", peer->pid);
    put_figure(out, "since_ms", (uint64_t)peer->since_wall_ms);
    put_figure(out, "filters", peer->filters.n_used);
    put_figure(out, "consumers", peer->consumers.n_used);
    put_figure(out, "members", peer->n_seats);
    put_figure(out, "requests", peer->asks.n_used);
    put_figure(out, "recoveries", peer->recoveries_by_req.n_used);
    put_figure(out, "published", peer->counters.published);
    put_figure(out, "rejected", peer->counters.rejected);
    put_figure(out, "delivered", peer->counters.delivered);
    put_figure(out, "replayed", peer->counters.replayed);
    put_figure(out, "fell_behind", peer->counters.fell_behind);
    put_figure(out, "backlog_bytes", link_backlog(peer->link));
    put_figure(out, "batches_in", stats.batches_in);
    put_figure(out, "batches_out", stats.batches_out);
    put_figure(out, "bytes_in", stats.bytes_in);
    put_figure(out, "bytes_out", stats.bytes_out);
    publish_figures(peer->broker, "$sys/links/", peer->name, out);
}

static void
sys_on_timer(void *arg)
{
    struct broker *broker = arg;
    struct buf out;

    if (broker->options.sys_interval_ms > 0) {
        buf_init(&out, 0);
        publish_broker(broker, &out);
        for (unsigned slot = 0; slot < broker->n_slots; slot++)
            if (broker->peers[slot] != NULL && peer_is_attached(broker->peers[slot]))
                publish_link(broker->peers[slot], &out);
        buf_fini(&out);
    }
    /* Off now may be on after a reload: looked at once in a while. */
    loop_timer_start(broker->loop, &broker->sys_timer,
        broker->options.sys_interval_ms > 0 ? broker->options.sys_interval_ms : 1000);
}

void
sys_start(struct broker *broker)
{
    broker->sys_timer = (struct loop_timer){.fn = sys_on_timer, .arg = broker};
    sys_on_timer(broker);
}

void
sys_stop(struct broker *broker)
{
    loop_timer_stop(broker->loop, &broker->sys_timer);
}

/* Who looks just after a frontend came or went should see it. */
static void
sys_soon(struct broker *broker)
{
    if (!broker->is_stopping && broker->options.sys_interval_ms > SYS_SOON_MS)
        loop_timer_start(broker->loop, &broker->sys_timer, SYS_SOON_MS);
}

int
sys_on_stats(struct peer *peer, const struct frame *f)
{
    char topic[sizeof("$sys/frontends/") + PEER_NAME_MAX];
    struct slice json = f->stats.json;
    const char *what = "more than 16 KiB";

    if (json.n > PEER_STATS_MAX || json_check(json.p, json.n, STATS_DEPTH, &what) < 0)
        return peer_complain(peer, f, "%s", what);
    (void)snprintf(topic, sizeof(topic), "$sys/frontends/%s", peer->name);
    publish_own(peer->broker, slice_str(topic), json);
    if (!peer->has_stats)
        sys_soon(peer->broker);
    peer->has_stats = true;
    return 0;
}

static void
clear(struct broker *broker, const char *prefix, const char *name)
{
    char topic[sizeof("$sys/frontends/") + PEER_NAME_MAX];

    (void)snprintf(topic, sizeof(topic), "%s%s", prefix, name);
    if (topic_find(broker, slice_str(topic)) != NULL)
        publish_own(broker, slice_str(topic), slice_of(NULL, 0));
}

void
sys_forget_peer(struct peer *peer)
{
    struct broker *broker = peer->broker;

    /* Its successor may be here already: the values are that one's now. */
    for (unsigned slot = 0; slot < broker->n_slots; slot++) {
        const struct peer *other = broker->peers[slot];

        if (other != NULL && other != peer && peer_is_attached(other) && strcmp(other->name, peer->name) == 0)
            return;
    }
    clear(broker, "$sys/links/", peer->name);
    if (peer->has_stats)
        clear(broker, "$sys/frontends/", peer->name);
    sys_soon(broker);
}
