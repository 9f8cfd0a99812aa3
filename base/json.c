/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader: one step function from token to token, whose state says what may come next. json_skip()
 * is the same step in a loop. Strings are most of what is read, so their scan looks at eight bytes at once.
 */
#include "config.h"

#include "base/json.h"

#include "base/utf8.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum json_state {
    STATE_VALUE,         /* a value: at the start, after a colon, after a comma in an array */
    STATE_FIRST_ELEMENT, /* after '[': a value or ']' */
    STATE_FIRST_KEY,     /* after '{': a name or '}' */
    STATE_AFTER,         /* after a value inside a container: a comma or the container's end */
    STATE_DONE,          /* after the outermost value: nothing but white space */
    STATE_FAILED,
};

#define ONES UINT64_C(0x0101010101010101)
#define TOPS UINT64_C(0x8080808080808080)

/* Not zero where a byte of the word is not plain: a control character, '"', '\\' or, if wanted, not ASCII.
 * The lowest set bit is exact; those above it may be false (a borrow runs upwards). */
static inline uint64_t
json_special(uint64_t word, uint64_t high_bits)
{
    uint64_t quote = word ^ ONES * '"', backslash = word ^ ONES * '\\';

    return (((word - ONES * 0x20) | (quote - ONES) | (backslash - ONES)) & ~word & TOPS) | (word & high_bits);
}

static inline bool
json_is_special(uint8_t c, uint64_t high_bits)
{
    return c < 0x20 || c == '"' || c == '\\' || (c >= 0x80 && high_bits != 0);
}

/* The first byte from p on that is special, or end. high_bits: TOPS to stop at what is not ASCII, or 0. */
static inline const uint8_t *
json_scan(const uint8_t *p, const uint8_t *end, uint64_t high_bits)
{
    while (end - p >= 8) {
        uint64_t word, found;

        memcpy(&word, p, sizeof word);
        found = json_special(le64toh(word), high_bits);
        if (found != 0)
            return p + (__builtin_ctzll(found) >> 3);
        p += 8;
    }
    while (p < end && !json_is_special(*p, high_bits))
        p++;
    return p;
}

static int
json_fail(struct json *r, const uint8_t *at, const char *error)
{
    r->p = at;
    r->state = STATE_FAILED;
    r->error = error;
    return -EINVAL;
}

static inline void
json_skip_space(struct json *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
}

