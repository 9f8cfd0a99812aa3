/* SPDX-License-Identifier: Apache-2.0 */
/* Replays for joiners: see recovery.h. */
#include "config.h"

#include "broker/recovery.h"

#include <errno.h>
#include <stdlib.h>

#include "backends/backend.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/settings.h"
#include "broker/topic.h"
#include "wire/filtertree.h"
#include "wire/frame.h"
#include "wire/link.h"
#include "wire/names.h"

#define RUNNING_MAX 8u
#define CHUNK_BYTES (64u * 1024)
#define TURN_BYTES (1024u * 1024)
#define STEP_COST 4096u      /* of a step that finds next to nothing, in the currency of TURN_BYTES */
#define LOOK_COST 64u        /* of a topic that is looked at: a step over very many of them ends the turn */
#define NOTED_MAX (1u << 20) /* records of modes 1 to 3 */
#define LAST_MAX 1000000u    /* of one topic */

enum recovery_stage {
    STAGE_WAITING,
    STAGE_LAST,    /* modes 1 and 3: the store is asked for the last of each topic */
    STAGE_PUTTING, /* modes 1 to 3: what was noted is put */
    STAGE_SINCE,   /* the store is read since the position */
};

struct recovery {
    uint64_t req; /* first: it is the key */
    enum recovery_stage stage;
    struct peer *peer;
    struct list in_peer; /* waiting or running */
    uint64_t mode, epoch, since;
    uint64_t count;   /* mode 0: how many may still come, if has_count; modes 1 and 3: of each topic */
    int64_t since_ms; /* mode 3, else 0 */
    uint64_t told_at; /* the store's last seq at the read before, 0 if this is the first since the position */
    bool has_wildcard;   /* a filter has one */
    bool reads_wildcard; /* one that is not below '$' */
    bool has_count, is_running, is_reading, is_cancelled, has_more;
    uint64_t state;
    struct gaps gaps;

    struct filtertree *tree;     /* all filters, if one has a wildcard */
    struct store_topic **topics; /* else: during a read, those that there are */
    struct record **noted;       /* modes 1 to 3, in order of seq; their topics are pinned */
    size_t n_noted, noted_at, noted_room;

    struct strs filters; /* into packed[] */
    size_t n_packed;
    uint8_t packed[];
};

/* ---- Life. ---- */

static struct slice
recovery_key(const struct recovery *r)
{
    return slice_of(&r->req, sizeof(r->req));
}

static void
recovery_forget_noted(struct recovery *r)
{
    for (size_t i = r->noted_at; i < r->n_noted; i++) {
        struct topic *topic = r->noted[i]->topic;

        topic->n_pins--;
        record_unref(r->noted[i]);
    }
    free(r->noted);
    r->noted = NULL;
    r->n_noted = r->noted_at = r->noted_room = 0;
}

static void
recovery_free(struct recovery *r)
{
    struct peer *peer = r->peer;

    list_remove(&r->in_peer);
    (void)table_remove(&peer->recoveries_by_req, recovery_key(r));
    peer->n_running -= r->is_running;
    peer->recovery_bytes -= r->n_packed;
    peer_update_pause(peer);
    recovery_forget_noted(r);
    gaps_fini(&r->gaps);
    if (r->tree != NULL)
        filtertree_free(r->tree);
    free(r->topics);
    free(r);
}

void
recovery_drop_all(struct peer *peer)
{
    list_for_each_safe(it, following, &peer->waiting)
    {
        recovery_free(list_entry(it, struct recovery, in_peer));
    }
    list_for_each_safe(running, after, &peer->running)
    {
        struct recovery *r = list_entry(running, struct recovery, in_peer);

        if (!r->is_reading)
            recovery_free(r);
    }
}

/* The answer; frees it. */
static void
recovery_finish(struct recovery *r, uint64_t seq)
{
    struct broker *broker = r->peer->broker;

    if (r->gaps.has_any && r->state != STATE_RESET)
        r->state = STATE_GAP;
    frame_put_recovered(outbox_begin(r->peer), &(struct frame_recovered){
                                                   .req = r->req,
                                                   .state = r->state,
                                                   .epoch = broker->store_ops->epoch(broker->store),
                                                   .seq = seq,
                                                   .more = r->has_more,
                                               });
    outbox_end(r->peer);
    broker->counters.recoveries++;
    recovery_free(r);
}

