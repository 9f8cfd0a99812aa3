/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an Action Cable server says, one JSON text each. A token is the identifier as accommand.h gives it. No
 * frame of the protocol answers a command that was malformed or refused, but for a subscription that is
 * rejected.
 */
#ifndef DIALECTS_ACFRAME_H
#define DIALECTS_ACFRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

struct message;

/* sid empty: v1. restored: tokens, for a session that was taken up again; NULL: a new one. */
void acframe_put_welcome(struct buf *out, struct slice sid);
void acframe_put_restored(struct buf *out, struct slice sid, const struct slice *tokens, size_t n);
void acframe_put_ping(struct buf *out, uint64_t seconds);
void acframe_put_pong(struct buf *out);
void acframe_put_confirm(struct buf *out, struct slice token);
void acframe_put_reject(struct buf *out, struct slice token);
void acframe_put_confirm_history(struct buf *out, struct slice token);
void acframe_put_reject_history(struct buf *out, struct slice token);
/* The client is about to be closed by us. */
void acframe_put_disconnect(struct buf *out, const char *reason, bool reconnect);
/* The presence of the first stream: what the bus says on $presence/TOPIC, in the protocol's words; nothing
 * for what it has no word for. */
void acframe_put_presence(struct buf *out, struct slice token, struct slice event);
/* records: JSON objects, separated by commas. */
void acframe_put_members(struct buf *out, struct slice token, uint64_t total, struct slice records);
void acframe_put_no_members(struct buf *out, struct slice token);
void acframe_put_member(struct buf *records, struct slice id, struct slice info);
/* has_position: as the extended protocol has it. */
void acframe_put_message(struct buf *out, struct slice token, const struct message *m, bool has_position);

#endif
