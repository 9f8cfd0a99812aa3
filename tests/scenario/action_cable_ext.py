# SPDX-License-Identifier: Apache-2.0
"""AnyCable's extended protocol as bytes: sessions and their restoring, history by position and by time, refused histories,
whispers, pongs. @anycable/core itself is in tests/clients/action_cable.py.
"""
import json
import time

from tests.support.bus import Bus, main, wait_until

EXT = ("actioncable-v1-ext-json",)
CHANNELS = [
    {"channel": "ChatChannel", "stream": "chat/{room}", "publish": ["speak"], "whisper": True},
    {"channel": "Two", "stream": ["one/{id}", "two/{id}"]},
    {"channel": "Brief", "stream": "brief"},
]
CHAT = {"channel": "ChatChannel", "room": "1"}
I = json.dumps(CHAT)
TOPICS = [{"match": "brief", "history": {"messages": 2}}, {"match": "#", "history": {"messages": 1000}}]


def ext(bus, path="/cable", **options):
    """A client by hand with its welcome in `hello`."""
    c = bus.cable(welcome=False, protocols=EXT, path=path, **options)
    c.hello = c.expect(type="welcome")
    return c


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


def positions_and_history():
    """Every message has its place; who was away gets what it missed, once, between confirm and confirm_history."""
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "tcp.1")) as bus:
        tcp = bus.tcp()
        a = ext(bus)
        assert len(a.hello["sid"]) == 48 and "restored" not in a.hello
        a.subscribe(CHAT)
        cursors = [tcp.pub("chat/1", {"n": n}) for n in range(3)]
        got = [a.frame() for _ in range(3)]
        assert [m["message"]["n"] for m in got] == [0, 1, 2]
        assert all(m["stream_id"] == "chat/1" and m["identifier"] == I for m in got), got
        assert [f"{m['epoch']}-{m['offset']}" for m in got] == cursors
        a.close()
        for n in range(3, 400):
            tcp.pub("chat/1", {"n": n})
        tcp.pub("other", "between")
        b = ext(bus)
        b.send("subscribe", CHAT, history={"since": 1, "streams": {"chat/1": position(got[1]), "nobody/knows": position(got[1])}})
        b.expect(type="confirm_subscription", identifier=I)
        assert [b.frame()["message"]["n"] for _ in range(398)] == list(range(2, 400))
        b.expect(type="confirm_history", identifier=I)
        tcp.pub("chat/1", {"n": 400})
        assert b.frame()["message"]["n"] == 400
        # Two streams of one subscription, each from its own place.
        one, two = tcp.pub("one/1", 1), tcp.pub("two/1", 2)
        tcp.pub("one/1", 3), tcp.pub("two/1", 4)
        place = [{"epoch": c.split("-")[0], "offset": int(c.split("-")[1])} for c in (one, two)]
        two = json.dumps({"channel": "Two", "id": 1})
        b.send("subscribe", two, history={"streams": {"one/1": place[1], "two/1": place[0]}})
        b.expect(type="confirm_subscription", identifier=two)
        assert sorted(b.frame()["message"] for _ in range(3)) == [2, 3, 4]
        b.expect(type="confirm_history", identifier=two)


def history_since_a_time():
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "tcp.1")) as bus:
        tcp = bus.tcp()
        for n in range(3):
            tcp.pub("chat/1", n)
        c = ext(bus)
        c.send("subscribe", CHAT, history={"since": int(time.time()) - 60})
        c.expect(type="confirm_subscription")
        assert [c.frame()["message"] for _ in range(3)] == [0, 1, 2]
        c.expect(type="confirm_history", identifier=I)
        for since in (int(time.time()) + 60, 99999999999):
            other = json.dumps({"channel": "ChatChannel", "room": "1", "x": since})
            c.send("subscribe", other, history={"since": since, "streams": {}})
            c.expect(type="confirm_subscription", identifier=other)
            c.expect(type="confirm_history", identifier=other)
        for since, n in ((-1, 3), (0, 3), (18446744073709552, 0), (18446744073709551615, 0), (10 ** 30, 0)):
            other = json.dumps({"channel": "ChatChannel", "room": "1", "x": since})
            late = ext(bus)
            late.send("subscribe", other, history={"since": since})
            late.expect(type="confirm_subscription", identifier=other)
            assert [late.frame()["message"] for _ in range(n)] == list(range(n))
            late.expect(type="confirm_history", identifier=other)
        # By command, of a subscription that stands.
        c.send("history", CHAT, history={"since": 1})
        assert [c.frame()["message"] for _ in range(3)] == [0, 1, 2]
        c.expect(type="confirm_history", identifier=I)
        c.send("history", "unknown", history={"since": 1})  # passed over
        c.send("history", CHAT)
        tcp.pub("chat/1", 3)
        assert sorted(json.dumps(c.frame()["identifier"]) for _ in range(3))
        c.send("ping")
        c.expect(type="pong")


