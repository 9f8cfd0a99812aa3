/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busbar pub: publishes an argument, standard input as one message, or standard input line by line, and ends
 * when everything is acknowledged. Lines are read only as fast as they are acknowledged.
 */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/rand.h"
#include "cli/busclient.h"
#include "cli/payloadargs.h"

/* Publishes under way in a run over lines, and their bytes. */
#define WINDOW 1000u
#define WINDOW_BYTES ((size_t)16 << 20)
#define INPUT_MAX ((size_t)32 << 20)
#define READ_BYTES 65536u
#define DEFAULT_TIMEOUT_MS 30000u
#define PROGRESS_EVERY_MS 250u

struct pub {
    struct bus_args args;
    struct bus_client client;
    struct payload_args payload;
    const char *topic, *data, *key, *once;
    char own_once[20]; /* of lines that have a key: it is no reason to publish only the first */
    uint64_t ttl_ms, delay_ms;
    bool is_lines, is_stdin, is_retain, prints_cursor;

    struct event *input, *progress;
    struct buf in;
    size_t in_at;        /* lines before it were published */
    bool is_at_end;      /* of the input */
    bool is_unreachable; /* some publish had no answer in time */
    uint64_t n_line, n_published, n_failed, began_ms;
};

enum {
    OPTION_JSON = BUS_OPTION_FIRST,
    OPTION_TYPE,
    OPTION_LINES,
    OPTION_RETAIN,
    OPTION_KEY,
    OPTION_ONCE,
    OPTION_HEADER,
    OPTION_CURSOR,
    OPTION_TTL,
    OPTION_DELAY
};

static const struct option long_options[] = {
    BUS_LONG_OPTIONS,
    {"json", no_argument, NULL, OPTION_JSON},
    {"type", required_argument, NULL, OPTION_TYPE},
    {"lines", no_argument, NULL, OPTION_LINES},
    {"retain", no_argument, NULL, OPTION_RETAIN},
    {"key", required_argument, NULL, OPTION_KEY},
    {"once", required_argument, NULL, OPTION_ONCE},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"cursor", no_argument, NULL, OPTION_CURSOR},
    {"ttl", required_argument, NULL, OPTION_TTL},
    {"delay", required_argument, NULL, OPTION_DELAY},
    {0},
};

static const char help[] =
    "usage: busbar pub [OPTIONS] TOPIC DATA       publish DATA\n"
    "       busbar pub [OPTIONS] TOPIC -          publish standard input as one message\n"
    "       busbar pub [OPTIONS] TOPIC --lines    publish each line of standard input\n"
    "Ends when the bus has acknowledged everything. What is not UTF-8 is published as bytes, else as "
    "text.\n\n"
    "  --json                  the data is JSON, and is checked\n"
    "  --type TYPE             the content type, such as text/html\n"
    "  --retain                keep it as the topic's value for those who come later\n"
    "  --key KEY               what the data is the value of; slow_consumer conflate keeps the last of each "
    "key\n"
    "  --once KEY              publish once, however often this is run within the bus's window (with "
    "--lines: KEY-1, ...)\n"
    "  --header NAME=VALUE     a header of the message; may be given several times\n"
    "  --cursor                print the cursor of each message\n"
    "  --ttl TIME              deliver it for so long, such as 10s or 2h\n"
    "  --delay TIME            publish it so much later\n"
    "  -t, --timeout TIME      how long to wait for an acknowledgement (30s)\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 published, 1 refused, 2 wrong usage, 3 wrong configuration, 4 no bus, or no answer in "
    "time.\n";

static uint64_t
now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- Arguments. ---- */

static int
take_option(struct pub *pub, int c)
{
    switch (c) {
    case OPTION_JSON:
        pub->payload.is_json = true;
        return 0;
    case OPTION_TYPE:
        pub->payload.type = optarg;
        return 0;
    case OPTION_LINES:
        pub->is_lines = true;
        return 0;
    case OPTION_RETAIN:
        pub->is_retain = true;
        return 0;
    case OPTION_KEY:
        pub->key = optarg;
        return 0;
    case OPTION_ONCE:
        pub->once = optarg;
        return 0;
    case OPTION_HEADER:
        return payload_args_take_header(&pub->payload, "busbar pub", optarg);
    case OPTION_CURSOR:
        pub->prints_cursor = true;
        return 0;
    case OPTION_TTL:
        return bus_take_time("busbar pub", "ttl", optarg, &pub->ttl_ms);
    case OPTION_DELAY:
        return bus_take_time("busbar pub", "delay", optarg, &pub->delay_ms);
    default:
        return -EINVAL;
    }
}

