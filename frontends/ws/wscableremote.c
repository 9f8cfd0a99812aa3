/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rails' remote_connections: `ActionCable.server.remote_connections.where(current_user: ann).disconnect`
 * broadcasts {"type":"disconnect","reconnect":true} on action_cable/ANN, whatever the connection's identifier
 * is. All these topics are one subscription of the process, of a session that is no client's.
 */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "base/table.h"
#include "frontends/dialects/actioncable/acexpand.h"
#include "frontends/sdk/block.h"
#include "frontends/sdk/encoder.h"
#include "frontends/ws/options.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

#define PREFIX "action_cable/"
#define FILTER PREFIX "#"

struct wscable_name {
    struct list conns; /* struct wscable.in_name */
    size_t n;
    uint8_t text[];
};

struct wscable_remote {
    struct wscables *all;
    struct session session;
    struct encoder encoder;
    struct table names;
};

static struct slice
name_key(const void *value)
{
    const struct wscable_name *name = value;

    return slice_of(name->text, name->n);
}

/* ---- What is asked for. ---- */

/* The name, a line break, the message: the session takes it apart again when its turn comes. */
static void
remote_put_message(const struct encoder *e, struct buf *out, const struct message *m, struct slice sub_id)
{
    const size_t n = sizeof PREFIX - 1;
    uint32_t sizes[2];

    (void)e;
    (void)sub_id;
    if (m->topic.n <= n)
        return;
    sizes[0] = (uint32_t)(m->topic.n - n);
    sizes[1] = (uint32_t)m->body.n;
    buf_put(out, sizes, sizeof sizes);
    buf_put(out, m->topic.p + n, m->topic.n - n);
    buf_put_slice(out, m->body);
}

static void
remote_put_answer(const struct encoder *e, struct buf *out, const struct answer *answer)
{
    (void)e;
    (void)out;
    (void)answer;
}

static bool
is_disconnect(struct slice body, bool *ret_reconnect)
{
    struct slice type = {.n = 0}, reconnect = {.n = 0};

    if (json_member(body, 8, slice_str("type"), &type) < 1 || !slice_is(type, "\"disconnect\""))
        return false;
    *ret_reconnect =
        json_member(body, 8, slice_str("reconnect"), &reconnect) < 1 || !slice_is(reconnect, "false");
    return true;
}

void
wscable_remote_put_name(const struct wscable *cable, struct buf *out)
{
    uint32_t n = cable->name == NULL ? 0 : (uint32_t)cable->name->n;

    buf_put(out, &n, sizeof n);
    if (n > 0)
        buf_put(out, cable->name->text, n);
}

static struct slice
kept_name(struct slice kept)
{
    uint32_t n;

    memcpy(&n, kept.p, sizeof n);
    return slice_of(kept.p + sizeof n, n);
}

struct slice
wscable_remote_skip_name(struct slice kept)
{
    size_t n = sizeof(uint32_t) + kept_name(kept).n;

    return slice_of(kept.p + n, kept.n - n);
}

static bool
has_name(struct slice kept, struct slice text)
{
    return slice_equal(kept_name(kept), text);
}

/* Those whose client is away could come back without a token. */
static void
remote_close(struct wscable_remote *remote, struct slice text, struct slice body)
{
    struct wscable_name *name;
    bool reconnect;

    if (!is_disconnect(body, &reconnect))
        return;
    wscable_store_drop(&remote->all->store, has_name, text);
    name = table_find(&remote->names, text);
    for (struct list *it = name == NULL ? NULL : name->conns.next; name != NULL && it != &name->conns;
         it = it->next) {
        struct wscable *cable = list_entry(it, struct wscable, in_name);

        cable->is_over = true; /* its session is not to go on */
        if (cable->conn->state != WSCONN_OPEN)
            continue;
        wscable_tell(cable->conn, "remote", reconnect);
        wsconn_close(cable->conn, WSFRAME_CODE_NORMAL, slice_str("remote"));
    }
}

