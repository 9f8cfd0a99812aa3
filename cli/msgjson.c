/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cli/msgjson.h"

#include <inttypes.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/json.h"
#include "clients/c/busbar.h"

/* out holds nothing but this object. */
static void
put_pair(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, "%s\"%s\":", out->n > 0 ? "," : "{", name);
    json_put_string(out, slice_str(value));
}

static void
put_data(struct buf *out, const struct bb_message *m)
{
    buf_put_str(out, out->n > 0 ? ",\"data\":" : "{\"data\":");
    if (m->kind == BB_BINARY) {
        buf_put_byte(out, '"');
        base64_put(out, slice_of(m->data, m->len));
        buf_put_byte(out, '"');
    } else if (m->kind == BB_TEXT) {
        json_put_string(out, slice_of(m->data, m->len));
    } else {
        buf_put(out, m->data, m->len);
    }
    buf_put_byte(out, '}');
}

void
msgjson_put(struct buf *out, const struct bb_message *m)
{
    put_pair(out, "topic", m->topic);
    put_pair(out, "cursor", m->cursor);
    if (m->cursor != NULL)
        buf_printf(out, ",\"time\":%" PRId64, m->time_ms);
    put_pair(out, "lease", m->lease);
    if (m->lease != NULL)
        buf_printf(out, ",\"deliveries\":%" PRIu64 ",\"expires\":%" PRIu64, m->n_deliveries, m->expires_ms);
    if (m->is_retained)
        buf_put_str(out, ",\"retained\":true");
    put_pair(out, "type", m->type);
    put_pair(out, "key", m->key);
    for (size_t i = 0; i < m->n_headers; i++) {
        buf_put_str(out, i > 0 ? "," : out->n > 0 ? ",\"headers\":{" : "{\"headers\":{");
        json_put_string(out, slice_str(m->headers[i].name));
        buf_put_byte(out, ':');
        json_put_string(out, slice_str(m->headers[i].value));
        buf_put_str(out, i + 1 == m->n_headers ? "}" : "");
    }
    if (m->kind == BB_BINARY)
        put_pair(out, "encoding", "base64");
    put_data(out, m);
}
