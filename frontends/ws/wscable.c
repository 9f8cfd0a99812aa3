/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Action Cable connection. The greeting is the first frame: what came with the upgrade request itself is
 * handled after it.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "frontends/dialects/actioncable/accommand.h"
#include "frontends/dialects/actioncable/acframe.h"
#include "frontends/sdk/block.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

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

/* ---- Beginning and end. ---- */

bool
wscable_begin(struct wsconn *c, bool is_extended, const struct httpreq *req)
{
    struct wscables *all = cables_of(c);
    struct wscable *cable = calloc(1, sizeof *cable);

    (void)req;
    if (cable == NULL)
        return false;
    cable->conn = c;
    cable->is_extended = is_extended;
    list_init(&cable->in_slot);
    list_init(&cable->subs);
    c->cable = cable;
    c->session.id_max = (uint32_t)all->options->identifier_bytes + WSCABLE_ID_ROOM;
    if (c->session.id_max > REQUEST_SUB_ID_MAX)
        c->session.id_max = REQUEST_SUB_ID_MAX;
    acframe_put_welcome(&all->text, slice_of(NULL, 0));
    wscable_send(c);
    wscable_pings_join(&all->pings, &cable->in_slot);
    return true;
}

void
wscable_end(struct wsconn *c)
{
    if (c->cable == NULL)
        return;
    wscable_pings_leave(&cables_of(c)->pings, &c->cable->in_slot);
    wscable_free_subs(c->cable);
    free(c->cable);
    c->cable = NULL;
}

/* ---- Pings. ---- */

void
wscable_on_ping(struct wsconn *c)
{
    struct block *block;

    if (c->state != WSCONN_OPEN || c->conn.is_closed)
        return;
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
    default:
        wscable_note_ignored(c, "it is not supported yet");
        return 0;
    }
}

/* Nothing in the protocol says what became of a publish. */
void
wscable_on_answer(struct session *s, const struct answer *answer)
{
    struct wsconn *c = wsconn_of_session(s);

    if (c->state != WSCONN_OPEN)
        return;
    if (answer->id.n > 0)
        wscable_on_sub_answer(c, answer);
    else if (answer->type == ANSWER_ERROR)
        wscable_note_ignored(c, error_code_sentence(answer->code));
}
