/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subscriptions of one Action Cable client. Each is one of the hub for each of its streams: the first has
 * the identifier's token as its id, the others have "\0" and a number behind it. The client knows of one: it
 * is confirmed when all of them stand, and rejected if any cannot be.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "frontends/dialects/actioncable/acaction.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/ws/options.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

struct wscable_sub {
    struct list in_cable;
    uint16_t parts;      /* a bit for each of the hub's that there is, or is asked for */
    uint16_t unanswered; /* those that are asked for and do not stand yet */
    bool is_confirmed;
    uint16_t n_token;
    uint8_t token[];
};

_Static_assert(ACCHANNELS_STREAMS_MAX <= 16, "parts");

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

/* ---- The hub's ids. ---- */

/* The first part has none behind its token, so that one stream, the usual case, shares what is encoded. */
static struct slice
part_id(const struct wscable_sub *sub, unsigned part, uint8_t room[REQUEST_SUB_ID_MAX])
{
    memcpy(room, sub->token, sub->n_token);
    if (part == 0)
        return slice_of(room, sub->n_token);
    room[sub->n_token] = '\0';
    room[sub->n_token + 1] = (uint8_t)('0' + part);
    return slice_of(room, (size_t)sub->n_token + WSCABLE_ID_ROOM);
}

static unsigned
split_id(struct slice id, struct slice *ret_token)
{
    const uint8_t *end = memchr(id.p, '\0', id.n);

    *ret_token = end == NULL ? id : slice_of(id.p, (size_t)(end - id.p));
    return end == NULL ? 0 : (unsigned)(end[1] - '0');
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

static void
sub_free(struct wscable_sub *sub)
{
    list_remove(&sub->in_cable);
    free(sub);
}

void
wscable_free_subs(struct wscable *cable)
{
    while (!list_empty(&cable->subs))
        sub_free(list_entry(cable->subs.next, struct wscable_sub, in_cable));
}

/* Ends it, with what the hub has of it. The answers find nothing any more. */
static void
sub_drop(struct wsconn *c, struct wscable_sub *sub)
{
    uint8_t room[REQUEST_SUB_ID_MAX];
    unsigned parts = sub->parts;

    list_remove(&sub->in_cable);
    for (unsigned part = 0; parts != 0; part++, parts >>= 1) {
        const struct request r = {.op = REQUEST_UNSUB, .id = part_id(sub, part, room)};

        if ((parts & 1) != 0)
            (void)session_request(&c->session, &r);
    }
    free(sub);
}

/* ---- Subscribing. ---- */

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
resolve(struct wsconn *c, const struct accommand *command, struct acchannels_subscription *ret_asked,
    struct acresolved *ret)
{
    struct wscables *all = cables_of(c);

    *ret_asked = (struct acchannels_subscription){
        .identifier = command->identifier, .max_depth = (unsigned)c->conn.fe->limits->json_depth};
    acchannels_resolve(&all->channels, ret_asked, &all->resolved, ret);
}

/* Asks for all its streams. It may be gone after: one was refused at once. */
static void
ask_streams(struct wsconn *c, struct wscable_sub *sub, const struct acresolved *resolved)
{
    uint8_t room[REQUEST_SUB_ID_MAX], token[REQUEST_SUB_ID_MAX];
    const struct slice kept = slice_of(token, sub->n_token);

    memcpy(token, sub->token, sub->n_token);
    sub->unanswered = (uint16_t)((1u << resolved->n_streams) - 1);
    for (unsigned part = 0; part < resolved->n_streams && sub_find(c->cable, kept) == sub; part++) {
        const struct request r = {.op = REQUEST_SUB,
            .id = part_id(sub, part, room),
            .filters = &resolved->streams[part],
            .n_filters = 1};

        sub->parts |= (uint16_t)(1u << part);
        (void)session_request(&c->session, &r);
    }
}

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
    resolve(c, command, &asked, &resolved);
    if (resolved.refused != NULL) {
        reject(c, command->token, resolved.refused);
        return;
    }
    sub = sub_new(c->cable, command->token);
    if (sub == NULL)
        reject(c, command->token, "memory ran out");
    else
        ask_streams(c, sub, &resolved);
}

void
wscable_unsubscribe(struct wsconn *c, const struct accommand *command)
{
    struct wscable_sub *sub = sub_find(c->cable, command->token);

    if (sub == NULL)
        wscable_note_ignored(c, "there is no such subscription to end");
    else
        sub_drop(c, sub);
}

static void
on_subscribed(struct wsconn *c, struct wscable_sub *sub, unsigned part)
{
    sub->unanswered &= (uint16_t) ~(1u << part);
    if (sub->is_confirmed || sub->unanswered != 0)
        return;
    sub->is_confirmed = true;
    say_about(c, sub_token(sub), acframe_put_confirm);
}

/* The hub has ended this part already. */
static void
on_refused(struct wsconn *c, struct wscable_sub *sub, unsigned part, const struct answer *answer)
{
    uint8_t room[REQUEST_SUB_ID_MAX];
    struct slice token = slice_of(room, sub->n_token);

    memcpy(room, sub->token, sub->n_token);
    sub->parts &= (uint16_t) ~(1u << part);
    sub_drop(c, sub);
    reject(c, token, error_code_sentence(answer->code));
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
        on_subscribed(c, sub, part);
    else if (answer->type == ANSWER_ERROR)
        on_refused(c, sub, part, answer);
}

/* ---- Performing. ---- */

int
wscable_perform(struct wsconn *c, const struct accommand *command)
{
    struct wscables *all = cables_of(c);
    struct acchannels_subscription asked;
    struct acresolved resolved;
    struct acaction action;
    struct request r = {.op = REQUEST_PUB, .kind = MESSAGE_JSON};
    const char *error;

    if (sub_find(c->cable, command->token) == NULL) {
        wscable_note_ignored(c, "what it performs on is no subscription of this connection");
        return 0;
    }
    buf_reset(&all->action);
    if (acaction_read(
            command->data, (unsigned)c->conn.fe->limits->json_depth, &all->action, &action, &error) < 0) {
        wscable_note_ignored(c, error);
        return 0;
    }
    resolve(c, command, &asked, &resolved);
    error = resolved.refused;
    if (error == NULL)
        error = acchannels_publish_topic(
            &all->channels, &asked, &resolved, action.name, &all->resolved, &r.topic);
    if (error != NULL) {
        wscable_note_ignored(c, error);
        return 0;
    }
    r.body = action.payload;
    return session_request(&c->session, &r);
}
