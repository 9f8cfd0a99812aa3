/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subscriptions of one Action Cable client. Each has parts in the hub: one for each of its streams, one
 * for whispers. The first stream's id is the identifier's token, those of the others have "\0" and a letter
 * behind it. The client knows of one: it is confirmed when all parts stand, and rejected if any cannot be.
 *
 * With a history the order is: confirmed, what was missed, confirm_history. Then it is confirmed by the first
 * part that stands, for the others may have to wait until what that one missed is sent. If anything is
 * missing, or the client's position is none, the history is refused as a whole: reject_history, and the
 * streams go on from now.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/ws/options.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"
#include "wire/names.h"

/* Behind those of the streams. */
#define PART_WHISPER ACCHANNELS_STREAMS_MAX
#define PART_PRESENCE (PART_WHISPER + 1u)
#define PART_STREAMS ((1u << ACCHANNELS_STREAMS_MAX) - 1)

struct wscable_sub {
    struct list in_cable;
    /* A bit for each part: */
    uint16_t parts;      /* the hub has it, or is asked for it */
    uint16_t unanswered; /* it is asked for and does not stand yet */
    uint16_t replaying;  /* it stands, and its history is not all sent */
    bool is_confirmed;
    bool has_history; /* the client waits for word of it */
    bool is_refused;  /* and will be told that there is none, when it is confirmed */
    bool is_waiting;  /* of a session that was taken up again: to be asked for */
    uint16_t n_token;
    uint8_t token[];
};

_Static_assert(PART_PRESENCE < 16, "parts");

static struct wscables *
cables_of(const struct wsconn *c)
{
    return &wsconn_server(c)->cables;
}

static struct slice
sub_token(const struct wscable_sub *sub)
{
    return slice_of(sub->token, sub->n_token);
}

static struct wscable_sub *
sub_find(const struct wscable *cable, struct slice token)
{
    for (const struct list *it = cable->subs.next; it != &cable->subs; it = it->next) {
        struct wscable_sub *sub = list_entry(it, struct wscable_sub, in_cable);

        if (slice_equal(sub_token(sub), token))
            return sub;
    }
    return NULL;
}

bool
wscable_is_subscribed(const struct wscable *cable, struct slice token)
{
    return sub_find(cable, token) != NULL;
}

/* ---- Parts. ---- */

/* The first has nothing behind its token, so that one stream, the usual case, shares what is encoded. */
static struct slice
part_id(const struct wscable_sub *sub, unsigned part, uint8_t room[REQUEST_SUB_ID_MAX])
{
    memcpy(room, sub->token, sub->n_token);
    if (part == 0)
        return slice_of(room, sub->n_token);
    room[sub->n_token] = '\0';
    room[sub->n_token + 1] = (uint8_t)('a' + part);
    return slice_of(room, (size_t)sub->n_token + WSCABLE_ID_ROOM);
}

static unsigned
split_id(struct slice id, struct slice *ret_token)
{
    const uint8_t *end = memchr(id.p, '\0', id.n);

    *ret_token = end == NULL ? id : slice_of(id.p, (size_t)(end - id.p));
    return end == NULL ? 0 : (unsigned)(end[1] - 'a');
}

/* The subscription may be gone after. */
static void
part_ask(struct wsconn *c, struct wscable_sub *sub, unsigned part, struct request *r)
{
    uint8_t room[REQUEST_SUB_ID_MAX];

    r->op = REQUEST_SUB;
    r->id = part_id(sub, part, room);
    sub->parts |= (uint16_t)(1u << part);
    (void)session_request(&c->session, r);
}

static void
parts_end(struct wsconn *c, const struct wscable_sub *sub, unsigned parts)
{
    uint8_t room[REQUEST_SUB_ID_MAX];

    for (unsigned part = 0; parts != 0; part++, parts >>= 1) {
        const struct request r = {.op = REQUEST_UNSUB, .id = part_id(sub, part, room)};

        if ((parts & 1) != 0)
            (void)session_request(&c->session, &r);
    }
}

/* ---- Life. ---- */

static struct wscable_sub *
sub_new(struct wscable *cable, struct slice token)
{
    struct wscable_sub *sub = malloc(sizeof *sub + token.n);

    if (sub == NULL)
        return NULL;
    *sub = (struct wscable_sub){.n_token = (uint16_t)token.n};
    memcpy(sub->token, token.p, token.n);
    list_push_back(&cable->subs, &sub->in_cable);
    return sub;
}

/* Ends it, with what the hub has of it. The answers find nothing any more. */
static void
sub_drop(struct wsconn *c, struct wscable_sub *sub)
{
    list_remove(&sub->in_cable);
    c->cable->n_restored -= sub->is_waiting;
    parts_end(c, sub, sub->parts);
    free(sub);
}