/* 0..15, or -1. */
static int
json_hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits after \u, or -1. */
static int
json_hex4(const uint8_t *p, const uint8_t *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (unsigned i = 0; i < 4; i++) {
        int digit = json_hex(p[i]);

        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* p stands at the digits of \uXXXX; a high surrogate takes the escape after it along. Returns the byte
 * after, and the code point; NULL if it is malformed or half a pair. */
static const uint8_t *
json_unicode(const uint8_t *p, const uint8_t *end, uint32_t *ret)
{
    int high = json_hex4(p, end), low;

    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return NULL;
    p += 4;
    *ret = (uint32_t)high;
    if (high < 0xd800 || high > 0xdbff)
        return p;
    if (end - p < 2 || p[0] != '\\' || p[1] != 'u')
        return NULL;
    low = json_hex4(p + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return NULL;
    *ret = 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    return p + 6;
}

/* r->p stands after a backslash. */
static int
json_read_escape(struct json *r)
{
    uint32_t code_point;
    const uint8_t *after;

    if (r->p == r->end)
        return json_fail(r, r->p, "a string that does not end");
    switch (*r->p) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        r->p++;
        return 0;
    case 'u':
        after = json_unicode(r->p + 1, r->end, &code_point);
        if (after == NULL)
            return json_fail(r, r->p - 1, "a \\u escape that is malformed or half of a pair");
        r->p = after;
        return 0;
    default:
        return json_fail(r, r->p - 1, "an unknown escape in a string");
    }
}

/* r->p stands at a byte that is not ASCII. A character's bytes are all such, so the run must be whole. */
static int
json_read_utf8(struct json *r)
{
    const uint8_t *start = r->p;

    while (r->p < r->end && *r->p >= 0x80)
        r->p++;
    if (!utf8_is_valid(start, (size_t)(r->p - start)))
        return json_fail(r, start, "text that is not UTF-8");
    return 0;
}

/* r->p stands at the opening quote. */
static int
json_read_string(struct json *r, struct json_token *t, enum json_type type)
{
    const uint8_t *start = ++r->p;
    int e = 0;

    t->type = type;
    t->has_escape = false;
    for (;;) {
        r->p = json_scan(r->p, r->end, TOPS);
        if (r->p == r->end)
            return json_fail(r, r->p, "a string that does not end");
        if (*r->p == '"')
            break;
        if (*r->p == '\\') {
            t->has_escape = true;
            r->p++;
            e = json_read_escape(r);
        } else if (*r->p >= 0x80) {
            e = json_read_utf8(r);
        } else {
            e = json_fail(r, r->p, "a control character in a string");
        }
        if (e < 0)
            return e;
    }
    t->raw = slice_of(start, (size_t)(r->p - start));
    r->p++;
    return 0;
}

static inline bool
json_is_digit(const struct json *r)
{
    return r->p < r->end && *r->p >= '0' && *r->p <= '9';
}

/* One digit or more. */
static int
json_read_digits(struct json *r)
{
    if (!json_is_digit(r))
        return json_fail(r, r->p, "a number without a digit where one must be");
    while (json_is_digit(r))
        r->p++;
    return 0;
}

static int
json_read_number(struct json *r, struct json_token *t)
{
    const uint8_t *start = r->p;

    if (*r->p == '-')
        r->p++;
    if (r->p < r->end && *r->p == '0') {
        r->p++;
        if (json_is_digit(r))
            return json_fail(r, start, "a number with a leading zero");
    } else if (json_read_digits(r) < 0) {
        return -EINVAL;
    }
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        if (json_read_digits(r) < 0)
            return -EINVAL;
    }
    if (r->p < r->end && (*r->p | 0x20) == 'e') {
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->p++;
        if (json_read_digits(r) < 0)
            return -EINVAL;
    }
    t->type = JSON_NUMBER;
    t->raw = slice_of(start, (size_t)(r->p - start));
    return 0;
}

static int
json_read_word(struct json *r, struct json_token *t, enum json_type type, const char *word, size_t n)
{
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return json_fail(r, r->p, "a bare word that is not true, false or null");
    t->type = type;
    t->raw = slice_of(r->p, n);
    r->p += n;
    return 0;
}

static int
json_open(struct json *r, struct json_token *t, bool is_object)
{
    uint64_t bit;

    if (r->depth >= r->max_depth)
        return json_fail(r, r->p, "values nested too deeply");
    bit = UINT64_C(1) << r->depth++;
    r->is_object = is_object ? r->is_object | bit : r->is_object & ~bit;
    r->state = is_object ? STATE_FIRST_KEY : STATE_FIRST_ELEMENT;
    t->type = is_object ? JSON_OBJECT : JSON_ARRAY;
    t->raw = slice_of(r->p++, 1);
    return 0;
}

static inline bool
json_in_object(const struct json *r)
{
    return r->depth > 0 && (r->is_object >> (r->depth - 1) & 1) != 0;
}

static int
json_close(struct json *r, struct json_token *t)
{
    t->type = json_in_object(r) ? JSON_OBJECT_END : JSON_ARRAY_END;
    t->raw = slice_of(r->p++, 1);
    r->depth--;
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER;
    return 0;
}

static int
json_read_value(struct json *r, struct json_token *t)
{
    int e;

    if (r->p == r->end)
        return json_fail(r, r->p, "the end where a value must be");
    switch (*r->p) {
    case '"':
        e = json_read_string(r, t, JSON_STRING);
        break;
    case '{':
        return json_open(r, t, true);
    case '[':
        return json_open(r, t, false);
    case 't':
        e = json_read_word(r, t, JSON_TRUE, "true", 4);
        break;
    case 'f':
        e = json_read_word(r, t, JSON_FALSE, "false", 5);
        break;
    case 'n':
        e = json_read_word(r, t, JSON_NULL, "null", 4);
        break;
    default:
        if (*r->p != '-' && !json_is_digit(r))
            return json_fail(r, r->p, "something that is not a value where a value must be");
        e = json_read_number(r, t);
        break;
    }
    if (e == 0)
        r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER;
    return e;
}

static int
json_read_key(struct json *r, struct json_token *t)
{
    if (r->p == r->end || *r->p != '"')
        return json_fail(r, r->p, "no name in quotes where a member must begin");
    if (json_read_string(r, t, JSON_KEY) < 0)
        return -EINVAL;
    json_skip_space(r);
    if (r->p == r->end || *r->p != ':')
        return json_fail(r, r->p, "no colon after a member's name");
    r->p++;
    r->state = STATE_VALUE;
    return 0;
}

/* After a value: what follows its comma, or the end of its container. */
static int
json_read_after(struct json *r, struct json_token *t)
{
    bool in_object = json_in_object(r);

    if (r->p < r->end && *r->p == ',') {
        r->p++;
        json_skip_space(r);
        return in_object ? json_read_key(r, t) : json_read_value(r, t);
    }
    if (r->p < r->end && *r->p == (in_object ? '}' : ']'))
        return json_close(r, t);
    return json_fail(
        r, r->p, in_object ? "no comma or '}' after a member" : "no comma or ']' after an element");
}

static inline int
json_step(struct json *r, struct json_token *t)
{
    json_skip_space(r);
    switch ((enum json_state)r->state) {
    case STATE_AFTER:
        return json_read_after(r, t);
    case STATE_FIRST_ELEMENT:
        if (r->p < r->end && *r->p == ']')
            return json_close(r, t);
        return json_read_value(r, t);
    case STATE_VALUE:
        return json_read_value(r, t);
    case STATE_FIRST_KEY:
        if (r->p < r->end && *r->p == '}')
            return json_close(r, t);
        return json_read_key(r, t);
    case STATE_DONE:
        if (r->p < r->end)
            return json_fail(r, r->p, "something after the value");
        t->type = JSON_END;
        t->raw = slice_of(r->p, 0);
        return 0;
    case STATE_FAILED:
        break;
    }
    return -EINVAL;
}

void
json_init(struct json *r, const void *p, size_t n, unsigned max_depth)
{
    *r = (struct json){
        .p = p,
        .start = p,
        .end = n == 0 ? p : (const uint8_t *)p + n,
        .max_depth = max_depth > JSON_MAX_DEPTH ? JSON_MAX_DEPTH : max_depth,
        .state = STATE_VALUE,
    };
}

int
json_next(struct json *r, struct json_token *ret)
{
    struct json_token t = {.has_escape = false};
    int e = json_step(r, &t);

    if (e == 0)
        *ret = t;
    return e;
}

bool
json_has_more(struct json *r)
{
    json_skip_space(r);
    if (r->state == STATE_DONE || r->state == STATE_FAILED)
        return false;
    return r->p == r->end || r->state == STATE_VALUE || (*r->p != ']' && *r->p != '}');
}

int
json_skip(struct json *r, struct slice *ret_raw)
{
    unsigned depth = r->depth;
    struct json_token t;
    const uint8_t *start;

    json_skip_space(r);
    if (r->state == STATE_AFTER && !json_in_object(r) && r->p < r->end && *r->p == ',') {
        r->p++;
        r->state = STATE_VALUE;
        json_skip_space(r);
    }
    if (r->state == STATE_FAILED)
        return -EINVAL;
    if (r->state != STATE_VALUE && r->state != STATE_FIRST_ELEMENT)
        return json_fail(r, r->p, "no value where one must be");
    start = r->p;
    if (json_read_value(r, &t) < 0)
        return -EINVAL;
    while (r->depth > depth) {
        if (json_step(r, &t) < 0)
            return -EINVAL;
    }
    *ret_raw = slice_of(start, (size_t)(r->p - start));
    return 0;
}

size_t
json_offset(const struct json *r)
{
    return (size_t)(r->p - r->start);
}

int
json_check(const void *p, size_t n, unsigned max_depth, const char **ret_error)
{
    struct json_token t;
    struct slice raw;
    struct json r;

    json_init(&r, p, n, max_depth);
    if (json_skip(&r, &raw) == 0 && json_step(&r, &t) == 0)
        return 0;
    if (ret_error != NULL)
        *ret_error = r.error;
    return -EINVAL;
}

static uint8_t
json_unescape_short(uint8_t c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

void
json_unescape(struct buf *out, struct slice raw)
{
    const uint8_t *p = raw.p, *end = raw.p + raw.n;

    while (p < end) {
        const uint8_t *backslash = memchr(p, '\\', (size_t)(end - p));
        uint8_t bytes[4];
        uint32_t code_point;

        buf_put(out, p, (size_t)((backslash == NULL ? end : backslash) - p));
        if (backslash == NULL || end - backslash < 2)
            return;
        p = backslash + 2;
        if (p[-1] != 'u') {
            buf_put_byte(out, json_unescape_short(p[-1]));
            continue;
        }
        p = json_unicode(p, end, &code_point);
        if (p == NULL)
            return; /* not a string that json_next() has passed */
        buf_put(out, bytes, utf8_encode(code_point, bytes));
    }
}

int
json_u64(struct slice raw, uint64_t *ret)
{
    bool is_negative = raw.n > 0 && raw.p[0] == '-';
    uint64_t v = 0;
    bool is_over = false;

    if (raw.n == (is_negative ? 1u : 0u))
        return -EINVAL;
    for (size_t i = is_negative ? 1 : 0; i < raw.n; i++) {
        unsigned digit = (unsigned)raw.p[i] - '0';

        if (digit > 9)
            return -EINVAL;
        is_over = is_over || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v);
    }
    if (is_over || (is_negative && v != 0))
        return -ERANGE;
    *ret = v;
    return 0;
}

static void
json_put_escape(struct buf *out, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "btn\0fr"; /* of 08..0d; 0b has none */

    if (c == '"' || c == '\\') {
        buf_put(out, (uint8_t[]){'\\', c}, 2);
    } else if (c >= 0x08 && c <= 0x0d && c != 0x0b) {
        buf_put(out, (uint8_t[]){'\\', (uint8_t)shorts[c - 0x08]}, 2);
    } else {
        buf_put(out, "\\u00", 4);
        buf_put(out, (uint8_t[]){(uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]}, 2);
    }
}

void
json_put_string(struct buf *out, struct slice in)
{
    const uint8_t *p = in.p, *end = in.n == 0 ? in.p : in.p + in.n;

    buf_put_byte(out, '"');
    while (p < end) {
        const uint8_t *special = json_scan(p, end, 0);

        buf_put(out, p, (size_t)(special - p));
        p = special;
        if (p < end)
            json_put_escape(out, *p++);
    }
    buf_put_byte(out, '"');
}
