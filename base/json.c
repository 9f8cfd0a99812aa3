/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON reader. Two walks stand on the same pieces (json_pass_x()): json_next() goes from token to token,
 * with a state that says what may come next, and json_skip() goes over a whole value in one loop. They must
 * take the same texts; the fuzz target holds them against each other. Strings are most of what is read:
 * base/scan.h looks at many of their bytes at once.
 */
#include "config.h"

#include "base/json.h"

#include "base/scan.h"
#include "base/utf8.h"

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

/* NULL, after noting what is wrong and where. */
static const uint8_t *
json_refuse(struct json *r, const uint8_t *at, const char *error)
{
    r->p = at;
    r->state = STATE_FAILED;
    r->error = error;
    return NULL;
}

static int
json_fail(struct json *r, const uint8_t *at, const char *error)
{
    (void)json_refuse(r, at, error);
    return -EINVAL;
}

static __attribute__((noinline)) const uint8_t *
json_pass_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

/* The first byte that is not white space. One comparison where there is none, as a rule between programs. */
static inline const uint8_t *
json_space(const uint8_t *p, const uint8_t *end)
{
    return p<end && * p> ' ' ? p : json_pass_space(p, end);
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

/* json_pass_x(): p stands at an x; the byte after it, or NULL once json_refuse() has noted why not. The
 * position is handed from one to the next in a register: through r->p every step would wait for memory. */

static const uint8_t *
json_pass_escape(struct json *r, const uint8_t *p)
{
    uint32_t code_point;
    const uint8_t *after;

    r->has_escape = true;
    if (r->end - p < 2)
        return json_refuse(r, r->end, "a string that does not end");
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        after = json_unicode(p + 2, r->end, &code_point);
        return after != NULL ? after : json_refuse(r, p, "a \\u escape that is malformed or half of a pair");
    default:
        return json_refuse(r, p, "an unknown escape in a string");
    }
}

/* Characters that are not ASCII. All their bytes are above 7f, so the run of such bytes must be whole. */
static const uint8_t *
json_pass_utf8(struct json *r, const uint8_t *p)
{
    const uint8_t *start = p;

    while (p < r->end && *p >= 0x80)
        p++;
    if (!utf8_is_valid(start, (size_t)(p - start)))
        return json_refuse(r, start, "text that is not UTF-8");
    return p;
}

/* What the scan of a string stopped at and is not its end. */
static const uint8_t *
json_pass_special(struct json *r, const uint8_t *p)
{
    if (p == r->end)
        return json_refuse(r, p, "a string that does not end");
    if (*p == '\\')
        return json_pass_escape(r, p);
    if (*p >= 0x80)
        return json_pass_utf8(r, p);
    return json_refuse(r, p, "a control character in a string");
}

/* From what the first scan of a string stopped at and is not its end. */
static __attribute__((noinline)) const uint8_t *
json_pass_rest(struct json *r, const uint8_t *p, bool *has_escape)
{
    bool has = false;

    do {
        has = has || (p < r->end && *p == '\\');
        p = json_pass_special(r, p);
        if (p == NULL)
            return NULL;
        p = scan_plain(p, r->end, r->start, SCAN_NOT_ASCII);
    } while (p == r->end || *p != '"');
    *has_escape = has;
    return p + 1;
}

static inline const uint8_t *
json_pass_string(struct json *r, const uint8_t *p, bool *has_escape)
{
    const uint8_t *end = r->end;

    p = scan_plain(p + 1, end, r->start, SCAN_NOT_ASCII);
    if (p == end || *p != '"')
        return json_pass_rest(r, p, has_escape);
    *has_escape = false;
    return p + 1;
}

static inline bool
json_is_digit(const uint8_t *p, const uint8_t *end)
{
    return p < end && (uint8_t)(*p - '0') <= 9;
}

/* One digit or more. */
static inline const uint8_t *
json_pass_digits(struct json *r, const uint8_t *p)
{
    if (!json_is_digit(p, r->end))
        return json_refuse(r, p, "a number without a digit where one must be");
    do {
        p++;
    } while (json_is_digit(p, r->end));
    return p;
}

static const uint8_t *
json_pass_number(struct json *r, const uint8_t *p)
{
    const uint8_t *start = p, *end = r->end;

    if (*p == '-')
        p++;
    if (p < end && *p == '0' && json_is_digit(p + 1, end))
        return json_refuse(r, start, "a number with a leading zero");
    p = json_pass_digits(r, p);
    if (p != NULL && p < end && *p == '.')
        p = json_pass_digits(r, p + 1);
    if (p != NULL && p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = json_pass_digits(r, p);
    }
    return p;
}

