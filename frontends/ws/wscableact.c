/* SPDX-License-Identifier: Apache-2.0 */
/* What an Action Cable client says: actions of channels, and whispers. Nothing answers either. */
#include "config.h"

#include "frontends/ws/wscable.h"

#include "frontends/dialects/actioncable/acaction.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/sdk/badge.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"
#include "wire/names.h"

static int
ignore(struct wsconn *c, const char *why)
{
    wscable_note_ignored(c, why);
    return 0;
}

int
wscable_perform(struct wsconn *c, const struct accommand *command)
{
    struct wscables *all = &wsconn_server(c)->cables;
    unsigned max_depth = (unsigned)c->conn.fe->limits->json_depth;
    struct acchannels_subscription asked;
    struct acchannels_target target;
    struct acresolved resolved;
    struct acaction action;
    struct request r = {.op = REQUEST_PUB, .kind = MESSAGE_JSON};
    const char *error;

    if (!wscable_is_subscribed(c->cable, command->token))
        return ignore(c, "what it performs on is no subscription of this connection");
    buf_reset(&all->action);
    if (acaction_read(command->data, max_depth, &all->action, &action, &error) < 0)
        return ignore(c, error);
    wscable_resolve(c, command->identifier, &asked, &resolved);
    error = resolved.refused;
    if (error == NULL)
        error = acchannels_action(&all->channels, &asked, &resolved, action.name, &all->resolved, &target);
    if (error != NULL)
        return ignore(c, error);
    if (target.is_request) {
        wscable_request(c, command, target.topic, action.payload);
        return 0;
    }
    r.topic = target.topic;
    r.body = action.payload;
    return session_request(&c->session, &r);
}

int
wscable_whisper(struct wsconn *c, const struct accommand *command)
{
    struct wscables *all = &wsconn_server(c)->cables;
    struct acchannels_subscription asked;
    struct acresolved resolved;
    struct request r = {.op = REQUEST_PUB, .kind = MESSAGE_JSON, .is_whisper = true, .body = command->data};
    size_t n_headers;

    if (!wscable_is_subscribed(c->cable, command->token))
        return ignore(c, "it whispers to no subscription of this connection");
    wscable_resolve(c, command->identifier, &asked, &resolved);
    if (resolved.refused != NULL || !resolved.may_whisper)
        return ignore(c, "its channel does not whisper");
    if (!wscable_need_badge(c))
        return ignore(c, "memory ran out");
    buf_reset(&all->action);
    badge_put_exclude(&all->action, badge_session_id(c->cable->badge));
    n_headers = all->action.n;
    buf_put_str(&all->action, WHISPER_PREFIX);
    buf_put_slice(&all->action, resolved.streams[0]);
    if (buf_failed(&all->action))
        return ignore(c, "memory ran out");
    r.headers = slice_of(all->action.p, n_headers);
    r.topic = buf_since(&all->action, n_headers);
    return session_request(&c->session, &r);
}
