# SPDX-License-Identifier: Apache-2.0
"""The native protocol on TCP as docs/protocol.md has it: both forms, errors that do not end the connection, half-closed clients."""
import base64
import json
import socket
import struct
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Closed, Native, Stream


# ---- MessagePack, as much of it as the protocol has. ----

def pack(v):
    if v is None:
        return b"\xc0"
    if isinstance(v, bool):
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return struct.pack("b", v) if -32 <= v < 128 else b"\xd3" + struct.pack("!q", v)
    if isinstance(v, str):
        b = v.encode()
        return (bytes([0xA0 | len(b)]) if len(b) < 32 else b"\xdb" + struct.pack("!I", len(b))) + b
    if isinstance(v, bytes):
        return b"\xc6" + struct.pack("!I", len(v)) + v
    if isinstance(v, list):
        return b"\xdc" + struct.pack("!H", len(v)) + b"".join(map(pack, v))
    return bytes([0x80 | len(v)]) + b"".join(pack(k) + pack(x) for k, x in v.items())


def unpack(b, at=0):
    """(value, where it ends); IndexError or struct.error if there is more to come."""
    def need(n):
        if at + n > len(b):
            raise IndexError
        return b[at:at + n]
    mark = b[at]
    at += 1
    if mark < 0x80 or mark >= 0xE0:
        return (mark if mark < 0x80 else mark - 256), at
    sizes = {0xC4: "B", 0xC5: "!H", 0xC6: "!I", 0xD9: "B", 0xDA: "!H", 0xDB: "!I", 0xDC: "!H", 0xDD: "!I", 0xDE: "!H", 0xDF: "!I",
             0xCC: "B", 0xCD: "!H", 0xCE: "!I", 0xCF: "!Q", 0xD0: "b", 0xD1: "!h", 0xD2: "!i", 0xD3: "!q"}
    if mark in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[mark], at
    if mark in sizes:
        n, = struct.unpack_from(sizes[mark], b, at)
        at += struct.calcsize(sizes[mark])
        kind = mark
    else:
        n, kind = (mark & 0x1F, 0xD9) if mark >= 0xA0 else (mark & 0x0F, 0xDC if mark >= 0x90 else 0xDE)
    if 0xCC <= kind <= 0xD3:
        return n, at
    if kind in (0xC4, 0xC5, 0xC6):
        return need(n), at + n
    if kind in (0xD9, 0xDA, 0xDB):
        return need(n).decode(), at + n
    if kind in (0xDC, 0xDD):
        items = []
        for _ in range(n):
            v, at = unpack(b, at)
            items.append(v)
        return items, at
    pairs = {}
    for _ in range(n):
        k, at = unpack(b, at)
        pairs[k], at = unpack(b, at)
    return pairs, at


class MsgPack(Native, Stream):
    def __init__(self, host, port, **options):
        Native.__init__(self)
        Stream.__init__(self, host, port, **options)

    def send(self, **message):
        self.write(pack(message))

    def recv(self, timeout=20):
        if self.backlog:
            return self.backlog.pop(0)
        end = time.monotonic() + timeout
        while True:
            try:
                message, n = unpack(self.buffer)
                self.buffer = self.buffer[n:]
                return message
            except (IndexError, struct.error):
                self.fill(end - time.monotonic())


def read_to_end(stream, timeout=20):
    """Everything until the server closes, as messages."""
    end = time.monotonic() + timeout
    try:
        while True:
            stream.fill(end - time.monotonic())
    except Closed:
        return [json.loads(line) for line in stream.buffer.splitlines()]


def shut(stream):
    stream.sock.shutdown(socket.SHUT_WR)


# ---- The tests. ----