static const uint8_t *
json_pass_word(struct json *r, const uint8_t *p, const char *word, size_t n)
{
    if ((size_t)(r->end - p) < n || memcmp(p, word, n) != 0)
        return json_refuse(r, p, "a bare word that is not true, false or null");
    return p + n;
}

/* A value that is not a container. */
static inline const uint8_t *
json_pass_scalar(struct json *r, const uint8_t *p, enum json_type *type, bool *has_escape)
{
    if (p == r->end)
        return json_refuse(r, p, "the end where a value must be");
    switch (*p) {
    case '"':
        *type = JSON_STRING;
        return json_pass_string(r, p, has_escape);
    case 't':
        *type = JSON_TRUE;
        return json_pass_word(r, p, "true", 4);
    case 'f':
        *type = JSON_FALSE;
        return json_pass_word(r, p, "false", 5);
    case 'n':
        *type = JSON_NULL;
        return json_pass_word(r, p, "null", 4);
    default:
        if (*p != '-' && !json_is_digit(p, r->end))
            return json_refuse(r, p, "something that is not a value where a value must be");
        *type = JSON_NUMBER;
        return json_pass_number(r, p);
    }
}

/* A member's name and its colon. */
static inline const uint8_t *
json_pass_key(struct json *r, const uint8_t *p, struct slice *ret, bool *has_escape)
{
    const uint8_t *start = p;

    if (p == r->end || *p != '"')
        return json_refuse(r, p, "no name in quotes where a member must begin");
    p = json_pass_string(r, p, has_escape);
    if (p == NULL)
        return NULL;
    *ret = slice_of(start + 1, (size_t)(p - start) - 2);
    p = json_space(p, r->end);
    if (p == r->end || *p != ':')
        return json_refuse(r, p, "no colon after a member's name");
    return p + 1;
}

static inline bool
json_in_object(const struct json *r)
{
    return r->depth > 0 && (r->is_object >> (r->depth - 1) & 1) != 0;
}

/* A container's first byte: one level down. */
static inline const uint8_t *
json_pass_open(struct json *r, const uint8_t *p)
{
    uint64_t bit;

    if (r->depth >= r->max_depth)
        return json_refuse(r, p, "values nested too deeply");
    bit = UINT64_C(1) << r->depth++;
    r->is_object = *p == '{' ? r->is_object | bit : r->is_object & ~bit;
    return p + 1;
}

static const uint8_t *
json_refuse_after(struct json *r, const uint8_t *p, bool in_object)
{
    return json_refuse(
        r, p, in_object ? "no comma or '}' after a member" : "no comma or ']' after an element");
}

static inline uint8_t
json_closer(bool in_object)
{
    return in_object ? '}' : ']';
}

static inline bool
json_is_close(const struct json *r, const uint8_t *p)
{
    return p < r->end && *p == json_closer(json_in_object(r));
}

/* ---- from token to token ---- */

static int
json_read_value(struct json *r, const uint8_t *p, struct json_token *ret)
{
    const uint8_t *after;
    enum json_type type;
    bool has_escape = false;
    unsigned n_quotes;

    if (p < r->end && (*p == '{' || *p == '[')) {
        after = json_pass_open(r, p);
        if (after == NULL)
            return -EINVAL;
        r->state = *p == '{' ? STATE_FIRST_KEY : STATE_FIRST_ELEMENT;
        r->p = after;
        *ret = (struct json_token){.type = *p == '{' ? JSON_OBJECT : JSON_ARRAY, .raw = slice_of(p, 1)};
        return 0;
    }
    after = json_pass_scalar(r, p, &type, &has_escape);
    if (after == NULL)
        return -EINVAL;
    n_quotes = type == JSON_STRING ? 1 : 0;
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER;
    r->p = after;
    *ret = (struct json_token){.type = type,
        .has_escape = has_escape,
        .raw = slice_of(p + n_quotes, (size_t)(after - p) - 2 * n_quotes)};
    return 0;
}

static int
json_read_key(struct json *r, const uint8_t *p, struct json_token *ret)
{
    struct slice name;
    bool has_escape;

    p = json_pass_key(r, p, &name, &has_escape);
    if (p == NULL)
        return -EINVAL;
    r->state = STATE_VALUE;
    r->p = p;
    *ret = (struct json_token){.type = JSON_KEY, .has_escape = has_escape, .raw = name};
    return 0;
}

