# SPDX-License-Identifier: Apache-2.0
"""A bus under `busbar up`, and what may befall its processes."""
import asyncio
import os
import re
import signal
import subprocess
import time

from tests.chaos.model import Setting, Truth
from tests.support.bus import SANITIZED, SANITIZER_REPORTS, Bus, program

# Topics whose history is short, and without one: there gaps are told.
SHORT, NO_HISTORY = 20, 0
TOPICS = ([f"t/{a}/{b}" for a in range(4) for b in range(8)] + [f"short/{k}" for k in range(3)] + ["none/0", "none/1"])
# How long a process may take to be back and answering. The sanitizers' startup on a busy machine is slow.
BACK = 60 if SANITIZED else 30
INSTANCES = ("broker", "ws.1", "ws.2", "http.1", "tcp.1")


def setting_of(topic):
    if topic.startswith("short/"):
        return Setting(SHORT)
    if topic.startswith("none/"):
        return Setting(NO_HISTORY)
    if topic.startswith("drop/"):
        return Setting(None, may_drop=True)
    return Setting(None)


# Topics whose messages are dropped for slow readers, who are told how many.
DROPPING = ["drop/0", "drop/1"]


class Disk:
    """A file system of a fixed size, which can be full for a while."""

    BYTES = 1 << 30

    def __init__(self, path):
        self.path = path
        self.is_full = False
        self.full_until = 0.0

    @staticmethod
    def of(path):
        """None if this is not root's business; the folder is there in any case."""
        os.makedirs(path)
        done = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={Disk.BYTES}", "tmpfs", path],
                                                    capture_output=True, check=False).returncode == 0
        return Disk(path) if done else None

    def was_full(self, seconds=2):
        """Is, or was not long ago."""
        return self.is_full or time.monotonic() - self.full_until < seconds

    async def fill_for(self, seconds):
        if self.is_full:
            return
        self.is_full = True
        filler = os.path.join(self.path, "filler")
        try:
            with open(filler, "wb", buffering=0) as f:
                size = 1 << 28  # in ever smaller pieces, to the last page
                while size >= 4096:
                    try:
                        os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, size)
                    except OSError:
                        size //= 2
            await asyncio.sleep(seconds)
        finally:
            os.unlink(filler)
            self.is_full = False
            self.full_until = time.monotonic()

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], capture_output=True, check=False)