def refused_histories():
    """Another epoch, a place that is not there any more, one that nobody can be at: refused as a whole, then live."""
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "tcp.1")) as bus:
        tcp = bus.tcp()
        c = ext(bus)
        first = tcp.pub("brief", 1)
        epoch, offset = first.split("-")
        for n in range(2, 6):
            last = tcp.pub("brief", n)
        cases = [{"epoch": "vRXl", "offset": 1}, {"epoch": "1", "offset": int(offset)}, {"epoch": epoch, "offset": int(offset)},
                 {"epoch": epoch, "offset": int(last.split("-")[1]) + 1000}, {"epoch": "x" * 100, "offset": 1},
                 {"epoch": epoch, "offset": "1"}, {"epoch": 7, "offset": 1}, 7]
        for n, case in enumerate(cases):
            identifier = json.dumps({"channel": "Brief", "n": n})
            c.send("subscribe", identifier, history={"since": 1, "streams": {"brief": case}})
            c.expect(type="confirm_subscription", identifier=identifier)
            c.expect(type="reject_history", identifier=identifier)
        tcp.pub("brief", "live")
        assert [c.frame()["message"] for _ in cases] == ["live"] * len(cases)
        # With the others on two streams: none of it comes.
        epoch, offset = tcp.pub("one/1", 1).split("-")
        tcp.pub("one/1", 2)
        two = json.dumps({"channel": "Two", "id": 1})
        c.send("subscribe", two, history={"streams": {"one/1": {"epoch": epoch, "offset": int(offset)}, "two/1": {"epoch": "2", "offset": 1}}})
        c.expect(type="confirm_subscription", identifier=two)
        c.expect(type="reject_history", identifier=two)
        tcp.pub("one/1", 3)
        assert c.frame()["message"] == 3


def restored():
    """A client whose connection broke goes on with its session; nothing is lost, nothing comes twice."""
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "tcp.1")) as bus:
        tcp = bus.tcp()
        a = ext(bus)
        a.subscribe(CHAT)
        other = json.dumps({"channel": "ChatChannel", "room": "2"})
        a.subscribe(other)
        tcp.pub("chat/1", 1)
        seen = a.frame()
        a.close()
        for n in range(2, 5):
            tcp.pub("chat/1", n)
        tcp.pub("chat/2", "two")
        b = ext(bus, "/cable?x=1&sid=" + a.hello["sid"])
        assert b.hello["restored"] is True and sorted(b.hello["restored_ids"]) == sorted([I, other]), b.hello
        assert b.hello["sid"] != a.hello["sid"]
        tcp.pub("chat/1", 5)  # live, before the client has asked: it comes in its place
        b.send("history", CHAT, history={"since": 1, "streams": {"chat/1": position(seen)}})
        assert [b.frame()["message"] for _ in range(4)] == [2, 3, 4, 5]
        b.expect(type="confirm_history", identifier=I)
        b.send("message", CHAT, data=json.dumps({"action": "speak", "x": 1}))
        assert b.frame()["message"] == {"x": 1}
        # A session is taken up once.
        c = ext(bus, "/cable?sid=" + a.hello["sid"])
        assert "restored" not in c.hello
        # In the header, too; and from a connection that the server takes for open still.
        d = ext(bus, headers={"X-ANYCABLE-RESTORE-SID": b.hello["sid"]})
        assert d.hello["restored"] is True
        opcode = 0
        while opcode != 8:
            opcode, _, payload = b.recv_frame(10)
        d.send("history", CHAT, history={"streams": {"chat/1": position(seen)}})
        assert [d.frame()["message"] for _ in range(5)] == [2, 3, 4, 5, {"x": 1}]
        for sid in ("", "x", "0" * 48, a.hello["sid"][:16], d.hello["sid"][:47] + "g"):
            assert "restored" not in ext(bus, "/cable?sid=" + sid).hello
        # A plain client has none.
        assert bus.cable(welcome=False, path="/cable?sid=" + d.hello["sid"]).frame() == {"type": "welcome"}


