/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The insides of the hub, for its own files:
 *
 *     hub.c       life; frames by number; the link's coming and going; lists of topics
 *     filter.c    one struct filter for each filter text: SUBSCRIBE, UNSUBSCRIBE
 *     sub.c       subscriptions from asking to live, and their end
 *     recover.c   RECOVER for those that want more than what comes: pages, cursors, gaps
 *     fanout.c    messages to groups and their members
 *     bustopic.c  the broker's handles for topics
 *     asks.h      requests, and whatever else is answered by number
 *     takers.h    consumers: queues and responders
 *     members.h   presence
 *
 * Callbacks of sessions (on_answer, on_deliver) may end that session, and with it its subs. So: lists are
 * walked in ways that bear it; a struct sub_watch around a callback tells whether the sub is still there; and
 * groups are freed only while nobody walks.
 */
#ifndef SDK_HUBPRIV_H
#define SDK_HUBPRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/table.h"
#include "frontends/sdk/asks.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/gaplist.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/members.h"
#include "frontends/sdk/session.h"
#include "frontends/sdk/takers.h"
#include "wire/filtertree.h"

/* How long a filter that nobody wants any more is kept, for the next long-poll of the same client. */
#define FILTER_LINGER_MS 10000u
/* RECOVERs under way at once: each may hold a page in memory. */
#define RECOVERS_MAX 64u
/* LISTs at the broker; it takes 1024 of one link and looks at all topics for each. */
#define LISTS_MAX 256u
/* Messages in a page; adapted to their size. */
#define PAGE_FIRST 256u
#define PAGE_MAX 1024u
/* How soon a client whose queue was full is looked at again. */
#define DRAIN_POLL_MS 50u
/* A group's block is handed out before the turn's end when it has grown to this. */
#define GROUP_BLOCK_BYTES (64u * 1024)
/* What an encoder writes around a short message, about. */
#define FRAME_WORDS 160u
/* The broker numbers topics densely; a handle above this is a fault. */
#define HANDLES_MAX (1u << 24)

enum hub_phase { HUB_AWAY, HUB_RESUMING, HUB_LIVE };

enum filter_state {
    FILTER_NEW, /* not asked on this link */
    FILTER_ASKED,
    FILTER_LIVE, /* what matches comes; stays so while the link is away, for it is resumed */
};

struct filter {
    struct hub *hub;
    uint64_t number;
    enum filter_state state;
    uint64_t since;    /* what matches above it comes */
    uint64_t last_seq; /* of what came */
    bool may_retain;   /* a kept value may exist that matches */
    uint64_t
        quiet_ms; /* the wall clock when it went live or, if that is later, the time of its last message */
    uint32_t n_members;
    struct list groups;
    struct list joining;      /* members of subs that are not live */
    struct loop_timer linger; /* armed while n_members is 0 */
    size_t n_text;
    uint8_t text[];
};

/* Subs of one filter, one encoder and one id: they share each encoded delivery. */
struct group {
    struct filter *filter;
    const struct encoder *encoder;
    struct list in_filter;
    struct list singles, multis; /* of members */
    struct list in_active;       /* hub->active while block is not NULL */
    struct list in_dead;         /* hub->dead while empty and not freed yet */
    struct block *block;         /* what this turn brought */
    uint32_t n_frames;           /* in block */
    uint32_t n_singles;
    uint32_t number;       /* of a group at one time */
    uint32_t n_last_block; /* bytes of the one before: the next is mostly as large */
    size_t n_key;
    uint8_t key[]; /* filter, encoder, then the id: hub->groups is by it */
};
#define GROUP_KEY_HEAD (2 * sizeof(void *))

/* One filter of one sub. */
struct member {
    struct filter *filter;
    struct group *group;  /* NULL while joining */
    struct list in_owner; /* filter's joining, or group's singles or multis */
    uint32_t from;        /* of a single: where in the group's block its part begins */
    uint8_t index;        /* of its sub's members */
};

enum sub_state {
    SUB_WAITING,  /* for its filters, or for the link */
    SUB_QUEUED,   /* for its turn to RECOVER */
    SUB_ASKED,    /* RECOVER is under way */
    SUB_DRAINING, /* a page was delivered: for the client to read it */
    SUB_LIVE,
};

/* What a sub needs only until it is live. */
struct join {
    bool tells_live, wants_latest;
    uint64_t since_ms; /* FROM_TIME */
    uint32_t number;   /* in the marks of its replay; no group has it */
    enum request_from from;
    struct position since;
    uint64_t last;
    bool is_answered;        /* ANSWER_SUBSCRIBED was given; reached holds */
    struct position reached; /* everything up to it was delivered */
    uint64_t ignored;        /* the highest live seq that matched and was not delivered */
    uint64_t req;            /* while SUB_ASKED */
    /* The page under way. */
    enum recover_mode mode;
    uint64_t asked_at; /* the sub's position when it was asked first */
    uint64_t count;
    struct block *page;
    uint64_t n_page, page_first, page_last;
    bool has_met_gap;           /* GAP came, be it news or not */
    bool is_cut;                /* it became too large: the rest was left out */
    bool is_spilling;           /* kept values are delivered while they come, for they are more than a page */
    struct gaplist gaps;        /* that are news */
    struct told_gaps met, told; /* the gaps of this page, and those of before */
};

