/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines: the last is a topic, those before are filters. The tree must give exactly the filters that
 * filter_matches() does, and that a matcher written the slow and plain way does.
 */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "wire/filtertree.h"
#include "wire/names.h"

#undef NDEBUG
#include <assert.h>

#define MAX_FILTERS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* By the definition, level by level and recursive. p and q are at the start of a level. */
static bool
plain_match(const uint8_t *p, const uint8_t *p_end, const uint8_t *q, const uint8_t *q_end)
{
    const uint8_t *p_stop = p, *q_stop = q;

    while (p_stop < p_end && *p_stop != '/')
        p_stop++;
    while (q_stop < q_end && *q_stop != '/')
        q_stop++;
    size_t n = (size_t)(p_stop - p);
    if (n == 1 && *p == '#')
        return true;
    if (!(n == 1 && *p == '+') && (n != (size_t)(q_stop - q) || memcmp(p, q, n) != 0))
        return false;
    if (p_stop == p_end)
        return q_stop == q_end;
    if (q_stop == q_end)
        return p_end - p_stop == 2 && p_stop[1] == '#';
    return plain_match(p_stop + 1, p_end, q_stop + 1, q_end);
}

static bool
plain_filter_matches(struct slice filter, struct slice topic)
{
    if (topic.p[0] == '$' && (filter.p[0] == '+' || filter.p[0] == '#'))
        return false;
    return plain_match(filter.p, filter.p + filter.n, topic.p, topic.p + topic.n);
}

static void
on_match(void *value, void *arg)
{
    (void)arg;
    ++*(int *)value;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice filters[MAX_FILTERS], topic;
    int hits[MAX_FILTERS] = {0};
    bool is_held[MAX_FILTERS] = {false};
    struct filtertree *tree;
    size_t n = 0;
    const uint8_t *end;

    while (n < MAX_FILTERS && size > 0 && (end = memchr(data, '\n', size)) != NULL) {
        filters[n++] = slice_of(data, (size_t)(end - data));
        size -= (size_t)(end - data) + 1;
        data = end + 1;
    }
    topic = slice_of(data, size);
    (void)topic_is_reserved(topic);
    bool is_topic = topic_name_error(topic) == NULL;
    assert(!is_topic || filter_error(topic) == NULL); /* each topic is a filter, of itself */
    assert(!is_topic || filter_matches(topic, topic));
    assert(filtertree_new(&tree) == 0);
    for (size_t i = 0; i < n; i++) {
        void **at = filtertree_at(tree, filters[i]);
        assert((at != NULL) == (filter_error(filters[i]) == NULL));
        if (at == NULL || *at != NULL)
            continue;
        *at = &hits[i];
        is_held[i] = true;
    }
    filtertree_match(tree, topic, on_match, NULL);
    for (size_t i = 0; is_topic && i < n; i++) {
        if (!is_held[i])
            continue;
        bool want = plain_filter_matches(filters[i], topic);
        assert(filter_matches(filters[i], topic) == want);
        assert(hits[i] == want);
    }
    for (size_t i = 0; i < n; i++)
        if (is_held[i])
            assert(filtertree_remove(tree, filters[i]) == &hits[i]);
    assert(filtertree_count(tree) == 0);
    filtertree_free(tree);
    return 0;
}
