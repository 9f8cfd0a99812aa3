/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a publication of AnyCable's: what is taken is topics and texts, what is not is told why. */
#include "config.h"

#include <assert.h>

#include "base/json.h"
#include "base/utf8.h"
#include "frontends/dialects/actioncable/acbroadcast.h"
#include "wire/names.h"

#define MESSAGES_MAX 8
#define DEPTH 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_message(const struct acbroadcast_message *m)
{
    assert(topic_name_error(m->stream) == NULL);
    assert(m->exclude.n <= ACBROADCAST_EXCLUDE_MAX && utf8_is_valid(m->exclude.p, m->exclude.n));
    assert(utf8_is_valid(m->data.p, m->data.n));
    assert(m->is_json == (json_check(m->data.p, m->data.n, DEPTH, NULL) == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct acbroadcast_limits limits = {.max_depth = DEPTH, .max_messages = MESSAGES_MAX};
    struct acbroadcast_error error = {0};
    struct acbroadcast b;

    acbroadcast_init(&b);
    if (acbroadcast_read(slice_of(data, size), &limits, &b, &error) < 0) {
        assert(error.code != ERROR_NONE && error.text[0] != '\0');
    } else {
        assert(b.n > 0 && b.n <= MESSAGES_MAX);
        for (size_t i = 0; i < b.n; i++)
            check_message(acbroadcast_at(&b, i));
    }
    acbroadcast_fini(&b);
    return 0;
}