struct sub {
    struct session *session;
    uint8_t state; /* enum sub_state */
    uint8_t n_members;
    uint16_t n_id;
    bool is_events; /* of a watch (members.h): it has the id of another one, and nobody is told of it */
    struct list in_session, in_state; /* in_state: of the hub, by state */
    union {
        struct join *join; /* while it is not live */
        uint64_t last_seq; /* live, and gets message by message: the last delivered */
    };
    struct member members[]; /* then the id */
};
/* An idle client pays for one of each: with a short id they are 112 bytes of the heap. */
_Static_assert(sizeof(struct sub) + sizeof(struct member) <= 96, "an idle connection pays for this");
_Static_assert(REQUEST_SUB_ID_MAX <= UINT16_MAX, "sub.n_id");

/* One for each topic of which a message came: as many as the broker has, with a wildcard. */
struct bus_topic {
    uint64_t last_seq; /* seen on this link */
    union {
        struct filter *one; /* if n_matches is 1 */
        struct filter **many;
    } matches;
    uint32_t n_matches;
    uint32_t generation; /* of matches; 0: void */
    uint32_t tag;        /* no other topic has it, nor had */
    uint8_t policy;      /* enum slow_policy */
    uint16_t n_name;
    uint8_t name[];
};
_Static_assert(sizeof(struct bus_topic) <= 32, "each topic pays for this");

/* A RECOVER or a LIST under way. */
struct hub_req {
    struct sub *sub;         /* of RECOVER; NULL: it left */
    struct session *session; /* of LIST; NULL: it left */
    bool is_list;
    uint8_t n_id;
    uint8_t id[REQUEST_ID_MAX];
};

/* Around a callback, on the stack. */
struct sub_watch {
    struct sub *sub; /* NULL when it has been freed */
    struct sub_watch *outer;
};

struct hub {
    struct frontend *fe;
    struct hub_sink sink;
    enum hub_phase phase;
    struct position position; /* resume from here */
    uint64_t seq;        /* the last message that was fanned out, perhaps above position while resuming */
    uint64_t base;       /* nothing is known of what came before it on this link: no checks of `prev` below */
    uint64_t whole_from; /* nothing was lost above it: what did not come was not published */
    struct gaplist gaps; /* GAPs of the link that subs have not been told yet */
    bool has_told_gap;   /* they were told of some since the last RESUMED */
    struct cursor_text cursor; /* of the message that is being fanned out */

    struct filtertree *tree;
    struct filter **filters; /* by number - 1 */
    size_t n_filter_slots, n_filters, filter_hint;
    uint32_t last_tag, last_group;
    uint32_t generation; /* of filters: cached matches are good while it stays; never 0 */

    struct bus_topic **topics; /* by handle */
    size_t n_topic_slots;

    struct table groups;
    uint8_t value_key[16]; /* of hub_value_of() */
    struct list active, dead;
    unsigned n_walking;       /* groups are not freed */
    struct list *next_member; /* of the walk under way */

    struct list waiting, queued, asked, draining, live; /* subs by state */
    size_t n_subs, n_asked, n_lists;
    struct sub_watch *watches;
    struct loop_timer drain_timer;

    struct hub_req **reqs; /* by number - 1 */
    size_t n_req_slots;
    struct buf scratch; /* of RECOVER's filters */

    struct asks asks;
    struct takers takers;
    struct members members;
};

static inline struct slice
filter_text(const struct filter *f)
{
    return slice_of(f->text, f->n_text);
}

static inline struct hub *
sub_hub(const struct sub *sub)
{
    return sub->session->fe->hub;
}

static inline struct sub *
member_sub(struct member *m)
{
    return (struct sub *)((char *)(m - m->index) - offsetof(struct sub, members));
}

static inline struct slice
sub_id(const struct sub *sub)
{
    return slice_of(&sub->members[sub->n_members], sub->n_id);
}

static inline struct slice
bus_topic_name(const struct bus_topic *t)
{
    return slice_of(t->name, t->n_name);
}

static inline void
sub_watch_begin(struct sub_watch *w, struct sub *sub)
{
    *w = (struct sub_watch){.sub = sub, .outer = sub_hub(sub)->watches};
    sub_hub(sub)->watches = w;
}