def operations_are_answered():
    with Bus(frontends=("tcp",)) as bus:
        c = bus.tcp()
        c.send(op="hello", id="h")
        m = c.expect("welcome", id="h")
        assert m["protocol"] == 1 and m["message_bytes"] == 1 << 20 and m["server"] == "tcp.1" and m["cursor"], m
        c.send(op="ping")
        assert c.recv() == {"op": "pong"}
        c.send(op="ping", id="\u00e9\"\\")
        assert c.recv() == {"op": "pong", "id": "\u00e9\"\\"}
        assert c.sub(["a/#", "b"], id=-5)["state"] == "live"
        cursor = c.pub("a/x", {"k": [1, None]}, key="k1", headers={"h": "v"}, type="application/ld+json")
        m = c.message()
        assert (m["sub"], m["topic"], m["cursor"], m["data"]) == (-5, "a/x", cursor, {"k": [1, None]}), m
        assert (m["headers"], m["type"], m["key"]) == ({"h": "v"}, "application/ld+json", "k1") and abs(m["time"] / 1000 - time.time()) < 60, m
        assert c.pub("a/x", "again", key="k1") == c.pub("a/x", "again", once="k1", key="k2") == cursor, "a key is published once"
        c.send(op="pub", topic="b", data="no id, no answer")
        assert c.recv()["data"] == "no id, no answer"
        c.send(op="topics", id=9, filter="#", limit=1)
        assert c.expect("topic", id=9)["topic"] == "a/x"
        assert c.expect("topics_end", id=9)["more"] is True
        c.send(op="topics", id=10, after="a/x", limit=1)
        m = c.expect("topic", id=10)
        assert (m["topic"], m["messages"], m["links"]) == ("b", 1, 1), m
        assert c.expect("topics_end", id=10)["more"] is False
        c.send(op="unsub", id=-5)
        c.expect("unsubscribed", id=-5)
        c.pub("b", 2)
        assert c.try_recv(0.2) is None


def retained_values_come_first():
    with Bus(frontends=("tcp",)) as bus:
        p = bus.tcp()
        p.pub("r/1", "kept", retain=True)
        p.pub("r/1", "new")
        c = bus.tcp()
        c.sub("r/#", id=1)
        m = c.message()
        assert (m["data"], m.get("retained")) == ("kept", True), m
        p.pub("r/1", "live", retain=True)
        m = c.message()
        assert m["data"] == "live" and "retained" not in m, m
        p.pub("r/1", "", retain=True)
        assert c.message()["data"] == ""
        d = bus.tcp()
        d.sub("r/#")
        assert d.try_recv(0.2) is None


def both_forms_are_one_protocol():
    with Bus(frontends=("tcp",)) as bus:
        j = bus.tcp()
        m = bus._keep(MsgPack("127.0.0.1", bus.tcp_port))
        j.sub("p", id=1)
        assert m.sub("p", id="s")["state"] == "live"
        odd = '{ "b" : 1e2, "a":[ 1 ,2.0] }'
        j.write(b'{"op":"pub","topic":"p","data":' + odd.encode() + b"}\n")
        got = m.message()
        assert (got["data"], got["encoding"], got["sub"]) == (odd, "json", "s"), got
        assert j.read_until(b"\n", 20).endswith(b'"data":' + odd.encode() + b"}")
        m.pub("p", odd, encoding="json")
        assert j.read_until(b"\n", 20).endswith(b'"data":' + odd.encode() + b"}")
        m.message()
        m.pub("p", "t\u00e9xt")
        assert j.message()["data"] == "t\u00e9xt" and m.message()["data"] == "t\u00e9xt"
        m.pub("p", bytes(range(256)))
        got = j.message()
        assert base64.b64decode(got["data"]) == bytes(range(256)) and got["encoding"] == "base64"
        assert m.message()["data"] == bytes(range(256))
        j.pub("p", base64.b64encode(b"\0\1").decode(), encoding="base64")
        assert m.message()["data"] == b"\0\1" and j.message()["data"] == "AAE="
        j.pub("p", "a string", type="application/json")
        assert m.message()["data"] == '"a string"'
        got = j.message()
        assert (got["data"], got["type"]) == ("a string", "application/json"), got
        # A JSON payload with line breaks stays one line, and the same JSON.
        m.pub("p", '{\n "a":\r\n 1}', encoding="json")
        assert m.message()["data"] == '{\n "a":\r\n 1}'
        assert j.message()["data"] == {"a": 1}
        m.send(op="fly", id=4)
        assert m.expect("error", id=4)["code"] == "op_unknown"
        m.send(op="pub", topic="p", data=5, id=5)
        assert m.expect("error", id=5)["code"] == "body_invalid"
        m.send(op="ping", id=6)
        m.expect("pong", id=6)
        m.write(b"\xc1")
        assert m.expect("error")["code"] == "request_invalid"
        try:
            m.recv()
            raise AssertionError("still open")
        except Closed:
            pass


