/* SPDX-License-Identifier: Apache-2.0 */
/* One item of the list topics. Columns: base/conf.h. ENUM choices stand in the order of the enums in
 * broker/options.h. */
OPTION("match", STRING, match, LIVE, NULL, "1", "1024", "chat/#",
    "The topics that this item is for, as a filter: + stands for one level, # for the rest.")
OPTION("history.messages", COUNT, history_messages, LIVE, "100", "0", "100000000", "",
    "How many messages of each topic are kept for clients that come back; 0 for none.")
OPTION("history.age", TIME, history_age_ms, LIVE, "1h", "0", "3650d", "",
    "How long they are kept; 0 for no limit.")
OPTION("history.bytes", BYTES, history_bytes, LIVE, "16MiB", "0", "1TiB", "",
    "How much memory those of one topic may take; 0 for no limit of the topic's own.")
OPTION("retain", ENUM, retain, LIVE, "flag", "", "", "flag|last|none",
    "Whether a new subscriber gets a kept value first: flag, the last message published with the retain flag; last, the "
    "last message in any case; none, nothing.")
OPTION("max_message", BYTES, max_message, LIVE, "1MiB", "1B", "16MiB", "",
    "The largest message; broker.max_message holds as well.")
OPTION("slow_consumer", ENUM, slow_consumer, LIVE, "disconnect", "", "", "disconnect|drop_oldest|conflate|catch_up",
    "What happens to a client whose queue (limits.queue_bytes) is full. disconnect: it is disconnected, and can recover. "
    "drop_oldest: the messages that wait for it are thrown away, and it is told how many. conflate: of those only the "
    "latest of each topic, or of each key that publishers give, is kept, and it is told how many were not (and a key "
    "alone does not make a publish happen once). catch_up: they are thrown away, and come again from the history when it "
    "has read the rest; it is told of a gap if they are not kept any more.")
OPTION("publish", BOOL, publish, LIVE, "true", "", "", "", "Whether clients may publish.")
OPTION("subscribe", BOOL, subscribe, LIVE, "true", "", "", "", "Whether clients may subscribe.")
OPTION("max_ttl", TIME, max_ttl_ms, LIVE, "0", "0", "3650d", "",
    "How long a message may be delivered after it was published: one whose publisher gave no time to live, or a longer "
    "one, gets this; 0 for no limit.")
OPTION("max_delay", TIME, max_delay_ms, LIVE, "7d", "0", "3650d", "",
    "The longest delay that a publisher may ask for; 0: no messages with a delay.")
OPTION("queue.enabled", BOOL, queue_enabled, LIVE, "false", "", "", "",
    "Whether the topic is a work queue: its messages are kept until every group of consumers has done them, whatever the "
    "history's limits say, and then removed. If any other option of queue is given, this one is true unless it says "
    "false; what the others say holds for groups on other topics, too.")
OPTION("queue.max_messages", COUNT, queue_max_messages, LIVE, "1000000", "1", "100000000", "",
    "How many messages a work queue keeps; past that publishes are refused (queue_full). Done messages count until those "
    "before them are done.")
OPTION("queue.lease", TIME, queue_lease_ms, LIVE, "30s", "100ms", "7d", "",
    "How long a consumer has a message before it is given to another, unless it asks for more time.")
OPTION("queue.max_deliveries", COUNT, queue_max_deliveries, LIVE, "10", "0", "1000000", "",
    "How often a message is given out; then it goes to the dead letters. 0: for ever.")
OPTION("queue.retry_delay", TIME, queue_retry_delay_ms, LIVE, "0", "0", "7d", "",
    "How long a message waits before it is given out again, if its lease ended or its consumer gave it back without "
    "saying how long.")
OPTION("queue.dead_letter", STRING, queue_dead_letter, LIVE, "dead/{topic}", "0", "900", "",
    "The topic for messages that nobody could do; {topic} stands for the name of theirs. Empty: they are thrown away.")
OPTION("queue.ordered_keys", BOOL, queue_ordered_keys, LIVE, "false", "", "", "",
    "Whether messages with the same key are given out one after the other, each when the one before is done. A key alone "
    "does not make a publish happen once then.")
OPTION("queue.max_unsettled", COUNT, queue_max_unsettled, LIVE, "100000", "1", "10000000", "",
    "How many messages one group may have that were given out and are not done; past that it gets no new ones.")
OPTION("request.ttl", TIME, request_ttl_ms, LIVE, "1h", "1s", "30d", "",
    "How long an asynchronous request waits to be answered, at most.")
OPTION("request.reply_ttl", TIME, request_reply_ttl_ms, LIVE, "10m", "1s", "30d", "",
    "How long its reply is kept.")
OPTION("presence.mode", ENUM, presence_mode, LIVE, "members", "", "", "off|members|count",
    "What is known of who is there. off: nobody is recorded. members: each by its id, and who comes and goes is told to "
    "all who watch. count: only how many there are, told once a second at most; for topics with very many. A change holds "
    "for a topic when nobody is there any more.")
OPTION("presence.linger", TIME, presence_linger_ms, LIVE, "15s", "0", "1h", "",
    "How long somebody whose connection was lost is still there, so that who connects again never left. Clients of a "
    "frontend that was lost have broker.grace if that is longer.")
OPTION("presence.max_members", COUNT, presence_max_members, LIVE, "10000", "1", "10000000", "",
    "How many may be there at once; past that a new one is refused.")
#undef OPTION
