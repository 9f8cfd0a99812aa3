#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Busbar's /cable beside Rails' own Action Cable server, in turn, in one run: three tables.

    bench/actioncable.py --build DIR [roundtrip] [avalanche] [memory] [--rounds N] [--seconds S] [--clients N,N]

roundtrip  one client performs `speak`, which its channel broadcasts: how long until each of the subscribers has it; one at a time
avalanche  how long it takes until 10,000 clients that come at once are all confirmed
memory     what each of 10,000 subscribers adds that do nothing
"""
import argparse
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from bench import servers  # noqa: E402
from bench.servers import PEER_SCRIPTS, SRC, Unavailable, end_when_told, free_port, generator, median_of, wait_for  # noqa: E402

PROTO = "cable"
TIMEOUT = 300
WARM_UP = 1
CROWD = 10000
CHANNELS = [{"channel": "BenchChannel", "stream": "bench/{room}", "publish": ["speak"]}]
# What 10,000 clients need of a bus; of Rails, ulimit -n does.
LIMITS = {"connections": 200000, "queue_bytes": "16MiB"}


class Busbar(servers.Busbar):
    def __init__(self, build, link="nanomsg"):
        super().__init__(build, "ws", link=link, channels=CHANNELS, limits=LIMITS)


class Rails(servers.Server):
    """Puma, a process for each core, with the adapter that Rails applications use in production, or with ours."""

    def __init__(self, build, adapter="redis"):
        super().__init__()
        for program in ["puma", "ruby"] + (["redis-server"] if adapter == "redis" else []):
            if subprocess.run(["which", program], stdout=subprocess.DEVNULL, check=False).returncode != 0:
                raise Unavailable(f"{program} is not installed here")
        behind = free_port()
        if adapter == "redis":
            cable = {"adapter": "redis", "url": f"redis://127.0.0.1:{behind}/0"}
            self.listens(self.spawn("redis-server", "--bind", "127.0.0.1", "--port", str(behind), "--save", "", "--dir", self.dir), behind)
        else:
            cable = {"adapter": "busbar", "url": f"busbar://127.0.0.1:{behind}"}
            self.bus = servers.Busbar(build, "tcp", tcp={"listen": f"127.0.0.1:{behind}"})
        n_workers = len(os.sched_getaffinity(0))
        self.puma = self.spawn("puma", "-q", "-e", "production", "-w", str(n_workers), "-t", "5:5", "-b", f"tcp://127.0.0.1:{self.port}?backlog=4096",
                               "-C", "-", os.path.join(PEER_SCRIPTS, "cable.ru"), CABLE=json.dumps(cable),
                               RUBYLIB=os.path.join(SRC, "clients/ruby/lib"), RAILS_ENV="production")
        wait_for(lambda: self.puma.poll() is not None or self.log().count("booted") == n_workers, "puma's workers")
        self.listens(self.puma)

    def pids(self):
        return super().pids() + (self.bus.pids() if hasattr(self, "bus") else [])

    def close(self):
        super().close()
        if hasattr(self, "bus"):
            self.bus.close()


SERVERS = {
    "busbar": ("Busbar", lambda build: Busbar(build)),
    "busbar-unix": ("Busbar, unix", lambda build: Busbar(build, "unix")),
    "rails": ("Rails 6.1, Puma, Redis", lambda build: Rails(build)),
    "rails-busbar": ("Rails 6.1, Puma, `adapter: busbar`", lambda build: Rails(build, "busbar")),
}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


# ---- One measurement ----

def roundtrip(args, server, n):
    g = generator(args.build, server, PROTO, ["fanout", "--subs", str(n), "--window", "1", "--seconds", str(args.seconds), "--warm-up", str(WARM_UP)])
    out, err = g.communicate(timeout=TIMEOUT)
    return json.loads(out) if g.returncode == 0 else {"error": err.strip()}


def crowd(args, server, opening, and_then):
    """10,000 subscribers; what and_then() says while they are there."""
    g = generator(args.build, server, PROTO, ["idle", "--subs", str(args.crowd), "--opening", str(opening)], stdin=subprocess.PIPE)
    line = g.stdout.readline()
    if not line.startswith("ready"):
        return {"error": g.stderr.read().strip()}
    found = and_then(json.loads(line[6:]))
    g.communicate("\n", timeout=TIMEOUT)
    return found


def avalanche(args, server, n):
    return crowd(args, server, n, lambda r: {"seconds": r["seconds"], "cpu_us": r["cpu_s"] * 1e6 / n})


def memory(args, server, n):
    """Some clients that came and went before have made it load what it needs once, however many come."""
    generator(args.build, server, PROTO, ["idle", "--subs", "100"], stdin=subprocess.PIPE).communicate("\n", timeout=TIMEOUT)
    time.sleep(0.5)
    before = server.memory_kib()

    def look(_):
        time.sleep(1)
        return {"bytes": (server.memory_kib() - before) * 1024 / n}

    return crowd(args, server, 200, look)


def one(args, what, name, n):
    say(f"{what.__name__} with {n:,} clients, {name}")
    try:
        with SERVERS[name][1](args.build) as server:
            return what(args, server, n)
    except (Unavailable, RuntimeError, subprocess.TimeoutExpired, OSError) as e:
        return {"error": str(e)}


def rounds(args, what, n):
    """{name: figures}; the servers take turns."""
    found = {}
    for _ in range(args.rounds):
        for name in args.servers:
            found.setdefault(name, []).append(one(args, what, name, n))
    return {name: median_of(rows) for name, rows in found.items()}


# ---- Tables ----

TABLES = {
    "roundtrip": (roundtrip, "Broadcast round trip, {n:,} clients of one stream, ms", ["p50", "p95", "max", "last client p50", "CPU s per million deliveries"],
                  lambda r: [f"{r['p50_us'] / 1000:,.2f}", f"{r['p95_us'] / 1000:,.2f}", f"{r['max_us'] / 1000:,.2f}", f"{r['last_p50_us'] / 1000:,.2f}",
                             f"{r['cpu_s_per_million']:,.1f}"]),
    "avalanche": (avalanche, "{n:,} clients connect and subscribe at once", ["s until the last is confirmed", "CPU µs per client"],
                  lambda r: [f"{r['seconds']:,.2f}", f"{r['cpu_us']:,.0f}"]),
    "memory": (memory, "Memory of {n:,} idle subscribers", ["bytes per client"], lambda r: [f"{r['bytes']:,.0f}"]),
}


def table(args, which, n):
    what, title, columns, cells = TABLES[which]
    results = rounds(args, what, n)
    print(f"\n### {title.format(n=n)}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, r in results.items():
        print(f"| {SERVERS[name][0]} | " + (f"failed: {r['error']} |" + " |" * (len(columns) - 1) if "error" in r else " | ".join(cells(r)) + " |"), flush=True)


def main():
    end_when_told()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each round trip")
    parser.add_argument("--clients", default="1000,10000", help="of the round trips")
    parser.add_argument("--crowd", type=int, default=CROWD, help="of the avalanche and the idle ones")
    parser.add_argument("--servers", default=",".join(SERVERS), help=f"of {', '.join(SERVERS)}")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    args.servers = args.servers.split(",")
    for name, known in [(n, SERVERS) for n in args.servers] + [(n, TABLES) for n in args.tables]:
        if name not in known:
            parser.error(f"there is no '{name}'; there are {', '.join(known)}")
    for which in args.tables or TABLES:
        for n in [int(x) for x in args.clients.split(",")] if which == "roundtrip" else [args.crowd]:
            table(args, which, n)


if __name__ == "__main__":
    main()
