/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call of the kernel that writes to many sockets: what send() would do for each, done for all by io_uring
 * before the call returns. Nothing is under way between two calls, so what is sent need only stay where it is
 * from multisend_push() to the end of multisend_flush(). Knows nothing of connections.
 */
#ifndef SDK_MULTISEND_H
#define SDK_MULTISEND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct multisend;

/* So many at most between two flushes. They take the kernel about a millisecond, in which it lets nobody else
 * have this processor. */
#define MULTISEND_MAX 256u

/* -EOPNOTSUPP: built without liburing; -ENOSYS: the kernel has no io_uring, or one that cannot send; -EPERM
 * and others: it is not allowed here. */
int multisend_new(struct multisend **ret);
struct multisend *multisend_free(struct multisend *ms);

/* Only while there is room. The socket is non-blocking. */
void multisend_push(struct multisend *ms, int fd, const void *p, size_t n, void *arg);
bool multisend_is_full(const struct multisend *ms);

/* What send() would have given for one: how many bytes, or negative errno. May not call multisend. */
typedef void (*multisend_sent_fn)(void *arg, ssize_t r);
/* Sends all, then tells of each, in order. Returns how many there were; they may be asked for by
 * multisend_arg() until the next push. */
unsigned multisend_flush(struct multisend *ms, multisend_sent_fn on_sent);
void *multisend_arg(const struct multisend *ms, unsigned i);
/* The last flush was one call: not so few that send() is cheaper, and the kernel took them. */
bool multisend_was_one_call(const struct multisend *ms);

/* The kernel refused and will not be asked any more: everything goes by send(). */
bool multisend_has_failed(const struct multisend *ms);

#endif
