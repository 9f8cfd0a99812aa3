# SPDX-License-Identifier: Apache-2.0
"""Requests and replies over the native protocol: on every transport, and whatever dies in between each request gets exactly
one reply or one clear error."""
import collections
import os
import random
import threading
import time

from tests.support.bus import SANITIZED, Bus, main, wait_until
from tests.support.clients import Closed

N_REQUESTS = 2000 if SANITIZED else 10000
N_RESPONDERS = 8
FIGURES = {"sys_interval": "200ms"}


def round_trip_on_every_transport():
    """A request goes from either transport to a responder on either, with its payload as it is."""
    with Bus(frontends=("ws.1", "tcp.1")) as bus:
        responders = {"tcp": bus.tcp(), "ws": bus.ws()}
        for name, responder in responders.items():
            responder.sub(f"svc/{name}", id=1, respond=True)
        for asker in bus.tcp(), bus.ws():
            for name, responder in responders.items():
                asker.send(op="request", id="q", topic=f"svc/{name}", data={"n": [1, 2.50]}, timeout=5000,
                           key="k", headers={"a": "b"})
                call = responder.expect("request", sub=1)
                assert call["topic"] == f"svc/{name}" and call["data"] == {"n": [1, 2.5]}, call
                assert call["headers"] == {"a": "b"} and call["key"] == "k" and 0 < call["timeout"] <= 5000, call
                responder.send(op="reply", id=9, call=call["call"], data="text", type="text/html", headers={"c": "d"})
                responder.expect("replied", id=9)
                reply = asker.expect("reply", id="q")
                assert reply == {"op": "reply", "id": "q", "type": "text/html", "headers": {"c": "d"}, "data": "text"}, reply


def errors():
    """Each way in which there is no reply has its own code."""
    with Bus(frontends=("ws.1", "tcp.1")) as bus:
        asker, responder = bus.tcp(), bus.ws()
        asker.send(op="request", id=1, topic="svc", data=1)
        assert asker.expect("error", id=1)["code"] == "no_responder"
        responder.sub("svc", id=1, respond=True, prefetch=1)
        asker.send(op="request", id=2, topic="svc", data=1)
        call = responder.expect("request")["call"]
        responder.send(op="reply", call=call, error="no idea")
        error = asker.expect("error", id=2)
        assert error["code"] == "responder_failed" and error["message"] == "no idea", error
        responder.send(op="reply", id=3, call=call, data="again")
        assert responder.expect("error", id=3)["code"] == "call_unknown"
        asker.send(op="request", id=3, topic="svc", data=1, timeout=200)
        call = responder.expect("request")["call"]
        asker.send(op="request", id=4, topic="svc", data=1, timeout=300)  # its responder is busy
        codes = {asker.expect("error", id=3)["code"], asker.expect("error", id=4)["code"]}
        assert codes == {"timeout"}, codes
        responder.send(op="reply", call=call, data="late")
        error = responder.expect("error", call=call)
        assert error["code"] == "call_unknown", error
        asker.send(op="request", id=5, topic="svc", data=5)
        responder.expect("request", data=5)
        responder.close()
        error = asker.expect("error", id=5)
        assert error["code"] == "responder_gone", error


def too_large():
    """A reply that the responder's own server, the topic or nobody finds too large: the asker knows at once, however little
    may wait for it."""
    limits = {"message_bytes": "64KiB", "queue_bytes": "16KiB"}
    with Bus(frontends=("ws.1", "tcp.1"), limits=limits, topics=[{"match": "small", "max_message": "1KiB"}]) as bus:
        for responder, asker in ((bus.tcp(), bus.ws()), (bus.ws(), bus.tcp())):
            for topic, n, text in (("svc", 65537, "limits.message_bytes"), ("small", 2000, "too large"), ("svc", 65536, None)):
                responder.sub(topic, id=topic, respond=True)
                asker.send(op="request", id=1, topic=topic, timeout=60000)
                call = responder.expect("request")["call"]
                responder.send(op="reply", id=2, call=call, data="x" * n)
                if text is None:
                    assert asker.expect("reply", id=1)["data"] == "x" * n
                    responder.expect("replied", id=2)
                else:
                    error = asker.expect("error", id=1)
                    assert error["code"] == "responder_failed" and text in error["message"], error
                    assert responder.expect("error", id=2)["code"] == "message_too_large"
                responder.send(op="unsub", id=topic)
                responder.expect("unsubscribed", id=topic)


