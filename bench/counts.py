#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many instructions the hot paths take, and whether they take more than is recorded.

    bench/counts.py --build DIR check       fails if a path takes over 5 % more than bench/counts.json says
    bench/counts.py --build DIR record      writes that file
    bench/counts.py --build DIR show [-v]   prints the counts; -v: and the functions that they are spent in

Real processes, one of which runs under callgrind; the generator publishes in step (--rounds), so that each run does the same
work. Each path is run twice, with few and with many rounds: the difference is what the messages took, without start and end.
The link is unix: it has no thread whose wake-ups differ from run to run, and the code above it is the same for both."""
import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from bench import report  # noqa: E402
from bench.servers import SRC, Busbar, end_when_told, generator  # noqa: E402

FILE = os.path.join(SRC, "bench/counts.json")
ALLOWED = 1.05
ROUNDS = (20, 120)
TIMEOUT = 300


@dataclasses.dataclass
class Run:
    program: str  # that is counted
    bus: dict
    proto: str
    arguments: list
    per: str = "messages"  # or deliveries, or clients
    rounds: tuple = ROUNDS
    scale: str = "--rounds"  # what they are given to the generator as


def fanout(subs, window):
    return ["fanout", "--subs", str(subs), "--window", str(window)]


def wildcard(topics):
    return ["topics", "--topics", str(topics), "--subs", "1", "--window", "500"]


# Twice through all of them, less the first time, in which they are new. More topics than a link has numbers for at a time.
AGAIN = {"arguments": wildcard(20000), "rounds": (40, 80)}


def connecting(transport, proto):
    return Run(transport, {"kind": transport}, proto, ["idle"], "clients", (200, 1200), "--subs")


RUNS = {
    "broker": Run("broker", {"kind": "tcp"}, "busbar-tcp", fanout(1, 128)),
    # So many subscribers are surely spread over all of them.
    "broker, 8 links": Run("broker", {"kind": "tcp", "workers": 8}, "busbar-tcp", fanout(128, 128)),
    "broker, new topics": Run("broker", {"kind": "tcp"}, "busbar-tcp", wildcard(1000000)),
    "broker, many topics": Run("broker", {"kind": "tcp"}, "busbar-tcp", **AGAIN),
    "tcp": Run("tcp", {"kind": "tcp"}, "busbar-tcp", fanout(1, 64)),
    "tcp, MessagePack": Run("tcp", {"kind": "tcp"}, "busbar-tcp-msgpack", fanout(1, 64)),
    "tcp, new topics": Run("tcp", {"kind": "tcp"}, "busbar-tcp", wildcard(1000000)),
    "tcp, many topics": Run("tcp", {"kind": "tcp"}, "busbar-tcp", **AGAIN),
    "tcp, 100 subscribers": Run("tcp", {"kind": "tcp"}, "busbar-tcp", fanout(100, 32), "deliveries"),
    "ws": Run("ws", {"kind": "ws"}, "busbar-ws", fanout(1, 64)),
    "ws, 100 subscribers": Run("ws", {"kind": "ws"}, "busbar-ws", fanout(100, 32), "deliveries"),
    "ws, 100 subscribers, one message at a time": Run("ws", {"kind": "ws"}, "busbar-ws", fanout(100, 1), "deliveries"),
    "sse, 100 subscribers": Run("http", {"kind": "http", "publish_by": "ws"}, "busbar-sse", fanout(100, 32), "deliveries"),
    "poll, 100 subscribers": Run("http", {"kind": "http", "publish_by": "ws"}, "busbar-poll", fanout(100, 1), "deliveries"),
    "http": Run("http", {"kind": "http"}, "busbar-http", fanout(1, 64)),
    "http, one at a time": Run("http", {"kind": "http"}, "busbar-http", ["acks", "--topics", "1", "--window", "1"], rounds=(200, 1200)),
    "http, 64 publishers": Run("http", {"kind": "http"}, "busbar-http", ["acks", "--topics", "64", "--window", "1"]),
    "ws, connecting": connecting("ws", "busbar-ws"),
    "tcp, connecting": connecting("tcp", "busbar-tcp"),
    "sse, connecting": connecting("http", "busbar-sse"),
}

# What is recorded: name: the run, and a function of it with all that it calls (None: the whole process).
PATHS = {
    "broker: a message, from one link to one link": ("broker", None),
    "broker: a message to a topic that is new": ("broker, new topics", "broker_run"),
    "broker: a message, each to the next of 20,000 topics, one wildcard subscriber": ("broker, many topics", "broker_run"),
    "tcp: a publish and its delivery, JSON": ("tcp", None),
    "tcp: a publish and its delivery, MessagePack": ("tcp, MessagePack", None),
    "tcp: a publish and its delivery, to a topic that is new": ("tcp, new topics", None),
    "tcp: a publish and its delivery, each to the next of 20,000 topics": ("tcp, many topics", None),
    "tcp: a delivery of a fan-out, JSON": ("tcp, 100 subscribers", None),
    "ws: a publish and its delivery, JSON": ("ws", None),
    "ws: a delivery of a fan-out, JSON text": ("ws, 100 subscribers", None),
    "ws: a delivery of a fan-out, one message at a time": ("ws, 100 subscribers, one message at a time", None),
    "sse: a delivery of a fan-out": ("sse, 100 subscribers", None),
    "poll: a request and its answer": ("poll, 100 subscribers", None),
    "http: a publish and its delivery as an event": ("http", None),
    "http: a publish and its answer, one at a time": ("http, one at a time", None),
    "http: a publish and its answer, 64 clients": ("http, 64 publishers", None),
    "ws: a client that connects, subscribes and leaves": ("ws, connecting", None),
    "tcp: a client that connects, subscribes and leaves": ("tcp, connecting", None),
    "sse: a client that connects, subscribes and leaves": ("sse, connecting", None),
    "JSON: a publish decoded": ("tcp", "njson_decode"),
    "JSON: a message encoded": ("tcp", "njson_put_message"),
    "MessagePack: a publish decoded": ("tcp, MessagePack", "nmsgpack_decode"),
    "WebSocket: a frame decoded": ("ws", "wsframe_next"),
    "HTTP: a publish parsed": ("http", "httpreq_parse"),
}
FURTHER_LINK = "broker: a message, for each further link"


class Counted(Busbar):
    """A bus of which one program runs under callgrind."""

    out = None

    def __init__(self, build, run):
        self.program = f"busbar-{run.program}"
        super().__init__(build, link="unix", **run.bus)

    def spawn_ready(self, *argv):
        if os.path.basename(argv[0]) == self.program and self.out is None:
            self.out = os.path.join(self.dir, "callgrind.out")
            argv = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={self.out}", "--quiet", *argv)
        return super().spawn_ready(*argv)

    def finish(self):
        """Ends it. {function: instructions in it}, {function: in it and in what it calls}; "" is the whole process."""
        for p in reversed(self.processes):
            p.terminate()
            p.wait(TIMEOUT)
        with open(self.out) as f:
            total = next(int(line.split()[1]) for line in f if line.startswith(("summary:", "totals:")))
        return {**self.functions("no"), "": total}, {**self.functions("yes"), "": total}

    def functions(self, inclusive):
        text = subprocess.run(["callgrind_annotate", f"--inclusive={inclusive}", "--threshold=100", "--show-percs=no", self.out],
                              capture_output=True, text=True, check=True).stdout
        found = {}
        for line in text.splitlines():
            match = re.match(r"\s*([\d,]+)\s+\S*?:([\w.@-]+)(?:'\d+)?(?: \[.*\])?$", line)
            if match:  # one that recurs has several lines; the largest has the others in it
                found[match[2]] = max(found.get(match[2], 0), int(match[1].replace(",", "")))
        return found


def count(build, run, rounds):
    """(units, in themselves, with what they call)"""
    with Counted(build, run) as bus:
        g = generator(build, bus, run.proto, [*run.arguments, run.scale, str(rounds)], stdin=subprocess.PIPE)
        out, err = g.communicate("\n", timeout=TIMEOUT)  # idle clients leave at the end of a line
        if g.returncode != 0:
            raise RuntimeError(err.strip())
        return (json.loads(out.removeprefix("ready "))[run.per], *bus.finish())


def profile(build, name):
    """({function: instructions per unit, in itself}, {with what it calls})"""
    print(f"bench: counting {name}", file=sys.stderr, flush=True)
    run = RUNS[name]
    few, many = (count(build, run, n) for n in run.rounds)
    n = many[0] - few[0]
    return tuple({f: (v - few[i].get(f, 0)) / n for f, v in many[i].items()} for i in (1, 2))


def count_paths(build, wanted, is_verbose=False):
    """{path: instructions}, of those wanted."""
    runs, found = {}, {}

    def of(run, function):
        if run not in runs:
            runs[run] = profile(build, run)
        if (function or "") not in runs[run][1]:
            raise SystemExit(f"bench: the profile of '{run}' has no function {function}: was it renamed? bench/counts.py names it")
        return runs[run][1][function or ""]

    for path, (run, function) in PATHS.items():
        if path in wanted:
            found[path] = of(run, function)
    if FURTHER_LINK in wanted:
        found[FURTHER_LINK] = (of("broker, 8 links", None) - of("broker", None)) / 7
    if is_verbose:
        for run, (own, inclusive) in runs.items():
            print(f"\n## {run}: per {RUNS[run].per[:-1].replace('deliverie', 'delivery')}\n\n| | with what it calls | itself |\n|---|---|---|")
            for f, v in sorted(inclusive.items(), key=lambda item: -item[1]):
                if v >= inclusive[""] * 0.01 and not f.startswith("0x"):
                    print(f"| {f or 'the process'} | {v:,.1f} | {own.get(f, 0) if f else v:,.1f} |")
        print()
    return {path: found[path] for path in ALL if path in found}


ALL = [path for first in PATHS for path in ([first, FURTHER_LINK] if first == next(iter(PATHS)) else [first])]


def compiler(build):
    """What the counts depend on beside the code."""
    with open(os.path.join(build, "config.status")) as f:
        text = f.read()
    match = re.search(r'S\["CC"\]="([^"]*)"', text)
    flags = re.search(r'S\["CFLAGS"\]="([^"]*)"', text)
    version = subprocess.run([*match[1].split(), "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{match[1].split()[-1]} {version} {flags[1]}"


def check(build, recorded, is_verbose):
    if compiler(build) != recorded["compiler"]:
        print(f"bench: the counts were recorded with {recorded['compiler']}, this is {compiler(build)}: they cannot be compared", file=sys.stderr)
        return 2
    counts = count_paths(build, ALL, is_verbose)
    worse = [path for path in counts if path in recorded["instructions"] and counts[path] > recorded["instructions"][path] * ALLOWED]
    if worse:  # once more, to be sure
        for path, v in count_paths(build, worse).items():
            counts[path] = min(counts[path], v)
        worse = [path for path in worse if counts[path] > recorded["instructions"][path] * ALLOWED]
    show(counts, recorded)
    for path in worse:
        print(f"bench: {path}: {counts[path]:,.1f} instructions, {recorded['instructions'][path]:,.1f} were recorded", file=sys.stderr)
    print(f"bench: {f'{len(worse)} paths take over {ALLOWED - 1:.0%} more than recorded' if worse else 'no path takes more than recorded'}", file=sys.stderr)
    return 1 if worse else 0


def show(counts, recorded):
    print("| path | instructions | recorded | |\n|---|---|---|---|")
    for path, v in counts.items():
        before = recorded["instructions"].get(path)
        cells = f"{before:,.1f} | {v / before - 1:+.1%}" if before else " | new"
        print(f"| {path} | {v:,.1f} | {cells} |")


def main():
    end_when_told()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--verbose", "-v", action="store_true", help="also print the functions that the instructions are in")
    parser.add_argument("what", choices=["check", "record", "show"])
    parser.add_argument("paths", nargs="*", metavar="TEXT", help="of show: only the paths that have one of these in their names")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    recorded = {"compiler": "", "instructions": {}}
    if os.path.exists(FILE):
        with open(FILE) as f:
            recorded = json.load(f)
    if args.what == "check":
        return check(args.build, recorded, args.verbose)
    wanted = [p for p in ALL if not args.paths or any(text in p for text in args.paths)]
    counts = count_paths(args.build, wanted, args.verbose)
    show(counts, recorded)
    if args.what == "record":
        with open(FILE, "w") as f:
            json.dump({"compiler": compiler(args.build), "instructions": {p: round(v, 1) for p, v in counts.items()}}, f, indent=1)
            f.write("\n")
        report.write_counts(counts, compiler(args.build))
    return 0


if __name__ == "__main__":
    sys.exit(main())
