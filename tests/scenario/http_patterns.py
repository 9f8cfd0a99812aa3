# SPDX-License-Identifier: Apache-2.0
"""Requests, queues, presence, expiry and delay for clients that speak HTTP, with responders and members on TCP beside them."""
import json
import threading
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Stream


def later(fn, *args):
    """Runs it beside us; result() gives what it returned."""
    box = []
    thread = threading.Thread(target=lambda: box.append(fn(*args)), daemon=True)
    thread.start()

    def result():
        thread.join(60)
        assert box, "no answer within 60 s"
        return box[0]
    return result


def responder(bus, topic, **options):
    client = bus.tcp()
    client.sub(topic, id=1, respond=True, **options)
    return client


def request_and_reply():
    with Bus() as bus:
        r = bus.http("POST", "/requests/svc/add", "1")
        assert (r.status, r.json()["error"]["code"]) == (503, "no_responder"), r
        worker = responder(bus, "svc/#")
        answer = later(bus.http, "POST", "/requests/svc/add?timeout=20", '{"a":1}',
                       {"Content-Type": "application/json", "Busbar-Meta-Trace": "t1", "Busbar-Key": "k1"})
        call = worker.expect("request", sub=1)
        assert (call["topic"], call["data"], call["headers"], call["key"]) == ("svc/add", {"a": 1}, {"trace": "t1"}, "k1"), call
        assert 0 < call["timeout"] <= 20000, call
        worker.send(op="reply", id=2, call=call["call"], data="two", type="text/html", headers={"x": "y"})
        worker.expect("replied", id=2)
        r = answer()
        assert (r.status, r.body, r.headers["content-type"], r.headers["busbar-meta-x"]) == (200, b"two", "text/html", "y"), r
        # It failed, by its own words; it was late; it is gone.
        answer = later(bus.http, "POST", "/requests/svc/add", "x")
        worker.send(op="reply", call=worker.expect("request")["call"], error="cannot add that")
        r = answer()
        assert (r.status, r.json()["error"]) == (502, {"code": "responder_failed", "message": "cannot add that"}), r
        answer = later(bus.http, "POST", "/requests/svc/add?timeout=300ms", "x")
        call = worker.expect("request")
        assert (answer().status, answer().json()["error"]["code"]) == (504, "timeout")
        worker.send(op="reply", id=3, call=call["call"], data=1)
        assert worker.expect("error", id=3)["code"] == "call_unknown"
        answer = later(bus.http, "POST", "/requests/svc/add?timeout=20s", "x")
        worker.expect("request")
        worker.close()
        assert (answer().status, answer().json()["error"]["code"]) == (502, "responder_gone")
        for query, body, headers, code in (("?timeout=x", "1", {}, "request_invalid"),
                                           ("", "{", {"Content-Type": "application/json"}, "body_invalid")):
            r = bus.http("POST", "/requests/svc/add" + query, body, headers)
            assert (r.status, r.json()["error"]["code"]) == (400, code), r
        assert bus.http("GET", "/requests/svc/add").status == 405


def a_request_left_again():
    """With the same Idempotency-Key it is the same request, through restarts of the broker, and is asked once."""
    with Bus(broker={"backend": "sqlite"}, frontends=("http.1", "tcp.1")) as bus:
        def leave(key, topic="primes"):
            r = bus.http("POST", "/requests/" + topic, "91", {"Prefer": "respond-async", "Idempotency-Key": key})
            assert r.status == 202, r
            return r.json()

        first = leave("k1")
        assert leave("k1") == first
        assert len({leave(key, topic)["request"] for key, topic in (("k1", "primes"), ("k2", "primes"), ("k1", "other"))}) == 3
        bus.kill("broker")
        bus.start("broker")
        assert leave("k1") == first
        worker = responder(bus, "primes")
        calls = [worker.expect("request") for _ in range(2)]  # k1 and k2
        assert worker.try_recv(0.3) is None
        for call in calls:
            worker.send(op="reply", id=1, call=call["call"], data="7*13")
            worker.expect("replied", id=1)
        assert leave("k1")["request"] == first["request"]
        assert worker.try_recv(0.3) is None
        assert bus.http("GET", "/requests/id/" + first["request"]).body == b"7*13"
        # The same on the native dialect, whoever asks; and without `async` there is nothing to find again.
        worker.send(op="request", id=2, topic="primes", **{"async": True}, once="k1", data="91")
        assert worker.expect("accepted", id=2)["request"] == first["request"]


