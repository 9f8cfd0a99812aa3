/* SPDX-License-Identifier: Apache-2.0 */
/* The options of the backend that keeps messages in the memory of the broker (its ops: backend_memory). */
#ifndef BACKENDS_MEMORY_MEMORY_H
#define BACKENDS_MEMORY_MEMORY_H

#include <stdint.h>

struct memory_options {
    uint64_t bytes_max;     /* of the histories of all topics together; 0: no limit */
    uint64_t key_window_ms; /* how long idempotency keys are remembered; 0: not at all */
    uint64_t keys_max;
};

#endif
