/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the native protocol: the tables of keys and operations, and what each operation reads. */
#include "config.h"

#include "frontends/dialects/native/native.h"

#include <errno.h>
#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/mp.h"

/* In the order of enum native_key: those of the hot path first. */
const struct native_name native_keys[NATIVE_N_KEYS] = {
    NAME("op"),
    NAME("topic"),
    NAME("data"),
    NAME("id"),
    NAME("key"),
    NAME("once"),
    NAME("type"),
    NAME("since"),
    NAME("last"),
    NAME("retain"),
    NAME("headers"),
    NAME("encoding"),
    NAME("filter"),
    NAME("after"),
    NAME("limit"),
    NAME("call"),
    NAME("lease"),
    NAME("timeout"),
    NAME("ttl"),
    NAME("delay"),
    NAME("group"),
    NAME("async"),
    NAME("request"),
    NAME("wait"),
    NAME("respond"),
    NAME("prefetch"),
    NAME("error"),
    NAME("reason"),
    NAME("dead"),
    NAME("drop"),
    NAME("presence"),
};

struct native_op {
    struct native_name name;
    enum request_op op;
    bool needs_id;
    int (*read)(struct native *n, struct request *ret); /* NULL: it takes nothing */
};

static int native_read_sub(struct native *n, struct request *ret);
static int native_read_pub(struct native *n, struct request *ret);
static int native_read_topics(struct native *n, struct request *ret);

static const struct native_op native_ops[] = {
    {NAME("pub"), REQUEST_PUB, false, native_read_pub},
    {NAME("sub"), REQUEST_SUB, true, native_read_sub},
    {NAME("unsub"), REQUEST_UNSUB, true, NULL},
    {NAME("ping"), REQUEST_PING, false, NULL},
    {NAME("hello"), REQUEST_HELLO, false, NULL},
    {NAME("request"), REQUEST_ASK, true, native_read_request},
    {NAME("reply"), REQUEST_REPLY, false, native_read_reply},
    {NAME("ack"), REQUEST_SETTLE, false, native_read_ack},
    {NAME("nack"), REQUEST_SETTLE, false, native_read_nack},
    {NAME("extend"), REQUEST_SETTLE, false, native_read_extend},
    {NAME("topics"), REQUEST_TOPICS, false, native_read_topics},
    {NAME("result"), REQUEST_RESULT, true, native_read_result},
    {NAME("cancel"), REQUEST_WITHDRAW, false, native_read_cancel},
    {NAME("presence"), REQUEST_WHO, false, native_read_presence},
    {NAME("queues"), REQUEST_QUEUES, false, native_read_queues},
    {NAME("peek"), REQUEST_PEEK, false, native_read_peek},
    {NAME("purge"), REQUEST_PURGE, false, native_read_purge},
    {NAME("redrive"), REQUEST_REDRIVE, false, native_read_redrive},
};
#define NATIVE_OP_NAMES                                                                                      \
    "ack, cancel, extend, hello, nack, peek, ping, presence, pub, purge, queues, redrive, reply, request, "  \
    "result, sub, topics, unsub"

void
native_begin(struct native *n, const struct native_form *form, struct slice in, unsigned max_depth,
    struct request_scratch *scratch, struct dialect_error *error)
{
    n->form = form;
    n->scratch = scratch;
    n->error = error;
    n->max_depth = max_depth;
    n->n_in = in.n;
    n->given = 0;
    n->twice = NATIVE_N_KEYS;
    n->has_escape = false;
    buf_reset(&scratch->text);
    buf_reset(&scratch->headers);
}

static bool
native_is_id(const struct native *n, struct slice raw)
{
    return raw.n <= REQUEST_ID_MAX && n->form->is_id(raw);
}

