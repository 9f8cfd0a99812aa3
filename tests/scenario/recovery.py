# SPDX-License-Identifier: Apache-2.0
"""One cursor: a client goes on from where it was, on any transport, over any set of topics, and is told what is missing."""
import json
import time

from tests.support.bus import Bus, main

HISTORY = [{"match": "short/#", "history": {"messages": 3}}, {"match": "none/#", "history": {"messages": 0}},
           {"match": "#", "history": {"messages": 1000}}]


def recovered_is_complete_on_every_transport():
    with Bus(topics=HISTORY) as bus:
        p = bus.tcp()
        start = p.pub("a/0", "before")
        for i in range(30):
            p.pub(f"a/{i % 3}", i)
        want = list(range(30))
        for client in (bus.tcp(), bus.ws()):
            answer = client.sub("a/#", since=start)
            assert answer["state"] == "recovered", answer
            assert [m["data"] for m in client.messages(30)] == want
            p.pub("a/x", "live")
            assert client.message()["data"] == "live"
        answer = bus.http("GET", f"/topics?topic=a/0&topic=a/1&topic=a/2&since={start}").json()
        assert answer["state"] == "recovered" and [m["data"] for m in answer["messages"]] == want, answer
        sse = bus.sse("/topics?topic=a/%2B", {"Last-Event-ID": start})
        state = sse.next()
        assert state["event"] == "state" and json.loads(state["data"])["state"] == "recovered", state
        assert [json.loads(sse.next()["data"])["data"] for _ in range(30)] == want


def a_client_changes_transports_and_misses_nothing():
    with Bus(topics=HISTORY) as bus:
        p = bus.tcp()
        cursor, n = p.pub("m/0", -1), 0
        seen = []
        for round_ in range(12):
            for _ in range(5):
                p.pub(f"m/{n % 4}", n)
                n += 1
            kind = round_ % 4
            if kind in (0, 1):
                c = bus.tcp() if kind == 0 else bus.ws()
                assert c.sub("m/#", since=cursor)["state"] == "recovered"
                for m in c.messages(5):
                    seen.append(m["data"])
                    cursor = m["cursor"]
                c.close()
            elif kind == 2:
                answer = bus.http("GET", f"/topics?topic=m/%23&since={cursor}&wait=5").json()
                seen += [m["data"] for m in answer["messages"]]
                cursor = answer["cursor"]
            else:
                s = bus.sse(f"/topics?topic=m/%23&since={cursor}")
                while len(seen) < n:
                    e = s.next()
                    if e["event"] == "message":
                        seen.append(json.loads(e["data"])["data"])
                        cursor = e["id"]
                s.close()
        assert seen == list(range(n)), seen


def a_gap_is_told_with_its_topics():
    with Bus(topics=HISTORY) as bus:
        p = bus.tcp()
        start = p.pub("short/a", "start")
        p.pub("other", "x")
        for i in range(10):
            p.pub("short/a", i)
        c = bus.ws()
        answer = c.sub("#", since=start)
        assert answer["state"] == "gap" and answer["topics"] == ["short/a"], answer
        assert [m["data"] for m in c.messages(4)] == ["x", 7, 8, 9]
        answer = bus.http("GET", f"/topics/short/a?since={start}").json()
        assert answer["state"] == "gap" and [m["data"] for m in answer["messages"]] == [7, 8, 9], answer
        # Exactly three missed: nothing was evicted above the cursor.
        at = p.pub("short/b", 0)
        for i in range(3):
            p.pub("short/b", i)
        assert bus.tcp().sub("short/b", since=at)["state"] == "recovered"
        p.pub("short/b", 3)
        assert bus.tcp().sub("short/b", since=at)["state"] == "gap"
        # A message without history counts as evicted at once.
        at = p.pub("none/a", 0)
        assert bus.tcp().sub("none/a", since=at)["state"] == "recovered"
        p.pub("none/a", 1)
        assert bus.tcp().sub("none/a", since=at)["state"] == "gap"


def age_is_a_limit_too():
    with Bus(topics=[{"match": "#", "history": {"messages": 100, "age": "1s"}}]) as bus:
        p = bus.tcp()
        at = p.pub("a", 0)
        p.pub("a", 1)
        answer = bus.tcp().sub("a", since=at)
        assert answer["state"] == "recovered", answer
        end = time.monotonic() + 15
        while bus.tcp().sub("a", since=at)["state"] == "recovered":
            assert time.monotonic() < end, "a message older than its age is still kept"
            time.sleep(0.2)


def another_epoch_is_a_reset():
    with Bus(topics=HISTORY) as bus:
        p = bus.tcp()
        p.pub("a", 0)
        c = bus.tcp()
        answer = c.sub("a", since="abc123-7")
        assert answer["state"] == "reset", answer
        assert bus.http("GET", "/topics/a?since=abc123-7&wait=0").json()["state"] == "reset"
        c.send(op="sub", id=50, topic="a", since="not a cursor")
        assert c.expect("error", id=50)["code"] == "cursor_invalid"
        r = bus.http("GET", "/topics/a?since=nonsense")
        assert r.status == 400 and r.json()["error"]["code"] == "cursor_invalid", r


def last_gives_the_newest_of_each_topic():
    with Bus(topics=HISTORY) as bus:
        p = bus.tcp()
        for i in range(10):
            p.pub("l/a", i)
            p.pub("l/b", 100 + i)
        c = bus.ws()
        c.sub("l/#", last=2)
        assert [m["data"] for m in c.messages(4)] == [8, 108, 9, 109]
        assert [m["data"] for m in bus.http("GET", "/topics/l/a?last=3").json()["messages"]] == [7, 8, 9]


def joining_under_load_misses_and_repeats_nothing():
    """Subscribers join with a cursor while messages flow: the seam between history and live must not show."""
    with Bus(topics=HISTORY) as bus:
        p = bus.tcp()
        start = p.pub("j/0", -1)
        n, joiners = 0, []
        for round_ in range(20):
            for _ in range(20):
                p.send(op="pub", topic=f"j/{n % 5}", data=n)
                n += 1
            c = bus.ws() if round_ % 2 else bus.tcp()
            c.send(op="sub", id=1, topic="j/#", since=start)
            joiners.append(c)
        for c in joiners:
            assert c.expect("subscribed")["state"] == "recovered"
            assert [m["data"] for m in c.messages(n)] == list(range(n))


def a_large_replay_comes_in_pages():
    """More than a client's queue may hold: it comes as fast as the client reads."""
    with Bus(topics=[{"match": "#", "history": {"messages": 5000, "bytes": "64MiB"}}], limits={"queue_bytes": "64KiB"}) as bus:
        p = bus.tcp()
        start = p.pub("big", "start")
        body = "x" * 2000
        for i in range(2000):
            p.send(op="pub", topic="big", data=[i, body])
        p.pub("big", "end")
        c = bus.tcp()
        assert c.sub("big", since=start)["state"] == "recovered"
        for i in range(2000):
            assert c.message()["data"][0] == i
        assert c.message()["data"] == "end"
        p.pub("big", "live")
        assert c.message()["data"] == "live"


if __name__ == "__main__":
    main([recovered_is_complete_on_every_transport, a_client_changes_transports_and_misses_nothing, a_gap_is_told_with_its_topics,
          age_is_a_limit_too, another_epoch_is_a_reset, last_gives_the_newest_of_each_topic,
          joining_under_load_misses_and_repeats_nothing, a_large_replay_comes_in_pages])
