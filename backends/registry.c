/* SPDX-License-Identifier: Apache-2.0 */
/* The backends by name. A new one is a row here. */
#include "config.h"

#include "backends/backend.h"

static const struct backend_ops *const backends[] = {
    &backend_memory,
    &backend_sqlite,
};

const struct backend_ops *
backend_find(struct slice name)
{
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
        if (slice_is(name, backends[i]->name))
            return backends[i];
    return NULL;
}

const char *
backend_names(void)
{
    return "memory, sqlite";
}
