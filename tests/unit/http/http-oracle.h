/* SPDX-License-Identifier: Apache-2.0 */
/* libhttp-parser as the judge of our own request parser: what we take, it must take, and read alike. */
#ifndef TESTS_UNIT_HTTP_HTTP_ORACLE_H
#define TESTS_UNIT_HTTP_HTTP_ORACLE_H

#include <stddef.h>
#include <stdint.h>

struct httpreq;

/* wire: the request's bytes as they came, before any chunk was decoded. NULL if the oracle agrees with req
 * (or cannot judge: no such library, a method it does not know), else what it saw differently. */
const char *oracle_disagrees(const uint8_t *wire, size_t n, const struct httpreq *req);

#endif
