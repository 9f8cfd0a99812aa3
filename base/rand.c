/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes over getrandom(2). */
#include "config.h"

#include "base/rand.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

void
rand_bytes(void *p, size_t n)
{
    uint8_t *at = p;

    while (n > 0) {
        ssize_t r = getrandom(at, n, 0);

        if (r < 0 && errno != EINTR)
            abort();
        if (r > 0) {
            at += r;
            n -= (size_t)r;
        }
    }
}
