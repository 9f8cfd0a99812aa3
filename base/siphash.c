/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-1-3: one round for each eight bytes, three to finish. */
#include "config.h"

#include "base/siphash.h"

#include <endian.h>
#include <string.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t
sip_rotate(uint64_t v, unsigned n)
{
    return v << n | v >> (64 - n);
}

static inline uint64_t
sip_load(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static inline void
sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = sip_rotate(s->v1, 13) ^ s->v0;
    s->v0 = sip_rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = sip_rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = sip_rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = sip_rotate(s->v1, 17) ^ s->v2;
    s->v2 = sip_rotate(s->v2, 32);
}

static inline void
sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

uint64_t
siphash13(const uint8_t key[16], const void *p, size_t n)
{
    uint64_t k0 = sip_load(key), k1 = sip_load(key + 8);
    struct sip s = {
        .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
        .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };
    const uint8_t *at = p;
    size_t left = n;
    uint64_t last = (uint64_t)n << 56;

    for (; left >= 8; at += 8, left -= 8)
        sip_word(&s, sip_load(at));
    if (n >= 8 && left > 0) /* the end of the last eight bytes: no loop over them */
        last |= sip_load(at + left - 8) >> (64 - 8 * left);
    else
        for (size_t i = 0; i < left; i++)
            last |= (uint64_t)at[i] << (8 * i);
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
