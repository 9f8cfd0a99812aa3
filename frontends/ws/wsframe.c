/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser is a loop over two states, header and payload, with a third in which everything is swallowed
 * (after a close frame or an error). Headers are read where they stand; the struct keeps one only if the
 * input ends inside it. A payload that stands whole in the input and is a message by itself is unmasked in
 * place; every other goes through `struct wsframe_partial`, where a control frame between two fragments has
 * room of its own.
 *
 *     first byte   FIN RSV1 RSV2 RSV3 opcode(4)
 *     second byte  MASK length(7): 126 = 2 bytes follow, 127 = 8 bytes follow
 *     [length] [mask(4)] payload
 */
#include "config.h"

#include "frontends/ws/wsframe.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { STATE_HEAD, STATE_PAYLOAD, STATE_DEAD };

#define BIT_FIN 0x80u
#define BIT_RSV1 0x40u
#define BITS_RSV23 0x30u
#define BIT_CONTROL 0x08u
#define BIT_MASK 0x80u

/* The first allocation for a cut message: not what its header promises, which costs the sender nothing. */
#define PARTIAL_FIRST 4096u

struct wsframe_partial {
    struct buf msg;
    bool is_delivered; /* msg was handed out by the last call */
    uint8_t n_control;
    uint8_t control[WSFRAME_CONTROL_MAX];
};

void
wsframe_init(struct wsframe *f, enum wsframe_role role)
{
    *f = (struct wsframe){.state = STATE_HEAD, .is_client = role == WSFRAME_CLIENT, .utf8 = UTF8_ACCEPT};
}

void
wsframe_fini(struct wsframe *f)
{
    if (f->partial != NULL) {
        buf_fini(&f->partial->msg);
        free(f->partial);
        f->partial = NULL;
    }
}

void
wsframe_allow_compressed(struct wsframe *f)
{
    f->has_deflate = true;
}

bool
wsframe_is_idle(const struct wsframe *f)
{
    return f->state == STATE_HEAD && f->n_head == 0 && f->msg_opcode == 0;
}

size_t
wsframe_held(const struct wsframe *f)
{
    return f->partial == NULL ? 0 : sizeof *f->partial + f->partial->msg.cap;
}

bool
wsframe_code_is_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

void
wsframe_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase)
{
    uint8_t wide[8];
    for (unsigned i = 0; i < 8; i++)
        wide[i] = mask[(phase + i) & 3];

    uint64_t key, word;
    memcpy(&key, wide, 8);
    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&word, p, 8);
        word ^= key;
        memcpy(p, &word, 8);
    }
    for (size_t i = 0; i < n; i++)
        p[i] ^= wide[i];
}

/* Ends the connection as far as the parser goes. */
static enum wsframe_event_type
give_error(struct wsframe *f, struct wsframe_event *ret, uint16_t code, const char *reason)
{
    wsframe_fini(f);
    f->state = STATE_DEAD;
    *ret = (struct wsframe_event){.type = WSFRAME_ERROR, .code = code, .reason = reason};
    return WSFRAME_ERROR;
}

static bool
is_control(const struct wsframe *f)
{
    return (f->opcode & BIT_CONTROL) != 0;
}