static int
usage(const char *what)
{
    (void)fprintf(stderr, "busbar pub: %s; `busbar pub --help` says more\n", what);
    return PROC_EXIT_USAGE;
}

/* 0: go on; 1: end with *ret_exit. */
static int
parse_args(struct pub *pub, int argc, char **argv, int *ret_exit)
{
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&pub->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0 || (r < 0 && take_option(pub, c) < 0))
            return 1;
    }
    *ret_exit = PROC_EXIT_USAGE;
    if (optind == argc)
        return usage("no topic was given"), 1;
    pub->topic = argv[optind++];
    pub->data = optind < argc ? argv[optind++] : NULL;
    if (optind < argc)
        return usage("too much: one message at a time, in quotes if it has spaces"), 1;
    if (pub->is_lines && pub->data != NULL && strcmp(pub->data, "-") != 0)
        return usage("DATA or --lines, not both"), 1;
    if (!pub->is_lines && pub->data == NULL && isatty(STDIN_FILENO))
        return usage("say what to publish: DATA, - for standard input, or --lines"), 1;
    pub->is_stdin = pub->data == NULL || strcmp(pub->data, "-") == 0;
    return 0;
}

/* ---- Publishing. ---- */

static void
end_if_done(struct pub *pub)
{
    if (!pub->is_at_end || bb_pending(pub->client.bb, NULL) > 0)
        return;
    bus_end(&pub->client, pub->n_failed == 0    ? PROC_EXIT_OK
                          : pub->is_unreachable ? PROC_EXIT_CONNECT
                                                : PROC_EXIT_FAILURE);
}

static void
complain(struct pub *pub, uint64_t line, const char *what)
{
    if (pub->n_failed++ >= 10) /* a file of them says the same over and over */
        return;
    if (pub->is_lines && line > 0)
        bus_complain(&pub->client, "line %" PRIu64 ": %s", line, what);
    else
        bus_complain(&pub->client, "%s", what);
}

static void publish_lines(struct pub *pub);

static void
on_published(struct bb_client *bb, const struct bb_result *result, void *arg)
{
    struct pub *pub = arg;

    (void)bb;
    if (result->error == 0) {
        pub->n_published++;
        if (pub->prints_cursor && result->cursor != NULL)
            (void)printf("%s\n", result->cursor);
    } else if (!pub->client.is_ended || result->error != -ECANCELED) {
        pub->is_unreachable = result->error == -ETIMEDOUT;
        complain(pub, 0, bus_result_text(result));
    }
    if (pub->client.is_ended)
        return;
    if (pub->is_lines)
        publish_lines(pub);
    end_if_done(pub);
}

static void
publish(struct pub *pub, const void *data, size_t n)
{
    struct bb_payload payload = payload_of(&pub->payload, data, n);
    struct bb_publish_options options = {.key = pub->key,
        .once = pub->once,
        .is_retain = pub->is_retain,
        .ttl_ms = pub->ttl_ms,
        .delay_ms = pub->delay_ms};
    char once[300];
    int r;

    pub->n_line++;
    if (pub->once != NULL && pub->is_lines) {
        (void)snprintf(once, sizeof once, "%.230s-%" PRIu64, pub->once, pub->n_line);
        options.once = once;
    }
    r = bb_publish(pub->client.bb, pub->topic, &payload, &options, on_published, pub);
    if (r < 0)
        complain(pub, pub->n_line, payload_error(r));
}

/* ---- Standard input. ---- */

static bool
window_is_full(const struct pub *pub)
{
    size_t bytes;

    return bb_pending(pub->client.bb, &bytes) >= WINDOW || bytes >= WINDOW_BYTES;
}

static void
publish_lines(struct pub *pub)
{
    while (!window_is_full(pub)) {
        const uint8_t *from = pub->in.p + pub->in_at;
        size_t left = pub->in.n - pub->in_at;
        const uint8_t *newline = left > 0 ? memchr(from, '\n', left) : NULL;
        size_t n = newline != NULL ? (size_t)(newline - from) : left;

        if (newline == NULL && (!pub->is_at_end || left == 0))
            break;
        pub->in_at += n + (newline != NULL ? 1 : 0);
        if (n > 0 && from[n - 1] == '\r')
            n--;
        publish(pub, from, n);
    }
    buf_consume(&pub->in, pub->in_at);
    pub->in_at = 0;
    if (!pub->is_at_end && !window_is_full(pub))
        (void)event_add(pub->input, NULL);
}