static void
remote_on_deliver(struct session *s, struct block *block, uint32_t at, uint32_t n)
{
    struct wscable_remote *remote =
        (struct wscable_remote *)(void *)((char *)s - offsetof(struct wscable_remote, session));
    const uint8_t *p = block->buf.p + at, *end = p + n;
    uint32_t sizes[2];

    while ((size_t)(end - p) >= sizeof sizes) {
        memcpy(sizes, p, sizeof sizes);
        p += sizeof sizes;
        remote_close(remote, slice_of(p, sizes[0]), slice_of(p + sizes[0], sizes[1]));
        p += sizes[0] + sizes[1];
    }
}

static void
remote_on_answer(struct session *s, const struct answer *answer)
{
    (void)s;
    if (answer->type == ANSWER_ERROR)
        log_warn(
            "connections cannot be ended from elsewhere: " FILTER ": %s", error_code_sentence(answer->code));
}

static const struct session_ops remote_ops = {.on_deliver = remote_on_deliver, .on_answer = remote_on_answer};

bool
wscable_remote_begin(struct wscables *all)
{
    const struct slice filter = slice_str(FILTER);
    const struct request r = {
        .op = REQUEST_SUB, .id = slice_str("remote"), .filters = &filter, .n_filters = 1};
    struct wscable_remote *remote;

    if (all->remote != NULL || all->options->identified_by[0] == '\0')
        return true;
    remote = calloc(1, sizeof *remote);
    if (remote == NULL)
        return false;
    remote->all = all;
    remote->encoder = (struct encoder){
        .name = "ws/remote", .put_message = remote_put_message, .put_answer = remote_put_answer};
    table_init(&remote->names, name_key);
    session_init(&remote->session, all->fe, &remote->encoder, &remote_ops);
    all->remote = remote;
    (void)session_request(&remote->session, &r);
    return true;
}

void
wscable_remote_end(struct wscables *all)
{
    if (all->remote == NULL)
        return;
    session_fini(&all->remote->session);
    table_fini(&all->remote->names);
    free(all->remote);
    all->remote = NULL;
}

/* ---- Names. ---- */

static struct wscable_name *
name_get(struct wscable_remote *remote, struct slice text)
{
    struct wscable_name *name = table_find(&remote->names, text);

    if (name != NULL)
        return name;
    name = malloc(sizeof *name + text.n);
    if (name == NULL)
        return NULL;
    list_init(&name->conns);
    name->n = text.n;
    memcpy(name->text, text.p, text.n);
    if (table_insert(&remote->names, name) == 0)
        return name;
    free(name);
    return NULL;
}

bool
wscable_remote_join(struct wsconn *c)
{
    struct wscables *all = &wsconn_server(c)->cables;
    const struct acexpand_values values = {.params = slice_str("{}"),
        .claims = wscable_claims(c->cable),
        .max_depth = (unsigned)c->conn.fe->limits->json_depth};
    struct wscable_name *name;

    if (all->remote == NULL || all->options->identified_by[0] == '\0' || c->cable->n_claims == 0)
        return true;
    buf_reset(&all->action);
    if (acexpand_put(all->options->identified_by, &values, &all->action) != NULL)
        return true; /* it cannot be named */
    name = name_get(all->remote, buf_slice(&all->action));
    if (name == NULL)
        return false;
    c->cable->name = name;
    list_push_back(&name->conns, &c->cable->in_name);
    return true;
}

void
wscable_remote_leave(struct wsconn *c)
{
    struct wscables *all = &wsconn_server(c)->cables;
    struct wscable_name *name = c->cable->name;

    if (name == NULL)
        return;
    c->cable->name = NULL;
    list_remove(&c->cable->in_name);
    if (!list_empty(&name->conns))
        return;
    (void)table_remove(&all->remote->names, name_key(name));
    free(name);
}
