/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packer and the decoder of the link's frames, both generated from wire/frames.tbl.h, so that the order
 * of fields cannot differ between them. A packer makes room for the largest that its frame can be and then
 * writes (base/mpput.h); what comes in is read by the strict cursor of base/mp.h.
 *
 * Not for: which frame may come when. That is the link's and the router's to judge.
 */
#include "config.h"

#include "wire/frame.h"

#include <errno.h>

#include "base/mpput.h"
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

/* What a field takes at most, and its bytes. */
static inline size_t
room_u64(uint64_t v)
{
    (void)v;
    return MP_PUT_U64;
}

static inline size_t
room_str(struct slice s)
{
    return MP_PUT_HEAD + s.n;
}

static inline size_t
room_bin(struct slice s)
{
    return MP_PUT_HEAD + s.n;
}

static inline size_t
room_strs(struct strs s)
{
    return MP_PUT_HEAD + s.packed.n;
}

static inline uint8_t *
put_strs(uint8_t *at, struct strs s)
{
    return mp_put_bytes(mp_put_array(at, s.n), s.packed);
}

#define put_u64 mp_put_u64
#define put_str mp_put_str
#define put_bin mp_put_bin

/* So array and number are a byte each. */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    _Static_assert(1 + ARITY_##NAME < 16 && (number) < FRAME_N, "its head is two bytes");
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

/* What each takes at most ... */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    static inline size_t room_of_##name(const struct frame_##name *f)                                        \
    {                                                                                                        \
        size_t n = 2;                                                                                        \
        (void)f;
#define FIELD(type, name) n += room_##type(f->name);
#define FRAME_END(name, NAME)                                                                                \
    return n;                                                                                                \
    }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

/* ... and how it is written. */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    void frame_put_##name(struct buf *out, const struct frame_##name *f)                                     \
    {                                                                                                        \
        uint8_t *start = buf_reserve(out, room_of_##name(f)), *at = start;                                   \
        if (start == NULL)                                                                                   \
            return;                                                                                          \
        at = mp_put_array(at, 1 + ARITY_##NAME);                                                             \
        at = mp_put_u64(at, number);
#define FIELD(type, name) at = put_##type(at, f->name);
#define FRAME_END(name, NAME)                                                                                \
    buf_commit(out, (size_t)(at - start));                                                                   \
    }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

void
strs_from(struct buf *storage, struct strs *ret, const struct slice *items, size_t n)
{
    size_t start = storage->n;

    for (size_t i = 0; i < n; i++) {
        uint8_t *at = buf_reserve(storage, room_str(items[i]));
        if (at != NULL)
            buf_commit(storage, (size_t)(mp_put_str(at, items[i]) - at));
    }
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

/* Into the readers of all frames: GCC would not, for there are many, and each call costs more than a read. */
#define INLINE inline __attribute__((always_inline))

enum wrong { WRONG_NOTHING, WRONG_TYPE, WRONG_UTF8, WRONG_END };

static inline enum wrong
wrong_of(int r)
{
    return r == 0 ? WRONG_NOTHING : r == -EAGAIN ? WRONG_END : WRONG_TYPE;
}

static INLINE enum wrong
read_u64(struct mp *c, uint64_t *ret)
{
    return wrong_of(mp_u64(c, ret));
}

static INLINE enum wrong
read_str(struct mp *c, struct slice *ret)
{
    int r = mp_str(c, ret);

    if (r < 0)
        return wrong_of(r);
    return ret->n == 0 || utf8_is_valid(ret->p, ret->n) ? WRONG_NOTHING : WRONG_UTF8;
}

static INLINE enum wrong
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

/* One reader for the fields of each frame; the cursor is a copy, which the compiler keeps in registers. The
 * texts are literals, so that an error needs no memory. */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    static const char *read_fields_##name(struct mp *c, struct frame *ret)                                   \
    {                                                                                                        \
        struct frame_##name *f = &ret->name;                                                                 \
        struct mp at = *c;                                                                                   \
        (void)f;
#define FIELD(type, name)                                                                                    \
    switch (read_##type(&at, &f->name)) {                                                                    \
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
    *c = at;                                                                                                 \
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
