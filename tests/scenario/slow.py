# SPDX-License-Identifier: Apache-2.0
"""A client that does not read among others that do, on each transport and under each slow_consumer: it gets exactly what the
policy says and is told of the rest, the figures add up, and the others get everything."""
import json
import socket
import subprocess

from tests.support.bus import Bus, main, program, wait_until
from tests.support.clients import Closed

N, N_TOPICS, BODY = 800, 4, "s" * 8000
ALL = list(range(N))
LONG = {"messages": 10000, "bytes": "256MiB"}
TOPICS = [{"match": "disconnect/#", "slow_consumer": "disconnect", "history": LONG},
          {"match": "drop_oldest/#", "slow_consumer": "drop_oldest", "history": {"messages": 10}},
          {"match": "conflate/#", "slow_consumer": "conflate", "history": {"messages": 10}},
          {"match": "catch_up/#", "slow_consumer": "catch_up", "history": LONG},
          {"match": "forgotten/#", "slow_consumer": "catch_up", "history": {"messages": 10}}]
LIMITS = {"queue_bytes": "64KiB"}
TRANSPORTS = ("tcp", "ws", "sse")


class Reader:
    """One subscriber to a filter, whatever its transport: next() is ("msg", topic, number), ("state", state), ("dropped", n)."""

    def __init__(self, bus, transport, topic, since=None, **options):
        self.transport, self.cursor = transport, since
        if transport == "sse":
            path = "/topics/" + topic.replace("+", "%2B").replace("#", "%23")
            self.client = bus.sse(path, {"Last-Event-ID": since} if since else {}, **options)
        else:
            self.client = getattr(bus, transport)(**options)
            answer = self.client.sub(topic, **({"since": since} if since else {}))
            assert answer["state"] == ("recovered" if since else "live"), answer

    def next(self, timeout=20):
        while True:
            if self.transport == "sse":
                e = self.client.next(timeout)
                data = json.loads(e["data"])
                if e["event"] == "message":
                    self.cursor = e["id"]
                    return "msg", data["topic"], data["data"][0]
                if e["event"] == "dropped":
                    return "dropped", data["count"]
                if data["state"] == "recovered":
                    continue
                return "state", data["state"]
            m = self.client.recv(timeout)
            if m["op"] == "msg":
                self.cursor = m["cursor"]
                return "msg", m["topic"], m["data"][0]
            if m["op"] == "dropped":
                return "dropped", m["count"]
            assert m["op"] == "state", m
            return "state", m["state"]

    def read_all(self, is_over):
        """What comes until is_over(messages, dropped), or the end of the connection."""
        got, dropped, states, end = [], 0, [], None
        try:
            while not is_over(got, dropped):
                what = self.next()
                if what[0] == "msg":
                    got.append(what[1:])
                elif what[0] == "dropped":
                    dropped += what[1]
                else:
                    states.append((what[1], len(got)))
        except Closed as e:
            end = str(e)
        except (socket.timeout, TimeoutError):
            raise AssertionError(f"it stopped after {len(got)} messages, {dropped} dropped, {states}, last {got[-3:]}") from None
        return got, dropped, states, end


def flood(bus, policy, transport):
    """N messages round N_TOPICS topics while one client does not read. Returns that client."""
    prefix = f"{policy}/{transport}"
    slow = Reader(bus, transport, prefix + "/#", rcvbuf=4096)
    others = [bus.ws(), bus.tcp()]
    for c in others:
        c.sub(prefix + "/+")
    for i in ALL:
        others[0].pub(f"{prefix}/{i % N_TOPICS}", [i, BODY])
        for c in others:
            assert c.message()["data"][0] == i
    for c in others:
        c.close()
    return slow


def numbers(got):
    return [n for _, n in got]


def policies():
    expected = {}
    with Bus(topics=TOPICS, limits=LIMITS, frontends=("ws", "http", "tcp")) as bus:
        for transport in TRANSPORTS:
            expected[transport] = [check(bus, transport) for check in (disconnect, drop_oldest, conflate, catch_up, forgotten)]
        figures_add_up(bus, expected)


