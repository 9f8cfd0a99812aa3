/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decoder of the link's frames against msgpack-c: the input is frames one after the other. Each one that
 * our decoder takes must be an array of the table's types to msgpack-c too, packed again it must be what
 * msgpack-c packs, and read back the same; each one that it refuses must not be one to msgpack-c either.
 */
#include "config.h"

#include "wire/frame.h"

#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>

#include "base/utf8.h"

#undef NDEBUG
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- What msgpack-c says: does the object have the types that the table wants? ---- */

static bool
oracle_u64(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
}

static bool
oracle_str(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_STR && utf8_is_valid(o->via.str.ptr, o->via.str.size);
}

static bool
oracle_bin(const msgpack_object *o)
{
    return o->type == MSGPACK_OBJECT_BIN;
}

static bool
oracle_strs(const msgpack_object *o)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return false;
    for (uint32_t i = 0; i < o->via.array.size; i++)
        if (!oracle_str(&o->via.array.ptr[i]))
            return false;
    return true;
}

#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    static bool oracle_fields_##name(const msgpack_object *o, uint32_t n)                                    \
    {                                                                                                        \
        uint32_t i = 1;                                                                                      \
        (void)o;
#define FIELD(type, name)                                                                                    \
    if (i >= n || !oracle_##type(&o[i++]))                                                                   \
        return false;
#define FRAME_END(name, NAME)                                                                                \
    return i == n;                                                                                           \
    }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

static bool
oracle_frame(const msgpack_object *o)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size == 0 || !oracle_u64(&o->via.array.ptr[0]))
        return false;
    switch (o->via.array.ptr[0].via.u64) {
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    case number:                                                                                             \
        return oracle_fields_##name(o->via.array.ptr, o->via.array.size);
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
    default:
        return false;
    }
}

/* ---- Packing again. ---- */

static void
repack(struct buf *out, const struct frame *f)
{
    switch ((int)f->type) {
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    case number:                                                                                             \
        frame_put_##name(out, &f->name);                                                                     \
        break;
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
    default:
        abort();
    }
}

/* Packed once, a frame is in its shortest form, which is that of msgpack-c: reading and packing that must
 * change nothing. */
static void
check_repacked(const struct frame *f, const msgpack_object *o)
{
    struct buf once, twice;
    struct frame again;
    msgpack_sbuffer theirs;
    msgpack_packer pk;

    buf_init(&once, 0);
    buf_init(&twice, 0);
    msgpack_sbuffer_init(&theirs);
    msgpack_packer_init(&pk, &theirs, msgpack_sbuffer_write);
    repack(&once, f);
    assert(msgpack_pack_object(&pk, *o) == 0);
    assert(slice_equal(buf_slice(&once), slice_of(theirs.data, theirs.size)));
    msgpack_sbuffer_destroy(&theirs);
    struct mp c = mp_of(buf_slice(&once));
    assert(frame_next(&c, &again, NULL) == FRAME_OK);
    assert(c.p == c.end && again.type == f->type);
    repack(&twice, &again);
    assert(slice_equal(buf_slice(&once), buf_slice(&twice)));
    buf_fini(&once);
    buf_fini(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mp c = mp_of(slice_of(data, size));

    for (;;) {
        struct mp whole = c;
        struct slice raw;
        struct frame f;
        const char *error = NULL;
        int r = frame_next(&c, &f, &error);
        if (r == FRAME_END_OF_BATCH)
            return 0;
        assert((r == FRAME_OK) == (error == NULL));
        if (mp_skip(&whole, &raw) < 0) { /* msgpack-c is only asked what is known to be small and whole */
            assert(r == -EINVAL);
            return 0;
        }
        msgpack_zone zone;
        msgpack_object o;
        size_t off = 0;
        assert(msgpack_zone_init(&zone, 2048));
        assert(msgpack_unpack((const char *)raw.p, raw.n, &off, &zone, &o) >= 0);
        assert(oracle_frame(&o) == (r == FRAME_OK));
        if (r == FRAME_OK) {
            assert(c.p == whole.p);
            check_repacked(&f, &o);
        }
        msgpack_zone_destroy(&zone);
        if (r != FRAME_OK)
            return 0;
    }
}
