/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compression itself and the offer's grammar (RFC 6455, 9.1, and RFC 7692, 7.1):
 *
 *     permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate
 *
 * On the wire a message is raw deflate up to a sync flush, less the flush's last four bytes 00 00 ff ff.
 */
#include "config.h"

#include "frontends/ws/wsdeflate.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/utf8.h"
#include "frontends/ws/wsframe.h"

#define WINDOW_BITS 15
#define WINDOW_SIZE (1u << WINDOW_BITS)
#define MEM_LEVEL 8
#define INFLATE_STEP_MIN 1024u
#define INFLATE_STEP_MAX (256u * 1024)
#define AT_BLOCK_END 128 /* in z_stream.data_type, after inflate(): not inside a block */
#define N_UNUSED_BITS 63
#define RESTART_MAX 4 /* each costs a copy of the window; nobody needs even two */

struct wsdeflate {
    z_stream packer;
    z_stream unpacker;
};

static const uint8_t flush_tail[4] = {0x00, 0x00, 0xff, 0xff};

int
wsdeflate_new(int level, struct wsdeflate **ret)
{
    if (level < 1 || level > 9)
        return -EINVAL;
    struct wsdeflate *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    if (deflateInit2(&d->packer, level, Z_DEFLATED, -WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(d);
        return -ENOMEM;
    }
    if (inflateInit2(&d->unpacker, -WINDOW_BITS) != Z_OK) {
        (void)deflateEnd(&d->packer);
        free(d);
        return -ENOMEM;
    }
    *ret = d;
    return 0;
}

struct wsdeflate *
wsdeflate_free(struct wsdeflate *d)
{
    if (d != NULL) {
        (void)deflateEnd(&d->packer);
        (void)inflateEnd(&d->unpacker);
        free(d);
    }
    return NULL;
}

int
wsdeflate_compress(struct wsdeflate *d, struct slice plain, struct buf *out)
{
    z_stream *z = &d->packer;
    if (plain.n > UINT_MAX / 2)
        return -ENOMEM;

    (void)deflateReset(z);
    /* The bound is for Z_FINISH; a sync flush may add an empty block and its tail. */
    size_t room = deflateBound(z, plain.n) + 16;
    uint8_t *p = buf_reserve(out, room);
    if (p == NULL)
        return -ENOMEM;
    z->next_in = (Bytef *)(uintptr_t)plain.p;
    z->avail_in = (uInt)plain.n;
    z->next_out = p;
    z->avail_out = (uInt)room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in != 0 || z->avail_out == 0)
        return -ENOMEM; /* the bound did not hold: zlib promises that it does */
    buf_commit(out, room - z->avail_out - sizeof flush_tail);
    return 0;
}

/* The message ended one deflate stream (BFINAL) and goes on with another, which RFC 7692, 7.2.3.4 allows:
 * what came out stays its window. */
static int
restart_after_final(z_stream *z, const struct buf *out, size_t n_before)
{
    size_t n = out->n - n_before;
    if (n > WINDOW_SIZE)
        n = WINDOW_SIZE;
    if (inflateReset(z) != Z_OK)
        return WSDEFLATE_BAD;
    if (n > 0 && inflateSetDictionary(z, out->p + out->n - n, (uInt)n) != Z_OK)
        return WSDEFLATE_BAD;
    return 0;
}

/* Inflates what z has as input. *ret_ended: a final block ended the stream, maybe before the input's end. */
static int
inflate_input(z_stream *z, size_t n_before, size_t max, struct buf *out, bool *ret_ended)
{
    for (;;) {
        uint8_t over = 0;
        size_t left = max - (out->n - n_before);
        size_t step = (size_t)z->avail_in * 4;
        step = step < INFLATE_STEP_MIN ? INFLATE_STEP_MIN : step > INFLATE_STEP_MAX ? INFLATE_STEP_MAX : step;
        step = step < left ? step : left;
        /* At the limit the stream may still end; one byte more of room shows whether it does. */
        uint8_t *p = step == 0 ? &over : buf_reserve(out, step);
        if (p == NULL)
            return -ENOMEM;
        size_t room = step == 0 ? 1 : step;
        z->next_out = p;
        z->avail_out = (uInt)room;

        int got = inflate(z, Z_SYNC_FLUSH);
        size_t n_out = room - z->avail_out;
        if (step == 0 && n_out > 0)
            return WSDEFLATE_TOO_BIG;
        if (step != 0)
            buf_commit(out, n_out);
        *ret_ended = got == Z_STREAM_END;
        if (got == Z_MEM_ERROR)
            return -ENOMEM;
        if (got != Z_OK && got != Z_STREAM_END && got != Z_BUF_ERROR)
            return WSDEFLATE_BAD;
        if (got == Z_STREAM_END || z->avail_out > 0)
            return 0;
    }
}

