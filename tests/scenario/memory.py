# SPDX-License-Identifier: Apache-2.0
"""Memory runs short, by a limit of the address space or by memory_max: the process stays, refuses new work, says so, and
takes it again when there is room."""
import resource
import socket
import struct
import sys

from tests.support.bus import SANITIZED, Bus, main, wait_until
from tests.support.clients import Closed

MIB = 1 << 20
NO_HISTORY = [{"match": "#", "history": {"messages": 0}}]
PLENTY = 64 << 30  # a limit, so that malloc is used as under one, but none that is reached


def limited(n):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (n, n))


def reset(stream):
    """Gone at once: to end only one's own side is to go on listening."""
    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.sock.close()


def status_kib(process, field):
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ":"))


def restart_with_room(bus, instance, room):
    """The process again, with so many bytes of address space more than it needs when it is idle."""
    bus.stop(instance)
    bus.start(instance, preexec_fn=limited(PLENTY))
    size = status_kib(bus.process(instance), "VmSize") * 1024
    bus.stop(instance)
    bus.start(instance, preexec_fn=limited(size + room))


def wait_attached(bus):
    for instance in bus.frontends:
        wait_until(lambda: "link to the broker is live" in bus.process(instance).log(), f"{instance} is attached")


def wait_log(bus, instance, text):
    wait_until(lambda: text in bus.process(instance).log(), f"{instance} logs {text!r}")


def takes(connect):
    """A new client gets an answer."""
    try:
        c = connect()
        c.send(op="ping", id=1)
        c.expect("pong", timeout=2)
        return c
    except (Closed, OSError, AssertionError):
        return None


def flood_of_subscriptions(bus, crowd):
    """By one client after the other, until one is refused for want of memory; how many were taken."""
    name, n = b"x" * 900, 0
    while n < 100000:
        crowd.append(bus.tcp())
        for _ in range(10):
            crowd[-1].write(b"".join(b'{"op":"sub","id":%d,"topic":"%s/%d"}\n' % (i, name, i) for i in range(n, n + 100)))
            answers = [crowd[-1].recv() for _ in range(100)]
            refused = [m for m in answers if m["op"] == "error"]
            n += 100 - len(refused)
            if refused:
                assert refused[0]["code"] == "limit_reached" and "memory" in refused[0]["message"], refused[0]
                return n
    raise AssertionError("no subscription was refused")


def frontend_full_of_subscriptions(bus, innocent):
    """Clients ask for more than there is room for; another, beside them, is served all the time."""
    publisher = bus.ws()
    crowd = []
    n = flood_of_subscriptions(bus, crowd)
    assert n > 1000, n
    wait_log(bus, "tcp", "memory is nearly used up")
    for i in range(100):
        publisher.pub("innocent", i)
        assert innocent.message()["data"] == i
    innocent.send(op="pub", id="p", topic="innocent", data="new work")
    m = innocent.recv()
    assert m["op"] == "error" and m["code"] == "limit_reached" and "memory" in m["message"], m
    wait_until(lambda: takes(bus.tcp) is None, "a new connection is refused")
    wait_log(bus, "tcp", "clients are turned away")
    for c in crowd:
        reset(c)
    wait_log(bus, "tcp", "there is memory again")
    wait_until(lambda: takes(bus.tcp), "a new connection is taken")
    innocent.pub("innocent", "again")
    assert innocent.message()["data"] == "again"
    print(f"  {n} subscriptions of 900 bytes were taken")


def address_space_of_a_frontend():
    with Bus(frontends=("tcp", "ws"), limits={"subscriptions_per_client": 1000000}, broker={"filters_max": 10000000}) as bus:
        restart_with_room(bus, "tcp", 64 * MIB)
        wait_attached(bus)
        innocent = bus.tcp()
        innocent.sub("innocent")
        frontend_full_of_subscriptions(bus, innocent)
        assert "RLIMIT_AS" in bus.process("tcp").log()


