/* SPDX-License-Identifier: Apache-2.0 */
/* Sections limits, io and jwt, and group tls, of the config file: what all frontends have in common. */
#ifndef FRONTENDS_SDK_OPTIONS_H
#define FRONTENDS_SDK_OPTIONS_H

#include "base/conf.h"

struct limits_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/options.tbl.h"
};
extern const struct conf_section limits_section;

/* io_options.client_writes */
enum client_writes { CLIENT_WRITES_SEND, CLIENT_WRITES_IO_URING };

struct io_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/io-options.tbl.h"
};
extern const struct conf_section io_section;

/* jwt_options.algorithm is an enum jwt_algorithm. */
struct jwt_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/jwt-options.tbl.h"
};
extern const struct conf_section jwt_section;

/* tls_options.min_version */
enum tls_min_version { TLS_MIN_1_2, TLS_MIN_1_3 };

/* Group tls of a frontend's own section: the section's struct has it as its member `tls`, and its rows are
 * made by TLS_ROW. */
struct tls_options {
#define OPTION CONF_FIELD
#include "frontends/sdk/tls-options.tbl.h"
};
#define TLS_ROW(s_, name_, type_, field_, ...) CONF_ROW(s_, "tls." name_, type_, tls.field_, __VA_ARGS__)

/* Reads the files that the options name, as a start would, and notes what is wrong with them. */
void tls_options_check(
    struct conf_check *check, const struct conf_section *section, const struct tls_options *options);
/* "has expired" and the like: what is no error, but clients will hold against the certificate; or NULL. */
const char *tls_options_doubt(const struct tls_options *options);

#endif
