/* SPDX-License-Identifier: Apache-2.0 */
/* Section limits: what one client, or all clients of one frontend process, may cost. Columns: base/conf.h. */
OPTION("connections", COUNT, connections, LIVE, "10000", "1", "1000000", "",
    "How many clients one frontend process serves at once. More are turned away at once.")
OPTION("connections_per_address", COUNT, connections_per_address, LIVE, "0", "0", "1000000", "",
    "How many of them may come from one IP address (one /64 network of IPv6); 0 for no limit.")
OPTION("subscriptions_per_client", COUNT, subscriptions_per_client, LIVE, "1000", "1", "1000000", "",
    "How many subscriptions one client may hold. A filter counts once more for each further 8 levels and 128 bytes, "
    "a subscription's id (in Action Cable its identifier) once more for each 512 bytes.")
OPTION("queue_bytes", BYTES, queue_bytes, LIVE, "1MiB", "16KiB", "1GiB", "",
    "How much may wait for one client that reads too slowly, before slow_consumer of the topic holds.")
OPTION("message_bytes", BYTES, message_bytes, LIVE, "1MiB", "1KiB", "16MiB", "",
    "The largest message that a client may send.")
OPTION("json_depth", COUNT, json_depth, LIVE, "32", "2", "64", "",
    "How deep the JSON of a client's message may be nested.")
OPTION("publishes_held", COUNT, publishes_held, LIVE, "65536", "1", "10000000", "",
    "How many publishes one frontend holds while the broker has not answered, before it stops reading from "
    "its publishers.")
OPTION("publish_hold_bytes", BYTES, publish_hold_bytes, LIVE, "64MiB", "1MiB", "16GiB", "",
    "How many bytes of them.")
OPTION("publish_hold_time", TIME, publish_hold_time_ms, LIVE, "30s", "100ms", "1h", "",
    "How long the broker may be away before publishes for which there is no room any more are refused, rather than their "
    "publishers made to wait. What is held stays held until the broker is back.")
OPTION("requests_per_client", COUNT, requests_per_client, LIVE, "1000", "1", "1000000", "",
    "How many requests of one client may be without an answer: those to responders, and questions about queues and "
    "presence.")
OPTION("requests_held", COUNT, requests_held, LIVE, "10000", "0", "1000000", "",
    "How many requests, replies and acks one frontend process holds while the broker is away. More are answered by "
    "unavailable.")
OPTION("request_hold_bytes", BYTES, request_hold_bytes, LIVE, "16MiB", "64KiB", "16GiB", "",
    "How many bytes of them, and of replies and acks that the broker has not confirmed.")
OPTION("work_bytes", BYTES, work_bytes, LIVE, "16MiB", "64KiB", "1GiB", "",
    "How much work (messages of queues, requests) may wait for one client that reads too slowly. More ends its subscription, "
    "and the work goes to others.")
OPTION("presences_per_client", COUNT, presences_per_client, LIVE, "100", "1", "1000000", "",
    "On how many topics one client may be there, or look who is.")
OPTION("memory_max", BYTES, memory_max, LIVE, "0", "0", "1TiB", "",
    "How much resident memory one frontend process may use; 0 for no limit. Once nine tenths are used, new connections, "
    "publishes and subscriptions are refused until there is room again. A limit of the process's address space or data "
    "(RLIMIT_AS, RLIMIT_DATA) is heeded in the same way without this.")
OPTION("drain_rate", COUNT, drain_rate, LIVE, "1000", "1", "1000000", "",
    "How many clients a second are told to connect again when a frontend process stops or is restarted; more, "
    "if they would not all be told within drain_time.")
OPTION("drain_time", TIME, drain_time_ms, LIVE, "10s", "0", "10m", "",
    "How long a frontend process may take to let its clients go when it stops or is restarted.")
#undef OPTION
