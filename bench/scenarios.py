# SPDX-License-Identifier: Apache-2.0
"""What is measured, and what it should come to. A scenario is arguments of the generator and the servers that it is run
against, in turn; a target compares Busbar's figure with a peer's in the same run, or with a number."""
import dataclasses


@dataclasses.dataclass
class Scenario:
    what: str  # the heading
    arguments: list
    servers: list
    # How it is measured: load (closed loop, or --rate in the arguments), half (at half of the rate that the scenario `of`
    # gave), idle (memory and cost of connecting), growth (one measurement for each of `points`, put for N in the arguments).
    kind: str = "load"
    seconds: float = 0  # 0: what the run says; else at least so many
    of: str = ""
    points: tuple = ()
    options: dict = dataclasses.field(default_factory=dict)  # of Busbar
    shows: tuple = ("rate", "cpu", "p50", "p99")
    note: str = ""
    is_default: bool = True
    missing: str = ""  # why it cannot be measured


def both(*names):
    """Each over both transports of the link."""
    return [n + link for n in names for link in ("", "-unix")]


URING = ["busbar-ws-unix-uring"]
WS_PEERS = ["uwebsockets", "redis", "nats-ws", "nchan", "node-ws"]
TCP_PEERS = ["nats", "redis", "mosquitto"]
TLS_PEERS = ["uwebsockets-tls", "redis-tls", "nats-ws-tls", "nchan-tls"]

