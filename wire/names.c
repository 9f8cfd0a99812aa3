/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of wire/names.h. Both kinds of name are walked byte by byte: '/', '+', '#' and the control
 * characters are single bytes (or C2 80..9F) in UTF-8, so no character needs to be decoded.
 */
#include "config.h"

#include "wire/names.h"

#include <ctype.h>
#include <string.h>

#include "base/utf8.h"

/* Control characters of Unicode: U+0000..001F, U+007F, U+0080..009F. */
static bool
has_control(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] == 0x7f)
            return true;
        if (s.p[i] == 0xc2 && i + 1 < s.n && s.p[i + 1] >= 0x80 && s.p[i + 1] < 0xa0)
            return true;
    }
    return false;
}

/* What topics and filters have in common. */
static const char *
name_error(struct slice s)
{
    size_t n_levels = 1;

    if (s.n == 0)
        return "it is empty";
    if (s.n > TOPIC_MAX_BYTES)
        return "it is longer than 1024 bytes";
    if (!utf8_is_valid(s.p, s.n))
        return "it is not UTF-8";
    if (has_control(s))
        return "it contains a control character";
    for (size_t i = 0; i < s.n; i++)
        n_levels += s.p[i] == '/';
    return n_levels > TOPIC_MAX_LEVELS ? "it has more than 128 levels" : NULL;
}

const char *
topic_name_error(struct slice topic)
{
    const char *error = name_error(topic);

    if (error != NULL)
        return error;
    if (filter_has_wildcard(topic))
        return "it contains a wildcard ('+' or '#')";
    return NULL;
}

const char *
filter_error(struct slice filter)
{
    const char *error = name_error(filter);

    if (error != NULL)
        return error;
    for (size_t i = 0; i < filter.n; i++) {
        if (filter.p[i] != '+' && filter.p[i] != '#')
            continue;
        bool is_first = i == 0 || filter.p[i - 1] == '/';
        bool is_last = i + 1 == filter.n;
        if (!is_first || (!is_last && filter.p[i + 1] != '/'))
            return "a wildcard is not a whole level";
        if (filter.p[i] == '#' && !is_last)
            return "'#' is not the last level";
    }
    return NULL;
}

bool
filter_has_wildcard(struct slice filter)
{
    return filter.n > 0 &&
           (memchr(filter.p, '+', filter.n) != NULL || memchr(filter.p, '#', filter.n) != NULL);
}

/* Takes the next level off the front; false if there is none left. *s has p == NULL after the last one. */
static bool
level_next(struct slice *s, struct slice *ret)
{
    if (s->p == NULL)
        return false;
    const uint8_t *slash = s->n == 0 ? NULL : memchr(s->p, '/', s->n);
    size_t n = slash == NULL ? s->n : (size_t)(slash - s->p);
    *ret = slice_of(s->p, n);
    *s = slash == NULL ? slice_of(NULL, 0) : slice_of(slash + 1, s->n - n - 1);
    return true;
}

bool
filter_matches(struct slice filter, struct slice topic)
{
    struct slice want, have;

    if (filter.n == 0 || topic.n == 0)
        return false;
    if (topic.p[0] == '$' && (filter.p[0] == '+' || filter.p[0] == '#'))
        return false;
    while (level_next(&filter, &want)) {
        if (slice_is(want, "#"))
            return true;
        if (!level_next(&topic, &have))
            return false;
        if (!slice_is(want, "+") && !slice_equal(want, have))
            return false;
    }
    return topic.p == NULL;
}

unsigned
filter_weight(struct slice filter)
{
    unsigned n_separators = 0;

    for (size_t i = 0; i < filter.n; i++)
        n_separators += filter.p[i] == '/';
    return 1 + n_separators / 8 + (filter.n > 0 ? (unsigned)((filter.n - 1) / 128) : 0);
}

bool
topic_is_reserved(struct slice topic)
{
    return topic.n >= 4 && memcmp(topic.p, "$sys", 4) == 0 && (topic.n == 4 || topic.p[4] == '/');
}

const char *
group_name_error(struct slice group)
{
    if (group.n == 0)
        return "it is empty";
    if (group.n > GROUP_MAX_BYTES)
        return "it is longer than 64 bytes";
    for (size_t i = 0; i < group.n; i++)
        if (group.p[i] >= 0x80 || (!isalnum(group.p[i]) && strchr("._-", group.p[i]) == NULL) ||
            group.p[i] == '\0')
            return "it contains a character that is none of letters, digits, '.', '_' and '-'";
    return NULL;
}