int
native_fail(struct native *n, enum error_code code, const char *fmt, ...)
{
    bool has_id = native_given(n, NATIVE_ID) && native_is_id(n, n->raw[NATIVE_ID]);
    va_list ap;

    n->error->code = code;
    n->error->id = has_id ? n->raw[NATIVE_ID] : slice_of(NULL, 0);
    va_start(ap, fmt);
    (void)vsnprintf(n->error->text, sizeof n->error->text, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int
native_fail_memory(struct native *n)
{
    return native_fail(n, ERROR_INTERNAL, "The server is out of memory; try again later.");
}

int
native_reserve(struct native *n, size_t n_bytes)
{
    struct buf *text = &n->scratch->text;

    /* At once for everything that this message can need, so that nothing read before moves: each byte of it
     * is unescaped at most once as an id, once as a value, and once more out of base64. */
    if (text->n == 0 && buf_reserve(text, 2 * n->n_in) == NULL)
        return -ENOMEM;
    return text->cap - text->n >= n_bytes ? 0 : -ENOMEM;
}

static const char *
native_key_name(enum native_key key)
{
    return native_keys[key].text;
}

int
native_fail_type(struct native *n, enum native_key key, int r, const char *what)
{
    if (r == -ENOMEM)
        return native_fail_memory(n);
    if (r == -EILSEQ)
        return native_fail(n, ERROR_REQUEST_INVALID, "\"%s\" is not UTF-8.", native_key_name(key));
    return native_fail(n, ERROR_REQUEST_INVALID, "\"%s\" must be %s.", native_key_name(key), what);
}

int
native_need(struct native *n, enum native_key key, const char *op)
{
    if (native_has(n, key))
        return 0;
    return native_fail(n, ERROR_REQUEST_INVALID, "\"%s\" is missing: %s needs it.", native_key_name(key), op);
}

int
native_string(struct native *n, enum native_key key, struct slice *ret)
{
    int r;

    if (!native_has(n, key))
        return 0;
    r = n->form->read_string(n, n->raw[key], ret);
    return r < 0 ? native_fail_type(n, key, r, "a string") : 0;
}

int
native_u64(struct native *n, enum native_key key, uint64_t *ret)
{
    if (!native_has(n, key) || n->form->read_u64(n->raw[key], ret) == 0)
        return 0;
    return native_fail_type(n, key, -EINVAL, "an integer, 0 or more");
}

int
native_bool(struct native *n, enum native_key key, bool *ret)
{
    if (!native_has(n, key) || n->form->read_bool(n->raw[key], ret) == 0)
        return 0;
    return native_fail_type(n, key, -EINVAL, "true or false");
}

/* ---- sub ---- */

static int
native_read_filters(struct native *n, struct request *ret)
{
    struct slice *filters = n->scratch->filters, raw = n->raw[NATIVE_TOPIC];
    int r;

    ret->filters = filters;
    if (!n->form->is_array(raw)) {
        ret->n_filters = 1;
        r = n->form->read_string(n, raw, &filters[0]);
        return r < 0 ? native_fail_type(n, NATIVE_TOPIC, r, "a filter or an array of filters") : 0;
    }
    r = n->form->read_strings(n, raw, filters, REQUEST_FILTERS_MAX, &ret->n_filters);
    if (r == -E2BIG)
        return native_fail(n, ERROR_LIMIT_REACHED, "One subscription takes at most %d filters; use several.",
            REQUEST_FILTERS_MAX);
    if (r < 0)
        return native_fail_type(n, NATIVE_TOPIC, r, "a filter or an array of filters");
    if (ret->n_filters == 0)
        return native_fail(
            n, ERROR_REQUEST_INVALID, "\"topic\" is an empty array: name one filter at least.");
    return 0;
}

static int
native_read_sub(struct native *n, struct request *ret)
{
    if (!native_has(n, NATIVE_TOPIC))
        return native_fail(n, ERROR_REQUEST_INVALID,
            "\"topic\" is missing: a sub needs a topic, a filter, or an array of them.");
    if (native_read_filters(n, ret) < 0)
        return -EINVAL;
    if (native_has(n, NATIVE_SINCE) && native_has(n, NATIVE_LAST))
        return native_fail(n, ERROR_REQUEST_INVALID, "A sub takes \"since\" or \"last\", not both.");
    if (native_has(n, NATIVE_SINCE))
        ret->from = FROM_SINCE;
    else if (native_has(n, NATIVE_LAST))
        ret->from = FROM_LAST;
    if (native_string(n, NATIVE_SINCE, &ret->since) < 0 || native_u64(n, NATIVE_LAST, &ret->last) < 0)
        return -EINVAL;
    return native_read_role(n, ret);
}

/* ---- pub ---- */

bool
native_is_json_type(struct slice type)
{
    static const char plain[] = "application/json", suffix[] = "+json";
    const uint8_t *semicolon = type.n == 0 ? NULL : memchr(type.p, ';', type.n);
    size_t n = semicolon == NULL ? type.n : (size_t)(semicolon - type.p);

    while (n > 0 && type.p[n - 1] == ' ')
        n--;
    if (n == sizeof plain - 1)
        return strncasecmp((const char *)type.p, plain, n) == 0;
    return n > sizeof suffix - 1 &&
           strncasecmp((const char *)type.p + n - (sizeof suffix - 1), suffix, sizeof suffix - 1) == 0;
}

/* No control characters: types and headers become lines of other protocols. */
static bool
native_is_line(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return true;
}

static bool
native_is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= 0x80)
            return false;
    }
    return true;
}

