# SPDX-License-Identifier: Apache-2.0
"""A real bus for a test: its own runtime directory, free ports, every process started, watched and ended by pid.

    with Bus(topics=[{"match": "a/#", "history": {"messages": 10}}]) as bus:
        client = bus.tcp()                      # a JSON-lines client
        bus.kill("broker"); bus.start("broker") # any process, any signal

A process that ends by itself, a sanitizer's report, or a process that does not stop within its time fails the test.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from tests.support import clients
from tests.support.ports import free_port

SRC = os.environ.get("BUSBAR_SRC") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUSBAR_BUILD") or os.path.join(SRC, "build")
SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion failed")
# Sanitizers and a busy machine make everything slower; a deadline is there to end a hung test, not to measure.
DEADLINE = float(os.environ.get("BUSBAR_TEST_DEADLINE", "30"))
WRITES = os.environ.get("BUSBAR_TEST_WRITES")  # io.client_writes, likewise
LINK = os.environ.get("BUSBAR_TEST_LINK")  # link.transport of every bus that does not choose one
SANITIZED = os.environ.get("BUSBAR_SANITIZED") == "yes"
PROGRAMS = {
    "busbar": "cli/busbar",
    "broker": "broker/busbar-broker",
    "ws": "frontends/ws/busbar-ws",
    "http": "frontends/http/busbar-http",
    "tcp": "frontends/tcp/busbar-tcp",
}


def wait_until(condition, what, deadline=DEADLINE, interval=0.02):
    """Polls until condition() is true and returns its value; fails with `what` after the deadline."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(interval)


def program(name):
    return os.path.join(BUILD, PROGRAMS[name])


class Process:
    """One process of the bus: its log in a file, readiness by the datagram that it sends."""

    def __init__(self, bus, instance):
        self.bus = bus
        self.instance = instance
        self.kind = instance.split(".")[0]
        self.log_path = os.path.join(bus.dir, instance + ".log")
        self.popen = None
        self.is_expected_to_end = False
        self.notify = None

    def start(self, wait=True, extra=(), preexec_fn=None):
        assert self.popen is None or self.popen.poll() is not None, f"{self.instance} runs already"
        if self.notify is not None:
            self.notify.close()
        name = f"{os.path.basename(self.bus.dir)}-{self.instance}-{os.urandom(4).hex()}"
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind("\0" + name)
        self.notify.settimeout(0.05)
        env = dict(os.environ, NOTIFY_SOCKET="@" + name, BUSBAR_CONSOLE=os.path.join(SRC, "console"),
                   BUSBAR_CLIENT_JS=os.path.join(SRC, "clients/js"))
        argv = [program(self.kind), "--config", self.bus.config_path]
        if self.kind != "broker":
            argv += ["--instance", self.instance]
        argv += list(extra)
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                          preexec_fn=preexec_fn)
        self.is_expected_to_end = False
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while True:
            try:
                if b"READY=1" in self.notify.recv(4096):
                    return
            except socket.timeout:
                pass
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.instance} ended with {self.popen.returncode} before it was ready:\n{self.log()}")
            if time.monotonic() > end:
                raise AssertionError(f"{self.instance} was not ready within {deadline} s:\n{self.log()}")

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        self.is_expected_to_end = True
        self.popen.kill()
        self.popen.wait(DEADLINE)

    def stop(self, deadline=DEADLINE):
        """A planned stop: SIGTERM, exit code 0."""
        if self.popen is None or self.popen.poll() is not None:
            return
        self.is_expected_to_end = True
        self.popen.send_signal(signal.SIGCONT)
        self.popen.terminate()
        try:
            code = self.popen.wait(deadline)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.instance} did not stop within {deadline} s of SIGTERM:\n{self.log()[-4000:]}")
        assert code == 0, f"{self.instance} ended with {code} after SIGTERM:\n{self.log()[-4000:]}"

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return 0


