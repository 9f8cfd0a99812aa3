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
    "Whether a new subscriber gets a kept value first: flag, the last message published with the retain "
    "flag; "
    "last, the last message in any case; none, nothing.")
OPTION("max_message", BYTES, max_message, LIVE, "1MiB", "1B", "16MiB", "",
    "The largest message; broker.max_message holds as well.")
OPTION("slow_consumer", ENUM, slow_consumer, LIVE, "disconnect", "", "",
    "disconnect|drop_oldest|conflate|catch_up",
    "What happens to a client whose queue (limits.queue_bytes) is full. disconnect: it is disconnected, and "
    "can recover. "
    "drop_oldest: the messages that wait for it are thrown away, and it is told how many. conflate: of those "
    "only the "
    "latest of each topic, or of each key that publishers give, is kept, and it is told how many were not "
    "(and a key alone does not make a publish happen once). catch_up: they are thrown away, and come again "
    "from "
    "the history when it has read the rest; it is told of a gap if they are not kept any more.")
OPTION("publish", BOOL, publish, LIVE, "true", "", "", "", "Whether clients may publish.")
OPTION("subscribe", BOOL, subscribe, LIVE, "true", "", "", "", "Whether clients may subscribe.")
#undef OPTION