static int
native_read_type(struct native *n, struct request *ret)
{
    if (native_string(n, NATIVE_TYPE, &ret->type) < 0)
        return -EINVAL;
    if (ret->type.n > NATIVE_TYPE_MAX || !native_is_line(ret->type) || !native_is_ascii(ret->type))
        return native_fail(n, ERROR_REQUEST_INVALID,
            "\"type\" must be a content type such as \"text/html\", of at most %d plain characters.",
            NATIVE_TYPE_MAX);
    return 0;
}

/* NULL if well, else what is wrong. */
static const char *
native_headers_error(const struct native_pair *pairs, size_t n_pairs)
{
    for (size_t i = 0; i < n_pairs; i++) {
        if (pairs[i].name.n == 0 || pairs[i].name.n > NATIVE_HEADER_NAME_MAX)
            return "the name of a header has 1 to 128 bytes";
        if (pairs[i].value.n > NATIVE_HEADER_VALUE_MAX)
            return "the value of a header has at most 4096 bytes";
        if (!native_is_line(pairs[i].name) || !native_is_line(pairs[i].value))
            return "there is a control character in one";
        for (size_t k = 0; k < i; k++) {
            if (slice_equal(pairs[i].name, pairs[k].name))
                return "a name is given twice";
        }
    }
    return NULL;
}

int
native_pack_write(void *out, const char *p, size_t n)
{
    buf_put(out, p, n);
    return 0; /* failure is the buffer's */
}

static int
native_pack_headers(struct native *n, const struct native_pair *pairs, size_t n_pairs, struct slice *ret)
{
    struct buf *out = &n->scratch->headers;
    msgpack_packer packer;

    if (n_pairs == 0)
        return 0;
    msgpack_packer_init(&packer, out, native_pack_write);
    (void)msgpack_pack_map(&packer, n_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        (void)msgpack_pack_str_with_body(&packer, pairs[i].name.p, pairs[i].name.n);
        (void)msgpack_pack_str_with_body(&packer, pairs[i].value.p, pairs[i].value.n);
    }
    if (buf_failed(out))
        return native_fail_memory(n);
    *ret = buf_slice(out);
    return 0;
}

static int
native_read_headers(struct native *n, struct request *ret)
{
    struct native_pair pairs[NATIVE_HEADERS_MAX];
    const char *error;
    size_t n_pairs;
    int r;

    if (!native_has(n, NATIVE_HEADERS))
        return 0;
    r = n->form->read_pairs(n, n->raw[NATIVE_HEADERS], pairs, NATIVE_HEADERS_MAX, &n_pairs);
    if (r == -E2BIG)
        return native_fail(n, ERROR_LIMIT_REACHED, "A message takes at most %d headers.", NATIVE_HEADERS_MAX);
    if (r < 0)
        return native_fail_type(n, NATIVE_HEADERS, r, "a map from strings to strings");
    error = native_headers_error(pairs, n_pairs);
    if (error != NULL)
        return native_fail(n, ERROR_REQUEST_INVALID, "\"headers\" cannot be taken: %s.", error);
    return native_pack_headers(n, pairs, n_pairs, &ret->headers);
}

int
native_read_key(struct native *n, enum native_key key, struct slice *ret)
{
    if (native_string(n, key, ret) < 0)
        return -EINVAL;
    if (ret->n > NATIVE_KEY_MAX)
        return native_fail(
            n, ERROR_REQUEST_INVALID, "\"%s\" has at most %d bytes.", native_key_name(key), NATIVE_KEY_MAX);
    return 0;
}

int
native_read_content(struct native *n, struct request *ret)
{
    struct slice encoding = {.n = 0};

    if (native_string(n, NATIVE_ENCODING, &encoding) < 0 || native_read_type(n, ret) < 0 ||
        native_read_headers(n, ret) < 0)
        return -EINVAL;
    if (n->form->read_body(n, native_has(n, NATIVE_ENCODING), encoding, ret) < 0)
        return -EINVAL;
    if (slice_is(ret->type, message_kind_type(ret->kind)))
        ret->type = slice_of(NULL, 0); /* the usual one is the same as none */
    return 0;
}

/* Most publishes have nothing else. */
#define NATIVE_PLAIN (1u << NATIVE_OP | 1u << NATIVE_TOPIC | 1u << NATIVE_DATA | 1u << NATIVE_ID)

