/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Action Cable connection. The greeting is the first frame: what came with the upgrade request itself is
 * handled after it.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <openssl/crypto.h>
#include <stdlib.h>

#include "base/log.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/http/httpreq.h"
#include "frontends/sdk/badge.h"
#include "frontends/sdk/block.h"
#include "frontends/ws/options.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

/* A client that was taken up again asks at once for what it had; if it has not by its second ping, it goes on
 * from then. */
#define RESTORED_PINGS 2u

static struct wscables *
cables_of(const struct wsconn *c)
{
    return &wsconn_server(c)->cables;
}

/* ---- Saying. ---- */

void
wscable_send(struct wsconn *c)
{
    struct wsserver *server = wsconn_server(c);
    struct buf *text = &server->cables.text;

    buf_reset(&server->scratch);
    wsframe_put(&server->scratch, WSFRAME_OP_TEXT, false, buf_slice(text));
    if (buf_failed(text) || buf_failed(&server->scratch))
        conn_close(&c->conn, "no memory for an answer");
    else
        conn_send_copy(&c->conn, buf_slice(&server->scratch));
    buf_reset(text);
    buf_trim(text);
}

void
wscable_tell(struct wsconn *c, const char *reason, bool reconnect)
{
    acframe_put_disconnect(&cables_of(c)->text, reason, reconnect);
    wscable_send(c);
}

void
wscable_note_ignored(struct wsconn *c, const char *why)
{
    c->conn.fe->counters.cable_ignored++;
    log_info("an Action Cable command was passed over: %s", why);
}

/* ---- Sessions. ---- */

bool
wscable_need_badge(struct wsconn *c)
{
    struct wscable *cable = c->cable;

    if (cable->badge != NULL)
        return true;
    cable->badge = malloc(sizeof *cable->badge);
    if (cable->badge == NULL)
        return false;
    badge_init(cable->badge, &c->session);
    if (badges_add(&c->conn.fe->badges, cable->badge) == 0)
        return true;
    free(cable->badge);
    cable->badge = NULL;
    return false;
}

/* What is kept of a session: its name (wscableremote.c), its claims, its subscriptions. */
static void
session_put(const struct wscable *cable, struct buf *out)
{
    wscable_remote_put_name(cable, out);
    buf_put(out, &cable->n_claims, sizeof cable->n_claims);
    buf_put(out, cable->claims, cable->n_claims);
    wscable_put_subs(cable, out);
}

/* The connection that this session has still: the server does not know yet that its client is gone. */
static struct wscable *
session_find(struct wsconn *c, struct slice id)
{
    const struct badge *badge =
        id.n != SESSION_ID_CHARS ? NULL : table_find(&c->conn.fe->badges, slice_of(id.p, BADGE_CHARS));

    if (badge == NULL || CRYPTO_memcmp(badge->id, id.p, SESSION_ID_CHARS) != 0)
        return NULL;
    return wsconn_of_session(badge->session)->cable;
}

static bool
session_take(struct wsconn *c, struct slice id, struct buf *out)
{
    struct wscable *before = session_find(c, id);

    if (before != NULL && (!before->is_extended || before->is_over))
        return false;
    if (before == NULL)
        return wscable_store_take(&cables_of(c)->store, id, out);
    session_put(before, out);
    before->is_over = true;
    wsconn_close(before->conn, WSFRAME_CODE_NORMAL, slice_str("the session goes on elsewhere"));
    return true;
}

static bool
session_restore(struct wsconn *c, struct slice kept)
{
    struct wscable *cable = c->cable;

    kept = wscable_remote_skip_name(kept);
    memcpy(&cable->n_claims, kept.p, sizeof cable->n_claims);
    kept = slice_of(kept.p + sizeof cable->n_claims, kept.n - sizeof cable->n_claims);
    if (cable->n_claims > 0) {
        cable->claims = malloc(cable->n_claims);
        if (cable->claims == NULL)
            return false;
        memcpy(cable->claims, kept.p, cable->n_claims);
    }
    wscable_restore_subs(c, slice_of(kept.p + cable->n_claims, kept.n - cable->n_claims));
    return true;
}