def disconnect(bus, transport):
    """It is let go, says the protocol why where it can, and has everything after it came back."""
    slow = flood(bus, "disconnect", transport)
    got, dropped, states, end = slow.read_all(lambda got, dropped: len(got) == N)
    assert end is not None and len(got) < N and numbers(got) == ALL[:len(got)] and not dropped and not states, (len(got), end)
    if transport == "ws":
        assert end.startswith("close 1013 too_slow"), end
    again = Reader(bus, transport, f"disconnect/{transport}/#", since=slow.cursor)
    rest = again.read_all(lambda rest, dropped: len(got) + len(rest) == N)[0]
    assert numbers(got + rest) == ALL
    return "disconnected", 1


def drop_oldest(bus, transport):
    slow = flood(bus, "drop_oldest", transport)
    got, dropped, states, end = slow.read_all(lambda got, dropped: got[-1:] and got[-1][1] == N - 1 and len(got) + dropped >= N)
    seen = numbers(got)
    assert end is None and not states and dropped > 0 and len(got) + dropped == N, (end, len(got), dropped)
    assert seen == sorted(set(seen)) and seen[-1] == N - 1, seen
    return "dropped", dropped


def conflate(bus, transport):
    """The latest of each topic always comes."""
    slow = flood(bus, "conflate", transport)
    got, dropped, states, end = slow.read_all(
        lambda got, dropped: len(got) + dropped >= N and set(numbers(got)) >= set(ALL[-N_TOPICS:]))
    seen = numbers(got)
    assert end is None and not states and dropped > 0 and len(got) + dropped == N, (end, len(got), dropped)
    assert seen == sorted(set(seen)) and seen[-N_TOPICS:] == ALL[-N_TOPICS:], seen
    return "conflated", dropped


