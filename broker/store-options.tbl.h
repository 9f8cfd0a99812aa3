/* SPDX-License-Identifier: Apache-2.0 */
/* Section store. Columns: base/conf.h. ENUM choices stand in the order of enum sqlite_sync. */
OPTION("path", PATH, path, RESTART, "/var/lib/busbar/busbar.db", "1", "4000", "",
    "The file of the backend sqlite; two more stand beside it while the broker runs. "
    "A person who starts a bus without the right to write to the default gets a file of their own.")
OPTION("sync", ENUM, sync, RESTART, "interval", "", "", "none|interval|always",
    "When a publish is acknowledged: none and interval, when the operating system has it, so that it "
    "survives the end of "
    "any process; with interval it is on the disk at most sync_interval later; always, when it is on the "
    "disk.")
OPTION("sync_interval", TIME, sync_interval_ms, RESTART, "100ms", "1ms", "1h", "",
    "How much may be lost, at most, when the machine loses power.")
OPTION("cache", BYTES, cache_bytes, LIVE, "64MiB", "0", "1TiB", "",
    "How much memory the most recent messages may take, so that clients that come back soon need no disk.")
OPTION("queue", COUNT, queue_max, LIVE, "65536", "1", "100000000", "",
    "How many publishes may wait for the disk. Past that their senders wait.")
OPTION(
    "queue_bytes", BYTES, queue_bytes, LIVE, "64MiB", "1MiB", "1TiB", "", "How many bytes of them may wait.")
#undef OPTION
