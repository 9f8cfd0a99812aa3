/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the broker together, runs it, reloads it, takes it apart. */
#include "config.h"

#include "broker/broker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memguard.h"
#include "base/notify.h"
#include "base/proc.h"
#include "base/rand.h"
#include "broker/asyncrequest.h"
#include "broker/hello.h"
#include "broker/links.h"
#include "broker/listing.h"
#include "broker/outbox.h"
#include "broker/presence.h"
#include "broker/publish.h"
#include "broker/queue.h"
#include "broker/request.h"
#include "broker/responders.h"
#include "broker/runtime.h"
#include "broker/settings.h"
#include "broker/sys.h"
#include "broker/topic.h"
#include "wire/frame.h"
#include "wire/names.h"
#include "wire/transport.h"

_Static_assert(MESSAGE_BINARY == RECORD_BINARY, "the backends know the kind by its own name");
_Static_assert(MESSAGE_RETAIN == RECORD_RETAIN, "the backends know the flag by its own name");

#define TICK_MS 100u
#define RUNTIME_CHECK_MS 1000u
#define TICK_TOPICS 1000u    /* of the store's trimming by age, and of forgetting idle topics, at least */
#define TICKS_PER_ROUND 600u /* all topics are looked at once in so many ticks: a minute */
#define STOP_MS 1500u        /* GOODBYE waits a second for each BYE */

/* ---- Config. ---- */

#define N_BINDS 6u

static void
config_binds(struct broker_config *config, struct conf_bind binds[N_BINDS])
{
    binds[0] = (struct conf_bind){&bus_section, &config->bus};
    binds[1] = (struct conf_bind){&log_section, &config->log};
    binds[2] = (struct conf_bind){&broker_section, &config->broker};
    binds[3] = (struct conf_bind){&store_section, &config->store};
    binds[4] = (struct conf_bind){&topics_section, &config->topics};
    binds[5] = (struct conf_bind){&link_section, &config->link};
}

static void
broker_config_check(struct conf_check *check, void *arg)
{
    struct broker_config *config = arg;

    topic_options_check(check, &config->topics);
}

int
broker_config_load(struct broker_config *config, const char *path, const char *const *set, size_t n_set)
{
    struct conf_bind binds[N_BINDS];
    struct conf_errors errors = {0};
    struct conf_request request = {.path = path,
        .binds = binds,
        .n_binds = N_BINDS,
        .ignored = conf_all_sections,
        .set = set,
        .n_set = n_set,
        .check = broker_config_check,
        .check_arg = config};
    int r;

    config_binds(config, binds);
    r = conf_load(&request, &errors);
    if (r < 0)
        conf_errors_print(&errors, stderr);
    return r;
}

void
broker_config_free(struct broker_config *config)
{
    struct conf_bind binds[N_BINDS];

    config_binds(config, binds);
    conf_free(binds, N_BINDS);
}

/* ---- The store. ---- */

/* What the backend that was chosen calls its options. */
union backend_options {
    struct memory_options memory;
    struct sqlite_options sqlite;
};

/* History alone must not fill the memory there is: nothing could be published any more until it is old. */
static uint64_t
history_max(const struct broker *broker)
{
    uint64_t most = memguard_limit(broker->memory) / 2;

    return most > 0 && most < broker->options.history_max ? most : broker->options.history_max;
}

static union backend_options
backend_options(const struct broker *broker)
{
    const struct broker_options *options = &broker->options;
    const struct store_options *store = &broker->config.store;

    if (broker->store_ops == &backend_sqlite)
        return (union backend_options){.sqlite = {
                                           .path = store->path,
                                           .sync = (enum sqlite_sync)store->sync,
                                           .sync_interval_ms = store->sync_interval_ms,
                                           .cache_bytes = store->cache_bytes,
                                           .queue_max = store->queue_max,
                                           .queue_bytes = store->queue_bytes,
                                           .bytes_max = options->history_max,
                                           .key_window_ms = options->dedupe_window_ms,
                                           .keys_max = options->dedupe_keys,
                                       }};
    return (union backend_options){.memory = {
                                       .bytes_max = history_max(broker),
                                       .key_window_ms = options->dedupe_window_ms,
                                       .keys_max = options->dedupe_keys,
                                   }};
}

