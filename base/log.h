/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs to stderr, one line each: for people (time, level, process, message), as `<N>message` when stderr
 * is systemd's journal ($JOURNAL_STREAM), or as JSON lines. Values from strangers are escaped, so that
 * nobody can forge a line. Repeated lines from one place are limited and their number is told.
 * A full disk or a closed stderr never stops a process: the line is dropped and counted.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON, LOG_FORMAT_JOURNAL };

/* process: "broker", "ws.1"; copied. Colour only if stderr is a terminal and $NO_COLOR is not set. */
void log_open(const char *process);
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
int log_level_parse(const char *name, enum log_level *ret); /* 0 or -EINVAL */
bool log_enabled(enum log_level level);
uint64_t log_dropped(void);

void log_write(enum log_level level, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __FILE__, __LINE__, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...)                                                                                       \
    do {                                                                                                     \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                                    \
            log_write(LOG_LEVEL_DEBUG, __FILE__, __LINE__, __VA_ARGS__);                                     \
    } while (0)

#endif