static int
native_read_pub(struct native *n, struct request *ret)
{
    if (!native_has(n, NATIVE_TOPIC))
        return native_fail(
            n, ERROR_REQUEST_INVALID, "\"topic\" is missing: a pub needs \"topic\" and \"data\".");
    if (!native_given(n, NATIVE_DATA))
        return native_fail(
            n, ERROR_REQUEST_INVALID, "\"data\" is missing: a pub needs \"topic\" and \"data\".");
    if (native_string(n, NATIVE_TOPIC, &ret->topic) < 0)
        return -EINVAL;
    if ((n->given & ~NATIVE_PLAIN) == 0)
        return n->form->read_body(n, false, (struct slice){.n = 0}, ret);
    if (native_bool(n, NATIVE_RETAIN, &ret->is_retain) < 0 || native_read_key(n, NATIVE_KEY, &ret->key) < 0 ||
        native_read_key(n, NATIVE_ONCE, &ret->once) < 0 || native_u64(n, NATIVE_TTL, &ret->ttl_ms) < 0 ||
        native_u64(n, NATIVE_DELAY, &ret->delay_ms) < 0)
        return -EINVAL;
    return native_read_content(n, ret);
}

/* ---- topics ---- */

static int
native_read_topics(struct native *n, struct request *ret)
{
    n->scratch->filters[0] = slice_str("#");
    ret->filters = n->scratch->filters;
    ret->n_filters = 1;
    ret->limit = NATIVE_LIST_DEFAULT;
    if (native_string(n, NATIVE_FILTER, &n->scratch->filters[0]) < 0 ||
        native_string(n, NATIVE_AFTER, &ret->after) < 0)
        return -EINVAL;
    return native_u64(n, NATIVE_LIMIT, &ret->limit);
}

/* ---- The whole. ---- */

static int
native_fail_op(struct native *n, struct slice name)
{
    /* Only what is plain is repeated: the answer must be UTF-8 however the name was cut. */
    if (name.n > 0 && name.n <= 32 && native_is_line(name) && native_is_ascii(name))
        return native_fail(n, ERROR_OP_UNKNOWN,
            "There is no operation \"%.*s\"; there are: " NATIVE_OP_NAMES ".", SLICE_ARG(name));
    return native_fail(n, ERROR_OP_UNKNOWN, "There is no such operation; there are: " NATIVE_OP_NAMES ".");
}

static int
native_read_op(struct native *n, const struct native_op **ret)
{
    struct slice name;
    uint64_t word;
    int r;

    if (!native_has(n, NATIVE_OP))
        return native_fail(n, ERROR_REQUEST_INVALID,
            "\"op\" is missing: it names the operation, one of: " NATIVE_OP_NAMES ".");
    r = n->form->read_string(n, n->raw[NATIVE_OP], &name);
    if (r < 0)
        return native_fail_type(n, NATIVE_OP, r, "a string: one of " NATIVE_OP_NAMES);
    if (name.n == 0 || name.n > sizeof word)
        return native_fail_op(n, name);
    word = native_word(name);
    for (size_t i = 0; i < sizeof native_ops / sizeof native_ops[0]; i++) {
        if (native_is(&native_ops[i].name, word, name.n)) {
            *ret = &native_ops[i];
            return 0;
        }
    }
    return native_fail_op(n, name);
}

int
native_request(struct native *n, struct request *ret)
{
    const struct native_op *op = NULL;

    *ret = (struct request){.op = REQUEST_PING};
    if (n->twice != NATIVE_N_KEYS)
        return native_fail(n, ERROR_REQUEST_INVALID, "\"%s\" is given twice.", native_key_name(n->twice));
    if (native_has(n, NATIVE_ID)) {
        if (!native_is_id(n, n->raw[NATIVE_ID]))
            return native_fail(n, ERROR_REQUEST_INVALID,
                "\"id\" must be an integer or a string, of at most %d bytes.", REQUEST_ID_MAX);
        ret->id = n->raw[NATIVE_ID];
    }
    if (native_read_op(n, &op) < 0)
        return -EINVAL;
    ret->op = op->op;
    if (op->needs_id && ret->id.p == NULL)
        return native_fail(n, ERROR_REQUEST_INVALID,
            op->op == REQUEST_SUB || op->op == REQUEST_UNSUB
                ? "\"id\" is missing: it names the subscription in everything that follows."
                : "\"id\" is missing: it names the request in its answer.");
    return op->read == NULL ? 0 : op->read(n, ret);
}
