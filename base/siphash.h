/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-1-3 (Aumasson, Bernstein): a keyed hash for tables whose keys are chosen by strangers. */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash13(const uint8_t key[16], const void *p, size_t n);

#endif
