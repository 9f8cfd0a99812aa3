/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packer and the decoder of the link's frames, both generated from wire/frames.tbl.h, so that the order
 * of fields cannot differ between them. msgpack-c packs; what comes in is read by the strict cursor of
 * base/mp.h.
 *
 * Not for: which frame may come when. That is the link's and the router's to judge.
 */
#include "config.h"

#include "wire/frame.h"

#include <errno.h>
#include <msgpack.h>

#include "base/utf8.h"

/* How many fields each frame has: ARITY_PUBLISH, ... */
#define FRAME_BEGIN(name, NAME, number, direction) enum { ARITY_##NAME = 0
#define FIELD(type, name) +1
#define FRAME_END(name, NAME)                                                                                \
    }                                                                                                        \
    ;
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

/* ---- Packing. ---- */

/* The packer's callback. It never reports a failure: the buffer's is sticky and is looked at by whoever owns
 * it. */
static int
buf_write(void *out, const char *p, size_t n)
{
    buf_put(out, p, n);
    return 0;
}

static void
put_u64(msgpack_packer *pk, uint64_t v)
{
    (void)msgpack_pack_uint64(pk, v);
}

static void
put_str(msgpack_packer *pk, struct slice s)
{
    (void)msgpack_pack_str(pk, s.n);
    (void)msgpack_pack_str_body(pk, s.p, s.n);
}

static void
put_bin(msgpack_packer *pk, struct slice s)
{
    (void)msgpack_pack_bin(pk, s.n);
    (void)msgpack_pack_bin_body(pk, s.p, s.n);
}

static void
put_strs(msgpack_packer *pk, struct strs s)
{
    (void)msgpack_pack_array(pk, s.n);
    buf_put(pk->data, s.packed.p, s.packed.n);
}

#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    void frame_put_##name(struct buf *out, const struct frame_##name *f)                                     \
    {                                                                                                        \
        msgpack_packer pk;                                                                                   \
        msgpack_packer_init(&pk, out, buf_write);                                                            \
        (void)msgpack_pack_array(&pk, 1 + ARITY_##NAME);                                                     \
        (void)msgpack_pack_uint8(&pk, number);                                                               \
        (void)f;
#define FIELD(type, name) put_##type(&pk, f->name);
#define FRAME_END(name, NAME) }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

void
strs_from(struct buf *storage, struct strs *ret, const struct slice *items, size_t n)
{
    msgpack_packer pk;
    size_t start = storage->n;

    msgpack_packer_init(&pk, storage, buf_write);
    for (size_t i = 0; i < n; i++)
        put_str(&pk, items[i]);
    if (buf_failed(storage)) {
        *ret = (struct strs){0};
        return;
    }
    *ret = (struct strs){.n = (uint32_t)n, .packed = slice_of(storage->p + start, storage->n - start)};
}

bool
strs_next(struct strs *s, struct slice *ret)
{
    struct mp c = mp_of(s->packed);

    if (s->n == 0 || mp_str(&c, ret) < 0)
        return false;
    s->n--;
    s->packed = slice_of(c.p, (size_t)(c.end - c.p));
    return true;
}

/* ---- Reading. ---- */

enum wrong { WRONG_NOTHING, WRONG_TYPE, WRONG_UTF8, WRONG_END };

static enum wrong
wrong_of(int r)
{
    return r == 0 ? WRONG_NOTHING : r == -EAGAIN ? WRONG_END : WRONG_TYPE;
}

static enum wrong
read_u64(struct mp *c, uint64_t *ret)
{
    return wrong_of(mp_u64(c, ret));
}

static enum wrong
read_str(struct mp *c, struct slice *ret)
{
    int r = mp_str(c, ret);

    if (r < 0)
        return wrong_of(r);
    return utf8_is_valid(ret->p, ret->n) ? WRONG_NOTHING : WRONG_UTF8;
}

static enum wrong
read_bin(struct mp *c, struct slice *ret)
{
    return wrong_of(mp_bin(c, ret));
}

static enum wrong
read_strs(struct mp *c, struct strs *ret)
{
    struct slice item;
    uint32_t n;
    int r = mp_array(c, &n);

    if (r < 0)
        return wrong_of(r);
    const uint8_t *start = c->p;
    for (uint32_t i = 0; i < n; i++) {
        enum wrong wrong = read_str(c, &item);
        if (wrong != WRONG_NOTHING)
            return wrong;
    }
    *ret = (struct strs){.n = n, .packed = slice_of(start, (size_t)(c->p - start))};
    return WRONG_NOTHING;
}

/* One reader for the fields of each frame. The texts are literals, so that an error needs no memory. */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    static const char *read_fields_##name(struct mp *c, struct frame *ret)                                   \
    {                                                                                                        \
        struct frame_##name *f = &ret->name;                                                                 \
        (void)c;                                                                                             \
        (void)f;
#define FIELD(type, name)                                                                                    \
    switch (read_##type(c, &f->name)) {                                                                      \
    case WRONG_NOTHING:                                                                                      \
        break;                                                                                               \
    case WRONG_TYPE:                                                                                         \
        return "field " #name " is not a " #type;                                                            \
    case WRONG_UTF8:                                                                                         \
        return "field " #name " is not UTF-8";                                                               \
    case WRONG_END:                                                                                          \
        return "the batch ends inside field " #name;                                                         \
    }
#define FRAME_END(name, NAME)                                                                                \
    return NULL;                                                                                             \
    }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

struct frame_kind {
    const char *name; /* NULL: there is no such frame */
    enum frame_direction direction;
    uint32_t arity;
    const char *(*read)(struct mp *c, struct frame *ret);
};

static const struct frame_kind frame_kinds[FRAME_N] = {
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    [number] = {#NAME, direction, ARITY_##NAME, read_fields_##name},
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
};

/* Reads one frame from c: NULL, or what is wrong. */
static const char *
frame_read(struct mp *c, struct frame *ret)
{
    uint64_t number;
    uint32_t n;
    int r = mp_array(c, &n);

    if (r < 0)
        return r == -EAGAIN ? "the batch ends inside a frame's head"
                            : "a frame is not an array, or claims too many fields";
    if (n == 0)
        return "a frame is an empty array";
    if (mp_u64(c, &number) < 0)
        return "a frame does not begin with its number";
    if (number >= FRAME_N || frame_kinds[number].name == NULL)
        return "there is no frame of this number";
    if (n - 1 != frame_kinds[number].arity)
        return "a frame has too few or too many fields";
    ret->type = (enum frame_type)number;
    return frame_kinds[number].read(c, ret);
}

int
frame_next(struct mp *cursor, struct frame *ret, const char **ret_error)
{
    struct mp c = *cursor;

    if (c.p == c.end)
        return FRAME_END_OF_BATCH;
    const char *error = frame_read(&c, ret);
    if (error != NULL) {
        if (ret_error != NULL)
            *ret_error = error;
        return -EINVAL;
    }
    *cursor = c;
    return FRAME_OK;
}

const char *
frame_name(enum frame_type type)
{
    if ((unsigned)type >= FRAME_N || frame_kinds[type].name == NULL)
        return "unknown";
    return frame_kinds[type].name;
}

enum frame_direction
frame_direction(enum frame_type type)
{
    return (unsigned)type < FRAME_N ? frame_kinds[type].direction : 0;
}
