/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing: see publish.h. */
#include "config.h"

#include "broker/publish.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/memguard.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/payload.h"
#include "broker/queue.h"
#include "broker/queuegroup.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/errors.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

/* What a record, and a topic if it is new, cost beside the body, about. */
#define PUBLISH_BYTES 512u
#define HELD_RETRY_MS 50u
#define NAME_STEP 32u /* room for names, by so many bytes */
/* A time to live that is longer is none: ten thousand years. */
#define TTL_MAX_MS UINT64_C(315360000000000)
#define NO_PUBLISH "The settings of this topic do not allow clients to publish."

/* An append that the store has not answered yet. Kept on a free list: one for each publish under way. */
struct publish_pending {
    struct publish_pending *next;
    struct topic *topic; /* pinned */
    uint64_t session;    /* of the peer, which may be gone by now; 0: the broker's own */
    uint64_t pub;
    publish_done_fn fn; /* of the broker's own: may be NULL */
    void *arg;
    unsigned slot;
    bool may_retain; /* it may have changed the retained value */
    bool is_delayed;
    bool is_counted; /* in the topic's queue */
};

/* A publish that the store had no room for: tried again when it has answered others, and by a timer;
 * meanwhile the link is paused. */
struct publish_held {
    struct record *record;
    struct topic *topic; /* pinned */
    uint64_t pub;
};

static struct publish_pending *
pending_take(struct broker *broker)
{
    struct publish_pending *pending = broker->free_pending;

    if (pending == NULL)
        return malloc(sizeof(*pending));
    broker->free_pending = pending->next;
    return pending;
}

static void
pending_give_back(struct broker *broker, struct publish_pending *pending)
{
    pending->topic->n_pins--;
    broker->n_scheduling -= pending->is_delayed;
    if (pending->is_counted)
        pending->topic->queue->n_appending--;
    pending->next = broker->free_pending;
    broker->free_pending = pending;
}

void
publish_fini(struct broker *broker)
{
    while (broker->free_pending != NULL) {
        struct publish_pending *pending = broker->free_pending;

        broker->free_pending = pending->next;
        free(pending);
    }
}

/* ---- Answers. ---- */

void
publish_flush_run(struct peer *peer)
{
    struct peer_run *run = &peer->run;

    if (run->n == 0)
        return;
    frame_put_published(
        outbox_begin(peer), &(struct frame_published){.pub = run->pub, .seq = run->seq, .count = run->n});
    outbox_end(peer);
    run->n = 0;
}

static void
publish_note_published(struct peer *peer, uint64_t pub, uint64_t seq)
{
    struct peer_run *run = &peer->run;

    peer->counters.published++;
    if (run->n > 0 && pub == run->pub + run->n && seq == run->seq + run->n) {
        run->n++;
        return;
    }
    publish_flush_run(peer);
    *run = (struct peer_run){.pub = pub, .seq = seq, .n = 1};
    loop_defer(peer->broker->loop, &peer->work); /* flushes it, if the batch's end does not */
}

static void
publish_note_scheduled(struct peer *peer, uint64_t pub, uint64_t due_ms)
{
    publish_flush_run(peer);
    frame_put_scheduled(outbox_begin(peer), &(struct frame_scheduled){.pub = pub, .due_ms = due_ms});
    outbox_end(peer);
    peer->counters.published++;
}

static void
publish_reject(struct peer *peer, uint64_t pub, enum error_code code, const char *message)
{
    publish_flush_run(peer);
    frame_put_rejected(
        outbox_begin(peer), &(struct frame_rejected){
                                .pub = pub,
                                .code = slice_str(error_code_name(code)),
                                .message = slice_str(message != NULL ? message : error_code_sentence(code)),
                            });
    outbox_end(peer);
    peer->counters.rejected++;
    peer->broker->counters.rejected++;
}

