/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/http/httpencode.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/mp.h"

/* --- the envelope ----------------------------------------------------------------------------------- */

static void
put_data(struct buf *out, const struct message *m)
{
    switch (m->kind) {
    case MESSAGE_JSON: /* byte for byte as it was published */
        buf_put_slice(out, m->body.n > 0 ? m->body : slice_str("null"));
        return;
    case MESSAGE_TEXT:
        json_put_string(out, m->body);
        return;
    default:
        buf_put_byte(out, '"');
        base64_put(out, m->body);
        buf_put_str(out, "\",\"encoding\":\"base64\"");
    }
}

/* A string that is a JSON payload differs from a text by its type alone, so it then is always told. */
static struct slice
told_type(const struct message *m)
{
    size_t i = 0;

    while (i < m->body.n && memchr(" \t\r\n", m->body.p[i], 4) != NULL)
        i++;
    if (m->type.n == 0 && m->kind == MESSAGE_JSON && i < m->body.n && m->body.p[i] == '"')
        return slice_str("application/json");
    return m->type;
}

/* The map was checked when it came; whatever is odd in it all the same ends the object early. */
static void
put_headers(struct buf *out, struct slice packed)
{
    struct mp c = mp_of(packed);
    struct slice name, value;
    uint32_t n;

    buf_put_str(out, ",\"headers\":{");
    if (mp_map(&c, &n) != 0)
        n = 0;
    for (uint32_t i = 0; i < n && mp_str(&c, &name) == 0 && mp_str(&c, &value) == 0; i++) {
        if (i > 0)
            buf_put_byte(out, ',');
        json_put_string(out, name);
        buf_put_byte(out, ':');
        json_put_string(out, value);
    }
    buf_put_byte(out, '}');
}

void
http_put_content(struct buf *out, const struct message *m)
{
    struct slice type = told_type(m);

    buf_put_str(out, "\"data\":");
    put_data(out, m);
    if (type.n > 0) {
        buf_put_str(out, ",\"type\":");
        json_put_string(out, type);
    }
    if (m->key.n > 0) {
        buf_put_str(out, ",\"key\":");
        json_put_string(out, m->key);
    }
    if (m->headers.n > 0)
        put_headers(out, m->headers);
}

void
http_put_envelope(struct buf *out, const struct message *m)
{
    buf_put_str(out, "{\"topic\":");
    json_put_string(out, m->topic);
    buf_put_str(out, ",\"cursor\":\"");
    buf_put_slice(out, m->cursor);
    buf_put_str(out, "\",");
    http_put_content(out, m);
    if (m->is_retained)
        buf_put_str(out, ",\"retained\":true");
    buf_put_str(out, ",\"time\":");
    buf_put_u64(out, m->time_ms);
    buf_put_byte(out, '}');
}

void
http_put_error(struct buf *out, enum error_code code, struct slice text)
{
    buf_put_str(out, "{\"error\":{\"code\":\"");
    buf_put_str(out, error_code_name(code));
    buf_put_str(out, "\",\"message\":");
    json_put_string(out, text.n > 0 ? text : slice_str(error_code_sentence(code)));
    buf_put_str(out, "}}\n");
}

const char *
http_state_name(enum recover_state state)
{
    static const char *const names[] = {
        [STATE_LIVE] = "live",
        [STATE_RECOVERED] = "recovered",
        [STATE_GAP] = "gap",
        [STATE_RESET] = "reset",
    };
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "live";
}

/* --- long-poll -------------------------------------------------------------------------------------- */

/* A record: the lengths of the whole rest and of the cursor, the cursor, the JSON. It never leaves the
 * process. */
struct record_head {
    uint32_t n;
    uint32_t n_cursor;
};

/* A kept value is older than what the client follows: its place is not where the client goes on from. */
static struct slice
progress_of(const struct message *m)
{
    return m->is_retained ? slice_of(NULL, 0) : m->cursor;
}

static void
poll_put_message(const struct encoder *e, struct buf *out, const struct message *m, struct slice sub_id)
{
    struct slice cursor = progress_of(m);
    struct record_head head = {.n_cursor = (uint32_t)cursor.n};
    size_t at = out->n;

    (void)e;
    (void)sub_id;
    buf_put(out, &head, sizeof head);
    buf_put_slice(out, cursor);
    http_put_envelope(out, m);
    if (buf_failed(out))
        return;
    head.n = (uint32_t)(out->n - at - sizeof head);
    memcpy(out->p + at, &head, sizeof head);
}

