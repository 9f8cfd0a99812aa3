/* SPDX-License-Identifier: Apache-2.0 */
/* Section cable. Columns: base/conf.h. ENUM choices stand in the order of the enums in frontends/ws/options.h. */
OPTION("path", STRING, path, LIVE, "/cable", "0", "256", "",
    "The address of Action Cable's WebSocket; empty for none. Which pages may connect says ws.origins.")
OPTION("ping_interval", TIME, ping_interval_ms, LIVE, "3s", "1s", "1m", "",
    "How often each client gets the protocol's ping. Rails' own client takes a connection for dead after 6 s without one.")
OPTION("pong_timeout", TIME, pong_timeout_ms, LIVE, "0", "0", "1h", "",
    "How long after a ping a client of the extended protocol may be silent before it is closed (no_pong); 0 for ever. Its "
    "client answers pings only if it is told to (protocolOptions: {pongs: true}).")
OPTION("session_time", TIME, session_time_ms, LIVE, "5m", "0", "1d", "",
    "How long the session of a client of the extended protocol is kept when its connection has gone, so that it can go on without "
    "subscribing anew; 0 for not at all. A client that comes too late, or to another process, subscribes and goes on by history.")
OPTION("sessions", COUNT, sessions, LIVE, "10000", "0", "10000000", "",
    "How many such sessions one process keeps; the oldest go first.")
OPTION("sessions_bytes", BYTES, sessions_bytes, LIVE, "64MiB", "0", "16GiB", "",
    "How much memory they may take.")
OPTION("identifier_bytes", BYTES, identifier_bytes, LIVE, "4KiB", "64", "16KiB", "",
    "How long a subscription's identifier may be, as a JSON string.")
OPTION("public_streams", BOOL, public_streams, LIVE, "false", "", "", "",
    "Whether whoever connects may subscribe to any topic by its name, without a signature ($pubsub with stream_name).")
OPTION("whisper", BOOL, whisper, LIVE, "false", "", "", "",
    "Whether subscribers of signed streams ($pubsub) may whisper to each other; those of public ones may.")
OPTION("presence", BOOL, presence, LIVE, "false", "", "", "",
    "Whether subscribers of signed streams ($pubsub) may join the presence of the topic and hear of others; those of public ones may.")
OPTION("identified_by", STRING, identified_by, LIVE, "", "0", "256", "{claim:sub}",
    "What names a connection to whoever wants to end it, made of its token's claims: a message {\"type\":\"disconnect\"} on the topic "
    "action_cable/NAME, as Rails' remote_connections sends it, closes all connections of that name. Empty: nobody can.")
OPTION("streams_secret_file", PATH, streams_secret_file, LIVE, "", "0", "4096", "/etc/busbar/streams.secret",
    "The file with the secret that stream names for $pubsub are signed with (AnyCable's streams_secret). It is read again "
    "by a reload.")
OPTION("streams_secret_env", STRING, streams_secret_env, LIVE, "", "0", "128", "BUSBAR_STREAMS_SECRET",
    "The variable of the environment that holds it, instead of a file.")
OPTION("turbo_secret_file", PATH, turbo_secret_file, LIVE, "", "0", "4096", "/etc/busbar/turbo.secret",
    "The file with the secret of Turbo Streams (config.turbo.signed_stream_verifier_key).")
OPTION("turbo_secret_env", STRING, turbo_secret_env, LIVE, "", "0", "128", "BUSBAR_TURBO_SECRET",
    "The variable of the environment that holds it, instead of a file.")
OPTION("rails_secret_file", PATH, rails_secret_file, LIVE, "", "0", "4096", "/etc/busbar/secret_key_base",
    "The file with Rails' secret_key_base. Those of the two secrets that are not given are made from it as Rails does: "
    "Turbo's is derived, that of $pubsub is secret_key_base itself.")
OPTION("rails_secret_env", STRING, rails_secret_env, LIVE, "", "0", "128", "SECRET_KEY_BASE",
    "The variable of the environment that holds it, instead of a file.")
OPTION("rails_digest", ENUM, rails_digest, LIVE, "sha256", "", "", "sha256|sha1",
    "How Rails derives keys: sha256 since Rails 7.0, sha1 in Rails 6.1 and in applications that kept it.")
#undef OPTION
