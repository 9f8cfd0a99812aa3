/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an Action Cable client asks the bus and is answered later: actions that are requests to a service, and
 * who is there. Each has a number, which is the id of its request ("7"), and the identifier that the answer
 * is about. One that is not subscribed any more is not answered.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/sdk/message.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

/* In one answer to `presence`. */
#define RECORDS_MAX 1000u

struct wscable_ask {
    struct list in_cable;
    uint32_t number;
    struct buf records; /* of who is there */
    uint16_t n_token;
    uint8_t token[];
};

static struct slice
ask_token(const struct wscable_ask *ask)
{
    return slice_of(ask->token, ask->n_token);
}

static void
ask_free(struct wscable_ask *ask)
{
    list_remove(&ask->in_cable);
    buf_fini(&ask->records);
    free(ask);
}

void
wscable_free_asks(struct wscable *cable)
{
    while (!list_empty(&cable->asks))
        ask_free(list_entry(cable->asks.next, struct wscable_ask, in_cable));
}

/* It is answered by wscable_on_ask_answer(), perhaps before this returns. */
static void
ask_send(struct wsconn *c, struct slice token, struct request *r)
{
    struct wscable_ask *ask = malloc(sizeof *ask + token.n);
    char id[16];

    if (ask == NULL) {
        wscable_note_ignored(c, "memory ran out");
        return;
    }
    *ask = (struct wscable_ask){.number = ++c->cable->last_ask, .n_token = (uint16_t)token.n};
    memcpy(ask->token, token.p, token.n);
    buf_init(&ask->records, 0);
    list_push_back(&c->cable->asks, &ask->in_cable);
    r->id = slice_of(id, (size_t)snprintf(id, sizeof id, "%u", (unsigned)ask->number));
    (void)session_request(&c->session, r);
}

void
wscable_request(struct wsconn *c, const struct accommand *command, struct slice topic, struct slice body)
{
    struct request r = {.op = REQUEST_ASK, .topic = topic, .kind = MESSAGE_JSON, .body = body};

    ask_send(c, command->token, &r);
}

/* ---- Presence. ---- */

/* The topic whose presence the command is about; empty: it has none. */
static struct slice
presence_topic(struct wsconn *c, const struct accommand *command)
{
    struct acchannels_subscription asked;
    struct acresolved resolved;

    if (!wscable_is_subscribed(c->cable, command->token)) {
        wscable_note_ignored(c, "the presence of what is no subscription of this connection");
        return slice_of(NULL, 0);
    }
    wscable_resolve(c, command->identifier, &asked, &resolved);
    if (resolved.refused == NULL && resolved.may_join)
        return resolved.streams[0];
    wscable_note_ignored(c, "its channel has no presence");
    return slice_of(NULL, 0);
}

void
wscable_join(struct wsconn *c, const struct accommand *command)
{
    struct request r = {.op = REQUEST_JOIN,
        .topic = presence_topic(c, command),
        .member = command->presence_id,
        .info = command->presence_info};

    if (r.topic.n > 0)
        (void)session_request(&c->session, &r);
}

void
wscable_leave(struct wsconn *c, const struct accommand *command)
{
    struct request r = {.op = REQUEST_LEAVE, .topic = presence_topic(c, command)};

    if (r.topic.n > 0)
        (void)session_request(&c->session, &r);
}

void
wscable_who(struct wsconn *c, const struct accommand *command)
{
    struct request r = {.op = REQUEST_WHO, .topic = presence_topic(c, command), .limit = RECORDS_MAX};

    if (r.topic.n > 0) {
        ask_send(c, command->token, &r);
        return;
    }
    acframe_put_no_members(&wsconn_server(c)->cables.text, command->token);
    wscable_send(c);
}

/* ---- Answers. ---- */

static struct wscable_ask *
ask_find(const struct wscable *cable, struct slice id)
{
    uint64_t number;

    if (json_u64(id, &number) < 0)
        return NULL;
    for (const struct list *it = cable->asks.next; it != &cable->asks; it = it->next) {
        struct wscable_ask *ask = list_entry(it, struct wscable_ask, in_cable);

        if (ask->number == number)
            return ask;
    }
    return NULL;
}

/* What a channel of Rails would transmit(). */
static void
on_reply(struct wsconn *c, const struct wscable_ask *ask, const struct message *m)
{
    const struct message reply = {.kind = m->kind, .type = m->type, .headers = m->headers, .body = m->body};

    acframe_put_message(&wsconn_server(c)->cables.text, ask_token(ask), &reply, false);
    wscable_send(c);
}

static void
on_members(struct wsconn *c, const struct wscable_ask *ask, uint64_t total)
{
    struct buf *text = &wsconn_server(c)->cables.text;

    if (buf_failed(&ask->records))
        acframe_put_no_members(text, ask_token(ask));
    else
        acframe_put_members(text, ask_token(ask), total, buf_slice(&ask->records));
    wscable_send(c);
}

static void
on_failed(struct wsconn *c, const struct wscable_ask *ask, const struct answer *answer)
{
    wscable_note_ignored(c, error_code_sentence(answer->code));
    if (answer->of != REQUEST_WHO)
        return;
    acframe_put_no_members(&wsconn_server(c)->cables.text, ask_token(ask));
    wscable_send(c);
}

void
wscable_on_ask_answer(struct wsconn *c, const struct answer *answer)
{
    struct wscable_ask *ask = ask_find(c->cable, answer->id);

    if (ask == NULL)
        return;
    if (answer->type == ANSWER_PRESENT) {
        acframe_put_member(&ask->records, answer->token, answer->body);
        return;
    }
    if (wscable_is_subscribed(c->cable, ask_token(ask))) {
        if (answer->type == ANSWER_REPLY)
            on_reply(c, ask, answer->message);
        else if (answer->type == ANSWER_WHO_END)
            on_members(c, ask, answer->n_kept);
        else if (answer->type == ANSWER_ERROR)
            on_failed(c, ask, answer);
    }
    ask_free(ask);
}
