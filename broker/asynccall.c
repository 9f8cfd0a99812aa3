/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids and calls as text: see asynccall.h.
 *
 *     id      k3x…(26)                       base 32
 *     call    r<id>.<seq>.<delivery>.<code>  numbers in base 32; at most 63 bytes
 */
#include "config.h"

#include "broker/asynccall.h"

#include "backends/backend.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "wire/names.h"

#define CALL_FIRST 'r'
#define DIGITS "0123456789abcdefghjkmnpqrstvwxyz"

void
async_id_new(char id[ASYNC_ID_TEXT])
{
    uint8_t random[ASYNC_ID_TEXT];

    rand_bytes(random, sizeof(random));
    for (unsigned i = 0; i < ASYNC_ID_TEXT; i++) /* 130 bits */
        id[i] = DIGITS[random[i] & 31];
}

void
async_id_once(
    const uint8_t key[LEASE_KEY_BYTES], struct slice topic, struct slice once, char id[ASYNC_ID_TEXT])
{
    /* A key of its own, or ids would be codes of leases and calls. */
    const uint64_t own[2] = {siphash13(key, "request ids, 1", 14), siphash13(key, "request ids, 2", 14)};
    uint8_t text[2 + TOPIC_MAX_BYTES + RECORD_ONCE_MAX];
    uint64_t bits = 0;

    memcpy(text + 1, topic.p, topic.n);
    text[1 + topic.n] = '\0'; /* is in no topic */
    memcpy(text + 2 + topic.n, once.p, once.n);
    for (unsigned i = 0; i < ASYNC_ID_TEXT; i++, bits >>= 5) {
        text[0] = (uint8_t)i;
        if (i % 12 == 0)
            bits = siphash13((const uint8_t *)own, text, 2 + topic.n + once.n);
        id[i] = DIGITS[bits & 31];
    }
}

static int
digit_of(uint8_t c)
{
    const char *at = c != '\0' ? strchr(DIGITS, c) : NULL;

    return at != NULL ? (int)(at - DIGITS) : -1;
}

bool
async_id_is_one(struct slice text)
{
    if (text.n != ASYNC_ID_TEXT)
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (digit_of(text.p[i]) < 0)
            return false;
    return true;
}

static char *
put_number(char *at, uint64_t value)
{
    int n = 1;

    while (n < 13 && value >> (5 * n) != 0)
        n++;
    while (n-- > 0)
        *at++ = DIGITS[value >> (5 * n) & 31];
    return at;
}

static bool
get_number(struct slice *text, int last, uint64_t *ret)
{
    uint64_t value = 0;
    size_t n = 0;

    for (; n < text->n && text->p[n] != last; n++) {
        int digit = digit_of(text->p[n]);

        if (n >= 13 || digit < 0)
            return false;
        value = value << 5 | (uint64_t)digit;
    }
    if (n == 0 || (last >= 0) != (n < text->n))
        return false;
    n += last >= 0;
    *text = slice_of(text->p + n, text->n - n);
    *ret = value;
    return true;
}

static uint64_t
code_of(const uint8_t key[LEASE_KEY_BYTES], const struct asynccall *call)
{
    uint8_t parts[ASYNC_ID_TEXT + 16];
    uint64_t n = call->n_deliveries;

    memcpy(parts, call->id, ASYNC_ID_TEXT);
    memcpy(parts + ASYNC_ID_TEXT, &call->seq, 8);
    memcpy(parts + ASYNC_ID_TEXT + 8, &n, 8);
    return siphash13(key, parts, sizeof(parts));
}

struct slice
asynccall_put(
    const uint8_t key[LEASE_KEY_BYTES], const struct asynccall *call, char text[ASYNC_CALL_TEXT_MAX])
{
    char *at = text;

    *at++ = CALL_FIRST;
    memcpy(at, call->id, ASYNC_ID_TEXT);
    at += ASYNC_ID_TEXT;
    *at++ = '.';
    at = put_number(at, call->seq);
    *at++ = '.';
    at = put_number(at, call->n_deliveries);
    *at++ = '.';
    at = put_number(at, code_of(key, call));
    return slice_of(text, (size_t)(at - text));
}

bool
asynccall_get(const uint8_t key[LEASE_KEY_BYTES], struct slice text, struct asynccall *ret)
{
    struct asynccall call;
    uint64_t n_deliveries, code;

    if (text.n <= 1 + ASYNC_ID_TEXT || text.n > ASYNC_CALL_TEXT_MAX || text.p[0] != CALL_FIRST ||
        !async_id_is_one(slice_of(text.p + 1, ASYNC_ID_TEXT)) || text.p[1 + ASYNC_ID_TEXT] != '.')
        return false;
    memcpy(call.id, text.p + 1, ASYNC_ID_TEXT);
    text = slice_of(text.p + ASYNC_ID_TEXT + 2, text.n - ASYNC_ID_TEXT - 2);
    if (!get_number(&text, '.', &call.seq) || !get_number(&text, '.', &n_deliveries) ||
        !get_number(&text, -1, &code) || n_deliveries > UINT32_MAX)
        return false;
    call.n_deliveries = (uint32_t)n_deliveries;
    if (code != code_of(key, &call))
        return false;
    *ret = call;
    return true;
}
