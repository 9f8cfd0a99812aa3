# SPDX-License-Identifier: Apache-2.0
"""Cases 1 (framing), 2 (pings), 3 (reserved bits), 4 (opcodes), 5 (fragments) and 10 (automatic fragments)."""
from tests.clients.autobahn.judge import PROTOCOL, Case
from tests.clients.autobahn.peer import BINARY, CLOSE, PING, PONG, TEXT, fragments, frame

HELLO = b"Hello, world!"


def message(payload, is_binary=False):
    return ("message", payload, is_binary)


def echo(payload, is_binary=False, chop=0):
    def play(t):
        t.send(frame(BINARY if is_binary else TEXT, payload), chop=chop)
        return t.expect_clean([message(payload, is_binary)])
    return play


def single_frames():
    sizes = [0, 125, 126, 127, 128, 65535, 65536]
    for group, is_binary, byte in ((1, False, b"*"), (2, True, b"\xfe")):
        kind = "binary" if is_binary else "text"
        for i, n in enumerate(sizes, 1):
            yield Case(f"1.{group}.{i}", f"{kind} message of {n} bytes", echo(byte * n, is_binary))
        yield Case(f"1.{group}.8", f"{kind} message of 65536 bytes, written 997 bytes at a time",
                   echo(byte * 65536, is_binary, 997))


def ping(payload, chop=0):
    def play(t):
        t.send(frame(PING, payload), chop=chop)
        return t.expect_clean([("pong", payload)])
    return play


def ping_too_long(t):
    t.send(frame(PING, b"\xfe" * 126))
    return t.expect_failed([PROTOCOL])


def lone_pong(payload):
    def play(t):
        t.send(frame(PONG, payload))
        return t.expect_clean([])
    return play


def pong_then_ping(t):
    t.send(frame(PONG, b"nobody asked"), frame(PING, b"but I do"))
    return t.expect_clean([("pong", b"but I do")])


def ten_pings(chop):
    def play(t):
        payloads = [b"payload-%d" % i for i in range(10)]
        t.send(*(frame(PING, p) for p in payloads), chop=chop)
        return t.expect_clean([("pong", p) for p in payloads])
    return play


