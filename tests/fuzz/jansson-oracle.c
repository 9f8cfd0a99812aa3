/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tests/fuzz/jansson-oracle.h"

#include <jansson.h>
#include <string.h>

enum jansson_verdict
jansson_ask(const uint8_t *data, size_t size)
{
    json_error_t error;
    json_t *value = json_loadb(
        (const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);

    if (value != NULL) {
        json_decref(value);
        return JANSSON_TAKEN;
    }
    if (strstr(error.text, "overflow") != NULL || strstr(error.text, "too big") != NULL ||
        strstr(error.text, "NUL byte in object key") != NULL)
        return JANSSON_CANNOT_HOLD;
    return JANSSON_REFUSED;
}