def conflate_keys(bus, transport):
    """Of one topic, the latest of each key comes, however much comes after it, and the latest without one."""
    prefix = f"conflate/keys/{transport}"
    slow, publisher = Reader(bus, transport, prefix + "/+", rcvbuf=4096), bus.tcp()
    keys = ["a", None]  # with a third they take less than half of the queue
    for i in ALL:
        key = keys[i % 2] if i < N * 3 // 4 else "hot"
        publisher.pub(prefix + "/1", [i, BODY], **({"key": key} if key else {}))
    latest = set(ALL[N * 3 // 4 - 2:N * 3 // 4]) | {N - 1}
    got, dropped, states, end = slow.read_all(lambda got, dropped: len(got) + dropped >= N and N - 1 in numbers(got))
    seen = numbers(got)
    assert end is None and not states and dropped > 0 and len(got) + dropped == N, (end, len(got), dropped)
    assert seen == sorted(set(seen)) and latest <= set(seen), (latest, seen[-10:])


def conflate_for_each_subscription(bus):
    """Who holds two subscriptions to a topic gets the latest on both, however much comes after it on one of them."""
    slow, publisher = bus.tcp(rcvbuf=4096), bus.tcp()
    slow.sub("conflate/two", id="a")
    slow.sub("conflate/+", id="b")
    half = N * 3 // 4
    for i in ALL:
        publisher.pub("conflate/two" if i < half else "conflate/other", [i, BODY])
    got, total = {"a": [], "b": []}, 0
    while total < half + N or got["b"][-1] != N - 1:
        m = slow.recv(20)
        if m["op"] == "msg":
            got[m["sub"]].append(m["data"][0])
        total += m.get("count", 1)
    assert got["a"][-1] == half - 1 and half - 1 in got["b"], (got["a"][-3:], got["b"][-10:])


def values():
    with Bus(topics=TOPICS, limits=LIMITS, frontends=("ws", "http", "tcp")) as bus:
        for transport in TRANSPORTS:
            conflate_keys(bus, transport)
        conflate_for_each_subscription(bus)


def catch_up(bus, transport):
    """It gets everything once, in order, and is told nothing."""
    slow = flood(bus, "catch_up", transport)
    got, dropped, states, end = slow.read_all(lambda got, dropped: len(got) >= N)
    assert numbers(got) == ALL and not dropped and not states and end is None, (len(got), dropped, states, end)
    # It is live again.
    bus.tcp().pub(f"catch_up/{transport}/0", [N, ""])
    assert slow.next()[2] == N
    return "put_off", None


def forgotten(bus, transport):
    """What is not kept any more is a gap, told before what comes after it."""
    slow = flood(bus, "forgotten", transport)
    got, dropped, states, end = slow.read_all(lambda got, dropped: got[-1:] and got[-1][1] == N - 1)
    seen = numbers(got)
    assert end is None and not dropped and states and {s for s, _ in states} == {"gap"}, (end, dropped, states)
    assert seen == sorted(set(seen)), seen
    holes = [i for i in range(1, len(seen)) if seen[i] != seen[i - 1] + 1]
    assert holes and set(holes) <= {at for _, at in states}, (holes, states)
    return "put_off", None


def figures_add_up(bus, expected):
    """By topic and in all, in $sys and in `busbar status`."""
    names = dict(zip(TRANSPORTS, ("tcp.1", "ws.1", "http.1")))

    def status():
        r = subprocess.run([program("busbar"), "status", "-c", bus.config_path, "--json"], capture_output=True, timeout=30)
        return json.loads(r.stdout)["frontends"]

    def is_new():
        own = status()
        return all(sum(t["put_off"] for t in own[n].get("slow", {}).values()) == own[n]["put_off"] > 0 for n in names.values()) and own

    own = wait_until(is_new, "the figures are told")
    for transport, counts in expected.items():
        figures = own[names[transport]]
        for policy, (figure, n) in zip(("disconnect", "drop_oldest", "conflate", "catch_up", "forgotten"), counts):
            by_topic = [v[figure] for topic, v in figures["slow"].items() if topic.startswith(f"{policy}/{transport}/")]
            assert len(by_topic) <= N_TOPICS and sum(by_topic) == n if n else sum(by_topic) > 0, (transport, policy, n, figures)
            assert n is None or figure == "disconnected" or figures[figure] == n, (transport, figure, n, figures)
        assert figures["closed_too_slow"] == 1, figures
    text = subprocess.run([program("busbar"), "status", "-c", bus.config_path], capture_output=True, text=True, timeout=30).stdout
    assert "conflate/ws/" in text and "SLOW TOPIC" in text, text


def several_subscriptions():
    """Each subscription of a client is set back by itself: one that was made in between gets nothing from before it."""
    with Bus(topics=TOPICS, limits=LIMITS, frontends=("tcp",)) as bus:
        slow, other = bus.tcp(rcvbuf=4096), bus.tcp()
        slow.sub("catch_up/a", id="a")
        slow.sub(["catch_up/b", "catch_up/c/#"], id="bc")  # two filters, one position
        for i in range(N):
            other.pub("catch_up/" + ("a", "b", "c/d")[i % 3], [i, BODY])
            if i == 20:  # its queue is empty still, so this is read
                slow.send(op="sub", id="all", topic="catch_up/+")
                asker = bus.tcp()
                asker.send(op="ping", id=1)
                asker.expect("pong")
        got = {"a": [], "bc": [], "all": []}
        while any(not g or g[-1] < N - 3 for g in got.values()) or sum(len(g) for g in got.values()) < N:
            m = slow.recv(20)
            assert m["op"] in ("msg", "subscribed"), m
            if m["op"] == "msg":
                got[m["sub"]].append(m["data"][0])
        other.pub("catch_up/a", [N, ""])
        while got["a"][-1] != N or got["all"][-1] != N:
            m = slow.recv(20)
            got[m["sub"]].append(m["data"][0])
        assert got["a"] == [i for i in range(N) if i % 3 == 0] + [N], got["a"][:10]
        assert got["bc"] == [i for i in range(N) if i % 3 != 0], got["bc"][:10]
        assert got["all"] == [i for i in range(21, N + 1) if i % 3 != 2 or i == N], got["all"][:10]


def bursts():
    """What comes in one go may be more than the queue: with drop_oldest and conflate that is no reason to let a client go."""
    with Bus(topics=TOPICS, limits=LIMITS, frontends=("ws", "tcp")) as bus:
        publisher = bus.tcp()
        for policy in ("drop_oldest", "conflate"):
            slow = Reader(bus, "ws", policy + "/#", rcvbuf=4096)
            for n in range(0, N, 50):
                bus.pause("ws")
                for i in range(n, n + 50):
                    publisher.pub(f"{policy}/{i % N_TOPICS}", [i, BODY])
                bus.cont("ws")
            got, dropped, states, end = slow.read_all(lambda got, dropped: got[-1:] and got[-1][1] == N - 1 and len(got) + dropped >= N)
            # Nothing is dropped if the frontend was so slow itself that this client read in time.
            assert end is None and not states and len(got) + dropped == N, (end, states, len(got), dropped)
            assert set(numbers(got)) >= set(ALL[-1:]) and numbers(got) == sorted(set(numbers(got))), got


TESTS = [policies, values, several_subscriptions, bursts]

if __name__ == "__main__":
    main(TESTS)