def bytes_may_come_in_any_pieces():
    with Bus(frontends=("tcp",)) as bus:
        for client, packed in ((bus.tcp(), False), (bus._keep(MsgPack("127.0.0.1", bus.tcp_port)), True)):
            client.sub("piece", id=1)
            requests = [{"op": "pub", "id": i, "topic": "piece", "data": "x" * i} for i in range(1, 30)]
            stream = b"".join(pack(r) if packed else json.dumps(r).encode() + b"\r\n \r\n" for r in requests)
            for step in (1, 7, 4096):
                for i in range(0, len(stream), step):
                    client.write(stream[i:i + step])
                    if step == 1 and i % 50 == 0:
                        client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO)  # lets small segments go out
                for i in range(1, 30):
                    client.expect("published", id=i)
                assert [m["data"] for m in client.messages(29)] == ["x" * i for i in range(1, 30)]


def other_protocols_are_told():
    with Bus(frontends=("tcp",)) as bus:
        for first in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00", b"hello\n", b"[1]\n", b"\x00"):
            s = bus._keep(Stream("127.0.0.1", bus.tcp_port))
            s.write(first)
            answers = read_to_end(s)
            assert len(answers) == 1 and answers[0]["op"] == "error" and "hello" in answers[0]["message"], answers


def what_is_too_long_ends_the_connection():
    with Bus(frontends=("tcp",), limits={"message_bytes": "1KiB"}) as bus:
        c = bus.tcp()
        c.send(op="pub", id=1, topic="a", data="x" * 1025)
        assert c.expect("error", id=1)["code"] == "message_too_large"
        c.pub("a", "x" * 1024)  # and the connection goes on
        c.pub("a", "\u0001" * 1024)  # escaped, it is six times as long
        c.write(b'{"op":"pub","topic":"a","data":"' + b"x" * 100000)
        assert c.expect("error")["code"] == "message_too_large"
        try:
            c.recv()
            raise AssertionError("still open")
        except Closed:
            pass


def a_client_that_ends_its_side_gets_its_answers():
    with Bus(frontends=("tcp",)) as bus:
        s = bus._keep(Stream("127.0.0.1", bus.tcp_port))
        s.write(b'{"op":"pub","id":1,"topic":"a","data":1}\n{"op":"topics","id":2}\n{"op":"pub","topic":"a","data":2}\n'
                b'{"op":"pub","id":3,"topic":"a","data":3}')  # without its newline
        shut(s)
        answers = read_to_end(s)
        assert [m for m in answers if m["op"] == "published" and m["id"] == 3], answers
        assert {m.get("id") for m in answers} == {1, 2, 3} and {m["op"] for m in answers} <= {"published", "topic", "topics_end"}, answers
        s = bus._keep(Stream("127.0.0.1", bus.tcp_port))
        shut(s)
        assert read_to_end(s) == []
        s = bus._keep(Stream("127.0.0.1", bus.tcp_port))
        s.write(b"\x81\xa2op")
        shut(s)
        wait_until(lambda: _closed(s), "a MessagePack client that ended inside a message is closed")


def _closed(s):
    try:
        s.fill(0.05)
    except Closed:
        return True
    except (socket.timeout, TimeoutError):
        pass
    return False