def sessions_have_an_end():
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "tcp.1"), cable={"session_time": "1s", "sessions": 3}) as bus:
        clients = [ext(bus) for _ in range(5)]
        for c in clients:
            c.subscribe(CHAT)
        empty = ext(bus)
        for c in (*clients, empty):
            c.close()

        def again(c):
            return ext(bus, "/cable?sid=" + c.hello["sid"]).hello.get("restored", False)
        wait_until(lambda: again(clients[4]), "the last is kept", deadline=0.9)
        assert not again(clients[0]) and not again(empty)  # more than three; nothing in it
        time.sleep(1.2)  # what is tested is that time passes
        assert not again(clients[3])


def unasked_sessions_go_live():
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "tcp.1"), cable={"ping_interval": "1s"}) as bus:
        tcp = bus.tcp()
        a = ext(bus)
        a.subscribe(CHAT)
        a.close()
        b = ext(bus, "/cable?sid=" + a.hello["sid"])
        assert b.hello["restored"] is True
        end = time.monotonic() + 20
        while time.monotonic() < end:
            tcp.pub("chat/1", "x")
            try:
                assert b.frame(0.3)["message"] == "x"
                return
            except (TimeoutError, OSError):
                continue
        raise AssertionError("it never went on")


def whispers():
    """To the others, on any frontend, kept nowhere, not to whoever whispers; and not on channels that do not."""
    with Bus(channels=CHANNELS, topics=TOPICS, frontends=("ws.1", "ws.2", "tcp.1"), start=False) as bus:
        bus.config["ws"]["workers"] = 2
        bus.write_config()
        bus.start_all()
        tcp = bus.tcp()
        clients = [ext(bus) for _ in range(12)] + [bus.cable()]  # on both processes, as the kernel likes
        for c in clients:
            c.subscribe(CHAT)
        for n, c in enumerate(clients):
            c.send("whisper", CHAT, data={"from": n})
        for n, c in enumerate(clients):
            got = [c.frame() for _ in range(len(clients) - 1)]
            assert all(set(m) == {"identifier", "message"} for m in got), got
            assert sorted(m["message"]["from"] for m in got) == [k for k in range(len(clients)) if k != n]
        brief = {"channel": "Brief"}
        clients[0].subscribe(brief)
        clients[1].subscribe(brief)
        clients[0].send("whisper", brief, data=1)
        clients[0].send("whisper", "unknown", data=1)
        tcp.pub("brief", "not a whisper")
        assert clients[1].frame()["message"] == "not a whisper"
        # Nothing of it is kept, and nobody is told of a gap.
        late = ext(bus)
        late.send("subscribe", CHAT, history={"since": 1})
        late.expect(type="confirm_subscription")
        late.expect(type="confirm_history")
        # Who excludes a session by its id, as Rails does with X-Socket-ID.
        headers = {"busbar-exclude": late.hello["sid"][:16]}
        tcp.pub("chat/1", "not for the last", headers=headers)
        tcp.pub("chat/1", "for all")
        assert late.frame()["message"] == "for all"
        assert [clients[3].frame()["message"] for _ in range(2)] == ["not for the last", "for all"]


def one_hole_is_told_once():
    """A broker that has forgotten everything: the stream has a hole; whispers and presence, which are not kept, have none."""
    channels = [{"channel": "ChatChannel", "stream": "chat/{room}", "whisper": True, "presence": True}]
    with Bus(channels=channels) as bus:
        c = ext(bus)
        c.subscribe(CHAT)
        bus.tcp().pub("chat/1", 1)
        assert c.frame()["message"] == 1
        bus.kill("broker")
        bus.start("broker")
        c.expect(type="reject_history", identifier=I)
        bus.tcp().pub("chat/1", 2)
        assert c.frame()["message"] == 2