/* The parts of a header that need no more than its first two bytes. NULL, or what is wrong. */
static const char *
check_start(const struct wsframe *f, unsigned b0, unsigned b1)
{
    unsigned opcode = b0 & 0x0f;
    bool is_data = opcode == WSFRAME_OP_TEXT || opcode == WSFRAME_OP_BINARY;

    if ((b0 & BITS_RSV23) != 0)
        return "reserved bits RSV2 or RSV3 are set";
    if ((b0 & BIT_RSV1) != 0 && !f->has_deflate)
        return "reserved bit RSV1 is set and no extension was agreed";
    if ((b0 & BIT_RSV1) != 0 && !is_data)
        return "RSV1 is set on a frame that does not begin a message";
    if (!is_data && opcode != WSFRAME_OP_CONT && (opcode < WSFRAME_OP_CLOSE || opcode > WSFRAME_OP_PONG))
        return "reserved opcode";
    if ((opcode & BIT_CONTROL) != 0 && (b0 & BIT_FIN) == 0)
        return "fragmented control frame";
    if ((opcode & BIT_CONTROL) != 0 && (b1 & 0x7f) > WSFRAME_CONTROL_MAX)
        return "control frame longer than 125 bytes";
    if (opcode == WSFRAME_OP_CONT && f->msg_opcode == 0)
        return "continuation frame without a message to continue";
    if (is_data && f->msg_opcode != 0)
        return "new message before the last fragment of the one before";
    if (!f->is_client && (b1 & BIT_MASK) == 0)
        return "frame from a client without a mask";
    if (f->is_client && (b1 & BIT_MASK) != 0)
        return "frame from a server with a mask";
    return NULL;
}

static size_t
head_size(unsigned b1)
{
    unsigned n = b1 & 0x7f;
    return 2u + (n == 126 ? 2u : n == 127 ? 8u : 0u) + ((b1 & BIT_MASK) != 0 ? 4u : 0u);
}

/* The length, after its first seven bits; NULL, or what is wrong. */
static const char *
parse_length(const uint8_t *head, uint64_t *ret)
{
    unsigned n7 = head[1] & 0x7f;
    unsigned n_bytes = n7 == 126 ? 2 : n7 == 127 ? 8 : 0;
    uint64_t n = n_bytes == 0 ? n7 : 0;

    for (unsigned i = 0; i < n_bytes; i++)
        n = n << 8 | head[2 + i];
    if ((n_bytes == 2 && n < 126) || (n_bytes == 8 && n <= 0xffff))
        return "length not in its shortest form";
    if (n >> 63 != 0)
        return "length with its highest bit set";
    *ret = n;
    return NULL;
}

/* What this message would need against what it may have; NULL, or which limit it passes. */
static const char *
check_limits(struct wsframe *f, const struct wsframe_limits *limits)
{
    size_t have = f->partial == NULL ? 0 : f->partial->msg.n;

    if (f->frame_len > limits->max_message || have > limits->max_message - f->frame_len)
        return "message too long";
    f->n_frames++;
    if (limits->max_frames != 0 && f->n_frames > limits->max_frames)
        return "message in too many fragments";
    if (f->frame_len == 0 && !f->is_final && ++f->n_empty > WSFRAME_EMPTY_MAX)
        return "message in too many empty fragments";
    return NULL;
}

/* Takes a complete header in. WSFRAME_MORE: its payload comes next. */
static enum wsframe_event_type
begin_frame(
    struct wsframe *f, const struct wsframe_limits *limits, const uint8_t *head, struct wsframe_event *ret)
{
    const char *wrong = check_start(f, head[0], head[1]);
    if (wrong == NULL)
        wrong = parse_length(head, &f->frame_len);
    if (wrong != NULL)
        return give_error(f, ret, WSFRAME_CODE_PROTOCOL, wrong);

    f->opcode = head[0] & 0x0f;
    f->is_final = (head[0] & BIT_FIN) != 0;
    f->frame_got = 0;
    if (!f->is_client)
        memcpy(f->mask, head + head_size(head[1]) - 4, 4);
    if (!is_control(f)) {
        if (f->opcode != WSFRAME_OP_CONT) {
            f->msg_opcode = f->opcode;
            f->is_compressed = (head[0] & BIT_RSV1) != 0;
            f->utf8 = UTF8_ACCEPT;
            f->n_frames = 0;
            f->n_empty = 0;
        }
        wrong = check_limits(f, limits);
        if (wrong != NULL)
            return give_error(f, ret, WSFRAME_CODE_TOO_BIG, wrong);
    }
    f->n_head = 0;
    f->state = STATE_PAYLOAD;
    return WSFRAME_MORE;
}

