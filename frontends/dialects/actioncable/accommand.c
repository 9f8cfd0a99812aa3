/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one command: its members first, raw, then what its type needs of them. */
#include "config.h"

#include "frontends/dialects/actioncable/accommand.h"

#include <errno.h>

#include "base/json.h"

#define SECONDS_MAX ((uint64_t)INT64_MAX / 1000) /* in milliseconds it is a time still */

enum member { M_COMMAND, M_IDENTIFIER, M_DATA, M_HISTORY, M_PRESENCE, N_MEMBERS };

static const char *const member_names[N_MEMBERS] = {"command", "identifier", "data", "history", "presence"};

struct reader {
    unsigned max_depth;
    size_t identifier_max;
    struct buf *scratch;
    const char *error;
    struct slice raw[N_MEMBERS]; /* empty: not given, or null */
};

static int
fail(struct reader *r, const char *error)
{
    r->error = error;
    return -EINVAL;
}

/* ---- Values. ---- */

static bool
is_string(struct slice raw)
{
    return raw.n >= 2 && raw.p[0] == '"';
}

/* Room was reserved for everything at once: nothing moves. */
static struct slice
decode_string(struct buf *scratch, struct slice raw)
{
    size_t at = scratch->n;

    json_unescape(scratch, slice_of(raw.p + 1, raw.n - 2));
    return buf_since(scratch, at);
}

/* A whole number; the fraction of one that has it is cut off. Before 1970 is 1970, and after all time its
 * end. */
static bool
read_seconds(struct slice raw, uint64_t *ret)
{
    bool is_negative = raw.p[0] == '-';
    size_t n = 0;

    if (is_negative)
        raw = slice_of(raw.p + 1, raw.n - 1);
    while (n < raw.n && raw.p[n] >= '0' && raw.p[n] <= '9')
        n++;
    if (n < raw.n && raw.p[n] != '.')
        return false;
    for (size_t i = n + 1; i < raw.n; i++)
        if (raw.p[i] < '0' || raw.p[i] > '9')
            return false;
    if (n == 0)
        return false;
    if (json_u64(slice_of(raw.p, n), ret) < 0 || *ret > SECONDS_MAX)
        *ret = SECONDS_MAX;
    if (is_negative)
        *ret = 0;
    return true;
}

/* Calls take() for each member of an object. False: it is none, something follows it, or take() said so. */
static bool
each_member(struct slice object, unsigned max_depth,
    bool (*take)(struct slice key, bool has_escape, struct slice raw, void *arg), void *arg)
{
    struct json_token t;
    struct slice raw;
    struct json j;

    json_init(&j, object.p, object.n, max_depth);
    if (json_next(&j, &t) < 0 || t.type != JSON_OBJECT)
        return false;
    for (;;) {
        if (json_next(&j, &t) < 0)
            return false;
        if (t.type == JSON_OBJECT_END)
            return json_next(&j, &t) == 0 && t.type == JSON_END;
        if (json_skip(&j, &raw) < 0 || !take(t.raw, t.has_escape, raw, arg))
            return false;
    }
}

/* ---- history ---- */

static bool
take_history(struct slice key, bool has_escape, struct slice raw, void *arg)
{
    struct accommand *c = arg;

    (void)has_escape;
    if (slice_is(raw, "null"))
        return true;
    if (slice_is(key, "since")) {
        c->has_since = read_seconds(raw, &c->since_s);
        return c->has_since;
    }
    if (slice_is(key, "streams")) {
        c->streams = raw;
        return raw.p[0] == '{';
    }
    return true;
}

/* ---- presence ---- */

struct presence {
    struct accommand *command;
    struct buf *scratch;
};

static bool
take_presence(struct slice key, bool has_escape, struct slice raw, void *arg)
{
    struct presence *p = arg;
    bool is_number = raw.p[0] == '-' || (raw.p[0] >= '0' && raw.p[0] <= '9');

    (void)has_escape;
    if (slice_is(key, "id")) {
        if (!is_string(raw) && !is_number)
            return false;
        p->command->presence_id = is_number ? raw : decode_string(p->scratch, raw);
    } else if (slice_is(key, "info") && !slice_is(raw, "null")) {
        p->command->presence_info = raw;
    }
    return true;
}

