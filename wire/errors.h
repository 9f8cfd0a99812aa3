/* SPDX-License-Identifier: Apache-2.0 */
/* The error codes of wire/errors.tbl.h as an enum, with their texts. */
#ifndef WIRE_ERRORS_H
#define WIRE_ERRORS_H

#include "base/slice.h"

enum error_code {
    ERROR_NONE,
#define ERROR(NAME, code, http, sentence) ERROR_##NAME,
#include "wire/errors.tbl.h"
#undef ERROR
    ERROR_N,
};

const char *error_code_name(enum error_code code); /* "topic_invalid" */
const char *error_code_sentence(enum error_code code);
int error_code_http(enum error_code code);          /* 400 */
enum error_code error_code_find(struct slice name); /* ERROR_INTERNAL if unknown */

#endif