def half_messages():
    """Clients that begin a large message and never end it: what they sent is what fills the memory, so they go."""
    with Bus(frontends=("tcp", "ws")) as bus:
        restart_with_room(bus, "tcp", 64 * MIB)
        wait_attached(bus)
        innocent, publisher = bus.tcp(), bus.ws()
        innocent.sub("innocent")
        piece = b'{"op":"pub","topic":"x","data":"' + b"a" * (900 << 10)
        crowd = []
        for i in range(200):
            try:
                c = bus.tcp()
                crowd.append(c)
                c.write(piece)
            except OSError:
                pass
        wait_log(bus, "tcp", "memory is nearly used up")
        for i in range(20):
            publisher.pub("innocent", i)
            assert innocent.message()["data"] == i
        for c in crowd:
            reset(c)
        wait_until(lambda: takes(bus.tcp), "a new connection is taken")
        wait_until(lambda: _counter(bus, "closed_memory") > 0, "the counter says so")


def _counter(bus, name):
    c = bus.ws()
    c.sub("$sys/frontends/tcp.1")
    m = c.try_recv(1)
    c.close()
    return m["data"][name] if m else 0


def flood_of_retained_values(bus, c):
    """Until one is refused; how many were taken."""
    for at in range(0, 100000, 50):
        c.write(b"".join(b'{"op":"pub","id":%d,"topic":"r/%d","retain":true,"data":"%s"}\n' % (i, i, b"v" * 8000)
                         for i in range(at, at + 50)))
        refused = [m for m in (c.recv() for _ in range(50)) if m["op"] == "error"]
        if refused:
            assert refused[0]["code"] == "limit_reached" and "memory" in refused[0]["message"], refused[0]
            return at + 50 - len(refused)
    raise AssertionError("no publish was refused")


def broker_full_of_retained_values(bus):
    innocent, greedy = bus.ws(), bus.tcp()
    innocent.sub("innocent")
    n = flood_of_retained_values(bus, greedy)
    assert n > 500, n
    wait_log(bus, "broker", "memory is nearly used up")
    innocent.send(op="ping", id="still here")
    innocent.expect("pong", id="still here")
    other = bus.ws()
    other.send(op="sub", id="s", topic="something/new")
    m = other.recv()
    assert m["op"] == "error" and m["code"] == "limit_reached" and "memory" in m["message"], m
    bus.start("http", wait=False)
    wait_log(bus, "broker", "no link for http.1: The broker's memory is nearly used up")
    for i in range(n):  # what clears a value is taken
        greedy.send(op="pub", topic=f"r/{i}", retain=True, data="")
    wait_log(bus, "broker", "there is memory again")
    wait_until(lambda: _is_published(greedy), "a publish is taken")
    assert innocent.expect("msg")["data"] == "again"
    wait_until(lambda: "link to the broker is live" in bus.process("http").log(), "the new frontend gets its link")
    print(f"  {n} retained values of 8000 bytes were taken")


def _is_published(c):
    c.send(op="pub", id="again", topic="innocent", data="again")
    while True:
        m = c.recv()
        if m.get("id") == "again":
            return m["op"] == "published"


def address_space_of_the_broker():
    with Bus(frontends=("tcp", "ws"), topics=NO_HISTORY, broker={"backend": "memory"}) as bus:
        restart_with_room(bus, "broker", 80 * MIB)
        wait_until(lambda: takes(bus.tcp).pub("x", 1), "the frontends are back")
        broker_full_of_retained_values(bus)
        assert "RLIMIT_AS" in bus.process("broker").log()


def resident_memory():
    """memory_max, with no limit of the machine; a reload sets it."""
    with Bus(frontends=("tcp", "ws"), limits={"subscriptions_per_client": 1000000}, broker={"filters_max": 10000000}) as bus:
        wait_attached(bus)
        innocent = bus.tcp()
        innocent.sub("innocent")
        bus.config["limits"]["memory_max"] = f"{bus.process('tcp').rss_kib() // 1024 + 30}MiB"
        bus.write_config()
        bus.process("tcp").signal(1)
        wait_log(bus, "tcp", "the config was reloaded")
        frontend_full_of_subscriptions(bus, innocent)
        assert "limits.memory_max" in bus.process("tcp").log()
    with Bus(frontends=("tcp", "ws"), topics=NO_HISTORY, broker={"backend": "memory", "memory_max": "48MiB"}) as bus:
        broker_full_of_retained_values(bus)
        assert "broker.memory_max" in bus.process("broker").log()


if __name__ == "__main__":
    if SANITIZED:
        print("skipped: the address sanitizer's own address space is terabytes, and it keeps what was freed")
        sys.exit(77)
    main([address_space_of_a_frontend, half_messages, address_space_of_the_broker, resident_memory])