void
wscable_free_subs(struct wscable *cable)
{
    while (!list_empty(&cable->subs)) {
        struct wscable_sub *sub = list_entry(cable->subs.next, struct wscable_sub, in_cable);

        list_remove(&sub->in_cable);
        free(sub);
    }
}

/* ---- Saying. ---- */

static void
say_about(struct wsconn *c, struct slice token, void (*put)(struct buf *out, struct slice token))
{
    put(&cables_of(c)->text, token);
    wscable_send(c);
}

static void
reject(struct wsconn *c, struct slice token, const char *why)
{
    c->conn.fe->counters.cable_rejected++;
    log_info("an Action Cable subscription was rejected: %s", why);
    say_about(c, token, acframe_put_reject);
}

static void
confirm(struct wsconn *c, struct wscable_sub *sub)
{
    if (sub->is_confirmed)
        return;
    sub->is_confirmed = true;
    say_about(c, sub_token(sub), acframe_put_confirm);
}

/* What it missed is not to be had. */
static void
refuse_history(struct wsconn *c, struct wscable_sub *sub)
{
    sub->has_history = false;
    say_about(c, sub_token(sub), acframe_put_reject_history);
}

/* ---- Asking the hub. ---- */

void
wscable_resolve(struct wsconn *c, struct slice identifier, struct acchannels_subscription *ret_asked,
    struct acresolved *ret)
{
    struct wscables *all = cables_of(c);

    *ret_asked = (struct acchannels_subscription){.identifier = identifier,
        .claims = wscable_claims(c->cable),
        .max_depth = (unsigned)c->conn.fe->limits->json_depth};
    acchannels_resolve(&all->channels, ret_asked, &all->resolved, ret);
}

/* Where a client wants to go on in one stream. */
struct plan {
    enum request_from from;
    char cursor[CURSOR_MAX];
};

/* False: it says that it is where nobody can be. */
static bool
plan_stream(struct wsconn *c, const struct accommand *command, struct slice stream, struct plan *ret)
{
    const struct position here = frontend_position(c->conn.fe);
    struct position position;
    struct slice epoch;
    uint64_t offset;
    int r = accommand_position(command, stream, &cables_of(c)->command, &epoch, &offset), n;

    if (r < 0)
        return false;
    if (r == 0) {
        ret->from = command->has_since ? FROM_TIME : FROM_LIVE;
        return true;
    }
    ret->from = FROM_SINCE;
    n = epoch.n >= CURSOR_MAX ? CURSOR_MAX
                              : snprintf(ret->cursor, sizeof ret->cursor, "%.*s-%llu", SLICE_ARG(epoch),
                                    (unsigned long long)offset);
    if (n >= CURSOR_MAX || cursor_parse(slice_str(ret->cursor), &position) < 0)
        return false;
    /* The broker would say so, but perhaps after it has replayed another stream. */
    return here.epoch == 0 || position.epoch == here.epoch;
}

static bool
plan_streams(struct wsconn *c, const struct accommand *command, const struct acresolved *resolved,
    struct plan plans[ACCHANNELS_STREAMS_MAX])
{
    for (unsigned part = 0; part < resolved->n_streams; part++)
        if (!plan_stream(c, command, resolved->streams[part], &plans[part]))
            return false;
    return true;
}

/* The whispers, or the presence, of its first stream. */
static void
ask_beside(struct wsconn *c, struct wscable_sub *sub, unsigned part, struct slice stream)
{
    const char *prefix = part == PART_WHISPER ? WHISPER_PREFIX : PRESENCE_PREFIX;
    char topic[sizeof PRESENCE_PREFIX + TOPIC_MAX_BYTES];
    struct slice filter =
        slice_of(topic, (size_t)snprintf(topic, sizeof topic, "%s%.*s", prefix, SLICE_ARG(stream)));
    struct request r = {.filters = &filter, .n_filters = 1};

    part_ask(c, sub, part, &r);
}

/* A bit for each part that it is to have. Presence has no word in Rails' protocol. */
static unsigned
wanted_parts(const struct wsconn *c, const struct acresolved *resolved)
{
    unsigned parts = (1u << resolved->n_streams) - 1;

    if (resolved->may_whisper)
        parts |= 1u << PART_WHISPER;
    if (resolved->may_join && c->cable->is_extended)
        parts |= 1u << PART_PRESENCE;
    return parts;
}

/* Asks for all parts that it has not, the streams from where the command says; command NULL: from now. It may
 * be gone after: one was refused at once. */
