# SPDX-License-Identifier: Apache-2.0
"""Strangers: malformed input costs its sender at most its connection, limits hold, slow clients delay nobody."""
import os
import random
import resource
import socket
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Closed, JsonLines, Stream


def still_works(bus):
    sub, p = bus.tcp(), bus.ws()
    sub.sub("alive")
    p.pub("alive", "yes")
    assert sub.message()["data"] == "yes"
    sub.close()
    p.close()


def garbage_on_every_port():
    rng = random.Random(7)
    pieces = [b"GET / HTTP/1.1\r\n", b"\x81\xff\xff\xff", b'{"op":"sub"', b"\x00" * 100, b"\xdf\xff\xff\xff\xff", b"{" * 5000, b"[" * 5000,
              b"POST /topics/x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
              b"POST /topics/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
              b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", b"\r\n" * 1000, b"A" * 100000]
    with Bus() as bus:
        for port in bus.ports.values():
            for i in range(60):
                s = Stream("127.0.0.1", port)
                try:
                    s.write(pieces[i % len(pieces)])
                    s.write(rng.randbytes(rng.randrange(2000)))
                    s.sock.shutdown(socket.SHUT_WR)
                    while True:
                        s.fill(5)
                except (Closed, OSError):
                    pass
                s.close()
        still_works(bus)


def errors_name_what_was_wrong():
    cases = [
        ('{"op":"fly","id":1}', "op_unknown"), ('{"id":1}', "request_invalid"), ('{"op":"sub","id":1}', "request_invalid"),
        ('{"op":"pub","id":1,"topic":"a"}', "request_invalid"), ('{"op":"pub","id":1,"topic":"a/+","data":1}', "topic_invalid"),
        ('{"op":"sub","id":1,"topic":"a/#/b"}', "filter_invalid"), ('{"op":"sub","id":1,"topic":"a","since":"x"}', "cursor_invalid"),
        ('{"op":"pub","id":1,"topic":7,"data":1}', "request_invalid"), ('{"op":"unsub","id":77}', "subscription_unknown"),
        ('{"op":"pub","id":1,"topic":"a","data":"!","encoding":"base64"}', "body_invalid"), ("[1,2]", "request_invalid"),
        ('{"op":"pub","id":1,"topic":"a","data":' + "[" * 40 + "]" * 40 + "}", "request_invalid"), ("nonsense}", None),
    ]
    with Bus() as bus:
        c, w = bus.tcp(), bus.ws()
        for text, code in cases:
            if code is None:
                continue
            for client in (c, w):
                client.send_text(text)
                e = client.expect("error")
                assert e["code"] == code and e["message"], (text, e)
        for client in (c, w):  # and the connection goes on
            client.pub("a", 1)
        c.write(b'{"op":"pub","id":1,"topic":"a","data":"\xff\xfe"}\n')
        assert c.expect("error")["code"] in ("request_invalid", "body_invalid")


def limits_hold():
    limits = {"connections": 20, "subscriptions_per_client": 5, "message_bytes": "10KiB"}
    topics = [{"match": "small", "max_message": "100B"}, {"match": "closed/#", "publish": False}, {"match": "secret/#", "subscribe": False},
              {"match": "#", "history": {"messages": 5}}]
    with Bus(limits=limits, topics=topics) as bus:
        c = bus.tcp()
        for i in range(5):
            c.sub(f"t/{i}", id=i + 1)
        c.send(op="sub", id=6, topic="t/6")
        assert c.expect("error", id=6)["code"] == "limit_reached"
        c.send(op="unsub", id=1)
        c.expect("unsubscribed", id=1)
        c.sub("t/6", id=6)
        c.send(op="pub", id=10, topic="small", data="z" * 200)
        assert c.expect("error", id=10)["code"] == "message_too_large"
        c.send(op="pub", id=11, topic="closed/x", data=1)
        assert c.expect("error", id=11)["code"] == "not_allowed"
        c.send(op="unsub", id=6)
        c.expect("unsubscribed", id=6)
        c.send(op="sub", id=12, topic="secret/x")
        assert c.expect("error", id=12)["code"] == "not_allowed"
        assert bus.http("POST", "/topics/small", "z" * 200).status == 413
        assert bus.http("POST", "/topics/closed/x", "z").status == 403
        big = bus.ws()
        big.send(op="pub", id=1, topic="a", data="z" * 20000)
        try:
            m = big.recv()
            assert m["op"] in ("error", "closing"), m
        except Closed as e:
            assert "1009" in str(e), e
        # Connections above the limit are turned away; the others do not notice.
        many = [Stream("127.0.0.1", bus.tcp_port) for _ in range(40)]
        refused = 0
        for s in many:
            try:
                s.write(b'{"op":"ping"}\n')
                while b"\n" not in s.buffer:
                    s.fill(10)
                refused += b"pong" not in s.buffer
            except (Closed, OSError):
                refused += 1
        assert refused >= 20, refused
        for s in many:
            s.close()
        wait_until(lambda: _works(bus), "connections are taken again")


def _works(bus):
    try:
        c = JsonLines("127.0.0.1", bus.tcp_port)
        c.send(op="ping")
        ok = c.recv(5)["op"] == "pong"
        c.close()
        return ok
    except (Closed, OSError):
        return False


def out_of_descriptors():
    """A frontend at its descriptor limit refuses new work, says so and recovers."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))
    with Bus(frontends=("ws",)) as bus:
        bus.start("tcp", preexec_fn=few)
        first = bus.tcp()
        held = []
        for _ in range(200):
            try:
                held.append(Stream("127.0.0.1", bus.tcp_port))
            except OSError:
                break
        first.sub("fd")
        first.pub("fd", "still here")
        assert first.message()["data"] == "still here"
        for s in held:
            s.close()
        wait_until(lambda: _works(bus), "connections are taken again")
        log = bus.process("tcp").log()
        assert "descriptor" in log or "connections" in log, log


def a_slow_client_delays_nobody():
    for policy in ("disconnect", "drop_oldest"):
        topics = [{"match": "#", "slow_consumer": policy, "history": {"messages": 10}}]
        with Bus(topics=topics, limits={"queue_bytes": "64KiB"}) as bus:
            slow, fast = bus.tcp(rcvbuf=4096), bus.ws()
            slow.sub("s")
            fast.sub("s")
            p = bus.tcp()
            body = "w" * 10000
            longest = 0.0
            for i in range(1500):
                began = time.monotonic()
                p.pub("s", [i, body])
                assert fast.message()["data"][0] == i
                longest = max(longest, time.monotonic() - began)
            seen, told, closed = [], [], False
            try:
                # What was dropped is told when the queue has gone down: after the newest message, if that was in it.
                while not seen or seen[-1] != 1499 or (policy != "disconnect" and len(seen) < 1500 and not told):
                    m = slow.recv(10)
                    if m["op"] == "msg":
                        seen.append(m["data"][0])
                    else:
                        told.append(m)
            except Closed:
                closed = True
            assert seen == sorted(set(seen)), "repeated or out of order"
            if policy == "disconnect":
                assert closed and len(seen) < 1500, (closed, len(seen))
            else:
                assert not closed and seen[-1] == 1499 and len(seen) < 1500
                assert _dropped(told) == 1500 - len(seen), (told, len(seen))
            print(f"{policy}: longest round trip of the others {longest * 1000:.0f} ms, the slow one saw {len(seen)} of 1500")


def _dropped(told):
    return sum(m["count"] for m in told if m["op"] == "dropped")


def a_slow_client_can_unsubscribe():
    """What a client asks is heard though its queue never gets empty."""
    topics = [{"match": "#", "slow_consumer": "drop_oldest", "history": {"messages": 10}}]
    with Bus(frontends=("tcp", "ws"), topics=topics, limits={"queue_bytes": "64KiB"}) as bus:
        for slow in (bus.tcp(rcvbuf=4096), bus.ws(rcvbuf=4096)):
            fast = bus.tcp()
            slow.sub("s", id=1)
            fast.sub("s")
            n, body = 1500, "w" * 10000
            for i in range(n):
                if n // 2 - 50 < i < n // 2:
                    slow.send(op="ping")  # at some of these its queue is nearly full
                if i == n // 2:
                    slow.send(op="unsub", id=1)
                fast.pub("s", [i, body])
                assert fast.message()["data"][0] == i
            count = 0
            while True:
                m = slow.recv(10)
                if m["op"] == "unsubscribed":
                    break
                count += {"msg": 1, "pong": 0, "dropped": m.get("count")}[m["op"]]
            assert count < n, count
            slow.close()
            fast.close()


def half_requests_cost_only_their_sender():
    """Slow senders are closed by the timers, and hold nobody up."""
    with Bus(http={"header_timeout": "1s"}, ws={"handshake_timeout": "1s"}) as bus:
        for port in (bus.http_port, bus.ws_port):
            s = Stream("127.0.0.1", port)
            s.write(b"GET /topics/x HTT")
            began = time.monotonic()
            try:
                while True:
                    s.fill(20)
            except Closed:
                pass
            assert time.monotonic() - began < 15
        still_works(bus)


def the_link_takes_no_garbage():
    """A frontend's socket is for the bus's own user only; a directory that others can enter is not used."""
    with Bus() as bus:
        mode = os.stat(bus.runtime_dir).st_mode & 0o777
        assert mode & 0o007 == 0, oct(mode)
        still_works(bus)


if __name__ == "__main__":
    main([garbage_on_every_port, errors_name_what_was_wrong, limits_hold, out_of_descriptors, a_slow_client_delays_nobody, a_slow_client_can_unsubscribe,
          half_requests_cost_only_their_sender, the_link_takes_no_garbage])