int
wsdeflate_inflate(struct wsdeflate *d, struct slice packed, size_t max, struct buf *out)
{
    z_stream *z = &d->unpacker;
    const size_t n_before = out->n;
    size_t n_by_message = n_before;
    unsigned n_restarts = 0;
    bool has_ended = false;

    if (packed.n > UINT_MAX)
        return WSDEFLATE_TOO_BIG;
    if (packed.n == 0)
        return 0; /* strictly it would be one byte 00; some clients send none */
    if (inflateReset(z) != Z_OK)
        return WSDEFLATE_BAD;

    for (unsigned i = 0; i < 2; i++) {
        struct slice part = i == 0 ? packed : slice_of(flush_tail, sizeof flush_tail);
        z->next_in = (Bytef *)(uintptr_t)part.p;
        z->avail_in = (uInt)part.n;
        n_by_message = out->n;
        while (z->avail_in > 0) {
            if (has_ended && i == 1)
                return 0; /* it ended by a final block, and the tail adds nothing */
            if (has_ended && ++n_restarts > RESTART_MAX)
                return WSDEFLATE_BAD;
            int got = has_ended ? restart_after_final(z, out, n_before) : 0;
            if (got == 0)
                got = inflate_input(z, n_before, max, out, &has_ended);
            if (got != 0)
                return got;
        }
    }
    /* A cut message can swallow the tail as data: it must be an empty block and nothing else. */
    bool is_whole =
        (z->data_type & AT_BLOCK_END) != 0 && (z->data_type & N_UNUSED_BITS) == 0 && out->n == n_by_message;
    return is_whole ? 0 : WSDEFLATE_BAD;
}

static void
event_fail(struct wsframe_event *event, uint16_t code, const char *reason)
{
    *event = (struct wsframe_event){.type = WSFRAME_ERROR, .code = code, .reason = reason};
}

void
wsdeflate_open_event(struct wsdeflate *d, struct wsframe_event *event, size_t max, struct buf *out)
{
    if (!event->is_compressed)
        return;
    buf_reset(out);
    int got = wsdeflate_inflate(d, event->payload, max, out);
    if (got < 0) {
        event_fail(event, WSFRAME_CODE_INTERNAL, "out of memory");
    } else if (got == WSDEFLATE_TOO_BIG) {
        event_fail(event, WSFRAME_CODE_TOO_BIG, "message too long once inflated");
    } else if (got != 0) {
        event_fail(event, WSFRAME_CODE_BAD_DATA, "compressed message is damaged");
    } else if (event->type == WSFRAME_TEXT && !utf8_is_valid(out->p, out->n)) {
        event_fail(event, WSFRAME_CODE_BAD_DATA, "text is not UTF-8");
    } else {
        event->payload = buf_slice(out);
        event->is_compressed = false;
    }
}

bool
wsdeflate_may_send(const struct wsdeflate_params *params, size_t n_plain)
{
    return params->is_on &&
           (params->server_bits >= WINDOW_BITS || n_plain <= (size_t)1 << params->server_bits);
}

/* ---- the offer ---- */

static bool
is_token_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool
token_is(struct slice token, const char *name)
{
    if (token.n != strlen(name))
        return false;
    for (size_t i = 0; i < token.n; i++)
        if ((token.p[i] | 0x20) != (uint8_t)name[i] && token.p[i] != (uint8_t)name[i])
            return false;
    return true;
}

static void
skip_space(struct slice *s)
{
    while (s->n > 0 && (*s->p == ' ' || *s->p == '\t')) {
        s->p++;
        s->n--;
    }
}

static bool
take_char(struct slice *s, uint8_t c)
{
    skip_space(s);
    if (s->n == 0 || *s->p != c)
        return false;
    s->p++;
    s->n--;
    return true;
}