static void
ask_parts(struct wsconn *c, struct wscable_sub *sub, const struct acresolved *resolved,
    const struct accommand *command)
{
    struct plan plans[ACCHANNELS_STREAMS_MAX] = {0};
    unsigned wanted = wanted_parts(c, resolved) & ~(unsigned)sub->parts;
    uint8_t token[REQUEST_SUB_ID_MAX];
    const struct slice kept = slice_of(token, sub->n_token);

    memcpy(token, sub->token, sub->n_token);
    sub->has_history = command != NULL && command->has_history;
    if (sub->has_history && !plan_streams(c, command, resolved, plans)) {
        memset(plans, 0, sizeof plans);
        sub->has_history = false;
        sub->is_refused = true;
    }
    sub->unanswered = (uint16_t)wanted;
    sub->replaying = sub->has_history ? (uint16_t)(wanted & PART_STREAMS) : 0;
    for (unsigned part = 0; part < resolved->n_streams && sub_find(c->cable, kept) == sub; part++) {
        struct request r = {.filters = &resolved->streams[part],
            .n_filters = 1,
            .from = plans[part].from,
            .since = slice_str(plans[part].cursor),
            .since_ms = command == NULL ? 0 : command->since_s * 1000,
            .tells_live = sub->has_history};

        if ((wanted >> part & 1) != 0)
            part_ask(c, sub, part, &r);
    }
    for (unsigned part = PART_WHISPER; part <= PART_PRESENCE && sub_find(c->cable, kept) == sub; part++)
        if ((wanted >> part & 1) != 0)
            ask_beside(c, sub, part, resolved->streams[0]);
}

/* ---- Commands. ---- */

void
wscable_subscribe(struct wsconn *c, const struct accommand *command)
{
    struct wscable_sub *sub = sub_find(c->cable, command->token);
    struct acchannels_subscription asked;
    struct acresolved resolved;

    if (sub != NULL) {
        /* A client asks again until it is answered. */
        if (sub->is_confirmed)
            say_about(c, command->token, acframe_put_confirm);
        return;
    }
    wscable_resolve(c, command->identifier, &asked, &resolved);
    if (resolved.refused != NULL) {
        reject(c, command->token, resolved.refused);
        return;
    }
    sub = sub_new(c->cable, command->token);
    if (sub == NULL)
        reject(c, command->token, "memory ran out");
    else
        ask_parts(c, sub, &resolved, command);
    if (command->has_presence)
        wscable_join(c, command);
}

void
wscable_unsubscribe(struct wsconn *c, const struct accommand *command)
{
    struct wscable_sub *sub = sub_find(c->cable, command->token);

    if (sub == NULL) {
        wscable_note_ignored(c, "there is no such subscription to end");
        return;
    }
    if ((sub->parts >> PART_PRESENCE & 1) != 0)
        wscable_leave(c, command);
    sub_drop(c, sub);
}

/* It is not what it was: the config has changed since. */
static void
sub_reject(struct wsconn *c, struct wscable_sub *sub, const char *why)
{
    uint8_t room[REQUEST_SUB_ID_MAX];
    struct slice token = slice_of(room, sub->n_token);

    memcpy(room, sub->token, sub->n_token);
    sub_drop(c, sub);
    reject(c, token, why);
}

/* The streams of one that was confirmed, anew. */
static void
sub_restart(struct wsconn *c, struct wscable_sub *sub, const struct accommand *command)
{
    struct slice token = sub_token(sub);
    struct acchannels_subscription asked;
    struct acresolved resolved;
    struct buf identifier;

    c->cable->n_restored -= sub->is_waiting;
    sub->is_waiting = false;
    parts_end(c, sub, sub->parts & PART_STREAMS);
    sub->parts &= (uint16_t)~PART_STREAMS;
    buf_init(&identifier, 0);
    json_unescape(&identifier, slice_of(token.p + 1, token.n - 2));
    wscable_resolve(c, buf_slice(&identifier), &asked, &resolved);
    if (resolved.refused != NULL)
        sub_reject(c, sub, resolved.refused);
    else
        ask_parts(c, sub, &resolved, command);
    buf_fini(&identifier);
}

void
wscable_history(struct wsconn *c, const struct accommand *command)
{
    struct wscable_sub *sub = sub_find(c->cable, command->token);

    if (sub == NULL || !sub->is_confirmed)
        wscable_note_ignored(c, "there is no such subscription whose history it could want");
    else
        sub_restart(c, sub, command);
}

/* ---- Answers. ---- */

/* Something is missing. What is still to be replayed is not, and goes on from now. */
static void
give_up_history(struct wsconn *c, struct wscable_sub *sub)
{
    refuse_history(c, sub);
    if (sub->replaying != 0)
        sub_restart(c, sub, NULL);
}