static bool
say_restored(struct wsconn *c)
{
    size_t n = c->cable->n_restored;
    struct slice *tokens = calloc(n == 0 ? 1 : n, sizeof *tokens);

    if (tokens == NULL)
        return false;
    n = wscable_sub_tokens(c->cable, tokens, n);
    acframe_put_restored(&cables_of(c)->text, badge_session_id(c->cable->badge), tokens, n);
    free(tokens);
    wscable_send(c);
    return true;
}

/* ---- Beginning and end. ---- */

/* In a header, or in the address, as whose client can set which. Empty: none. */
static void
read_session_id(const struct httpreq *req, struct buf *out)
{
    const struct slice *header = httpreq_header(req, "X-ANYCABLE-RESTORE-SID");

    if (header != NULL)
        buf_put_slice(out, *header);
    else if (httpreq_query_get(req->query, "sid", out) < 0)
        buf_reset(out);
}

/* 1: it goes on as what it was; 0: it has to begin; -1: memory ran out. */
static int
try_restore(struct wsconn *c, const struct httpreq *req)
{
    struct buf id, kept;
    int r = 0;

    buf_init(&id, 4096);
    buf_init(&kept, 0);
    read_session_id(req, &id);
    if (session_take(c, buf_slice(&id), &kept))
        r = !buf_failed(&kept) && session_restore(c, buf_slice(&kept)) ? 1 : -1;
    buf_fini(&id);
    buf_fini(&kept);
    return r;
}

static bool
greet(struct wsconn *c, const struct httpreq *req)
{
    struct wscables *all = cables_of(c);
    const char *reason;
    int r = 0;

    if (c->cable->is_extended) {
        r = wscable_need_badge(c) ? try_restore(c, req) : -1;
        if (r < 0)
            return false;
    }
    if (r > 0)
        return say_restored(c);
    reason = wscable_identify(c, req);
    if (reason != NULL) {
        c->cable->is_over = true;
        wscable_tell(c, reason, false);
        wsconn_close(c, WSFRAME_CODE_NORMAL, slice_str(reason));
        return true;
    }
    acframe_put_welcome(
        &all->text, c->cable->badge == NULL ? slice_of(NULL, 0) : badge_session_id(c->cable->badge));
    wscable_send(c);
    return true;
}

bool
wscable_begin(struct wsconn *c, bool is_extended, const struct httpreq *req)
{
    struct wscables *all = cables_of(c);
    struct wscable *cable = calloc(1, sizeof *cable);

    if (cable == NULL)
        return false;
    cable->conn = c;
    cable->is_extended = is_extended;
    list_init(&cable->in_slot);
    list_init(&cable->subs);
    list_init(&cable->asks);
    list_init(&cable->in_name);
    c->cable = cable;
    c->session.id_max = (uint16_t)(all->options->identifier_bytes + WSCABLE_ID_ROOM);
    if (c->session.id_max > REQUEST_SUB_ID_MAX)
        c->session.id_max = REQUEST_SUB_ID_MAX;
    if (!greet(c, req))
        return false;
    if (cable->is_over)
        return true;
    wscable_pings_join(&all->pings, &cable->in_slot);
    return wscable_remote_join(c);
}

static void
keep_session(struct wsconn *c)
{
    struct wscables *all = cables_of(c);

    if (!c->cable->is_extended || c->cable->is_over || c->cable->badge == NULL || list_empty(&c->cable->subs))
        return;
    buf_reset(&all->action);
    session_put(c->cable, &all->action);
    if (!buf_failed(&all->action))
        wscable_store_put(&all->store, badge_session_id(c->cable->badge), buf_slice(&all->action));
}

