/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busbar status: the figures that the bus keeps as retained values, as a table or as one object.
 *
 *     $sys/broker           the broker
 *     $sys/links/NAME       what the broker knows of a frontend's link
 *     $sys/frontends/NAME   what the frontend says of itself
 *
 * A list of the topics says how many values to wait for.
 */
#include "config.h"

#include "cli/commands.h"

#include <event2/event.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/list.h"
#include "cli/busclient.h"

#define DEFAULT_TIMEOUT_MS 10000u
/* A value that is listed but does not come was cleared in between. */
#define GRACE_MS 500u
#define N_GROUPS 3

struct value {
    struct list in_group;
    char *name; /* "ws.1" */
    char *json;
};

struct status {
    struct bus_args args;
    struct bus_client client;
    bool is_json, is_listed;
    size_t n_listed, n_values;
    struct list groups[N_GROUPS];
    struct event *grace;
};

static const char *const prefixes[N_GROUPS] = {"$sys/broker", "$sys/links/", "$sys/frontends/"};
static const char *const filters[N_GROUPS] = {"$sys/broker", "$sys/links/+", "$sys/frontends/+"};
enum { GROUP_BROKER, GROUP_LINKS, GROUP_FRONTENDS };

enum { OPTION_JSON = BUS_OPTION_FIRST };

static const struct option long_options[] = {BUS_LONG_OPTIONS, {"json", no_argument, NULL, OPTION_JSON}, {0}};

static const char help[] =
    "usage: busbar status [OPTIONS]\n"
    "Shows the figures of the broker and of each frontend.\n\n"
    "  --json                  one object: {\"broker\": {...}, \"links\": {NAME: {...}}, \"frontends\": "
    "{NAME: {...}}}\n"
    "  -t, --timeout TIME      how long to wait for the answer (10s)\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 done, 1 refused, 2 wrong usage, 3 wrong configuration, 4 no bus, or no answer in "
    "time.\n";

static int
parse_args(struct status *status, int argc, char **argv, int *ret_exit)
{
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&status->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0)
            return 1;
        if (r < 0)
            status->is_json = true;
    }
    if (optind == argc)
        return 0;
    (void)fprintf(stderr, "busbar status: %s: it takes options only\n", argv[optind]);
    *ret_exit = PROC_EXIT_USAGE;
    return 1;
}

/* ---- Values. ---- */

static struct value *
value_free(struct value *value)
{
    if (value == NULL)
        return NULL;
    free(value->name);
    free(value->json);
    free(value);
    return NULL;
}

/* A newer value takes the older one's place. */
static void
values_put(struct status *status, size_t group, const char *name, const char *json)
{
    struct value *value;

    list_for_each_safe(it, next, &status->groups[group])
    {
        value = list_entry(it, struct value, in_group);
        if (strcmp(value->name, name) != 0)
            continue;
        list_remove(it);
        value_free(value);
        status->n_values--;
    }
    value = calloc(1, sizeof *value);
    if (value == NULL)
        return;
    value->name = strdup(name);
    value->json = strdup(json);
    if (value->name == NULL || value->json == NULL) {
        value_free(value);
        return;
    }
    list_init(&value->in_group);
    struct list *before = status->groups[group].next; /* sorted by name */
    while (before != &status->groups[group] &&
           strcmp(list_entry(before, struct value, in_group)->name, name) < 0)
        before = before->next;
    list_push_back(before, &value->in_group);
    status->n_values++;
}

