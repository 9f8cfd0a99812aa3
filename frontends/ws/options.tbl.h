/* SPDX-License-Identifier: Apache-2.0 */
/* Section ws. Columns: base/conf.h. */
OPTION("enabled", BOOL, enabled, RESTART, "true", "", "", "", "Whether `busbar up` runs this frontend.")
OPTION("listen", ADDRESS, listen, RESTART, "127.0.0.1:8081", "", "", "",
    "Where to listen: host:port, [v6]:port, or *:port for every address of this machine. Not encrypted: "
    "for anything but this machine there is tls.listen. Empty: nowhere.")
OPTION("workers", COUNT, workers, RESTART, "1", "1", "64", "",
    "How many processes of this frontend `busbar up` runs; they share the port.")
OPTION("path", STRING, path, LIVE, "/ws", "1", "256", "",
    "The address of the WebSocket that speaks the bus's own protocol.")
OPTION("raw_path", STRING, raw_path, LIVE, "/raw", "0", "256", "",
    "The address under which every topic is a WebSocket of its own (/raw/chat/1); empty for none.")
OPTION("origins", LIST, origins, LIVE, "", "", "1000", "https://www.example.com",
    "The web sites whose pages may connect (the Origin of the request), or * for all. "
    "Empty: only pages from the host that the request itself names.")
OPTION("ping_interval", TIME, ping_interval_ms, LIVE, "30s", "1s", "1h", "",
    "How often a client that is silent is pinged.")
OPTION("ping_timeout", TIME, ping_timeout_ms, LIVE, "10s", "1s", "1h", "",
    "How long the answer may take before the connection is closed.")
OPTION("handshake_timeout", TIME, handshake_timeout_ms, LIVE, "10s", "100ms", "5m", "",
    "How long a client may take from connecting to being upgraded.")
OPTION("close_timeout", TIME, close_timeout_ms, LIVE, "2s", "100ms", "1m", "",
    "How long a client's answer to our closing is waited for.")
OPTION("deflate", BOOL, deflate, LIVE, "false", "", "", "",
    "Whether messages are compressed for clients that offer it (permessage-deflate).")
OPTION("deflate_threshold", BYTES, deflate_threshold, LIVE, "1KiB", "0", "1MiB", "",
    "Messages smaller than this are never compressed.")
#undef OPTION