bool
poll_record_next(struct slice *rest, struct poll_record *ret)
{
    struct record_head head;

    if (rest->n < sizeof head)
        return false;
    memcpy(&head, rest->p, sizeof head);
    const uint8_t *p = rest->p + sizeof head;
    if (head.n > rest->n - sizeof head || head.n_cursor > head.n)
        return false;
    ret->cursor = slice_of(p, head.n_cursor);
    ret->json = slice_of(p + head.n_cursor, head.n - head.n_cursor);
    *rest = slice_of(p + head.n, rest->n - sizeof head - head.n);
    return true;
}

/* A poll makes its answer by itself, at its end. */
static void
poll_put_answer(const struct encoder *e, struct buf *out, const struct answer *a)
{
    (void)e;
    (void)out;
    (void)a;
}

const struct encoder http_poll_encoder = {
    .name = "http/poll", .put_message = poll_put_message, .put_answer = poll_put_answer};

/* --- event streams ---------------------------------------------------------------------------------- */

struct sse_encoder {
    struct encoder base;
    bool is_envelope, is_chunked;
};

#define CHUNK_HEAD_MAX 10 /* eight hex digits and CRLF */

/* A chunk's length and CRLF, at the end of the room for it: where it begins. */
static size_t
chunk_head(uint8_t room[CHUNK_HEAD_MAX], size_t n)
{
    size_t at = CHUNK_HEAD_MAX - 2;

    memcpy(room + at, "\r\n", 2);
    do {
        room[--at] = (uint8_t) "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n != 0);
    return at;
}

/* Room for a chunk's head; the event follows. */
static size_t
chunk_begin(struct buf *out, bool is_chunked)
{
    size_t at = out->n;
    if (is_chunked && buf_reserve(out, CHUNK_HEAD_MAX) != NULL)
        buf_commit(out, CHUNK_HEAD_MAX);
    return at;
}

static void
chunk_finish(struct buf *out, bool is_chunked, size_t at)
{
    uint8_t head[CHUNK_HEAD_MAX];

    if (!is_chunked || buf_failed(out))
        return;
    size_t n = out->n - at - CHUNK_HEAD_MAX, skip = chunk_head(head, n);
    memmove(out->p + at + CHUNK_HEAD_MAX - skip, out->p + at + CHUNK_HEAD_MAX, n);
    memcpy(out->p + at, head + skip, CHUNK_HEAD_MAX - skip);
    out->n -= skip;
    buf_put(out, "\r\n", 2);
}

/* The first of them, or the end. */
static const uint8_t *
find_byte(const uint8_t *p, const uint8_t *end, int c)
{
    const uint8_t *found = p == end ? NULL : memchr(p, c, (size_t)(end - p));

    return found == NULL ? end : found;
}

/* A line of the stream ends at CR, LF or CRLF, so each of them in the payload begins another data line. */
static void
put_data_lines(struct buf *out, struct slice text)
{
    const uint8_t *p = text.p, *end = text.p + text.n;
    const uint8_t *lf = find_byte(p, end, '\n'); /* at or behind p */

    for (;;) {
        const uint8_t *stop = find_byte(p, lf, '\r');
        buf_put_str(out, "data: ");
        buf_put(out, p, (size_t)(stop - p));
        buf_put_byte(out, '\n');
        if (stop == end)
            return;
        p = stop + (*stop == '\r' && end - stop > 1 && stop[1] == '\n' ? 2 : 1);
        if (lf < p)
            lf = find_byte(p, end, '\n');
    }
}

static void
put_bare_data(struct buf *out, const struct message *m)
{
    if (m->kind != MESSAGE_BINARY) {
        put_data_lines(out, m->body);
        return;
    }
    buf_put_str(out, "data: ");
    base64_put(out, m->body);
    buf_put_byte(out, '\n');
}

/* JSON that was published with line breaks between its parts keeps them: then the envelope has several lines.
 */
static void
put_envelope_data(struct buf *out, const struct message *m)
{
    bool may_have_breaks =
        m->kind == MESSAGE_JSON && m->body.n > 0 &&
        (memchr(m->body.p, '\n', m->body.n) != NULL || memchr(m->body.p, '\r', m->body.n) != NULL);
    if (!may_have_breaks) {
        buf_put_str(out, "data: ");
        http_put_envelope(out, m);
        buf_put_byte(out, '\n');
        return;
    }
    struct buf envelope;
    buf_init(&envelope, 0);
    http_put_envelope(&envelope, m);
    if (buf_failed(&envelope))
        out->is_failed = true;
    else
        put_data_lines(out, buf_slice(&envelope));
    buf_fini(&envelope);
}

static void
sse_put_message(const struct encoder *base, struct buf *out, const struct message *m, struct slice sub_id)
{
    const struct sse_encoder *e = (const struct sse_encoder *)base;
    size_t at = chunk_begin(out, e->is_chunked);

    (void)sub_id;
    if (progress_of(m).n > 0) {
        buf_put_str(out, "id: ");
        buf_put_slice(out, m->cursor);
        buf_put_byte(out, '\n');
    }
    if (e->is_envelope)
        put_envelope_data(out, m);
    else
        put_bare_data(out, m);
    buf_put_byte(out, '\n');
    chunk_finish(out, e->is_chunked, at);
}

void
http_put_state(struct buf *out, enum recover_state state, const char *cursor)
{
    buf_put_str(out, "{\"state\":\"");
    buf_put_str(out, http_state_name(state));
    buf_put_str(out, "\",\"cursor\":\"");
    buf_put_str(out, cursor);
    buf_put_byte(out, '"');
}

/* event: state. Its id moves the client's cursor, which an event without data does too. */
static void
put_state(struct buf *out, const struct answer *a)
{
    char cursor[CURSOR_MAX];

    (void)cursor_format(cursor, a->position);
    if (a->state != STATE_LIVE)
        buf_put_str(out, "event: state\n");
    buf_put_str(out, "id: ");
    buf_put_str(out, cursor);
    if (a->state == STATE_LIVE) {
        buf_put_str(out, "\n\n");
        return;
    }
    buf_put_str(out, "\ndata: ");
    http_put_state(out, a->state, cursor);
    for (size_t i = 0; i < a->n_gaps; i++) {
        buf_put_str(out, i == 0 ? ",\"topics\":[" : ",");
        json_put_string(out, a->gaps[i]);
    }
    buf_put_str(out, a->n_gaps > 0 ? "]}\n\n" : "}\n\n");
}

static void
sse_put_answer(const struct encoder *base, struct buf *out, const struct answer *a)
{
    const struct sse_encoder *e = (const struct sse_encoder *)base;
    size_t at = chunk_begin(out, e->is_chunked);

    switch (a->type) {
    case ANSWER_SUBSCRIBED:
    case ANSWER_STATE:
        put_state(out, a);
        break;
    case ANSWER_DROPPED:
        buf_put_str(out, "event: dropped\ndata: {\"count\":");
        buf_put_u64(out, a->count);
        if (a->topic.n > 0) {
            buf_put_str(out, ",\"topic\":");
            json_put_string(out, a->topic);
        }
        buf_put_str(out, "}\n\n");
        break;
    case ANSWER_ERROR:
    case ANSWER_CLOSING:
        buf_put_str(out, "event: closing\ndata: ");
        http_put_error(out, a->code, a->text); /* which ends its line */
        buf_put_byte(out, '\n');
        break;
    default:
        out->n = at; /* nothing that a stream tells */
        return;
    }
    chunk_finish(out, e->is_chunked, at);
}

#define SSE(name_, is_envelope_, is_chunked_)                                                                \
    {                                                                                                        \
        {.name = name_, .put_message = sse_put_message, .put_answer = sse_put_answer}, is_envelope_,         \
            is_chunked_                                                                                      \
    }

static const struct sse_encoder sse_encoders[2][2] = {
    {SSE("http/sse-bare-1.0", false, false), SSE("http/sse-bare", false, true)},
    {SSE("http/sse-1.0", true, false), SSE("http/sse", true, true)},
};

const struct encoder *
http_sse_encoder(bool is_envelope, bool is_chunked)
{
    return &sse_encoders[is_envelope][is_chunked].base;
}

void
http_put_sse(struct buf *out, bool is_chunked, struct slice text)
{
    size_t at = chunk_begin(out, is_chunked);
    buf_put_slice(out, text);
    chunk_finish(out, is_chunked, at);
}