/* ---- What it wants. ---- */

static void
recovery_on_match(void *value, void *arg)
{
    *(bool *)arg = true;
}

static bool
recovery_matches(const struct recovery *r, const struct topic *topic)
{
    bool is_wanted = false;

    r->peer->looked_bytes += LOOK_COST;
    if (topic->setting->may_subscribe)
        filtertree_match(r->tree, topic_name(topic), recovery_on_match, &is_wanted);
    return is_wanted;
}

static bool
recovery_wants(void *topic, void *arg)
{
    const struct topic *wanted = topic;

    return !setting_is_volatile(wanted->setting) && recovery_matches(arg, wanted);
}

/* The filters as a tree, when one of them has a wildcard. Each was checked. */
static int
recovery_compile(struct recovery *r)
{
    struct strs filters = r->filters;
    struct slice filter;
    int error;

    if (!r->has_wildcard)
        return 0;
    error = filtertree_new(&r->tree);
    if (error < 0)
        return error;
    while (strs_next(&filters, &filter)) {
        void **at = filtertree_at(r->tree, filter);

        if (at == NULL)
            return -ENOMEM;
        *at = r;
    }
    return 0;
}

static int
compare_topics(const void *a, const void *b)
{
    const struct topic *x = *(struct topic *const *)a, *y = *(struct topic *const *)b;

    return x == y ? 0 : x == NULL || (y != NULL && x->serial < y->serial) ? -1 : 1;
}

/* Nothing below is kept but retained values: $requests is nobody's to subscribe to. */
static bool
is_of_the_bus(struct slice filter)
{
    return filter.p[0] == '$';
}

/* The exact filters as topics, each once; NULL for names that there are not, and that may have been
 * forgotten. Fresh for each read: topics come and go. */
static int
recovery_find_topics(struct recovery *r, struct topic ***ret, size_t *ret_n)
{
    struct strs filters = r->filters;
    struct topic **found = malloc((r->filters.n > 0 ? r->filters.n : 1) * sizeof(found[0]));
    struct slice filter;
    size_t n = 0, n_unique = 0;

    if (found == NULL)
        return -ENOMEM;
    while (strs_next(&filters, &filter)) {
        struct topic *topic = topic_find(r->peer->broker, filter);

        if (topic == NULL ? !is_of_the_bus(filter) : topic->setting->may_subscribe)
            found[n++] = topic;
    }
    qsort(found, n, sizeof(found[0]), compare_topics);
    for (size_t i = 0; i < n; i++)
        if (n_unique == 0 || found[i] != found[n_unique - 1])
            found[n_unique++] = found[i];
    *ret = found;
    *ret_n = n_unique;
    return 0;
}

/* ---- Putting. ---- */

static bool
recovery_is_wanted(const struct recovery *r)
{
    return peer_is_attached(r->peer) && !r->is_cancelled;
}

static void
recovery_on_gap(void *topic, uint64_t seq, void *arg)
{
    struct recovery *r = arg;

    if (recovery_is_wanted(r))
        gaps_tell(&r->gaps, r->peer, r->req, topic, seq);
}

static void
recovery_put(struct recovery *r, const struct record *record)
{
    if (!recovery_is_wanted(r))
        return;
    gaps_flush(&r->gaps, r->peer, r->req);
    outbox_put_replay(r->peer, r->req, record);
    r->peer->step_bytes += record_size(record);
}

static void
recovery_on_record(struct record *record, void *arg)
{
    struct recovery *r = arg;

    recovery_put(r, record);
    if (r->has_count && r->count > 0)
        r->count--;
}

/* What was noted, while the link takes it. */
static void
recovery_put_noted(struct recovery *r)
{
    struct peer *peer = r->peer;

    while (r->noted_at < r->n_noted && peer->step_bytes < CHUNK_BYTES) {
        struct record *record = r->noted[r->noted_at++];
        struct topic *topic = record->topic;

        recovery_put(r, record);
        topic->n_pins--;
        record_unref(record);
    }
    if (r->noted_at < r->n_noted)
        return;
    recovery_forget_noted(r);
    if (r->has_more)
        recovery_finish(r, r->since);
    else
        r->stage = STAGE_SINCE;
}

