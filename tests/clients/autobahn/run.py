# SPDX-License-Identifier: Apache-2.0
"""Runs the case list of the Autobahn testsuite against a WebSocket server that echoes.

    run.py                                  against a bus of its own: what is sent to /raw/TOPIC comes back
    run.py ws://127.0.0.1:9001/             against any echo server; {topic} in the address becomes a new name for each case
    run.py --only '6.*' --only 7.1.1 URL    some cases
    run.py --full                           as many messages as Autobahn sends (9.7, 9.8, 12, 13: 1000 each)

Exit 0 if no case failed, 1 with a table of those that did, 77 if there is no bus to run against.
"""
import argparse
import contextlib
import fnmatch
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

from tests.clients.autobahn import closing, deflate, framing, judge, texts, volume  # noqa: E402
from tests.support import bus as bus_support  # noqa: E402

PASSED = (judge.OK, judge.NON_STRICT, judge.INFORMATIONAL)


def all_cases(settings):
    for cases in (framing.cases, texts.cases, closing.cases, volume.cases, framing.late_cases, deflate.cases):
        yield from cases(settings)


@contextlib.contextmanager
def start_bus():
    """A bus whose raw WebSockets take everything that the cases send; gives the address."""
    topics = [{"match": "#", "max_message": "16MiB", "history": {"messages": 0}}]
    with bus_support.Bus(topics=topics, frontends=("ws",), broker={"max_message": "16MiB", "outbox_max": "256MiB"},
                         limits={"message_bytes": "16MiB", "queue_bytes": "64MiB"},
                         ws={"deflate": True, "deflate_threshold": 0}) as bus:
        yield f"ws://127.0.0.1:{bus.ws_port}/raw/autobahn/{{topic}}"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url", nargs="?")
    parser.add_argument("--only", action="append", metavar="PATTERN", help="cases whose number matches, as '6.4.*'")
    parser.add_argument("--skip", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--verbose", action="store_true", help="a line for each case")
    parser.add_argument("--strict", action="store_true", help="NON-STRICT fails too")
    parser.add_argument("--full", action="store_true", help="1000 messages where Autobahn sends 1000")
    parser.add_argument("--messages", type=int, default=50, help="messages of 9.7, 9.8, 12 and 13 (%(default)s)")
    parser.add_argument("--case-bytes", type=int, default=512 * 1024, help="about what a case of 12 or 13 sends")
    parser.add_argument("--deadline", type=float, default=bus_support.DEADLINE, help="seconds for any one answer")
    parser.add_argument("--quiet", type=float, default=0.2, help="seconds without an event that count as silence")
    parser.add_argument("--patience", type=float, default=5, help="seconds for a failure to count as immediate")
    parser.add_argument("--report", metavar="FILE", help="write all verdicts as JSON")
    args = parser.parse_args(argv)
    if args.full:
        args.messages = 1000
    return args


def wanted(args):
    for case in all_cases(args):
        if args.only and not any(fnmatch.fnmatchcase(case.id, p) for p in args.only):
            continue
        if not any(fnmatch.fnmatchcase(case.id, p) for p in args.skip):
            yield case


def run_all(cases, url, args):
    prefix = f"{os.getpid()}-{int(time.time())}"
    results = []
    for case in cases:
        verdict = judge.run(case, url.replace("{topic}", f"{prefix}/{case.id}"), args)
        results.append((case, verdict))
        if args.verbose:
            print(f"{case.id:8} {verdict.result:13} {verdict.close:8} {case.seconds:6.2f} s  {case.what}"
                  + (f"  [{verdict.note}]" if verdict.note else ""), flush=True)
    return results


def summarize(results, args):
    counts = {}
    for _, verdict in results:
        counts[verdict.result] = counts.get(verdict.result, 0) + 1
    passed = PASSED if not args.strict else (judge.OK, judge.INFORMATIONAL)
    failed = [(c, v) for c, v in results if v.result not in passed]
    dropped = sum(1 for _, v in results if v.close == "dropped")
    print(f"{len(results)} cases: " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
          + (f"; {dropped} ended without a close frame" if dropped else ""))
    if failed:
        print(f"\n{'case':8} {'verdict':13} what it does")
        for case, verdict in failed:
            print(f"{case.id:8} {verdict.result:13} {case.what}\n{'':22} {verdict.note}")
    if args.report:
        with open(args.report, "w") as f:
            json.dump([{"id": c.id, "what": c.what, "result": v.result, "close": v.close, "note": v.note,
                        "seconds": round(c.seconds, 4)} for c, v in results], f, indent=1)
    return 1 if failed or not results else 0


def main(argv):
    args = parse(argv)
    cases = list(wanted(args))
    if args.list:
        for case in cases:
            print(f"{case.id:8} {case.what}")
        return 0
    if args.url:
        return summarize(run_all(cases, args.url, args), args)
    missing = [name for name in ("broker", "ws") if not os.path.exists(bus_support.program(name))]
    if missing:
        print(f"skipped: not built: {', '.join(bus_support.PROGRAMS[name] for name in missing)}")
        return 77
    with start_bus() as url:
        results = run_all(cases, url, args)
    return summarize(results, args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
