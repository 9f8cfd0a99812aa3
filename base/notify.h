/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells whoever started this process how it is doing, by the datagrams that systemd understands (sd_notify):
 * `busbar up` listens for them too. Without $NOTIFY_SOCKET each call does nothing. Never blocks, and a
 * failure is not an error of the process.
 */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

/* Serving from now on. Once, after listening and, for a frontend, after the first attach to the broker. */
void notify_ready(void);

/* One address that clients can use, as it really is (a port of 0 filled in): before notify_ready(). */
void notify_listening(const char *address);
/* Likewise, where clients speak TLS. */
void notify_listening_tls(const char *address);

/* One line for people: "attached, 312 clients". */
void notify_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void notify_reloading(void); /* follow with notify_ready() */
void notify_stopping(void);

#endif
