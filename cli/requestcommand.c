/* SPDX-License-Identifier: Apache-2.0 */
/* busbar request: asks one of the responders of a topic and prints the reply. */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/busclient.h"
#include "cli/msgjson.h"
#include "cli/payloadargs.h"

#define INPUT_MAX ((size_t)32 << 20)
#define DEFAULT_TIMEOUT_MS 30000u

struct request {
    struct bus_args args;
    struct bus_client client;
    struct payload_args payload;
    const char *topic, *data, *key, *result, *cancel;
    uint64_t wait_ms;
    bool is_async, is_full;
    struct buf in;
};

enum {
    OPTION_JSON = BUS_OPTION_FIRST,
    OPTION_TYPE,
    OPTION_KEY,
    OPTION_HEADER,
    OPTION_ASYNC,
    OPTION_RESULT,
    OPTION_CANCEL,
    OPTION_FULL
};

static const struct option long_options[] = {
    BUS_LONG_OPTIONS,
    {"json", no_argument, NULL, OPTION_JSON},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"key", required_argument, NULL, OPTION_KEY},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"async", no_argument, NULL, OPTION_ASYNC},
    {"result", required_argument, NULL, OPTION_RESULT},
    {"cancel", required_argument, NULL, OPTION_CANCEL},
    {"full", no_argument, NULL, OPTION_FULL},
    {0},
};

static const char help[] =
    "usage: busbar request [OPTIONS] TOPIC DATA     ask with DATA; print the reply\n"
    "       busbar request [OPTIONS] TOPIC [-]      ask with standard input\n"
    "       busbar request --async TOPIC DATA       leave it for a responder; print its name\n"
    "       busbar request --result NAME            print the reply to that\n"
    "       busbar request --cancel NAME            nobody need answer any more\n\n"
    "  --json                  the data is JSON, and is checked\n"
    "  --type TYPE             the content type, such as text/html\n"
    "  --key KEY               for the responder\n"
    "  --header NAME=VALUE     a header; may be given several times\n"
    "  --full                  print the reply as one JSON object, with its type and headers\n"
    "  -t, --timeout TIME      how long to wait for the reply (30s)\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 replied, 1 refused, failed, or no responder, 2 wrong usage, 3 wrong configuration, 4 no "
    "bus, or no\nreply in time.\n";

/* ---- Arguments. ---- */

static int
take_option(struct request *request, int c)
{
    switch (c) {
    case OPTION_JSON:
        request->payload.is_json = true;
        return 0;
    case OPTION_TYPE:
        request->payload.type = optarg;
        return 0;
    case OPTION_KEY:
        request->key = optarg;
        return 0;
    case OPTION_HEADER:
        return payload_args_take_header(&request->payload, "busbar request", optarg);
    case OPTION_ASYNC:
        request->is_async = true;
        return 0;
    case OPTION_RESULT:
        request->result = optarg;
        return 0;
    case OPTION_CANCEL:
        request->cancel = optarg;
        return 0;
    case OPTION_FULL:
        request->is_full = true;
        return 0;
    default:
        return -EINVAL;
    }
}

static int
usage(const char *what)
{
    (void)fprintf(stderr, "busbar request: %s; `busbar request --help` says more\n", what);
    return PROC_EXIT_USAGE;
}

/* 0: go on; 1: end with *ret_exit. */
static int
parse_args(struct request *request, int argc, char **argv, int *ret_exit)
{
    bool has_name;
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&request->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0 || (r < 0 && take_option(request, c) < 0))
            return 1;
    }
    *ret_exit = PROC_EXIT_USAGE;
    has_name = request->result != NULL || request->cancel != NULL;
    if (!has_name && optind == argc)
        return usage("no topic was given"), 1;
    if (!has_name)
        request->topic = argv[optind++];
    if (!has_name && optind < argc)
        request->data = argv[optind++];
    if (optind < argc)
        return usage("too much: one request at a time, in quotes if it has spaces"), 1;
    if (!has_name && request->data == NULL && isatty(STDIN_FILENO))
        return usage("say what to ask: DATA, or - for standard input"), 1;
    return 0;
}

/* ---- The answer. ---- */

/* An answer of the server's that says that time is over, and not that it was refused. */
static bool
is_late(const char *code)
{
    return strcmp(code, "timeout") == 0 || strcmp(code, "pending") == 0 || strcmp(code, "unavailable") == 0;
}