void
publish_on_appended(void *cookie, int error, enum append_outcome outcome, uint64_t seq, void *arg)
{
    struct publish_pending *pending = cookie;
    struct broker *broker = arg;
    struct peer *peer = pending->session != 0 ? links_find(broker, pending->slot, pending->session) : NULL;
    publish_done_fn fn;
    void *fn_arg;

    if (error == 0 && outcome == APPEND_OK) {
        if (pending->may_retain)
            topic_note_retained(broker, pending->topic);
        broker->counters.published++;
    } else if (error == 0 && outcome == APPEND_SCHEDULED) {
        broker->counters.scheduled++;
    } else if (error == 0) {
        broker->counters.repeated++;
    } else {
        log_debug("the store could not keep a message of %.*s: %s", SLICE_ARG(topic_name(pending->topic)),
            strerror(-error)); /* the store says it once */
    }
    if (peer != NULL && peer_is_attached(peer)) {
        if (error == 0 && outcome == APPEND_SCHEDULED)
            publish_note_scheduled(peer, pending->pub, seq); /* of a repeat, what the first was told */
        else if (error == 0)
            publish_note_published(peer, pending->pub, seq);
        else
            publish_reject(peer, pending->pub, ERROR_STORE_FAILED, NULL);
    }
    fn = pending->fn;
    fn_arg = pending->arg;
    pending_give_back(broker, pending);
    if (fn != NULL)
        fn(fn_arg, error, outcome, seq);
    if (broker->n_held > 0)
        loop_defer(broker->loop, &broker->held_hook);
}

/* ---- Appending. ---- */

/* Takes the record. 0: the answer comes or came; negative errno: none will. */
static inline int
append_take(
    struct broker *broker, struct record *record, const struct peer *peer, const struct publish_pending *what)
{
    struct publish_pending *pending = pending_take(broker);
    struct store_origin origin = {0};
    struct topic *topic = what->topic;
    int r;

    if (pending == NULL) {
        record_unref(record);
        return -ENOMEM;
    }
    *pending = *what;
    pending->is_delayed = record->due_ms != 0;
    broker->n_scheduling += pending->is_delayed;
    pending->is_counted = topic->queue != NULL;
    if (pending->is_counted)
        topic->queue->n_appending++;
    pending->may_retain = (record->flags & RECORD_RETAIN) != 0 || topic->setting->limits.keeps_last_retained;
    if (peer != NULL) {
        pending->slot = peer->slot;
        pending->session = peer->session;
        origin = (struct store_origin){.boot = peer->boot, .pub = what->pub};
    }
    topic->n_pins++;
    topic->used_s = (uint32_t)(loop_now_ms(broker->loop) / 1000);
    r = broker->store_ops->append_take(broker->store, topic->store, record, origin, pending);
    if (r < 0)
        pending_give_back(broker, pending);
    return r;
}

static int
publish_append_take(
    struct broker *broker, struct topic *topic, struct record *record, const struct peer *peer, uint64_t pub)
{
    return append_take(broker, record, peer, &(struct publish_pending){.topic = topic, .pub = pub});
}

int
publish_take(struct broker *broker, struct topic *topic, struct record *record, publish_done_fn fn, void *arg)
{
    return append_take(broker, record, NULL, &(struct publish_pending){.topic = topic, .fn = fn, .arg = arg});
}

static void
publish_try_held(void *arg)
{
    struct peer *peer = arg;
    struct publish_held *held = peer->held;
    int r = publish_append_take(peer->broker, held->topic, record_ref(held->record), peer, held->pub);

    if (r == -EAGAIN) {
        loop_timer_start(peer->broker->loop, &peer->held_timer, HELD_RETRY_MS);
        return;
    }
    if (r < 0)
        publish_reject(peer, held->pub, ERROR_STORE_FAILED, NULL);
    publish_drop_peer(peer);
    peer_update_pause(peer);
}

void
publish_on_room(void *arg)
{
    struct broker *broker = arg;

    for (unsigned slot = 0; slot < broker->n_slots; slot++)
        if (broker->peers[slot] != NULL && broker->peers[slot]->held != NULL)
            publish_try_held(broker->peers[slot]);
}