static void
broker_on_record(struct record *record, void *arg)
{
    const struct topic *topic = record->topic;

    outbox_deliver(arg, record);
    if (topic->queue != NULL)
        queue_on_record(record);
    asyncrequest_on_record(arg, record);
}

static int
broker_on_topic(struct slice name, struct store_topic *store, void **ret_cookie,
    struct store_limits *ret_limits, void *arg)
{
    struct topic *topic;
    int r = topic_name_error(name) != NULL ? -EUCLEAN : topic_restore(arg, name, store, &topic);

    if (r < 0)
        return r;
    *ret_cookie = topic;
    *ret_limits = topic->setting->limits;
    return 0;
}

/* Whoever started us starts us again. */
static void
broker_on_broken(void *arg)
{
    struct broker *broker = arg;

    broker->is_broken = true;
    loop_stop(broker->loop);
}

static const struct backend_ops *
choose_backend(const struct broker *broker)
{
    if (broker->config.store_ops != NULL)
        return broker->config.store_ops;
    return broker->options.backend == BROKER_BACKEND_SQLITE ? &backend_sqlite : &backend_memory;
}

/* 0 or a PROC_EXIT_. */
static int
broker_open_store(struct broker *broker)
{
    union backend_options options;
    struct store_host host = {
        .on_record = broker_on_record,
        .on_appended = publish_on_appended,
        .on_topic = broker_on_topic,
        .on_group = queue_on_group,
        .on_group_item = queue_on_group_item,
        .on_saved = queue_on_saved,
        .on_broken = broker_on_broken,
        .arg = broker,
    };
    int r;

    broker->store_ops = choose_backend(broker);
    options = backend_options(broker);
    r = broker->store_ops->open(&options, broker->loop, &host, &broker->store);
    if (r == 0 && broker->store_ops->restore != NULL)
        r = broker->store_ops->restore(broker->store);
    if (r < 0) {
        log_error("the store %s cannot be opened: %s", broker->store_ops->name, strerror(-r));
        return r == -EWOULDBLOCK ? PROC_EXIT_IN_USE : PROC_EXIT_FAILURE;
    }
    broker->last_seq = broker->store_ops->last_seq(broker->store);
    queues_start(broker);
    return 0;
}

/* ---- Timers and hooks. ---- */

/* Somebody may have cleaned up where our sockets are. The links that stand do not need it, new ones do. */
static void
broker_check_runtime(struct broker *broker)
{
    uint64_t now_ms = loop_now_ms(broker->loop);

    if (broker->is_stopping || now_ms - broker->looked_at_ms < RUNTIME_CHECK_MS)
        return;
    broker->looked_at_ms = now_ms;
    if (runtime_is_there(broker->runtime_dir, broker->lock_fd))
        return;
    log_error("%s was removed or replaced, at least in part: making it anew", broker->runtime_dir);
    if (broker->lock_fd >= 0)
        (void)close(broker->lock_fd);
    broker->lock_fd = -1;
    /* The lock first: closing the old control socket removes what is at its path. */
    if (runtime_open(broker->runtime_dir, broker->transport->path_max, &broker->lock_fd) != 0)
        return; /* why was logged; again in a second */
    hello_stop(broker);
    if (hello_serve(broker) < 0)
        log_error("%s: the control socket cannot be opened again", broker->runtime_dir);
}

static void
broker_on_tick(void *arg)
{
    struct broker *broker = arg;
    unsigned share = broker->topics.n_handles / TICKS_PER_ROUND;

    if (share < TICK_TOPICS)
        share = TICK_TOPICS;
    broker->store_ops->tick(broker->store, share);
    topics_expire(broker, share);
    broker_check_runtime(broker);
    loop_timer_start(broker->loop, &broker->tick, TICK_MS);
}

static void
broker_on_position(void *arg)
{
    outbox_tell_position(arg);
}

/* ---- Stopping and reloading. ---- */

static void
broker_on_stop_timer(void *arg)
{
    struct broker *broker = arg;

    loop_stop(broker->loop);
}

void
broker_stop(struct broker *broker)
{
    if (broker->is_stopping)
        return;
    broker->is_stopping = true;
    notify_stopping();
    log_notice("stopping: %u frontends are told", broker->n_peers);
    hello_stop(broker);
    sys_stop(broker);
    loop_timer_start(broker->loop, &broker->stop_timer, STOP_MS);
    links_part(broker, "the broker is stopping");
    broker_on_peer_gone(broker);
}

