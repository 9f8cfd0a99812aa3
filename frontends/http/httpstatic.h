/* SPDX-License-Identifier: Apache-2.0 */
/* The files that busbar-http serves beside the bus: the console, the JavaScript client, and whatever is in
 * http.static_dir. */
#ifndef FRONTENDS_HTTP_HTTPSTATIC_H
#define FRONTENDS_HTTP_HTTPSTATIC_H

#include "base/buf.h"
#include "base/slice.h"

struct http_main;
struct http_options;
struct httpstatic;

#define HTTPSTATIC_MAX_BYTES (8u * 1024 * 1024)

/* Finds the folders. -ENOENT, ... after logging, if http.static_dir is not one. */
int httpstatic_new(
    const struct http_options *options, const struct http_main *where, struct httpstatic **ret);
struct httpstatic *httpstatic_free(struct httpstatic *files);

/* After a reload. */
void httpstatic_set_options(struct httpstatic *files, const struct http_options *options);

struct httpfile {
    struct buf data;
    const char *type;
    char etag[40];
};

/* path as decoded, with its '/'. 0 (then httpfile_fini()), or -ENOENT for what is not there, not a plain
 * file, too large, hidden, or outside. */
int httpstatic_read(struct httpstatic *files, struct slice path, struct httpfile *ret);
void httpfile_fini(struct httpfile *file);

#endif