def pongs():
    with Bus(channels=CHANNELS, frontends=("ws.1",), cable={"ping_interval": "1s", "pong_timeout": "1s"}) as bus:
        silent, lively, plain = ext(bus), ext(bus), bus.cable()
        end = time.monotonic() + 4.5
        frame = None
        while frame is None or frame["type"] != "disconnect":
            frame = json.loads(silent.recv_message(10))
            lively.send("pong")
        assert frame == {"type": "disconnect", "reason": "no_pong", "reconnect": True}, frame
        while time.monotonic() < end:
            lively.send("pong")
            lively.recv_message(10)
        lively.send("ping")
        lively.expect(type="pong")
        assert json.loads(plain.recv_message(10))["type"] == "ping"


def presence():
    """Who joins is heard of by the others, is listed, and leaves: by command, by unsubscribing, by being away for too long."""
    channels = [{"channel": "ChatChannel", "stream": "chat/{room}", "presence": True}, {"channel": "Quiet", "stream": "quiet"},
                {"channel": "Unrecorded", "stream": "unrecorded", "presence": True}]
    topics = [{"match": "chat/#", "presence": {"linger": "1s"}}, {"match": "unrecorded", "presence": {"mode": "off"}}]
    with Bus(channels=channels, topics=topics, frontends=("ws.1", "tcp.1")) as bus:
        a, b, old = ext(bus), ext(bus), bus.cable()
        for c in (a, b, old):
            c.subscribe(CHAT)

        def event(c, **message):
            frame = c.expect(type="presence", identifier=I)
            assert frame["message"] == message, (frame, message)
        ann = {"id": "ann", "info": {"name": "Ann", "é": [1.50]}}
        a.send("join", CHAT, presence=ann)
        for c in (a, b):
            event(c, type="join", **ann)
        a.send("join", CHAT, presence=ann)  # again: no news
        c = ext(bus)
        c.send("subscribe", CHAT, presence={"id": 7}, history={"since": int(time.time()) + 60})
        c.expect(type="confirm_subscription")
        assert sorted(c.frame()["type"] for _ in range(2)) == ["confirm_history", "presence"]
        for each in (a, b):
            event(each, type="join", id="7")
        b.send("presence", CHAT)
        listed = b.expect(type="presence")["message"]
        assert listed == {"type": "info", "total": 2, "records": [{"id": "7"}, ann]}, listed
        # The same person on another connection.
        tcp = bus.tcp()
        same = tcp.sub("chat/1", presence=ann)["id"]
        asker = bus.tcp()

        def twice_there():
            asker.send(op="presence", id="w", topic="chat/1")
            lines = []
            while not lines or lines[-1]["op"] != "members_end":
                lines.append(asker.recv())
            return any(m.get("member") == "ann" and m["connections"] == 2 for m in lines)
        wait_until(twice_there, "both are there")
        a.send("leave", CHAT)
        c.send("unsubscribe", CHAT)
        for each in (a, b):
            event(each, type="leave", id="7")
        tcp.send(op="unsub", id=same)
        event(b, type="leave", id="ann")
        b.send("join", CHAT, presence={"id": "bob"})
        event(a, type="leave", id="ann")
        for each in (a, b):
            event(each, type="join", id="bob")
        b.close()
        event(a, type="leave", id="bob")
        # Where there is none: passed over; an error for who asks who is there.
        for channel in ("Quiet", "Unrecorded"):
            a.subscribe({"channel": channel})
            a.send("join", {"channel": channel}, presence={"id": "ann"})
        a.send("presence", {"channel": "Quiet"})
        got = a.expect(type="presence")
        assert got["message"] == {"type": "error"}, got
        a.send("presence", {"channel": "Unrecorded"})
        got = a.expect(type="presence")
        assert got["message"] == {"type": "info", "total": 0, "records": []}, got
        assert old.pings is not None
        tcp = bus.tcp()
        tcp.pub("chat/1", "for everybody")
        assert old.frame()["message"] == "for everybody"  # and nothing of presence before


TESTS = [positions_and_history, history_since_a_time, refused_histories, restored, sessions_have_an_end, unasked_sessions_go_live,
         whispers, presence, one_hole_is_told_once, pongs]

if __name__ == "__main__":
    main(TESTS)
