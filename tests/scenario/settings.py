# SPDX-License-Identifier: Apache-2.0
"""The config file as its reader means it: settings of topics, what a reload takes over, limits that hold."""
import os
import signal
import subprocess
import time

from tests.support.bus import DEADLINE, Bus, main, program, wait_until
from tests.support.clients import Closed, Stream


def refused(client, code, **message):
    client.send(id="refused", **message)
    error = client.expect("error", id="refused")
    assert error["code"] == code, error
    return error["message"]


def kept(bus, topic):
    return [m["data"] for m in bus.http("GET", f"/topics/{topic}?last=100").json()["messages"]]


def figures(bus, topic="$sys/broker"):
    return bus.http("GET", f"/topics/{topic}").json()["messages"][0]["data"]


def the_first_match_holds():
    with Bus(topics=[{"match": "a/special", "history": {"messages": 2}, "retain": "last"},
                     {"match": "a/#", "history": {"messages": 0}, "retain": "none"},
                     {"match": "a/never", "history": {"messages": 50}},
                     {"match": "old/#", "history": {"age": "300ms"}},
                     {"match": "small/#", "history": {"bytes": "2KiB"}, "max_message": "1KiB"},
                     {"match": "closed/#", "publish": False},
                     {"match": "blind/#", "subscribe": False}]) as bus:
        client = bus.tcp()
        for i in range(5):
            for topic in ("a/special", "a/b", "a/never", "old/1", "small/1"):
                client.pub(topic, "x" * 700 if topic == "small/1" else f"{i}", retain=topic == "a/b")
        assert kept(bus, "a/special") == ["3", "4"]
        assert kept(bus, "a/b") == kept(bus, "a/never") == []
        assert len(kept(bus, "small/1")) in (1, 2)
        wait_until(lambda: kept(bus, "old/1") == [], "messages to age")
        assert [m["data"] for m in bus.http("GET", "/topics/a/special").json()["messages"]] == ["4"]
        assert bus.http("GET", "/topics/a/b").json()["messages"] == []  # retain: none
        refused(client, "message_too_large", op="pub", topic="small/1", data="x" * 1025)
        assert "settings" in refused(client, "not_allowed", op="pub", topic="closed/x", data=1)
        assert "settings" in refused(client, "not_allowed", op="sub", topic="blind/x")
        assert bus.http("POST", "/topics/closed/x", "x").status == 403
        assert bus.http("GET", "/topics/blind/x").status == 403


def a_reload_is_taken_over():
    with Bus(topics=[{"match": "t", "history": {"messages": 2}}], frontends=("http", "tcp")) as bus:
        client = bus.tcp()
        for i in range(5):
            client.pub("t", f"{i}")
        assert kept(bus, "t") == ["3", "4"]
        bus.config["topics"] = [{"match": "t", "history": {"messages": 4}}, {"match": "late", "publish": False}]
        bus.config["limits"] = {"message_bytes": "1KiB"}
        bus.config["http"].update(poll_wait_max="1s", cors_origins=["https://a.example"])
        bus.write_config()
        for name, p in bus.processes.items():
            p.signal(signal.SIGHUP)
            wait_until(lambda p=p: "was read again" in p.log() or "was reloaded" in p.log(), f"{name} to reload")
        for i in range(5, 8):
            client.pub("t", f"{i}")
        assert kept(bus, "t") == ["4", "5", "6", "7"]
        refused(client, "not_allowed", op="pub", topic="late", data=1)
        refused(client, "message_too_large", op="pub", topic="t", data="x" * 1025)
        began = time.monotonic()
        assert bus.http("GET", "/topics/t?wait=25").json()["messages"] == []
        assert time.monotonic() - began < 20
        assert bus.http("GET", "/topics/t", headers={"Origin": "https://b.example"}).status == 403
        # A file with a mistake changes nothing, and says where.
        bus.config["topics"] = [{"match": "t"}, {"match": "a/#/b"}]
        bus.write_config()
        broker = bus.process("broker")
        broker.signal(signal.SIGHUP)
        wait_until(lambda: "nothing was changed" in broker.log(), "the broker to refuse")
        assert f"{bus.config_path}:" in broker.log() and "topics.match: \"a/#/b\" is not a filter" in broker.log(), broker.log()
        assert kept(bus, "t") == ["4", "5", "6", "7"]


def mistakes_are_named_with_their_place():
    with Bus(start=False) as bus:
        part = os.path.join(bus.dir, "part.yaml")
        for text, expected in (
                ("topics:\n- match: a\n- match: a/#/b\n", "3:10: topics.match: \"a/#/b\" is not a filter: '#' is not the last level"),
                ("ws:\n  path: ws\n", "2:9: ws.path: \"ws\" must begin with /"),
                ("ws:\n  listen: 127.0.0.1:8080\n", "2:11: ws.listen: does not go with http.listen"),
                ("http:\n  cors_origins: [https://a.example/]\n", "2:17: http.cors_origins: \"https://a.example/\" is no web site"),
                ("link:\n  retry_delay: 5s\n", "2:16: link.retry_delay: does not go with link.retry_delay_max"),
                ("include: none.yaml\n", "1:10: include: none.yaml: No such file"),
                ("topics:\n- mach: a\n", "2:3: topics.mach: unknown option; did you mean match?")):
            with open(part, "w") as f:
                f.write(text)
            done = subprocess.run([program("busbar"), "check-config", part], capture_output=True, text=True, timeout=DEADLINE,
                                  check=False)
            assert done.returncode == 3 and done.stderr.startswith(f"{part}:{expected}"), (text, done.stderr)


