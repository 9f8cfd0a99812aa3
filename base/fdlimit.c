/* SPDX-License-Identifier: Apache-2.0 */
/* RLIMIT_NOFILE. */
#include "config.h"

#include "base/fdlimit.h"

#include <errno.h>
#include <stddef.h>
#include <sys/resource.h>

int
fdlimit_raise(uint64_t *ret_limit)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -errno;
    if (limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            return -errno;
    }
    if (ret_limit != NULL)
        *ret_limit = limit.rlim_cur;
    return 0;
}