static int
publish_hold(struct peer *peer, struct topic *topic, struct record *record, uint64_t pub)
{
    struct publish_held *held = malloc(sizeof(*held));

    if (held == NULL) {
        record_unref(record);
        return -ENOMEM;
    }
    *held = (struct publish_held){.record = record, .topic = topic, .pub = pub};
    topic->n_pins++;
    peer->held = held;
    peer->broker->n_held++;
    peer->held_timer = (struct loop_timer){.fn = publish_try_held, .arg = peer};
    loop_timer_start(peer->broker->loop, &peer->held_timer, HELD_RETRY_MS);
    peer_update_pause(peer);
    return 0;
}

void
publish_drop_peer(struct peer *peer)
{
    if (peer->held == NULL)
        return;
    loop_timer_stop(peer->broker->loop, &peer->held_timer);
    peer->held->topic->n_pins--;
    record_unref(peer->held->record);
    free(peer->held);
    peer->held = NULL;
    peer->broker->n_held--;
}

static void
own(struct broker *broker, struct slice name, enum message_kind kind, struct slice body)
{
    struct topic *topic;
    struct record *record;
    int r = topic_get(broker, name, &topic);

    if (r == 0) {
        record = record_new(slice_of(NULL, 0), slice_of(NULL, 0), slice_of(NULL, 0), body);
        r = record == NULL ? -ENOMEM : 0;
    }
    if (r == 0) {
        record->kind = (uint8_t)kind;
        record->flags = MESSAGE_RETAIN;
        r = publish_append_take(broker, topic, record, NULL, 0);
    }
    if (r < 0)
        log_warn("could not publish %.*s: %s", SLICE_ARG(name), strerror(-r));
}

void
publish_own(struct broker *broker, struct slice name, struct slice json)
{
    own(broker, name, json.n > 0 ? MESSAGE_JSON : MESSAGE_TEXT, json); /* nothing is no JSON */
}

void
publish_own_bytes(struct broker *broker, struct slice name, struct slice bytes)
{
    own(broker, name, MESSAGE_BINARY, bytes);
}

/* ---- Names. ---- */

/* The one kind of the bus's own topics that clients publish to. */
static bool
is_whisper(struct slice name)
{
    const size_t n = sizeof(WHISPER_PREFIX) - 1;

    return name.n > n && memcmp(name.p, WHISPER_PREFIX, n) == 0;
}

static int
handles_reserve(struct peer *peer, uint32_t handle)
{
    uint32_t n = peer->n_handles == 0 ? 64 : peer->n_handles;
    struct peer_handle **handles;

    if (handle < peer->n_handles)
        return 0;
    while (n <= handle)
        n *= 2;
    handles = realloc(peer->handles, n * sizeof(handles[0]));
    if (handles == NULL)
        return -ENOMEM;
    memset(handles + peer->n_handles, 0, (n - peer->n_handles) * sizeof(handles[0]));
    peer->handles = handles;
    peer->n_handles = n;
    return 0;
}

/* Gives it a name, in place of the one that it had; numbers are given anew all the time where there are very
 * many topics. */
static int
handle_name(struct peer *peer, uint32_t number, struct slice name)
{
    struct peer_handle *handle = peer->handles[number];

    if (handle == NULL || handle->n_room < name.n) {
        size_t n_room = (name.n + NAME_STEP - 1) / NAME_STEP * NAME_STEP;

        free(handle);
        handle = peer->handles[number] = malloc(sizeof(*handle) + n_room);
        if (handle == NULL)
            return -ENOMEM;
        handle->n_room = (uint16_t)n_room;
    }
    handle->hash = topic_hash(peer->broker, name);
    handle->serial = 0;
    handle->error = name.n > 0 && name.p[0] == '$' && !is_whisper(name) ? ERROR_NOT_ALLOWED : ERROR_NONE;
    handle->n_name = (uint16_t)name.n;
    if (name.n > 0)
        memcpy(handle->name, name.p, name.n);
    return 0;
}

