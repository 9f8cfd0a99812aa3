/* SPDX-License-Identifier: Apache-2.0 */
/* The longer forms: see mpput.h. */
#include "config.h"

#include "base/mpput.h"

#include <endian.h>

/* A mark and a number of 1, 2, 4 or 8 bytes; the marks of the four stand one behind the other. All eight
 * bytes are written: there is room for them where a number may stand. */
uint8_t *
mp_put_u64_long(uint8_t *at, uint64_t v)
{
    unsigned form = v <= UINT8_MAX ? 0 : v <= UINT16_MAX ? 1 : v <= UINT32_MAX ? 2 : 3;
    uint64_t bytes = htobe64(v << (64 - (8u << form)));

    *at = (uint8_t)(0xcc + form);
    memcpy(at + 1, &bytes, sizeof bytes);
    return at + 1 + (1u << form);
}

uint8_t *
mp_put_head_long(uint8_t *at, uint8_t mark, uint32_t n)
{
    unsigned form = n <= UINT8_MAX && mark != 0xdb ? 0 : n <= UINT16_MAX ? 1 : 2;
    uint32_t bytes = htobe32(n << (32 - (8u << form)));

    *at = (uint8_t)(mark + form);
    memcpy(at + 1, &bytes, sizeof bytes);
    return at + 1 + (1u << form);
}
