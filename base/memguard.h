/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says when memory is nearly used up, so that new work is refused well before an allocation fails: in a
 * library below us that would be the end of the process. What is "nearly" is measured against RLIMIT_AS,
 * RLIMIT_DATA, and an option for resident memory, whichever is the nearest. Without any of them it does
 * nothing at all.
 *
 *     used > limit - reserve                 tight: new connections, publishes, subscriptions are refused
 *     used < limit - reserve - reserve / 4   as before
 *
 * What malloc keeps for itself is given back, or counted as free, while it is tight: else nothing that is
 * freed would ever show. The figures are read ten times a second, and again when much was asked for in
 * between.
 */
#ifndef BASE_MEMGUARD_H
#define BASE_MEMGUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct memguard;

/* option: the name of the option whose value memguard_set_max() gets. refused: what the caller refuses while
 * it is tight, for the log ("new connections and publishes"). Both live as long as the guard. Where the
 * address space is limited this changes how malloc uses it: call it before there are threads. 0 or -ENOMEM.
 */
int memguard_new(struct loop *loop, const char *option, const char *refused, struct memguard **ret);
struct memguard *memguard_free(struct memguard *guard); /* NULL is fine; returns NULL */

/* Bytes of resident memory; 0: no such limit. At once, and at any time. */
void memguard_set_max(struct memguard *guard, uint64_t bytes);

/* NULL: no guard, never tight. */
bool memguard_is_tight(const struct memguard *guard);

/* About n bytes are wanted, for a while at least: a burst between two looks at the figures is seen by this.
 * True if it is tight (n has nothing to do with that: it may well be refused by it). */
bool memguard_take(struct memguard *guard, size_t n);

/* The smallest limit there is; 0: none. */
uint64_t memguard_limit(const struct memguard *guard);

#endif
