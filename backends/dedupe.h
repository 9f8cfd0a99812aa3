/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was published already, so that a repeat is not appended twice. Two kinds of repeat:
 *
 *     a frontend that lost its link sends again what was not acknowledged, under the same (boot, publish
 * number): for each boot the last DEDUPE_WINDOW numbers are remembered with the seq that they got;
 *
 *     a client that got no answer publishes again under the same (topic, key): remembered for a time.
 *
 * Both are bounded in number; what is pushed out is the least recently used boot and the oldest key.
 */
#ifndef BACKENDS_DEDUPE_H
#define BACKENDS_DEDUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/table.h"

#define DEDUPE_WINDOW 65536u /* publish numbers of one boot, a power of two */
#define DEDUPE_BOOTS_MAX 2048u
#define DEDUPE_BOOT_IDLE_MS (60u * 60 * 1000)

struct dedupe_boot;
struct dedupe_key;

struct dedupe {
    struct table boots;
    struct dedupe_boot *oldest_boot, *newest_boot; /* by last use */
    struct table keys;
    struct dedupe_key *oldest_key, *newest_key; /* by arrival, so by age */
    uint64_t key_window_ms;                     /* 0: keys are not remembered */
    uint64_t keys_max;
};

enum dedupe_outcome { DEDUPE_NEW, DEDUPE_REPEATED, DEDUPE_FORGOTTEN };

/* What was kept aside has no seq yet: when it is due stands in its place, negative. */
static inline uint64_t
dedupe_aside(int64_t due_ms)
{
    return (uint64_t)-due_ms;
}

static inline bool
dedupe_is_aside(uint64_t seq, uint64_t *ret_due_ms)
{
    bool is_aside = (int64_t)seq < 0;

    if (is_aside)
        *ret_due_ms = -seq;
    return is_aside;
}

void dedupe_init(struct dedupe *d);
void dedupe_fini(struct dedupe *d);

/* Was it published before? Makes room to note it, so that dedupe_note_pub() cannot fail. An outcome or
 * -ENOMEM. */
int dedupe_check_pub(struct dedupe *d, uint64_t boot, uint64_t pub, uint64_t now_ms, uint64_t *ret_seq);
/* Right after dedupe_check_pub() said DEDUPE_NEW. */
void dedupe_note_pub(struct dedupe *d, uint64_t boot, uint64_t pub, uint64_t seq);
/* What was noted did not come about: the number is new again. */
void dedupe_undo_pub(struct dedupe *d, uint64_t boot, uint64_t pub);

/* The seq under which the key was published on the topic, or 0. */
uint64_t dedupe_find_key(struct dedupe *d, uint32_t topic, struct slice key, uint64_t now_ms);
int dedupe_note_key(struct dedupe *d, uint32_t topic, struct slice key, uint64_t seq, uint64_t now_ms);

/* Forgets what is too old, at most `budget` of each kind. */
void dedupe_expire(struct dedupe *d, uint64_t now_ms, unsigned budget);

#endif