static int
json_read_close(struct json *r, const uint8_t *p, struct json_token *ret)
{
    *ret = (struct json_token){
        .type = json_in_object(r) ? JSON_OBJECT_END : JSON_ARRAY_END, .raw = slice_of(p, 1)};
    r->depth--;
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER;
    r->p = p + 1;
    return 0;
}

static int
json_read_end(struct json *r, const uint8_t *p, struct json_token *ret)
{
    if (p < r->end)
        return json_fail(r, p, "something after the value");
    r->p = p;
    *ret = (struct json_token){.type = JSON_END, .raw = slice_of(p, 0)};
    return 0;
}

int
json_next(struct json *r, struct json_token *ret)
{
    const uint8_t *p = json_space(r->p, r->end);

    switch ((enum json_state)r->state) {
    case STATE_AFTER:
        if (json_is_close(r, p))
            return json_read_close(r, p, ret);
        if (p == r->end || *p != ',') {
            (void)json_refuse_after(r, p, json_in_object(r));
            return -EINVAL;
        }
        p = json_space(p + 1, r->end);
        return json_in_object(r) ? json_read_key(r, p, ret) : json_read_value(r, p, ret);
    case STATE_FIRST_ELEMENT:
        return json_is_close(r, p) ? json_read_close(r, p, ret) : json_read_value(r, p, ret);
    case STATE_VALUE:
        return json_read_value(r, p, ret);
    case STATE_FIRST_KEY:
        return json_is_close(r, p) ? json_read_close(r, p, ret) : json_read_key(r, p, ret);
    case STATE_DONE:
        return json_read_end(r, p, ret);
    case STATE_FAILED:
        break;
    }
    return -EINVAL;
}

/* ---- whole values ---- */

/* Any value, with all that is in it. What is open is a stack of bits in a register: an object or not, the
 * innermost lowest. r->depth stays what it was. */