static void
fail(struct request *request, int error, const char *code, const char *text)
{
    if (request->client.is_ended)
        return;
    if (code != NULL)
        bus_complain(&request->client, "%s: %s", code, text);
    else if (error == -ECONNRESET)
        bus_complain(&request->client, "the connection was lost: it may have been done or not");
    else if (error == -ETIMEDOUT)
        bus_complain(&request->client, "no answer came in time: it may have been done or not");
    else
        bus_complain(&request->client, "%s", strerror(-error));
    bus_end(&request->client, code != NULL && !is_late(code) ? PROC_EXIT_FAILURE : PROC_EXIT_CONNECT);
}

static void
print_message(const struct request *request, const struct bb_message *m)
{
    struct buf out;

    buf_init(&out, 0);
    if (request->is_full)
        msgjson_put(&out, m);
    else
        buf_put(&out, m->data, m->len);
    if (m->kind != BB_BINARY || request->is_full)
        buf_put_byte(&out, '\n');
    (void)fwrite(out.p, 1, out.n, stdout);
    buf_fini(&out);
}

static void
on_answer(struct bb_client *bb, const struct bb_answer *answer, void *arg)
{
    struct request *request = arg;

    (void)bb;
    if (answer->error < 0) {
        fail(request, answer->error, answer->code, answer->text);
        return;
    }
    if (answer->request != NULL)
        (void)printf("%s\n", answer->request);
    else
        print_message(request, answer->message);
    bus_end(&request->client, PROC_EXIT_OK);
}

static void
on_canceled(struct bb_client *bb, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct request *request = arg;

    (void)bb;
    (void)len;
    if (json != NULL)
        return;
    if (result->error < 0)
        fail(request, result->error, result->code, result->text);
    else
        bus_end(&request->client, PROC_EXIT_OK);
}

/* ---- Asking. ---- */

static int
read_input(struct request *request)
{
    for (;;) {
        uint8_t *room = buf_reserve(&request->in, 65536);
        ssize_t n = room != NULL ? read(STDIN_FILENO, room, 65536) : -1;

        if (room == NULL)
            return -EMSGSIZE;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        buf_commit(&request->in, (size_t)n);
    }
}

static int
ask(struct request *request, uint32_t timeout_ms)
{
    struct bb_client *bb = request->client.bb;
    struct bb_request_options options = {
        .timeout_ms = timeout_ms, .key = request->key, .is_async = request->is_async};
    struct bb_payload payload;
    char members[200];

    if (request->result != NULL)
        return bb_result(bb, request->result, timeout_ms, on_answer, request);
    if (request->cancel != NULL) {
        (void)snprintf(members, sizeof members, "\"request\":\"%.100s\"", request->cancel);
        return bb_ask(bb, "cancel", members, on_canceled, request);
    }
    if (request->is_async && request->args.timeout_ms == 0)
        options.timeout_ms = 0; /* as long as the topic's settings say */
    if (request->data != NULL && strcmp(request->data, "-") != 0)
        payload = payload_of(&request->payload, request->data, strlen(request->data));
    else
        payload = payload_of(&request->payload, request->in.p, request->in.n);
    return bb_request(bb, request->topic, &payload, &options, on_answer, request);
}

static int
run(struct request *request, const char *command)
{
    uint32_t timeout_ms =
        request->args.timeout_ms > 0 ? (uint32_t)request->args.timeout_ms : DEFAULT_TIMEOUT_MS;
    int exit_code, r = 0;

    if (request->topic != NULL && (request->data == NULL || strcmp(request->data, "-") == 0))
        r = read_input(request);
    if (r < 0) {
        (void)fprintf(stderr, "%s: standard input: %s\n", command, strerror(-r));
        return PROC_EXIT_FAILURE;
    }
    exit_code = bus_open(&request->client, command, &request->args, timeout_ms);
    if (exit_code != 0)
        return exit_code;
    r = ask(request, timeout_ms);
    if (r < 0) {
        bus_complain(&request->client, "%s", payload_error(r));
        return PROC_EXIT_FAILURE;
    }
    return bus_run(&request->client);
}

int
command_request(int argc, char **argv)
{
    struct request request = {0};
    int exit_code;

    if (parse_args(&request, argc, argv, &exit_code) != 0)
        return exit_code;
    buf_init(&request.in, INPUT_MAX);
    exit_code = run(&request, argv[0]);
    request.client.is_ended = true; /* nothing more is said */
    bus_close(&request.client);
    buf_fini(&request.in);
    if (fflush(stdout) != 0 && exit_code == PROC_EXIT_OK)
        exit_code = PROC_EXIT_FAILURE;
    return exit_code;
}