def turns():
    """Several responders share the requests; one that is busy is passed over."""
    with Bus(frontends=("ws.1", "tcp.1")) as bus:
        responders = [bus.tcp(), bus.ws(), bus.tcp()]
        for responder in responders:
            responder.sub("svc/+", id=1, respond=True, prefetch=2)
        asker = bus.tcp()
        for i in range(6):
            asker.send(op="request", id=i, topic=f"svc/{i}", data=i)
        calls = [[responder.expect("request") for _ in range(2)] for responder in responders]
        assert sorted(c["data"] for pair in calls for c in pair) == list(range(6)), calls
        asker.send(op="request", id=6, topic="svc/6", data=6)
        responders[1].send(op="reply", call=calls[1][0]["call"], data="done")
        assert responders[1].expect("request")["data"] == 6
        asker.expect("reply")


def responder_unsubscribes():
    """What it has not answered is answered at once, and nothing more comes."""
    with Bus(frontends=("tcp.1",)) as bus:
        asker, responder = bus.tcp(), bus.tcp()
        responder.sub("svc", id=1, respond=True)
        asker.send(op="request", id=1, topic="svc", data=1)
        responder.expect("request")
        responder.send(op="unsub", id=1)
        responder.expect("unsubscribed", id=1)
        assert asker.expect("error", id=1)["code"] == "responder_gone"
        asker.send(op="request", id=2, topic="svc", data=1)
        assert asker.expect("error", id=2)["code"] == "no_responder"


def half_closed_asker():
    """echo '{"op":"request",...}' | nc: the answer comes although the asker has ended its side."""
    with Bus(frontends=("tcp.1",)) as bus:
        asker, responder = bus.tcp(), bus.tcp()
        responder.sub("svc", id=1, respond=True)
        asker.send(op="request", id=1, topic="svc", data=1)
        asker.sock.shutdown(1)
        call = responder.expect("request")
        responder.send(op="reply", call=call["call"], data=2)
        assert asker.expect("reply", id=1)["data"] == 2


def broker_killed():
    """A request under way is answered once, by `unavailable`; one made while the broker is away is carried out after."""
    with Bus(frontends=("ws.1", "tcp.1")) as bus:
        asker, responder = bus.tcp(), bus.ws()
        responder.sub("svc", id=1, respond=True)
        asker.send(op="request", id=1, topic="svc", data=1)
        responder.expect("request")
        bus.kill("broker")
        assert asker.expect("error", id=1)["code"] == "unavailable"
        asker.send(op="request", id=2, topic="svc", data=2, timeout=20000)
        bus.start("broker")

        def replied():
            call = responder.try_recv(0.5)
            if call and call.get("op") == "request" and call["data"] == 2:
                responder.send(op="reply", call=call["call"], data="two")
            answer = asker.try_recv(0.1)
            return answer and answer.get("id") == 2 and answer

        answer = wait_until(replied, "an answer to the request that was held")
        assert answer["op"] == "reply" or answer["code"] == "no_responder", answer


# ---- Asynchronous. ----

def leave(client, topic, data, **options):
    client.send(op="request", id="left", topic=topic, data=data, **{"async": True}, **options)
    return client.expect("accepted", id="left")


