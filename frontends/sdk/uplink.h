/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This process's end of the link to the broker, for as long as the process lives: it finds the broker,
 * attaches, has the hub list its filters, resumes where the stream was, sends what waits to be published, and
 * starts over whenever there is any doubt. Clients notice nothing but a pause.
 *
 *     AWAY → (HELLO, WELCOME) CALLING → (ATTACH, ATTACHED) ATTACHING → (RESUME, RESUMED) RESUMING → LIVE
 *       ↑____________________________________ anything odd ________________________________________|
 */
#ifndef SDK_UPLINK_H
#define SDK_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frontends/sdk/request.h"
#include "wire/options.h"

struct frontend;
struct namecache_entry;
struct session;
struct uplink;

/* The control socket of a bus is at RUNTIME_DIR/CONTROL_NAME. `kind` is "ws"; both and control_path are
 * copied. */
int uplink_new(struct frontend *fe, const struct link_options *options, const char *control_path,
    const char *kind, struct uplink **ret);
struct uplink *uplink_free(struct uplink *uplink); /* NULL is fine */

void uplink_start(struct uplink *uplink);
/* Says goodbye; fn is called once when the broker has answered, or after a second, or at once without a link.
 */
void uplink_stop(struct uplink *uplink, void (*fn)(void *arg), void *arg);
/* Options after a reload. */
void uplink_set_options(struct uplink *uplink, const struct link_options *options);

bool uplink_is_live(const struct uplink *uplink);
/* Publishes without an answer. */
size_t uplink_n_held(const struct uplink *uplink);

/* What is known of a topic that was published on before, and so is a good one; else NULL. Good until the next
 * publish. */
struct namecache_entry *uplink_find_topic(struct uplink *uplink, struct slice topic);
/* Takes the publish (its answer comes by the session's on_answer()), or answers that it cannot be; or
 * -EAGAIN: no room, the session will be told by on_unblocked(). The topic and the sizes were checked; `known`
 * is what uplink_find_topic() says of it. */
int uplink_publish(
    struct uplink *uplink, struct session *s, const struct request *r, struct namecache_entry *known);
/* The session ends: its publishes go on without it. */
void uplink_leave(struct uplink *uplink, struct session *s);

/* Sends the figures of this process; nothing without a link. */
void uplink_send_stats(struct uplink *uplink, struct slice json);

#endif
