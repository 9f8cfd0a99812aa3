/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of clients that are gone and may come back: what they were subscribed to, and who they were. Kept
 * in this process alone, for a while, up to a number and a size; the oldest go first. A client that comes to
 * another process, or too late, subscribes anew and goes on by history.
 */
#ifndef FRONTENDS_WS_WSCABLESTORE_H
#define FRONTENDS_WS_WSCABLESTORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/slice.h"
#include "base/table.h"

struct wscable_store {
    struct loop *loop;
    struct table by_id;
    struct list by_age; /* the oldest first */
    struct loop_timer timer;
    size_t n_bytes;
    uint64_t n_max, bytes_max, time_ms; /* options; 0 of any: none are kept */
};

void wscable_store_init(struct wscable_store *s, struct loop *loop);
void wscable_store_fini(struct wscable_store *s);
void wscable_store_limit(struct wscable_store *s, uint64_t n_max, uint64_t bytes_max, uint64_t time_ms);
size_t wscable_store_n(const struct wscable_store *s);

/* What is kept is opaque here. Without memory it is not kept. */
void wscable_store_put(struct wscable_store *s, struct slice id, struct slice content);
/* Takes it out: its content, appended to out. False: there is none. */
bool wscable_store_take(struct wscable_store *s, struct slice id, struct buf *out);
/* Forgets those whose content is meant. Looks at all of them. */
void wscable_store_drop(
    struct wscable_store *s, bool (*is_meant)(struct slice content, struct slice arg), struct slice arg);

#endif
