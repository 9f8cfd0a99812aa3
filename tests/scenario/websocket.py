# SPDX-License-Identifier: Apache-2.0
"""busbar-ws from a client's side: who gets in, what is spoken, raw topics, pings, compression, every close code."""
import asyncio
import json
import os
import signal
import socket
import threading
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Closed, Stream, WebSocket, WsJson

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {"Host": "bus.test:1", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Key": KEY,
           "Sec-WebSocket-Version": "13"}


def ask(bus, first="GET /ws HTTP/1.1", rest=b"", **changes):
    """Sends one request by hand: (status, headers, what followed until the end). A header that is None is left out."""
    fields = dict(UPGRADE)
    for name, value in changes.items():
        fields[name.replace("_", "-")] = value
    s = Stream("127.0.0.1", bus.ws_port)
    s.write((first + "\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None) + "\r\n").encode() + rest)
    head = s.read_until(b"\r\n\r\n", 10).decode()
    status = int(head.split()[1])
    headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head.split("\r\n")[1:])}
    if status == 101:
        s.close()
        return status, headers, b""
    try:
        while True:
            s.fill(10)
    except Closed:
        pass
    assert len(s.buffer) == int(headers["content-length"]), (headers, s.buffer)
    s.close()
    return status, headers, s.buffer


def closed_with(client, timeout=10):
    """Reads on until the server's close frame: (code, reason)."""
    end = time.monotonic() + timeout
    while True:
        opcode, _, payload = client.recv_frame(end - time.monotonic())
        if opcode == 9:
            client.send_frame(10, payload)
        if opcode == 8:
            return (int.from_bytes(payload[:2], "big") if payload else None), payload[2:].decode()


def ended(client, timeout=10):
    """The server ends TCP, though this side has not."""
    try:
        while True:
            client.fill(timeout)
    except Closed as e:
        return str(e) == "end of stream"


def upgrades_that_are_refused():
    with Bus(frontends=("ws",), ws={"handshake_timeout": "500ms"}) as bus:
        assert ask(bus)[0] == 101
        status, headers, text = ask(bus, Upgrade=None, Connection=None)
        assert status == 426 and headers["upgrade"] == "websocket" and b"Upgrade: websocket" in text, (status, headers, text)
        status, _, text = ask(bus, "GET / HTTP/1.1", Upgrade=None)
        assert status == 404 and b"/ws" in text and b"/raw/{topic}" in text, (status, text)
        cases = [
            (404, "GET /ws/ HTTP/1.1", {}), (404, "GET /raw HTTP/1.1", {}), (404, "GET /rawer/a HTTP/1.1", {}),
            (405, "POST /ws HTTP/1.1", {}), (400, "GET /ws HTTP/1.0", {}), (400, "GET /ws HTTP/1.1", {"Host": None}),
            (400, "GET /ws HTTP/1.1", {"Connection": "close"}), (426, "GET /ws HTTP/1.1", {"Sec_WebSocket_Version": "8"}),
            (400, "GET /ws HTTP/1.1", {"Sec_WebSocket_Key": None}), (400, "GET /ws HTTP/1.1", {"Sec_WebSocket_Key": "abc"}),
            (400, "GET /ws HTTP/1.1", {"Sec_WebSocket_Extensions": "permessage-deflate;;"}),
            (400, "GET /raw/ HTTP/1.1", {}), (400, "GET /raw/a/%2B HTTP/1.1", {}), (400, "GET /raw/a/# HTTP/1.1", {}),
            (400, "GET /raw/a%23 HTTP/1.1", {}), (400, "GET /raw/a%00 HTTP/1.1", {}), (400, "GET /raw/%ff HTTP/1.1", {}),
            (400, "GET /raw/a%0A HTTP/1.1", {}), (400, "GET /raw/" + "a" * 1025 + " HTTP/1.1", {}),
            (400, "GET /raw/" + "a" * 7000 + " HTTP/1.1", {}), (414, "GET /raw/" + "a" * 9000 + " HTTP/1.1", {}),
            (400, "GET /raw/a?since=x HTTP/1.1", {}), (400, "GET /raw/a?last=-1 HTTP/1.1", {}),
            (400, "GET /raw/a?last= HTTP/1.1", {}), (400, "GET /raw/a?last=1&since=1-1 HTTP/1.1", {}),
            (431, "GET /ws HTTP/1.1", {"Cookie": "c" * 20000}), (400, "nonsense", {}),
        ]
        for want, first, changes in cases:
            status, _, text = ask(bus, first, **changes)
            assert status == want and text.strip(), (want, status, first[:60], changes, text)
        # A head that never ends costs its sender the connection.
        s = Stream("127.0.0.1", bus.ws_port)
        s.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        assert b" 408 " in s.read_until(b"\r\n", 10)
        bus.config["ws"]["raw_path"] = ""
        bus.config["ws"]["path"] = "/bus"
        bus.write_config()
        bus.process("ws").signal(signal.SIGHUP)
        wait_until(lambda: ask(bus, "GET /bus HTTP/1.1")[0] == 101, "the new path is served after a reload")
        assert ask(bus, "GET /raw/a HTTP/1.1")[0] == 404


