/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's sections of the config file: broker, and the list topics. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "base/conf.h"

/* broker_options.backend */
enum broker_backend { BROKER_BACKEND_MEMORY, BROKER_BACKEND_SQLITE };

struct broker_options {
#define OPTION CONF_FIELD
#include "broker/options.tbl.h"
};
extern const struct conf_section broker_section;

/* store_options.sync is an enum sqlite_sync. */
struct store_options {
#define OPTION CONF_FIELD
#include "broker/store-options.tbl.h"
};
extern const struct conf_section store_section;

/* topic_options.retain */
enum topic_retain { TOPIC_RETAIN_FLAG, TOPIC_RETAIN_LAST, TOPIC_RETAIN_NONE };

/* topic_options.slow_consumer; also the policy of the TOPIC frame */
enum topic_slow_consumer {
    TOPIC_SLOW_DISCONNECT,
    TOPIC_SLOW_DROP_OLDEST,
    TOPIC_SLOW_CONFLATE,
    TOPIC_SLOW_CATCH_UP
};

/* topic_options.presence_mode */
enum topic_presence { TOPIC_PRESENCE_OFF, TOPIC_PRESENCE_MEMBERS, TOPIC_PRESENCE_COUNT };

/* One item. topics_section loads a struct conf_items whose p points to n of these, in the file's order: the
 * first whose match fits a topic is the one that holds. What fits none has topic_options_default(). */
struct topic_options {
#define OPTION CONF_FIELD
#include "broker/topic-options.tbl.h"
};
extern const struct conf_section topics_section;

/* The defaults of the table, with match "#". 0 or -ENOMEM; topic_options_fini() frees. */
int topic_options_default(struct topic_options *ret);
void topic_options_fini(struct topic_options *options);

/* What the tables cannot say: filters that are none; and that a group `queue` makes a queue. For a
 * conf_request's check. */
void topic_options_check(struct conf_check *check, struct conf_items *topics);

#endif
