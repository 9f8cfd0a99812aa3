/* SPDX-License-Identifier: Apache-2.0 */
/* Ids of asynchronous requests, and the calls that responders get, as text: see asyncrequest.h. */
#ifndef BROKER_ASYNCCALL_H
#define BROKER_ASYNCCALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/lease.h"

/* 128 random bits in letters and digits. */
#define ASYNC_ID_TEXT 26u
#define ASYNC_CALL_TEXT_MAX 64u

struct asynccall {
    char id[ASYNC_ID_TEXT];
    uint64_t seq;
    uint32_t n_deliveries;
};

void async_id_new(char id[ASYNC_ID_TEXT]);
/* Always the same for these, and not to be guessed without the key. */
void async_id_once(
    const uint8_t key[LEASE_KEY_BYTES], struct slice topic, struct slice once, char id[ASYNC_ID_TEXT]);
bool async_id_is_one(struct slice text);

struct slice asynccall_put(
    const uint8_t key[LEASE_KEY_BYTES], const struct asynccall *call, char text[ASYNC_CALL_TEXT_MAX]);
/* False: it is none of ours. */
bool asynccall_get(const uint8_t key[LEASE_KEY_BYTES], struct slice text, struct asynccall *ret);

#endif