void
wscable_end(struct wsconn *c)
{
    struct wscable *cable = c->cable;

    if (cable == NULL)
        return;
    keep_session(c);
    wscable_pings_leave(&cables_of(c)->pings, &cable->in_slot);
    wscable_remote_leave(c);
    wscable_free_subs(cable);
    wscable_free_asks(cable);
    if (cable->badge != NULL)
        badges_remove(&c->conn.fe->badges, cable->badge);
    free(cable->badge);
    free(cable->claims);
    free(cable);
    c->cable = NULL;
}

/* ---- Pings. ---- */

/* It asked for a session, and then not for what was in it. */
static void
check_restored(struct wsconn *c)
{
    if (c->cable->n_restored > 0 && ++c->cable->n_idle_pings >= RESTORED_PINGS) {
        c->cable->n_idle_pings = 0;
        wscable_wake_subs(c);
    }
}

/* True if it was closed. */
static bool
check_pong(struct wsconn *c)
{
    const struct cable_options *options = cables_of(c)->options;
    uint64_t quiet_ms = (uint32_t)loop_now_ms(c->conn.fe->loop) - c->heard_at_ms;

    if (!c->cable->is_extended || options->pong_timeout_ms == 0 || c->held != NULL ||
        quiet_ms < options->ping_interval_ms + options->pong_timeout_ms)
        return false;
    c->conn.fe->counters.closed_timeout++;
    wscable_tell(c, "no_pong", true);
    wsconn_close(c, WSFRAME_CODE_POLICY, slice_str("timeout: no pong came"));
    return true;
}

void
wscable_on_ping(struct wsconn *c)
{
    struct block *block;

    if (c->state != WSCONN_OPEN || c->conn.is_closed || check_pong(c))
        return;
    check_restored(c);
    /* It has enough to read: more would only make it too slow. */
    if (c->conn.out_bytes > c->conn.fe->limits->queue_bytes / 2)
        return;
    block = wscable_pings_block(&cables_of(c)->pings);
    if (block != NULL)
        conn_send(&c->conn, block, 0, (uint32_t)block->buf.n);
}

/* ---- Commands. ---- */

int
wscable_take(struct wsconn *c, struct slice payload)
{
    struct wscables *all = cables_of(c);
    struct accommand command;
    const char *error;

    c->conn.fe->counters.requests++;
    if (accommand_decode(payload, (unsigned)c->conn.fe->limits->json_depth,
            (size_t)all->options->identifier_bytes, c->cable->is_extended, &all->command, &command,
            &error) < 0) {
        wscable_note_ignored(c, error);
        return 0;
    }
    switch (command.type) {
    case ACCOMMAND_SUBSCRIBE:
        wscable_subscribe(c, &command);
        return 0;
    case ACCOMMAND_UNSUBSCRIBE:
        wscable_unsubscribe(c, &command);
        return 0;
    case ACCOMMAND_MESSAGE:
        return wscable_perform(c, &command);
    case ACCOMMAND_WHISPER:
        return wscable_whisper(c, &command);
    case ACCOMMAND_HISTORY:
        wscable_history(c, &command);
        return 0;
    case ACCOMMAND_PING:
        acframe_put_pong(&all->text);
        wscable_send(c);
        return 0;
    case ACCOMMAND_PONG:
        return 0;
    case ACCOMMAND_JOIN:
        wscable_join(c, &command);
        return 0;
    case ACCOMMAND_LEAVE:
        wscable_leave(c, &command);
        return 0;
    case ACCOMMAND_PRESENCE:
        wscable_who(c, &command);
        return 0;
    }
    return 0;
}

/* Nothing in the protocol says what became of a publish. */
void
wscable_on_answer(struct session *s, const struct answer *answer)
{
    struct wsconn *c = wsconn_of_session(s);

    if (c->state != WSCONN_OPEN)
        return;
    if (answer->id.n > 0 && answer->id.p[0] == '"')
        wscable_on_sub_answer(c, answer);
    else if (answer->id.n > 0)
        wscable_on_ask_answer(c, answer);
    else if (answer->type == ANSWER_DROPPED)
        wscable_on_dropped(c);
    else if (answer->type == ANSWER_ERROR)
        wscable_note_ignored(c, error_code_sentence(answer->code));
}
