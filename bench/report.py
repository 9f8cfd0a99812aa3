# SPDX-License-Identifier: Apache-2.0
"""Turns what was measured into tables and plots: for the terminal, and between the markers of docs/performance.md.

Results are {"machine": words, "versions": {...}, "scenarios": {name: {"servers": {server: figures}, ...}}}; figures of a growth
are a list with `n`. The documentation is made from bench/results.json, so that its tables can be made again."""
import json
import os
import re

from bench import svg
from bench.scenarios import CPU, SCENARIOS, TARGETS
from bench.servers import SERVERS, SRC

RESULTS = os.path.join(SRC, "bench/results.json")
PAGE = os.path.join(SRC, "docs/performance.md")
IMAGES = os.path.join(SRC, "docs/images")


def number(v, digits=0):
    return f"{v:,.{digits}f}"


def cpu_cell(r):
    """And each process's share, broker first, if there are several that count."""
    cell = number(r[CPU], 2)
    shares = [v * 1e6 / r["deliveries"] for v in r.get("cpu_s_by_pid", []) if v * 1e6 / r["deliveries"] >= max(0.005, 0.02 * r[CPU])]
    return cell + (f" ({' + '.join(number(v, 2) for v in shares)})" if len(shares) > 1 else "")


COLUMNS = {
    "rate": ("deliveries/s", lambda r: number(r["deliveries_per_s"])),
    "cpu": ("CPU s per million", cpu_cell),
    "p50": ("p50 µs", lambda r: number(r["p50_us"])),
    "p99": ("p99 µs", lambda r: number(r["p99_us"])),
    "last_p50": ("last reader p50 µs", lambda r: number(r["last_p50_us"])),
    "last_p99": ("last reader p99 µs", lambda r: number(r["last_p99_us"])),
    "subscribe": ("CPU µs per subscription", lambda r: number(r["connect_cpu_s"] * 1e6 / r["subscriptions"], 1)),
    "memory": ("MB more, at its peak", lambda r: number(r["memory_mb"])),
    "slow": ("a slow one: messages/s read; lost afterwards; all: disconnected",
             lambda r: f"{number(r['slow_taken'] / r['seconds'] / r['n_slow'], 1)}; {number(r['slow_lost'] / r['n_slow'])}; {number(r['slow_gone'])}"),
    "bytes": ("bytes per client", lambda r: number(r["bytes_per_client"])),
    "connects": ("connected per s", lambda r: number(r["connects_per_s"])),
    "connect_cpu": ("CPU µs per client", lambda r: number(r["connect_cpu_us"])),
}


def label(server):
    return SERVERS[server].label


def table(name, result):
    """Markdown lines."""
    scenario = SCENARIOS[name]
    if scenario.kind == "growth":
        return growth_table(scenario, result)
    lines = [f"| | {' | '.join(COLUMNS[c][0] for c in scenario.shows)} |", "|---|" + "---|" * len(scenario.shows)]
    for server, r in result["servers"].items():
        bold = "**" if SERVERS[server].is_ours else ""
        if "error" in r:
            lines.append(f"| {bold}{label(server)}{bold} | failed: {r['error']} |" + " |" * (len(scenario.shows) - 1))
        else:
            lines.append(f"| {bold}{label(server)}{bold} | {' | '.join(COLUMNS[c][1](r) for c in scenario.shows)} |")
    return lines


def growth_table(scenario, result):
    lines = [f"CPU seconds per million deliveries, and deliveries per second:\n\n| | {' | '.join(f'{n:,}' for n in scenario.points)} |",
             "|---|" + "---|" * len(scenario.points)]
    for server, points in result["servers"].items():
        at = {p["n"]: p for p in points}
        cells = ["failed" if n not in at or "error" in at[n] else f"{number(at[n][CPU], 2)}; {number(at[n]['deliveries_per_s'])}" for n in scenario.points]
        bold = "**" if SERVERS[server].is_ours else ""
        lines.append(f"| {bold}{label(server)}{bold} | {' | '.join(cells)} |")
    return lines