/* ---- The commands. ---- */

static int
read_identifier(struct reader *r, struct accommand *c)
{
    size_t at;

    if (!is_string(r->raw[M_IDENTIFIER]))
        return fail(r, "the identifier is missing or no string");
    c->identifier = decode_string(r->scratch, r->raw[M_IDENTIFIER]);
    at = r->scratch->n;
    json_put_string(r->scratch, c->identifier);
    c->token = buf_since(r->scratch, at);
    if (c->token.n > r->identifier_max)
        return fail(r, "the identifier is longer than cable.identifier_bytes");
    return 0;
}

static int
read_history(struct reader *r, struct accommand *c)
{
    if (r->raw[M_HISTORY].n == 0)
        return 0;
    if (!each_member(r->raw[M_HISTORY], r->max_depth, take_history, c))
        return fail(r, "history is not {\"since\":seconds,\"streams\":{...}}");
    c->has_history = c->has_since || c->streams.n > 0;
    return 0;
}

static int
read_presence(struct reader *r, struct accommand *c)
{
    struct presence p = {.command = c, .scratch = r->scratch};

    if (r->raw[M_PRESENCE].n == 0)
        return 0;
    if (!each_member(r->raw[M_PRESENCE], r->max_depth, take_presence, &p) || c->presence_id.n == 0)
        return fail(r, "presence is not {\"id\":\"...\",\"info\":...}");
    c->has_presence = true;
    return 0;
}

static int
read_nothing(struct reader *r, struct accommand *c)
{
    (void)r;
    (void)c;
    return 0;
}

static int
read_subscribe(struct reader *r, struct accommand *c)
{
    if (read_identifier(r, c) < 0 || read_history(r, c) < 0)
        return -EINVAL;
    return read_presence(r, c);
}

static int
read_message(struct reader *r, struct accommand *c)
{
    const char *error;

    if (read_identifier(r, c) < 0)
        return -EINVAL;
    if (!is_string(r->raw[M_DATA]))
        return fail(r, "the data of a message is a JSON text in a string");
    c->data = decode_string(r->scratch, r->raw[M_DATA]);
    if (json_check(c->data.p, c->data.n, r->max_depth, &error) < 0)
        return fail(r, "the text in the data of a message is no JSON");
    return 0;
}

static int
read_ask_history(struct reader *r, struct accommand *c)
{
    if (read_identifier(r, c) < 0 || read_history(r, c) < 0)
        return -EINVAL;
    return c->has_history ? 0 : fail(r, "history is missing");
}

static int
read_whisper(struct reader *r, struct accommand *c)
{
    c->data = r->raw[M_DATA];
    return c->data.n > 0 ? read_identifier(r, c) : fail(r, "the data of a whisper is missing");
}

static int
read_join(struct reader *r, struct accommand *c)
{
    if (read_identifier(r, c) < 0 || read_presence(r, c) < 0)
        return -EINVAL;
    return c->has_presence ? 0 : fail(r, "presence is missing");
}

static int
read_leave(struct reader *r, struct accommand *c)
{
    return read_identifier(r, c);
}

struct command {
    const char *name;
    enum accommand_type type;
    int (*read)(struct reader *r, struct accommand *c);
};

/* The history of a v1 client's subscribe is passed over. */
static const struct command commands[] = {
    {"subscribe", ACCOMMAND_SUBSCRIBE, read_subscribe},
    {"unsubscribe", ACCOMMAND_UNSUBSCRIBE, read_identifier},
    {"message", ACCOMMAND_MESSAGE, read_message},
    {"history", ACCOMMAND_HISTORY, read_ask_history},
    {"whisper", ACCOMMAND_WHISPER, read_whisper},
    {"join", ACCOMMAND_JOIN, read_join},
    {"leave", ACCOMMAND_LEAVE, read_leave},
    {"presence", ACCOMMAND_PRESENCE, read_identifier},
    {"pong", ACCOMMAND_PONG, read_nothing},
    {"ping", ACCOMMAND_PING, read_nothing},
};

