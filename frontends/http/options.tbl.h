/* SPDX-License-Identifier: Apache-2.0 */
/* Section http. Columns: base/conf.h. */
OPTION("enabled", BOOL, enabled, RESTART, "true", "", "", "", "Whether `busbar up` runs this frontend.")
OPTION("listen", ADDRESS, listen, RESTART, "127.0.0.1:8080", "", "", "",
    "Where to listen: host:port, [v6]:port, or *:port for every address of this machine. Not encrypted: "
    "for anything but this machine there is tls.listen. Empty: nowhere.")
OPTION("workers", COUNT, workers, RESTART, "1", "1", "64", "",
    "How many processes of this frontend `busbar up` runs; they share the port.")
OPTION("header_bytes", BYTES, header_bytes, LIVE, "16KiB", "1KiB", "1MiB", "",
    "The largest request line and headers together.")
OPTION("body_bytes", BYTES, body_bytes, LIVE, "1MiB", "1KiB", "8MiB", "",
    "The largest body of a request; limits.message_bytes holds as well.")
OPTION("header_timeout", TIME, header_timeout_ms, LIVE, "10s", "100ms", "5m", "",
    "How long a client may take to send a request's headers.")
OPTION("body_timeout", TIME, body_timeout_ms, LIVE, "30s", "100ms", "1h", "",
    "How long a client may take to send a request's body.")
OPTION("idle_timeout", TIME, idle_timeout_ms, LIVE, "75s", "1s", "1h", "",
    "How long a connection may stay open between two requests.")
OPTION("poll_wait_max", TIME, poll_wait_max_ms, LIVE, "2m", "1s", "1h", "",
    "The longest that a long-poll may ask to wait.")
OPTION("keepalive_interval", TIME, keepalive_interval_ms, LIVE, "15s", "1s", "10m", "",
    "How often an event stream without messages gets a comment, so that proxies keep it open.")
OPTION("retry_delay", TIME, retry_delay_ms, LIVE, "1s", "0", "10m", "",
    "How long event streams tell the browser to wait before it connects again.")
OPTION("cors_origins", LIST, cors_origins, LIVE, "*", "", "1000", "https://www.example.com",
    "The web sites whose pages may use the HTTP interface, or * for all; empty for none but its own pages.")
OPTION("broadcast.access", ENUM, broadcast_access, LIVE, "off", "", "", "off|key|open",
    "Who may POST broadcasts as AnyCable's publishers send them: nobody; who gives the key as a bearer token; or whoever "
    "reaches this port.")
OPTION("broadcast.path", STRING, broadcast_path, LIVE, "/_broadcast", "1", "256", "", "Where.")
OPTION("broadcast.key_file", PATH, broadcast_key_file, LIVE, "", "0", "4096", "/etc/busbar/broadcast.key",
    "The file with the key (AnyCable's broadcast_key). It is read again by a reload.")
OPTION("broadcast.key_env", STRING, broadcast_key_env, LIVE, "", "0", "128", "ANYCABLE_BROADCAST_KEY",
    "The variable of the environment that holds it, instead of a file.")
OPTION("broadcast.secret_file", PATH, broadcast_secret_file, LIVE, "", "0", "4096", "/etc/busbar/anycable.secret",
    "Instead of the key: the file with AnyCable's application secret, from which the key is made as its publishers do.")
OPTION("broadcast.secret_env", STRING, broadcast_secret_env, LIVE, "", "0", "128", "ANYCABLE_SECRET",
    "The variable of the environment that holds it, instead of a file.")
OPTION("broadcast.batch", COUNT, broadcast_batch, LIVE, "1000", "1", "100000", "",
    "How many messages one request may bring.")
OPTION("static_dir", PATH, static_dir, RESTART, "", "0", "4096", "/srv/www",
    "A folder of files to serve at /, before the console's own; empty for none.")
OPTION("console", BOOL, console, LIVE, "true", "", "", "", "Whether the web console is served at /.")
OPTION("console_websocket", STRING, console_websocket, LIVE, "", "0", "1024", "wss://bus.example.com/ws",
    "Where the console's browser reaches the WebSocket frontend, if not at ws.listen, or ws.tls.listen for a page that came by https://; {host} stands for the "
    "host of the page.")
#undef OPTION
