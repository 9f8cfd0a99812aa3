/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log. A line is made on the stack and leaves with one write(2), so lines of several processes on one
 * stderr do not mix, and the log works when memory has run out.
 *
 * Escaping: control characters and bytes that are not UTF-8 become \n, \xNN; in JSON lines the control
 * characters are JSON's own escapes. Thus a line is always one line, and its first words are always ours.
 *
 * Limits: each place in the source (file and line) may say 20 lines in 10 seconds; then the rest is counted
 * and told in one line, by whichever line comes after those 10 seconds. Debug lines are not limited: who
 * turns them on wants them all.
 */
#include "config.h"

#include "base/log.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/slice.h"
#include "base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define LOG_MESSAGE_MAX 1024u /* bytes of one message as given; the rest is cut */
#define LOG_TEXT_MAX (4 * LOG_MESSAGE_MAX + 8)
#define LOG_LINE_MAX (6 * LOG_MESSAGE_MAX + 512)
#define LOG_BURST 20u
#define LOG_WINDOW_MS 10000u
#define LOG_N_PLACES 256u /* places that are limited at a time; a power of two */

/* One place in the source that has logged of late. */
struct log_place {
    const char *file; /* NULL: free. Compared as a pointer: __FILE__ is one literal in each object */
    int line;
    enum log_level level;
    unsigned n_lines;      /* in this window */
    unsigned n_suppressed; /* since the last line that was let through */
    uint64_t window_at_ms;
};

/* House rule 31 allows this one mutable global: there is one stderr. */
static struct {
    _Atomic int level;
    enum log_format format;
    bool has_colour;
    char process[64];
    _Atomic uint64_t n_dropped;
    pthread_mutex_t lock;   /* of what follows; backends log from their threads */
    unsigned n_suppressing; /* places with n_suppressed > 0 */
    uint64_t told_at_ms;
    struct log_place places[LOG_N_PLACES];
} log_state = {.level = LOG_LEVEL_NOTICE, .lock = PTHREAD_MUTEX_INITIALIZER};

static const struct {
    const char *name, *shown, *colour;
    int priority; /* of syslog */
} log_levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "ERROR", "\033[1;31m", 3},
    [LOG_LEVEL_WARN] = {"warn", "WARN", "\033[33m", 4},
    [LOG_LEVEL_NOTICE] = {"notice", "NOTICE", "\033[1m", 5},
    [LOG_LEVEL_INFO] = {"info", "INFO", "", 6},
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG", "\033[2m", 7},
};

#define N_LEVELS (sizeof log_levels / sizeof log_levels[0])

/* $JOURNAL_STREAM is "device:inode" of the stream that systemd gave; it is inherited by children whose
 * stderr went elsewhere since, so it counts only if it is this stderr. */
static bool
log_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    if (stream == NULL || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode;
}

void
log_open(const char *process)
{
    const char *no_color = getenv("NO_COLOR");

    (void)snprintf(log_state.process, sizeof log_state.process, "%s", process);
    log_state.format = log_is_journal() ? LOG_FORMAT_JOURNAL : LOG_FORMAT_TEXT;
    log_state.has_colour = (no_color == NULL || no_color[0] == '\0') && isatty(STDERR_FILENO) == 1;
}

void
log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_state.level, (int)level, memory_order_relaxed);
}

void
log_set_format(enum log_format format)
{
    log_state.format = format;
}