def pings():
    yield Case("2.1", "ping without payload", ping(b""))
    yield Case("2.2", "ping with text", ping(HELLO))
    yield Case("2.3", "ping with bytes that are not UTF-8", ping(b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"))
    yield Case("2.4", "ping with 125 bytes", ping(b"\xfe" * 125))
    yield Case("2.5", "ping with 126 bytes: fails", ping_too_long)
    yield Case("2.6", "ping with 125 bytes, written byte by byte", ping(b"\xfe" * 125, 1))
    yield Case("2.7", "pong that nobody asked for, empty", lone_pong(b""))
    yield Case("2.8", "pong that nobody asked for, with payload", lone_pong(b"unsolicited pong payload"))
    yield Case("2.9", "pong that nobody asked for, then a ping", pong_then_ping)
    yield Case("2.10", "ten pings", ten_pings(0))
    yield Case("2.11", "ten pings, written byte by byte", ten_pings(1))


def wrong(*frames, chop=0, sync=False):
    """Nothing but wrong frames."""
    def play(t):
        t.send(*frames, chop=chop, sync=sync)
        return t.expect_failed([PROTOCOL])
    return play


def good_then_wrong(bad, chop=0, sync=False):
    """A good message, a wrong frame, a ping. Its echo may be overtaken by the failure; a pong must not come."""
    def play(t):
        t.send(frame(TEXT, HELLO), bad, frame(PING), chop=chop, sync=sync)
        return t.expect_failed([PROTOCOL], [message(HELLO)], [])
    return play


def reserved_bits():
    yield Case("3.1", "text with RSV 1", wrong(frame(TEXT, HELLO, rsv=1)))
    yield Case("3.2", "good text, text with RSV 2, ping", good_then_wrong(frame(TEXT, HELLO, rsv=2)))
    yield Case("3.3", "good text, text with RSV 3, ping, a write each",
               good_then_wrong(frame(TEXT, HELLO, rsv=3), sync=True))
    yield Case("3.4", "good text, text with RSV 4, ping, byte by byte",
               good_then_wrong(frame(TEXT, HELLO, rsv=4), chop=1))
    yield Case("3.5", "binary with RSV 5", wrong(frame(BINARY, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", rsv=5)))
    yield Case("3.6", "ping with RSV 6", wrong(frame(PING, HELLO, rsv=6)))
    yield Case("3.7", "close with RSV 7", wrong(frame(CLOSE, rsv=7)))


def opcodes():
    for group, first in ((1, 3), (2, 11)):
        name = "control " if group == 2 else ""
        yield Case(f"4.{group}.1", f"reserved {name}opcode {first}, empty", wrong(frame(first)))
        yield Case(f"4.{group}.2", f"reserved {name}opcode {first + 1}, with payload", wrong(frame(first + 1, HELLO)))
        yield Case(f"4.{group}.3", f"good text, opcode {first + 2}, ping", good_then_wrong(frame(first + 2)))
        yield Case(f"4.{group}.4", f"good text, opcode {first + 3} with payload, ping",
                   good_then_wrong(frame(first + 3, HELLO)))
        yield Case(f"4.{group}.5", f"good text, opcode {first + 4} with payload, ping, byte by byte",
                   good_then_wrong(frame(first + 4, HELLO), chop=1))


ONE, TWO = b"fragment1", b"fragment2"
SYNC_OR_CHOP = (("in one write", {}), ("a write each", {"sync": True}), ("byte by byte", {"chop": 1}))


def two_fragments(how, ping_between):
    def play(t):
        between = [frame(PING, b"in between")] if ping_between else []
        t.send(frame(TEXT, ONE, fin=False), *between, frame(0, TWO), **how)
        return t.expect_clean([("pong", b"in between")] * ping_between + [message(ONE + TWO)])
    return play


def nothing_to_continue(fin, how):
    return wrong(frame(0, b"continues nothing", fin=fin), frame(TEXT, HELLO), **how)


def continues_a_whole_message(t):
    t.send(frame(TEXT, ONE, fin=False), frame(0, TWO), frame(0, b"fragment3", fin=False), frame(TEXT, b"fragment4"))
    return t.expect_failed([PROTOCOL], [message(ONE + TWO)], [])


def twice(fin):
    return wrong(*[frame(0, ONE, fin=fin), frame(TEXT, TWO, fin=False), frame(0, b"fragment3")] * 2)


def answers_pings_before_the_end(sync):
    """The first pong must come while the message is still open: it is waited for before the rest is sent."""
    def play(t):
        parts = [b"fragment%d" % i for i in range(1, 6)]
        t.send(frame(TEXT, parts[0], fin=False), frame(0, parts[1], fin=False), frame(PING, b"first"), sync=sync)
        t.expect_events([("pong", b"first")])
        t.send(frame(0, parts[2], fin=False), frame(0, parts[3], fin=False), frame(PING, b"second"), frame(0, parts[4]),
               sync=sync)
        return t.expect_clean([("pong", b"second"), message(b"".join(parts))])
    return play


def fragmentation():
    yield Case("5.1", "ping in two fragments", wrong(frame(PING, ONE, fin=False), frame(0, TWO)))
    yield Case("5.2", "pong in two fragments", wrong(frame(PONG, ONE, fin=False), frame(0, TWO)))
    for i, (words, how) in enumerate(SYNC_OR_CHOP):
        yield Case(f"5.{3 + i}", f"text in two fragments, {words}", two_fragments(how, False))
    for i, (words, how) in enumerate(SYNC_OR_CHOP):
        yield Case(f"5.{6 + i}", f"text in two fragments with a ping between, {words}", two_fragments(how, True))
    for i, (words, how) in enumerate(SYNC_OR_CHOP):
        yield Case(f"5.{9 + i}", f"last fragment of no message, then text, {words}", nothing_to_continue(True, how))
    for i, (words, how) in enumerate(SYNC_OR_CHOP):
        yield Case(f"5.{12 + i}", f"fragment of no message, then text, {words}", nothing_to_continue(False, how))
    yield Case("5.15", "a fragment after the last one", continues_a_whole_message)
    yield Case("5.16", "twice: a fragment of no message, then a message in two", twice(False))
    yield Case("5.17", "twice: a last fragment of no message, then a message in two", twice(True))
    yield Case("5.18", "second fragment with opcode text", wrong(frame(TEXT, ONE, fin=False), frame(TEXT, TWO)))
    yield Case("5.19", "five fragments, pings after the second and the fourth", answers_pings_before_the_end(False))
    yield Case("5.20", "five fragments, pings after the second and the fourth, a write each",
               answers_pings_before_the_end(True))


def automatic_fragments(t):
    payload = b"*" * 65536
    t.send(*fragments(payload, 1300, TEXT))
    return t.expect_clean([message(payload)])


def cases(settings):
    yield from single_frames()
    yield from pings()
    yield from reserved_bits()
    yield from opcodes()
    yield from fragmentation()


def late_cases(settings):
    yield Case("10.1.1", "65536 bytes of text in fragments of 1300", automatic_fragments)
