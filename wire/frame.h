/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of wire/frames.tbl.h as structs, with their packer and decoder. Slices in a decoded frame point
 * into the batch that it was read from.
 *
 *     frame_put_publish(buf, &(struct frame_publish){.pub = 7, .handle = 3, ...});
 *
 *     struct frame f;
 *     while (frame_next(&cursor, &f) == FRAME_OK)
 *         switch (f.type) ...           (a table of handlers, indexed by type)
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mp.h"
#include "base/slice.h"

/* The version of the link's protocol: both ends must have the same. */
#define LINK_PROTO 3

/* A batch is sent when it has grown to this; one message may make it larger. */
#define LINK_BATCH_BYTES (32u * 1024)
/* No batch is larger: NN_RCVMAXSIZE on both ends, and checked by the sender. */
#define LINK_BATCH_MAX (LINK_MESSAGE_MAX + 64u * 1024)
/* The largest body, a power of two that people expect to pass; a batch has room for one with all its fields.
 */
#define LINK_MESSAGE_MAX (16u * 1024 * 1024)

enum frame_direction { TO_BROKER = 1, TO_FRONTEND = 2, BOTH = 3 };

enum message_kind { MESSAGE_BINARY = 0, MESSAGE_TEXT = 1, MESSAGE_JSON = 2 };
enum message_flag { MESSAGE_RETAIN = 1 };
enum recover_mode { RECOVER_SINCE = 0, RECOVER_LAST = 1, RECOVER_RETAINED = 2, RECOVER_TIME = 3 };
enum recover_state { STATE_LIVE = 0, STATE_RECOVERED = 1, STATE_GAP = 2, STATE_RESET = 3 };
enum presence_mode { PRESENCE_OFF = 0, PRESENCE_MEMBERS = 1, PRESENCE_COUNT = 2 };
enum slow_policy { SLOW_DISCONNECT = 0, SLOW_DROP_OLDEST = 1, SLOW_CONFLATE = 2, SLOW_CATCH_UP = 3 };

/* An array of strings, still packed; checked, so that strs_next() cannot fail. */
struct strs {
    uint32_t n;
    struct slice packed; /* the elements, without the array's head */
};
/* To send: items are packed from here. */
void strs_from(struct buf *storage, struct strs *ret, const struct slice *items, size_t n);
/* Takes the next one out of *s; false at the end. */
bool strs_next(struct strs *s, struct slice *ret);

typedef uint64_t frame_u64;
typedef struct slice frame_str;
typedef struct slice frame_bin;
typedef struct strs frame_strs;

/* struct frame_hello, struct frame_welcome, ... */
#define FRAME_BEGIN(name, NAME, number, direction) struct frame_##name {
#define FIELD(type, name) frame_##type name;
#define FRAME_END(name, NAME)                                                                                \
    char end_[0];                                                                                            \
    }                                                                                                        \
    ;
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

enum frame_type {
#define FRAME_BEGIN(name, NAME, number, direction) FRAME_##NAME = number,
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
    FRAME_N = 128, /* all numbers are below */
};

struct frame {
    enum frame_type type;
    union {
#define FRAME_BEGIN(name, NAME, number, direction) struct frame_##name name;
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
    };
};

/* Each appends one packed frame; failure is the buffer's sticky one. */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    void frame_put_##name(struct buf *out, const struct frame_##name *f);
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

enum frame_outcome { FRAME_OK = 0, FRAME_END_OF_BATCH = 1 };

/* Reads one whole frame. FRAME_OK, FRAME_END_OF_BATCH when nothing is left, or -EINVAL: an unknown number, a
 * wrong type, count or arity, bad UTF-8 in a str, or a truncated frame; *ret_error (may be NULL) then says
 * what, static. */
int frame_next(struct mp *cursor, struct frame *ret, const char **ret_error);

const char *frame_name(enum frame_type type); /* "PUBLISH"; "unknown" */
enum frame_direction frame_direction(enum frame_type type);

#endif