def asynchronous():
    """A request waits for a responder, its reply for whoever knows its name, on any transport; it can be withdrawn."""
    with Bus(frontends=("ws.1", "tcp.1")) as bus:
        a, b, responder = bus.tcp(), bus.ws(), bus.tcp()
        accepted = leave(a, "svc/add", {"n": 1}, headers={"a": "b"}, key="k")
        name = accepted["request"]
        assert accepted["expires"] > time.time() * 1000, accepted
        b.send(op="result", id=1, request=name)
        assert b.expect("error", id=1)["code"] == "pending"
        b.send(op="result", id=2, request=name, wait=200)
        assert b.expect("error", id=2)["code"] == "pending"
        b.send(op="result", id=3, request=name, wait=20000)
        canceled = leave(a, "svc/add", "canceled")["request"]
        a.send(op="cancel", id=4, request=canceled)
        a.expect("canceled", id=4)
        a.send(op="result", id=5, request=canceled, wait=1000)
        assert a.expect("error", id=5)["code"] == "canceled"
        responder.sub("svc/+", id=1, respond=True)
        call = responder.expect("request", sub=1)
        assert call["data"] == {"n": 1} and call["headers"]["a"] == "b" and call["topic"] == "svc/add", call
        responder.send(op="reply", id=6, call=call["call"], data=[2], headers={"c": "d"})
        responder.expect("replied", id=6)
        reply = b.expect("reply", id=3)
        assert reply["data"] == [2] and reply["headers"] == {"c": "d"}, reply
        a.send(op="result", id=7, request=name)  # it stays there
        assert a.expect("reply", id=7)["data"] == [2]
        assert responder.try_recv(0.2) is None, "the canceled one is nobody's"
        a.send(op="result", id=8, request="no-such-name")
        assert a.expect("error", id=8)["code"] == "not_found"


def asynchronous_through_restarts():
    """Left in a durable store; everything is killed before it is taken, and again before its reply is asked for."""
    with Bus(frontends=("ws.1", "tcp.1"), broker={"backend": "sqlite"}) as bus:
        names = {n: leave(bus.tcp(), "svc/add", n)["request"] for n in range(5)}
        for process in "broker", "tcp.1", "ws.1":
            bus.kill(process)
            bus.start(process)
        first = bus.ws()
        first.sub("svc/add", respond=True)
        seen = [first.expect("request")["data"] for _ in range(5)]
        assert sorted(seen) == list(range(5)), seen
        waiting = bus.tcp()
        waiting.send(op="result", id=0, request=names[0], wait=30000)
        first.close()  # without an answer: another one gets them
        responder = bus.tcp()
        responder.sub("svc/add", respond=True)
        for _ in range(5):
            call = responder.expect("request")
            assert call["deliveries"] >= 2, call
            responder.send(op="reply", id=9, call=call["call"], data=call["data"] * 10)
            responder.expect("replied", id=9)
        assert waiting.expect("reply", id=0)["data"] == 0
        for process in "broker", "tcp.1":
            bus.kill(process)
            bus.start(process)
        asker = bus.ws()
        for n, name in names.items():
            asker.send(op="result", id=n, request=name, wait=10000)
            assert asker.expect("reply", id=n)["data"] == n * 10


def result_is_asked_again():
    """Who waits for a reply does not notice that the broker was away."""
    with Bus(frontends=("ws.1", "tcp.1"), broker={"backend": "sqlite"}) as bus:
        a = bus.tcp()
        name = leave(a, "svc", "x")["request"]
        a.send(op="result", id=1, request=name, wait=30000)
        bus.kill("broker")
        bus.start("broker")
        responder = bus.ws()
        responder.sub("svc", respond=True)
        responder.send(op="reply", call=responder.expect("request")["call"], data="y")
        assert a.expect("reply", id=1)["data"] == "y"


# ---- Responders that die. ----