class Bus:
    def __init__(self, topics=None, frontends=("ws.1", "http.1", "tcp.1"), start=True, **sections):
        """sections: any part of the config as dicts, e.g. ws={"path": "/x"}, limits={...}, broker={...}."""
        self.frontends = [f if "." in f else f + ".1" for f in frontends]
        self.dir = tempfile.mkdtemp(prefix="bb-", dir="/tmp")
        self.runtime_dir = os.path.join(self.dir, "run")
        self.ports = {kind: free_port() for kind in ("ws", "http", "tcp")}
        self.config_path = os.path.join(self.dir, "busbar.yaml")
        self.config = {"runtime_dir": self.runtime_dir, "log": {"level": "info"}}
        for kind in ("ws", "http", "tcp"):
            self.config[kind] = {"listen": f"127.0.0.1:{self.ports[kind]}"}
        self.config["store"] = {"path": "busbar.db"}  # in the test's own folder
        # Scenarios say what they need of a store that lasts; the others run on memory, or on any that is asked for.
        self.config["broker"] = {"backend": os.environ.get("BUSBAR_TEST_BACKEND") or "memory"}
        for name, value in sections.items():
            if isinstance(value, dict):
                self.config.setdefault(name, {}).update(value)
            else:
                self.config[name] = value
        if LINK:
            self.config.setdefault("link", {}).setdefault("transport", LINK)
        if WRITES:
            self.config.setdefault("io", {}).setdefault("client_writes", WRITES)
        self.config["topics"] = topics if topics is not None else [
            {"match": "#", "history": {"messages": 1000, "age": "1h", "bytes": "16MiB"}}]
        self.write_config()
        self.processes = {}
        self.clients = []
        if start:
            try:
                self.start_all()
            except BaseException:
                self.close(check=False)
                raise

    def write_config(self):
        with open(self.config_path, "w") as f:
            json.dump(self.config, f, indent=2)  # JSON is YAML

    ws_port = property(lambda self: self.ports["ws"])
    http_port = property(lambda self: self.ports["http"])
    tcp_port = property(lambda self: self.ports["tcp"])

    def start_all(self):
        self.start("broker")
        for instance in self.frontends:
            self.start(instance, wait=False)
        for instance in self.frontends:
            self.processes[instance].wait_ready()

    def start(self, instance, wait=True, **options):
        instance = self.name(instance)
        process = self.processes.get(instance) or Process(self, instance)
        self.processes[instance] = process
        return process.start(wait=wait, **options)

    @staticmethod
    def name(instance):
        return instance if instance == "broker" or "." in instance else instance + ".1"

    def process(self, instance):
        return self.processes[self.name(instance)]

    def kill(self, instance):
        self.process(instance).kill()

    def stop(self, instance):
        self.process(instance).stop()

    def pause(self, instance):
        self.process(instance).signal(signal.SIGSTOP)

    def cont(self, instance):
        self.process(instance).signal(signal.SIGCONT)

    # Clients, closed with the bus.
    def tcp(self, **options):
        return self._keep(clients.JsonLines("127.0.0.1", self.tcp_port, **options))

    def ws(self, path="/ws", **options):
        return self._keep(clients.WsJson("127.0.0.1", self.ws_port, path, **options))

    def cable(self, welcome=True, **options):
        """An Action Cable client by hand, greeted."""
        client = self._keep(clients.Cable("127.0.0.1", self.ws_port, **options))
        if welcome:
            client.expect(type="welcome")
        return client

    def ws_raw(self, topic, **options):
        return self._keep(clients.WebSocket("127.0.0.1", self.ws_port, "/raw/" + topic, **options))

    def http(self, method, path, body=None, headers=None, timeout=DEADLINE):
        return clients.http_request(self.http_port, method, path, body, headers, timeout)

    def sse(self, path, headers=None, **options):
        return self._keep(clients.Sse("127.0.0.1", self.http_port, path, headers, **options))

    def _keep(self, client):
        self.clients.append(client)
        return client

    def logs(self, tail=3000):
        return "\n".join(f"--- {name} ---\n{p.log()[-tail:]}" for name, p in self.processes.items())

    def check_alive(self):
        for name, p in self.processes.items():
            if not p.is_expected_to_end and p.popen is not None and p.popen.poll() is not None:
                raise AssertionError(f"{name} ended by itself with {p.popen.returncode}:\n{p.log()[-4000:]}")

    def close(self, check=True):
        problems = []
        for client in self.clients:
            try:
                client.close()
            except OSError:
                pass
        if check:
            try:
                self.check_alive()
            except AssertionError as e:
                problems.append(str(e))
        for name in sorted(self.processes, key=lambda n: n == "broker"):  # frontends first
            try:
                self.processes[name].stop()
            except AssertionError as e:
                problems.append(str(e))
        for name, p in self.processes.items():
            for mark in SANITIZER_REPORTS:
                if mark in p.log():
                    problems.append(f"{name} reported '{mark}':\n{p.log()[-8000:]}")
                    break
            if p.notify is not None:
                p.notify.close()
        if os.environ.get("BUSBAR_TEST_KEEP"):
            print("kept", self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        if check and problems:
            raise AssertionError("\n".join(problems))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if kind is not None:
            print(self.logs(), file=sys.stderr)
        self.close(check=kind is None)


def main(tests):
    """Runs the test functions given (or those named on the command line), one line each; exit 1 if one failed."""
    import traceback
    wanted = sys.argv[1:]
    failed = 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            test()
            print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)