int
publish_on_name(struct peer *peer, const struct frame *f)
{
    uint64_t number = f->name.handle;
    /* A bad name is refused with each publish that uses it: the frontend may have passed on what a client
     * said. */
    bool is_bad = topic_name_error(f->name.topic) != NULL;
    int r;

    if (number >= PEER_HANDLES)
        return peer_complain(peer, f, "handle %llu", (unsigned long long)number);
    r = handles_reserve(peer, (uint32_t)number);
    if (r == 0)
        r = handle_name(peer, (uint32_t)number, is_bad ? slice_of(NULL, 0) : f->name.topic);
    if (r < 0)
        return r;
    if (is_bad)
        peer->handles[number]->error = ERROR_TOPIC_INVALID;
    else
        topic_prefetch(peer->broker, peer->handles[number]->hash); /* a publish follows */
    if (number + 1 < peer->n_handles) /* who has given out all numbers goes round */
        __builtin_prefetch(peer->handles[number + 1]);
    return 0;
}

/* The topic of a handle, made if need be. */
static int
handle_topic(struct broker *broker, struct peer_handle *handle, struct topic **ret)
{
    const struct topics *t = &broker->topics;
    struct topic *topic;
    struct slice name;
    int r;

    if (handle->serial != 0 && handle->topic_handle < t->n_handles) {
        topic = t->by_handle[handle->topic_handle];

        if (topic != NULL && topic->serial == handle->serial) {
            *ret = topic;
            return 0;
        }
    }
    name = slice_of(handle->name, handle->n_name);
    /* What may not be published to does not come into being by the attempt. */
    topic = topic_find_hashed(broker, handle->hash, name);
    if (topic == NULL) {
        if (!settings_find(broker->settings, name)->may_publish)
            return -EACCES;
        r = topic_get(broker, name, &topic);
        if (r < 0)
            return r;
    }
    __builtin_prefetch(
        topic->store); /* among a million it is far away, and not asked for before the append */
    handle->serial = topic->serial;
    handle->topic_handle = topic->handle;
    *ret = topic;
    return 0;
}

/* ---- PUBLISH. ---- */

/* An empty retained value, which clears the one that was kept, is nothing that a JSON reader could take. */
static uint8_t
kind_of(const struct frame_publish *p)
{
    bool is_clearing = p->body.n == 0 && (p->flags & MESSAGE_RETAIN) != 0;

    return p->kind == MESSAGE_JSON && is_clearing ? MESSAGE_TEXT : (uint8_t)p->kind;
}

/* May it? The refusal's text is NULL where the code's own sentence will do. */
static enum error_code
check_publish(const struct topic *topic, const struct frame_publish *p, const char **ret_message)
{
    *ret_message = NULL;
    if (!topic->setting->may_publish) {
        *ret_message = NO_PUBLISH;
        return ERROR_NOT_ALLOWED;
    }
    return payload_check(&(struct payload){.kind = kind_of(p),
                             .type = p->type,
                             .headers = p->headers,
                             .key = p->key,
                             .once = p->once,
                             .body = p->body},
        topic->setting->max_message, ret_message);
}

/* Messages with a delay: are they allowed, and is there room? */
static enum error_code
check_delay(struct broker *broker, const struct topic *topic, uint64_t delay_ms, const char **ret_message)
{
    struct store_stats stats;

    if (delay_ms == 0)
        return ERROR_NONE;
    if (topic->setting->max_delay_ms == 0) {
        *ret_message = "The settings of this topic do not allow messages with a delay (max_delay).";
        return ERROR_NOT_ALLOWED;
    }
    if (delay_ms > topic->setting->max_delay_ms) {
        *ret_message = "The delay is longer than this topic allows (max_delay).";
        return ERROR_LIMIT_REACHED;
    }
    broker->store_ops->stats(broker->store, &stats);
    if (stats.n_scheduled + broker->n_scheduling >= broker->options.scheduled_max) {
        *ret_message = "Too many messages wait for their time (broker.scheduled_max).";
        return ERROR_LIMIT_REACHED;
    }
    return ERROR_NONE;
}

/* When it is due and when it expires, by the wall clock. */
static void
set_times(const struct broker *broker, const struct topic *topic, const struct frame_publish *p,
    struct record *record)
{
    const uint64_t max_ms = topic->setting->max_ttl_ms;
    const int64_t at_ms = loop_wall_ms(broker->loop) + (int64_t)p->delay_ms;
    uint64_t ttl_ms = p->ttl_ms < TTL_MAX_MS ? p->ttl_ms : 0;

