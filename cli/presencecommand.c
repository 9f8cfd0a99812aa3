/* SPDX-License-Identifier: Apache-2.0 */
/* busbar presence: who is there on a topic; who comes and goes; being there oneself. */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "cli/busclient.h"

#define PAGE 1000u

struct presence {
    struct bus_args args;
    struct bus_client client;
    const char *topic, *member, *info;
    bool is_json, is_following, has_more;
    char after[256 * 6 + 3]; /* the last member, as it stood in the answer */
    uint64_t n;
};

enum { OPTION_JSON = BUS_OPTION_FIRST, OPTION_FOLLOW, OPTION_AS, OPTION_INFO };

static const struct option long_options[] = {
    BUS_LONG_OPTIONS,
    {"json", no_argument, NULL, OPTION_JSON},
    {"follow", no_argument, NULL, OPTION_FOLLOW},
    {"as", required_argument, NULL, OPTION_AS},
    {"info", required_argument, NULL, OPTION_INFO},
    {0},
};

static const char help[] =
    "usage: busbar presence [OPTIONS] TOPIC\n"
    "Lists who is there on the topic: connections, since when, id and info of each.\n\n"
    "  --json                  one object a line\n"
    "  --follow                print who is there, then who comes and goes, as JSON, until stopped\n"
    "  --as ID                 the same, and be there as ID\n"
    "  --info JSON             for the others\n"
    "  -t, --timeout TIME      how long to wait for the answer (30s), or to follow\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 done, 1 refused, 2 wrong usage, 3 wrong configuration, 4 no bus, or no answer in "
    "time.\n";

static int
take_option(struct presence *presence, int c)
{
    switch (c) {
    case OPTION_JSON:
        presence->is_json = true;
        return 0;
    case OPTION_FOLLOW:
        presence->is_following = true;
        return 0;
    case OPTION_AS:
        presence->is_following = true;
        presence->member = optarg;
        return 0;
    case OPTION_INFO:
        presence->info = optarg;
        return 0;
    default:
        return -EINVAL;
    }
}

static int
parse_args(struct presence *presence, int argc, char **argv, int *ret_exit)
{
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&presence->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0 || (r < 0 && take_option(presence, c) < 0))
            return 1;
    }
    *ret_exit = PROC_EXIT_USAGE;
    presence->topic = optind < argc ? argv[optind++] : NULL;
    if (presence->topic != NULL && optind == argc && (presence->info == NULL || presence->member != NULL))
        return 0;
    (void)fprintf(stderr,
        "busbar presence: give one topic, and --info with --as only; `busbar presence --help` "
        "says more\n");
    return 1;
}

/* ---- Listing. ---- */

static int presence_ask(struct presence *presence);

struct row {
    struct slice op, member, info, connections, since, count, more, mode;
};

static struct row
row_of(const char *json, size_t n)
{
    struct row row;
    struct json_token t;
    struct slice raw;
    struct json r;

    memset(&row, 0, sizeof row);
    json_init(&r, json, n, JSON_MAX_DEPTH);
    if (json_next(&r, &t) < 0 || t.type != JSON_OBJECT)
        return row;
    while (json_next(&r, &t) == 0 && t.type == JSON_KEY && json_skip(&r, &raw) == 0) {
        const struct {
            const char *name;
            struct slice *to;
        } keys[] = {{"op", &row.op}, {"member", &row.member}, {"info", &row.info},
            {"connections", &row.connections}, {"since", &row.since}, {"count", &row.count},
            {"more", &row.more}, {"presence", &row.mode}};

        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            if (slice_is(t.raw, keys[i].name))
                *keys[i].to = raw;
        }
    }
    return row;
}

/* An id may hold what a terminal would obey: it is printed with its quotes and escapes. */
static void
print_row(struct presence *presence, const struct row *row)
{
    if (presence->n == 0)
        (void)printf("%11s %14s  %s\n", "CONNECTIONS", "SINCE (ms)", "MEMBER");
    (void)printf("%11.*s %14.*s  %.*s %.*s\n", SLICE_ARG(row->connections), SLICE_ARG(row->since),
        SLICE_ARG(row->member), SLICE_ARG(row->info));
}

