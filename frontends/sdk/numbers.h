/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers by which the broker is told of things of this process: requests under way, consumers, members. A
 * number is given once in the life of a process, so that what comes late for one that is over is known as
 * such, and never meant for another. From 1 << 24 on: below are the numbers that are given again (hub_req).
 */
#ifndef SDK_NUMBERS_H
#define SDK_NUMBERS_H

#include <stdbool.h>
#include <stdint.h>

struct numbers_slot;

struct numbers {
    struct numbers_slot *slots;
    uint32_t n_slots;
    uint32_t first_free; /* of a chain; n_slots: there is none */
    uint64_t count;      /* of all that were given */
};

void numbers_init(struct numbers *n);
void numbers_fini(struct numbers *n); /* the values are the caller's */

/* A number for the value, which is not NULL; 0 if memory ran out. */
uint64_t numbers_add(struct numbers *n, void *value);
/* NULL if there is no such value any more, or never was. */
void *numbers_find(const struct numbers *n, uint64_t number);
void numbers_remove(struct numbers *n, uint64_t number);
/* It may have been given: what comes for it is late at worst. */
bool numbers_was_given(const struct numbers *n, uint64_t number);

#endif