def what_may_not_be_read():
    """Where `subscribe` is false nobody gets requests by a wildcard, and nobody looks into a queue."""
    topics = [{"match": "secret/#", "subscribe": False}, {"match": "dead/#", "subscribe": False, "history": {"messages": 10}},
              {"match": "jobs/#", "queue": {"max_deliveries": 1}}]
    with Bus(topics=topics, frontends=("http.1", "tcp.1")) as bus:
        worker = responder(bus, "#")
        asked = [bus.http("POST", f"/requests/{topic}", "x", {"Prefer": "respond-async"}).status for topic in ("secret/a", "open/a")]
        assert asked == [202, 202], asked
        assert worker.expect("request")["topic"] == "open/a"
        assert worker.try_recv(0.3) is None
        worker.sub("jobs/a", id=2, group="g")
        worker.pub("jobs/a", "poison")
        worker.send(op="nack", id=3, lease=worker.expect("msg")["lease"], dead=True)
        worker.expect("nacked", id=3)
        wait_until(lambda: b"dead/jobs/a" in bus.http("GET", "/queues").body, "the dead letter")
        r = bus.http("GET", "/queues/dead/jobs/a/redrive/messages")
        assert (r.status, r.json()["error"]["code"]) == (403, "not_allowed"), r
        worker.send(op="peek", id=4, topic="dead/jobs/a", group="redrive")
        assert worker.expect("error", id=4)["code"] == "not_allowed"


def a_request_that_waits():
    with Bus() as bus:
        r = bus.http("POST", "/requests/primes", "91", {"Prefer": "respond-async", "Content-Type": "text/plain"})
        where = r.headers["location"]
        assert r.status == 202 and r.headers["retry-after"] and where == "/requests/id/" + r.json()["request"], r
        assert r.headers["preference-applied"] == "respond-async" and r.json()["expires"] > time.time() * 1000, r
        r = bus.http("GET", where)
        assert (r.status, r.json()["state"]) == (202, "pending"), r
        waiting = later(bus.http, "GET", where + "?wait=30")
        worker = responder(bus, "primes")
        call = worker.expect("request")
        assert call["data"] == "91", call
        worker.send(op="reply", call=call["call"], data=[7, 13])
        assert (waiting().status, waiting().json()) == (200, [7, 13])
        assert bus.http("GET", where).json() == [7, 13]  # it is kept
        # One that is withdrawn is nobody's work.
        worker.close()
        second = bus.http("POST", "/requests/primes", "2", {"Prefer": "respond-async"}).headers["location"]
        assert bus.http("DELETE", second).status == 204
        r = bus.http("GET", second)
        assert (r.status, r.json()["error"]["code"]) == (410, "canceled"), r
        third = bus.http("POST", "/requests/primes", "3", {"Prefer": "respond-async"}).headers["location"]
        worker = responder(bus, "primes")
        assert worker.expect("request")["data"] == "3"
        # A responder that is lost loses nothing.
        worker.close()
        worker = responder(bus, "primes")
        call = worker.expect("request")
        worker.send(op="reply", call=call["call"], error="no")
        r = bus.http("GET", third + "?wait=20")
        assert (r.status, r.json()["error"]["code"]) == (502, "responder_failed"), r
        for unknown in ("/requests/id/0123456789abcdef0123456789abcdef", "/requests/id/x", "/requests/id/" + "y" * 100):
            r = bus.http("GET", unknown)
            assert (r.status, r.json()["error"]["code"]) == (404, "not_found"), (unknown, r)


