/* SPDX-License-Identifier: Apache-2.0 */
/* busbar queue: what waits in work queues, and taking it. */
#include "config.h"

#include "cli/commands.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/conf.h"
#include "base/json.h"
#include "base/list.h"
#include "cli/busclient.h"
#include "cli/job.h"
#include "cli/msgjson.h"

#define PAGE 1000u
#define CONCURRENCY_MAX 1000u

struct queue;

struct queue_verb {
    const char *name;
    bool needs_group; /* TOPIC and GROUP; else a filter */
    int (*begin)(struct queue *queue);
};

struct queue {
    struct bus_args args;
    struct bus_client client;
    const struct queue_verb *verb;
    const char *topic, *group; /* list: the filter */
    const char *command, *reason;
    bool is_json, is_drop, is_peeking;
    uint64_t count, concurrency, delay_ms;
    uint64_t n_rows, n_done;
    char after[1025 * 6], after_group[80], cursor[64]; /* of a page's last row */
    bool has_more;
    struct list works;
    struct bb_subscription *sub;
};

/* One message that was taken. */
struct work {
    struct queue *queue;
    struct job *job;
    struct list in_works;
    char lease[];
};

enum {
    OPTION_JSON = BUS_OPTION_FIRST,
    OPTION_COUNT,
    OPTION_EXEC,
    OPTION_CONCURRENCY,
    OPTION_DELAY,
    OPTION_DROP
};

static const struct option long_options[] = {
    BUS_LONG_OPTIONS,
    {"json", no_argument, NULL, OPTION_JSON},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"exec", required_argument, NULL, OPTION_EXEC},
    {"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
    {"delay", required_argument, NULL, OPTION_DELAY},
    {"drop-group", no_argument, NULL, OPTION_DROP},
    {0},
};

static const char help[] =
    "usage: busbar queue list [FILTER]            the queues: messages ready, leased, delayed, dead\n"
    "       busbar queue peek TOPIC GROUP         what is not done, without taking it\n"
    "       busbar queue take TOPIC GROUP         take messages, print them, and say that they are done\n"
    "       busbar queue purge TOPIC GROUP        everything that waits counts as done\n"
    "       busbar queue redrive TOPIC GROUP      the dead letters go back into the queue\n\n"
    "  --json                  list, peek, take: one object a line\n"
    "  --count N               take: end after N messages (1; 0: never); peek, redrive: at most N (10; all)\n"
    "  --exec COMMAND          take: /bin/sh runs it for each message, with the payload on standard input "
    "and\n"
    "                          $BUSBAR_TOPIC, $BUSBAR_TYPE, $BUSBAR_KEY, $BUSBAR_DELIVERIES and "
    "$BUSBAR_HEADER_NAME set; a "
    "message\n"
    "                          whose command does not end with 0 is given back\n"
    "  --concurrency N         take: how many at once (1)\n"
    "  --delay TIME            take: how long what is given back rests (0)\n"
    "  --drop-group            purge: the group itself goes, too\n"
    "  -t, --timeout TIME      how long to wait for messages, or for the answer (30s; take: for "
    "ever)\n" BUS_OPTIONS_HELP "\nExit codes: 0 done, 1 refused, 2 wrong usage, 3 wrong configuration, 4 no "
    "bus, or no answer or message in "
    "time.\n";

/* ---- Ends. ---- */

static void
fail(struct queue *queue, const struct bb_result *result)
{
    if (queue->client.is_ended)
        return;
    if (result->code != NULL)
        bus_complain(&queue->client, "%s: %s", result->code, result->text);
    else
        bus_complain(&queue->client, "%s",
            result->error == -ETIMEDOUT    ? "no answer came in time"
            : result->error == -ECONNRESET ? "the connection was lost before the answer"
                                           : strerror(-result->error));
    bus_end(&queue->client, result->code != NULL ? PROC_EXIT_FAILURE : PROC_EXIT_CONNECT);
}