/* One member of a flat object: its raw value, empty if it is not there. */
static struct slice
value_member(const char *json, const char *name)
{
    struct json_token t;
    struct slice raw;
    struct json r;

    json_init(&r, json, strlen(json), JSON_MAX_DEPTH);
    if (json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return slice_of(NULL, 0);
    while (json_next(&r, &t) == 0 && t.type == JSON_KEY) {
        struct slice key = t.raw;

        if (json_skip(&r, &raw) < 0)
            break;
        if (slice_is(key, name))
            return raw;
    }
    return slice_of(NULL, 0);
}

static uint64_t
value_number(const char *json, const char *name)
{
    struct slice raw = value_member(json, name);
    uint64_t v = 0;

    (void)json_u64(raw, &v);
    return v;
}

/* Into buffers of the caller's; figures are the bus's own, their texts need no escapes. */
static const char *
value_text(const char *json, const char *name, char *ret, size_t ret_size)
{
    struct slice raw = value_member(json, name);

    if (raw.n >= 2 && raw.p[0] == '"')
        raw = slice_of(raw.p + 1, raw.n - 2);
    (void)snprintf(ret, ret_size, "%.*s", SLICE_ARG(raw));
    return ret;
}

/* ---- For people. ---- */

static const char *
bytes_text(uint64_t bytes, char *ret, size_t ret_size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    size_t unit = 0;

    while (v >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        v /= 1024;
        unit++;
    }
    (void)snprintf(ret, ret_size, unit == 0 ? "%.0f %s" : "%.1f %s", v, units[unit]);
    return ret;
}

static const char *
time_text(uint64_t seconds, char *ret, size_t ret_size)
{
    if (seconds >= 86400)
        (void)snprintf(ret, ret_size, "%" PRIu64 "d %" PRIu64 "h", seconds / 86400, seconds % 86400 / 3600);
    else if (seconds >= 3600)
        (void)snprintf(ret, ret_size, "%" PRIu64 "h %" PRIu64 "m", seconds / 3600, seconds % 3600 / 60);
    else if (seconds >= 60)
        (void)snprintf(ret, ret_size, "%" PRIu64 "m %" PRIu64 "s", seconds / 60, seconds % 60);
    else
        (void)snprintf(ret, ret_size, "%" PRIu64 "s", seconds);
    return ret;
}

static void
print_broker(const struct status *status)
{
    char version[32], backend[32], uptime[32], stored[32];
    const char *json;

    if (list_empty(&status->groups[GROUP_BROKER])) {
        (void)printf(
            "broker     no figures (is broker.sys_interval 0, or can the store not be written to?)\n");
        return;
    }
    json = list_entry(status->groups[GROUP_BROKER].next, struct value, in_group)->json;
    (void)printf("broker     %s, up %s, %s store: %" PRIu64 " messages, %s\n",
        value_text(json, "version", version, sizeof version),
        time_text(value_number(json, "uptime_s"), uptime, sizeof uptime),
        value_text(json, "backend", backend, sizeof backend), value_number(json, "stored_messages"),
        bytes_text(value_number(json, "stored_bytes"), stored, sizeof stored));
    (void)printf("topics     %" PRIu64 ", filters %" PRIu64 ", links %" PRIu64 "\n",
        value_number(json, "topics"), value_number(json, "filters"), value_number(json, "links"));
    (void)printf("published  %" PRIu64 ", refused %" PRIu64 ", delivered to frontends %" PRIu64 "\n",
        value_number(json, "published"), value_number(json, "rejected"), value_number(json, "delivered"));
}

static const char *
find_json(const struct status *status, size_t group, const char *name)
{
    list_for_each_safe(it, next, &status->groups[group])
    {
        if (strcmp(list_entry(it, struct value, in_group)->name, name) == 0)
            return list_entry(it, struct value, in_group)->json;
    }
    return "{}";
}

static void
print_links(const struct status *status)
{
    bool has_colour = bus_has_colour(stdout);
    char state[32], uptime[32], rss[32];

    if (list_empty(&status->groups[GROUP_LINKS]))
        return;
    (void)printf("\n%s%-16s %-9s %9s %8s %9s %9s %9s %10s %7s%s\n", has_colour ? "\033[1m" : "", "FRONTEND",
        "STATE", "UP", "MEMORY", "CLIENTS", "SUBS", "PUBLISHED", "DELIVERED", "DROPPED",
        has_colour ? "\033[0m" : "");
    list_for_each_safe(it, next, &status->groups[GROUP_LINKS])
    {
        const struct value *link = list_entry(it, struct value, in_group);
        const char *own = find_json(status, GROUP_FRONTENDS, link->name);

        (void)printf("%-16s %-9s %9s %8s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %10" PRIu64 " %7" PRIu64 "\n",
            link->name, value_text(link->json, "state", state, sizeof state),
            time_text(value_number(own, "uptime_ms") / 1000, uptime, sizeof uptime),
            bytes_text(value_number(own, "rss_bytes"), rss, sizeof rss), value_number(own, "connections"),
            value_number(own, "subscriptions"), value_number(own, "publishes"),
            value_number(own, "delivered"), value_number(own, "dropped"));
    }
}

/* Topics whose messages a frontend's slow clients did not get in time, or at all. */
static void
print_slow_of(const char *frontend, struct slice slow, bool *is_told)
{
    struct json_token t;
    struct slice raw;
    struct json r;

    json_init(&r, (const char *)slow.p, slow.n, JSON_MAX_DEPTH);
    if (slow.n == 0 || json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return;
    while (json_next(&r, &t) == 0 && t.type == JSON_KEY) {
        struct slice topic = t.raw;
        char json[256];

        if (json_skip(&r, &raw) < 0)
            return;
        (void)snprintf(json, sizeof json, "%.*s", SLICE_ARG(raw));
        uint64_t dropped = value_number(json, "dropped"), conflated = value_number(json, "conflated"),
                 put_off = value_number(json, "put_off"), disconnected = value_number(json, "disconnected");
        if (dropped + conflated + put_off + disconnected == 0)
            continue;
        if (!*is_told)
            (void)printf("\n%-16s %9s %9s %9s %12s  %s\n", "FRONTEND", "DROPPED", "CONFLATED", "PUT OFF",
                "DISCONNECTED", "SLOW TOPIC");
        *is_told = true;
        if (topic.n == 0)
            topic = slice_str("(others)");
        (void)printf("%-16s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %12" PRIu64 "  %.*s\n", frontend, dropped,
            conflated, put_off, disconnected, SLICE_ARG(topic));
    }
}

static void
print_slow(const struct status *status)
{
    bool is_told = false;

    list_for_each_safe(it, next, &status->groups[GROUP_FRONTENDS])
    {
        const struct value *own = list_entry(it, struct value, in_group);

        print_slow_of(own->name, value_member(own->json, "slow"), &is_told);
    }
}

/* ---- As JSON. ---- */

static void
put_group(const struct status *status, size_t group, const char *name, struct buf *out)
{
    bool is_first = true;

    buf_printf(out, ",\n \"%s\": {", name);
    list_for_each_safe(it, next, &status->groups[group])
    {
        const struct value *value = list_entry(it, struct value, in_group);

        buf_put_str(out, is_first ? "\n  " : ",\n  ");
        json_put_string(out, slice_str(value->name));
        buf_put_str(out, ": ");
        buf_put_str(out, value->json);
        is_first = false;
    }
    buf_put_byte(out, '}');
}

static void
print_json(const struct status *status)
{
    const struct list *broker = &status->groups[GROUP_BROKER];
    struct buf out;

    buf_init(&out, 0);
    buf_put_str(&out, "{\"broker\": ");
    buf_put_str(&out, list_empty(broker) ? "null" : list_entry(broker->next, struct value, in_group)->json);
    put_group(status, GROUP_LINKS, "links", &out);
    put_group(status, GROUP_FRONTENDS, "frontends", &out);
    buf_put_str(&out, "}\n");
    (void)fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
}

/* ---- Asking. ---- */

static void
end_if_complete(struct status *status)
{
    if (status->is_listed && status->n_values >= status->n_listed)
        bus_end(&status->client, PROC_EXIT_OK);
}

static void
on_message(struct bb_subscription *sub, const struct bb_message *m, void *arg)
{
    struct status *status = arg;

    (void)sub;
    if (m->kind != BB_JSON)
        return;
    for (size_t i = 0; i < N_GROUPS; i++) {
        size_t n = strlen(prefixes[i]);

        if (strncmp(m->topic, prefixes[i], n) == 0 && (i != GROUP_BROKER || m->topic[n] == '\0'))
            values_put(status, i, m->topic + n, m->data);
    }
    end_if_complete(status);
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct status *status = arg;

    (void)sub;
    if (event->type != BB_REFUSED)
        return;
    bus_complain(&status->client, "refused: %s", event->text);
    bus_end(&status->client, PROC_EXIT_FAILURE);
}

static void
on_grace(int fd, short what, void *arg)
{
    struct status *status = arg;

    (void)fd;
    (void)what;
    bus_end(&status->client, PROC_EXIT_OK);
}

static bool
is_ours(const char *topic)
{
    return strcmp(topic, prefixes[GROUP_BROKER]) == 0 ||
           strncmp(topic, prefixes[GROUP_LINKS], strlen(prefixes[GROUP_LINKS])) == 0 ||
           strncmp(topic, prefixes[GROUP_FRONTENDS], strlen(prefixes[GROUP_FRONTENDS])) == 0;
}

static void
on_topic(struct bb_client *bb, const struct bb_topic *topic, const struct bb_result *result, void *arg)
{
    struct status *status = arg;
    struct timeval tv = {.tv_usec = GRACE_MS * 1000};

    (void)bb;
    if (status->client.is_ended)
        return;
    if (topic != NULL) {
        status->n_listed += is_ours(topic->topic) ? 1 : 0;
        return;
    }
    if (result->error < 0) {
        bus_complain(&status->client, "%s", result->text != NULL ? result->text : strerror(-result->error));
        bus_end(&status->client, result->code != NULL ? PROC_EXIT_FAILURE : PROC_EXIT_CONNECT);
        return;
    }
    status->is_listed = true;
    (void)evtimer_add(status->grace, &tv);
    end_if_complete(status);
}

static int
run(struct status *status, const char *command)
{
    int r = bus_open(&status->client, command, &status->args,
        status->args.timeout_ms > 0 ? (uint32_t)status->args.timeout_ms : DEFAULT_TIMEOUT_MS);

    if (r != 0)
        return r;
    status->grace = evtimer_new(status->client.base, on_grace, status);
    if (status->grace == NULL ||
        bb_subscribe(status->client.bb, filters, N_GROUPS, NULL, on_message, on_event, status, NULL) < 0 ||
        bb_topics(status->client.bb, "$sys/#", on_topic, status) < 0)
        return PROC_EXIT_FAILURE;
    r = bus_run(&status->client);
    if (r != PROC_EXIT_OK)
        return r;
    if (status->is_json) {
        print_json(status);
    } else {
        print_broker(status);
        print_links(status);
        print_slow(status);
    }
    return fflush(stdout) == 0 ? PROC_EXIT_OK : PROC_EXIT_FAILURE;
}

int
command_status(int argc, char **argv)
{
    struct status status = {0};
    int exit_code;

    if (parse_args(&status, argc, argv, &exit_code) != 0)
        return exit_code;
    for (size_t i = 0; i < N_GROUPS; i++)
        list_init(&status.groups[i]);
    exit_code = run(&status, argv[0]);
    if (status.grace != NULL)
        event_free(status.grace);
    bus_close(&status.client);
    for (size_t i = 0; i < N_GROUPS; i++) {
        list_for_each_safe(it, next, &status.groups[i]) value_free(list_entry(it, struct value, in_group));
    }
    return exit_code;
}
