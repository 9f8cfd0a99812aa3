# SPDX-License-Identifier: Apache-2.0
"""Cases 9: large messages, small fragments, small writes, and round trips. Sizes are Autobahn's, the number of round
trips of 9.7 and 9.8 is --messages (its own is 1000)."""
from tests.clients.autobahn.judge import Case
from tests.clients.autobahn.peer import BINARY, TEXT, fragments, frame

KIB, MIB = 1 << 10, 1 << 20
TEXT_UNIT, BINARY_UNIT = b"BAsd7&jh23", b"\x00\xfe\x23\xfa\xf0"
KINDS = ((False, "text", TEXT_UNIT), (True, "binary", BINARY_UNIT))


def repeat(unit, n):
    return (unit * (n // len(unit) + 1))[:n]


def size(n):
    return f"{n // MIB} MiB" if n >= MIB else f"{n // KIB} KiB" if n >= KIB else f"{n} bytes"


def one(unit, n, is_binary, fragment=0, chop=0):
    def play(t):
        payload = repeat(unit, n)
        opcode = BINARY if is_binary else TEXT
        frames = list(fragments(payload, fragment, opcode)) if fragment else [frame(opcode, payload)]
        t.send(*frames, chop=chop)
        return t.expect_clean([("message", payload, is_binary)])
    return play


def round_trips(unit, n, is_binary):
    def play(t):
        payload = repeat(unit, n)
        for _ in range(t.settings.messages):
            t.send(frame(BINARY if is_binary else TEXT, payload))
            t.expect_events([("message", payload, is_binary)])
        return t.expect_clean([])
    return play


def cases(settings):
    for group, (is_binary, kind, unit) in enumerate(KINDS):
        for i, n in enumerate((64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB), 1):
            yield Case(f"9.{1 + group}.{i}", f"{kind} of {size(n)}", one(unit, n, is_binary))
    for group, (is_binary, kind, unit) in enumerate(KINDS):
        for i in range(9):
            n = 64 << 2 * i
            yield Case(f"9.{3 + group}.{i + 1}", f"{kind} of 4 MiB in fragments of {size(n)}",
                       one(unit, 4 * MIB, is_binary, fragment=n))
    for group, (is_binary, kind, unit) in enumerate(KINDS):
        for i in range(6):
            n = 64 << i
            yield Case(f"9.{5 + group}.{i + 1}", f"{kind} of 1 MiB written {size(n)} at a time",
                       one(unit, MIB, is_binary, chop=n))
    for group, (is_binary, kind, unit) in enumerate(KINDS):
        for i, n in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            yield Case(f"9.{7 + group}.{i}", f"{settings.messages} round trips, {kind} of {n} bytes",
                       round_trips(unit, n, is_binary))