def a_stream_for_one_reply():
    with Bus(http={"keepalive_interval": "1s"}) as bus:
        where = bus.http("POST", "/requests/slow", "1", {"Prefer": "respond-async"}).headers["location"]
        stream = bus.sse(where)
        time_began = time.monotonic()
        worker = responder(bus, "slow")
        call = worker.expect("request")
        wait_until(lambda: time.monotonic() - time_began > 2.5, "some comments")
        worker.send(op="reply", call=call["call"], data={"ok": True})
        event = stream.next()
        assert (event["event"], json.loads(event["data"])) == ("reply", {"data": {"ok": True}}), event
        again = bus.http("GET", where, headers={"Accept": "text/event-stream", "Last-Event-ID": event["id"]})
        assert again.status == 204, again


def take_and_settle():
    with Bus(topics=[{"match": "jobs/#", "queue": {"enabled": True, "lease": "2s"}}]) as bus:
        queue = "/queues/jobs/mail/workers"
        assert bus.http("GET", queue).status == 204
        for i in range(4):
            bus.http("POST", "/topics/jobs/mail", json.dumps({"n": i}), {"Content-Type": "application/json", "Busbar-Key": f"k{i}"})
        r = bus.http("GET", queue)
        assert (r.status, r.json(), r.headers["busbar-deliveries"], r.headers["busbar-key"]) == (200, {"n": 0}, "1", "k0"), r
        first = r.headers["busbar-lease"]
        many = bus.http("GET", queue + "?max=10&wait=5").json()["messages"]
        assert [m["message"]["data"]["n"] for m in many] == [1, 2, 3], many
        assert bus.http("DELETE", f"{queue}/leases/{first}").status == 204
        r = bus.http("DELETE", f"{queue}/leases/{first}")
        assert (r.status, r.json()["error"]["code"]) == (410, "lease_lost"), r
        r = bus.http("POST", f"{queue}/leases/{many[0]['lease']}", json.dumps({"action": "retry", "reason": "busy"}))
        assert r.status == 204, r
        again = bus.http("GET", queue + "?wait=5")
        assert (again.json(), again.headers["busbar-deliveries"]) == ({"n": 1}, "2"), again
        assert bus.http("POST", f"{queue}/leases/{many[1]['lease']}", '{"action":"extend"}').status == 204
        assert bus.http("POST", f"{queue}/leases/{many[2]['lease']}", '{"action":"dead","reason":"bad"}').status == 204
        r = bus.http("POST", f"{queue}/leases/{many[1]['lease']}", '{"action":"eat"}')
        assert (r.status, r.json()["error"]["code"]) == (400, "body_invalid"), r
        peeked = bus.http("GET", f"{queue}/messages").json()["messages"]
        assert {p["message"]["topic"] for p in peeked} == {"jobs/mail"}, peeked
        assert [(m["message"]["data"]["n"], m["state"]) for m in peeked] == [(1, "leased"), (2, "leased")], peeked
        row, = bus.http("GET", "/queues?filter=jobs/%2B").json()["queues"]
        assert (row["topic"], row["group"], row["leased"], row["dead"]) == ("jobs/mail", "workers", 2, 1), row
        # Nobody settles the two: their leases end and they are given out again.
        seen = set()
        while len(seen) < 2:
            r = bus.http("GET", queue + "?wait=20")
            assert r.status == 200, r
            seen.add(r.json()["n"])
            assert bus.http("DELETE", f"{queue}/leases/{r.headers['busbar-lease']}").status == 204
        assert seen == {1, 2}, seen
        assert bus.http("POST", f"{queue}/redrive").json() == {"redriven": 1}
        r = bus.http("GET", queue + "?wait=20")
        assert r.json() == {"n": 3}, r
        bus.http("POST", "/topics/jobs/mail", "x")
        assert bus.http("DELETE", f"{queue}/messages").json()["purged"] >= 1
        assert bus.http("GET", queue).status == 204
        assert bus.http("DELETE", queue).status == 200
        left = bus.http("GET", "/queues?filter=jobs/%23").json()
        assert left["queues"] == [], left
        for path, status in (("/queues/jobs", 404), ("/queues/jobs/a%20b", 400), ("/queues/a//", 400)):
            assert bus.http("GET", path).status == status, path