def section(name, result, run):
    """What stands on the page about one scenario, and which runs of it failed."""
    scenario = SCENARIOS[name]
    text = [f"### {name}: {scenario.what}", ""]
    if scenario.note:
        text += [scenario.note, ""]
    text += table(name, result)
    failed = [f"{label(server)}: {error}" for server, r in result["servers"].items() for one in (r if isinstance(r, list) else [r])
              for error in one.get("errors", [])]
    if failed:
        text += ["", f"Runs that failed and count for nothing: {'; '.join(failed)}."]
    if run and result["run"] != run:
        text += ["", f"Of another run than the rest: {rounds_of(result)}."]
    return text


def rounds_of(result):
    """How often and how long it was measured."""
    n, seconds = result["rounds"], f"{result['seconds']:g} s"
    return f"one round of {seconds}" if n == 1 else f"medians of {n} rounds of {seconds}"


# ---- Targets ----

def judge(target, results, link):
    """(the limit and ours as texts, True, False or None: not measured)"""
    servers = results["scenarios"].get(target.scenario, {}).get("servers", {})
    ours = servers.get(target.ours + link, {})
    peer = servers.get(target.peer, {}) if target.peer else {target.key: 1}
    if target.own_key:
        peer = {target.key: ours.get(target.own_key)}
    if ours.get(target.key) is None or peer.get(target.key) is None:
        return None, None, None
    limit = target.factor * peer[target.key]
    digits = 2 if target.key == CPU else 0
    met = ours[target.key] >= limit if target.at_least else ours[target.key] <= limit
    return number(limit, digits), number(ours[target.key], digits), met


def target_table(results):
    lines = ["| scenario | target | that is | nanomsg | | unix | |", "|---|---|---|---|---|---|---|"]
    for target in TARGETS:
        if target.scenario not in results["scenarios"]:
            continue
        cells, limits = [], []
        for link in ("", "-unix"):
            limit, ours, met = judge(target, results, link)
            cells += [ours or "", {True: "met", False: "**not met**", None: "not measured"}[met]]
            limits += [limit] if limit and limit not in limits else []
        bound = "≥" if target.at_least else "≤"
        lines.append(f"| {target.scenario} | {target.what} | {f'{bound} ' + ', '.join(limits) if limits else ''} | {' | '.join(cells)} |")
    return lines


# ---- Plots ----

SHORT = {"busbar-ws": "Busbar, nanomsg", "busbar-ws-unix": "Busbar, unix", "busbar-tcp": "Busbar, nanomsg", "busbar-tcp-unix": "Busbar, unix",
         "nats-ws": "NATS", "nats": "NATS", "nchan": "nchan"}
PLOTS = {"bench-cpu.svg": "CPU seconds per million deliveries, for each scenario and server",
         "bench-growth-subs.svg": "CPU of a delivery, from 10 to 10,000 subscribers",
         "bench-growth-topics.svg": "CPU of a delivery, from 1 to 1,000,000 topics"}
BARS = ["fanout-32", "fanout-1", "fanout-10k", "sse-32", "stream", "pairs", "pingpong"]


def plots(results):
    """{file name: SVG}"""
    made = {}
    for name, x, what in [("growth-subs", "subscribers", "fan-out to a growing number of subscribers"),
                          ("growth-topics", "topics", "a growing number of topics, one subscriber of all")]:
        if name in results["scenarios"]:
            series = [(SHORT.get(server, label(server)), [(p["n"], p[CPU]) for p in points if "error" not in p])
                      for server, points in results["scenarios"][name]["servers"].items()]
            made[f"bench-{name}.svg"] = svg.lines(f"CPU of a delivery: {what}", x, "CPU seconds per million deliveries", series)
    groups = []
    for name in BARS:
        if name in results["scenarios"]:
            servers = results["scenarios"][name]["servers"]
            groups.append((f"{name}: {SCENARIOS[name].what}", [(label(s), r.get(CPU), SERVERS[s].is_ours) for s, r in servers.items()]))
    if groups:
        made["bench-cpu.svg"] = svg.bars("CPU seconds of all processes of a server per million deliveries",
                                         "Less is better. Each group has a scale of its own.", groups)
    return made