static void
on_line(struct bb_client *bb, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct presence *presence = arg;
    struct row row;

    (void)bb;
    if (presence->client.is_ended)
        return;
    if (json == NULL) {
        if (result->error < 0)
            bus_complain(&presence->client, "%s%s%s", result->code != NULL ? result->code : "",
                result->code != NULL ? ": " : "", bus_result_text(result));
        else if (presence->has_more && presence_ask(presence) == 0)
            return;
        bus_end(&presence->client, result->error == 0     ? PROC_EXIT_OK
                                   : result->code != NULL ? PROC_EXIT_FAILURE
                                                          : PROC_EXIT_CONNECT);
        return;
    }
    row = row_of(json, len);
    if (slice_is(row.op, "\"members_end\"")) {
        presence->has_more = slice_is(row.more, "true") && presence->after[0] != '\0';
        if (slice_is(row.mode, "\"off\""))
            bus_note(&presence->client, "nobody is recorded on this topic");
        else if (slice_is(row.mode, "\"count\""))
            (void)printf("%.*s\n", SLICE_ARG(row.count));
        else if (presence->n == 0)
            bus_note(&presence->client, "nobody is there");
        return;
    }
    (void)snprintf(presence->after, sizeof presence->after, "%.*s", SLICE_ARG(row.member));
    if (presence->is_json)
        (void)printf("%s\n", json);
    else
        print_row(presence, &row);
    presence->n++;
}

static int
presence_ask(struct presence *presence)
{
    struct buf members;
    int r;

    buf_init(&members, 0);
    buf_put_str(&members, "\"topic\":");
    json_put_string(&members, slice_str(presence->topic));
    if (presence->after[0] != '\0')
        buf_printf(&members, ",\"after\":%s", presence->after);
    buf_printf(&members, ",\"limit\":%u", PAGE);
    buf_put_byte(&members, '\0');
    r = buf_failed(&members)
            ? -ENOMEM
            : bb_ask(presence->client.bb, "presence", (const char *)members.p, on_line, presence);
    buf_fini(&members);
    return r;
}

/* ---- Following. ---- */

static void
on_presence(struct bb_subscription *sub, const char *topic, const char *json, size_t len, void *arg)
{
    struct presence *presence = arg;

    (void)sub;
    (void)topic;
    (void)len;
    if (printf("%s\n", json) < 0 || fflush(stdout) != 0)
        bus_end(&presence->client, errno == EPIPE ? PROC_EXIT_OK : PROC_EXIT_FAILURE);
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct presence *presence = arg;

    (void)sub;
    if (event->type != BB_REFUSED)
        return;
    bus_complain(&presence->client, "%s: %s", event->code, event->text);
    bus_end(&presence->client, PROC_EXIT_FAILURE);
}

static int
presence_follow(struct presence *presence)
{
    const struct bb_subscribe_options options = {.presence = true,
        .member = presence->member,
        .member_info = presence->info,
        .on_presence = on_presence};

    return bb_subscribe(presence->client.bb, &presence->topic, 1, &options, NULL, on_event, presence, NULL);
}

static int
on_timeout(void *arg)
{
    const struct presence *presence = arg;

    return presence->is_following ? PROC_EXIT_OK : PROC_EXIT_CONNECT;
}

static int
on_stop(void *arg)
{
    (void)arg;
    return PROC_EXIT_OK;
}

int
command_presence(int argc, char **argv)
{
    struct presence presence = {0};
    int exit_code, r;

    if (parse_args(&presence, argc, argv, &exit_code) != 0)
        return exit_code;
    presence.client.on_timeout = on_timeout;
    presence.client.on_stop = on_stop;
    presence.client.arg = &presence;
    exit_code = bus_open(&presence.client, argv[0], &presence.args, 0);
    if (exit_code == 0) {
        r = presence.is_following ? presence_follow(&presence) : presence_ask(&presence);
        if (r < 0)
            bus_complain(&presence.client, "%s", r == -EINVAL ? "--info is not JSON" : strerror(-r));
        exit_code = r < 0 ? PROC_EXIT_USAGE : bus_run(&presence.client);
    }
    presence.client.is_ended = true;
    bus_close(&presence.client);
    if (fflush(stdout) != 0 && exit_code == PROC_EXIT_OK)
        exit_code = PROC_EXIT_FAILURE;
    return exit_code;
}
