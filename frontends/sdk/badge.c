/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/badge.h"

#include "base/buf.h"
#include "base/mp.h"
#include "base/rand.h"

static struct slice
badge_key(const void *value)
{
    const struct badge *badge = value;

    return slice_of(badge->id, BADGE_CHARS);
}

void
badge_init(struct badge *badge, struct session *session)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[SESSION_ID_CHARS / 2];

    rand_bytes(bytes, sizeof bytes);
    badge->session = session;
    for (unsigned i = 0; i < sizeof bytes; i++) {
        badge->id[2 * i] = (uint8_t)digits[bytes[i] >> 4];
        badge->id[2 * i + 1] = (uint8_t)digits[bytes[i] & 15];
    }
}

void
badges_init(struct table *badges)
{
    table_init(badges, badge_key);
}

int
badges_add(struct table *badges, struct badge *badge)
{
    return table_insert(badges, badge);
}

void
badges_remove(struct table *badges, struct badge *badge)
{
    if (table_find(badges, badge_key(badge)) == badge)
        (void)table_remove(badges, badge_key(badge));
}

struct session *
badges_excluded(const struct table *badges, struct slice headers)
{
    struct mp c = mp_of(headers);
    struct slice name, value;
    uint32_t n;

    if (headers.n == 0 || badges->n_used == 0 || mp_map(&c, &n) < 0)
        return NULL;
    for (; n > 0; n--) {
        const struct badge *badge;

        if (mp_str(&c, &name) < 0 || mp_str(&c, &value) < 0)
            return NULL;
        if (!slice_is(name, BADGE_EXCLUDE))
            continue;
        badge = value.n == BADGE_CHARS ? table_find(badges, value) : NULL;
        return badge == NULL ? NULL : badge->session;
    }
    return NULL;
}

void
badge_put_exclude(struct buf *out, struct slice id)
{
    static const char name[] = BADGE_EXCLUDE;
    size_t n = id.n < BADGE_CHARS ? id.n : BADGE_CHARS;

    _Static_assert(sizeof name - 1 < 32 && BADGE_CHARS < 32, "fixstr");
    buf_put_byte(out, 0x81);
    buf_put_byte(out, (uint8_t)(0xa0 | (sizeof name - 1)));
    buf_put(out, name, sizeof name - 1);
    buf_put_byte(out, (uint8_t)(0xa0 | n));
    buf_put(out, id.p, n);
}
