/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an Action Cable client sends: one JSON object for each message.
 *
 *     {"command":"subscribe","identifier":"{\"channel\":\"ChatChannel\",\"room\":1}"}
 *     {"command":"message","identifier":"...","data":"{\"body\":\"hello\",\"action\":\"speak\"}"}
 *     {"command":"subscribe","identifier":"...","history":{"since":1700000000,
 *         "streams":{"chat/1":{"epoch":"1f","offset":43}}},"presence":{"id":"u1","info":{"name":"Ann"}}}
 *
 * An identifier is text: it is never parsed and written again, so the client finds its own one in what it is
 * sent.
 */
#ifndef DIALECTS_ACCOMMAND_H
#define DIALECTS_ACCOMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum accommand_type {
    ACCOMMAND_SUBSCRIBE,
    ACCOMMAND_UNSUBSCRIBE,
    ACCOMMAND_MESSAGE,
    /* Rails' own client never sends these, AnyCable's does with either protocol. */
    ACCOMMAND_WHISPER,
    ACCOMMAND_JOIN,
    ACCOMMAND_LEAVE,
    ACCOMMAND_PRESENCE,
    /* From here on: only the extended protocol. */
    ACCOMMAND_HISTORY,
    ACCOMMAND_PONG,
    ACCOMMAND_PING,
};

/* Slices point into the input or the scratch buffer. */
struct accommand {
    enum accommand_type type;
    struct slice identifier; /* decoded */
    struct slice token;      /* the same as a JSON string, in its one form */
    struct slice data;       /* MESSAGE: the JSON text in the string. WHISPER: JSON as it stands */
    bool has_history, has_since, has_presence;
    uint64_t since_s;           /* of history: seconds since 1970 */
    struct slice streams;       /* of history: the object as it stands, checked; empty: none */
    struct slice presence_id;   /* decoded; a number as it stands */
    struct slice presence_info; /* JSON as it stands; empty: none */
};

/* 0, or -EINVAL with *ret_error: what was wrong, a clause for the log. is_extended: takes all commands.
 * identifier_max: of the token. scratch is emptied first, and nothing in it moves until the next call. */
int accommand_decode(struct slice in, unsigned max_depth, size_t identifier_max, bool is_extended,
    struct buf *scratch, struct accommand *ret, const char **ret_error);

/* Where the client is in a stream, as history.streams says: 1, or 0 if it names no such stream, or -EINVAL
 * if what it says of it is malformed. The epoch is as it stands between the quotes: one of ours has no
 * escapes. scratch: that of accommand_decode(); nothing in it moves. */
int accommand_position(const struct accommand *command, struct slice stream, struct buf *scratch,
    struct slice *ret_epoch, uint64_t *ret_offset);

#endif