/* ---- Answers in JSON: rows of texts and numbers. ---- */

struct row {
    struct slice op, topic, group, state, cursor, data, key, encoding;
    struct slice ready, leased, delayed, dead, lost, consumers, oldest, deliveries, count, more;
};

static void
row_take(struct row *row, struct slice key, struct slice raw)
{
    const struct {
        const char *name;
        struct slice *to;
    } keys[] = {{"op", &row->op}, {"topic", &row->topic}, {"group", &row->group}, {"state", &row->state},
        {"cursor", &row->cursor}, {"data", &row->data}, {"key", &row->key}, {"encoding", &row->encoding},
        {"ready", &row->ready}, {"leased", &row->leased}, {"delayed", &row->delayed}, {"dead", &row->dead},
        {"lost", &row->lost}, {"consumers", &row->consumers}, {"oldest", &row->oldest},
        {"deliveries", &row->deliveries}, {"count", &row->count}, {"more", &row->more}};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (slice_is(key, keys[i].name))
            *keys[i].to = raw;
    }
}

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
    while (json_next(&r, &t) == 0 && t.type == JSON_KEY && json_skip(&r, &raw) == 0)
        row_take(&row, t.raw, raw);
    return row;
}

static uint64_t
row_number(struct slice raw)
{
    uint64_t v = 0;

    return raw.n > 0 && json_u64(raw, &v) == 0 ? v : 0;
}

/* As it stands, with its quotes: to be given back in the next question. */
static void
row_copy(struct slice raw, char *to, size_t size)
{
    (void)snprintf(to, size, "%.*s", SLICE_ARG(raw));
}

static int
row_print_text(struct slice raw)
{
    struct buf text;
    int n;

    if (raw.n < 2 || raw.p[0] != '"')
        return printf("%.*s", SLICE_ARG(raw));
    buf_init(&text, 0);
    json_unescape(&text, slice_of(raw.p + 1, raw.n - 2));
    n = printf("%.*s", SLICE_ARG(buf_slice(&text)));
    buf_fini(&text);
    return n;
}

/* ---- list ---- */

static int list_ask(struct queue *queue);

static void
list_print(struct queue *queue, const struct row *row)
{
    uint64_t oldest_ms = row_number(row->oldest), now_ms = (uint64_t)time(NULL) * 1000;

    if (queue->n_rows++ == 0)
        (void)printf("%9s %9s %9s %9s %9s %9s %9s  %s\n", "READY", "LEASED", "DELAYED", "DEAD", "LOST",
            "CONSUMERS", "OLDEST", "TOPIC GROUP");
    (void)printf("%9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64,
        row_number(row->ready), row_number(row->leased), row_number(row->delayed), row_number(row->dead),
        row_number(row->lost), row_number(row->consumers));
    if (oldest_ms == 0)
        (void)printf(" %9s  ", "-");
    else
        (void)printf(" %8" PRIu64 "s  ", now_ms > oldest_ms ? (now_ms - oldest_ms) / 1000 : 0);
    (void)row_print_text(row->topic);
    (void)putchar(' ');
    (void)row_print_text(row->group);
    (void)putchar('\n');
}

static void
on_list(struct bb_client *bb, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct queue *queue = arg;
    struct row row;

    (void)bb;
    if (json == NULL) {
        if (result->error < 0)
            fail(queue, result);
        else if (!queue->has_more || list_ask(queue) < 0)
            bus_end(&queue->client, PROC_EXIT_OK);
        return;
    }
    row = row_of(json, len);
    if (slice_is(row.op, "\"queues_end\"")) {
        queue->has_more = slice_is(row.more, "true") && queue->after[0] != '\0';
        if (queue->n_rows == 0 && !queue->has_more)
            bus_note(&queue->client, "there is no queue on %s", queue->topic != NULL ? queue->topic : "#");
        return;
    }
    row_copy(row.topic, queue->after, sizeof queue->after);
    row_copy(row.group, queue->after_group, sizeof queue->after_group);
    if (queue->is_json)
        (void)printf("%s\n", json);
    else
        list_print(queue, &row);
    queue->n_rows += queue->is_json;
}