SCENARIOS = {
    "fanout-32": Scenario("1 topic × 1000 WebSocket subscribers, 32 messages in flight",
                          ["fanout", "--subs", "1000", "--window", "32"], both("busbar-ws") + URING + WS_PEERS,
                          note="Redis has no WebSocket: its subscribers speak its own protocol."),
    "fanout-1": Scenario("1 topic × 1000 WebSocket subscribers, 1 message in flight",
                         ["fanout", "--subs", "1000", "--window", "1"], both("busbar-ws") + URING + WS_PEERS),
    "fanout-10k": Scenario("1 topic × 10,000 WebSocket subscribers, 4 messages in flight",
                           ["fanout", "--subs", "10000", "--window", "4"], both("busbar-ws") + URING + WS_PEERS[:3]),
    "stream": Scenario("one publisher to one subscriber, 1000 messages in flight, TCP",
                       ["pairs", "--topics", "1", "--window", "1000"], both("busbar-tcp", "busbar-tcp-msgpack") + TCP_PEERS),
    "pairs": Scenario("1000 topics, one publisher and one subscriber each, 1 message in flight each, TCP",
                      ["pairs", "--topics", "1000"], both("busbar-tcp") + TCP_PEERS),
    "pingpong": Scenario("one publisher, one subscriber, one message at a time",
                         ["pairs", "--topics", "1"], both("busbar-tcp", "busbar-ws", "busbar-sse") + ["nats", "nats-ws", "redis", "mosquitto",
                                                                                                  "nchan", "nchan-sse", "uwebsockets"]),
    "sse-32": Scenario("1 topic × 1000 SSE subscribers, 32 messages in flight, published by WebSocket",
                       ["fanout", "--subs", "1000", "--window", "32"], both("busbar-sse") + ["nchan-sse"]),
    "poll-32": Scenario("1 topic × 1000 long-poll subscribers, 32 messages in flight, published by WebSocket",
                        ["fanout", "--subs", "1000", "--window", "32"], both("busbar-poll") + ["nchan-poll"]),
    "paced": Scenario("1 topic × 1000 WebSocket subscribers, 40 messages a second: when the last one has it",
                      ["fanout", "--subs", "1000", "--window", "40", "--rate", "40"], both("busbar-ws") + URING + ["nchan", "redis", "nats-ws", "uwebsockets"],
                      seconds=5, shows=("cpu", "p50", "p99", "last_p50", "last_p99")),
    "half": Scenario("1 topic × 1000 WebSocket subscribers, at half of the rate of fanout-32",
                     ["fanout", "--subs", "1000", "--window", "1000"], both("busbar-ws") + WS_PEERS[:4], kind="half", of="fanout-32",
                     note="Each server at half of its own highest rate; times count from when a message was due."),
    "half-stream": Scenario("one publisher to one subscriber, TCP, at half of the rate of stream",
                            ["pairs", "--topics", "1", "--window", "100000"], both("busbar-tcp") + TCP_PEERS, kind="half", of="stream"),
    "filters": Scenario("100,000 subscriptions on 10,000 filters: 1000 clients with 100 each, TCP, 100 messages in flight",
                        ["filters", "--topics", "10000", "--subs", "1000", "--per-client", "100", "--window", "100"],
                        both("busbar-tcp") + TCP_PEERS + ["uwebsockets"], shows=("rate", "cpu", "p50", "p99", "subscribe"),
                        note="uWebSockets by WebSocket."),
    "wildcard": Scenario("one wildcard subscriber of a million topics, one publisher to each in turn, 1000 in flight, TCP",
                         ["topics", "--topics", "1000000", "--subs", "1", "--window", "1000"], both("busbar-tcp") + TCP_PEERS,
                         shows=("rate", "cpu", "p50", "p99", "memory"),
                         note="Busbar keeps the last messages of each topic, the others keep nothing."),
    "slow": Scenario("200 WebSocket subscribers, 20 of which read 10 kB a second; 4 kB messages, 400 a second",
                     ["fanout", "--subs", "200", "--window", "10000", "--slow", "20", "--size", "4000", "--rate", "400"],
                     both("busbar-ws") + WS_PEERS[:4], seconds=5, shows=("cpu", "p50", "p99", "slow", "memory"),
                     options={"limits": {"queue_bytes": "1MiB"}, "topics": [{"match": "#", "history": {"messages": 100}, "slow_consumer": "drop_oldest"}]},
                     note="Times are those of the 180 others, none of which may lose anything; afterwards the slow ones read the rest as fast as they can, and what they never get is lost. Busbar with slow_consumer: drop_oldest."),
    "workers": Scenario("1 and 2 processes of the frontend: 1 topic × 1000 WebSocket subscribers, 32 messages in flight",
                        ["fanout", "--subs", "1000", "--window", "32"],
                        ["busbar-ws", "busbar-ws-2w", "busbar-ws-unix", "busbar-ws-unix-2w", "nchan", "nchan-2w"]),
    "idle": Scenario("10,000 idle subscribers: memory that each adds, and what connecting and subscribing costs",
                     ["idle", "--subs", "10000"], both("busbar-ws", "busbar-tcp", "busbar-sse") +
                     ["uwebsockets", "mosquitto", "nchan", "nchan-sse", "nats", "redis"], kind="idle", shows=("bytes", "connects", "connect_cpu")),
    "growth-subs": Scenario("From 10 to 10,000 subscribers of one topic, 32 messages in flight",
                            ["fanout", "--subs", "N", "--window", "32"], both("busbar-ws") + WS_PEERS[:4], kind="growth", points=(10, 100, 1000, 10000)),
    "growth-topics": Scenario("From 1 to 1,000,000 topics, one publisher to each in turn, one wildcard subscriber, 1000 in flight, TCP",
                              ["topics", "--topics", "N", "--subs", "1", "--window", "1000"], both("busbar-tcp") + TCP_PEERS, kind="growth",
                              points=(1, 100, 10000, 1000000)),
    "tls": Scenario("1 topic × 1000 WebSocket subscribers over TLS, 32 messages in flight",
                    ["fanout", "--subs", "1000", "--window", "32"], ["busbar-ws-unix", *both("busbar-ws-tls"), *TLS_PEERS],
                    shows=("rate", "cpu", "p50", "p99", "subscribe"),
                    note="TLS 1.3, AES-128-GCM, a P-256 certificate; each client has a record of its own to itself for what goes out together. "
                         "Connecting is the whole handshake, without a ticket, and subscribing. The first row is not encrypted."),
    "tls-1": Scenario("1 topic × 1000 WebSocket subscribers over TLS, 1 message in flight",
                      ["fanout", "--subs", "1000", "--window", "1"], ["busbar-ws-unix", *both("busbar-ws-tls"), *TLS_PEERS]),
    "tls-idle": Scenario("2,000 idle subscribers over TLS: memory that each adds, and what the handshake, connecting and subscribing cost",
                         ["idle", "--subs", "2000"], both("busbar-ws-tls", "busbar-tcp-tls") + TLS_PEERS, kind="idle", shows=("bytes", "connects", "connect_cpu")),
    "requests": Scenario("100 requesters, one request at a time each, one responder, TCP",
                         ["requests", "--topics", "100", "--subs", "1"], both("busbar-tcp", "busbar-ws") + ["nats"]),
    "queue": Scenario("one publisher, 10 consumers that share a queue and acknowledge each message, 100 in flight",
                      ["queue", "--publishers", "1", "--subs", "10", "--window", "100"],
                      both("busbar-tcp", "busbar-tcp-sqlite") + ["jetstream-queue", "rabbitmq"], is_default=False),
    "acks": Scenario("10 publishers, 10 acknowledged publishes in flight each",
                     ["acks", "--topics", "10", "--window", "10"], both("busbar-tcp", "busbar-ws", "busbar-http") + ["jetstream", "redis-stream", "rabbitmq"],
                     is_default=False, note="Busbar in memory; bench/durable.py has the store."),
    "dialects": Scenario("1 topic × 1000 subscribers, 32 messages in flight, by every protocol that the bus speaks",
                         ["fanout", "--subs", "1000", "--window", "32"],
                         both("busbar-ws", "busbar-ws-msgpack", "busbar-raw", "busbar-cable", "busbar-tcp", "busbar-tcp-msgpack", "busbar-sse", "busbar-poll"),
                         is_default=False),
}