int
log_level_parse(const char *name, enum log_level *ret)
{
    for (size_t i = 0; i < N_LEVELS; i++) {
        if (strcmp(name, log_levels[i].name) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

bool
log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

uint64_t
log_dropped(void)
{
    return atomic_load_explicit(&log_state.n_dropped, memory_order_relaxed);
}

/* A buffer on the stack: full is full, nothing is allocated. */
static struct buf
log_buf(uint8_t *p, size_t n)
{
    return (struct buf){.p = p, .cap = n, .max = n};
}

/* The length of the character at p, 0 if it is malformed or cut off. */
static size_t
log_char_length(const uint8_t *p, size_t n)
{
    for (size_t i = 1; i <= 4 && i <= n; i++) {
        uint32_t state = utf8_feed(UTF8_ACCEPT, p, i);

        if (state == UTF8_ACCEPT)
            return i;
        if (state == UTF8_REJECT)
            return 0;
    }
    return 0;
}

/* Puts valid UTF-8 whatever comes in. C1 controls (c2 80 to c2 9f) steer terminals as well. */
static void
log_put_escaped(struct buf *out, struct slice in, bool keep_controls)
{
    for (size_t i = 0; i < in.n;) {
        uint8_t c = in.p[i];
        size_t n = log_char_length(in.p + i, in.n - i);
        bool is_control = c < 0x20 || c == 0x7f || (n == 2 && c == 0xc2 && in.p[i + 1] < 0xa0);

        if (n > 0 && (!is_control || keep_controls)) {
            buf_put(out, in.p + i, n);
            i += n;
            continue;
        }
        if (c == '\n')
            buf_put_str(out, "\\n");
        else
            buf_printf(out, "\\x%02x", c);
        i++;
    }
}

static void
log_put_prefix_text(struct buf *out, enum log_level level, const struct timespec *now)
{
    char when[32] = "";
    struct tm tm;

    if (localtime_r(&now->tv_sec, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    buf_printf(out, "%s.%03ld ", when, now->tv_nsec / 1000000);
    if (log_state.has_colour)
        buf_printf(out, "%s%s\033[0m ", log_levels[level].colour, log_levels[level].shown);
    else
        buf_printf(out, "%s ", log_levels[level].shown);
    if (log_state.process[0] != '\0')
        buf_printf(out, "%s: ", log_state.process);
}

static void
log_put_json(struct buf *out, enum log_level level, const struct timespec *now, struct slice message)
{
    char when[32] = "";
    struct tm tm;

    if (gmtime_r(&now->tv_sec, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(out, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"process\":", when, now->tv_nsec / 1000000,
        log_levels[level].name);
    json_put_string(out, slice_str(log_state.process));
    buf_put_str(out, ",\"message\":");
    json_put_string(out, message);
    buf_put_str(out, "}\n");
}

static void
log_send(const uint8_t *p, size_t n)
{
    struct pollfd can_write = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t r = -1;

    /* A full pipe must not stop the process, and stderr is not ours alone to make non-blocking. */
    if (poll(&can_write, 1, 0) == 1 && (can_write.revents & POLLOUT) != 0) {
        do {
            r = write(STDERR_FILENO, p, n);
        } while (r < 0 && errno == EINTR);
    }
    if (r != (ssize_t)n)
        atomic_fetch_add_explicit(&log_state.n_dropped, 1, memory_order_relaxed);
}

static void
log_line(enum log_level level, struct slice message)
{
    uint8_t text_bytes[LOG_TEXT_MAX], line_bytes[LOG_LINE_MAX];
    struct buf text = log_buf(text_bytes, sizeof text_bytes), line = log_buf(line_bytes, sizeof line_bytes);
    struct timespec now = {.tv_sec = 0};

    (void)clock_gettime(CLOCK_REALTIME, &now);
    log_put_escaped(&text, message, log_state.format == LOG_FORMAT_JSON);
    switch (log_state.format) {
    case LOG_FORMAT_JSON:
        log_put_json(&line, level, &now, buf_slice(&text));
        break;
    case LOG_FORMAT_JOURNAL:
        buf_printf(&line, "<%d>", log_levels[level].priority);
        buf_put_slice(&line, buf_slice(&text));
        buf_put_byte(&line, '\n');
        break;
    case LOG_FORMAT_TEXT:
        log_put_prefix_text(&line, level, &now);
        buf_put_slice(&line, buf_slice(&text));
        buf_put_byte(&line, '\n');
        break;
    }
    log_send(line.p, line.n);
}

/* Says how many lines of a place were left out. */
static void
log_tell_suppressed(const struct log_place *place)
{
    const char *slash = strrchr(place->file, '/');
    char message[128];
    int n;

    n = snprintf(message, sizeof message, "%u more lines like this were suppressed (%s:%d)",
        place->n_suppressed, slash == NULL ? place->file : slash + 1, place->line);
    log_line(place->level, slice_of(message, n < (int)sizeof message ? (size_t)n : sizeof message - 1));
}

static uint64_t
log_now_ms(void)
{
    struct timespec now = {.tv_sec = 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
log_close_window(struct log_place *place)
{
    if (place->n_suppressed > 0) {
        log_tell_suppressed(place);
        place->n_suppressed = 0;
        log_state.n_suppressing--;
    }
}

/* Tells what was suppressed at all places whose window is over; looks once a second at most. */
static void
log_tell_due(uint64_t now_ms)
{
    if (log_state.n_suppressing == 0 || now_ms - log_state.told_at_ms < 1000)
        return;
    log_state.told_at_ms = now_ms;
    for (size_t i = 0; i < LOG_N_PLACES; i++) {
        struct log_place *place = &log_state.places[i];

        if (place->file != NULL && now_ms - place->window_at_ms >= LOG_WINDOW_MS)
            log_close_window(place);
    }
}

/* Whether this place may say one more line now. */
static bool
log_check_rate(enum log_level level, const char *file, int line)
{
    uint64_t now_ms = log_now_ms();
    size_t hash = ((uintptr_t)file >> 3 ^ (size_t)line * 2654435761u) & (LOG_N_PLACES - 1);
    struct log_place *place = &log_state.places[hash];

    log_tell_due(now_ms);
    if (place->file != file || place->line != line || now_ms - place->window_at_ms >= LOG_WINDOW_MS) {
        log_close_window(place); /* of this place, or of another one that gives way to it */
        *place = (struct log_place){.file = file, .line = line, .level = level, .window_at_ms = now_ms};
    }
    if (place->n_lines < LOG_BURST) {
        place->n_lines++;
        return true;
    }
    if (place->n_suppressed++ == 0)
        log_state.n_suppressing++;
    return false;
}

void
log_write(enum log_level level, const char *file, int line, const char *fmt, ...)
{
    char message[LOG_MESSAGE_MAX];
    int saved_errno = errno; /* callers log, then return -errno */
    bool may_say = true;
    va_list ap;
    int n;

    if (!log_enabled(level))
        return;
    if (level != LOG_LEVEL_DEBUG) {
        (void)pthread_mutex_lock(&log_state.lock);
        may_say = log_check_rate(level, file, line);
        (void)pthread_mutex_unlock(&log_state.lock);
    }
    if (may_say) {
        errno = saved_errno; /* for %m */
        va_start(ap, fmt);
        n = vsnprintf(message, sizeof message, fmt, ap);
        va_end(ap);
        if (n >= (int)sizeof message) {
            n = sizeof message - 1;
            memcpy(message + sizeof message - 4, "...", 3);
        }
        if (n >= 0)
            log_line(level, slice_of(message, (size_t)n));
    }
    errno = saved_errno;
}