/* Reads a header that the input cuts, or did cut. WSFRAME_MORE with state STATE_HEAD: not whole yet. */
static enum wsframe_event_type
gather_head(struct wsframe *f, const struct wsframe_limits *limits, struct wsframe_input *in,
    struct wsframe_event *ret)
{
    size_t need = f->n_head < 2 ? 2 : head_size(f->head[1]);
    while (f->n_head < need) {
        if (in->n == 0)
            return WSFRAME_MORE;
        f->head[f->n_head++] = *in->p++;
        in->n--;
        if (f->n_head >= 2) {
            /* Tell a wrong start now: the rest of the header may never come. */
            const char *wrong = check_start(f, f->head[0], f->head[1]);
            if (wrong != NULL)
                return give_error(f, ret, WSFRAME_CODE_PROTOCOL, wrong);
            need = head_size(f->head[1]);
        }
    }
    return begin_frame(f, limits, f->head, ret);
}

static enum wsframe_event_type
read_head(struct wsframe *f, const struct wsframe_limits *limits, struct wsframe_input *in,
    struct wsframe_event *ret)
{
    if (f->n_head != 0 || in->n < 2 || in->n < head_size(in->p[1]))
        return gather_head(f, limits, in, ret);

    const uint8_t *head = in->p;
    size_t n = head_size(head[1]);
    in->p += n;
    in->n -= n;
    return begin_frame(f, limits, head, ret);
}

static int
need_partial(struct wsframe *f)
{
    if (f->partial == NULL) {
        f->partial = calloc(1, sizeof *f->partial);
        if (f->partial == NULL)
            return -1;
        buf_init(&f->partial->msg, 0); /* check_limits() has spoken before anything is put */
    }
    return 0;
}

/* A control frame is whole: its meaning. */
static enum wsframe_event_type
give_control(struct wsframe *f, const uint8_t *p, size_t n, struct wsframe_event *ret)
{
    f->state = STATE_HEAD;
    *ret = (struct wsframe_event){.payload = slice_of(p, n)};
    if (f->opcode != WSFRAME_OP_CLOSE)
        return ret->type = f->opcode == WSFRAME_OP_PING ? WSFRAME_PING : WSFRAME_PONG;

    unsigned code = WSFRAME_CODE_NONE;
    if (n == 1)
        return give_error(f, ret, WSFRAME_CODE_PROTOCOL, "close frame with half a code");
    if (n >= 2) {
        code = (unsigned)p[0] << 8 | p[1];
        if (!wsframe_code_is_valid(code))
            return give_error(f, ret, WSFRAME_CODE_PROTOCOL, "close frame with a code that may not be sent");
        if (!utf8_is_valid(p + 2, n - 2))
            return give_error(f, ret, WSFRAME_CODE_BAD_DATA, "close reason is not UTF-8");
        ret->payload = slice_of(p + 2, n - 2);
    }
    f->state = STATE_DEAD; /* the partial stays until the next call: the reason may stand in it */
    ret->code = (uint16_t)code;
    return ret->type = WSFRAME_CLOSE;
}

static enum wsframe_event_type
give_message(struct wsframe *f, struct slice payload, struct wsframe_event *ret)
{
    enum wsframe_event_type type = f->msg_opcode == WSFRAME_OP_TEXT ? WSFRAME_TEXT : WSFRAME_BINARY;
    *ret = (struct wsframe_event){.type = type, .is_compressed = f->is_compressed, .payload = payload};
    f->state = STATE_HEAD;
    f->msg_opcode = 0;
    return type;
}

static bool
is_checked_text(const struct wsframe *f)
{
    return f->msg_opcode == WSFRAME_OP_TEXT && !f->is_compressed;
}