static const uint8_t *
json_pass_value(struct json *r, const uint8_t *p)
{
    const unsigned room = r->max_depth - r->depth;
    const uint8_t *const end = r->end;
    uint64_t objects = 0;
    unsigned n_open = 0;
    enum json_type type;
    struct slice name;
    bool has_escape;

    for (;;) {
        if ((objects & 1) != 0)
            p = json_pass_key(r, p, &name, &has_escape);
        if (p == NULL)
            return NULL;
        p = json_space(p, end);
        if (p < end && (*p == '{' || *p == '[')) {
            if (n_open++ == room)
                return json_refuse(r, p, "values nested too deeply");
            objects = objects << 1 | (*p == '{');
            p = json_space(p + 1, end);
            if (p == end || *p != json_closer(objects & 1))
                continue;
        } else if (p < end && *p == '"') {
            p = json_pass_string(r, p, &has_escape);
        } else {
            p = json_pass_scalar(r, p, &type, &has_escape);
        }
        if (p == NULL)
            return NULL;
        for (; n_open > 0; n_open--) {
            p = json_space(p, end);
            if (p < end && *p == ',')
                break;
            if (p == end || *p != json_closer(objects & 1))
                return json_refuse_after(r, p, objects & 1);
            objects >>= 1;
            p++;
        }
        if (n_open == 0)
            return p;
        p = json_space(p + 1, end);
    }
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

bool
json_enter_object(struct json *r)
{
    const uint8_t *p = json_space(r->p, r->end);

    if (r->state != STATE_VALUE || p == r->end || *p != '{' || r->depth >= r->max_depth)
        return false;
    r->p = json_pass_open(r, p);
    r->state = STATE_FIRST_KEY;
    return true;
}

int
json_end(struct json *r)
{
    const uint8_t *p = json_space(r->p, r->end);
    struct json_token t;

    if (r->state == STATE_DONE && p == r->end) {
        r->p = p;
        return 0;
    }
    return json_next(r, &t) == 0 ? json_fail(r, p, "something else than the end") : -EINVAL;
}

bool
json_has_more(struct json *r)
{
    r->p = json_space(r->p, r->end);
    if (r->state == STATE_DONE || r->state == STATE_FAILED)
        return false;
    return r->state == STATE_VALUE || !json_is_close(r, r->p);
}

int
json_skip(struct json *r, struct slice *ret_raw)
{
    const uint8_t *start = json_space(r->p, r->end), *p;

    if (r->state == STATE_AFTER && !json_in_object(r) && start < r->end && *start == ',')
        start = json_space(start + 1, r->end);
    else if (r->state == STATE_FAILED)
        return -EINVAL;
    else if (r->state != STATE_VALUE && r->state != STATE_FIRST_ELEMENT)
        return json_fail(r, start, "no value where one must be");
    p = json_pass_value(r, start);
    if (p == NULL)
        return -EINVAL;
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER;
    r->p = p;
    *ret_raw = slice_of(start, (size_t)(p - start));
    return 0;
}

/* A member, from its name on. */
static inline const uint8_t *
json_pass_member(struct json *r, const uint8_t *p, struct json_member *ret)
{
    bool has_escape = false;
    const uint8_t *value;

    p = json_pass_key(r, p, &ret->name, &has_escape);
    if (p == NULL)
        return NULL;
    ret->has_escape = has_escape;
    value = json_space(p, r->end);
    if (value < r->end && *value == '"')
        p = json_pass_string(r, value, &has_escape);
    else
        p = json_pass_value(r, value);
    if (p != NULL)
        ret->raw = slice_of(value, (size_t)(p - value));
    return p;
}

int
json_next_members(struct json *r, struct json_member *ret, unsigned max, unsigned *ret_n)
{
    const uint8_t *p = json_space(r->p, r->end);
    bool is_first = r->state == STATE_FIRST_KEY;
    unsigned n = 0;

    *ret_n = 0;
    if (r->state == STATE_FAILED)
        return -EINVAL;
    if (!is_first && (r->state != STATE_AFTER || !json_in_object(r)))
        return json_fail(r, p, "no member where one must be");
    for (; p == r->end || *p != '}'; is_first = false) {
        if (n == max) {
            r->p = p;
            r->state = STATE_AFTER;
            return 1;
        }
        if (!is_first)
            p = p < r->end && *p == ',' ? json_space(p + 1, r->end) : json_refuse_after(r, p, true);
        if (p != NULL)
            p = json_pass_member(r, p, &ret[n]);
        if (p == NULL)
            return -EINVAL;
        *ret_n = ++n;
        p = json_space(p, r->end);
    }
    r->depth--;
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER;
    r->p = p + 1;
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
    if (json_skip(&r, &raw) == 0 && json_next(&r, &t) == 0)
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

bool
json_key_is(const struct json_token *key, struct slice name, struct buf *scratch)
{
    if (!key->has_escape)
        return slice_equal(key->raw, name);
    buf_reset(scratch);
    json_unescape(scratch, key->raw);
    return slice_equal(buf_slice(scratch), name);
}

int
json_member(struct slice object, unsigned max_depth, struct slice name, struct slice *ret_raw)
{
    struct json_token t = {0};
    struct buf scratch;
    struct slice raw;
    struct json r;
    int found = 0, e;

    json_init(&r, object.p, object.n, max_depth);
    if (json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return -EINVAL;
    buf_init(&scratch, 0);
    for (;;) {
        e = json_next(&r, &t);
        if (e < 0 || t.type != JSON_KEY)
            break;
        e = json_skip(&r, &raw);
        if (e < 0)
            break;
        if (json_key_is(&t, name, &scratch)) {
            *ret_raw = raw;
            found = 1;
        }
    }
    if (e == 0) /* the object's end */
        e = json_next(&r, &t);
    if (buf_failed(&scratch))
        e = -ENOMEM;
    buf_fini(&scratch);
    return e < 0 ? e : found;
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

/* Where something must be escaped. */
static void
json_put_escaped(struct buf *out, const uint8_t *p, const uint8_t *end)
{
    buf_put_byte(out, '"');
    while (p < end) {
        const uint8_t *special = scan_plain(p, end, p, SCAN_SPECIAL);

        buf_put(out, p, (size_t)(special - p));
        p = special;
        if (p < end)
            json_put_escape(out, *p++);
    }
    buf_put_byte(out, '"');
}

void
json_put_string(struct buf *out, struct slice in)
{
    uint8_t *to = buf_reserve(out, in.n + 2);

    if (to == NULL)
        return;
    if (!scan_copy_plain(to + 1, in.p, in.n)) {
        json_put_escaped(out, in.p, in.p + in.n);
        return;
    }
    to[0] = to[in.n + 1] = '"';
    buf_commit(out, in.n + 2);
}