# ---- docs/performance.md ----

def between_markers(page, name, text):
    """Replaces what is between <!-- bench:NAME --> and <!-- /bench:NAME -->."""
    pattern = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"bench: docs/performance.md has no place for {name}: <!-- bench:{name} --> and <!-- /bench:{name} -->")
    return pattern.sub(lambda m: m[1] + text + "\n" + m[2], page)


def introduction(results):
    if not results["run"]:
        return "No whole run was made here yet."
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    return f"{results['machine']} Beside us: {versions}. Where a table says nothing else: {rounds_of(results)}."


def picture(name, made):
    file = f"bench-{name}.svg"
    return [f"![{PLOTS[file]}](images/{file})", ""] if file in made else []


def load():
    if not os.path.exists(RESULTS):
        return {"run": "", "machine": "", "versions": {}, "rounds": 0, "seconds": 0, "scenarios": {}}
    with open(RESULTS) as f:
        return json.load(f)


KEPT = {"n", "rounds", "errors", "error", CPU, "cpu_s_by_pid", "deliveries", "deliveries_per_s", "published_per_s", "generator_cpu_s", "p50_us", "p99_us",
        "last_p50_us", "last_p99_us", "connect_cpu_s", "subscriptions", "memory_mb", "slow_taken", "slow_lost", "slow_gone", "n_slow", "seconds",
        "bytes_per_client", "connects_per_s", "connect_cpu_us"}


def slim(figures):
    """What tables and plots need, and what a doubt would ask for."""
    if isinstance(figures, list):
        return [slim(f) for f in figures]
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items() if k in KEPT and v != []}


def write(results):
    """bench/results.json, the page and the plots, of everything that is in results."""
    for scenario in results["scenarios"].values():
        scenario["servers"] = {server: slim(figures) for server, figures in scenario["servers"].items()}
    with open(RESULTS, "w") as f:
        # A line for each server, so that a later run can be compared by diff.
        text = json.dumps(results, sort_keys=True)
        f.write(re.sub(r'("scenarios": \{|"servers": \{|\}, (?="[a-z0-9-]+": [{\[])|\], (?="[a-z0-9-]+": \[\{))', r"\1\n", text) + "\n")
    with open(PAGE) as f:
        page = f.read()
    page = between_markers(page, "run", introduction(results))
    page = between_markers(page, "targets", "\n".join(target_table(results)))
    made = plots(results)
    tables = [f"![{PLOTS['bench-cpu.svg']}](images/bench-cpu.svg)", ""] if "bench-cpu.svg" in made else []
    tables += [line for name in SCENARIOS if name in results["scenarios"] for line in [*section(name, results["scenarios"][name], results["run"]), "", *picture(name, made)]]
    tables += [f"Left out: {name}, because {s.missing}." for name, s in SCENARIOS.items() if s.missing]
    page = between_markers(page, "tables", "\n".join(tables))
    with open(PAGE, "w") as f:
        f.write(page)
    for name, text in made.items():
        with open(os.path.join(IMAGES, name), "w") as f:
            f.write(text)


def write_counts(counts, compiler):
    """The table of bench/counts.py."""
    lines = [f"Built with {compiler}.", "", "| | instructions |", "|---|---|", *(f"| {path} | {number(v, 1 if v < 1000 else 0)} |" for path, v in counts.items())]
    with open(PAGE) as f:
        page = between_markers(f.read(), "counts", "\n".join(lines))
    with open(PAGE, "w") as f:
        f.write(page)