/* The usual case: the message is one frame and stands whole in the input. */
static enum wsframe_event_type
take_in_place(struct wsframe *f, struct wsframe_input *in, struct wsframe_event *ret)
{
    uint8_t *p = in->p;
    size_t n = (size_t)f->frame_len;

    if (!f->is_client)
        wsframe_mask(p, n, f->mask, 0);
    in->p += n;
    in->n -= n;
    if (is_control(f))
        return give_control(f, p, n, ret);
    if (is_checked_text(f) && !utf8_is_valid(p, n))
        return give_error(f, ret, WSFRAME_CODE_BAD_DATA, "text is not UTF-8");
    return give_message(f, slice_of(p, n), ret);
}

/* Copies what there is of this frame's payload; gives where it lies now, NULL without memory. */
static uint8_t *
gather(struct wsframe *f, struct wsframe_input *in, size_t n)
{
    uint8_t *to;
    if (is_control(f)) {
        to = f->partial->control + f->partial->n_control;
        f->partial->n_control += (uint8_t)n;
    } else {
        struct buf *msg = &f->partial->msg;
        uint64_t left = f->frame_len - f->frame_got;
        size_t first = left < PARTIAL_FIRST ? (size_t)left : PARTIAL_FIRST;
        to = buf_reserve(msg, msg->cap == 0 && n < first ? first : n);
        if (to == NULL)
            return NULL;
        buf_commit(msg, n);
    }
    if (n > 0)
        memcpy(to, in->p, n);
    if (!f->is_client)
        wsframe_mask(to, n, f->mask, f->frame_got);
    f->frame_got += n;
    in->p += n;
    in->n -= n;
    return to;
}

/* The frame's last byte was gathered. */
static enum wsframe_event_type
end_frame(struct wsframe *f, struct wsframe_event *ret)
{
    struct wsframe_partial *partial = f->partial;

    if (is_control(f)) {
        size_t n = partial->n_control;
        partial->n_control = 0;
        return give_control(f, partial->control, n, ret);
    }
    f->state = STATE_HEAD;
    if (!f->is_final)
        return WSFRAME_MORE;
    if (is_checked_text(f) && f->utf8 != UTF8_ACCEPT)
        return give_error(f, ret, WSFRAME_CODE_BAD_DATA, "text ends inside a character");
    partial->is_delivered = true;
    return give_message(f, buf_slice(&partial->msg), ret);
}

static enum wsframe_event_type
read_payload(struct wsframe *f, struct wsframe_input *in, struct wsframe_event *ret)
{
    bool is_alone = is_control(f) || (f->opcode != WSFRAME_OP_CONT && f->is_final);
    if (is_alone && f->frame_got == 0 && in->n >= f->frame_len)
        return take_in_place(f, in, ret);

    uint64_t left = f->frame_len - f->frame_got;
    size_t n = in->n < left ? in->n : (size_t)left;
    if (n == 0 && left > 0)
        return WSFRAME_MORE;
    if (need_partial(f) < 0)
        return give_error(f, ret, WSFRAME_CODE_INTERNAL, "out of memory");
    const uint8_t *p = n == 0 ? NULL : gather(f, in, n);
    if (n > 0 && p == NULL)
        return give_error(f, ret, WSFRAME_CODE_INTERNAL, "out of memory");
    if (n > 0 && !is_control(f) && is_checked_text(f)) {
        f->utf8 = utf8_feed(f->utf8, p, n);
        if (f->utf8 == UTF8_REJECT)
            return give_error(f, ret, WSFRAME_CODE_BAD_DATA, "text is not UTF-8");
    }
    return f->frame_got < f->frame_len ? WSFRAME_MORE : end_frame(f, ret);
}

/* Gives back what the last event pointed at; a message that is still being gathered stays. */
static void
drop_delivered(struct wsframe *f)
{
    bool is_gathering = f->msg_opcode != 0 || (f->state == STATE_PAYLOAD && f->frame_got > 0);
    if (f->partial->is_delivered || !is_gathering || f->state == STATE_DEAD)
        wsframe_fini(f);
}

