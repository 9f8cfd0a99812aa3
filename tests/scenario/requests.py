# SPDX-License-Identifier: Apache-2.0
"""Requests and replies over the native protocol: on every transport, and whatever dies in between each request gets exactly
one reply or one clear error."""
from tests.support.bus import Bus, main, wait_until


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
        asker.send(op="request", id=5, topic="svc", data=1)
        responder.expect("request")
        responder.close()
        assert asker.expect("error", id=5)["code"] == "responder_gone"


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


if __name__ == "__main__":
    main([round_trip_on_every_transport, errors, turns, responder_unsubscribes, half_closed_asker, broker_killed])