static int
list_ask(struct queue *queue)
{
    struct buf members;
    int r;

    buf_init(&members, 0);
    buf_put_str(&members, "\"filter\":");
    json_put_string(&members, slice_str(queue->topic != NULL ? queue->topic : "#"));
    if (queue->after[0] != '\0')
        buf_printf(&members, ",\"after\":%s,\"group\":%s", queue->after, queue->after_group);
    buf_printf(&members, ",\"limit\":%u", PAGE);
    buf_put_byte(&members, '\0');
    r = buf_failed(&members) ? -ENOMEM
                             : bb_ask(queue->client.bb, "queues", (const char *)members.p, on_list, queue);
    buf_fini(&members);
    return r;
}

/* ---- peek, purge, redrive ---- */

static void
on_done(struct bb_client *bb, const char *json, size_t len, const struct bb_result *result, void *arg)
{
    struct queue *queue = arg;
    struct row row;

    (void)bb;
    if (json == NULL) {
        if (result->error < 0)
            fail(queue, result);
        else
            bus_end(&queue->client, PROC_EXIT_OK);
        return;
    }
    row = row_of(json, len);
    if (slice_is(row.op, "\"peek_end\""))
        return;
    if (queue->is_json) {
        (void)printf("%s\n", json);
    } else if (queue->is_peeking) {
        (void)printf("%-7.*s %" PRIu64 "  %.*s  ", (int)(row.state.n > 2 ? row.state.n - 2 : 0),
            (const char *)row.state.p + 1, row_number(row.deliveries),
            (int)(row.cursor.n > 2 ? row.cursor.n - 2 : 0), (const char *)row.cursor.p + 1);
        (void)row_print_text(row.data);
        (void)putchar('\n');
    } else {
        (void)printf("%" PRIu64 "\n", row_number(row.count));
    }
}

static int
ask_of_group(struct queue *queue, const char *op, const char *more)
{
    struct buf members;
    int r;

    buf_init(&members, 0);
    buf_put_str(&members, "\"topic\":");
    json_put_string(&members, slice_str(queue->topic));
    buf_put_str(&members, ",\"group\":");
    json_put_string(&members, slice_str(queue->group));
    buf_put_str(&members, more);
    buf_put_byte(&members, '\0');
    r = buf_failed(&members) ? -ENOMEM
                             : bb_ask(queue->client.bb, op, (const char *)members.p, on_done, queue);
    buf_fini(&members);
    return r;
}

static int
begin_peek(struct queue *queue)
{
    char more[40];

    queue->is_peeking = true;
    (void)snprintf(more, sizeof more, ",\"limit\":%" PRIu64, queue->count == UINT64_MAX ? 10 : queue->count);
    return ask_of_group(queue, "peek", more);
}

static int
begin_purge(struct queue *queue)
{
    return ask_of_group(queue, "purge", queue->is_drop ? ",\"drop\":true" : "");
}

static int
begin_redrive(struct queue *queue)
{
    char more[40] = "";

    if (queue->count != UINT64_MAX)
        (void)snprintf(more, sizeof more, ",\"limit\":%" PRIu64, queue->count);
    return ask_of_group(queue, "redrive", more);
}

/* ---- take ---- */

static void
work_free(struct work *work)
{
    list_remove(&work->in_works);
    free(work);
}

/* The bus has kept what became of one. */
static void
on_settled(struct bb_client *bb, const struct bb_result *result, void *arg)
{
    struct queue *queue = arg;

    (void)bb;
    if (queue->client.is_ended)
        return;
    if (result->error < 0) {
        bus_note(&queue->client, "%s; it will come again", bus_result_text(result));
        queue->n_rows--;
        return;
    }
    queue->n_done++;
    if (queue->count > 0 && queue->n_done >= queue->count)
        bus_end(&queue->client, PROC_EXIT_OK);
}

