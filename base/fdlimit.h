/* SPDX-License-Identifier: Apache-2.0 */
/* The limit of open descriptors. Each client connection costs one; the usual soft limit is 1024. */
#ifndef BASE_FDLIMIT_H
#define BASE_FDLIMIT_H

#include <stdint.h>

/* Raises the soft limit to the hard one. *ret_limit (may be NULL) is the limit that now holds. 0 or
 * -errno. */
int fdlimit_raise(uint64_t *ret_limit);

#endif