static const struct command *
find_command(struct slice raw, bool is_extended)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (is_string(raw) && slice_is(slice_of(raw.p + 1, raw.n - 2), commands[i].name) &&
            (is_extended || commands[i].type < ACCOMMAND_HISTORY))
            return &commands[i];
    return NULL;
}

static bool
take_member(struct slice key, bool has_escape, struct slice raw, void *arg)
{
    struct reader *r = arg;

    (void)has_escape;
    for (unsigned i = 0; i < N_MEMBERS; i++)
        if (slice_is(key, member_names[i]))
            r->raw[i] = slice_is(raw, "null") ? slice_of(NULL, 0) : raw;
    return true;
}

int
accommand_decode(struct slice in, unsigned max_depth, size_t identifier_max, bool is_extended,
    struct buf *scratch, struct accommand *ret, const char **ret_error)
{
    struct reader r = {.max_depth = max_depth, .identifier_max = identifier_max, .scratch = scratch};
    const struct command *command;
    int result;

    *ret = (struct accommand){0};
    buf_reset(scratch);
    /* Each byte is decoded once at most, and the identifier is written again: six bytes for one. */
    if (buf_reserve(scratch, 7 * in.n + 2) == NULL) {
        *ret_error = "memory ran out";
        return -EINVAL;
    }
    if (!each_member(in, max_depth, take_member, &r)) {
        *ret_error = "it is no JSON object";
        return -EINVAL;
    }
    command = find_command(r.raw[M_COMMAND], is_extended);
    if (command == NULL) {
        *ret_error = "there is no such command";
        return -EINVAL;
    }
    ret->type = command->type;
    if (!is_extended)
        r.raw[M_HISTORY] = slice_of(NULL, 0);
    result = command->read(&r, ret);
    if (result < 0)
        *ret_error = r.error;
    return result;
}

/* ---- Positions. ---- */

struct finder {
    struct slice stream;
    struct buf *scratch;
    struct slice found;
};

static bool
take_stream(struct slice key, bool has_escape, struct slice raw, void *arg)
{
    struct finder *f = arg;
    size_t at = f->scratch->n;
    struct slice name = key;

    if (has_escape) {
        json_unescape(f->scratch, key);
        name = buf_since(f->scratch, at);
    }
    if (slice_equal(name, f->stream))
        f->found = raw;
    f->scratch->n = at;
    return !buf_failed(f->scratch);
}

struct position_reader {
    struct slice epoch_raw, offset_raw;
};

static bool
take_position(struct slice key, bool has_escape, struct slice raw, void *arg)
{
    struct position_reader *p = arg;

    (void)has_escape;
    if (slice_is(key, "epoch"))
        p->epoch_raw = raw;
    else if (slice_is(key, "offset"))
        p->offset_raw = raw;
    return true;
}

int
accommand_position(const struct accommand *command, struct slice stream, struct buf *scratch,
    struct slice *ret_epoch, uint64_t *ret_offset)
{
    struct finder f = {.stream = stream, .scratch = scratch};
    struct position_reader p = {0};

    if (command->streams.n == 0)
        return 0;
    if (!each_member(command->streams, JSON_MAX_DEPTH, take_stream, &f))
        return -EINVAL;
    if (f.found.n == 0)
        return 0;
    if (!each_member(f.found, JSON_MAX_DEPTH, take_position, &p) || !is_string(p.epoch_raw) ||
        json_u64(p.offset_raw, ret_offset) < 0)
        return -EINVAL;
    *ret_epoch = slice_of(p.epoch_raw.p + 1, p.epoch_raw.n - 2);
    return 1;
}
