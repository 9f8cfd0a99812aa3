/* SPDX-License-Identifier: Apache-2.0 */
/* busbar respond: answers requests with a command of the user's, run for each of them. */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/json.h"
#include "base/list.h"
#include "base/utf8.h"
#include "cli/busclient.h"
#include "cli/job.h"
#include "cli/payloadargs.h"

#define CONCURRENCY_MAX 1000u
/* After its time the asker has been told so: what is still at work then is killed. */
#define LATE_MS 500u

struct respond {
    struct bus_args args;
    struct bus_client client;
    struct payload_args payload;
    const char *filter, *command;
    uint64_t concurrency, count, n_done; /* count 0: no end */
    uint64_t max_reply;                  /* what the server takes; 0: it has not said yet */
    struct list works;
};

/* One request under way. */
struct work {
    struct respond *respond;
    struct job *job;
    struct list in_works;
    char call[];
};

enum {
    OPTION_EXEC = BUS_OPTION_FIRST,
    OPTION_CONCURRENCY,
    OPTION_JSON,
    OPTION_TYPE,
    OPTION_HEADER,
    OPTION_COUNT
};

static const struct option long_options[] = {
    BUS_LONG_OPTIONS,
    {"exec", required_argument, NULL, OPTION_EXEC},
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"json", no_argument, NULL, OPTION_JSON},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"count", required_argument, NULL, OPTION_COUNT},
    {0},
};

static const char help[] =
    "usage: busbar respond [OPTIONS] FILTER --exec COMMAND\n"
    "Answers requests on the topics that match, sharing them with other responders. For each /bin/sh runs "
    "COMMAND, with the\nrequest on standard input and $BUSBAR_TOPIC, $BUSBAR_TYPE, $BUSBAR_KEY and "
    "$BUSBAR_HEADER_NAME set; its standard output,\nwithout one line break at the end, is the reply. If it "
    "does "
    "not end with 0, or not in the request's time, the asker is\ntold that it failed.\n\n"
    "  --exec COMMAND          what to run\n"
    "  --concurrency N         how many at once (1)\n"
    "  --json                  replies are JSON, and are checked\n"
    "  --type TYPE             their content type\n"
    "  --header NAME=VALUE     a header of them; may be given several times\n"
    "  --count N               end after N requests\n"
    "  -t, --timeout TIME      end after so long\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 ended by --count, --timeout or a signal, 1 refused, 2 wrong usage, 3 wrong "
    "configuration, 4 "
    "no bus.\n";

/* ---- Arguments. ---- */

static int
take_number(const char *option, const char *text, uint64_t max, uint64_t *ret)
{
    if (conf_parse_count(text, ret) == 0 && *ret >= 1 && *ret <= max)
        return 0;
    (void)fprintf(stderr, "busbar respond: --%s %s: give a number from 1 to %llu\n", option, text,
        (unsigned long long)max);
    return -EINVAL;
}

static int
take_option(struct respond *respond, int c)
{
    switch (c) {
    case OPTION_EXEC:
        respond->command = optarg;
        return 0;
    case OPTION_CONCURRENCY:
        return take_number("concurrency", optarg, CONCURRENCY_MAX, &respond->concurrency);
    case OPTION_JSON:
        respond->payload.is_json = true;
        return 0;
    case OPTION_TYPE:
        respond->payload.type = optarg;
        return 0;
    case OPTION_HEADER:
        return payload_args_take_header(&respond->payload, "busbar respond", optarg);
    case OPTION_COUNT:
        return take_number("count", optarg, UINT64_MAX, &respond->count);
    default:
        return -EINVAL;
    }
}

static int
parse_args(struct respond *respond, int argc, char **argv, int *ret_exit)
{
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&respond->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0 || (r < 0 && take_option(respond, c) < 0))
            return 1;
    }
    *ret_exit = PROC_EXIT_USAGE;
    respond->filter = optind < argc ? argv[optind++] : NULL;
    if (respond->filter != NULL && respond->command != NULL && optind == argc)
        return 0;
    (void)fprintf(stderr,
        "busbar respond: give one topic or filter and --exec COMMAND; `busbar respond --help` "
        "says more\n");
    return 1;
}

/* ---- Requests. ---- */

static void
work_free(struct work *work)
{
    list_remove(&work->in_works);
    free(work);
}