static void
settle(struct queue *queue, const char *lease, const char *error)
{
    int r = error == NULL
                ? bb_ack(queue->client.bb, lease, on_settled, queue)
                : bb_nack(queue->client.bb, lease, queue->delay_ms, false, error, on_settled, queue);

    if (r == 0)
        return;
    queue->n_rows--;
    bus_note(&queue->client, "%s; it will come again",
        r == -ENOTCONN ? "a message was lost with the connection" : strerror(-r));
}

static void
on_end(struct job *job, const char *error, struct slice output, void *arg)
{
    struct work *work = arg;

    (void)job;
    (void)fwrite(output.p, 1, output.n, stdout);
    (void)fflush(stdout);
    if (error != NULL)
        bus_note(&work->queue->client, "%s", error);
    settle(work->queue, work->lease, error);
    work_free(work);
}

static bool
print_work(const struct queue *queue, const struct bb_message *m)
{
    struct buf out;
    bool is_well;

    buf_init(&out, 0);
    if (queue->is_json)
        msgjson_put(&out, m);
    else
        buf_put(&out, m->data, m->len);
    buf_put_byte(&out, '\n');
    is_well = !buf_failed(&out) && fwrite(out.p, 1, out.n, stdout) == out.n && fflush(stdout) == 0;
    buf_fini(&out);
    return is_well;
}

static void
run_work(struct queue *queue, const struct bb_message *m)
{
    struct work *work = malloc(sizeof *work + strlen(m->lease) + 1);
    int r = -ENOMEM;

    if (work != NULL) {
        *work = (struct work){.queue = queue};
        memcpy(work->lease, m->lease, strlen(m->lease) + 1);
        list_push_back(&queue->works, &work->in_works);
        r = job_start(queue->client.base, queue->command, m, m->expires_ms, on_end, work, &work->job);
    }
    if (r == 0)
        return;
    bus_complain(&queue->client, "the command cannot be run: %s", strerror(-r));
    settle(queue, m->lease, "the consumer cannot run its command");
    if (work != NULL)
        work_free(work);
}

static void
on_work(struct bb_subscription *sub, const struct bb_message *m, void *arg)
{
    struct queue *queue = arg;

    (void)sub;
    if (queue->client.is_ended || (queue->count > 0 && queue->n_rows >= queue->count))
        return; /* more than was asked for: it goes to others when this ends */
    queue->n_rows++;
    if (queue->command != NULL) {
        run_work(queue, m);
    } else if (print_work(queue, m)) {
        settle(queue, m->lease, NULL);
    } else {
        if (errno != EPIPE)
            bus_complain(&queue->client, "standard output: %s", strerror(errno));
        bus_end(&queue->client, errno == EPIPE ? PROC_EXIT_OK : PROC_EXIT_FAILURE);
    }
}

static void
on_event(struct bb_subscription *sub, const struct bb_event *event, void *arg)
{
    struct queue *queue = arg;

    (void)sub;
    if (event->type != BB_REFUSED)
        return;
    bus_complain(&queue->client, "%s: %s", event->code, event->text);
    bus_end(&queue->client, PROC_EXIT_FAILURE);
}

static int
begin_take(struct queue *queue)
{
    const struct bb_subscribe_options options = {
        .group = queue->group, .prefetch = (uint32_t)queue->concurrency};

    if (queue->count == UINT64_MAX)
        queue->count = 1;
    return bb_subscribe(queue->client.bb, &queue->topic, 1, &options, on_work, on_event, queue, &queue->sub);
}

static int
on_timeout(void *arg)
{
    const struct queue *queue = arg;

    return queue->sub != NULL && queue->count == 0 ? PROC_EXIT_OK : PROC_EXIT_CONNECT;
}

