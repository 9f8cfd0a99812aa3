/* SPDX-License-Identifier: Apache-2.0 */
/* One accepted message in one allocation, shared by reference. */
#include "config.h"

#include "backends/backend.h"

#include <assert.h>
#include <stdlib.h>

static struct slice
put_part(uint8_t **at, struct slice part)
{
    struct slice copy = slice_of(*at, part.n);

    if (part.n > 0)
        memcpy(*at, part.p, part.n);
    *at += part.n;
    return copy;
}

struct record *
record_new_once(
    struct slice type, struct slice headers, struct slice key, struct slice once, struct slice body)
{
    struct record *record;
    uint8_t *at;

    assert(once.n <= RECORD_ONCE_MAX);
    record = malloc(sizeof(*record) + type.n + headers.n + key.n + body.n + once.n);
    if (record == NULL)
        return NULL;
    memset(record, 0, sizeof(*record));
    atomic_init(&record->n_refs, 1);
    at = record->data;
    record->type = put_part(&at, type);
    record->headers = put_part(&at, headers);
    record->key = put_part(&at, key);
    record->body = put_part(&at, body);
    put_part(&at, once);
    record->n_once = (uint8_t)once.n;
    return record;
}

struct record *
record_new(struct slice type, struct slice headers, struct slice key, struct slice body)
{
    struct record *record = record_new_once(type, headers, key, slice_of(NULL, 0), body);

    if (record != NULL)
        record->is_key_once = true;
    return record;
}

struct slice
record_once(const struct record *record)
{
    if (record->is_key_once)
        return record->key;
    return slice_of(record->body.p + record->body.n, record->n_once);
}

struct record *
record_ref(struct record *record)
{
    atomic_fetch_add_explicit(&record->n_refs, 1, memory_order_relaxed);
    return record;
}

void
record_unref(struct record *record)
{
    unsigned before;

    if (record == NULL)
        return;
    before = atomic_fetch_sub_explicit(&record->n_refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(record);
}

size_t
record_size(const struct record *record)
{
    return sizeof(*record) + record->type.n + record->headers.n + record->key.n + record->body.n +
           record->n_once;
}