void
broker_on_peer_gone(struct broker *broker)
{
    if (broker->is_stopping && broker->n_peers == 0)
        loop_stop(broker->loop);
}

uint64_t
broker_grace_left_ms(const struct broker *broker)
{
    uint64_t age_ms = loop_now_ms(broker->loop) - broker->served_ms;

    return age_ms < broker->options.grace_ms ? broker->options.grace_ms - age_ms : 0;
}

/* What needs a restart stays as it is, and is named. */
static void
keep_restart_options(struct broker *broker, const struct broker_config *config)
{
    struct buf names;

    buf_init(&names, 0);
    (void)conf_diff(&broker_section, &broker->config.broker, &config->broker, &names);
    if (names.n > 0)
        log_warn("these changes need a restart of the broker: %.*s", (int)names.n, (const char *)names.p);
    buf_reset(&names);
    (void)conf_diff(&store_section, &broker->config.store, &config->store, &names);
    if (names.n > 0)
        log_warn("these changes need a restart of the broker: %.*s", (int)names.n, (const char *)names.p);
    buf_reset(&names);
    (void)conf_diff(&bus_section, &broker->config.bus, &config->bus, &names);
    if (broker->config.link.transport !=
        config->link.transport) /* the rest of that section is the frontends' */
        buf_put_str(&names, names.n > 0 ? ", link.transport" : "link.transport");
    if (names.n > 0)
        log_warn("these changes need a restart of the whole bus: %.*s", (int)names.n, (const char *)names.p);
    buf_fini(&names);
    struct broker_options old = broker->options;
    broker->options = config->broker;
    broker->options.backend = old.backend;
    broker->options.links_max = old.links_max;
    broker->options.link_credit = old.link_credit;
    broker->options.heartbeat_ms = old.heartbeat_ms;
}

void
broker_reload(struct broker *broker)
{
    struct broker_config config = {0};
    struct settings *settings;
    union backend_options options;

    notify_reloading();
    if (broker_config_load(&config, broker->config_path, broker->set, broker->n_set) < 0) {
        log_error("the config file has errors: nothing was changed");
        notify_ready();
        return;
    }
    if (settings_new(&config.topics, config.broker.max_message, &settings) < 0) {
        log_error("memory ran out during the reload: nothing was changed");
        broker_config_free(&config);
        notify_ready();
        return;
    }
    keep_restart_options(broker, &config);
    memguard_set_max(broker->memory, broker->options.memory_max);
    links_apply_options(broker);
    broker_config_free(&broker->config);
    broker->config = config;
    log_set_level((enum log_level)config.log.level);
    struct settings *old = broker->settings;
    broker->settings = settings;
    topics_apply_settings(broker);
    presence_apply_settings(broker);
    settings_free(old);
    options = backend_options(broker);
    if (broker->store_ops->configure != NULL)
        broker->store_ops->configure(broker->store, &options);
    log_notice("the config file was read again");
    notify_ready();
}

static void
broker_on_signal(int number, void *arg)
{
    if (number == SIGHUP)
        broker_reload(arg);
    else
        broker_stop(arg);
}

/* ---- Life. ---- */

static int
broker_init(struct broker *broker)
{
    int r = loop_new(&broker->loop);

    if (r < 0)
        return r;
    r = memguard_new(
        broker->loop, "broker.memory_max", "publishes, subscriptions and new links", &broker->memory);
    if (r < 0)
        return r;
    memguard_set_max(broker->memory, broker->options.memory_max);
    broker->n_slots = (unsigned)broker->options.links_max;
    broker->peers = calloc(broker->n_slots, sizeof(broker->peers[0]));
    if (broker->peers == NULL)
        return -ENOMEM;
    topics_init(&broker->topics);
    buf_init(&broker->packed, 0);
    list_init(&broker->listings);
    broker->listing_hook = (struct loop_hook){.fn = listing_on_turn, .arg = broker};
    broker->position_hook = (struct loop_hook){.fn = broker_on_position, .arg = broker};
    broker->held_hook = (struct loop_hook){.fn = publish_on_room, .arg = broker};
    broker->tick = (struct loop_timer){.fn = broker_on_tick, .arg = broker};
    broker->stop_timer = (struct loop_timer){.fn = broker_on_stop_timer, .arg = broker};
    /* Not from 1: an old frontend's late connect to a link of the broker before must not find a new one. */
    rand_bytes(&broker->next_session, sizeof(broker->next_session));
    broker->next_session = (broker->next_session >> 24) + 1;
    broker->started_ms = loop_now_ms(broker->loop);
    broker->started_wall_ms = loop_wall_ms(broker->loop);
    r = interest_init(&broker->interest, broker->n_slots);
    if (r == 0)
        r = responders_new(&broker->responders);
    if (r == 0)
        r = queues_new(broker, &broker->queues);
    if (r == 0)
        r = asyncrequests_new(broker, &broker->async);
    if (r == 0)
        r = requests_new(broker, &broker->requests);
    if (r == 0)
        r = presence_new(broker, &broker->presence);
    if (r == 0)
        r = settings_new(&broker->config.topics, broker->options.max_message, &broker->settings);
    return r;
}