def a_subscriber_may_end_its_side():
    with Bus(frontends=("tcp",)) as bus:
        p, c = bus.tcp(), bus.tcp()
        for i in range(3):
            p.pub("h", i)
        c.write(b'{"op":"sub","id":1,"topic":"h","last":2}')
        shut(c)
        c.expect("subscribed", id=1)
        assert [m["data"] for m in c.messages(2)] == [1, 2]
        for i in range(20):
            p.pub("h", f"live {i}")
            assert c.message()["data"] == f"live {i}"
        c.close()
        p.pub("h", "nobody")
        p.pub("h", "nobody")


def silence_has_a_limit():
    with Bus(frontends=("tcp",), tcp={"idle_timeout": "300ms", "first_byte_timeout": "300ms"}) as bus:
        s, c = bus._keep(Stream("127.0.0.1", bus.tcp_port)), bus.tcp()
        c.send(op="ping")
        c.expect("pong")
        assert c.expect("closing")["code"] == "timeout"
        assert read_to_end(s) == []


def a_planned_stop_is_told():
    with Bus(frontends=("tcp",)) as bus:
        c, s = bus.tcp(), bus._keep(Stream("127.0.0.1", bus.tcp_port))
        c.sub("a", id=1)
        for i in range(200):
            c.send(op="pub", id=i, topic="b", data=i)
        for i in range(200):
            c.expect("published", id=i)
        bus.stop("tcp")
        assert c.expect("closing")["code"] == "shutting_down"
        assert read_to_end(s) == []


def who_does_not_read_answers_is_not_read_from():
    with Bus(frontends=("tcp",), limits={"queue_bytes": "64KiB"}) as bus:
        c = bus.tcp(rcvbuf=4096)
        c.sock.settimeout(0.5)
        line, sent = b'{"op":"ping","id":"' + b"x" * 50 + b'"}\n', 0
        try:
            for _ in range(400):  # far more than the buffers of both kernels
                c.sock.sendall(line * 1000)
                sent += 1000
            raise AssertionError("everything was taken")
        except (socket.timeout, TimeoutError):
            pass
        assert bus.process("tcp").rss_kib() < 400 * 1024
        other = bus.tcp()
        other.pub("a", 1)
        for _ in range(sent):  # nothing of it was lost
            assert c.recv()["op"] == "pong"


def works_while_the_broker_is_away():
    with Bus(frontends=("tcp",)) as bus:
        c = bus.tcp()
        c.sub("w", id=1)
        bus.kill("broker")
        wait_until(lambda: "has ended" in bus.process("tcp").log(), "the loss is logged")
        c.send(op="ping", id=1)
        c.expect("pong", id=1)
        s = bus._keep(Stream("127.0.0.1", bus.tcp_port))
        s.write(b'{"op":"pub","id":7,"topic":"w","data":"held"}\n')
        shut(s)  # the answer is still waited for
        bus.start("broker")
        answers = read_to_end(s)
        assert [m["op"] for m in answers] == ["published"], answers
        assert c.message()["data"] == "held"


def publishers_are_not_kept_waiting_for_ever():
    with Bus(frontends=("tcp",), limits={"publishes_held": 10, "publish_hold_time": "300ms"}) as bus:
        c = bus.tcp()
        bus.kill("broker")
        wait_until(lambda: "has ended" in bus.process("tcp").log(), "the loss is logged")
        for i in range(30):
            c.send(op="pub", id=i, topic="w", data=i)
        for i in range(10, 30):
            assert c.expect("error", id=i)["code"] == "unavailable"
        bus.start("broker")
        for i in range(10):
            c.expect("published", id=i)
        c.pub("w", "after")


if __name__ == "__main__":
    main([operations_are_answered, retained_values_come_first, both_forms_are_one_protocol, bytes_may_come_in_any_pieces,
          other_protocols_are_told, what_is_too_long_ends_the_connection, a_client_that_ends_its_side_gets_its_answers,
          a_subscriber_may_end_its_side, silence_has_a_limit, a_planned_stop_is_told, who_does_not_read_answers_is_not_read_from,
          works_while_the_broker_is_away, publishers_are_not_kept_waiting_for_ever])