/* True if the sub is still there. */
static inline bool
sub_watch_end(struct hub *hub, struct sub_watch *w)
{
    hub->watches = w->outer;
    return w->sub != NULL;
}

/* ---- hub.c ---- */

int hub_req_new(struct hub *hub, struct hub_req **ret, uint64_t *ret_number);
struct hub_req *hub_req_find(struct hub *hub, uint64_t number);
void hub_req_free(struct hub *hub, uint64_t number);
/* Before anything that comes after the hole: whoever leaves between the two must not hold a cursor that looks
 * as if nothing had been missed. */
void hub_tell_gaps(struct hub *hub);

/* ---- filter.c ---- */

/* Found or made; asked of the broker if the link is live. NULL if memory ran out. */
struct filter *filter_get(struct hub *hub, struct slice text);
void filter_note_member(struct filter *f);
void filter_note_left(struct filter *f);
void filter_ask(struct filter *f);
void filter_free(struct filter *f);
int filter_on_subscribed(struct hub *hub, const struct frame *frame);
int filter_on_unsubscribable(struct hub *hub, const struct frame *frame);

/* ---- sub.c ---- */

void sub_set_state(struct sub *sub, enum sub_state state);
/* Whatever matches above it will be delivered to one that goes live now. */
struct position sub_position(const struct sub *sub);
/* Goes on from SUB_WAITING if nothing is missing any more. */
void sub_proceed(struct sub *sub);
void sub_proceed_all(struct hub *hub);
/* Everything that comes from now on is delivered. */
void sub_go_live(struct sub *sub);
/* Ends it and says why. */
void sub_fail(struct sub *sub, enum error_code code, struct slice text);
void sub_free(struct sub *sub);
/* To events of presence, for a sub that is live; WAITING. NULL if memory ran out. */
struct sub *sub_new_events(struct sub *main, struct slice filter);
/* Tells the session; false if the sub is gone after. */
bool sub_answer(struct sub *sub, struct answer *answer);
/* What happened to the stream of live subs: reset, or a gap in topics that they match. */
void sub_tell_reset(struct hub *hub);
void sub_tell_gaps(struct hub *hub, const struct gaplist *gaps);

/* ---- recover.c ---- */

void recover_ask(struct sub *sub);
/* Sends what waits for its turn. */
void recover_pump(struct hub *hub);
void recover_poll_draining(struct hub *hub);
void recover_on_drain_timer(void *arg);
/* The link is gone: what was asked is asked again. */
void recover_on_down(struct hub *hub);
void join_free(struct join *join);
int recover_on_gap(struct hub *hub, const struct frame_gap *f);
int recover_on_replay(struct hub *hub, const struct frame *frame);
int recover_on_recovered(struct hub *hub, const struct frame *frame);

/* ---- fanout.c ---- */

int fanout_join(struct member *m, bool is_single); /* 0 or -ENOMEM */
void fanout_leave(struct member *m);
/* Gives a single what waits for it, alone. */
void fanout_deliver_pending(struct member *m);
/* Nothing waits for it. */
void fanout_set_single(struct member *m, bool is_single);
int fanout_on_message(struct hub *hub, const struct frame *frame);

/* ---- bustopic.c ---- */

static inline struct bus_topic *
bus_topic_find(const struct hub *hub, uint64_t handle)
{
    return handle < hub->n_topic_slots ? hub->topics[handle] : NULL;
}
/* Filters came or went: what topics know of them is void. */
void bus_topic_forget_matches(struct hub *hub);

static inline struct filter *const *
bus_topic_matches(const struct bus_topic *t)
{
    return t->n_matches == 1 ? &t->matches.one : t->matches.many;
}

/* Brings its matches up to date. 0 or -ENOMEM. */
int bus_topic_match_anew(struct hub *hub, struct bus_topic *t);
static inline int
bus_topic_match(struct hub *hub, struct bus_topic *t)
{
    return t->generation == hub->generation ? 0 : bus_topic_match_anew(hub, t);
}
/* What a message is the value of, for a mark: of its key, or of its topic, to one group or replay. 0 unless
 * the policy is SLOW_CONFLATE. Keys come from strangers, who cannot make two of them look the same. */
uint64_t hub_value_of_key(const struct hub *hub, uint32_t group, uint32_t tag, struct slice key);
static inline uint64_t
hub_value_of(const struct hub *hub, uint32_t policy, uint32_t group, uint32_t tag, struct slice key)
{
    return policy == SLOW_CONFLATE ? hub_value_of_key(hub, group, tag, key) : 0;
}
void bus_topic_note_gap(struct hub *hub, struct slice name, uint64_t seq);
void bus_topic_forget_all(struct hub *hub);
int bus_topic_on_topic(struct hub *hub, const struct frame *frame);
int bus_topic_on_forget(struct hub *hub, const struct frame *frame);

#endif
