/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes from the kernel: for keys, epochs, session ids, masks. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>

/* Cannot fail: a kernel without getrandom(2) aborts the process, for nothing that needs unguessable bytes
 * could go on with others. */
void rand_bytes(void *p, size_t n);

#endif
