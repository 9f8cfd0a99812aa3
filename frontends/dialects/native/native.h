/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native protocol, as far as its two forms agree: which operations there are, which keys each takes, what
 * an answer consists of. docs/protocol.md is the manual. A form (njson.c, nmsgpack.c) finds the pairs of a
 * message, reads values and writes pairs; everything else is here.
 *
 *     in:  form finds key and raw value -> native_take() for each -> native_request() reads what the
 * operation takes out: native_put_answer() -> the form's writer, pair by pair
 *
 * Values are kept raw until the whole message was seen: an error then can name the request by its id wherever
 * the id stood, and a key that the operation does not take costs nothing.
 */
#ifndef DIALECTS_NATIVE_H
#define DIALECTS_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include "base/scan.h"
#include "frontends/dialects/dialect.h"
#include "wire/names.h"

#define NATIVE_PROTOCOL 1

/* What one message may carry beside its payload. */
#define NATIVE_HEADERS_MAX 64
#define NATIVE_HEADER_NAME_MAX 128
#define NATIVE_HEADER_VALUE_MAX 4096
#define NATIVE_TYPE_MAX 255
#define NATIVE_KEY_MAX 255

/* How many topics a list gives when it does not say. */
#define NATIVE_LIST_DEFAULT 100

/* The keys of requests: the enum's order is that of native_keys[]. */
enum native_key {
    NATIVE_OP,
    NATIVE_TOPIC,
    NATIVE_DATA,
    NATIVE_ID,
    NATIVE_KEY,
    NATIVE_ONCE,
    NATIVE_TYPE,
    NATIVE_SINCE,
    NATIVE_LAST,
    NATIVE_RETAIN,
    NATIVE_HEADERS,
    NATIVE_ENCODING,
    NATIVE_FILTER,
    NATIVE_AFTER,
    NATIVE_LIMIT,
    NATIVE_CALL,
    NATIVE_LEASE,
    NATIVE_TIMEOUT,
    NATIVE_TTL,
    NATIVE_DELAY,
    NATIVE_GROUP,
    NATIVE_ASYNC,
    NATIVE_REQUEST,
    NATIVE_WAIT,
    NATIVE_RESPOND,
    NATIVE_PREFETCH,
    NATIVE_ERROR,
    NATIVE_REASON,
    NATIVE_DEAD,
    NATIVE_DROP,
    NATIVE_PRESENCE,
    NATIVE_N_KEYS,
};

_Static_assert(NATIVE_N_KEYS <= 32, "native.given");

struct native;

struct native_pair {
    struct slice name, value;
};

/* How a form reads the raw values that it found. Each returns 0; -EINVAL for another type; -EILSEQ for a text
 * that is not UTF-8; -ENOMEM. */
struct native_form {
    uint8_t null_mark;               /* the first byte of a null, and of nothing else */
    bool (*is_id)(struct slice raw); /* an integer or a string; its length was checked */
    bool (*is_array)(struct slice raw);
    int (*read_string)(struct native *n, struct slice raw, struct slice *ret);
    int (*read_u64)(struct slice raw, uint64_t *ret);
    int (*read_bool)(struct slice raw, bool *ret);
    /* -E2BIG for more than max. */
    int (*read_strings)(struct native *n, struct slice raw, struct slice *items, size_t max, size_t *ret_n);
    int (*read_pairs)(
        struct native *n, struct slice raw, struct native_pair *pairs, size_t max, size_t *ret_n);
    /* Of {"id":"...","info":...}; what is not there stays as it is. Info is given as JSON. */
    int (*read_member)(struct native *n, struct slice raw, struct slice *ret_id, struct slice *ret_info);
    /* Fills kind and body from NATIVE_DATA; ret->type is there already. Says itself what is wrong, by
     * native_fail(). */
    int (*read_body)(struct native *n, bool has_encoding, struct slice encoding, struct request *ret);
};

/* One message being decoded. */
struct native {
    const struct native_form *form;
    struct request_scratch *scratch;
    struct dialect_error *error;
    unsigned max_depth;
    size_t n_in;                     /* bytes of the message: what was unescaped is never longer */
    uint32_t given;                  /* a bit for each key that was */
    enum native_key twice;           /* a key that came again, or NATIVE_N_KEYS */
    bool has_escape;                 /* JSON: a string somewhere in the message has one */
    struct slice raw[NATIVE_N_KEYS]; /* of the keys that were given; the others hold anything */
};

void native_begin(struct native *n, const struct native_form *form, struct slice in, unsigned max_depth,
    struct request_scratch *scratch, struct dialect_error *error);

/* A name of at most eight bytes: the names of keys and operations are compared as one number. */
struct native_name {
    char text[9];
    uint8_t n;
};
#define NAME(text)                                                                                           \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }

extern const struct native_name native_keys[NATIVE_N_KEYS];

/* The bytes of a name of 1 to 8, the first lowest, and zeros. */
static inline uint64_t
native_word(struct slice name)
{
    size_t n = name.n;

    if (n >= 4)
        return scan_load_4(name.p) | scan_load_4(name.p + n - 4) << 8 * (n - 4);
    return name.p[0] | (uint64_t)name.p[n / 2] << 8 * (n / 2) | (uint64_t)name.p[n - 1] << 8 * (n - 1);
}