static void
work_answer(struct work *work, const char *error, struct slice output)
{
    struct respond *respond = work->respond;
    struct bb_payload payload;
    int r;

    payload = payload_of(&respond->payload, output.p, output.n);
    if (error == NULL && payload.kind != BB_BINARY && payload.len > 0 && output.p[payload.len - 1] == '\n')
        payload.len--;
    if (error == NULL && respond->max_reply > 0 && payload.len > respond->max_reply)
        error = "the command's output is larger than the server takes";
    r = error == NULL ? bb_reply(respond->client.bb, work->call, &payload)
                      : bb_reply_error(respond->client.bb, work->call, error);
    if (r < 0 && r != -ENOTCONN) {
        error = r == -EINVAL ? "the command's output is not the JSON that it should be" : payload_error(r);
        r = bb_reply_error(respond->client.bb, work->call, error);
    }
    if (error != NULL)
        bus_note(&respond->client, "%s", error);
    if (r == -ENOTCONN)
        bus_note(&respond->client, "a request was lost with the connection");
}

/* A reply that is too large would be refused, or end the connection with all that is under way. */
static void
on_welcome(struct bb_client *bb, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct respond *respond = arg;
    struct json_token key;
    struct slice raw;
    struct json r;

    (void)bb;
    (void)result;
    if (json == NULL)
        return;
    json_init(&r, json, len, JSON_MAX_DEPTH);
    if (json_next(&r, &key) < 0 || key.type != JSON_OBJECT)
        return;
    while (json_next(&r, &key) == 0 && key.type == JSON_KEY && json_skip(&r, &raw) == 0)
        if (slice_is(key.raw, "message_bytes"))
            (void)json_u64(raw, &respond->max_reply);
}

/* What was said before has been heard. */
static void
on_pong(struct bb_client *bb, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct respond *respond = arg;

    (void)bb;
    (void)len;
    (void)result;
    if (json == NULL)
        bus_end(&respond->client, PROC_EXIT_OK);
}

static void
on_end(struct job *job, const char *error, struct slice output, void *arg)
{
    struct work *work = arg;
    struct respond *respond = work->respond;

    (void)job;
    work_answer(work, error, output);
    work_free(work);
    if (++respond->n_done == respond->count && bb_ask(respond->client.bb, "ping", NULL, on_pong, respond) < 0)
        bus_end(&respond->client, PROC_EXIT_OK);
}

static void
on_request(struct bb_subscription *sub, const struct bb_message *m, void *arg)
{
    struct respond *respond = arg;
    struct work *work = malloc(sizeof *work + strlen(m->call) + 1);
    int r = -ENOMEM;

    (void)sub;
    if (respond->client.is_ended || (respond->count > 0 && respond->n_done >= respond->count)) {
        free(work); /* more than was asked for: somebody else gets it when this ends */
        return;
    }
    if (work != NULL) {
        *work = (struct work){.respond = respond};
        memcpy(work->call, m->call, strlen(m->call) + 1);
        list_push_back(&respond->works, &work->in_works);
        r = job_start(
            respond->client.base, respond->command, m, m->expires_ms + LATE_MS, on_end, work, &work->job);
    }
    if (r == 0)
        return;
    bus_complain(&respond->client, "the command cannot be run: %s", strerror(-r));
    (void)bb_reply_error(respond->client.bb, m->call, "the responder cannot run its command");
    if (work != NULL)
        work_free(work);
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct respond *respond = arg;

    (void)sub;
    if (event->type != BB_REFUSED) {
        (void)bb_ask(respond->client.bb, "hello", NULL, on_welcome, respond); /* each connection's own */
        return;
    }
    bus_complain(&respond->client, "%s: %s", event->code, event->text);
    bus_end(&respond->client, PROC_EXIT_FAILURE);
}

static int
on_stop(void *arg)
{
    (void)arg;
    return PROC_EXIT_OK;
}

/* ---- The command. ---- */

static int
run(struct respond *respond, const char *command)
{
    const struct bb_subscribe_options options = {
        .responds = true, .prefetch = (uint32_t)respond->concurrency};
    int exit_code = bus_open(&respond->client, command, &respond->args, 0);
    int r;

    if (exit_code != 0)
        return exit_code;
    r = bb_subscribe(respond->client.bb, &respond->filter, 1, &options, on_request, on_event, respond, NULL);
    if (r < 0) {
        bus_complain(&respond->client, "%s", strerror(-r));
        return PROC_EXIT_USAGE;
    }
    return bus_run(&respond->client);
}

int
command_respond(int argc, char **argv)
{
    struct respond respond = {.concurrency = 1};
    int exit_code;

    list_init(&respond.works);
    if (parse_args(&respond, argc, argv, &exit_code) != 0)
        return exit_code;
    respond.client.on_stop = on_stop;
    respond.client.on_timeout = on_stop;
    respond.client.arg = &respond;
    exit_code = run(&respond, argv[0]);
    while (!list_empty(&respond.works)) {
        struct work *work = list_entry(respond.works.next, struct work, in_works);

        (void)job_kill(work->job);
        work_free(work);
    }
    bus_close(&respond.client);
    return exit_code;
}
