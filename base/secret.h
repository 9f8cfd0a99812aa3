/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A secret that the config names: a file, or a variable of the environment. Never in the config itself, and
 * never in a log.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/buf.h"

#define SECRET_MAX (64u * 1024)

/* file and env: the options' values, "" for none; both is an error. The line breaks at a file's end are not
 * part of it. what names the options in the log ("cable.streams_secret"). 0 (with an empty buffer if neither
 * is given), or negative errno after logging why. */
int secret_load(const char *file, const char *env, const char *what, struct buf *ret);

/* Overwrites and frees it. */
void secret_fini(struct buf *secret);

#endif
