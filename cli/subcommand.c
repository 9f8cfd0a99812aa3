/* SPDX-License-Identifier: Apache-2.0 */
/*
 * busbar sub: prints what is published. Messages go to standard output; what happens to the stream goes to
 * standard error. With --cursor-file a run goes on where the one before stopped.
 */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/conf.h"
#include "base/json.h"
#include "cli/busclient.h"
#include "cli/msgjson.h"

#define CURSOR_TEXT_MAX 128
/* How often the cursor file is written while messages come. */
#define SAVE_EVERY_MS 200u

enum sub_format { FORMAT_PEOPLE, FORMAT_JSON, FORMAT_DATA };

struct sub {
    struct bus_args args;
    struct bus_client client;
    const char *const *filters;
    size_t n_filters;
    struct bb_subscribe_options from;
    enum sub_format format;
    uint64_t count, n_messages; /* count 0: no end */
    const char *cursor_file;
    char saved[CURSOR_TEXT_MAX];  /* what the file holds */
    char cursor[CURSOR_TEXT_MAX]; /* of what was printed; "" for none */
    bool is_terminal, has_colour, is_subscribed;
    struct event *save;
    struct event *reader; /* of a pipe that we write to: fires when nobody reads it any more; or NULL */
    struct buf line;
};

enum {
    OPTION_SINCE = BUS_OPTION_FIRST,
    OPTION_LAST,
    OPTION_JSON,
    OPTION_COUNT,
    OPTION_CURSOR_FILE,
    OPTION_DATA
};

static const struct option long_options[] = {
    BUS_LONG_OPTIONS,
    {"since", required_argument, NULL, OPTION_SINCE},
    {"last", required_argument, NULL, OPTION_LAST},
    {"json", no_argument, NULL, OPTION_JSON},
    {"data", no_argument, NULL, OPTION_DATA},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"cursor-file", required_argument, NULL, OPTION_CURSOR_FILE},
    {0},
};

static const char help[] =
    "usage: busbar sub [OPTIONS] FILTER...\n"
    "Prints topic and payload of each message that matches: '+' stands for one level, a last '#' for the "
    "rest.\n"
    "A lost connection is made again and nothing is missed; what is, is said on standard error.\n\n"
    "  --since CURSOR          first everything after this cursor that is kept\n"
    "  --last N                first the last N messages of each topic\n"
    "  --json                  one object a line: topic, cursor, time, data, ...\n"
    "  --data                  payloads only, as they are, each with a newline after it\n"
    "  --count N               end after N messages\n"
    "  -t, --timeout TIME      end after this time; with --count, exit code 1 if fewer came\n"
    "  --cursor-file FILE      go on where FILE says, and keep it up to date; --since and --last then say "
    "where to\n"
    "                          begin while FILE is not there yet. After a crash some messages may come "
    "twice.\n" BUS_OPTIONS_HELP
    "\nExit codes: 0 done, 1 refused or too few messages, 2 wrong usage, 3 wrong configuration, 4 no bus.\n";

/* ---- Arguments. ---- */

static int
take_number(const char *option, const char *text, uint64_t *ret)
{
    if (conf_parse_count(text, ret) == 0 && *ret > 0)
        return 0;
    (void)fprintf(stderr, "busbar sub: %s %s: give a number, 1 or more\n", option, text);
    return -EINVAL;
}

static int
take_option(struct sub *sub, int c)
{
    switch (c) {
    case OPTION_SINCE:
        sub->from.since = optarg;
        return 0;
    case OPTION_LAST:
        return take_number("--last", optarg, &sub->from.last);
    case OPTION_JSON:
        sub->format = FORMAT_JSON;
        return 0;
    case OPTION_DATA:
        sub->format = FORMAT_DATA;
        return 0;
    case OPTION_COUNT:
        return take_number("--count", optarg, &sub->count);
    case OPTION_CURSOR_FILE:
        sub->cursor_file = optarg;
        return 0;
    default:
        return -EINVAL;
    }
}

static int
parse_args(struct sub *sub, int argc, char **argv, int *ret_exit)
{
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&sub->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0 || (r < 0 && take_option(sub, c) < 0))
            return 1;
    }
    *ret_exit = PROC_EXIT_USAGE;
    sub->filters = (const char *const *)argv + optind;
    sub->n_filters = (size_t)(argc - optind);
    if (sub->n_filters > 0 && (sub->from.since == NULL || sub->from.last == 0))
        return 0;
    (void)fprintf(stderr, "busbar sub: %s; `busbar sub --help` says more\n",
        sub->n_filters == 0 ? "no topic was given; '#' is all of them" : "--since or --last, not both");
    return 1;
}

/* ---- The cursor file. ---- */