static void
on_input(int fd, short what, void *arg)
{
    struct pub *pub = arg;
    uint8_t *room = buf_reserve(&pub->in, READ_BYTES);
    ssize_t n = room != NULL ? read(fd, room, READ_BYTES) : 0;

    (void)what;
    if (room == NULL) {
        bus_complain(&pub->client, "more than %zu MiB in one message", INPUT_MAX >> 20);
        bus_end(&pub->client, PROC_EXIT_FAILURE);
        return;
    }
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        (void)event_add(pub->input, NULL);
        return;
    }
    if (n < 0)
        complain(pub, 0, strerror(errno));
    if (n > 0)
        buf_commit(&pub->in, (size_t)n);
    pub->is_at_end = n <= 0;
    if (pub->is_lines)
        publish_lines(pub);
    else if (pub->is_at_end)
        publish(pub, pub->in.p, pub->in.n);
    else
        (void)event_add(pub->input, NULL);
    end_if_done(pub);
}

/* ---- Progress, on a terminal. ---- */

static void
show_progress(const struct pub *pub, bool is_last)
{
    uint64_t took_ms = now_ms() - pub->began_ms;
    uint64_t rate = took_ms > 0 ? pub->n_published * 1000 / took_ms : 0;

    (void)fprintf(stderr, "\r\033[Kbusbar pub: %" PRIu64 " published, %" PRIu64 " a second%s",
        pub->n_published, rate, is_last ? "\n" : "");
    (void)fflush(stderr);
}

static void
on_progress(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    show_progress(arg, false);
}

static void
begin_progress(struct pub *pub)
{
    struct timeval tv = {.tv_usec = PROGRESS_EVERY_MS * 1000};

    if (!pub->is_lines || pub->args.is_quiet || !isatty(STDERR_FILENO))
        return;
    pub->progress = event_new(pub->client.base, -1, EV_PERSIST, on_progress, pub);
    if (pub->progress != NULL)
        (void)event_add(pub->progress, &tv);
}

static int
begin(struct pub *pub)
{
    pub->began_ms = now_ms();
    if (pub->is_lines && pub->key != NULL && pub->once == NULL) {
        uint64_t random;

        rand_bytes(&random, sizeof random);
        (void)snprintf(pub->own_once, sizeof pub->own_once, "%016" PRIx64, random);
        pub->once = pub->own_once;
    }
    if (!pub->is_stdin && !pub->is_lines) {
        pub->is_at_end = true;
        publish(pub, pub->data, strlen(pub->data));
        end_if_done(pub);
        return 0;
    }
    pub->input = event_new(pub->client.base, STDIN_FILENO, EV_READ, on_input, pub);
    if (pub->input == NULL || event_add(pub->input, NULL) < 0) {
        bus_complain(&pub->client, "standard input cannot be read");
        return -EIO;
    }
    begin_progress(pub);
    return 0;
}

int
command_pub(int argc, char **argv)
{
    struct pub pub = {0};
    int exit_code;

    if (parse_args(&pub, argc, argv, &exit_code) != 0)
        return exit_code;
    buf_init(&pub.in, INPUT_MAX);
    exit_code = bus_open(&pub.client, argv[0], &pub.args,
        pub.args.timeout_ms > 0 ? (uint32_t)pub.args.timeout_ms : DEFAULT_TIMEOUT_MS);
    if (exit_code == 0)
        exit_code = begin(&pub) < 0 ? PROC_EXIT_FAILURE : bus_run(&pub.client);
    if (pub.progress != NULL) {
        event_free(pub.progress);
        show_progress(&pub, true);
    }
    if (pub.input != NULL)
        event_free(pub.input);
    if (pub.n_failed > 10)
        bus_complain(&pub.client, "%" PRIu64 " were not published", pub.n_failed);
    bus_close(&pub.client);
    buf_fini(&pub.in);
    if (fflush(stdout) != 0 && exit_code == PROC_EXIT_OK)
        exit_code = PROC_EXIT_FAILURE;
    return exit_code;
}