class World:
    def __init__(self, seed, backend="memory", config=None, drops=False):
        self.seed, self.backend = seed, backend
        self.is_durable = backend != "memory"
        self.truth = Truth(self.is_durable, setting_of)
        self.topics = TOPICS + (DROPPING if drops else [])
        self.keepalive = 3
        self.is_over = False
        topics = [
            {"match": "short/#", "history": {"messages": SHORT}},
            {"match": "none/#", "history": {"messages": NO_HISTORY}},
            {"match": "drop/#", "slow_consumer": "drop_oldest", "history": {"messages": 10000000, "age": "0", "bytes": "0"}},
            {"match": "#", "history": {"messages": 10000000, "age": "0", "bytes": "0"}},
        ]
        self.bus = Bus(start=False, topics=topics, broker=dict({"backend": backend}, **(config or {}).get("broker", {})),
                       limits={"queue_bytes": "128KiB"}, ws={"workers": 2, "deflate": True},
                       http={"keepalive_interval": f"{self.keepalive}s", "retry_delay": "100ms"},
                       up={"restart_delay_max": "500ms"}, **{k: v for k, v in (config or {}).items() if k not in ("broker", "store")})
        self.disk = None         # a small one of the store's own, if we may
        if self.is_durable:
            self.disk = Disk.of(os.path.join(self.bus.dir, "disk"))
            self.bus.config["store"] = {"path": os.path.join(self.bus.dir, "disk", "busbar.db"), **(config or {}).get("store", {})}
            self.bus.write_config()
        self.log_path = os.path.join(self.bus.dir, "up.log")
        self.up = None
        self.pids = {}
        self.expected_ends = {}  # instance -> pids that we ended
        self.stopped = {}        # instance -> pid
        self.restarting = {}     # instance -> how many `busbar restart` are under way
        self.kills = {}

    def port(self, kind):
        return self.bus.ports[kind]

    # ---- The supervisor. ----

    async def start(self):
        env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
        with open(self.log_path, "wb") as log:
            self.up = subprocess.Popen([program("busbar"), "up", "-c", self.bus.config_path], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, env=env)
        end = time.monotonic() + BACK
        while "The bus is up." not in self.log():
            if self.up.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the bus did not start:\n{self.log()[-4000:]}")
            await asyncio.sleep(0.05)
        self.pids = self.children()

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def children(self):
        """pid by instance, of those that live."""
        found = {}
        try:
            with open(f"/proc/{self.up.pid}/task/{self.up.pid}/children") as f:
                pids = f.read().split()
        except OSError:
            return found
        for pid in pids:
            try:
                with open(f"/proc/{pid}/cmdline") as f:
                    command = f.read()
                with open(f"/proc/{pid}/stat") as f:
                    if f.read().rpartition(")")[2].split()[0] == "Z":
                        continue
            except OSError:
                continue
            name = re.search(r"\0--instance\0([^\0]*)", command)
            name = name.group(1).split("-")[0] if name else "broker" if "busbar-broker" in command else None
            if name:
                found[name] = int(pid)
        return found

    async def watch(self):
        """Notices a process that ended though nobody here ended it, and one that does not come back."""
        away = {}
        while not self.is_over:
            now = self.children()
            for instance in INSTANCES:
                was, pid = self.pids.get(instance), now.get(instance)
                if self.restarting.get(instance) and pid is not None:
                    self.expected_ends.setdefault(instance, set()).add(pid)
                if instance == "broker" and self.disk and self.disk.was_full() and was is not None and pid != was:
                    # It cannot open its store now; it is started again until it can.
                    if was not in self.expected_ends.setdefault(instance, set()):
                        self.count("broker ended at a full disk")
                    self.expected_ends[instance].add(was)
                if was is not None and pid != was and was not in self.expected_ends.get(instance, set()):
                    self.truth.problem(f"{instance} (pid {was}) ended by itself")
                if pid is None:
                    away.setdefault(instance, time.monotonic())
                    if time.monotonic() - away[instance] > BACK:
                        self.truth.problem(f"{instance} is not back after {BACK} s")
                        away[instance] = time.monotonic()
                else:
                    away.pop(instance, None)
            self.pids = now
            if self.up.poll() is not None:
                self.truth.problem(f"busbar up ended with {self.up.returncode}")
                return
            await asyncio.sleep(0.1)

    # ---- What befalls. ----

    def signal(self, instance, number, name):
        pid = self.children().get(instance)
        if pid is None or instance in self.stopped:
            return False
        self.pids[instance] = pid
        self.expected_ends.setdefault(instance, set()).add(pid)
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        self.count(f"{name} {instance.split('.')[0]}")
        return True

    def count(self, what):
        self.kills[what] = self.kills.get(what, 0) + 1

    async def stop_for(self, instance, seconds):
        """SIGSTOP, and SIGCONT later; it must not end of it."""
        pid = self.children().get(instance)
        if pid is None or instance in self.stopped or pid in self.expected_ends.get(instance, set()):
            return
        self.stopped[instance] = pid
        os.kill(pid, signal.SIGSTOP)
        self.count(f"stop {instance.split('.')[0]}")
        try:
            await asyncio.sleep(seconds)
        finally:
            del self.stopped[instance]
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                if pid not in self.expected_ends.get(instance, set()) and not (self.disk and self.disk.was_full()):
                    self.truth.problem(f"{instance} (pid {pid}) ended while it was stopped")

    async def restart(self, instance):
        """`busbar restart`: it says that it was done, or that the old one goes on, as when what it waits for is killed."""
        self.expected_ends.setdefault(instance, set()).add(self.pids.get(instance))
        self.restarting[instance] = self.restarting.get(instance, 0) + 1
        process = await asyncio.create_subprocess_exec(program("busbar"), "restart", "-c", self.bus.config_path, instance,
                                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said, _ = await asyncio.wait_for(process.communicate(), 2 * BACK)
            self.count(f"restart {instance.split('.')[0]}")
            if process.returncode not in (0, 1):
                self.truth.problem(f"busbar restart {instance} ended with {process.returncode}: {said.decode()}")
        except asyncio.TimeoutError:
            self.truth.problem(f"busbar restart {instance} did not end in {2 * BACK} s")
            process.kill()
            await process.wait()
        await asyncio.sleep(2)  # a successor that did not come up is still being cleared away
        self.restarting[instance] -= 1

    def end(self):
        """A planned end: everything stops well, and no sanitizer had anything to say."""
        self.is_over = True
        if self.up is None:
            return
        if self.up.poll() is None:
            self.up.terminate()
            try:
                code = self.up.wait(BACK)
                if code != 0:
                    self.truth.problem(f"busbar up ended with {code}")
            except subprocess.TimeoutExpired:
                self.truth.problem(f"busbar up did not end within {BACK} s of SIGTERM")
                self.up.kill()
                self.up.wait()
        for mark in SANITIZER_REPORTS:
            at = self.log().find(mark)
            if at >= 0:
                self.truth.problem(f"a sanitizer's report:\n{self.log()[max(0, at - 500):at + 5000]}")