def subprotocols():
    with Bus(frontends=("ws",)) as bus:
        def chosen(*offered):
            return ask(bus, Sec_WebSocket_Protocol=", ".join(offered) if offered else None)[1].get("sec-websocket-protocol")
        assert chosen() is None
        assert chosen("busbar.v1.json") == "busbar.v1.json"
        assert chosen("soap", "busbar.v1.msgpack", "busbar.v1.json") == "busbar.v1.msgpack"
        assert chosen("mqtt") is None  # and a browser then ends it by itself
        c = bus._keep(WsJson("127.0.0.1", bus.ws_port, "/ws", protocols=None))  # JSON when nothing was asked for
        c.send(op="ping", id=1)
        assert c.expect("pong", id=1)
        # The upgrade and the first frames in one piece.
        frame = b"\x81\x8d\0\0\0\0" + b'{"op":"ping"}'
        s = Stream("127.0.0.1", bus.ws_port)
        s.write(("GET /ws HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in UPGRADE.items()) + "\r\n").encode() + frame * 3)
        s.read_until(b"\r\n\r\n", 10)
        assert s.read_exactly(3 * 15, 10) == b'\x81\x0d{"op":"pong"}' * 3


def msgpack_and_json_meet():
    try:
        import msgpack
    except ImportError:
        print("skipped: python3-msgpack is not installed")
        return
    with Bus(frontends=("ws",)) as bus:
        j = bus.ws()
        m = bus._keep(WebSocket("127.0.0.1", bus.ws_port, "/ws", protocols=["busbar.v1.msgpack"]))
        m.send_message(msgpack.packb({"op": "sub", "id": 1, "topic": "t/+"}))
        assert msgpack.unpackb(m.recv_message())["op"] == "subscribed"
        j.sub("t/#")
        j.pub("t/a", {"b": [1, 2.5]})
        m.send_message(msgpack.packb({"op": "pub", "topic": "t/b", "data": b"\x00\xff"}))
        first, second = msgpack.unpackb(m.recv_message()), msgpack.unpackb(m.recv_message())
        assert (json.loads(first["data"]), second["data"]) == ({"b": [1, 2.5]}, b"\x00\xff"), (first, second)
        assert j.message()["data"] == {"b": [1, 2.5]}
        got = j.message()
        assert (got["encoding"], got["data"]) == ("base64", "AP8="), got


def origins():
    with Bus(frontends=("ws",)) as bus:
        for origin, want in ((None, 101), ("http://bus.test:8080", 101), ("https://BUS.test", 101), ("http://bus.test.evil", 403),
                             ("http://evil/bus.test", 403), ("null", 403), ("", 403)):
            for path in ("/ws", "/raw/a"):
                assert ask(bus, f"GET {path} HTTP/1.1", Origin=origin)[0] == want, (origin, path)
        bus.config["ws"]["origins"] = ["https://app.example", "https://*.example.org"]
        bus.write_config()
        bus.process("ws").signal(signal.SIGHUP)
        wait_until(lambda: ask(bus, Origin="https://app.example")[0] == 101, "the new list holds")
        for origin, want in ((None, 101), ("https://a.b.example.org", 101), ("https://example.org", 403), ("http://bus.test:8080", 403)):
            assert ask(bus, Origin=origin)[0] == want, origin


def deflate():
    """python3-websockets agrees to permessage-deflate and gets compressed what is worth it, with any window."""
    try:
        import websockets
        from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    except ImportError:
        print("skipped: python3-websockets is not installed")
        return
    long = "all work and no play makes a dull bus; " * 200

    async def talk(bus, extensions, compressed):
        async with websockets.connect(f"ws://127.0.0.1:{bus.ws_port}/ws", subprotocols=["busbar.v1.json"], compression=None,
                                      extensions=extensions, ping_interval=None) as ws:
            assert bool(ws.extensions) == compressed, ws.extensions
            await ws.send(json.dumps({"op": "sub", "id": 1, "topic": "d"}))
            assert json.loads(await ws.recv())["op"] == "subscribed"
            for text in ("short", long, "", long[:300]):
                await ws.send(json.dumps({"op": "pub", "topic": "d", "data": text}))
                assert json.loads(await asyncio.wait_for(ws.recv(), 10))["data"] == text

    with Bus(frontends=("ws",), ws={"deflate": True, "deflate_threshold": "100B"}) as bus:
        for bits in (None, 9, 12, 15):
            asyncio.run(talk(bus, [ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=True)], True))
        asyncio.run(talk(bus, None, False))
        # What is compressed arrives compressed, and what is too short does not.
        s = Stream("127.0.0.1", bus.ws_port)
        s.write(("GET /raw/z HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in UPGRADE.items()) +
                 "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n").encode())
        assert b"permessage-deflate" in s.read_until(b"\r\n\r\n", 10)
        p = bus.ws_raw("z")
        p.send_message("x" * 99)
        assert s.read_exactly(2 + 99, 10)[0] == 0x81
        p.send_message("x" * 100)
        head = s.read_exactly(2, 10)
        assert head[0] == 0xC1 and head[1] < 30, head
        s.read_exactly(head[1], 10)
        # A bomb: 20 MiB of nothing in 20 KiB.
        import zlib
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = packer.compress(bytes(20 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
        mask = b"\0\0\0\0"
        s.write(b"\xc2\xfe" + (len(bomb) - 4).to_bytes(2, "big") + mask + bomb[:-4])
        frame = s.read_exactly(4, 10)
        assert frame[0] == 0x88 and int.from_bytes(frame[2:4], "big") == 1009, frame
    with Bus(frontends=("ws",)) as bus:  # off unless asked for
        asyncio.run(talk(bus, [ClientPerMessageDeflateFactory(client_max_window_bits=True)], False))


def raw_topics():
    with Bus(frontends=("ws",), topics=[{"match": "closed", "subscribe": False}, {"match": "quiet", "publish": False},
                                        {"match": "small", "max_message": "10B"}, {"match": "#", "history": {"messages": 10}}],
             limits={"message_bytes": "10KiB"}) as bus:
        native = bus.ws()
        start = native.sub("#")["cursor"]
        a, b = bus.ws_raw("chat%2Froom/%C3%A9"), bus.ws_raw("chat/room/é".encode().decode("latin-1").replace("Ã©", "%c3%a9"))
        bodies = ["text", b"\x00\xff", "", b"", "{\"a\":1}", "é" * 100]
        for body in bodies:
            a.send_message(body)
        for client in (a, b):  # its own messages included, each as it was
            for body in bodies:
                got = client.recv_message()
                assert got == body and type(got) is type(body), (got, body)
        kinds = [native.message() for _ in bodies]
        assert [m["topic"] for m in kinds] == ["chat/room/é"] * len(bodies)
        assert kinds[0]["data"] == "text" and kinds[1]["encoding"] == "base64" and kinds[2]["data"] == "", kinds
        # What was published as JSON arrives as text.
        native.pub("chat/room/é", {"x": [1]})
        assert json.loads(b.recv_message()) == {"x": [1]}
        # A message in the same piece as the upgrade is published, and comes back to its sender.
        for i in range(20):
            s = Stream("127.0.0.1", bus.ws_port)
            s.write((f"GET /raw/first/{i} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in UPGRADE.items()) + "\r\n").encode() +
                    b"\x81\x82\0\0\0\0hi\x82\x81\0\0\0\0!")
            s.read_until(b"\r\n\r\n", 10)
            assert s.read_exactly(7, 10) == b"\x81\x02hi\x82\x01!"
            s.close()
        # From the past.
        last = bus.ws_raw("chat/room/%C3%A9?last=2")
        assert (last.recv_message(), json.loads(last.recv_message())) == ("é" * 100, {"x": [1]})
        since = bus.ws_raw("chat/room/%C3%A9?since=" + start)
        assert [since.recv_message() for _ in range(7)][:6] == bodies
        # A subscription that is refused is a handshake that is refused; later errors are close codes.
        try:
            bus.ws_raw("closed")
            raise AssertionError("a topic that may not be subscribed was opened")
        except Closed as e:
            assert "HTTP/1.1 403" in str(e), e
        quiet = bus.ws_raw("quiet")
        quiet.send_message("x")
        code, reason = closed_with(quiet)
        assert code == 1008 and reason.startswith("not_allowed: "), (code, reason)
        small = bus.ws_raw("small")
        small.send_message("x" * 11)
        code, reason = closed_with(small)
        assert code == 1009 and reason.startswith("message_too_large: "), (code, reason)
        large = bus.ws_raw("large")
        large.send_message("x" * 10241)
        assert closed_with(large)[0] == 1009


def raw_waits_for_the_broker():
    """A raw client's connection is the sign that its subscription stands: without a broker it waits, then is refused."""
    with Bus(frontends=("ws",), ws={"handshake_timeout": "2s"}) as bus:
        bus.kill("broker")
        opened = []
        opener = threading.Thread(target=lambda: opened.append(bus.ws_raw("later")))
        opener.start()
        bus.start("broker")
        opener.join(20)
        native = bus.ws()
        native.pub("later", "published once the handshake was answered")
        assert opened[0].recv_message() == "published once the handshake was answered"
        bus.kill("broker")
        wait_until(lambda: "has ended" in bus.process("ws").log(), "the loss is logged")
        try:
            bus.ws_raw("never")
            raise AssertionError("connected without a subscription")
        except Closed as e:
            assert "HTTP/1.1 503" in str(e), e


def pings():
    with Bus(frontends=("ws",), ws={"ping_interval": "1s", "ping_timeout": "1s", "close_timeout": "500ms"}) as bus:
        dead, alive, busy = bus.ws(), bus.ws(), bus.ws()
        end = time.monotonic() + 5
        seen = {dead: [], alive: [], busy: []}
        while time.monotonic() < end:
            busy.send(op="ping")  # whatever comes is life
            for client in (dead, alive, busy):
                try:
                    opcode, _, payload = client.recv_frame(0.1)
                except (socket.timeout, TimeoutError):
                    continue
                except Closed:
                    opcode, payload = "end", b""
                if opcode == 9 and client is alive:
                    client.send_frame(10, payload)
                if seen[client][-1:] != ["end"]:
                    seen[client].append(opcode)
        assert seen[dead][:2] == [9, 8] and seen[dead][-1] == "end", seen[dead]
        assert seen[alive].count(9) >= 2 and set(seen[alive]) == {9}, seen[alive]
        assert set(seen[busy]) == {1}, seen[busy]


def close_codes():
    with Bus(frontends=("ws",), ws={"close_timeout": "300ms"}, limits={"message_bytes": "1KiB"}) as bus:
        def code_for(opcode, payload, fin=True, protocols=("busbar.v1.json",)):
            c = WebSocket("127.0.0.1", bus.ws_port, "/ws", protocols=protocols)
            c.send_frame(opcode, payload, fin)
            code, reason = closed_with(c)
            assert ended(c), "the server did not end the connection"
            c.close()
            return code, reason
        assert code_for(8, b"")[0] is None
        assert code_for(8, b"\x03\xe8bye") == (1000, "")
        assert code_for(8, b"\x0f\xa1")[0] == 4001
        assert code_for(8, b"\x03\xed")[0] == 1002
        assert code_for(3, b"")[0] == 1002
        assert code_for(9, b"x", fin=False)[0] == 1002
        assert code_for(1, b"\xff")[0] == 1007
        assert code_for(1, b"x" * 200000)[0] == 1009
        code, reason = code_for(2, b"{}")
        assert code == 1003 and "text" in reason, reason
        code, reason = code_for(1, b"{}", protocols=["busbar.v1.msgpack"])
        assert code == 1003 and "binary" in reason, reason
        # Both close frames: the server ends TCP first, at once.
        c = bus.ws()
        began = time.monotonic()
        c.send_frame(8, b"\x03\xe8")
        assert closed_with(c)[0] == 1000 and ended(c) and time.monotonic() - began < 1
        # A client that does not answer ours is closed after close_timeout.
        c = bus.ws()
        c.send_frame(2, b"x")
        assert closed_with(c)[0] == 1003 and ended(c)
        # Half of the socket ended without a close frame.
        c = bus.ws()
        c.sock.shutdown(socket.SHUT_WR)
        assert ended(c)


def a_stop_tells_everybody():
    with Bus(frontends=("ws",)) as bus:
        native, raw = bus.ws(), bus.ws_raw("t")
        native.send(op="pub", id=7, topic="t", data=1)
        assert json.loads(raw.recv_message()) == 1
        process = bus.process("ws")
        process.is_expected_to_end = True
        process.signal(signal.SIGTERM)
        assert native.expect("published", id=7)
        for client in (native, raw):
            code, reason = closed_with(client)
            assert code == 1001 and reason.startswith("shutting_down"), (code, reason)
            client.send_frame(8, code.to_bytes(2, "big"))
            assert ended(client)
        began = time.monotonic()
        bus.stop("ws")
        assert time.monotonic() - began < 4


def slow_clients():
    """Told 1013 if they go on reading; with drop_oldest how much they missed."""
    for policy in ("disconnect", "drop_oldest"):
        with Bus(frontends=("ws",), topics=[{"match": "#", "slow_consumer": policy, "history": {"messages": 10}}],
                 limits={"queue_bytes": "64KiB"}) as bus:
            slow, fast = bus.ws(rcvbuf=4096), bus.ws()
            slow.sub("s")
            fast.sub("s")
            n, body = 1500, "w" * 10000
            for i in range(n):
                fast.pub("s", [i, body])
                assert fast.message()["data"][0] == i
            seen, dropped = [], 0
            try:
                while not seen or seen[-1] != n - 1 or len(seen) + dropped < n:
                    m = slow.recv(10)
                    if m["op"] == "msg":
                        seen.append(m["data"][0])
                    else:
                        dropped += m["count"]
                assert policy == "drop_oldest"
                assert len(seen) + dropped == n and dropped > 0, (len(seen), dropped)
            except (socket.timeout, TimeoutError) as e:
                raise AssertionError(f"{len(seen)} came and {dropped} were told to be dropped, of {n}") from e
            except Closed as e:
                assert policy == "disconnect" and len(seen) < n, (len(seen), e)
                print(f"ended with: {e}")
            assert seen == sorted(set(seen))


def many_idle_connections():
    """Nothing is kept for a client that says nothing but what its connection and subscription need."""
    n = int(os.environ.get("BUSBAR_TEST_IDLE", "300"))
    with Bus(frontends=("ws",), limits={"connections": 20000}) as bus:
        before = bus.process("ws").rss_kib()
        clients = []
        for _ in range(n):
            c = bus.ws()
            c.send(op="sub", id=1, topic="idle")
            clients.append(c)
        for c in clients:
            c.expect("subscribed")
        grown = bus.process("ws").rss_kib() - before
        clients[0].pub("idle", "all")
        for c in clients:
            assert c.message()["data"] == "all"
        print(f"{n} connections with a subscription each: {grown * 1024 // n} bytes for each")


if __name__ == "__main__":
    main([upgrades_that_are_refused, subprotocols, msgpack_and_json_meet, origins, deflate, raw_topics, raw_waits_for_the_broker,
          pings, close_codes, a_stop_tells_everybody, slow_clients, many_idle_connections])