    if (max_ms > 0 && (ttl_ms == 0 || ttl_ms > max_ms))
        ttl_ms = max_ms;
    if (p->delay_ms > 0)
        record->due_ms = at_ms;
    if (ttl_ms > 0)
        record->expires_ms = at_ms + (int64_t)ttl_ms;
}

static int
proceed_publish(struct peer *peer, struct topic *topic, const struct frame_publish *p)
{
    bool is_key_once = p->once.n == 0 && topic->setting->is_key_once;
    struct record *record = is_key_once ? record_new(p->type, p->headers, p->key, p->body)
                                        : record_new_once(p->type, p->headers, p->key, p->once, p->body);
    int r = -ENOMEM;

    if (record != NULL) {
        record->kind = kind_of(p);
        record->flags = (uint8_t)p->flags;
        set_times(peer->broker, topic, p, record);
        r = publish_append_take(peer->broker, topic, record_ref(record), peer, p->pub);
        if (r == -EAGAIN)
            return publish_hold(peer, topic, record, p->pub);
        record_unref(record);
    }
    if (r < 0)
        publish_reject(peer, p->pub, ERROR_STORE_FAILED, NULL);
    return 0;
}

static enum error_code
find_topic(struct peer *peer, struct peer_handle *handle, struct topic **ret, const char **ret_message)
{
    *ret_message = NULL;
    if (handle->error == ERROR_NOT_ALLOWED)
        *ret_message = "Topics that begin with '$' are the bus's own.";
    if (handle->error != ERROR_NONE)
        return (enum error_code)handle->error;
    switch (handle_topic(peer->broker, handle, ret)) {
    case 0:
        return ERROR_NONE;
    case -EACCES:
        *ret_message = NO_PUBLISH;
        return ERROR_NOT_ALLOWED;
    case -ENOSPC:
        *ret_message = "There are too many topics (broker.topics_max).";
        return ERROR_LIMIT_REACHED;
    default:
        return ERROR_STORE_FAILED;
    }
}

/* Memory is nearly used up. What clears a retained value is welcome even then. */
static bool
is_too_much_now(struct broker *broker, const struct peer_handle *handle, const struct frame_publish *p)
{
    bool is_clearing = p->body.n == 0 && p->headers.n == 0 && (p->flags & MESSAGE_RETAIN) != 0;

    if (!memguard_take(broker->memory, PUBLISH_BYTES + p->body.n + p->headers.n))
        return false;
    return !is_clearing || topic_find(broker, slice_of(handle->name, handle->n_name)) == NULL;
}

int
publish_on_publish(struct peer *peer, const struct frame *f)
{
    const struct frame_publish *p = &f->publish;
    struct topic *topic = NULL;
    const char *message;
    enum error_code code;

    if (p->handle >= peer->n_handles || peer->handles[p->handle] == NULL)
        return peer_complain(peer, f, "handle %llu was never named", (unsigned long long)p->handle);
    if (p->pub == 0 || p->kind > MESSAGE_JSON || p->flags > MESSAGE_RETAIN)
        return peer_complain(peer, f, "number, kind or flags that do not exist");
    if (is_too_much_now(peer->broker, peer->handles[p->handle], p)) {
        peer->broker->counters.refused_memory++;
        publish_reject(
            peer, p->pub, ERROR_LIMIT_REACHED, "The broker's memory is nearly used up: try again later.");
        return 0;
    }
    code = find_topic(peer, peer->handles[p->handle], &topic, &message);
    if (code == ERROR_NONE)
        code = check_publish(topic, p, &message);
    if (code == ERROR_NONE && topic->queue != NULL && queue_is_full(peer->broker, topic))
        code = ERROR_QUEUE_FULL;
    if (code == ERROR_NONE)
        code = check_delay(peer->broker, topic, p->delay_ms, &message);
    if (code != ERROR_NONE) {
        publish_reject(peer, p->pub, code, message);
        return 0;
    }
    return proceed_publish(peer, topic, p);
}
