/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoded bytes that many connections send: counted references, one allocation of growing content while a
 * turn lasts. The content at an offset never changes once written, but data may move until the turn's end:
 * refer to it by offset.
 */
#ifndef SDK_BLOCK_H
#define SDK_BLOCK_H

#include <stdint.h>

#include "base/buf.h"

struct block {
    uint32_t n_refs;
    struct buf buf;
};

struct block *block_new(void); /* one reference; NULL if memory ran out */
struct block *block_ref(struct block *block);
void block_unref(struct block *block); /* NULL is fine */

#endif