class Responder(threading.Thread):
    """Answers n with n + 1; dies now and then in the middle of its work, without a word, and comes back."""

    def __init__(self, connect, seed):
        super().__init__(daemon=True)
        self.connect, self.random = connect, random.Random(seed)
        self.n_calls, self.n_deaths, self.error = 0, 0, None
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    self.live(self.connect())
                except (Closed, OSError):
                    time.sleep(0.01)  # its server died, and is not back yet
        except Exception as e:
            self.error = e

    def live(self, client):
        client.sub("svc/add", respond=True, prefetch=self.random.choice([1, 4, 16]))
        left = self.random.randrange(50, 600)  # to live, in calls
        while left > 0 and not self.stopping.is_set():
            m = client.try_recv(0.1)
            if m is None:
                continue
            if m["op"] == "error":
                assert m["code"] in ("call_unknown", "unavailable"), m
                continue
            assert m["op"] == "request", m
            left -= 1
            self.n_calls += 1
            if left > 0:
                client.send(op="reply", call=m["call"], data=m["data"] + 1)
        client.close()
        self.n_deaths += 1


class Asker(threading.Thread):
    """Asks so many times at least, some at once, until it is enough; keeps what each was answered."""

    def __init__(self, client, n):
        super().__init__(daemon=True)
        self.client, self.n, self.n_sent = client, n, 0
        self.answers = collections.defaultdict(list)
        self.error = None
        self.enough = threading.Event()

    def run(self):
        try:
            while True:
                wants_more = self.n_sent < self.n or not self.enough.is_set()
                if not wants_more and len(self.answers) == self.n_sent:
                    break
                while wants_more and self.n_sent - len(self.answers) < 100:
                    self.client.send(op="request", id=self.n_sent, topic="svc/add", data=self.n_sent, timeout=20000)
                    self.n_sent += 1
                m = self.client.recv(60)
                self.answers[m["id"]].append(m)
            while (m := self.client.try_recv(0.5)) is not None:  # more than one
                self.answers[m.get("id")].append(m)
        except Exception as e:
            self.error = e

    def check(self, allowed):
        if self.error:
            raise self.error
        codes = collections.Counter()
        for id in range(self.n_sent):
            assert len(self.answers[id]) == 1, (id, self.answers[id])
            m = self.answers[id][0]
            if m["op"] == "reply":
                assert m["data"] == id + 1, m
            else:
                assert m["op"] == "error" and m["code"] in allowed and m["message"], m
            codes[m.get("code", "reply")] += 1
        assert set(self.answers) == set(range(self.n_sent))
        return codes


def figures(bus):
    client = bus.tcp()
    client.sub("$sys/broker")
    data = client.message()["data"]
    client.close()
    return data


