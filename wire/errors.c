/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "wire/errors.h"

struct error_text {
    const char *name, *sentence;
    int http;
};

static const struct error_text error_texts[ERROR_N] = {
    [ERROR_NONE] = {"none", "There was no error.", 200},
#define ERROR(NAME, code, status, text)                                                                      \
    [ERROR_##NAME] = {.name = (code), .sentence = (text), .http = (status)},
#include "wire/errors.tbl.h"
#undef ERROR
};

/* A code outside the table is a fault of ours, and said as one. */
static const struct error_text *
error_text(enum error_code code)
{
    return &error_texts[(unsigned)code < ERROR_N ? code : ERROR_INTERNAL];
}

const char *
error_code_name(enum error_code code)
{
    return error_text(code)->name;
}

const char *
error_code_sentence(enum error_code code)
{
    return error_text(code)->sentence;
}

int
error_code_http(enum error_code code)
{
    return error_text(code)->http;
}

enum error_code
error_code_find(struct slice name)
{
    for (unsigned i = ERROR_NONE + 1; i < ERROR_N; i++)
        if (slice_is(name, error_texts[i].name))
            return (enum error_code)i;
    return ERROR_INTERNAL;
}