static int
broker_listen(struct broker *broker)
{
    int r = runtime_open(broker->runtime_dir, broker->transport->path_max, &broker->lock_fd);

    if (r != 0)
        return r;
    r = broker_open_store(broker); /* under the lock: the one before must be gone */
    if (r != 0)
        return r;
    r = hello_serve(broker);
    if (r < 0) {
        log_error("%s: the control socket cannot be opened: %s", broker->runtime_dir, strerror(-r));
        return PROC_EXIT_LISTEN;
    }
    return 0;
}

int
broker_new(
    struct broker_config *config, const char *path, const char *const *set, size_t n_set, struct broker **ret)
{
    struct broker *broker = calloc(1, sizeof(*broker));
    int r;

    if (broker == NULL) {
        broker_config_free(config);
        return PROC_EXIT_FAILURE;
    }
    broker->config = *config;
    *config = (struct broker_config){0}; /* now the broker's */
    broker->options = broker->config.broker;
    broker->config_path = path;
    broker->set = set;
    broker->n_set = n_set;
    broker->lock_fd = -1;
    broker->transport = transport_find(link_options_transport(&broker->config.link));
    broker->runtime_dir = strdup(broker->config.bus.runtime_dir);
    r = broker->runtime_dir == NULL ? -ENOMEM : broker_init(broker);
    if (r < 0) {
        log_error("the broker cannot start: %s", strerror(-r));
        r = PROC_EXIT_FAILURE;
    } else {
        r = broker_listen(broker);
    }
    if (r != 0) {
        broker_free(broker);
        return r;
    }
    *ret = broker;
    return 0;
}

int
broker_run(struct broker *broker)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (loop_on_signal(broker->loop, numbers[i], broker_on_signal, broker) < 0)
            return PROC_EXIT_FAILURE;
    loop_timer_start(broker->loop, &broker->tick, TICK_MS);
    sys_start(broker);
    log_notice("ready in %s: backend %s, epoch %llu", broker->runtime_dir, broker->store_ops->name,
        (unsigned long long)broker->store_ops->epoch(broker->store));
    notify_ready();
    if (loop_run(broker->loop) < 0)
        return PROC_EXIT_FAILURE;
    if (broker->is_broken)
        return PROC_EXIT_FAILURE;
    log_notice("stopped");
    return PROC_EXIT_OK;
}

struct broker *
broker_free(struct broker *broker)
{
    if (broker == NULL)
        return NULL;
    hello_stop(broker);
    if (broker->peers != NULL)
        links_close(broker);
    if (broker->store != NULL) {
        queues_stop(broker);
        broker->store_ops->close(broker->store);
    }
    asyncrequests_free(broker->async);
    queues_free(broker->queues);
    topics_fini(broker);
    publish_fini(broker);
    interest_fini(&broker->interest);
    presence_free(broker->presence);
    requests_free(broker->requests);
    responders_free(broker->responders);
    settings_free(broker->settings);
    buf_fini(&broker->packed);
    free(broker->peers);
    free(broker->runtime_dir);
    broker_config_free(&broker->config);
    memguard_free(broker->memory);
    if (broker->loop != NULL)
        loop_free(broker->loop);
    if (broker->lock_fd >= 0)
        (void)close(broker->lock_fd);
    free(broker);
    return NULL;
}
