/* SPDX-License-Identifier: Apache-2.0 */
/* GAP frames, each once. */
#include "config.h"

#include "broker/gaps.h"

#include <stdlib.h>

#include "broker/links.h"
#include "broker/outbox.h"
#include "broker/topic.h"

struct gap {
    uint64_t serial;
    uint64_t seq;
};

static struct slice
gap_key_of(const void *value)
{
    const struct gap *gap = value;

    return slice_of(&gap->serial, sizeof(gap->serial));
}

void
gaps_init(struct gaps *gaps)
{
    *gaps = (struct gaps){0};
    table_init(&gaps->told, gap_key_of);
}

void
gaps_fini(struct gaps *gaps)
{
    size_t at = 0;
    struct gap *gap;

    while ((gap = table_next(&gaps->told, &at)) != NULL)
        free(gap);
    table_fini(&gaps->told);
    gaps_init(gaps);
}

static void
gap_put(struct peer *peer, uint64_t req, struct slice name, uint64_t seq)
{
    struct buf *out = outbox_begin(peer);

    frame_put_gap(out, &(struct frame_gap){.req = req, .topic = name, .seq = seq});
    outbox_end(peer);
}

/* Was this told? If not, notes it. Past the limit, or without memory, it goes to the gap without a name. */
static bool
gap_is_news(struct gaps *gaps, const struct topic *topic, uint64_t seq)
{
    struct gap *gap = table_find(&gaps->told, slice_of(&topic->serial, sizeof(topic->serial)));

    if (gap != NULL) {
        bool is_news = seq > gap->seq;

        gap->seq = seq;
        return is_news;
    }
    gap = gaps->told.n_used < GAPS_TOPICS_MAX ? malloc(sizeof(*gap)) : NULL;
    if (gap != NULL) {
        *gap = (struct gap){.serial = topic->serial, .seq = seq};
        if (table_insert(&gaps->told, gap) == 0)
            return true;
        free(gap);
    }
    if (seq > gaps->overflow)
        gaps->overflow = seq;
    return false;
}

void
gaps_tell(struct gaps *gaps, struct peer *peer, uint64_t req, struct topic *topic, uint64_t seq)
{
    gaps->has_any = true;
    if (topic != NULL) {
        if (gap_is_news(gaps, topic, seq))
            gap_put(peer, req, topic_name(topic), seq);
    } else if (seq > gaps->overflow) {
        gaps->overflow = seq;
    }
}

void
gaps_flush(struct gaps *gaps, struct peer *peer, uint64_t req)
{
    if (gaps->overflow <= gaps->unnamed)
        return;
    gaps->unnamed = gaps->overflow;
    gap_put(peer, req, slice_of(NULL, 0), gaps->unnamed);
}
