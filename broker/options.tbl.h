/* SPDX-License-Identifier: Apache-2.0 */
/* Section broker. Columns: base/conf.h. */
OPTION("backend", ENUM, backend, RESTART, "sqlite", "", "", "memory|sqlite",
    "Where messages are kept: memory forgets them when the broker ends, sqlite keeps them in a file (section store).")
OPTION("topics_max", COUNT, topics_max, LIVE, "1000000", "1", "100000000", "",
    "How many topics may exist at once. A publish that would need one more is refused.")
OPTION("filters_max", COUNT, filters_max, LIVE, "1000000", "1", "100000000", "",
    "How many different subscriptions one frontend may hold for all its clients together. A filter counts once more for "
    "each further 8 levels and 128 bytes.")
OPTION("consumers_max", COUNT, consumers_max, LIVE, "100000", "1", "10000000", "",
    "How many members of queues and responders one frontend may have for all its clients together. A topic counts once "
    "more for each further 8 levels and 128 bytes.")
OPTION("requests_max", COUNT, requests_max, LIVE, "100000", "1", "10000000", "",
    "How many requests of one frontend's clients may be under way at once.")
OPTION("requests_bytes", BYTES, requests_bytes, LIVE, "64MiB", "64KiB", "16GiB", "",
    "How much memory those of one frontend may take while they wait for a responder that is not busy.")
OPTION("members_max", COUNT, members_max, LIVE, "200000", "1", "10000000", "",
    "How many connections of one frontend may be there (presence) on all topics together, with those that linger.")
OPTION("members_bytes", BYTES, members_bytes, LIVE, "256MiB", "64KiB", "16GiB", "",
    "How much memory they may take.")
OPTION("grace", TIME, grace_ms, LIVE, "5s", "0", "10m", "",
    "How long a frontend that is lost, or that does not come back after a restart of the broker, is waited for before "
    "what its clients had is taken from them.")
OPTION("queues_max", COUNT, queues_max, LIVE, "10000", "1", "10000000", "",
    "How many groups of consumers there may be on all topics together.")
OPTION("queue_cache", BYTES, queue_cache, LIVE, "64MiB", "1MiB", "1TiB", "",
    "How much memory messages may take that are about to be given to consumers; past that they are read from the store "
    "one by one.")
OPTION("kept_requests_max", COUNT, kept_requests_max, LIVE, "100000", "1", "100000000", "",
    "How many asynchronous requests and replies may be kept at once. Each is a topic, too (topics_max).")
OPTION("scheduled_max", COUNT, scheduled_max, LIVE, "100000", "0", "100000000", "",
    "How many messages with a delay may be kept at once, until they are due.")
OPTION("links_max", COUNT, links_max, RESTART, "64", "1", "1024", "",
    "How many frontends may be attached at once.")
OPTION("link_credit", BYTES, link_credit, RESTART, "8MiB", "1MiB", "1GiB", "",
    "How many bytes one frontend may have on their way to the broker before the broker has taken them.")
OPTION("outbox_max", BYTES, outbox_max, LIVE, "64MiB", "1MiB", "16GiB", "",
    "How much may wait for one frontend that is too slow. Past that it is sent no more until it has room, and then what "
    "it missed, from the history.")
OPTION("heartbeat", TIME, heartbeat_ms, RESTART, "1s", "50ms", "1m", "",
    "How often broker and frontends tell each other that they live. After three missed, the link is dropped.")
OPTION("history_max", BYTES, history_max, LIVE, "1GiB", "1MiB", "1TiB", "",
    "How much the kept messages of all topics may take together, in memory or in the file. Past that, the oldest go "
    "first.")
OPTION("memory_max", BYTES, memory_max, LIVE, "0", "0", "1TiB", "",
    "How much resident memory the broker may use; 0 for no limit. Once nine tenths are used, publishes, subscriptions and "
    "new links are refused until there is room again. A limit of the process's address space or data (RLIMIT_AS, "
    "RLIMIT_DATA) is heeded in the same way without this. With any such limit, history_max counts as half of it at most "
    "if the history is in memory, and outbox_max as a sixteenth.")
OPTION("max_message", BYTES, max_message, LIVE, "1MiB", "1KiB", "16MiB", "",
    "The largest message of any topic; a topic may allow less.")
OPTION("dedupe_window", TIME, dedupe_window_ms, LIVE, "2m", "0", "1d", "",
    "How long the idempotency key of a publish is remembered, so that the same publish sent again is not done twice.")
OPTION("dedupe_keys", COUNT, dedupe_keys, LIVE, "1000000", "0", "100000000", "",
    "How many such keys are remembered; past that, the oldest are forgotten early.")
OPTION("topic_idle", TIME, topic_idle_ms, LIVE, "1m", "1s", "30d", "",
    "How long a topic without subscribers, history or retained value is kept before it is forgotten; broker.dedupe_window "
    "if that is longer.")
OPTION("sys_interval", TIME, sys_interval_ms, LIVE, "10s", "0", "1h", "",
    "How often the broker publishes its figures under $sys/; 0 for never.")
#undef OPTION