static int
on_stop(void *arg)
{
    (void)arg;
    return PROC_EXIT_OK;
}

/* ---- The command. ---- */

static const struct queue_verb verbs[] = {
    {"list", false, list_ask},
    {"peek", true, begin_peek},
    {"take", true, begin_take},
    {"purge", true, begin_purge},
    {"redrive", true, begin_redrive},
};

static int
take_number(const char *option, const char *text, uint64_t max, uint64_t *ret)
{
    if (conf_parse_count(text, ret) == 0 && *ret <= max)
        return 0;
    (void)fprintf(stderr, "busbar queue: --%s %s: give a number up to %" PRIu64 "\n", option, text, max);
    return -EINVAL;
}

static int
take_option(struct queue *queue, int c)
{
    switch (c) {
    case OPTION_JSON:
        queue->is_json = true;
        return 0;
    case OPTION_COUNT:
        return take_number("count", optarg, UINT32_MAX, &queue->count);
    case OPTION_EXEC:
        queue->command = optarg;
        return 0;
    case OPTION_CONCURRENCY:
        return take_number("concurrency", optarg, CONCURRENCY_MAX, &queue->concurrency);
    case OPTION_DELAY:
        return bus_take_time("busbar queue", "delay", optarg, &queue->delay_ms);
    case OPTION_DROP:
        queue->is_drop = true;
        return 0;
    default:
        return -EINVAL;
    }
}

static int
usage(const char *what)
{
    (void)fprintf(stderr, "busbar queue: %s; `busbar queue --help` says more\n", what);
    return 1;
}

static int
parse_args(struct queue *queue, int argc, char **argv, int *ret_exit)
{
    const char *name;
    int c, r;

    while ((c = getopt_long(argc, argv, BUS_SHORT_OPTIONS, long_options, NULL)) != -1) {
        r = bus_args_take(&queue->args, argv[0], c, optarg, help, ret_exit);
        if (r > 0 || (r < 0 && take_option(queue, c) < 0))
            return 1;
    }
    *ret_exit = PROC_EXIT_USAGE;
    name = optind < argc ? argv[optind++] : "";
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            queue->verb = &verbs[i];
    }
    if (queue->verb == NULL)
        return usage("say what: list, peek, take, purge or redrive");
    queue->topic = optind < argc ? argv[optind++] : NULL;
    if (queue->verb->needs_group)
        queue->group = optind < argc ? argv[optind++] : NULL;
    if (queue->verb->needs_group && queue->group == NULL)
        return usage("give a topic and a group");
    if (queue->concurrency == 0)
        queue->concurrency = 1;
    return optind < argc ? usage("too much") : 0;
}

int
command_queue(int argc, char **argv)
{
    struct queue queue = {.count = UINT64_MAX};
    int exit_code, r;

    list_init(&queue.works);
    if (parse_args(&queue, argc, argv, &exit_code) != 0)
        return exit_code;
    queue.client.on_timeout = on_timeout;
    if (strcmp(queue.verb->name, "take") == 0)
        queue.client.on_stop = on_stop;
    queue.client.arg = &queue;
    exit_code = bus_open(&queue.client, argv[0], &queue.args, 0);
    if (exit_code == 0) {
        r = queue.verb->begin(&queue);
        if (r < 0)
            bus_complain(&queue.client, "%s", r == -EINVAL ? "this is not UTF-8, or no name" : strerror(-r));
        exit_code = r < 0 ? PROC_EXIT_USAGE : bus_run(&queue.client);
    }
    while (!list_empty(&queue.works)) {
        struct work *work = list_entry(queue.works.next, struct work, in_works);

        (void)job_kill(work->job);
        work_free(work);
    }
    queue.client.is_ended = true; /* nothing more is said */
    bus_close(&queue.client);
    if (fflush(stdout) != 0 && exit_code == PROC_EXIT_OK)
        exit_code = PROC_EXIT_FAILURE;
    return exit_code;
}
