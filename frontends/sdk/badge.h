/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The id of a session that a client can come back for, and its part that others may know.
 *
 *     4f0c1b2a9d8e7f60 0b5c...     48 digits: who has them all may take the session up again;
 *     ^ the badge                  the first 16 name it, and give nothing
 *
 * A message whose header BADGE_EXCLUDE holds a badge is not delivered live to that session: what it said
 * itself does not come back to it, on whichever frontend it is.
 */
#ifndef SDK_BADGE_H
#define SDK_BADGE_H

#include "base/slice.h"
#include "base/table.h"

struct buf;
struct session;

#define BADGE_CHARS 16
#define SESSION_ID_CHARS 48
#define BADGE_EXCLUDE "busbar-exclude"

/* Embedded by a transport whose sessions have ids. */
struct badge {
    struct session *session;
    uint8_t id[SESSION_ID_CHARS]; /* hexadecimal; begins with what others may know */
};

/* A new id: nobody guesses it. */
void badge_init(struct badge *badge, struct session *session);

static inline struct slice
badge_session_id(const struct badge *badge)
{
    return slice_of(badge->id, SESSION_ID_CHARS);
}

/* All badges of a process: struct frontend has one. */
void badges_init(struct table *badges);
int badges_add(struct table *badges, struct badge *badge); /* 0, -EEXIST, -ENOMEM */
void badges_remove(struct table *badges, struct badge *badge);

/* Whom these headers exclude of those that are here; NULL: nobody. */
struct session *badges_excluded(const struct table *badges, struct slice headers);

/* Headers (MessagePack) that exclude the session with this id, or who has this badge. */
void badge_put_exclude(struct buf *out, struct slice id);

#endif
