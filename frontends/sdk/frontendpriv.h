/* SPDX-License-Identifier: Apache-2.0 */
/* What the files around struct frontend share. */
#ifndef SDK_FRONTENDPRIV_H
#define SDK_FRONTENDPRIV_H

#include <stdint.h>

#include "base/buf.h"

struct frontend;

/* Connections are to be written or freed at the turn's end. While it is under way nothing is armed for what
 * it does itself: that would be another turn, and another epoll_wait(), for nothing. */
void frontend_defer_turn(struct frontend *fe);

/* Closes every connection, for the end of the process. */
void frontend_close_all(struct frontend *fe);

/* Timer: tells sessions what they missed, as soon as they read again. */
void frontend_poll_slow(void *arg);

/* The figures of this process as one JSON object. */
void frontend_put_stats(const struct frontend *fe, uint64_t started_at_ms, struct buf *out);

#endif
