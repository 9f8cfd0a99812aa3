/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole configuration: every section of every process, as check-config and up need it, and what can only
 * be said with all of it in hand.
 */
#ifndef CLI_ALLCONF_H
#define CLI_ALLCONF_H

#include "base/options.h"
#include "base/proc.h"
#include "broker/options.h"
#include "cli/options.h"
#include "frontends/dialects/actioncable/options.h"
#include "frontends/http/options.h"
#include "frontends/sdk/options.h"
#include "frontends/tcp/options.h"
#include "frontends/ws/options.h"
#include "wire/options.h"

struct allconf {
    struct bus_options bus;
    struct log_options log;
    struct link_options link;
    struct broker_options broker;
    struct store_options store;
    struct conf_items topics; /* of struct topic_options */
    struct limits_options limits;
    struct io_options io;
    struct ws_options ws;
    struct jwt_options jwt;
    struct cable_options cable;
    struct conf_items channels; /* of struct channel_options */
    struct http_options http;
    struct tcp_options tcp;
    struct up_options up;
};

/* All sections in the order of the sample file; ends with NULL. */
extern const struct conf_section *const allconf_sections[];
#define ALLCONF_N_SECTIONS 15

/* As conf_load(), and then what holds between sections. ret must be zero. */
int allconf_load(struct allconf *ret, const struct proc_args *args, struct conf_errors *errs);
/* And whether the files that the frontends need (certificates, keys) can be used: for who runs them, or asks
 * whether they would run. Others may not read a key. */
int allconf_load_to_run(struct allconf *ret, const struct proc_args *args, struct conf_errors *errs);
void allconf_free(struct allconf *conf);

/* What a reload from old to new cannot take over, as "ws.listen, ws.workers"; the number of names. */
size_t allconf_diff(struct allconf *old, struct allconf *new, struct buf *ret_names);

/* runtime_dir is what it is when nobody chooses: the one value that may be replaced. */
bool allconf_has_default_dir(const struct allconf *conf);
/* Likewise store.path. */
bool allconf_has_default_store(const struct allconf *conf);

/* What a frontend may listen on: its options' names. */
#define ALLCONF_N_LISTENS 2
extern const char *const allconf_listens[ALLCONF_N_LISTENS]; /* "listen", "tls.listen" */

/* One of the frontends, as `busbar up` sees them. */
struct allconf_frontend {
    const char *name; /* "ws"; also its section's and its program's */
    bool is_enabled;
    const struct conf_address *listen[ALLCONF_N_LISTENS]; /* text is NULL: it does not */
    const struct tls_options *tls;
    unsigned workers;
};
#define ALLCONF_N_FRONTENDS 3
void allconf_frontends(const struct allconf *conf, struct allconf_frontend ret[ALLCONF_N_FRONTENDS]);

#endif
