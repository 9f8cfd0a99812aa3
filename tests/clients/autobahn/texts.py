# SPDX-License-Identifier: Apache-2.0
"""Cases 6: text messages must be UTF-8, and a wrong one must fail as soon as it is wrong. The sequences are those of
Markus Kuhn's decoder test, in Autobahn's order."""
from tests.clients.autobahn.judge import BAD_DATA, NON_STRICT, Case
from tests.clients.autobahn.peer import TEXT, frame, frame_head, mask_bytes

KOSME = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"  # eleven bytes, five characters
MIXED = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!".encode()
SURROGATE = KOSME + b"\xed\xa0\x80" + b"edited"
TOO_HIGH = KOSME + b"\xf4\x90\x80\x80" + b"edited"  # wrong from the 13th byte on


def is_utf8(data):
    try:
        data.decode("utf-8")
        return True
    except UnicodeDecodeError:
        return False


def text(*parts):
    """One message, a frame for each part."""
    def play(t):
        last = len(parts) - 1
        t.send(*(frame(TEXT if i == 0 else 0, p, fin=i == last) for i, p in enumerate(parts)))
        whole = b"".join(parts)
        if is_utf8(whole):
            return t.expect_clean([("message", whole, False)])
        return t.expect_failed([BAD_DATA])
    return play


def bytewise(payload):
    return text(*(payload[i:i + 1] for i in range(len(payload))))


class InFrames:
    """The parts go out as fragments."""

    def __init__(self, t, parts):
        self.t, self.n = t, len(parts)

    def send(self, i, part):
        self.t.send(frame(TEXT if i == 0 else 0, part, fin=i == self.n - 1))


class InOneFrame:
    """The parts go out as pieces of one frame."""

    def __init__(self, t, parts):
        self.t, self.at, self.key = t, 0, b"\x11\x22\x33\x44"
        t.send(frame_head(TEXT, sum(map(len, parts)), key=self.key))

    def send(self, i, part):
        turned = self.key[self.at % 4:] + self.key[:self.at % 4]
        self.t.send(mask_bytes(part, turned))
        self.at += len(part)


def fails_fast(how, *parts):
    """The first part could become valid and is taken; the second cannot, and must fail before the third is sent."""
    def play(t):
        way = how(t, parts)
        way.send(0, parts[0])
        t.expect_quiet(t.settings.quiet)
        way.send(1, parts[1])
        early = t.peer.event(t.settings.patience)
        if early is None:
            way.send(2, parts[2])
            verdict = t.expect_failed([BAD_DATA])
            verdict.result = NON_STRICT
            verdict.note = "failed only at the message's end"
            return verdict
        return t.expect_failed([BAD_DATA]) if early == ("end",) else judge_early(t, early)
    return play


def judge_early(t, event):
    """The event was taken already; hand it to the usual check."""
    take = t.peer.event
    queue = [event]
    t.peer.event = lambda timeout=None: queue.pop(0) if queue else take(timeout)
    return t.expect_failed([BAD_DATA])


def noncharacters():
    """Those that Autobahn picks: U+FFFE, U+FFFF, then lead bytes f0 to f4 with 8f, 9f, af, bf where they are valid."""
    yield "\ufffe".encode()
    yield "\uffff".encode()
    wanted = {bytes([a, b, 0xBF, c]) for a in range(0xF0, 0xF5) for b in (0x8F, 0x9F, 0xAF, 0xBF) for c in (0xBE, 0xBF)}
    for encoded in sorted(w for w in wanted if is_utf8(w)):
        yield encoded


def with_spaces(first, last):
    return b"".join(bytes([c, 0x20]) for c in range(first, last))


INCOMPLETE = [b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80",
              b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"]
SINGLE_SURROGATES = [b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbe\x80",
                     b"\xed\xbf\xbf"]
HIGH, LOW = SINGLE_SURROGATES[:4], [b"\xed\xb0\x80", b"\xed\xbf\xbf"]

SEQUENCES = [
    ("valid text", [b"hello$world", "hello\u00a2world".encode(), "hello\u20acworld".encode(),
                    b"hello\xf0\xa4\xad\xa2world", KOSME]),
    ("prefixes of a valid text", [KOSME[:n] for n in range(1, len(KOSME) + 1)]),
    ("first character of each length", [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
    ("first of five and six bytes", [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
    ("last character of each length", [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
    ("last of four, five and six bytes", [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
    ("other borders", [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"]),
    ("continuation bytes alone", [b"\x80", b"\xbf"] + [(b"\x80\xbf" * 3)[:n] for n in range(2, 7)] +
     [bytes(range(0x80, 0xBF))]),
    ("first bytes alone", [with_spaces(*r) for r in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))]),
    ("last byte missing", INCOMPLETE),
    ("last byte missing, all of them together", [b"".join(INCOMPLETE)]),
    ("impossible bytes", [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
    ("overlong slash", [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf",
                        b"\xfc\x80\x80\x80\x80\xaf"]),
    ("longest overlong", [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf",
                          b"\xfc\x83\xbf\xbf\xbf\xbf"]),
    ("overlong NUL", [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80",
                      b"\xfc\x80\x80\x80\x80\x80"]),
    ("single surrogate", SINGLE_SURROGATES),
    ("surrogate pair", [high + low for high in HIGH for low in LOW]),
    ("noncharacter", list(noncharacters())),
    ("special", [chr(c).encode() for c in range(0xFFF9, 0x10000)]),
]


def cases(settings):
    yield Case("6.1.1", "empty text", text(b""))
    yield Case("6.1.2", "three empty fragments", text(b"", b"", b""))
    yield Case("6.1.3", "three fragments, only the middle one not empty", text(b"", b"middle frame payload", b""))
    yield Case("6.2.1", "valid text in one frame", text(MIXED))
    yield Case("6.2.2", "valid text in two fragments, cut between characters", text(MIXED[:12], MIXED[12:]))
    yield Case("6.2.3", "valid text in fragments of one byte", bytewise(MIXED))
    yield Case("6.2.4", "valid Greek text in fragments of one byte", bytewise(KOSME))
    yield Case("6.3.1", "a surrogate inside text", text(SURROGATE))
    yield Case("6.3.2", "a surrogate inside text, fragments of one byte", bytewise(SURROGATE))
    whole = (TOO_HIGH[:11], TOO_HIGH[11:15], TOO_HIGH[15:])
    exact = (TOO_HIGH[:12], TOO_HIGH[12:13], TOO_HIGH[13:])
    yield Case("6.4.1", "fails before the last of three fragments", fails_fast(InFrames, *whole))
    yield Case("6.4.2", "fails at the byte that is wrong, in three fragments", fails_fast(InFrames, *exact))
    yield Case("6.4.3", "fails inside one frame written in three pieces", fails_fast(InOneFrame, *whole))
    yield Case("6.4.4", "fails at the byte that is wrong inside one frame", fails_fast(InOneFrame, *exact))
    for group, (name, sequences) in enumerate(SEQUENCES, 5):
        for i, payload in enumerate(sequences, 1):
            word = "valid" if is_utf8(payload) else "not valid"
            yield Case(f"6.{group}.{i}", f"{name} ({payload[:12].hex()}): {word}", text(payload))