static void
on_subscribed(struct wsconn *c, struct wscable_sub *sub, unsigned part, const struct answer *answer)
{
    bool is_incomplete = answer->state == STATE_GAP || answer->state == STATE_RESET;

    sub->unanswered &= (uint16_t) ~(1u << part);
    if (sub->unanswered == 0 || sub->has_history)
        confirm(c, sub);
    if (sub->is_confirmed && sub->is_refused) {
        sub->is_refused = false;
        refuse_history(c, sub);
    } else if (sub->has_history && is_incomplete) {
        give_up_history(c, sub);
    }
}

static void
on_live(struct wsconn *c, struct wscable_sub *sub, unsigned part)
{
    sub->replaying &= (uint16_t) ~(1u << part);
    if (!sub->has_history || sub->replaying != 0)
        return;
    sub->has_history = false;
    say_about(c, sub_token(sub), acframe_put_confirm_history);
}

/* Its stream has a hole. Rails' protocol has no word for that, and whispers have no history. */
static void
on_state(struct wsconn *c, struct wscable_sub *sub, unsigned part)
{
    if (!c->cable->is_extended || part >= ACCHANNELS_STREAMS_MAX)
        return;
    if (sub->has_history)
        give_up_history(c, sub);
    else
        refuse_history(c, sub);
}

/* The hub has ended this part already. */
static void
on_refused(struct wsconn *c, struct wscable_sub *sub, unsigned part, const struct answer *answer)
{
    sub->parts &= (uint16_t) ~(1u << part);
    sub_reject(c, sub, error_code_sentence(answer->code));
}

void
wscable_on_sub_answer(struct wsconn *c, const struct answer *answer)
{
    struct slice token;
    unsigned part = split_id(answer->id, &token);
    struct wscable_sub *sub = sub_find(c->cable, token);

    if (sub == NULL)
        return;
    if (answer->type == ANSWER_SUBSCRIBED)
        on_subscribed(c, sub, part, answer);
    else if (answer->type == ANSWER_LIVE)
        on_live(c, sub, part);
    else if (answer->type == ANSWER_STATE)
        on_state(c, sub, part);
    else if (answer->type == ANSWER_ERROR)
        on_refused(c, sub, part, answer);
}

void
wscable_on_dropped(struct wsconn *c)
{
    if (!c->cable->is_extended)
        return;
    for (const struct list *it = c->cable->subs.next; it != &c->cable->subs; it = it->next) {
        const struct wscable_sub *sub = list_entry(it, struct wscable_sub, in_cable);

        if (sub->is_confirmed && !sub->is_waiting)
            say_about(c, sub_token(sub), acframe_put_reject_history);
    }
}

/* ---- Given up and taken up again. ---- */

void
wscable_put_subs(const struct wscable *cable, struct buf *out)
{
    for (const struct list *it = cable->subs.next; it != &cable->subs; it = it->next) {
        const struct wscable_sub *sub = list_entry(it, struct wscable_sub, in_cable);

        if (!sub->is_confirmed)
            continue;
        buf_put(out, &sub->n_token, sizeof sub->n_token);
        buf_put_slice(out, sub_token(sub));
    }
}

void
wscable_restore_subs(struct wsconn *c, struct slice kept)
{
    uint16_t n;

    while (kept.n >= sizeof n) {
        struct wscable_sub *sub;

        memcpy(&n, kept.p, sizeof n);
        sub = sub_new(c->cable, slice_of(kept.p + sizeof n, n));
        kept = slice_of(kept.p + sizeof n + n, kept.n - sizeof n - n);
        if (sub == NULL)
            return;
        sub->is_confirmed = sub->is_waiting = true;
        c->cable->n_restored++;
    }
}

size_t
wscable_sub_tokens(const struct wscable *cable, struct slice *ret, size_t max)
{
    size_t n = 0;

    for (const struct list *it = cable->subs.next; it != &cable->subs && n < max; it = it->next)
        ret[n++] = sub_token(list_entry(it, struct wscable_sub, in_cable));
    return n;
}

void
wscable_wake_subs(struct wsconn *c)
{
    struct list *it = c->cable->subs.next;

    /* Any of them may be gone after it was asked for: from the beginning each time. */
    while (c->cable->n_restored > 0 && it != &c->cable->subs) {
        struct wscable_sub *sub = list_entry(it, struct wscable_sub, in_cable);

        it = it->next;
        if (!sub->is_waiting)
            continue;
        sub_restart(c, sub, NULL);
        it = c->cable->subs.next;
    }
}
