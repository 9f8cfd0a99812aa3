/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/ws/wscablestore.h"

#include <stdlib.h>

/* What one costs beside its content, about. */
#define STORED_BYTES 160u

struct stored {
    struct list in_age;
    uint64_t at_ms; /* when it was put */
    uint32_t n_id, n_content;
    uint8_t bytes[]; /* id, content */
};

static struct slice
stored_key(const void *value)
{
    const struct stored *stored = value;

    return slice_of(stored->bytes, stored->n_id);
}

static void
stored_free(struct wscable_store *s, struct stored *stored)
{
    (void)table_remove(&s->by_id, stored_key(stored));
    list_remove(&stored->in_age);
    s->n_bytes -= STORED_BYTES + stored->n_content;
    free(stored);
}

static struct stored *
store_oldest(const struct wscable_store *s)
{
    return list_empty(&s->by_age) ? NULL : list_entry(s->by_age.next, struct stored, in_age);
}

static void
store_trim(struct wscable_store *s)
{
    uint64_t now = loop_now_ms(s->loop);
    struct stored *oldest;

    while ((oldest = store_oldest(s)) != NULL &&
           (now - oldest->at_ms >= s->time_ms || s->by_id.n_used > s->n_max || s->n_bytes > s->bytes_max))
        stored_free(s, oldest);
    if (oldest == NULL)
        loop_timer_stop(s->loop, &s->timer);
    else
        loop_timer_start(s->loop, &s->timer, oldest->at_ms + s->time_ms - now);
}

static void
store_on_timer(void *arg)
{
    store_trim(arg);
}

void
wscable_store_init(struct wscable_store *s, struct loop *loop)
{
    *s = (struct wscable_store){.loop = loop};
    s->timer = (struct loop_timer){.fn = store_on_timer, .arg = s};
    table_init(&s->by_id, stored_key);
    list_init(&s->by_age);
}

void
wscable_store_fini(struct wscable_store *s)
{
    if (s->loop == NULL)
        return;
    while (store_oldest(s) != NULL)
        stored_free(s, store_oldest(s));
    loop_timer_stop(s->loop, &s->timer);
    table_fini(&s->by_id);
    s->loop = NULL;
}

void
wscable_store_limit(struct wscable_store *s, uint64_t n_max, uint64_t bytes_max, uint64_t time_ms)
{
    s->n_max = n_max;
    s->bytes_max = bytes_max;
    s->time_ms = time_ms;
    store_trim(s);
}

size_t
wscable_store_n(const struct wscable_store *s)
{
    return s->by_id.n_used;
}

void
wscable_store_put(struct wscable_store *s, struct slice id, struct slice content)
{
    struct stored *stored;

    if (s->time_ms == 0 || s->n_max == 0 || STORED_BYTES + content.n > s->bytes_max)
        return;
    stored = malloc(sizeof *stored + id.n + content.n);
    if (stored == NULL)
        return;
    *stored = (struct stored){
        .at_ms = loop_now_ms(s->loop), .n_id = (uint32_t)id.n, .n_content = (uint32_t)content.n};
    memcpy(stored->bytes, id.p, id.n);
    memcpy(stored->bytes + id.n, content.p, content.n);
    if (table_insert(&s->by_id, stored) < 0) {
        free(stored);
        return;
    }
    list_push_back(&s->by_age, &stored->in_age);
    s->n_bytes += STORED_BYTES + content.n;
    store_trim(s);
}

void
wscable_store_drop(
    struct wscable_store *s, bool (*is_meant)(struct slice content, struct slice arg), struct slice arg)
{
    list_for_each_safe(it, following, &s->by_age)
    {
        struct stored *stored = list_entry(it, struct stored, in_age);

        if (is_meant(slice_of(stored->bytes + stored->n_id, stored->n_content), arg))
            stored_free(s, stored);
    }
}

bool
wscable_store_take(struct wscable_store *s, struct slice id, struct buf *out)
{
    struct stored *stored = id.n == 0 ? NULL : table_find(&s->by_id, id);

    if (stored == NULL)
        return false;
    buf_put(out, stored->bytes + stored->n_id, stored->n_content);
    stored_free(s, stored);
    return true;
}