static bool
take_token(struct slice *s, struct slice *ret)
{
    size_t n = 0;
    skip_space(s);
    while (n < s->n && is_token_char(s->p[n]))
        n++;
    *ret = slice_of(s->p, n);
    s->p += n;
    s->n -= n;
    return n > 0;
}

/* A token, or a token between quotes: RFC 6455 wants what a quoted string holds to be a token too. */
static bool
take_value(struct slice *s, struct slice *ret)
{
    if (!take_char(s, '"'))
        return take_token(s, ret);
    size_t n = 0;
    while (n < s->n && is_token_char(s->p[n]))
        n++;
    *ret = slice_of(s->p, n);
    if (n == 0 || n == s->n || s->p[n] != '"')
        return false;
    s->p += n + 1;
    s->n -= n + 1;
    return true;
}

/* 8 to 15, without leading zeros; 0 for anything else. */
static uint8_t
parse_bits(struct slice v)
{
    if (v.n == 1 && (v.p[0] == '8' || v.p[0] == '9'))
        return (uint8_t)(v.p[0] - '0');
    if (v.n == 2 && v.p[0] == '1' && v.p[1] >= '0' && v.p[1] <= '5')
        return (uint8_t)(10 + v.p[1] - '0');
    return 0;
}

enum { SAW_SERVER_NO_CONTEXT = 1, SAW_CLIENT_NO_CONTEXT = 2, SAW_SERVER_BITS = 4, SAW_CLIENT_BITS = 8 };

/* One parameter of an offer; false: the offer is declined. The client's window does not concern us, we
 * inflate with the largest; the value is checked all the same. */
static bool
check_param(struct slice name, bool has_value, struct slice value, unsigned *seen, uint8_t *server_bits)
{
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {
        {"server_no_context_takeover", SAW_SERVER_NO_CONTEXT},
        {"client_no_context_takeover", SAW_CLIENT_NO_CONTEXT},
        {"server_max_window_bits", SAW_SERVER_BITS},
        {"client_max_window_bits", SAW_CLIENT_BITS},
    };
    unsigned bit = 0;

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (token_is(name, known[i].name))
            bit = known[i].bit;
    if (bit == 0 || (*seen & bit) != 0)
        return false;
    *seen |= bit;
    if (bit == SAW_SERVER_BITS)
        return has_value && (*server_bits = parse_bits(value)) != 0;
    if (bit == SAW_CLIENT_BITS)
        return !has_value || parse_bits(value) != 0;
    return !has_value;
}

void
wsdeflate_offer_begin(struct wsdeflate_params *params)
{
    *params = (struct wsdeflate_params){.is_on = false, .server_bits = WINDOW_BITS};
}

/* One element of the list: 0, or -EINVAL. */
static int
take_extension(struct slice *rest, struct wsdeflate_params *params)
{
    struct slice name, value = {NULL, 0};
    unsigned seen = 0;
    uint8_t server_bits = WINDOW_BITS;

    if (!take_token(rest, &name))
        return -EINVAL;
    bool is_taken = token_is(name, "permessage-deflate") && !params->is_on;
    while (take_char(rest, ';')) {
        if (!take_token(rest, &name))
            return -EINVAL;
        bool has_value = take_char(rest, '=');
        if (has_value) {
            skip_space(rest);
            if (!take_value(rest, &value))
                return -EINVAL;
        }
        is_taken = is_taken && check_param(name, has_value, value, &seen, &server_bits);
    }
    if (is_taken)
        *params = (struct wsdeflate_params){
            .is_on = true, .has_server_bits = (seen & SAW_SERVER_BITS) != 0, .server_bits = server_bits};
    return 0;
}

int
wsdeflate_offer_take(struct wsdeflate_params *params, struct slice header)
{
    do {
        int got = take_extension(&header, params);
        if (got < 0)
            return got;
    } while (take_char(&header, ','));
    skip_space(&header);
    return header.n == 0 ? 0 : -EINVAL;
}

void
wsdeflate_put_answer(const struct wsdeflate_params *params, struct buf *out)
{
    if (!params->is_on)
        return;
    buf_put_str(out, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    if (params->has_server_bits)
        buf_printf(out, "; server_max_window_bits=%u", params->server_bits);
}
