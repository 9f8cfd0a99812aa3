# SPDX-License-Identifier: Apache-2.0
"""Cases 12 (five kinds of data) and 13 (seven ways to offer) of permessage-deflate. The data is made here: Autobahn's
own files are a JSON dump, a picture, a play, a web page and a PDF, and these are alike in how they compress. Each case
sends --messages messages, fewer where they are large, so that it stays under a megabyte or so (Autobahn sends 1000)."""
import functools
import json
import random
import zlib

from tests.clients.autobahn.judge import Case

KIB = 1 << 10
# (bytes of a message, size of its fragments or 0)
SIZES = [(n, 0) for n in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)] + \
        [(n, 256) for n in (8192, 16384, 32768, 65536, 131072)] + \
        [(131072, 1024), (131072, 4096), (131072, 32768)]
SIZE_OF_DATA = 200 * KIB

PLAIN = {"client_no_context_takeover": None, "client_max_window_bits": None}
ASKS_RESET = dict(PLAIN, server_no_context_takeover=None)
OFFERS = [
    ("the default offer", [PLAIN]),
    ("asks for no context takeover", [ASKS_RESET]),
    ("asks for a window of 9 bits", [dict(PLAIN, server_max_window_bits=9)]),
    ("asks for a window of 15 bits", [dict(PLAIN, server_max_window_bits=15)]),
    ("asks for 9 bits and no context takeover", [dict(ASKS_RESET, server_max_window_bits=9)]),
    ("asks for 15 bits and no context takeover", [dict(ASKS_RESET, server_max_window_bits=15)]),
    ("three offers", [dict(ASKS_RESET, server_max_window_bits=9), ASKS_RESET, PLAIN]),
]


def json_text(rng):
    rows = [{"id": i, "guid": f"{rng.getrandbits(64):016x}", "isActive": rng.random() < 0.5, "age": rng.randint(20, 70),
             "tags": rng.sample(["ad", "magna", "dolore", "elit", "velit", "quis"], 3), "greeting": "Gr\u00fc\u00df dich"}
            for i in range(1500)]
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def picture(rng):
    width, height = 512, 400
    return b"BM" + bytes((x * y // 700 + x // 4 + rng.randint(0, 6)) & 0xFF for y in range(height) for x in range(width))


WORDS = ("Habe nun ach Philosophie und leider auch durchaus studiert mit hei\u00dfem Bem\u00fchn da steh ich armer Tor "
         "so klug als wie zuvor hei\u00dfe Magister Doktor gar ziehe schon an die zehen Jahr").split()


def play_text(rng):
    lines = []
    for _ in range(6000):
        lines.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 9))))
    return "\r\n".join(lines).encode("latin-1")


def web_page(rng):
    rows = [f'<tr class="{rng.choice(("odd", "even"))}"><td><a href="/item/{rng.randint(1, 99999)}">'
            f"{' '.join(rng.choice(WORDS) for _ in range(4))}</a></td></tr>" for _ in range(2500)]
    return ("<!DOCTYPE html><html><body><table>\n" + "\n".join(rows) + "\n</table></body></html>").encode()


def document(rng):
    """Mostly compressed already."""
    parts = [b"%PDF-1.4\n"]
    for i in range(60):
        stream = zlib.compress(rng.randbytes(3500) + b" Tj 0 -14 Td" * 100)
        parts.append(b"%d 0 obj <</Filter/FlateDecode/Length %d>> stream\n" % (i, len(stream)) + stream + b"\nendstream\n")
    return b"".join(parts)


KINDS = [("JSON", False, json_text), ("picture", True, picture), ("play", True, play_text), ("web page", False, web_page),
         ("document", True, document)]


@functools.lru_cache(maxsize=None)
def data_of(kind):
    _, is_binary, make = KINDS[kind]
    data = make(random.Random(kind))[:SIZE_OF_DATA]
    return data if is_binary else data.decode("utf-8", "ignore")


def pieces(kind, n, count):
    """Slices of n characters (bytes of binary data), going round the data as Autobahn does."""
    data = data_of(kind)
    doubled = data + data
    at = 0
    for _ in range(count):
        piece = doubled[at:at + n]
        yield piece if isinstance(piece, bytes) else piece.encode()
        at = (at + n) % len(data)


def count_for(settings, n):
    if settings.full:
        return 1000
    return max(2, min(settings.messages, settings.case_bytes // n))


def exchange(kind, n, fragment):
    def play(t):
        is_binary = KINDS[kind][1]
        for payload in pieces(kind, n, count_for(t.settings, n)):
            t.peer.send_message(payload, is_binary, fragment)
            t.expect_events([("message", payload, is_binary)])
        verdict = t.expect_clean([])
        peer = t.peer
        verdict.note = f"{peer.n_compressed} messages came compressed, {peer.n_wire} bytes for {peer.n_plain}"
        return verdict
    return play


def matrix(major, group, what, kind, offers, settings):
    for i, (n, fragment) in enumerate(SIZES, 1):
        pieces_text = f" in fragments of {fragment}" if fragment else ""
        yield Case(f"{major}.{group}.{i}", f"{what}: {count_for(settings, n)} messages of {n}{pieces_text}",
                   exchange(kind, n, fragment), offers=offers)


def cases(settings):
    for kind, (name, _, _) in enumerate(KINDS):
        yield from matrix(12, kind + 1, name, kind, [PLAIN], settings)
    for group, (what, offers) in enumerate(OFFERS, 1):
        yield from matrix(13, group, what, 0, offers, settings)
