/* SPDX-License-Identifier: Apache-2.0 */
/* Leases as text: see lease.h. */
#include "config.h"

#include "broker/lease.h"

#include "base/siphash.h"

#define LEASE_FIRST 'q'

static char *
put_hex(char *at, uint64_t value)
{
    int n = 1;

    while (n < 16 && value >> (4 * n) != 0)
        n++;
    while (n-- > 0)
        *at++ = "0123456789abcdef"[value >> (4 * n) & 15];
    return at;
}

static uint64_t
code_of(const uint8_t key[LEASE_KEY_BYTES], const struct lease *lease)
{
    const uint64_t parts[3] = {lease->group, lease->seq, lease->n_deliveries};

    return siphash13(key, parts, sizeof(parts));
}

struct slice
lease_put(const uint8_t key[LEASE_KEY_BYTES], const struct lease *lease, char text[LEASE_TEXT_MAX])
{
    char *at = text;

    *at++ = LEASE_FIRST;
    at = put_hex(at, lease->group);
    *at++ = '.';
    at = put_hex(at, lease->seq);
    *at++ = '.';
    at = put_hex(at, lease->n_deliveries);
    *at++ = '.';
    at = put_hex(at, code_of(key, lease));
    return slice_of(text, (size_t)(at - text));
}

bool
lease_is_one(struct slice text)
{
    return text.n > 0 && text.p[0] == LEASE_FIRST;
}

/* A number as put_hex() writes it, up to `last` or the end. */
static bool
get_hex(struct slice *text, int last, uint64_t *ret)
{
    uint64_t value = 0;
    size_t n = 0;

    for (; n < text->n && text->p[n] != last; n++) {
        uint8_t c = text->p[n];

        if (n >= 16 || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (n == 0 || (last >= 0) != (n < text->n))
        return false;
    n += last >= 0;
    *text = slice_of(text->p + n, text->n - n);
    *ret = value;
    return true;
}

bool
lease_get(const uint8_t key[LEASE_KEY_BYTES], struct slice text, struct lease *ret)
{
    uint64_t n_deliveries, code;
    struct lease lease;

    if (!lease_is_one(text) || text.n > LEASE_TEXT_MAX)
        return false;
    text = slice_of(text.p + 1, text.n - 1);
    if (!get_hex(&text, '.', &lease.group) || !get_hex(&text, '.', &lease.seq) ||
        !get_hex(&text, '.', &n_deliveries) || !get_hex(&text, -1, &code) || n_deliveries > UINT32_MAX)
        return false;
    lease.n_deliveries = (uint32_t)n_deliveries;
    if (code != code_of(key, &lease))
        return false;
    *ret = lease;
    return true;
}
