/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer for encoders. Failure is sticky: when memory runs out, or the limit given at
 * buf_init() would be passed, the buffer keeps what it has, ignores every later put and says so in
 * buf_failed(). So an encoder puts piece after piece and checks once, at the end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include "base/slice.h"

struct buf {
    uint8_t *p;
    size_t n;   /* bytes in use */
    size_t cap; /* bytes allocated */
    size_t max; /* never grows past this */
    bool is_failed;
};

/* max 0: no limit but memory. Nothing is allocated before the first put. */
void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b);

/* Forgets the content and the failure, keeps the memory. */
void buf_reset(struct buf *b);

/* What buf_reserve() does when there is no room, or nowhere to have it. */
uint8_t *buf_grow(struct buf *b, size_t n);

/* Room for n more bytes: where to write them, NULL on failure. Follow with buf_commit(). Inline, as what puts
 * little pieces is: an encoder consists of them. */
static inline uint8_t *
buf_reserve(struct buf *b, size_t n)
{
    if (n > b->cap - b->n || b->p == NULL || b->is_failed)
        return buf_grow(b, n);
    return b->p + b->n;
}

static inline void
buf_commit(struct buf *b, size_t n)
{
    b->n += n;
}

static inline void
buf_put(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = n == 0 ? NULL : buf_reserve(b, n);

    if (to == NULL)
        return;
    memcpy(to, p, n);
    b->n += n;
}

static inline void
buf_put_byte(struct buf *b, uint8_t c)
{
    buf_put(b, &c, 1);
}

static inline void
buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.p, s.n);
}

void buf_put_str(struct buf *b, const char *s);
void buf_put_u64(struct buf *b, uint64_t v); /* in decimal */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Removes the first n bytes by moving the rest down (n <= b->n). */
void buf_consume(struct buf *b, size_t n);

/* Frees spare memory when the buffer holds much more than it uses. For buffers that live long. */
void buf_trim(struct buf *b);

/* The allocation, now the caller's to free(); the buffer is empty after. NULL if nothing was put. */
uint8_t *buf_steal(struct buf *b, size_t *ret_n);

static inline bool
buf_failed(const struct buf *b)
{
    return b->is_failed;
}

static inline struct slice
buf_slice(const struct buf *b)
{
    return slice_of(b->p, b->n);
}

/* What was put behind the first `at` bytes. */
static inline struct slice
buf_since(const struct buf *b, size_t at)
{
    return slice_of(at == 0 ? b->p : b->p + at, b->n - at);
}

#endif
