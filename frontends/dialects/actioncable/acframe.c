/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/actioncable/acframe.h"

#include "base/base64.h"
#include "base/json.h"
#include "frontends/sdk/message.h"
#include "wire/names.h"

#define PUT(out, literal) buf_put((out), (literal), sizeof(literal) - 1)

void
acframe_put_welcome(struct buf *out, struct slice sid)
{
    PUT(out, "{\"type\":\"welcome\"");
    if (sid.n > 0) {
        PUT(out, ",\"sid\":");
        json_put_string(out, sid);
    }
    buf_put_byte(out, '}');
}

void
acframe_put_restored(struct buf *out, struct slice sid, const struct slice *tokens, size_t n)
{
    PUT(out, "{\"type\":\"welcome\",\"sid\":");
    json_put_string(out, sid);
    PUT(out, ",\"restored\":true,\"restored_ids\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_byte(out, ',');
        buf_put_slice(out, tokens[i]);
    }
    PUT(out, "]}");
}

void
acframe_put_ping(struct buf *out, uint64_t seconds)
{
    PUT(out, "{\"type\":\"ping\",\"message\":");
    buf_put_u64(out, seconds);
    buf_put_byte(out, '}');
}

void
acframe_put_pong(struct buf *out)
{
    PUT(out, "{\"type\":\"pong\"}");
}

/* Rails writes the identifier first; so do we, for who compares. */
static void
put_about(struct buf *out, struct slice token, const char *type)
{
    PUT(out, "{\"identifier\":");
    buf_put_slice(out, token);
    PUT(out, ",\"type\":\"");
    buf_put_str(out, type);
    PUT(out, "\"}");
}

void
acframe_put_confirm(struct buf *out, struct slice token)
{
    put_about(out, token, "confirm_subscription");
}

void
acframe_put_reject(struct buf *out, struct slice token)
{
    put_about(out, token, "reject_subscription");
}

void
acframe_put_confirm_history(struct buf *out, struct slice token)
{
    put_about(out, token, "confirm_history");
}

void
acframe_put_reject_history(struct buf *out, struct slice token)
{
    put_about(out, token, "reject_history");
}

void
acframe_put_disconnect(struct buf *out, const char *reason, bool reconnect)
{
    PUT(out, "{\"type\":\"disconnect\",\"reason\":\"");
    buf_put_str(out, reason);
    PUT(out, "\",\"reconnect\":");
    buf_put_str(out, reconnect ? "true" : "false");
    buf_put_byte(out, '}');
}

static void
put_body(struct buf *out, const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_JSON:
        if (m->body.n > 0)
            buf_put_slice(out, m->body);
        else
            PUT(out, "null"); /* nobody publishes it, but the frame must stay JSON */
        break;
    case MESSAGE_TEXT:
        json_put_string(out, m->body);
        break;
    case MESSAGE_BINARY:
        buf_put_byte(out, '"');
        base64_put(out, m->body);
        buf_put_byte(out, '"');
        break;
    }
}

static bool
is_below(struct slice topic, const char *prefix)
{
    size_t n = strlen(prefix);

    return topic.n > n && memcmp(topic.p, prefix, n) == 0;
}

/* ---- Presence. ---- */

static void
begin_presence(struct buf *out, struct slice token, const char *type)
{
    PUT(out, "{\"type\":\"presence\",\"identifier\":");
    buf_put_slice(out, token);
    PUT(out, ",\"message\":{\"type\":\"");
    buf_put_str(out, type);
    buf_put_byte(out, '"');
}

void
acframe_put_presence(struct buf *out, struct slice token, struct slice event)
{
    struct slice type = {.n = 0}, id = {.n = 0}, info = {.n = 0};
    bool is_join;

    if (json_member(event, JSON_MAX_DEPTH, slice_str("event"), &type) < 1 ||
        json_member(event, JSON_MAX_DEPTH, slice_str("id"), &id) < 1)
        return;
    is_join = slice_is(type, "\"join\"");
    if (!is_join && !slice_is(type, "\"leave\""))
        return;
    begin_presence(out, token, is_join ? "join" : "leave");
    PUT(out, ",\"id\":");
    buf_put_slice(out, id);
    if (json_member(event, JSON_MAX_DEPTH, slice_str("info"), &info) == 1) {
        PUT(out, ",\"info\":");
        buf_put_slice(out, info);
    }
    PUT(out, "}}");
}

void
acframe_put_members(struct buf *out, struct slice token, uint64_t total, struct slice records)
{
    begin_presence(out, token, "info");
    PUT(out, ",\"total\":");
    buf_put_u64(out, total);
    PUT(out, ",\"records\":[");
    buf_put_slice(out, records);
    PUT(out, "]}}");
}

void
acframe_put_no_members(struct buf *out, struct slice token)
{
    begin_presence(out, token, "error");
    PUT(out, "}}");
}

void
acframe_put_member(struct buf *records, struct slice id, struct slice info)
{
    if (records->n > 0)
        buf_put_byte(records, ',');
    PUT(records, "{\"id\":");
    json_put_string(records, id);
    if (info.n > 0) {
        PUT(records, ",\"info\":");
        buf_put_slice(records, info);
    }
    buf_put_byte(records, '}');
}

/* ---- Messages. ---- */

/* The epoch is what stands in the cursor before the seq. */
static struct slice
epoch_of(struct slice cursor)
{
    const uint8_t *dash = cursor.n == 0 ? NULL : memchr(cursor.p, '-', cursor.n);

    return slice_of(cursor.p, dash == NULL ? 0 : (size_t)(dash - cursor.p));
}

void
acframe_put_message(struct buf *out, struct slice token, const struct message *m, bool has_position)
{
    if (is_below(m->topic, PRESENCE_PREFIX)) {
        acframe_put_presence(out, token, m->body);
        return;
    }
    PUT(out, "{\"identifier\":");
    buf_put_slice(out, token);
    PUT(out, ",\"message\":");
    put_body(out, m);
    /* Whispers are not kept: there is nothing to go on from. */
    if (has_position && !is_below(m->topic, WHISPER_PREFIX)) {
        PUT(out, ",\"stream_id\":");
        json_put_string(out, m->topic);
        PUT(out, ",\"epoch\":\"");
        buf_put_slice(out, epoch_of(m->cursor));
        PUT(out, "\",\"offset\":");
        buf_put_u64(out, m->seq);
    }
    buf_put_byte(out, '}');
}
