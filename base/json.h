/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pull reader for JSON (RFC 8259), and the few pieces of a writer. The reader allocates nothing, copies
 * nothing and is strict: UTF-8 checked, no control characters in strings, no leading zeros, no lone
 * surrogate escapes, nothing after the value, nesting bounded. Strings and numbers are given raw, as they
 * stand in the input, so that a payload can pass byte for byte.
 *
 *     json_init(&r, p, n, 32);
 *     json_next(&r, &t) -> JSON_OBJECT, JSON_KEY, JSON_NUMBER, JSON_KEY, JSON_ARRAY, ... JSON_END
 *
 * After JSON_KEY a caller may take the member's value whole with json_skip().
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

#define JSON_MAX_DEPTH 64

enum json_type {
    JSON_END, /* the whole input was one value and nothing else */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY,    /* raw: between the quotes, escapes not decoded */
    JSON_STRING, /* raw: between the quotes */
    JSON_NUMBER, /* raw */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL,
};

struct json_token {
    enum json_type type;
    bool has_escape; /* of JSON_KEY and JSON_STRING: json_unescape() is needed */
    struct slice raw;
};

struct json_member {
    struct slice name; /* as a JSON_KEY's raw */
    bool has_escape;   /* the name has */
    struct slice raw;  /* the value as it stands */
};

struct json {
    const uint8_t *p, *end, *start;
    unsigned depth, max_depth;
    uint64_t is_object; /* a bit for each level */
    unsigned state;
    bool has_escape;   /* of the strings passed so far one had an escape */
    const char *error; /* what was wrong, as a clause: "a control character in a string" */
};

/* max_depth at most JSON_MAX_DEPTH. */
void json_init(struct json *r, const void *p, size_t n, unsigned max_depth);

/* 0, or -EINVAL with r->error set; json_offset() then says where. */
int json_next(struct json *r, struct json_token *ret);

/* Reads one whole value (checked as strictly) and gives its bytes as they stand. After JSON_KEY, at an
 * array's next element, or at the start. 0 or -EINVAL. */
int json_skip(struct json *r, struct slice *ret_raw);

/* If an object may come next and does: goes into it, as json_next() would. */
bool json_enter_object(struct json *r);

/* Nothing but white space after the outermost value: as a json_next() that must give JSON_END. */
int json_end(struct json *r);

/* After JSON_OBJECT, or after a member: the next ones, names and values, as json_next() and json_skip() would
 * give them one by one, at most max (not 0). 1: there is more; 0: the object ended, and is passed; -EINVAL.
 * *ret_n is always how many were read. */
int json_next_members(struct json *r, struct json_member *ret, unsigned max, unsigned *ret_n);

/* The open array has another element (the open object another member): for walking an array with
 * json_skip(). Reads nothing but white space; what follows is checked by the next read. */
bool json_has_more(struct json *r);

size_t json_offset(const struct json *r);

/* One value and nothing else: 0, or -EINVAL. ret_error may be NULL. */
int json_check(const void *p, size_t n, unsigned max_depth, const char **ret_error);

/* Whether a JSON_KEY is that name, however it is written. What is in scratch is lost. */
bool json_key_is(const struct json_token *key, struct slice name, struct buf *scratch);

/* The value of a member of an object, as it stands: the last of that name, as most readers have it. 1; 0 if
 * there is none; -EINVAL if this is no object and nothing else, -ENOMEM. */
int json_member(struct slice object, unsigned max_depth, struct slice name, struct slice *ret_raw);

/* Decodes the escapes of a raw string that json_next() has passed. */
void json_unescape(struct buf *out, struct slice raw);

/* Integers only (no fraction, no exponent): 0, -ERANGE, or -EINVAL. */
int json_u64(struct slice raw, uint64_t *ret);

/* Puts a quoted string, escaped; in must be valid UTF-8. */
void json_put_string(struct buf *out, struct slice in);

#endif