enum wsframe_event_type
wsframe_next(struct wsframe *f, const struct wsframe_limits *limits, struct wsframe_input *in,
    struct wsframe_event *ret)
{
    if (f->partial != NULL)
        drop_delivered(f);
    for (;;) {
        enum wsframe_event_type type = WSFRAME_MORE;
        switch (f->state) {
        case STATE_HEAD:
            if (in->n > 0)
                type = read_head(f, limits, in, ret);
            break;
        case STATE_PAYLOAD:
            type = read_payload(f, in, ret);
            break;
        default:
            in->p += in->n;
            in->n = 0;
        }
        if (type != WSFRAME_MORE)
            return type;
        bool is_empty_payload = f->state == STATE_PAYLOAD && f->frame_len == f->frame_got;
        if (in->n == 0 && !is_empty_payload) {
            *ret = (struct wsframe_event){.type = WSFRAME_MORE};
            return WSFRAME_MORE;
        }
    }
}

/* ---- the encoder ---- */

size_t
wsframe_write_head(uint8_t out[WSFRAME_HEAD_MAX], enum wsframe_opcode opcode, bool is_compressed,
    const uint8_t *mask, uint64_t n)
{
    unsigned n_bytes = n < 126 ? 0 : n <= 0xffff ? 2 : 8;
    unsigned n7 = n_bytes == 0 ? (unsigned)n : n_bytes == 2 ? 126 : 127;
    size_t at = 2;

    out[0] = (uint8_t)(BIT_FIN | (is_compressed ? BIT_RSV1 : 0) | (unsigned)opcode);
    out[1] = (uint8_t)((mask != NULL ? BIT_MASK : 0) | n7);
    for (unsigned i = n_bytes; i-- > 0;)
        out[at++] = (uint8_t)(n >> (8 * i));
    if (mask != NULL) {
        memcpy(out + at, mask, 4);
        at += 4;
    }
    return at;
}

static void
put_frame(struct buf *out, enum wsframe_opcode opcode, bool is_compressed, const uint8_t *mask,
    struct slice payload)
{
    if (((unsigned)opcode & BIT_CONTROL) != 0 && payload.n > WSFRAME_CONTROL_MAX)
        payload.n = WSFRAME_CONTROL_MAX;
    uint8_t *p = buf_reserve(out, WSFRAME_HEAD_MAX + payload.n);
    if (p == NULL)
        return;
    size_t n_head = wsframe_write_head(p, opcode, is_compressed, mask, payload.n);
    if (payload.n > 0)
        memcpy(p + n_head, payload.p, payload.n);
    if (mask != NULL)
        wsframe_mask(p + n_head, payload.n, mask, 0);
    buf_commit(out, n_head + payload.n);
}

void
wsframe_put(struct buf *out, enum wsframe_opcode opcode, bool is_compressed, struct slice payload)
{
    put_frame(out, opcode, is_compressed, NULL, payload);
}

void
wsframe_put_masked(struct buf *out, enum wsframe_opcode opcode, bool is_compressed, const uint8_t mask[4],
    struct slice payload)
{
    put_frame(out, opcode, is_compressed, mask, payload);
}

void
wsframe_put_close(struct buf *out, unsigned code, struct slice reason)
{
    uint8_t body[WSFRAME_CONTROL_MAX] = {(uint8_t)(code >> 8), (uint8_t)code};
    size_t n = reason.n;

    if (code == WSFRAME_CODE_NONE) {
        wsframe_put(out, WSFRAME_OP_CLOSE, false, slice_of(NULL, 0));
        return;
    }
    if (n > sizeof body - 2) {
        n = sizeof body - 2;
        while (n > 0 && (reason.p[n] & 0xc0) == 0x80)
            n--;
    }
    if (n > 0)
        memcpy(body + 2, reason.p, n);
    wsframe_put(out, WSFRAME_OP_CLOSE, false, slice_of(body, n + 2));
}