def limits_of_the_broker():
    with Bus(frontends=("http", "tcp"), topics=[{"match": "flat/#", "history": {"messages": 0}}],
             broker={"topics_max": 40, "filters_max": 12, "dedupe_window": "0", "topic_idle": "1s", "sys_interval": "200ms"}) as bus:
        client = bus.tcp()
        for i in range(10):
            client.pub(f"flat/{i}", i)
        wait_until(lambda: figures(bus)["topics"] >= 10, "the figures to count them")
        # Idle, and nothing kept: forgotten.
        wait_until(lambda: figures(bus)["topics_forgotten"] >= 10, "idle topics to be forgotten")
        made = 0
        while True:
            client.send(op="pub", id="p", topic=f"full/{made}", data=1)
            answer = client.recv()
            if answer["op"] == "error":
                break
            made += 1
        assert answer["code"] == "limit_reached" and "broker.topics_max" in answer["message"] and made < 40, (made, answer)
        n = 0
        while True:
            client.send(op="sub", id=f"s{n}", topic=f"f/{n}")
            answer = client.recv()
            if answer["op"] == "error":
                break
            n += 1
        assert answer["code"] == "limit_reached" and "broker.filters_max" in answer["message"] and n <= 12, (n, answer)


def history_max_evicts_the_oldest():
    with Bus(frontends=("http", "tcp"), topics=[{"match": "#", "history": {"messages": 100000, "bytes": "0"}}],
             broker={"history_max": "1MiB", "sys_interval": "200ms"}) as bus:
        client = bus.tcp()
        first = client.pub("old", "first")
        for i in range(60):
            client.pub(f"t/{i % 3}", "x" * 32768)
        assert kept(bus, "old") == []
        assert bus.http("GET", f"/topics/t/0?since={first}").json()["state"] == "gap"
        wait_until(lambda: 0 < figures(bus)["stored_bytes"] <= 1 << 20, "the figure to be below the limit")


def repeats_are_known_as_long_and_as_many():
    with Bus(frontends=("tcp",), broker={"dedupe_keys": 3}) as bus:
        client = bus.tcp()
        first = client.pub("k", 1, key="a")
        assert client.pub("k", 1, key="a") == first
        for key in "bcdefgh":
            client.pub("k", 1, key=key)
        assert client.pub("k", 1, key="a") != first  # forgotten early
    with Bus(frontends=("tcp",), broker={"dedupe_window": "200ms"}) as bus:
        client = bus.tcp()
        first = client.pub("k", 1, key="a")
        assert client.pub("k", 1, key="a") == first
        wait_until(lambda: client.pub("k", 1, key="a") != first, "the key to be forgotten", interval=0.3)


def limits_of_a_frontend():
    with Bus(frontends=("tcp",), limits={"connections_per_address": 3, "subscriptions_per_client": 2, "json_depth": 4}) as bus:
        clients = [bus.tcp() for _ in range(3)]
        for c in clients:
            c.send(op="ping", id=1)
            c.expect("pong", id=1)
        fourth = Stream("127.0.0.1", bus.tcp_port)
        try:
            while True:
                fourth.fill(DEADLINE)
        except (Closed, ConnectionError):
            pass
        fourth.close()
        for i in range(2):
            clients[0].sub(f"a/{i}")
        assert "limits.subscriptions_per_client" in refused(clients[0], "limit_reached", op="sub", topic="a/2")
        clients[0].pub("a", [[[1]]])
        clients[0].send_text('{"op":"pub","id":9,"topic":"a","data":[[[[[[1]]]]]]}\n')
        assert clients[0].expect("error")["code"] in ("request_invalid", "body_invalid")


def silent_clients_have_a_limit():
    with Bus(frontends=("tcp",), tcp={"first_byte_timeout": "200ms"}) as bus:
        silent = Stream("127.0.0.1", bus.tcp_port)
        try:
            while True:
                silent.fill(DEADLINE)
        except (Closed, ConnectionError):
            pass
        silent.close()


def streams_say_what_the_config_says():
    with Bus(frontends=("http",), http={"retry_delay": "7s", "keepalive_interval": "1s"}) as bus:
        s = Stream("127.0.0.1", bus.http_port)
        s.write(b"GET /topics/a HTTP/1.1\r\nHost: bus\r\nAccept: text/event-stream\r\n\r\n")
        s.read_until(b"retry: 7000\n", DEADLINE)
        s.read_until(b"\n:", DEADLINE)
        s.close()


if __name__ == "__main__":
    main([the_first_match_holds, a_reload_is_taken_over, mistakes_are_named_with_their_place, limits_of_the_broker,
          history_max_evicts_the_oldest, repeats_are_known_as_long_and_as_many, limits_of_a_frontend, silent_clients_have_a_limit,
          streams_say_what_the_config_says])
