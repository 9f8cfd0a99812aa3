# SPDX-License-Identifier: Apache-2.0
"""`busbar up` with stand-ins (fake.py) for the programs of the bus: order, restarts, reload, ends, and what it says."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from tests.support.ports import free_port

SRC = os.environ.get("BUSBAR_SRC") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("BUSBAR_BUILD") or os.path.join(SRC, "build")
BUSBAR = os.path.join(BUILD, "cli/busbar")
DEADLINE = float(os.environ.get("BUSBAR_TEST_DEADLINE", "30"))


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE} s: {what() if callable(what) else what}"
        time.sleep(0.02)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Up:
    def __init__(self, config="", manners=None, env=None, args=()):
        self.dir = tempfile.mkdtemp(prefix="up-", dir="/tmp")
        os.mkdir(self.path("bin"))
        os.mkdir(self.path("fake"))
        for name in ("broker", "ws", "http", "tcp"):
            with open(os.path.join(SRC, "tests/unit/cli/fake.py")) as f:
                text = f.read().replace("#!/usr/bin/python3", "#!" + sys.executable, 1)
            with open(self.path("bin/busbar-" + name), "w") as f:
                f.write(text)
            os.chmod(self.path("bin/busbar-" + name), 0o755)
        for name, words in (manners or {}).items():
            self.manners(name, words)
        self.configure(config)
        self.out = open(self.path("out"), "w+")
        environment = dict(os.environ, BUSBAR_LIBEXEC=self.path("bin"), FAKE_DIR=self.path("fake"))
        environment.pop("NOTIFY_SOCKET", None)
        environment.pop("JOURNAL_STREAM", None)
        environment.update(env or {})
        self.process = subprocess.Popen([BUSBAR, "up", "-c", self.path("busbar.yaml"), *args], stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=self.out, env=environment, start_new_session=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def configure(self, text):
        defaults = ""
        if "runtime_dir" not in text:
            defaults += f"runtime_dir: {self.path('run')}\n"
        for kind in ("ws", "http", "tcp"):
            if f"{kind}:" not in text:
                defaults += f"{kind}: {{listen: '127.0.0.1:0'}}\n"
        if "up:" not in text:
            defaults += "up: {restart_delay: 10ms, stop_timeout: 10s}\n"
        with open(self.path("busbar.yaml"), "w") as f:
            f.write(defaults + text + "\n")

    def manners(self, name, words):
        with open(self.path("fake/" + name), "w") as f:
            f.write(words)

    def log(self):
        try:
            with open(self.path("fake/log")) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def output(self):
        with open(self.path("out")) as f:
            return f.read()

    def pid(self, name):
        return int(re.findall(rf"^{re.escape(name)} start (\d+)", self.log(), re.M)[-1])

    def count(self, line):
        return len(re.findall(rf"^{re.escape(line)}\b", self.log(), re.M))

    def wait_log(self, line, n=1):
        wait_until(lambda: self.count(line) >= n, lambda: f"{n} times '{line}' in:\n{self.log()}\n{self.output()}")

    def wait_output(self, text):
        wait_until(lambda: text in self.output(), lambda: f"'{text}' in:\n{self.output()}")

    def wait_up(self):
        self.wait_output("The bus is up.")
        return self

    def end(self, code, number=signal.SIGTERM):
        if number:
            self.process.send_signal(number)
        got = self.process.wait(DEADLINE)
        assert got == code, f"exit code {got}, expected {code}:\n{self.output()}"

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in re.findall(r" start (\d+)", self.log()):
            if is_alive(int(pid)):
                os.kill(int(pid), signal.SIGKILL)
        output = self.output()
        self.out.close()
        shutil.rmtree(self.dir)
        assert "Sanitizer" not in output and "runtime error" not in output, output


def test_order():
    with Up() as up:
        up.wait_up()
        lines = [line.split()[:2] for line in up.log().splitlines()]
        ready = lines.index(["broker", "ready"])
        assert all(lines.index([name, "start"]) > ready for name in ("ws.1", "http.1", "tcp.1")), lines
        pids = [up.pid(name) for name in ("broker", "ws.1", "http.1", "tcp.1")]
        up.end(0)
        ends = [line.split()[0] for line in up.log().splitlines() if line.endswith(("SIGTERM", "SIGINT"))]
        assert sorted(ends) == ["broker", "http.1", "tcp.1", "ws.1"] and ends[-1] == "broker", ends
        assert not any(is_alive(pid) for pid in pids)


def test_arguments_and_workers():
    listen = f"ws.listen=127.0.0.1:{free_port()}"
    with Up("http: {listen: '127.0.0.1:0', enabled: false}\nws: {workers: 3, listen: '127.0.0.1:1'}",
            args=["--set", listen]) as up:
        up.wait_up()
        assert up.count("http.1 start") == 0
        for n in (1, 2, 3):
            line = [s for s in up.log().splitlines() if s.startswith(f"ws.{n} start")][0]
            assert line.endswith(f"--config {up.path('busbar.yaml')} --instance ws.{n} --set {listen}"), line
        assert "http://" not in up.output() and "nc -N" in up.output(), up.output()
        up.end(0)


def test_addresses_are_told():
    port = free_port()
    with Up(manners={"http.1": "listen=127.0.0.1:43210", "tcp.1": "listen=[::1]:7"},
            config=f"ws: {{listen: '*:{port}', path: /socket}}") as up:
        up.wait_up()
        out = up.output()
        assert "curl -N -H 'Accept: text/event-stream' http://127.0.0.1:43210/topics/hello" in out, out
        assert "nc -N ::1 7\n" in out and f"ws://127.0.0.1:{port}/socket" in out, out
        up.end(0, signal.SIGINT)


def test_restart():
    with Up() as up:
        up.wait_up()
        os.kill(up.pid("ws.1"), signal.SIGKILL)
        up.wait_log("ws.1 ready", 2)
        up.wait_output("ws.1 was killed by SIGKILL")
        os.kill(up.pid("broker"), signal.SIGKILL)
        up.wait_log("broker ready", 2)
        assert up.count("http.1 start") == 1 and up.count("ws.1 start") == 2, up.log()
        up.end(0)


def restart(up, what, code, *args):
    r = subprocess.run([BUSBAR, "restart", "-c", up.path("busbar.yaml"), what, *args], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
    assert r.returncode == code, (what, r.returncode, r.stdout, up.output())
    return r.stdout


def test_planned_restart():
    with Up("ws: {workers: 2, listen: '127.0.0.1:%d'}" % free_port()) as up:
        up.wait_up()
        said = restart(up, "ws", 0)
        order = [line.split()[:2] for line in up.log().splitlines()]
        for n in (1, 2):
            assert order.index([f"ws.{n}-2", "ready"]) < order.index([f"ws.{n}", "SIGTERM"]), order
            assert f"ws.{n}-2 is ready; ws.{n} lets its clients go" in said, said
        assert order.index(["ws.1", "SIGTERM"]) < order.index(["ws.2-2", "start"]), order  # one after another
        os.kill(up.pid("ws.1-2"), signal.SIGKILL)  # it is the one that is kept up now
        up.wait_log("ws.1-2 ready", 2)
        restart(up, "broker", 0)
        up.wait_log("broker ready", 2)
        assert up.count("broker SIGTERM") == 1 and up.count("broker start") == 2 and up.count("http.1 start") == 1, up.log()
        restart(up, "all", 0)
        up.wait_log("tcp.1-2 ready")
        assert up.count("ws.2-3 ready") == 1 and up.count("http.1-2 ready") == 1 and up.count("broker start") == 2, up.log()
        up.end(0)


def test_planned_restart_that_fails():
    """The successor does not come up: the one before it never notices."""
    with Up("up: {start_timeout: 1s, stop_timeout: 500ms}\nlimits: {drain_time: 0}") as up:
        up.wait_up()
        for words, reason in (("exit=3", "ended with exit code 3"), ("mute", "was killed by SIGKILL")):
            up.manners("ws.1-2", words)
            said = restart(up, "ws", 1)
            assert reason in said and "the one before it goes on" in said, said
        assert up.count("ws.1 SIGTERM") == 0, up.log()
        up.manners("ws.1-2", "mute")
        first = subprocess.Popen([BUSBAR, "restart", "-c", up.path("busbar.yaml"), "ws"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        up.wait_log("ws.1-2 start", 3)
        assert "another restart is under way" in restart(up, "http", 1)
        first.kill()  # who asked leaves: it goes on
        first.wait()
        wait_until(lambda: up.output().count("ws.1-2 was killed by SIGKILL") == 2, up.output)
        up.manners("ws.1-2", "")
        restart(up, "ws", 0)
        up.manners("ws.1-2", "deaf")
        os.kill(up.pid("ws.1-2"), signal.SIGKILL)
        up.wait_log("ws.1-2 ready", 2)
        up.manners("ws.1-3", "mute")
        pending = subprocess.Popen([BUSBAR, "restart", "-c", up.path("busbar.yaml"), "ws"], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        up.wait_log("ws.1-3 start")
        up.manners("ws.1-2", "")
        up.process.send_signal(signal.SIGTERM)  # the bus stops in the middle of it
        assert "the bus stops" in pending.communicate(timeout=DEADLINE)[0]
        up.end(0, None)


def test_sockets_are_passed():
    with Up() as up:
        up.wait_up()
        with open(f"/proc/{up.pid('ws.1')}/environ", "rb") as f:
            variables = dict(v.split(b"=", 1) for v in f.read().split(b"\0") if b"=" in v)
        assert variables[b"LISTEN_FDS"] == b"1" and variables[b"LISTEN_PID"] == b"%d" % up.pid("ws.1"), variables
        assert os.readlink(f"/proc/{up.pid('ws.1')}/fd/3").startswith("socket:")
        fds = [os.readlink(f"/proc/{up.pid('broker')}/fd/{n}") for n in os.listdir(f"/proc/{up.pid('broker')}/fd")]
        assert os.readlink(f"/proc/{up.pid('ws.1')}/fd/3") not in fds, fds
        up.end(0)


def test_pause_doubles():
    with Up("up: {restart_delay: 50ms, restart_delay_max: 200ms}") as up:
        up.wait_up()
        up.manners("ws.1", "die=7")
        os.kill(up.pid("ws.1"), signal.SIGKILL)
        for pause in (50, 100, 200):
            up.wait_output(f"comes back in {pause} ms")
        up.wait_output("ws.1 ended with exit code 7")
        up.manners("ws.1", "")
        up.end(0)


def test_a_start_that_fails():
    """Before everything was ready once, a process that cannot start ends the whole with its exit code."""
    for code, words in ((5, "cannot listen on the address in ws.listen"), (3, "ws.1 cannot start"), (6, "another bus runs in")):
        with Up(manners={"ws.1": f"exit={code}"}) as up:
            up.end(code, None)
            assert words in up.output(), up.output()
            assert not is_alive(up.pid("broker"))
            assert up.count("ws.1 start") == 1, up.log()
    with Up(manners={"http.1": "exit=1"}) as up:  # may be chance: tried again, not for ever
        up.end(1, None)
        assert up.count("http.1 start") == 5, up.log()


def test_slow_start_is_told():
    with Up("up: {start_timeout: 1s}", manners={"tcp.1": "mute"}) as up:
        up.wait_output("tcp.1 is not ready after 1 s")
        assert "The bus is up" not in up.output()
        up.end(0)


def test_deaf_is_killed():
    with Up("up: {stop_timeout: 100ms}\nlimits: {drain_time: 0}", manners={"ws.1": "deaf"}) as up:
        up.wait_up()
        pid = up.pid("ws.1")
        up.end(0)
        assert "ws.1 did not stop in time" in up.output(), up.output()
        assert not is_alive(pid)


def test_second_signal_kills():
    with Up("up: {stop_timeout: 10m}", manners={"ws.1": "deaf"}) as up:
        up.wait_up()
        up.process.send_signal(signal.SIGINT)
        up.process.send_signal(signal.SIGINT)  # passed on twice, it is still one
        up.wait_log("ws.1 SIGINT")

        def ends():
            up.process.send_signal(signal.SIGINT)
            return up.process.poll() is not None
        wait_until(ends, "a later signal kills")
        assert "ws.1 was killed by SIGKILL" in up.output() and "http.1 was" not in up.output(), up.output()


def test_no_orphans():
    with Up() as up:
        up.wait_up()
        pids = [up.pid(name) for name in ("broker", "ws.1", "http.1", "tcp.1")]
        up.process.kill()
        up.process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "the processes end with their supervisor")


def test_ctrl_c_is_for_the_supervisor():
    with Up() as up:
        up.wait_up()
        os.killpg(up.process.pid, signal.SIGINT)  # what a terminal does
        up.end(0, None)
        assert up.log().count("SIGINT") == 3, up.log()  # ours: one for each frontend


def test_reload():
    with Up() as up:
        up.wait_up()
        up.configure("ws: {listen: '127.0.0.1:1', ping_interval: 5s}\nlog: {level: debug}")
        up.process.send_signal(signal.SIGHUP)
        for name in ("broker", "ws.1", "http.1", "tcp.1"):
            up.wait_log(name + " SIGHUP")
        up.wait_output("these hold after a restart only: ws.listen")
        up.configure("ws: {lisen: 1}")
        up.process.send_signal(signal.SIGHUP)
        up.wait_output("did you mean listen?")
        up.wait_output("nothing was changed")
        up.end(0)
        assert up.count("ws.1 SIGHUP") == 1, up.log()


def test_port_is_taken():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        with Up(f"http: {{listen: '127.0.0.1:{port}'}}") as up:
            up.end(5, None)
            assert f"http.listen: another program listens on 127.0.0.1:{port} already" in up.output(), up.output()
            assert "--set http.listen=" in up.output()
            assert up.log() == ""
    with Up("http: {listen: '192.0.2.1:80'}") as up:
        up.end(5, None)
        assert "is not an address of this machine" in up.output(), up.output()


def test_config_is_wrong():
    with Up("htp: {}") as up:
        up.end(3, None)
        assert "busbar.yaml:6:1: htp: unknown section or option; did you mean http?" in up.output(), up.output()


def test_runtime_dir():
    with Up("runtime_dir: /tmp/" + "x" * 90) as up:
        up.end(3, None)
    with Up("runtime_dir: /nowhere/at/all") as up:
        up.end(1, None)
        assert "cannot be made: No such file" in up.output(), up.output()
    if os.access("/run", os.W_OK):
        return  # this user may have the system's bus
    with tempfile.TemporaryDirectory(dir="/tmp") as own, \
            Up("runtime_dir: /run/busbar", env={"XDG_RUNTIME_DIR": own}) as up:
        up.wait_up()
        assert f"the processes meet in {own}/busbar" in up.output(), up.output()
        assert f"--set runtime_dir={own}/busbar" in up.log(), up.log()
        up.end(0)


def test_systemd():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        name = f"busbar-test-{os.getpid()}"
        s.bind("\0" + name)
        s.settimeout(DEADLINE)
        with Up(env={"NOTIFY_SOCKET": "@" + name}) as up:
            assert s.recv(1000) == b"READY=1"
            assert "The bus is up." not in up.output()
            up.process.send_signal(signal.SIGHUP)
            assert s.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert s.recv(1000) == b"READY=1"
            up.end(0)
            assert s.recv(1000) == b"STOPPING=1"


def test_strangers_cannot_say_ready():
    with Up(manners={"tcp.1": "mute"}) as up:
        up.wait_log("tcp.1 start")
        with open(f"/proc/{up.pid('tcp.1')}/environ", "rb") as f:
            path = re.search(rb"NOTIFY_SOCKET=@([^\0]*)", f.read()).group(1).decode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"READY=1", "\0" + path)
        up.wait_log("http.1 ready")
        up.wait_log("ws.1 ready")
        up.end(0)
        assert "The bus is up." not in up.output()


def test_missing_program():
    with Up(env={"BUSBAR_LIBEXEC": "/nowhere"}) as up:
        up.end(1, None)
        assert "busbar-broker is not in /nowhere" in up.output(), up.output()


def test_usage():
    for args, code, words in (
            ([], 2, "usage: busbar COMMAND"), (["--help"], 0, "Exit codes"), (["--version"], 0, "busbar "),
            (["upp"], 2, "did you mean up?"), (["up", "--sett"], 2, "busbar up: unrecognized option"),
            (["up", "x"], 2, "it takes options only"), (["up", "--help"], 0, "usage: busbar up"),
            (["check-config", "--set", "ws.listen=1"], 3, "is not an address"),
            (["check-config", "--json", "--set", "ws.listen=1"], 3, '"ok": false'),
            (["check-config", "/nowhere"], 3, "/nowhere: cannot be read: No such file"),
            (["sample-config", "x"], 2, "usage: busbar sample-config")):
        r = subprocess.run([BUSBAR, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=DEADLINE)
        assert r.returncode == code and words in r.stdout, (args, r.returncode, r.stdout)


def main():
    tests = [f for name, f in globals().items() if name.startswith("test_") and (not sys.argv[1:] or name in sys.argv[1:])]
    failed = 0
    for test in tests:
        began = time.monotonic()
        try:
            test()
            print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {test.__name__}", flush=True)
            traceback.print_exc()
    sys.exit(1 if failed else 0)


main()