/* 0, also if there is none yet; -EINVAL if it is no cursor file (said). */
static int
read_cursor(struct sub *sub)
{
    FILE *f;
    size_t n;

    f = fopen(sub->cursor_file, "re");
    if (f == NULL && errno == ENOENT)
        return 0;
    if (f == NULL) {
        (void)fprintf(stderr, "busbar sub: %s: %s\n", sub->cursor_file, strerror(errno));
        return -EINVAL;
    }
    n = fread(sub->saved, 1, sizeof sub->saved - 1, f);
    (void)fclose(f);
    sub->saved[n] = '\0';
    n = strcspn(sub->saved, "\n");
    if (sub->saved[n] != '\n' || n == 0 || strspn(sub->saved, "0123456789abcdef-") != n) {
        (void)fprintf(
            stderr, "busbar sub: %s does not hold a cursor; remove it to begin anew\n", sub->cursor_file);
        return -EINVAL;
    }
    sub->saved[n] = '\0';
    (void)snprintf(sub->cursor, sizeof sub->cursor, "%s", sub->saved);
    sub->from = (struct bb_subscribe_options){.since = sub->saved};
    return 0;
}

/* A whole new file in the old one's place: a crash leaves the one or the other. */
static int
write_cursor(struct sub *sub)
{
    char path[4096];
    FILE *f;
    bool is_written;

    if (sub->cursor_file == NULL || strcmp(sub->cursor, sub->saved) == 0)
        return 0;
    (void)snprintf(path, sizeof path, "%.4000s.%ld.tmp", sub->cursor_file, (long)getpid());
    f = fopen(path, "we");
    if (f == NULL)
        return -errno;
    is_written = fprintf(f, "%s\n", sub->cursor) > 0;
    is_written = fclose(f) == 0 && is_written;
    if (!is_written || rename(path, sub->cursor_file) < 0) {
        int error = errno;

        (void)unlink(path);
        return -error;
    }
    memcpy(sub->saved, sub->cursor, sizeof sub->saved);
    return 0;
}

static void
save_cursor(struct sub *sub)
{
    int r = write_cursor(sub);

    if (r == 0)
        return;
    bus_complain(&sub->client, "%s: %s", sub->cursor_file, strerror(-r));
    bus_end(&sub->client, PROC_EXIT_FAILURE);
}

static void
on_save(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    save_cursor(arg);
}

static void
plan_save(struct sub *sub)
{
    struct timeval tv = {.tv_usec = SAVE_EVERY_MS * 1000};

    if (sub->cursor_file != NULL && !evtimer_pending(sub->save, NULL))
        (void)evtimer_add(sub->save, &tv);
}

/* ---- Printing. ---- */

/* On a terminal nothing that a stranger published may move the cursor or change the colours. */
static void
put_safely(const struct sub *sub, struct buf *out, const char *text, size_t n)
{
    if (!sub->is_terminal) {
        buf_put(out, text, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;

        if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f && !(c == 0xc2 && next >= 0x80 && next < 0xa0)))
            buf_put_byte(out, c);
        else if (c == 0xc2)
            buf_printf(out, "\\x%02x", text[++i] & 0xff);
        else
            buf_printf(out, "\\x%02x", c);
    }
}

static void
put_for_people(struct sub *sub, const struct bb_message *m)
{
    struct buf *out = &sub->line;

    buf_put_str(out, sub->has_colour ? "\033[36m" : "");
    put_safely(sub, out, m->topic, strlen(m->topic));
    buf_put_str(out, sub->has_colour ? "\033[0m " : " ");
    if (m->kind == BB_BINARY) {
        buf_printf(out, "[%zu bytes] ", m->len);
        base64_put(out, slice_of(m->data, m->len));
    } else {
        put_safely(sub, out, m->data, m->len);
    }
    buf_put_byte(out, '\n');
}

static bool
print_message(struct sub *sub, const struct bb_message *m)
{
    buf_reset(&sub->line);
    if (sub->format == FORMAT_JSON) {
        msgjson_put(&sub->line, m);
        buf_put_byte(&sub->line, '\n');
    } else if (sub->format == FORMAT_DATA) {
        buf_put(&sub->line, m->data, m->len);
        buf_put_byte(&sub->line, '\n');
    } else {
        put_for_people(sub, m);
    }
    /* Flushed, so that the cursor never is ahead of what was printed. */
    return !buf_failed(&sub->line) && fwrite(sub->line.p, 1, sub->line.n, stdout) == sub->line.n &&
           fflush(stdout) == 0;
}

static void
on_message(struct bb_subscription *bb_sub, const struct bb_message *m, void *arg)
{
    struct sub *sub = arg;

    (void)bb_sub;
    if (sub->client.is_ended) /* more than was asked for, out of one read */
        return;
    if (!print_message(sub, m)) {
        if (errno != EPIPE) /* `| head` has what it wanted */
            bus_complain(&sub->client, "standard output: %s", strerror(errno));
        bus_end(&sub->client, errno == EPIPE ? PROC_EXIT_OK : PROC_EXIT_FAILURE);
        return;
    }
    if (!m->is_retained)
        (void)snprintf(sub->cursor, sizeof sub->cursor, "%s", m->cursor);
    plan_save(sub);
    if (++sub->n_messages == sub->count)
        bus_end(&sub->client, PROC_EXIT_OK);
}

/* ---- What happens to the stream. ---- */

