/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is a topic, what is a filter, and which matches which (DESIGN: topics and filters). Both sides of the
 * link judge by these functions.
 *
 *     topic    chat/room1        levels separated by '/', an empty level is a level
 *     filter   chat/+   chat/#   '+' one whole level, '#' the rest and only last; "a/#" matches "a" too
 *     $sys/x                     a wildcard in the first level does not match a name that begins with '$'
 */
#ifndef WIRE_NAMES_H
#define WIRE_NAMES_H

#include <stdbool.h>

#include "base/slice.h"

#define TOPIC_MAX_BYTES 1024
#define TOPIC_MAX_LEVELS 128

/* NULL if valid, else what is wrong, as a static clause ("it contains the control character at byte 3"
 * without the number: the function tells kinds, not positions). */
const char *topic_name_error(struct slice topic);
const char *filter_error(struct slice filter);

bool filter_has_wildcard(struct slice filter);
bool filter_matches(struct slice filter, struct slice topic);

/* How much of a limit on filters a valid one takes: 1 if it has up to 8 levels and up to 128 bytes, more if
 * it is larger. What a filter costs grows with its levels: 1000 of 128 levels take 12 MB, of 4 levels 400 KB.
 */
unsigned filter_weight(struct slice filter);

/* The name of a group of consumers: 1 to 64 letters, digits, '.', '_' and '-'. */
#define GROUP_MAX_BYTES 64
const char *group_name_error(struct slice group);

/* Who comes to TOPIC and goes is told on PRESENCE_PREFIX TOPIC. */
#define PRESENCE_PREFIX "$presence/"
/* What is said on TOPIC to those who are subscribed now, and not kept, goes to WHISPER_PREFIX TOPIC. */
#define WHISPER_PREFIX "$whisper/"
/* An asynchronous request on TOPIC waits on REQUESTS_PREFIX TOPIC, its reply is at REPLIES_PREFIX ID. */
#define REQUESTS_PREFIX "$requests/"
#define REPLIES_PREFIX "$replies/"

/* Names that only the bus itself publishes: $sys and below. */
bool topic_is_reserved(struct slice topic);

#endif