@dataclasses.dataclass
class Target:
    """Figure `key` of `ours` in `scenario` must be at most (or `at_least`) `factor` times that of `peer`, or of our own
    `own_key`, or else `factor` itself."""
    scenario: str
    what: str
    key: str
    ours: str
    factor: float
    peer: str = ""
    own_key: str = ""
    at_least: bool = False


CPU, RATE = "cpu_s_per_million", "deliveries_per_s"
TARGETS = [
    Target("fanout-32", "CPU per delivery ahead of uWebSockets", CPU, "busbar-ws", 1, "uwebsockets"),
    Target("fanout-32", "10 × the rate of nchan", RATE, "busbar-ws", 10, "nchan", at_least=True),
    Target("fanout-1", "5 CPU s per million", CPU, "busbar-ws", 5),
    Target("fanout-10k", "rate ahead of uWebSockets", RATE, "busbar-ws", 1, "uwebsockets", at_least=True),
    Target("fanout-10k", "CPU per delivery ahead of uWebSockets", CPU, "busbar-ws", 1, "uwebsockets"),
    Target("stream", "CPU per message as NATS", CPU, "busbar-tcp", 1, "nats"),
    Target("pairs", "rate as NATS", RATE, "busbar-tcp", 1, "nats", at_least=True),
    Target("pairs", "CPU per message as NATS", CPU, "busbar-tcp", 1, "nats"),
    Target("pingpong", "p50 at most 1.5 × NATS", "p50_us", "busbar-tcp", 1.5, "nats"),
    Target("pingpong", "p99 at most 2 × its p50", "p99_us", "busbar-tcp", 2, own_key="p50_us"),
    Target("sse-32", "10 × the rate of nchan", RATE, "busbar-sse", 10, "nchan-sse", at_least=True),
    Target("poll-32", "2 × the rate of nchan", RATE, "busbar-poll", 2, "nchan-poll", at_least=True),
    Target("paced", "slowest reader's p99 as nchan", "last_p99_us", "busbar-ws", 1, "nchan"),
    Target("idle", "700 bytes for a WebSocket client", "bytes_per_client", "busbar-ws", 700),
    Target("idle", "700 bytes for a TCP client", "bytes_per_client", "busbar-tcp", 700),
    Target("idle", "900 bytes for an SSE client", "bytes_per_client", "busbar-sse", 900),
    Target("idle", "25 µs CPU to connect and subscribe", "connect_cpu_us", "busbar-ws", 25),
]
