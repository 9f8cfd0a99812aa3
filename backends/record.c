/* SPDX-License-Identifier: Apache-2.0 */
/* One accepted message in one allocation, shared by reference. */
#include "config.h"

#include "backends/backend.h"

#include <assert.h>
#include <stdlib.h>

static uint8_t *
put_part(uint8_t *at, struct slice part)
{
    if (part.n > 0)
        memcpy(at, part.p, part.n);
    return at + part.n;
}

struct record *
record_new_once(
    struct slice type, struct slice headers, struct slice key, struct slice once, struct slice body)
{
    struct record *record;
    uint8_t *at;

    assert(once.n <= RECORD_ONCE_MAX);
    if (type.n > UINT32_MAX || headers.n > UINT32_MAX || key.n > UINT32_MAX || body.n > UINT32_MAX)
        return NULL;
    record = malloc(sizeof(*record) + type.n + headers.n + key.n + body.n + once.n);
    if (record == NULL)
        return NULL;
    *record = (struct record){.n_once = (uint8_t)once.n,
        .n_type = (uint32_t)type.n,
        .n_headers = (uint32_t)headers.n,
        .n_key = (uint32_t)key.n,
        .n_body = (uint32_t)body.n};
    atomic_init(&record->n_refs, 1);
    at = put_part(record->data, type);
    at = put_part(at, headers);
    at = put_part(at, key);
    at = put_part(at, body);
    (void)put_part(at, once);
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
        return record_key(record);
    return slice_of(record_body(record).p + record->n_body, record->n_once);
}

void
record_unref(struct record *record)
{
    unsigned before;

    if (record == NULL)
        return;
    /* Nobody can take a reference of one that only we have: no need to write what is about to go. */
    before = atomic_load_explicit(&record->n_refs, memory_order_acquire);
    if (before != 1)
        before = atomic_fetch_sub_explicit(&record->n_refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(record);
}
