/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a config file: taken or refused with errors, never more; and what was taken is inside its
 * bounds. */
#include "config.h"

#include <stdlib.h>

#include "base/options.h"
#include "tests/unit/base/test-conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct conf_errors errs;
    static const char *const ignored[] = {"ws", NULL};
    struct demo demo = {0};
    struct conf_items items = {0};
    struct bus_options bus = {0};
    const struct conf_bind binds[] = {{&bus_section, &bus}, {&demo_section, &demo}, {&items_section, &items}};
    const struct conf_request req = {.binds = binds, .n_binds = 3, .ignored = ignored};

    int r = conf_load_memory(&req, "fuzz.yaml", data, size, &errs);
    if ((r == 0) != (errs.n == 0))
        abort();
    if (r == 0 && (demo.count < 1 || demo.count > 100 || demo.title == NULL || bus.runtime_dir[0] == '\0'))
        abort();
    if (r != 0 && (demo.title != NULL || items.p != NULL || bus.runtime_dir != NULL))
        abort();
    for (size_t i = 0; i < items.n; i++) {
        if (((struct demo_item *)items.p)[i].match[0] == '\0')
            abort();
    }
    conf_free(binds, 3);
    return 0;
}