static void
tell_topics(struct sub *sub, const char *what, const struct bb_event *event)
{
    struct buf names;

    buf_init(&names, 4096); /* enough for people */
    for (size_t i = 0; i < event->n_topics; i++) {
        const char *topic = event->topics[i][0] != '\0' ? event->topics[i] : "(unknown)";

        buf_put_str(&names, i > 0 ? ", " : ": ");
        put_safely(sub, &names, topic, strlen(topic));
    }
    bus_note(&sub->client, "%s%.*s", what, (int)names.n, (const char *)names.p);
    buf_fini(&names);
}

static void
tell_event(struct sub *sub, const struct bb_event *event)
{
    switch (event->type) {
    case BB_LIVE:
        if (isatty(STDERR_FILENO))
            bus_note(&sub->client, "live from %s", event->cursor != NULL ? event->cursor : "now");
        break;
    case BB_RECOVERED:
        bus_note(&sub->client, "recovered: nothing is missing");
        break;
    case BB_GAP:
        tell_topics(sub, "gap: some messages are no longer kept", event);
        break;
    case BB_RESET:
        bus_note(&sub->client, "reset: the bus lost its history; going on from %s",
            event->cursor != NULL ? event->cursor : "now");
        break;
    case BB_DROPPED:
        bus_note(&sub->client, "dropped: %" PRIu64 " messages, because they were not read fast enough",
            event->count);
        break;
    case BB_REFUSED:
        bus_complain(&sub->client, "refused: %s", event->text);
        bus_end(&sub->client, PROC_EXIT_FAILURE);
        break;
    }
}

static void
on_event(struct bb_subscription *bb_sub, const struct bb_event *event, void *arg)
{
    struct sub *sub = arg;

    (void)bb_sub;
    if (sub->client.is_ended)
        return;
    tell_event(sub, event);
    if (event->type == BB_REFUSED || event->cursor == NULL)
        return;
    (void)snprintf(sub->cursor, sizeof sub->cursor, "%s", event->cursor);
    plan_save(sub);
}

static int
on_timeout(void *arg)
{
    struct sub *sub = arg;

    if (sub->count == 0)
        return PROC_EXIT_OK;
    bus_complain(
        &sub->client, "%" PRIu64 " of %" PRIu64 " messages came in time", sub->n_messages, sub->count);
    return PROC_EXIT_FAILURE;
}

static int
on_stop(void *arg)
{
    (void)arg;
    return PROC_EXIT_OK; /* how it is meant to end */
}

/* `sub | head -1`: without a further message there would be no write to fail, and no end. Nothing can be read
 * from our end of a pipe, so that what wakes this is the error that the other end has gone. */
static void
on_reader(evutil_socket_t fd, short what, void *arg)
{
    struct pollfd p = {.fd = (int)fd, .events = 0};
    struct sub *sub = arg;

    (void)what;
    if (poll(&p, 1, 0) != 1 || (p.revents & POLLERR) == 0) {
        (void)event_del(sub->reader);
        return;
    }
    bus_end(&sub->client, PROC_EXIT_OK);
}

static int
watch_reader(struct sub *sub)
{
    struct stat st;

    if (fstat(STDOUT_FILENO, &st) < 0 || !S_ISFIFO(st.st_mode))
        return 0;
    sub->reader = event_new(sub->client.base, STDOUT_FILENO, EV_READ | EV_PERSIST, on_reader, sub);
    return sub->reader == NULL ? -ENOMEM : event_add(sub->reader, NULL);
}

static int
run(struct sub *sub, const char *command)
{
    int r = bus_open(&sub->client, command, &sub->args, 0);

    if (r != 0)
        return r;
    sub->save = evtimer_new(sub->client.base, on_save, sub);
    if (sub->save == NULL || watch_reader(sub) < 0)
        return PROC_EXIT_FAILURE;
    r = bb_subscribe(
        sub->client.bb, sub->filters, sub->n_filters, &sub->from, on_message, on_event, sub, NULL);
    if (r < 0) {
        bus_complain(
            &sub->client, "%s", r == -EINVAL ? "at most 64 filters, and all of it UTF-8" : strerror(-r));
        return PROC_EXIT_USAGE;
    }
    r = bus_run(&sub->client);
    save_cursor(sub);
    return sub->client.exit_code != 0 ? sub->client.exit_code : r;
}

int
command_sub(int argc, char **argv)
{
    struct sub sub = {0};
    int exit_code;

    if (parse_args(&sub, argc, argv, &exit_code) != 0)
        return exit_code;
    if (sub.cursor_file != NULL && read_cursor(&sub) < 0)
        return PROC_EXIT_USAGE;
    buf_init(&sub.line, 0);
    sub.is_terminal = isatty(STDOUT_FILENO);
    sub.has_colour = bus_has_colour(stdout);
    sub.client.on_timeout = on_timeout;
    sub.client.on_stop = on_stop;
    sub.client.arg = &sub;
    exit_code = run(&sub, argv[0]);
    if (sub.save != NULL)
        event_free(sub.save);
    if (sub.reader != NULL)
        event_free(sub.reader);
    bus_close(&sub.client);
    buf_fini(&sub.line);
    return exit_code;
}
