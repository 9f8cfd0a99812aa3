/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/actioncable/acchannels.h"

#include "base/json.h"
#include "frontends/dialects/actioncable/acexpand.h"
#include "frontends/dialects/actioncable/options.h"
#include "wire/names.h"

#define PUBSUB "$pubsub"
#define TURBO "Turbo::StreamsChannel"
#define SIGNED_PARAM "signed_stream_name"
#define PUBLIC_PARAM "stream_name"

struct resolving {
    const struct acchannels *channels;
    const struct acchannels_subscription *subscription;
    struct buf *out; /* may move while it grows: the streams are noted by where they begin */
    struct acresolved *ret;
    size_t at[ACCHANNELS_STREAMS_MAX];
};

static void
refuse(struct resolving *r, const char *why)
{
    r->ret->refused = why;
    r->ret->n_streams = 0;
}

/* A parameter that is a string, decoded behind what is in out. False: there is none. */
static bool
read_text(struct resolving *r, const char *name, struct slice *ret)
{
    struct slice raw = {.n = 0};
    size_t at = r->out->n;

    if (json_member(r->subscription->identifier, r->subscription->max_depth, slice_str(name), &raw) < 1 ||
        raw.p[0] != '"')
        return false;
    json_unescape(r->out, slice_of(raw.p + 1, raw.n - 2));
    *ret = buf_since(r->out, at);
    return !buf_failed(r->out);
}

/* The name, as it stands in out, is a topic. */
static void
take_stream(struct resolving *r, size_t at)
{
    struct slice topic = buf_since(r->out, at);

    if (topic.n > 0 && topic.p[0] == '$')
        refuse(r, "its stream is one of the bus's own");
    else if (topic_name_error(topic) != NULL)
        refuse(r, topic_name_error(topic));
    else if (buf_failed(r->out))
        refuse(r, "memory ran out");
    else {
        r->at[r->ret->n_streams] = at;
        r->ret->streams[r->ret->n_streams++].n = topic.n;
    }
}

static void
resolve_template(struct resolving *r, const char *text)
{
    const struct acexpand_values values = {.params = r->subscription->identifier,
        .claims = r->subscription->claims,
        .streams_secret = r->channels->streams_secret,
        .turbo_secret = r->channels->turbo_secret,
        .max_depth = r->subscription->max_depth};
    size_t at = r->out->n;
    const char *error = acexpand_put(text, &values, r->out);

    if (error != NULL)
        refuse(r, error);
    else
        take_stream(r, at);
}

static void
resolve_pubsub(struct resolving *r)
{
    struct slice name = {.n = 0};

    if (read_text(r, SIGNED_PARAM, &name)) {
        r->ret->may_whisper = r->channels->has_whispers;
        r->ret->may_join = r->channels->has_presence;
        resolve_template(r, "{signed:" SIGNED_PARAM "}");
    } else if (!r->channels->has_public_streams) {
        refuse(r, "public streams are not allowed here (cable.public_streams)");
    } else if (!read_text(r, PUBLIC_PARAM, &name)) {
        refuse(r, "it names no stream");
    } else {
        r->ret->may_whisper = r->ret->may_join = true;
        take_stream(r, (size_t)(name.p - r->out->p));
    }
}

static void
resolve_item(struct resolving *r, const struct channel_options *c)
{
    r->ret->channel = c;
    r->ret->may_whisper = c->whisper;
    r->ret->may_join = c->presence;
    for (size_t i = 0; i < c->stream.n && i < ACCHANNELS_STREAMS_MAX && r->ret->refused == NULL; i++)
        resolve_template(r, c->stream.items[i]);
}

static const struct channel_options *
find_item(const struct acchannels *channels, struct slice name)
{
    const struct channel_options *items = channels->items->p;

    for (size_t i = 0; i < channels->items->n; i++)
        if (slice_is(name, items[i].channel))
            return &items[i];
    return NULL;
}

/* Nothing is put any more. The same topic twice would bring each message twice. */
static void
settle_streams(struct resolving *r)
{
    struct acresolved *ret = r->ret;
    size_t n = 0;

    for (size_t i = 0; i < ret->n_streams; i++) {
        size_t k = 0;

        ret->streams[i].p = r->out->p + r->at[i];

        while (k < n && !slice_equal(ret->streams[k], ret->streams[i]))
            k++;
        if (k == n)
            ret->streams[n++] = ret->streams[i];
    }
    ret->n_streams = n;
}

void
acchannels_resolve(const struct acchannels *channels, const struct acchannels_subscription *subscription,
    struct buf *out, struct acresolved *ret)
{
    struct resolving r = {.channels = channels, .subscription = subscription, .out = out, .ret = ret};
    const struct channel_options *item;
    struct slice name;

    *ret = (struct acresolved){0};
    buf_reset(out);
    if (!read_text(&r, "channel", &name)) {
        refuse(&r, "its identifier is no JSON object with a channel");
        return;
    }
    item = find_item(channels, name);
    if (item != NULL)
        resolve_item(&r, item);
    else if (slice_is(name, PUBSUB))
        resolve_pubsub(&r);
    else if (slice_is(name, TURBO))
        resolve_template(&r, "{turbo:" SIGNED_PARAM "}");
    else
        refuse(&r, "there is no such channel");
    settle_streams(&r);
}

static bool
list_has(const struct conf_list *list, struct slice name)
{
    for (size_t i = 0; i < list->n; i++)
        if (slice_is(name, list->items[i]))
            return true;
    return false;
}

const char *
acchannels_action(const struct acchannels *channels, const struct acchannels_subscription *subscription,
    const struct acresolved *resolved, struct slice action, struct buf *out, struct acchannels_target *ret)
{
    const struct channel_options *c = resolved->channel;
    const struct acexpand_values values = {.params = subscription->identifier,
        .claims = subscription->claims,
        .action = action,
        .streams_secret = channels->streams_secret,
        .turbo_secret = channels->turbo_secret,
        .max_depth = subscription->max_depth};
    const char *error, *text;
    size_t at = out->n;

    if (c == NULL || (!list_has(&c->publish, action) && !list_has(&c->request, action)))
        return "its channel has no such action";
    ret->is_request = list_has(&c->request, action);
    text = ret->is_request ? c->request_topic : c->publish_topic;
    if (text[0] == '\0') {
        ret->topic = resolved->streams[0];
        return NULL;
    }
    error = acexpand_put(text, &values, out);
    if (error == NULL)
        ret->topic = buf_since(out, at);
    return error;
}
