/* SPDX-License-Identifier: Apache-2.0 */
/* busbar topics: what the broker knows, all pages of it. */
#include "config.h"

#include "cli/commands.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "cli/busclient.h"

#define DEFAULT_TIMEOUT_MS 30000u

struct topics {
    struct bus_args args;
    struct bus_client client;
    const char *filter;
    bool is_json;
    uint64_t n;
};

enum { OPTION_JSON = BUS_OPTION_FIRST };

static const struct option long_options[] = {BUS_LONG_OPTIONS, {"json", no_argument, NULL, OPTION_JSON}, {0}};

static const char help[] =
    "usage: busbar topics [OPTIONS] [FILTER]\n"
    "Lists the topics that match: messages and bytes that are kept, frontends that want it, its last cursor. "
    "Topics of the bus\n"
    "itself are listed by a filter such as '$sys/#'.\n\n"
    "  --json                  one object a line\n"
    "  -t, --timeout TIME      how long to wait for the answer (30s)\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 done, 1 refused, 2 wrong usage, 3 wrong configuration, 4 no bus, or no answer in "
    "time.\n";

static int
parse_args(struct topics *topics, int argc, char **argv, int *ret_exit)
{
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&topics->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0)
            return 1;
        if (r < 0)
            topics->is_json = true;
    }
    topics->filter = optind < argc ? argv[optind++] : NULL;
    if (optind == argc)
        return 0;
    (void)fprintf(stderr, "busbar topics: one filter at a time, in quotes\n");
    *ret_exit = PROC_EXIT_USAGE;
    return 1;
}

static void
print_json(const struct bb_topic *t)
{
    struct buf out;

    buf_init(&out, 0);
    buf_put_str(&out, "{\"topic\":");
    json_put_string(&out, slice_str(t->topic));
    if (t->cursor != NULL) {
        buf_put_str(&out, ",\"cursor\":");
        json_put_string(&out, slice_str(t->cursor));
    }
    buf_printf(&out, ",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"links\":%" PRIu64 "}\n",
        t->n_messages, t->n_bytes, t->n_links);
    (void)fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
}

/* The name comes last: it may be long. Topics hold no control characters, so it is safe on a terminal. */
static void
print_row(struct topics *topics, const struct bb_topic *t)
{
    bool has_colour = bus_has_colour(stdout);

    if (topics->n == 0)
        (void)printf("%s%9s %11s %9s  %-24s %s%s\n", has_colour ? "\033[1m" : "", "MESSAGES", "BYTES",
            "FRONTENDS", "LAST", "TOPIC", has_colour ? "\033[0m" : "");
    (void)printf("%9" PRIu64 " %11" PRIu64 " %9" PRIu64 "  %-24s %s\n", t->n_messages, t->n_bytes, t->n_links,
        t->cursor != NULL ? t->cursor : "-", t->topic);
}

static void
on_topic(struct bb_client *bb, const struct bb_topic *topic, const struct bb_result *result, void *arg)
{
    struct topics *topics = arg;

    (void)bb;
    if (topics->client.is_ended)
        return;
    if (topic == NULL) {
        if (result->error < 0)
            bus_complain(
                &topics->client, "%s", result->text != NULL ? result->text : strerror(-result->error));
        else if (topics->n == 0)
            bus_note(&topics->client, "no topic matches %s", topics->filter != NULL ? topics->filter : "#");
        bus_end(&topics->client, result->error == 0     ? PROC_EXIT_OK
                                 : result->code != NULL ? PROC_EXIT_FAILURE
                                                        : PROC_EXIT_CONNECT);
        return;
    }
    if (topics->is_json)
        print_json(topic);
    else
        print_row(topics, topic);
    topics->n++;
}

int
command_topics(int argc, char **argv)
{
    struct topics topics = {0};
    int exit_code, r;

    if (parse_args(&topics, argc, argv, &exit_code) != 0)
        return exit_code;
    exit_code = bus_open(&topics.client, argv[0], &topics.args,
        topics.args.timeout_ms > 0 ? (uint32_t)topics.args.timeout_ms : DEFAULT_TIMEOUT_MS);
    if (exit_code == 0) {
        r = bb_topics(topics.client.bb, topics.filter, on_topic, &topics);
        if (r < 0)
            bus_complain(&topics.client, "%s", strerror(-r));
        exit_code = r < 0 ? PROC_EXIT_USAGE : bus_run(&topics.client);
    }
    bus_close(&topics.client);
    if (fflush(stdout) != 0 && exit_code == PROC_EXIT_OK)
        exit_code = PROC_EXIT_FAILURE;
    return exit_code;
}
