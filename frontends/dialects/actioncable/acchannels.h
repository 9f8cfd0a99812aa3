/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a subscription's identifier to topics, by the config's list `channels` and what is built in:
 *
 *     {"channel":"ChatChannel","room":1}                            an item of the list
 *     {"channel":"$pubsub","stream_name":"chat/1"}                  if public streams are allowed
 *     {"channel":"$pubsub","signed_stream_name":"..."}              if there is a secret for streams
 *     {"channel":"Turbo::StreamsChannel","signed_stream_name":"..."}   if there is one for Turbo
 *
 * A stream of Rails is the topic of the same name. What is no topic is rejected.
 */
#ifndef DIALECTS_ACCHANNELS_H
#define DIALECTS_ACCHANNELS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

struct channel_options;
struct conf_items;

#define ACCHANNELS_STREAMS_MAX 8

struct acchannels {
    const struct conf_items *items;            /* of struct channel_options */
    struct slice streams_secret, turbo_secret; /* empty: none */
    bool has_public_streams;
    bool has_whispers; /* on signed streams too, not on public ones alone */
    bool has_presence; /* likewise */
};

/* A subscription that is asked for, or on which something is performed. */
struct acchannels_subscription {
    struct slice identifier;
    struct slice claims; /* of the connection's token, a JSON object; or empty */
    unsigned max_depth;
};

struct acresolved {
    const char *refused; /* NULL, or why, a clause for the log */
    struct slice streams[ACCHANNELS_STREAMS_MAX];
    size_t n_streams;
    const struct channel_options *channel; /* NULL: built in */
    bool may_whisper, may_join;
};

/* Slices point into out, which is emptied first. */
void acchannels_resolve(const struct acchannels *channels, const struct acchannels_subscription *subscription,
    struct buf *out, struct acresolved *ret);

/* What an action does. */
struct acchannels_target {
    bool is_request; /* else it is published */
    struct slice topic;
};

/* NULL, or why it does nothing, a clause for the log. The subscription was resolved just before, into the
 * same buffer; its other streams are void after. */
const char *acchannels_action(const struct acchannels *channels,
    const struct acchannels_subscription *subscription, const struct acresolved *resolved,
    struct slice action, struct buf *out, struct acchannels_target *ret);

#endif
