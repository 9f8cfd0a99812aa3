/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients whose queue is full: session_overflow() (session.h) treats each message that waits as its topic's
 * slow_consumer says, and counts it, for the whole process and by topic. Only so many topics are counted by
 * name; the rest are "others".
 */
#ifndef SDK_SLOW_H
#define SDK_SLOW_H

#include "base/buf.h"

struct frontend;
struct slow_topics;

/* `,"slow":{"TOPIC":{...},...}` behind the members of an object that there are; nothing if nobody was slow.
 */
void slow_put_stats(const struct frontend *fe, struct buf *out);
struct slow_topics *slow_topics_free(struct slow_topics *topics); /* NULL is fine */

#endif
