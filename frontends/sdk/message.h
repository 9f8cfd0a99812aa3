/* SPDX-License-Identifier: Apache-2.0 */
/* One message as a frontend hands it to an encoder. Everything is borrowed for the call. */
#ifndef SDK_MESSAGE_H
#define SDK_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "wire/frame.h"

struct message {
    struct slice topic;
    struct slice cursor; /* of this message, as text, formatted once */
    uint64_t seq;
    uint32_t handle, tag, policy; /* of the topic, for marks: not for encoders */
    uint64_t time_ms;
    enum message_kind kind;
    bool is_retained;     /* delivered because it is the kept value, not because it is new */
    struct slice type;    /* content type; empty: the kind's usual one */
    struct slice headers; /* MessagePack map of str to str, or empty; checked */
    struct slice key;     /* what its publisher gave it, or empty */
    struct slice body;
};

/* The content type that an empty `type` stands for: application/json, text/plain; charset=utf-8,
 * application/octet-stream. */
const char *message_kind_type(enum message_kind kind);

#endif
