/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a subscription's identifier, with the claims behind a line break: whatever topics come out are
 * topics, none of the bus's own, and have as many levels as the config gave them.
 */
#include "config.h"

#include <assert.h>

#include "frontends/dialects/actioncable/acchannels.h"
#include "frontends/dialects/actioncable/options.h"
#include "wire/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
levels(struct slice topic)
{
    size_t n = 1;

    for (size_t i = 0; i < topic.n; i++)
        n += topic.p[i] == '/';
    return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *streams[] = {(char *)"a/{b}/c", (char *)"{claim:sub}/{claim:ext.id}"};
    static char *signed_streams[] = {(char *)"{signed:s}"}, *publish[] = {(char *)"p"};
    static char name[] = "A", signed_name[] = "S", publish_topic[] = "p/{action}/{b}", none[] = "";
    struct channel_options options[] = {
        {.channel = name,
            .stream = {streams, 2},
            .publish = {publish, 1},
            .publish_topic = publish_topic,
            .request_topic = none},
        {.channel = signed_name, .stream = {signed_streams, 1}, .publish_topic = none, .request_topic = none},
    };
    const struct conf_items items = {.p = options, .n = 2};
    const struct acchannels channels = {.items = &items,
        .streams_secret = slice_str("s3cr3t"),
        .turbo_secret = slice_str("s3cr3t"),
        .has_public_streams = true};
    const uint8_t *end = size == 0 ? NULL : memchr(data, '\n', size);
    size_t n = end == NULL ? size : (size_t)(end - data);
    const struct acchannels_subscription subscription = {.identifier = slice_of(data, n),
        .claims = slice_of(data + n + (end != NULL), size - n - (end != NULL)),
        .max_depth = 16};
    struct acresolved resolved;
    struct acchannels_target target;
    struct buf out;

    buf_init(&out, 0);
    acchannels_resolve(&channels, &subscription, &out, &resolved);
    assert((resolved.refused == NULL) == (resolved.n_streams > 0));
    for (size_t i = 0; i < resolved.n_streams; i++) {
        assert(topic_name_error(resolved.streams[i]) == NULL && resolved.streams[i].p[0] != '$');
        assert(resolved.channel != &options[0] || levels(resolved.streams[i]) == 3 - i);
    }
    if (resolved.refused == NULL &&
        acchannels_action(&channels, &subscription, &resolved, slice_str("p"), &out, &target) == NULL)
        assert(topic_name_error(target.topic) == NULL && levels(target.topic) == 3);
    buf_fini(&out);
    return 0;
}