static inline bool
native_is(const struct native_name *name, uint64_t word, size_t n)
{
    return scan_load_8((const uint8_t *)name->text) == word && name->n == n;
}

/* One pair of the message; an unknown key is passed over. Inline: it is done for each pair that comes. */
static inline void
native_take(struct native *n, struct slice key, struct slice raw)
{
    uint64_t word;

    if (key.n == 0 || key.n > sizeof word)
        return;
    word = native_word(key);
    for (unsigned i = 0; i < NATIVE_N_KEYS; i++) {
        if (!native_is(&native_keys[i], word, key.n))
            continue;
        if ((n->given >> i & 1) != 0)
            n->twice = (enum native_key)i;
        else
            n->raw[i] = raw;
        n->given |= 1u << i;
        return;
    }
}

/* After the last pair. 0, or -EINVAL with the error filled and *ret half so. */
int native_request(struct native *n, struct request *ret);

/* Fills the error, with the id if one was read; returns -EINVAL. */
int native_fail(struct native *n, enum error_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Room in scratch->text for n more bytes; slices into it stay where they are. 0 or -ENOMEM. */
int native_reserve(struct native *n, size_t n_bytes);

/* application/json or anything +json, parameters aside. */
bool native_is_json_type(struct slice type);

/* ---- For the operations (native.c, npatterns.c). ---- */

static inline bool
native_given(const struct native *n, enum native_key key)
{
    return (n->given >> key & 1) != 0;
}

/* Given, and not null: null is as good as leaving the key out. */
static inline bool
native_has(const struct native *n, enum native_key key)
{
    return native_given(n, key) && n->raw[key].p[0] != n->form->null_mark;
}

/* Each leaves *ret as it is when the key was not given. 0, or -EINVAL with the error filled. */
int native_string(struct native *n, enum native_key key, struct slice *ret);
int native_u64(struct native *n, enum native_key key, uint64_t *ret);
int native_bool(struct native *n, enum native_key key, bool *ret);
int native_fail_type(struct native *n, enum native_key key, int r, const char *what);
/* Fails unless it is there. */
int native_need(struct native *n, enum native_key key, const char *op);
/* type, headers, data */
int native_read_content(struct native *n, struct request *ret);
int native_read_key(struct native *n, enum native_key key, struct slice *ret);

/* What a sub takes part in. */
int native_read_role(struct native *n, struct request *ret);
int native_read_request(struct native *n, struct request *ret);
int native_read_result(struct native *n, struct request *ret);
int native_read_cancel(struct native *n, struct request *ret);
int native_read_reply(struct native *n, struct request *ret);
int native_read_ack(struct native *n, struct request *ret);
int native_read_nack(struct native *n, struct request *ret);
int native_read_extend(struct native *n, struct request *ret);
int native_read_queues(struct native *n, struct request *ret);
int native_read_peek(struct native *n, struct request *ret);
int native_read_purge(struct native *n, struct request *ret);
int native_read_redrive(struct native *n, struct request *ret);
int native_read_presence(struct native *n, struct request *ret);

/* ---- Answers. ---- */

/* TOPIC of a message on $presence/TOPIC; empty for any other. Inline: it is asked for each delivery. */
static inline struct slice
native_presence_topic(struct slice topic)
{
    const size_t n = sizeof PRESENCE_PREFIX - 1;

    if (topic.n <= n || topic.p[0] != '$' || memcmp(topic.p, PRESENCE_PREFIX, n) != 0)
        return slice_of(NULL, 0);
    return slice_of(topic.p + n, topic.n - n);
}

struct native_writer {
    struct buf *out;
    size_t at;  /* where the map began */
    unsigned n; /* pairs so far, at most 15 */
};

/* How a form writes pairs. Keys are literals of plain letters. */
struct native_writer_ops {
    void (*begin)(struct native_writer *w);
    void (*put_string)(struct native_writer *w, const char *key, struct slice value);
    void (*put_u64)(struct native_writer *w, const char *key, uint64_t value);
    void (*put_bool)(struct native_writer *w, const char *key, bool value);
    void (*put_raw)(struct native_writer *w, const char *key, struct slice raw);
    void (*put_strings)(struct native_writer *w, const char *key, const struct slice *items, size_t n);
    void (*put_json)(struct native_writer *w, const char *key, struct slice json);
    /* The pairs of a payload: type, headers, encoding, data. */
    void (*put_content)(struct native_writer *w, const struct message *m);
    void (*end)(struct native_writer *w);
};

void native_put_answer(const struct native_writer_ops *ops, struct buf *out, const struct answer *a);

/* ---- For headers, which are MessagePack maps in both forms of a message. ---- */

/* The next pair out of a map's packed pairs; false at the end. The map was checked when it was published. */
bool native_headers_begin(struct slice headers, struct mp *ret, uint32_t *ret_n);
bool native_headers_next(struct mp *c, uint32_t *n, struct native_pair *ret);

/* msgpack-c's write callback for a struct buf. */
int native_pack_write(void *out, const char *p, size_t n);

#endif
