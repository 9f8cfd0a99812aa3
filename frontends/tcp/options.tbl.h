/* SPDX-License-Identifier: Apache-2.0 */
/* Section tcp. Columns: base/conf.h. */
OPTION("enabled", BOOL, enabled, RESTART, "true", "", "", "", "Whether `busbar up` runs this frontend.")
OPTION("listen", ADDRESS, listen, RESTART, "127.0.0.1:7070", "", "", "",
    "Where to listen: host:port, [v6]:port, or *:port for every address of this machine. Not encrypted: "
    "for anything but this machine there is tls.listen. Empty: nowhere.")
OPTION("workers", COUNT, workers, RESTART, "1", "1", "64", "",
    "How many processes of this frontend `busbar up` runs; they share the port.")
OPTION("idle_timeout", TIME, idle_timeout_ms, LIVE, "0", "0", "1d", "",
    "How long a client may say nothing before the connection is closed; 0 for ever, dead peers are still "
    "found by TCP keepalive.")
OPTION("first_byte_timeout", TIME, first_byte_timeout_ms, LIVE, "1m", "0", "1h", "",
    "How long a new client may take to send its first byte; 0 for ever.")
OPTION("keepalive_interval", TIME, keepalive_interval_ms, RESTART, "1m", "0", "1d", "",
    "How long a connection is silent before TCP asks whether the peer still lives; 0 for never.")
#undef OPTION
