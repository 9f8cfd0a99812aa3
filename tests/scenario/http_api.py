# SPDX-License-Identifier: Apache-2.0
"""The HTTP frontend as a web developer meets it: publish, long-poll, event streams, errors, limits, the strict server."""
import base64
import json
import socket
import threading
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Closed, Stream

H = b"Host: bus\r\n"


class Raw(Stream):
    """Bytes in, responses out."""

    def __init__(self, bus):
        Stream.__init__(self, "127.0.0.1", bus.http_port)
        bus.clients.append(self)

    def response(self, timeout=10, has_body=True):
        head = self.read_until(b"\r\n\r\n", timeout).decode()
        lines = head.split("\r\n")
        status = int(lines[0].split()[1])
        headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        body = self.read_exactly(int(headers.get("content-length", 0)), timeout) if has_body else b""
        return status, headers, body

    def ask(self, data, **options):
        self.write(data)
        return self.response(**options)

    def expect_end(self, timeout=10):
        try:
            self.fill(timeout)
        except Closed:
            return
        raise AssertionError(f"more instead of the end: {self.buffer[:200]!r}")


def n_clients(bus):
    """Connections that the frontend has not closed: established ones, and those of which the client's end is closed."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(row[1].endswith(f":{bus.http_port:04X}") and row[3] in ("01", "08") for row in rows)


def publish_and_poll():
    with Bus(frontends=("http",)) as bus:
        r = bus.http("GET", "/topics/a/b")
        assert r.status == 200 and r.json()["messages"] == [] and r.json()["state"] == "live", r
        start = r.json()["cursor"]
        assert r.headers["etag"] == f'"{start}"', r.headers
        one = bus.http("POST", "/topics/a/b", "eins", {"Content-Type": "text/plain"}).json()["cursor"]
        two = bus.http("POST", "/topics/a%2Fb", '{"n":2}', {"Content-Type": "application/json"}).json()["cursor"]
        answer = bus.http("GET", f"/topics/a/b?since={start}&wait=10").json()
        assert answer["state"] == "recovered", answer
        assert [(m["topic"], m["cursor"], m["data"]) for m in answer["messages"]] == [("a/b", one, "eins"), ("a/b", two, {"n": 2})]
        assert all("type" not in m and m["time"] > 1e12 for m in answer["messages"]), answer
        assert answer["cursor"] == two
        # Nothing new: at once without wait, 304 for who asked by tag.
        r = bus.http("GET", f"/topics/a/b?since={two}")
        assert (r.status, r.json()["messages"]) == (200, []), r
        r = bus.http("GET", "/topics/a/b", headers={"If-None-Match": f'"{two}"'})
        assert (r.status, r.body, r.headers["etag"]) == (304, b"", f'"{two}"'), r
        r = bus.http("GET", "/topics/a/b?wait=0.2", headers={"If-None-Match": f'W/"{two}"'})
        assert r.status == 304, r
        r = bus.http("GET", "/topics/a/b", headers={"If-None-Match": f'"{one}"'})
        assert r.status == 200 and [m["data"] for m in r.json()["messages"]] == [{"n": 2}], r
        assert [m["data"] for m in bus.http("GET", "/topics/a/b?last=1").json()["messages"]] == [{"n": 2}]
        r = bus.http("HEAD", f"/topics/a/b?since={start}")
        assert r.status == 200 and r.body == b"" and int(r.headers["content-length"]) > 100, r
        # Several, and wildcards; a level that is a bare + is one.
        bus.http("POST", "/topics/c", "drei")
        for query in (f"topic=a/b&topic=c&since={start}", f"topic=%23&since={start}", f"topic=a/+&topic=+&since={start}",
                      f"topic=a%2F%2B&topic=c&since={start}"):
            assert len(bus.http("GET", "/topics?" + query).json()["messages"]) == 3, query
        assert len(bus.http("GET", f"/topics/a/%23?since={start}").json()["messages"]) == 2


def a_poll_is_held_until_there_is_something():
    with Bus(frontends=("http",)) as bus:
        start = bus.http("GET", "/topics/t").json()["cursor"]
        answers = []

        def poll(query):
            answers.append(bus.http("GET", f"/topics/t?{query}").json())

        threads = [threading.Thread(target=poll, args=(q,)) for q in (f"since={start}&wait=30", "wait=30", f"since={start}&wait=30")]
        wait_until(lambda: n_clients(bus) == 0, "a quiet start")
        for t in threads:
            t.start()
        wait_until(lambda: n_clients(bus) == 3, "three polls to be held")
        time.sleep(0.2)
        assert answers == [], answers
        cursor = bus.http("POST", "/topics/t", "x").json()["cursor"]
        for t in threads:
            t.join(10)
        assert [a["cursor"] for a in answers] == [cursor] * 3 and all(len(a["messages"]) == 1 for a in answers), answers
        began = time.monotonic()
        answer = bus.http("GET", f"/topics/t?since={cursor}&wait=0.5").json()
        assert answer["messages"] == [] and 0.4 < time.monotonic() - began < 5, answer


def who_left_is_let_go_at_once():
    with Bus(frontends=("http",)) as bus:
        wait_until(lambda: bus.http("GET", "/health/ready").status == 200, "ready")
        wait_until(lambda: n_clients(bus) == 0, "a quiet start")
        clients = []
        for i in range(10):
            c = Raw(bus)
            accept = b"Accept: text/event-stream\r\n" if i % 2 else b""
            c.write(b"GET /topics/t?wait=60 HTTP/1.1\r\n" + H + accept + b"\r\n")
            clients.append(c)
        wait_until(lambda: n_clients(bus) == 10, "ten to be held")
        for c in clients[1::2]:
            c.read_until(b"\r\n\r\n", 10)
        time.sleep(0.2)
        for c in clients:
            c.close()
        wait_until(lambda: n_clients(bus) == 0, "all of them to be let go", deadline=5)


def kinds_and_headers_pass():
    with Bus(frontends=("http",)) as bus:
        start = bus.http("GET", "/topics/k").json()["cursor"]
        cases = [
            ("plain", {"Content-Type": "text/plain; charset=utf-8"}, {"data": "plain"}),
            ("a=b", {"Content-Type": "application/x-www-form-urlencoded"},
             {"data": "a=b", "type": "application/x-www-form-urlencoded"}),
            ("<p>é", {"Content-Type": "text/html"}, {"data": "<p>é", "type": "text/html"}),
            (b"\xff\x00", {"Content-Type": "text/plain"}, {"encoding": "base64", "data": "/wA=", "type": "text/plain"}),
            (b"\xff", {}, {"encoding": "base64", "data": "/w=="}),
            (b"no type", {}, {"data": "no type"}),
            (b"", {}, {"data": ""}),
            (b"abc", {"Content-Type": "image/png"}, {"encoding": "base64", "data": "YWJj", "type": "image/png"}),
            ('{"a": [1]}', {"Content-Type": "application/ld+json"}, {"data": {"a": [1]}, "type": "application/ld+json"}),
            ("x", {"Busbar-Meta-Trace-ID": "ü 1", "busbar-meta-b": ""}, {"data": "x", "headers": {"trace-id": "ü 1".encode().decode(), "b": ""}}),
        ]
        for body, headers, _ in cases:
            headers = {k: v.encode() if isinstance(v, str) else v for k, v in headers.items()}
            assert bus.http("POST", "/topics/k", body, headers).status == 200, body
        messages = bus.http("GET", f"/topics/k?since={start}").json()["messages"]
        for m, (_, _, want) in zip(messages, cases, strict=True):
            got = {k: m[k] for k in ("data", "encoding", "type", "headers") if k in m}
            assert got == want, (got, want)
        for body, headers, code in (("{", {"Content-Type": "application/json"}, "body_invalid"),
                                    ("x", {"Content-Encoding": "gzip"}, "body_invalid"),
                                    ("x", {"Busbar-Retain": "perhaps"}, "request_invalid"),
                                    ("x", {"Busbar-Meta-": "v"}, "request_invalid"),
                                    ("x", {"Busbar-Key": ""}, "request_invalid"),
                                    ("x", {"Idempotency-Key": "k" * 256}, "request_invalid"),
                                    ("x", {"Busbar-Meta-A": b"\xff"}, "request_invalid")):
            r = bus.http("POST", "/topics/k", body, headers)
            assert r.status == 400 and r.json()["error"]["code"] == code and r.json()["error"]["message"], r
        key = {"Idempotency-Key": "once", "Busbar-Key": "thing"}
        first = bus.http("POST", "/topics/k", "1", key).json()
        assert first == bus.http("POST", "/topics/k", "1", key).json()
        m = bus.http("GET", "/topics/k?last=1").json()["messages"]
        assert [(x["data"], x["key"]) for x in m] == [("1", "thing")], m


def kept_values():
    with Bus(topics=[{"match": "#", "history": {"messages": 10}}], frontends=("http",)) as bus:
        bus.http("PUT", "/topics/v", "kept")
        bus.http("POST", "/topics/w", "kept too", {"Busbar-Retain": "true"})
        bus.http("POST", "/topics/v", "passing")
        m = bus.http("GET", "/topics/v").json()["messages"]
        assert [(x["data"], x.get("retained")) for x in m] == [("kept", True)], m
        assert [x["data"] for x in bus.http("GET", "/topics/w").json()["messages"]] == ["kept too"]
        bus.http("PUT", "/topics/v", "")
        assert bus.http("GET", "/topics/v").json()["messages"] == []


def event_streams():
    with Bus(frontends=("http",), http={"keepalive_interval": "1s", "retry_delay": "1234ms"}) as bus:
        bare, wrapped = bus.sse("/topics/s"), bus.sse("/topics?topic=s&topic=t")
        forced, unwrapped = bus.sse("/topics/s?envelope=1"), bus.sse("/topics?topic=%23&envelope=0")
        assert bare.headers["content-type"] == "text/event-stream" and "no-cache" in bare.headers["cache-control"]
        everybody = (bare, wrapped, forced, unwrapped)
        time.sleep(1.5)  # an idle stream's comment must come, and confuse nobody
        cursors = []
        for body, kind, is_text in (("a\nb\r\nc", "text/plain", True), ('{"x":\n1}', "application/json", True), (b"\x00\xff", "a/b", False)):
            cursors.append(bus.http("POST", "/topics/s", body, {"Content-Type": kind}).json()["cursor"])
            data = body.replace("\r\n", "\n") if is_text else base64.b64encode(body).decode()
            for stream in everybody:
                event = stream.next()
                assert event["event"] == "message" and event["id"] == cursors[-1], event
                if stream in (bare, unwrapped):
                    assert event["data"] == data, event
                else:
                    m = json.loads(event["data"])
                    assert m["topic"] == "s" and m["cursor"] == event["id"] and m["data"] == (json.loads(body) if "json" in kind else body if is_text else data), m
        again = bus.sse("/topics/s?since=" + cursors[1], {"Last-Event-ID": cursors[0]})
        event = again.next()
        assert event["event"] == "state" and json.loads(event["data"])["state"] == "recovered", event
        assert [again.next()["id"] for _ in range(2)] == cursors[1:]
        lost = bus.sse("/topics/s?since=abc-1")
        event = lost.next()
        assert event["event"] == "state" and json.loads(event["data"])["state"] == "reset", event
        r = bus.http("GET", "/topics/s?since=x", headers={"Accept": "text/event-stream"})
        assert r.status == 400 and r.json()["error"]["code"] == "cursor_invalid", r
        assert bus.http("HEAD", "/topics/s", headers={"Accept": "text/event-stream"}).headers["content-type"] == "text/event-stream"
        # HTTP/1.0 has no chunks: until the end.
        old = Raw(bus)
        old.write(b"GET /topics/s?last=1 HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
        head = old.read_until(b"\r\n\r\n", 10)
        assert b"chunked" not in head and b"Connection: close" in head, head
        assert old.read_until(b"\n\n", 10) == b"retry: 1234"
        old.read_until(b"data: AP8=\n\n", 10)
        # A planned stop ends the streams properly.
        bus.stop("http")
        event = bare.next()
        assert event["event"] == "closing" and json.loads(event["data"])["error"]["code"] == "shutting_down", event
        try:
            bare.next()
            raise AssertionError("the stream goes on")
        except Closed:
            pass


def addresses_and_methods():
    with Bus(frontends=("http",)) as bus:
        for method, path, status, code in (("GET", "/nothing", 404, "not_found"), ("GET", "/../etc/passwd", 404, "not_found"),
                                           ("GET", "/%2e%2e/x", 404, "not_found"), ("POST", "/health/live", 405, "op_unknown"),
                                           ("DELETE", "/topics/a", 405, "op_unknown"), ("POST", "/topics", 405, "op_unknown"),
                                           ("BREW", "/", 405, "op_unknown"), ("GET", "/topics", 400, "request_invalid"),
                                           ("GET", "/topics/", 400, "request_invalid"), ("POST", "/topics/", 400, "topic_invalid"),
                                           ("POST", "/topics/a/%2B", 400, "topic_invalid"), ("POST", "/topics/%FF", 400, "topic_invalid"),
                                           ("POST", "/topics/a%00", 400, "topic_invalid"), ("GET", "/topics/a%23/b", 400, "filter_invalid"),
                                           ("GET", "/topics/a?last=x", 400, "request_invalid"), ("GET", "/topics/a?wait=-1", 400, "request_invalid"),
                                           ("GET", "/topics/a?sinse=1", 400, "request_invalid"), ("GET", "/topics/a?since=1-1&last=2", 400, "request_invalid"),
                                           ("GET", "/topics/a?since=", 400, "cursor_invalid"), ("POST", "/topics/$sys/x", 403, "not_allowed"),
                                           ("GET", "/topics?" + "&".join(f"topic=a{i}" for i in range(65)), 429, "limit_reached")):
            r = bus.http(method, path)
            assert (r.status, r.json()["error"]["code"]) == (status, code), (method, path, r)
            assert r.json()["error"]["message"] and r.headers["content-type"] == "application/json"
            if status == 405:
                assert "GET" in r.headers["allow"] and "OPTIONS" in r.headers["allow"], r.headers
            if status == 404:
                assert "/topics/{name}" in r.json()["error"]["message"], r
        assert bus.http("GET", "/health/live").json() == {"status": "live"}
        wait_until(lambda: bus.http("GET", "/health/ready").status == 200, "ready")
        page = bus.http("GET", "/")
        assert page.status == 200 and page.headers["content-type"].startswith("text/html") and b"Busbar" in page.body
        assert bus.http("GET", "/", headers={"If-None-Match": page.headers["etag"]}).status == 304
        assert bus.http("HEAD", "/").headers["content-length"] == str(len(page.body))
        assert b"export" in bus.http("GET", "/busbar.js").body
        where = bus.http("GET", "/console.json").json()
        assert where == {"websocket": f"ws://{{host}}:{bus.ws_port}/ws", "tcp": f"{{host}}:{bus.tcp_port}"}, where


def pages_of_other_sites():
    with Bus(frontends=("http",)) as bus:
        r = bus.http("POST", "/topics/a", "x", {"Origin": "https://other.example"})
        assert r.headers["access-control-allow-origin"] == "*" and "ETag" in r.headers["access-control-expose-headers"], r.headers
        r = bus.http("OPTIONS", "/topics/a", headers={"Origin": "https://o", "Access-Control-Request-Method": "PUT",
                                                      "Access-Control-Request-Headers": "busbar-retain"})
        assert r.status == 204 and "PUT" in r.headers["access-control-allow-methods"] and "PUT" in r.headers["allow"], r.headers
        assert r.headers["access-control-allow-headers"] == "busbar-retain"
        assert bus.http("OPTIONS", "*").status == 204
    with Bus(frontends=("http",), http={"cors_origins": ["https://good.example"]}) as bus:
        r = bus.http("POST", "/topics/a", "x", {"Origin": "https://good.example"})
        assert r.status == 200 and r.headers["access-control-allow-origin"] == "https://good.example", r.headers
        assert bus.http("POST", "/topics/a", "x").status == 200
        assert bus.http("POST", "/topics/a", "x", {"Origin": f"http://127.0.0.1:{bus.http_port}"}).status == 200
        r = bus.http("POST", "/topics/a", "x", {"Origin": "https://evil.example"})
        assert r.status == 403 and "access-control-allow-origin" not in r.headers, r
        assert len(bus.http("GET", "/topics/a?last=10").json()["messages"]) == 3


def strict():
    with Bus(frontends=("http",), http={"header_bytes": "4KiB", "body_bytes": "8KiB"}) as bus:
        for request, status in ((b"GET / HTTP/1.1\n" + H + b"\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400),
                                (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400), (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
                                (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n c\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n" + H + b"A: \0\r\n\r\n", 400),
                                (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +3\r\n\r\nabc", 400),
                                (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
                                (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
                                (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
                                (b"GET / HTTP/2.0\r\n", 505), (b"GET /" + b"a" * 4000, 414), (b"GET / HTTP/1.1\r\nA: " + b"a" * 5000, 431),
                                (b"GET / HTTP/1.1\r\n" + H + b"a: b\r\n" * 64 + b"\r\n", 431),
                                (b"POST /topics/a HTTP/1.1\r\n" + H + b"Content-Length: 8193\r\n\r\n", 413),
                                (b"POST /topics/a HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n2001\r\n", 413),
                                (b"GET /%zz HTTP/1.1\r\n", 400), (b"\x16\x03\x01\x02\x00", 400)):
            c = Raw(bus)
            got, headers, body = c.ask(request)
            assert got == status, (request[:80], got, body)
            assert json.loads(body)["error"]["message"] and headers["connection"] == "close"
            c.expect_end()
            c.close()


def one_connection():
    with Bus(frontends=("http",)) as bus:
        c = Raw(bus)
        c.write(b"GET /health/live HTTP/1.1\r\n" + H + b"\r\n"
                b"POST /topics/p HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\none\r\n0\r\nT: x\r\n\r\n"
                b"POST /topics/p HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\ntwo"
                b"HEAD /health/live HTTP/1.1\r\n" + H + b"\r\n"
                b"GET /topics/p?last=5 HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n"
                b"GET /never HTTP/1.1\r\n" + H + b"\r\n")
        assert c.response()[0] == 200
        assert "cursor" in json.loads(c.response()[2]) and "cursor" in json.loads(c.response()[2])
        assert c.response(has_body=False)[0] == 200
        status, headers, body = c.response()
        assert [m["data"] for m in json.loads(body)["messages"]] == ["one", "two"] and headers["connection"] == "close"
        c.expect_end()
        # Byte by byte, and the interim answer.
        c = Raw(bus)
        for byte in b"POST /topics/p HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n":
            c.write(bytes([byte]))
        assert c.read_until(b"\r\n\r\n", 10) == b"HTTP/1.1 100 Continue"
        assert c.ask(b"three")[0] == 200
        # 1.0 closes unless asked not to.
        assert c.ask(b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")[1]["connection"] == "keep-alive"
        assert c.ask(b"GET /health/live HTTP/1.0\r\n\r\n")[1]["connection"] == "close"
        c.expect_end()
        # Who half-closes after asking is still answered.
        for path, n in ((b"POST /topics/p", 1), (b"GET /topics/p?last=1", 1), (b"GET /topics/p", 3)):
            c = Raw(bus)
            c.write((path + b" HTTP/1.1\r\n" + H + b"\r\n") * n)
            c.sock.shutdown(socket.SHUT_WR)
            for _ in range(n):
                assert c.response()[0] == 200, path
            c.expect_end()
        # Hundreds of requests in one write, answered in order.
        c = Raw(bus)
        c.write(b"".join(b"POST /topics/q HTTP/1.1\r\n" + H + b"Content-Length: 4\r\n\r\n%04d" % i for i in range(500)))
        cursors = [json.loads(c.response()[2])["cursor"] for _ in range(500)]
        messages = bus.http("GET", "/topics/q?last=1000").json()["messages"]
        assert [m["data"] for m in messages] == ["%04d" % i for i in range(500)]
        assert [m["cursor"] for m in messages] == cursors


def publishes_are_counted_once():
    with Bus(frontends=("http", "tcp"), broker={"sys_interval": "200ms"}) as bus:
        for i in range(3):
            assert bus.http("POST", "/topics/a", str(i)).status == 200
        tcp = bus.tcp()
        tcp.sub("$sys/frontends/http.1")
        figures = wait_until(lambda: (m := tcp.message()["data"])["publishes"] >= 3 and m, "the figures")
        assert figures["publishes"] == 3, figures


def slow_clients():
    with Bus(frontends=("http",), http={"header_timeout": "300ms", "body_timeout": "400ms", "idle_timeout": "1s"}) as bus:
        half = Raw(bus)
        half.write(b"GET / HTTP/1.1\r\n")
        body = Raw(bus)
        body.write(b"POST /topics/a HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nab")
        idle = Raw(bus)
        assert idle.ask(b"GET /health/live HTTP/1.1\r\n" + H + b"\r\n")[0] == 200
        for c in (half, body):
            status, _, text = c.response()
            assert status == 408 and json.loads(text)["error"]["code"] == "timeout", text
            c.expect_end()
        idle.expect_end()
        # A byte now and then is not enough.
        drip = Raw(bus)
        began = time.monotonic()
        try:
            while time.monotonic() - began < 10:
                drip.write(b"G")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - began < 9


def large_answers_and_pages():
    with Bus(frontends=("http",), topics=[{"match": "#", "history": {"messages": 1000, "bytes": "64MiB"}}]) as bus:
        start = bus.http("GET", "/topics/l").json()["cursor"]
        for i in range(30):
            assert bus.http("POST", "/topics/l", f"{i:02d}" + "x" * 100_000).status == 200
        seen, cursor, n_polls = [], start, 0
        while len(seen) < 30:
            answer = bus.http("GET", f"/topics/l?since={cursor}&wait=5").json()
            assert answer["messages"], answer
            seen += [int(m["data"][:2]) for m in answer["messages"]]
            cursor, n_polls = answer["cursor"], n_polls + 1
        assert seen == list(range(30)) and n_polls > 1, (seen, n_polls)


def the_broker_goes_and_comes():
    with Bus(frontends=("http",)) as bus:
        stream = bus.sse("/topics/b")
        bus.http("POST", "/topics/b", "before")
        assert stream.next()["data"] == "before"
        bus.kill("broker")
        wait_until(lambda: bus.http("GET", "/health/ready").status == 503, "not ready")
        assert bus.http("GET", "/health/live").status == 200
        answers = []
        t = threading.Thread(target=lambda: answers.append(bus.http("POST", "/topics/b", "while away")))
        t.start()
        time.sleep(0.3)
        assert answers == []
        bus.start("broker")
        t.join(20)
        assert answers[0].status == 200, answers
        event = stream.next()
        while event["event"] == "state":
            event = stream.next()
        assert event["data"] == "while away", event
        wait_until(lambda: bus.http("GET", "/health/ready").status == 200, "ready again")


def more_publishes_than_are_held_wait_their_turn():
    with Bus(frontends=("http",), limits={"publishes_held": 2}) as bus:
        bus.kill("broker")
        wait_until(lambda: bus.http("GET", "/health/ready").status == 503, "not ready")
        answers = []
        body = "x" * 1000

        def publish(i):
            answers.append(bus.http("POST", "/topics/w", f"{i} {body}", {"Content-Type": "text/plain", "Busbar-Meta-I": str(i)}))

        threads = [threading.Thread(target=publish, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        wait_until(lambda: n_clients(bus) == 8, "eight publishers to wait")
        time.sleep(0.2)
        assert answers == []
        bus.start("broker")
        for t in threads:
            t.join(20)
        assert [a.status for a in answers] == [200] * 8, answers
        answer = bus.http("GET", "/topics/w?last=100").json()
        got = {m["headers"]["i"]: m["data"] for m in answer["messages"]}
        assert got == {str(i): f"{i} {body}" for i in range(8)}, got.keys()


def streams_that_nobody_reads():
    topics = [{"match": "drop/#", "slow_consumer": "drop_oldest", "history": {"messages": 10}},
              {"match": "#", "history": {"messages": 10}}]
    with Bus(frontends=("http",), topics=topics, limits={"queue_bytes": "64KiB"}) as bus:
        lossy = bus.sse("/topics/drop/a", rcvbuf=4096)
        strict_one = bus.sse("/topics/keep/a", rcvbuf=4096)
        n, pad = 600, "x" * 20_000
        writer = Raw(bus)
        for topic in (b"drop/a", b"keep/a"):
            for i in range(n):
                body = b"%d " % i + pad.encode()
                writer.write(b"POST /topics/" + topic + b" HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                assert writer.response()[0] == 200
        seen, dropped = [], 0
        while dropped == 0 or not seen or seen[-1] != n - 1:
            event = lossy.next()
            if event["event"] == "dropped":
                dropped += json.loads(event["data"])["count"]
            else:
                i, rest = event["data"].split(" ")
                assert rest == pad
                seen.append(int(i))
        assert seen == sorted(set(seen)) and dropped + len(seen) == n, (len(seen), dropped)
        kept = []
        try:
            while True:
                kept.append(strict_one.next())
        except Closed:
            pass
        assert len(kept) < n
        # It comes back with its cursor, as a browser does, and is told that some are gone.
        again = bus.sse("/topics/keep/a", {"Last-Event-ID": kept[-1]["id"]})
        assert json.loads(again.next()["data"])["state"] == "gap"


if __name__ == "__main__":
    main([publish_and_poll, a_poll_is_held_until_there_is_something, who_left_is_let_go_at_once, kinds_and_headers_pass, kept_values,
          event_streams, addresses_and_methods, pages_of_other_sites, strict, one_connection, publishes_are_counted_once, slow_clients, large_answers_and_pages,
          the_broker_goes_and_comes, more_publishes_than_are_held_wait_their_turn, streams_that_nobody_reads])