/* ---- Noting. ---- */

static int
recovery_note(struct recovery *r, struct record *record)
{
    struct topic *topic = record->topic;

    if (r->n_noted == r->noted_room) {
        size_t room = r->noted_room == 0 ? 16 : r->noted_room * 2;
        struct record **noted = realloc(r->noted, room * sizeof(noted[0]));

        if (noted == NULL)
            return -ENOMEM;
        r->noted = noted;
        r->noted_room = room;
    }
    r->noted[r->n_noted++] = record_ref(record);
    topic->n_pins++;
    return 0;
}

/* In the order of seq. Where memory ends the answer is cut short, and the client may ask on from the last
 * one. */
static void
recovery_on_last(struct record *record, void *arg)
{
    struct recovery *r = arg;

    if (record->time_ms < r->since_ms)
        return;
    if (!r->has_more && recovery_is_wanted(r) && recovery_note(r, record) < 0)
        r->has_more = true;
}

static int
recovery_note_retained(struct recovery *r, struct topic *topic)
{
    struct broker *broker = r->peer->broker;
    struct record *record = broker->store_ops->retained(broker->store, topic->store);
    int error = record != NULL ? recovery_note(r, record) : 0;

    record_unref(record);
    return error;
}

static int
compare_records(const void *a, const void *b)
{
    const struct record *x = *(struct record *const *)a, *y = *(struct record *const *)b;

    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Mode 2. A wildcard looks at the topics that have a retained value, not at all that there are. */
static int
recovery_note_all_retained(struct recovery *r)
{
    struct broker *broker = r->peer->broker;
    struct topic **found;
    size_t n;
    int error = 0;

    if (r->has_wildcard) {
        for (uint32_t i = 0; i < broker->topics.n_retained && error == 0; i++)
            if (recovery_matches(r, broker->topics.retained[i]))
                error = recovery_note_retained(r, broker->topics.retained[i]);
    } else {
        error = recovery_find_topics(r, &found, &n);
        if (error < 0)
            return error;
        for (size_t i = 0; i < n && error == 0; i++)
            if (found[i] != NULL)
                error = recovery_note_retained(r, found[i]);
        free(found);
    }
    if (r->n_noted > 0)
        qsort(r->noted, r->n_noted, sizeof(r->noted[0]), compare_records);
    return error;
}

/* ---- Reading the store. ---- */

/* The answer to modes 1 and 3 is noted: from here on it is like mode 0. */
static void
recovery_on_noted(struct recovery *r, uint64_t upto, bool is_cut_short)
{
    r->stage = STAGE_PUTTING;
    r->has_more |= is_cut_short;
    r->since = r->has_more && r->n_noted > 0 ? r->noted[r->n_noted - 1]->seq : upto;
}

static void
recovery_after_read(struct recovery *r, uint64_t upto, bool is_cut_short)
{
    struct broker *broker = r->peer->broker;

    gaps_flush(&r->gaps, r->peer, r->req);
    r->since = upto;
    if (is_cut_short && r->has_count && r->count == 0) {
        r->has_more = true;
        recovery_finish(r, upto);
    } else if (!is_cut_short && upto >= broker->last_seq && r->peer->phase == PEER_LIVE) {
        recovery_finish(r, upto);
    }
}

static void
recovery_on_done(int error, uint64_t upto, bool is_cut_short, void *arg)
{
    struct recovery *r = arg;
    struct peer *peer = r->peer;

    r->is_reading = false;
    peer->broker->n_reads--;
    peer->n_reads--;
    free(r->topics);
    r->topics = NULL;
    if (!peer_is_attached(peer)) {
        recovery_free(r);
        peer_free_late(peer);
    } else if (error < 0) {
        link_fail(peer->link, "the store could not be read");
    } else if (r->stage == STAGE_LAST) {
        recovery_on_noted(r, upto, is_cut_short);
        loop_defer(peer->broker->loop, &peer->work);
    } else {
        recovery_after_read(r, upto, is_cut_short);
        loop_defer(peer->broker->loop, &peer->work);
    }
}

/* Names what the read is of: by asking for each topic, or by a list. */
static int
recovery_aim(struct recovery *r, struct store_read *read)
{
    struct topic **found;
    size_t n;
    int error;

    if (r->reads_wildcard)
        return 0;
    error = recovery_find_topics(r, &found, &n);
    if (error < 0)
        return error;
    r->topics = malloc((n > 0 ? n : 1) * sizeof(r->topics[0]));
    if (r->topics != NULL)
        for (size_t i = 0; i < n; i++)
            if (found[i] == NULL || !setting_is_volatile(found[i]->setting))
                r->topics[read->n_topics++] = found[i] != NULL ? found[i]->store : NULL;
    free(found);
    if (r->topics == NULL)
        return -ENOMEM;
    read->topics = r->topics;
    return 0;
}

/* r may be gone after. */
static int
recovery_read(struct recovery *r)
{
    struct peer *peer = r->peer;
    struct broker *broker = peer->broker;
    struct store_read read = {
        .wants = recovery_wants,
        .since = r->since,
        .on_gap = recovery_on_gap,
        .on_done = recovery_on_done,
        .arg = r,
    };
    int error = recovery_aim(r, &read);

    if (error < 0)
        return error;
    if (r->stage == STAGE_LAST) {
        read.last = r->count;
        read.since_ms = r->since_ms;
        read.max_records = NOTED_MAX;
        read.on_record = recovery_on_last;
    } else {
        read.max_records = r->has_count ? r->count : 0;
        read.max_bytes = CHUNK_BYTES;
        read.on_record = recovery_on_record;
        read.told_at = r->told_at;
        r->told_at = broker->store_ops->last_seq(broker->store);
    }
    r->is_reading = true;
    broker->n_reads++;
    peer->n_reads++;
    error = broker->store_ops->read(broker->store, &read);
    if (error < 0) {
        r->is_reading = false;
        broker->n_reads--;
        peer->n_reads--;
    }
    return error;
}

/* ---- Running. ---- */

/* 1: answered, r is gone; 0: it has begun; negative errno. */
static int
recovery_start(struct recovery *r)
{
    struct broker *broker = r->peer->broker;
    int error = recovery_compile(r);

    if (error < 0)
        return error;
    if (r->mode == RECOVER_SINCE) {
        r->state = STATE_RECOVERED;
        r->stage = STAGE_SINCE;
        if (r->epoch != broker->store_ops->epoch(broker->store) || r->since > broker->last_seq) {
            r->state = STATE_RESET;
            recovery_finish(r, broker->last_seq);
            return 1;
        }
        return 0;
    }
    r->state = STATE_LIVE;
    r->since = broker->last_seq;
    r->stage = STAGE_PUTTING;
    if (r->mode == RECOVER_RETAINED)
        return recovery_note_all_retained(r);
    if (r->count > 0)
        r->stage = STAGE_LAST;
    return 0;
}

/* One piece. r may be gone after. */
static int
recovery_step(struct recovery *r)
{
    int error = 0;

    if (r->is_cancelled) {
        recovery_finish(r, r->peer->broker->last_seq);
        return 0;
    }
    if (r->stage == STAGE_WAITING) {
        error = recovery_start(r);
        if (error != 0)
            return error < 0 ? error : 0;
    }
    if (r->stage == STAGE_PUTTING && (r->noted_at < r->n_noted || r->has_more)) {
        recovery_put_noted(r);
        return 0;
    }
    if (r->stage == STAGE_PUTTING)
        r->stage = STAGE_SINCE;
    return recovery_read(r);
}

/* The one whose turn it is: a waiting one while there is room, else round the running ones. NULL: none can go
 * on now. */
static struct recovery *
recovery_next(struct peer *peer)
{
    struct recovery *r;

    if (peer->n_running < RUNNING_MAX && !list_empty(&peer->waiting)) {
        r = list_entry(peer->waiting.next, struct recovery, in_peer);
        list_remove(&r->in_peer);
        list_push_back(&peer->running, &r->in_peer);
        r->is_running = true;
        peer->n_running++;
        return r;
    }
    for (uint32_t i = 0; i < peer->n_running; i++) {
        r = list_entry(peer->running.next, struct recovery, in_peer);
        list_remove(&r->in_peer);
        list_push_back(&peer->running, &r->in_peer);
        if (!r->is_reading)
            return r;
    }
    return NULL;
}

void
recovery_go_on(struct peer *peer)
{
    while (peer->phase == PEER_LIVE && link_backlog(peer->link) <= peer_mark(peer)) {
        struct recovery *r;

        if (peer->spent_bytes >= TURN_BYTES) {
            loop_defer(peer->broker->loop, &peer->work);
            return;
        }
        r = recovery_next(peer);
        if (r == NULL)
            return;
        peer->step_bytes = peer->looked_bytes = 0;
        if (recovery_step(r) < 0) {
            link_fail(peer->link, "memory ran out, or the store could not be read, for a recovery");
            return;
        }
        peer->spent_bytes += STEP_COST + peer->step_bytes + peer->looked_bytes;
    }
}

/* ---- Handlers. ---- */

/* NULL if all filters are, else what is wrong. */
static const char *
check_filters(struct strs filters, bool *ret_has_wildcard, bool *ret_reads_wildcard)
{
    struct slice filter;

    if (filters.n == 0)
        return "without filters";
    *ret_has_wildcard = *ret_reads_wildcard = false;
    while (strs_next(&filters, &filter)) {
        const char *what = filter_error(filter);

        if (what != NULL)
            return what;
        *ret_has_wildcard |= filter_has_wildcard(filter);
        *ret_reads_wildcard |= filter_has_wildcard(filter) && !is_of_the_bus(filter);
    }
    return NULL;
}

int
recovery_on_recover(struct peer *peer, const struct frame *f)
{
    const struct frame_recover *asked = &f->recover;
    bool has_wildcard, reads_wildcard;
    const char *what = check_filters(asked->filters, &has_wildcard, &reads_wildcard);
    struct recovery *r;

    if (what != NULL)
        return peer_complain(peer, f, "%s", what);
    if (asked->req == 0 || asked->mode > RECOVER_TIME)
        return peer_complain(peer, f, "request 0, or mode %llu", (unsigned long long)asked->mode);
    r = calloc(1, sizeof(*r) + asked->filters.packed.n);
    if (r == NULL)
        return -ENOMEM;
    r->req = asked->req;
    if (table_insert(&peer->recoveries_by_req, r) < 0) {
        free(r);
        return peer_complain(peer, f, "request %llu is in use", (unsigned long long)asked->req);
    }
    r->peer = peer;
    r->mode = asked->mode;
    r->epoch = asked->epoch;
    r->since = asked->seq;
    r->has_count = asked->mode == RECOVER_SINCE && asked->count > 0;
    r->count = asked->mode != RECOVER_SINCE && asked->count > LAST_MAX ? LAST_MAX : asked->count;
    r->since_ms = asked->mode == RECOVER_TIME && asked->seq <= INT64_MAX ? (int64_t)asked->seq : 0;
    r->has_wildcard = has_wildcard;
    r->reads_wildcard = reads_wildcard;
    gaps_init(&r->gaps);
    r->n_packed = asked->filters.packed.n;
    memcpy(r->packed, asked->filters.packed.p, r->n_packed);
    r->filters = (struct strs){.n = asked->filters.n, .packed = slice_of(r->packed, r->n_packed)};
    list_init(&r->in_peer);
    list_push_back(&peer->waiting, &r->in_peer);
    peer->recovery_bytes += r->n_packed;
    /* At once, if it can be: a message without history that came between would be a gap. */
    recovery_go_on(peer);
    peer_update_pause(peer);
    return 0;
}

int
recovery_on_cancel(struct peer *peer, const struct frame *f)
{
    struct recovery *r =
        table_find(&peer->recoveries_by_req, slice_of(&f->cancel.req, sizeof(f->cancel.req)));

    if (r == NULL)
        return 0; /* its RECOVERED was on the way */
    r->is_cancelled = true;
    recovery_go_on(peer);
    return 0;
}
