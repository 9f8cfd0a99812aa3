# SPDX-License-Identifier: Apache-2.0
"""Action Cable as bytes: greeting, pings, subscriptions, what is passed over, who gets in, secrets, the end. The stock clients are
in tests/clients/action_cable.py.
"""
import base64
import hashlib
import hmac
import json
import os
import signal
import time

from tests.support.bus import Bus, main, wait_until
from tests.support.clients import Closed, Stream

CHANNELS = [
    {"channel": "ChatChannel", "stream": "chat/{room}", "publish": ["speak", "receive"]},
    {"channel": "Several", "stream": ["one/{id}", "two/{id}", "one/{id}"], "publish": "tell", "publish_topic": "told/{action}/{id}"},
    {"channel": "Closed", "stream": ["open", "closed"]},
]
CHAT = {"channel": "ChatChannel", "room": "1"}


def signed(name, secret, url_safe=False):
    data = json.dumps(name).encode()
    text = base64.urlsafe_b64encode(data).rstrip(b"=") if url_safe else base64.b64encode(data)
    return text.decode() + "--" + hmac.new(secret, text, hashlib.sha256).hexdigest()


def token(key, alg="HS256", **claims):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    text = part(json.dumps({"alg": alg, "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    return (text + b"." + part(hmac.new(key, text, hashlib.sha256).digest())).decode()


def closed_with(client, timeout=10):
    end = time.monotonic() + timeout
    while True:
        opcode, _, payload = client.recv_frame(end - time.monotonic())
        if opcode == 8:
            return int.from_bytes(payload[:2], "big") if payload else None


def figures(tcp):
    """The next figures that busbar-ws tells of itself: every ten seconds."""
    return tcp.expect("msg", 60)["data"]


def greeting():
    """The welcome is the first frame, also when commands came with the upgrade itself; the protocol is echoed."""
    with Bus(channels=CHANNELS) as bus:
        c = bus.cable()
        assert c.response_headers["sec-websocket-protocol"] == "actioncable-v1-json"
        offered = ("actioncable-v1-json", "actioncable-unsupported")
        assert bus.cable(protocols=offered).response_headers["sec-websocket-protocol"] == "actioncable-v1-json"
        ext = bus.cable(protocols=("actioncable-v1-ext-json",))
        assert ext.response_headers["sec-websocket-protocol"] == "actioncable-v1-ext-json"
        # A client that asks for none is served; one that knows none of ours sees it by the missing header.
        assert "sec-websocket-protocol" not in bus.cable(protocols=()).response_headers
        assert "sec-websocket-protocol" not in bus.cable(protocols=("actioncable-unsupported",)).response_headers
        identifier = json.dumps(CHAT)
        text = json.dumps({"command": "subscribe", "identifier": identifier}).encode()
        assert len(text) < 126
        frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
        s = Stream("127.0.0.1", bus.ws_port)
        s.write(b"GET /cable HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n" + frame)
        s.read_until(b"\r\n\r\n", 10)
        first = s.read_exactly(2 + 18, 10)
        assert first[2:] == b'{"type":"welcome"}', first
        assert b"confirm_subscription" in s.read_until(b'"}', 10) + s.read_until(b'"}', 10)
        s.close()


def not_found():
    """What is no WebSocket, or comes from another site, finds nothing, as in Rails."""
    with Bus(frontends=("ws",), ws={"origins": ["https://app.example"]}) as bus:
        def ask(method="GET", path="/cable", **changes):
            fields = {"Host": "bus.test", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "actioncable-v1-json", **changes}
            s = Stream("127.0.0.1", bus.ws_port)
            s.write(f"{method} {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v).encode() + b"\r\n")
            head = s.read_until(b"\r\n\r\n", 10).decode()
            status = int(head.split()[1])
            body = s.read_until(b"\n", 10) if status != 101 else b""
            s.close()
            return status, body
        assert ask()[0] == 101
        assert ask(Origin="https://app.example")[0] == 101
        assert ask(path="/cable/")[0] == 101
        assert ask(Origin="https://evil.example") == (404, b"Page not found")
        assert ask(Upgrade=None, Connection=None) == (404, b"Page not found")
        assert ask("POST") == (404, b"Page not found")
        assert ask(path="/cable/x")[0] == 404
        bus.config["cable"] = {"path": ""}
        bus.write_config()
        bus.process("ws").signal(signal.SIGHUP)
        wait_until(lambda: ask()[0] == 404, "there is no Action Cable after the reload")


def subscriptions():
    with Bus(channels=CHANNELS, topics=[{"match": "closed", "subscribe": False}, {"match": "shut", "publish": False}]) as bus:
        tcp = bus.tcp()
        tcp.sub("#")
        c = bus.cable()
        c.subscribe(CHAT)
        c.subscribe(CHAT)  # again: confirmed again
        odd = '{"room": "\\u00e9 \\"1\\"" ,"b":[{}],  "channel":"ChatChannel", "a":1.50}'
        assert c.subscribe(odd)["identifier"] == odd
        c.subscribe({"channel": "Several", "id": 7})
        for identifier in ({"channel": "Nothing"}, {"channel": "ChatChannel"}, {"channel": "ChatChannel", "room": "a/b"},
                           {"channel": "Closed"}, {"channel": "$pubsub", "stream_name": "chat/1"}, "no JSON", ""):
            c.send("subscribe", identifier)
            c.expect(type="reject_subscription", identifier=identifier if isinstance(identifier, str) else json.dumps(identifier))
        tcp.pub("chat/1", {"n": 1})
        assert c.frame() == {"identifier": json.dumps(CHAT), "message": {"n": 1}}
        tcp.pub('chat/é "1"', "text")
        assert c.frame() == {"identifier": odd, "message": "text"}
        several = json.dumps({"channel": "Several", "id": 7})
        tcp.pub("two/7", 2)
        tcp.pub("one/7", 1)
        assert [c.frame(), c.frame()] == [{"identifier": several, "message": 2}, {"identifier": several, "message": 1}]
        tcp.pub("open", "of a subscription that was rejected")
        c.send("message", several, data=json.dumps({"action": "tell", "x": [1, 2.50]}))
        assert [tcp.message()["topic"] for _ in range(5)] == ["chat/1", 'chat/é "1"', "two/7", "one/7", "open"]
        got = tcp.message()
        assert (got["topic"], got["data"]) == ("told/tell/7", {"x": [1, 2.5]}), got
        c.send("unsubscribe", several)
        c.subscribe(CHAT)  # the answer says that what was sent before was done
        tcp.pub("one/7", 3)
        tcp.pub("chat/1", {"n": 2})
        assert c.frame()["message"] == {"n": 2}
        c.subscribe(several)
        tcp.pub("one/7", 4)
        assert c.frame()["message"] == 4


def passed_over():
    """Malformed and forbidden commands change nothing and are not answered; they are counted, and the log says a few."""
    with Bus(channels=CHANNELS) as bus:
        tcp = bus.tcp()
        tcp.sub("chat/#")
        c = bus.cable()
        c.subscribe(CHAT)
        identifier = json.dumps(CHAT)
        bad = ["", "x", "[]", "{}", '{"command":"subscribe"}', '{"command":"nonsense","identifier":"x"}',
               '{"command":"subscribe","identifier":7}', '{"command":"subscribe","identifier":"' + "x" * 5000 + '"}',
               json.dumps({"command": "message", "identifier": "unknown", "data": "{}"}),
               json.dumps({"command": "message", "identifier": identifier, "data": {"action": "speak"}}),
               json.dumps({"command": "message", "identifier": identifier, "data": "[]"}),
               json.dumps({"command": "message", "identifier": identifier, "data": '{"action":"shout"}'}),
               json.dumps({"command": "message", "identifier": identifier, "data": '{"action":["speak"]}'}),
               json.dumps({"command": "unsubscribe", "identifier": "unknown"}),
               json.dumps({"command": "whisper", "identifier": identifier, "data": {}}), '{"command":"ping"}', "[" * 1000]
        for text in bad:
            c.send_message(text)
        c.send_message(b"\x00binary")
        for _ in range(2000):
            c.send_message("{}")
        c.send("message", CHAT, data='{"still":"here"}')
        assert c.frame()["message"] == {"still": "here"}
        assert tcp.message()["data"] == {"still": "here"}
        assert c.pings == [] or max(c.pings) - min(c.pings) < 60
        assert bus.process("ws").log().count("was passed over") < 300
        tcp = bus.tcp()
        tcp.sub("$sys/frontends/ws.1")
        wait_until(lambda: '"cable_ignored": %d,' % (2000 + len(bad) + 1) in json.dumps(figures(tcp)), "all are counted", deadline=30)


def pings():
    """One second's interval: each client gets them evenly, and all the same."""
    with Bus(frontends=("ws",), cable={"ping_interval": "1s"}) as bus:
        clients = [bus.cable() for _ in range(40)]
        began = time.time()
        for c in clients:
            while len(c.pings) < 3:
                text = json.loads(c.recv_message(10))
                assert text["type"] == "ping", text
                c.pings.append(text["message"])
        assert time.time() - began > 1.5
        for c in clients:
            assert all(abs(p - began) < 30 for p in c.pings)
            assert [b - a for a, b in zip(c.pings, c.pings[1:])] in ([1, 1], [1, 2], [2, 1], [0, 1], [1, 0], [2, 2]), c.pings


def secrets():
    with Bus(frontends=("ws", "tcp"), start=False, cable={"streams_secret_file": "streams.secret", "turbo_secret_env": "TURBO"}) as bus:
        os.environ["TURBO"] = "turbo secret"
        try:
            path = os.path.join(bus.dir, "streams.secret")
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
                f.write("stream secret\n")
            bus.start_all()
            tcp = bus.tcp()
            c = bus.cable()

            def pubsub(name, secret, **options):
                return {"channel": "$pubsub", "signed_stream_name": signed(name, secret, **options)}
            c.subscribe(pubsub("room:1", b"stream secret"))
            c.subscribe(pubsub("a/é?>~", b"stream secret", url_safe=True))
            c.subscribe({"channel": "Turbo::StreamsChannel", "signed_stream_name": signed("Z2lk:x", b"turbo secret")})
            for identifier in (pubsub("room:2", b"turbo secret"), pubsub("a/#", b"stream secret"), pubsub("$sys/broker", b"stream secret"),
                               {"channel": "Turbo::StreamsChannel", "signed_stream_name": signed("Z2lk:x", b"stream secret")}):
                c.send("subscribe", identifier)
                c.expect(type="reject_subscription")
            tcp.pub("room:1", "signed")
            assert c.frame()["message"] == "signed"
            tcp.pub("a/é?>~", 1)
            assert c.frame()["message"] == 1
            # Another secret after a reload; what stands stays.
            with open(path, "w") as f:
                f.write("new secret")
            bus.process("ws").signal(signal.SIGHUP)
            wait_until(lambda: "the config was reloaded" in bus.process("ws").log(), "reloaded")
            c.send("subscribe", pubsub("room:3", b"stream secret"))
            c.expect(type="reject_subscription")
            c.subscribe(pubsub("room:3", b"new secret"))
            tcp.pub("room:1", "still")
            assert c.frame()["message"] == "still"
            # One that cannot be read changes nothing.
            os.unlink(path)
            bus.process("ws").signal(signal.SIGHUP)
            wait_until(lambda: "stay as they were" in bus.process("ws").log(), "told")
            c.subscribe(pubsub("room:4", b"new secret"))
            assert "secret\n" not in bus.process("ws").log() and "stream secret" not in bus.process("ws").log()
            assert "new secret" not in bus.process("ws").log() and "signed_stream_name" not in bus.process("ws").log()
        finally:
            del os.environ["TURBO"]


def rails_secret():
    """From secret_key_base alone, as Rails 7 and Rails 6.1 derive Turbo's key."""
    for digest in ("sha256", "sha1"):
        with Bus(frontends=("ws",), start=False, cable={"rails_secret_file": "base", "rails_digest": digest}) as bus:
            with open(os.path.join(bus.dir, "base"), "w") as f:
                f.write("0123abcd\n")
            bus.start_all()
            c = bus.cable()
            key = hashlib.pbkdf2_hmac(digest, b"0123abcd", b"turbo/signed_stream_verifier_key", 1000, 64)
            c.subscribe({"channel": "Turbo::StreamsChannel", "signed_stream_name": signed("Z2lk:x", key)})
            c.subscribe({"channel": "$pubsub", "signed_stream_name": signed("a", b"0123abcd")})
            assert "everybody may read" in bus.process("ws").log()  # 0644


def tokens():
    """A token in the address, a header or a subprotocol; its claims are in the topics; without one nobody gets in."""
    key = b"the key of these tests"
    channels = [{"channel": "Mail", "stream": "mail/{claim:sub}", "publish": "read", "publish_topic": "read/{claim:ext.id}"}]
    with Bus(frontends=("ws", "tcp"), start=False, channels=channels, jwt={"key_file": "jwt.key", "issuer": "us"}) as bus:
        path = os.path.join(bus.dir, "jwt.key")
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write(key.decode() + "\n")
        bus.start_all()
        tcp = bus.tcp()
        tcp.sub("read/#")
        good = token(key, iss="us", sub="ann", ext=json.dumps({"id": 7}), exp=time.time() + 60)
        v1 = ["actioncable-v1-json"]
        ways = [{"path": "/cable?a=b&jid=" + good}, {"headers": {"X-JID": good}}, {"protocols": [*v1, "anycable-token." + good]},
                {"protocols": ["actioncable-v1-ext-json", "x", "anycable-token." + good]}]
        for n, way in enumerate(ways):
            c = bus.cable(**way)
            assert c.response_headers["sec-websocket-protocol"] in ("actioncable-v1-json", "actioncable-v1-ext-json")
            c.subscribe({"channel": "Mail"})
            tcp.pub("mail/ann", {"you": "have mail"})
            assert c.frame()["message"] == {"you": "have mail"}
            c.send("message", {"channel": "Mail"}, data=json.dumps({"action": "read", "n": n}))
            got = tcp.message()
            assert (got["topic"], got["data"]) == ("read/7", {"n": n}), got
            c.close()
        expired = token(key, iss="us", sub="ann", exp=time.time() - 1)
        for reason, bad in (("token_expired", expired), ("unauthorized", token(b"another key of theirs", iss="us", sub="ann")),
                            ("unauthorized", token(key, iss="them", sub="ann")), ("unauthorized", good[:-1]), ("unauthorized", "x"),
                            ("unauthorized", token(key, alg="none", iss="us", sub="ann")), ("unauthorized", ""),
                            ("unauthorized", good + "x" * 7000)):
            for way in ({"path": "/cable?jid=" + bad}, {"headers": {"X-JID": bad}}):
                try:
                    c = bus.cable(welcome=False, **way)
                except Closed:
                    assert len(bad) > 7000  # 414: not even looked at
                    continue
                assert c.frame() == {"type": "disconnect", "reason": reason, "reconnect": False}, (reason, bad)
                c.send("subscribe", {"channel": "Mail"})
                assert closed_with(c) == 1000
        # Its session needs no token to go on, and knows who it was.
        c = bus.cable(welcome=False, protocols=ways[3]["protocols"])
        sid = c.expect(type="welcome")["sid"]
        c.subscribe({"channel": "Mail"})
        c.close()
        c = bus.cable(welcome=False, protocols=["actioncable-v1-ext-json"], path="/cable?sid=" + sid + "&jid=" + expired)
        assert c.expect(type="welcome")["restored"] is True
        c.subscribe({"channel": "Mail"})  # confirmed again
        c.send("history", {"channel": "Mail"}, history={"since": int(time.time()) + 60})
        c.expect(type="confirm_history")
        tcp.pub("mail/ann", "still ann")
        assert c.frame()["message"] == "still ann"
        # Another key after a reload; and tokens that nobody must have.
        with open(path, "w") as f:
            f.write("another key of these tests")
        bus.config["jwt"]["required"] = False
        bus.write_config()
        bus.process("ws").signal(signal.SIGHUP)
        wait_until(lambda: "the config was reloaded" in bus.process("ws").log(), "reloaded")
        assert bus.cable(welcome=False, path="/cable?jid=" + good).frame()["type"] == "disconnect"
        c = bus.cable()
        c.send("subscribe", {"channel": "Mail"})
        c.expect(type="reject_subscription")
        log = bus.process("ws").log()
        assert good not in log and expired not in log and key.decode() not in log and good.split(".")[1] not in log


def requests():
    """An action that is a request: the reply comes to who performed it, as a message; a failure comes to nobody."""
    channels = [{"channel": "Shop", "stream": "shop/{id}", "request": ["price", "stock"], "request_topic": "services/{action}/{id}"},
                {"channel": "Two", "stream": "two"}]
    with Bus(channels=channels) as bus:
        server = bus.tcp()
        server.sub("services/price/+", respond=True)
        a, b = bus.cable(), bus.cable(protocols=("actioncable-v1-ext-json",), welcome=False)
        b.expect(type="welcome")
        shop = {"channel": "Shop", "id": 7}
        a.subscribe(shop)
        b.subscribe(shop)
        for n, c in enumerate((a, b, a)):
            c.send("message", shop, data=json.dumps({"action": "price", "of": n}))
            asked = server.expect("request")
            assert (asked["topic"], asked["data"]) == ("services/price/7", {"of": n}), asked
            server.send(op="reply", call=asked["call"], data={"price": n})
            assert c.frame() == {"identifier": json.dumps(shop), "message": {"price": n}}
        a.send("message", shop, data=json.dumps({"action": "stock"}))  # nobody answers there
        a.send("message", shop, data=json.dumps({"action": "other"}))
        # One that is not subscribed any more when the reply comes.
        a.send("message", shop, data=json.dumps({"action": "price"}))
        asked = server.expect("request")
        a.send("unsubscribe", shop)
        a.subscribe({"channel": "Two"})
        server.send(op="reply", call=asked["call"], data="too late")
        bus.tcp().pub("two", "next")
        assert a.frame()["message"] == "next"


def disconnected_by_name():
    """Rails' remote_connections: a message on action_cable/NAME ends that connection, and its session."""
    key = "the key of these tests"
    os.environ["BUSBAR_TEST_KEY"] = key
    try:
        with Bus(channels=CHANNELS, jwt={"key_env": "BUSBAR_TEST_KEY", "required": False}, cable={"identified_by": "{claim:sub}"}) as bus:
            def client(sub, **options):
                return bus.cable(headers={"X-JID": token(key.encode(), sub=sub)}, **options)
            tcp = bus.tcp()
            ann, ann2, bob, nobody = client("ann"), client("ann"), client("bob"), bus.cable()
            ext = client("ann", protocols=("actioncable-v1-ext-json",), welcome=False)
            sid = ext.expect(type="welcome")["sid"]
            for c in (ann, ann2, bob, nobody, ext):
                c.subscribe(CHAT)
            for message in ("x", {"type": "other"}, ["disconnect"], {"type": ["disconnect"]}):
                tcp.pub("action_cable/ann", message)
            tcp.pub("action_cable/carl", {"type": "disconnect"})
            tcp.pub("action_cable/ann", {"type": "disconnect", "reconnect": False})
            for c in (ann, ann2, ext):
                assert c.frame() == {"type": "disconnect", "reason": "remote", "reconnect": False}
                assert closed_with(c) == 1000
            tcp.pub("chat/1", "still here")
            assert bob.frame()["message"] == nobody.frame()["message"] == "still here"
            again = client("ann", protocols=("actioncable-v1-ext-json",), welcome=False, path="/cable?sid=" + sid)
            assert "restored" not in again.expect(type="welcome")
            # One whose client is away at that moment, too; others' stay.
            kept = {}
            for sub in ("ann", "dora"):
                away = client(sub, protocols=("actioncable-v1-ext-json",), welcome=False)
                kept[sub] = away.expect(type="welcome")["sid"]
                away.subscribe(CHAT)
                away.close()
            witness = client("ann")
            tcp.pub("action_cable/ann", {"type": "disconnect", "reconnect": False})
            assert witness.frame()["reason"] == "remote"
            for sub, is_restored in (("dora", True), ("ann", False)):
                hello = bus.cable(welcome=False, protocols=("actioncable-v1-ext-json",), path="/cable?sid=" + kept[sub]).frame()
                assert hello.get("restored", False) is is_restored, (sub, hello)
            tcp.pub("action_cable/bob", {"type": "disconnect"})
            assert bob.frame() == {"type": "disconnect", "reason": "remote", "reconnect": True}
    finally:
        del os.environ["BUSBAR_TEST_KEY"]


def public_streams():
    with Bus(frontends=("ws", "tcp"), cable={"public_streams": True}) as bus:
        c = bus.cable()
        c.subscribe({"channel": "$pubsub", "stream_name": "a/b"})
        bus.tcp().pub("a/b", True)
        assert c.frame()["message"] is True
        c.send("subscribe", {"channel": "$pubsub", "stream_name": "a/+"})
        c.expect(type="reject_subscription")


def kinds_of_bodies():
    with Bus(frontends=("ws", "tcp"), cable={"public_streams": True}) as bus:
        tcp, c = bus.tcp(), bus.cable()
        c.subscribe({"channel": "$pubsub", "stream_name": "a"})
        for data in ({"a": 1}, [1, "é"], "text", 1.5, None, "", False):
            tcp.pub("a", data)
            assert c.frame()["message"] == data
        tcp.pub("a", "AP8=", encoding="base64")
        assert c.frame()["message"] == "AP8="
        tcp.pub("a", "{\"quoted\": \"json\"}")
        assert c.frame()["message"] == "{\"quoted\": \"json\"}"


def restart_of_the_frontend():
    """Clients are told before the process stops, and what they publish is answered for before that."""
    with Bus(frontends=("ws", "tcp"), channels=CHANNELS) as bus:
        tcp = bus.tcp()
        tcp.sub("chat/1")
        c = bus.cable()
        c.subscribe(CHAT)
        for i in range(100):
            c.send("message", CHAT, data=json.dumps({"n": i}))
        bus.process("ws").is_expected_to_end = True
        bus.process("ws").signal(signal.SIGTERM)
        frames = []
        while True:
            frame = c.frame()
            if "type" in frame:
                break
            frames.append(frame["message"]["n"])
        assert frame == {"type": "disconnect", "reason": "server_restart", "reconnect": True}, frame
        assert frames == list(range(len(frames))), frames
        assert closed_with(c) in (1001, 1012)
        seen = [m["data"]["n"] for m in tcp.messages(len(frames))]
        assert seen == frames


def broker_away():
    """Clients stay when the broker goes; subscriptions that are asked for meanwhile stand when it is back."""
    with Bus(frontends=("ws", "tcp"), channels=CHANNELS, broker={"backend": "sqlite"}) as bus:
        c = bus.cable()
        c.subscribe(CHAT)
        bus.kill("broker")
        c.send("subscribe", {"channel": "ChatChannel", "room": "2"})
        c.send("subscribe", {"channel": "ChatChannel", "room": "2"})  # the client's own impatience: one confirmation
        c.send("message", CHAT, data='{"while":"away"}')
        bus.start("broker")
        got = [c.frame(), c.frame()]
        assert {"identifier": json.dumps(CHAT), "message": {"while": "away"}} in got, got
        assert {"identifier": json.dumps({"channel": "ChatChannel", "room": "2"}), "type": "confirm_subscription"} in got, got
        bus.tcp().pub("chat/2", 2)
        assert c.frame()["message"] == 2


def slow_client():
    """One that does not read is told why it is closed, at the end of what it can still read."""
    with Bus(frontends=("ws", "tcp"), cable={"public_streams": True}, limits={"queue_bytes": "64KiB"}) as bus:
        tcp = bus.tcp()
        c = bus.cable(rcvbuf=4096)
        c.subscribe({"channel": "$pubsub", "stream_name": "a"})
        for i in range(400):
            tcp.pub("a", "x" * 10000)
        try:
            while True:
                frame = c.frame(10)
                if "type" in frame:
                    break
        except Closed:
            return
        assert frame == {"type": "disconnect", "reason": "too_slow", "reconnect": True}, frame


TESTS = [greeting, not_found, subscriptions, passed_over, pings, secrets, rails_secret, tokens, requests, disconnected_by_name, public_streams, kinds_of_bodies,
         restart_of_the_frontend, broker_away, slow_client]

if __name__ == "__main__":
    main(TESTS)