def a_taker_that_waits():
    """It gets what comes at once; one that left takes nothing."""
    with Bus(topics=[{"match": "jobs", "queue": {"enabled": True, "lease": "30s"}}]) as bus:
        left = Stream("127.0.0.1", bus.http_port)
        left.write(b"GET /queues/jobs/g?wait=60 HTTP/1.1\r\nHost: bus\r\n\r\n")
        row = lambda: (bus.http("GET", "/queues").json()["queues"] or [{"consumers": 0}])[0]  # noqa: E731
        wait_until(lambda: row()["consumers"] == 1, "the taker is there")
        left.close()
        wait_until(lambda: row()["consumers"] == 0, "it is not")
        waiting = later(bus.http, "GET", "/queues/jobs/g?wait=30")
        wait_until(lambda: row()["consumers"] == 1, "the next taker is there")
        began = time.monotonic()
        bus.http("POST", "/topics/jobs", "now")
        assert waiting().body == b"now" and time.monotonic() - began < 10


def who_is_there():
    with Bus() as bus:
        a, b = bus.tcp(), bus.ws()
        a.sub("chat/1", id=1, presence={"id": "ann", "info": {"name": "Ann"}})
        b.sub("chat/1", id=1, presence={"id": "bob"})
        there = wait_until(lambda: (lambda r: r if r["count"] == 2 else None)(bus.http("GET", "/presence/chat/1").json()), "two members")
        assert [(m["id"], m["info"], m["connections"]) for m in there["members"]] == [("ann", {"name": "Ann"}, 1), ("bob", None, 1)], there
        page = bus.http("GET", "/presence/chat/1?limit=1").json()
        assert page["more"] and [m["id"] for m in page["members"]] == ["ann"], page
        page = bus.http("GET", "/presence/chat/1?limit=1&after=ann").json()
        assert not page["more"] and [m["id"] for m in page["members"]] == ["bob"], page
        assert bus.http("GET", "/presence/nobody").json() == {"members": [], "count": 0, "more": False}


def good_for_a_while():
    with Bus() as bus:
        due = bus.http("POST", "/topics/t", "late", {"Busbar-Delay": "1s"})
        assert due.status == 202 and due.json()["due"] > time.time() * 1000, due
        short = bus.http("POST", "/topics/t?ttl=300ms", "short")
        assert short.status == 200, short
        cursor = short.json()["cursor"]
        r = bus.http("GET", f"/topics/t?since={cursor}&wait=20").json()
        assert [m["data"] for m in r["messages"]] == ["late"], r
        kept = bus.http("GET", "/topics/t?last=10").json()
        assert [m["data"] for m in kept["messages"]] == ["late"], kept
        r = bus.http("POST", "/topics/t", "x", {"Busbar-TTL": "soon"})
        assert (r.status, r.json()["error"]["code"]) == (400, "request_invalid"), r


def what_is_no_text_ends_no_link():
    """A place in a list that is not UTF-8 would be no frame: its asker is told, and nobody else notices."""
    with Bus(frontends=("http",)) as bus:
        for path in ("/queues?after=%FF", "/queues?after=a&after_group=%FF", "/presence/a?after=%C0%80"):
            r = bus.http("GET", path)
            assert r.status == 400, (path, r)
            assert bus.http("POST", "/topics/a", "x").status == 200
        assert "the link to the broker has ended" not in bus.process("http").log()


if __name__ == "__main__":
    main([request_and_reply, a_request_left_again, what_may_not_be_read, what_is_no_text_ends_no_link,
          a_request_that_waits, a_stream_for_one_reply, take_and_settle, a_taker_that_waits, who_is_there,
          good_for_a_while])