def run_requests(bus, allowed, disturb=lambda chance: None):
    """Asks over tcp, in two clients; responders are on both transports. What each was answered, by code."""
    seed = int(os.environ.get("BUSBAR_SEED") or random.randrange(1 << 30))
    chance = random.Random(seed)
    responders = [Responder(bus.tcp if i % 2 else bus.ws, seed + i) for i in range(N_RESPONDERS)]
    for r in responders:
        r.start()
    probe = bus.tcp()

    def is_answered():
        probe.send(op="request", id=0, topic="svc/add", data=1)
        return probe.recv()["op"] == "reply"

    wait_until(is_answered, "a responder")
    askers = [Asker(bus.tcp(), N_REQUESTS // 2) for _ in range(2)]
    for a in askers:
        a.start()
    disturb(chance)
    for a in askers:
        a.enough.set()
    for a in askers:
        a.join(120)
        assert not a.is_alive(), f"hangs: {a.n_sent} sent, {len(a.answers)} answered"
    for r in responders:
        r.stopping.set()
    for r in responders:
        r.join(30)
        if r.error:
            raise r.error
    codes = sum((a.check(allowed) for a in askers), collections.Counter())
    print(f"seed {seed}: {dict(codes)}, {sum(r.n_deaths for r in responders)} times a responder died", flush=True)
    wait_until(lambda: (f := figures(bus)) and f["requests_open"] == 0 and f["requests_waiting"] == 0,
               "nothing of it is left in the broker")
    return codes


def responders_die():
    """10,000 requests, 8 responders that die at random: each request has one reply, or is told that its responder was lost."""
    with Bus(frontends=("ws.1", "tcp.1"), broker=FIGURES) as bus:
        codes = run_requests(bus, {"responder_gone", "no_responder"})
        assert codes["reply"] > N_REQUESTS * 0.8, codes
        assert codes["responder_gone"] > 0, codes


def everything_dies():
    """The same while the broker and a server process of responders are killed: one reply or one clear error for each."""
    with Bus(frontends=("ws.1", "tcp.1"), broker=FIGURES) as bus:
        def disturb(chance):
            for victim in ["broker", "ws.1"] * (2 if SANITIZED else 4):
                time.sleep(chance.uniform(0.1, 0.4))
                bus.kill(victim)
                time.sleep(chance.uniform(0, 0.3))
                bus.start(victim)

        codes = run_requests(bus, {"responder_gone", "no_responder", "unavailable"}, disturb)
        assert codes["unavailable"] > 0 and codes["reply"] > N_REQUESTS * 0.5, codes


def left_while_everything_dies():
    """Asynchronous requests, while responders, the broker and their server die: each that was accepted has one outcome."""
    seed = int(os.environ.get("BUSBAR_SEED") or random.randrange(1 << 30))
    chance = random.Random(seed)
    n_wanted = 500 if SANITIZED else 3000
    with Bus(topics=[{"match": "svc/#", "queue": {"enabled": False, "max_deliveries": 5}}], frontends=("ws.1", "tcp.1"),
             broker={"backend": "sqlite", "grace": "2s"}) as bus:
        responders = [Responder(bus.tcp if i % 2 else bus.ws, seed + i) for i in range(N_RESPONDERS)]
        for r in responders:
            r.start()
        asker, names, n_sent, n_refused = bus.tcp(), {}, 0, 0
        victims, next_kill = ["broker", "ws.1"] * 3, time.monotonic() + 0.3
        while len(names) < n_wanted or victims:
            while n_sent - len(names) - n_refused < 100 and (len(names) < n_wanted or victims):
                asker.send(op="request", id=n_sent, topic="svc/add", data=n_sent, **{"async": True})
                n_sent += 1
            m = asker.try_recv(0.05)
            if m is not None and m["op"] == "accepted":
                names[m["id"]] = m["request"]
            elif m is not None:
                assert m["op"] == "error" and m["code"] == "unavailable", m  # it may have been accepted, and nobody knows its name
                n_refused += 1
            if victims and time.monotonic() > next_kill:
                victim = victims.pop()
                bus.kill(victim)
                time.sleep(chance.uniform(0, 0.3))
                bus.start(victim)
                next_kill = time.monotonic() + chance.uniform(0.2, 0.6)
        outcomes = collections.Counter()
        for n, name in names.items():
            asker.send(op="result", id=f"r{n}", request=name, wait=60000)
            while (m := asker.recv(60))["id"] != f"r{n}":
                assert m["op"] == "accepted" or m["code"] == "unavailable", m
            assert m["op"] == "reply" and m["data"] == n + 1 or m.get("code") == "responder_gone", (n, m)
            outcomes[m.get("code", "reply")] += 1
        for r in responders:
            r.stopping.set()
        for r in responders:
            r.join(30)
            if r.error:
                raise r.error
        print(f"seed {seed}: {dict(outcomes)}, {sum(r.n_deaths for r in responders)} times a responder died", flush=True)
        assert outcomes["reply"] > n_wanted * 0.5, outcomes


if __name__ == "__main__":
    main([round_trip_on_every_transport, errors, too_large, turns, responder_unsubscribes, half_closed_asker, broker_killed,
          asynchronous, asynchronous_through_restarts, result_is_asked_again,
          responders_die, everything_dies, left_while_everything_dies])
