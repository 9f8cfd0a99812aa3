/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What AnyCable's publishers send a server, by HTTP and otherwise: one publication, or an array of them.
 *
 *     {"stream":"chat/1","data":"{\"text\":\"hello\"}","meta":{"exclude_socket":"sid of who caused it"}}
 *
 * `data` is a text that is usually JSON; what else stands in `meta` is passed over. A batch is read whole
 * before anything of it is done, so that one mistake refuses all of it. The other form,
 * {"command":"disconnect","payload":{...}}, is refused with a code of its own.
 */
#ifndef DIALECTS_ACBROADCAST_H
#define DIALECTS_ACBROADCAST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/slice.h"
#include "wire/errors.h"

#define ACBROADCAST_EXCLUDE_MAX 1024

struct acbroadcast_message {
    struct slice stream;  /* a topic */
    struct slice data;    /* as it is published */
    struct slice exclude; /* the session that is not to get it, or empty */
    bool is_json;         /* else text */
};

struct acbroadcast {
    struct buf text;     /* what the slices point into */
    struct buf messages; /* of struct acbroadcast_message */
    size_t n;
};

struct acbroadcast_error {
    enum error_code code; /* OP_UNKNOWN: a command */
    char text[256];       /* what was wrong and what to do */
};

struct acbroadcast_limits {
    unsigned max_depth; /* of JSON in data */
    size_t max_messages;
};

void acbroadcast_init(struct acbroadcast *b);
void acbroadcast_fini(struct acbroadcast *b);

/* 0, with at least one message, each with a topic. -EINVAL or -ENOMEM with *ret_error. Only once for each
 * init. */
int acbroadcast_read(struct slice in, const struct acbroadcast_limits *limits, struct acbroadcast *ret,
    struct acbroadcast_error *ret_error);

static inline const struct acbroadcast_message *
acbroadcast_at(const struct acbroadcast *b, size_t i)
{
    return (const struct acbroadcast_message *)(const void *)b->messages.p + i;
}

#endif
