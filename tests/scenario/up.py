# SPDX-License-Identifier: Apache-2.0
"""`busbar up` with the real programs: one command starts a bus, keeps it up, and ends it; what is in the way is named."""
import os
import re
import signal
import subprocess

from tests.support.bus import DEADLINE, SANITIZER_REPORTS, Bus, main, program, wait_until


class Up:
    """`busbar up` on the configuration of a Bus that starts nothing itself."""

    def __init__(self, bus, *args):
        self.log_path = os.path.join(bus.dir, f"up-{os.urandom(4).hex()}.log")
        env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([program("busbar"), "up", "-c", bus.config_path, *args],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, text, n=1):
        def found():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
            return self.log().count(text) >= n
        wait_until(found, f"'{text}' in:\n{self.log()}")
        return self

    def end(self, code, number=signal.SIGTERM):
        if number:
            self.process.send_signal(number)
        got = self.process.wait(DEADLINE)
        assert got == code, f"exit code {got}, expected {code}:\n{self.log()}"
        assert not any(mark in self.log() for mark in SANITIZER_REPORTS), self.log()

    def children(self):
        """pid by instance name."""
        found = {}
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            for pid in f.read().split():
                try:
                    with open(f"/proc/{pid}/cmdline") as f2:
                        name = re.search(r"\0--instance\0([^\0]*)", f2.read())
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has just ended
                if name:  # else it was forked and has not become its program yet
                    found[name.group(1)] = int(pid)
        return found

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if kind is not None:
            print(self.log())


def works():
    with Bus(start=False) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        assert f"http://127.0.0.1:{bus.http_port}/topics/hello" in up.log(), up.log()
        subscriber, publisher = bus.ws(), bus.tcp()
        subscriber.sub("hello")
        publisher.pub("hello", "from nc")
        assert subscriber.message()["data"] == "from nc"
        up.end(0)


def keeps_it_up():
    """Each process is killed in turn; it comes back, and a client of another does not notice."""
    with Bus(start=False) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        client = bus.tcp()
        for name in ("ws.1", "http.1", "broker"):
            before = up.children()[name]
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: up.children().get(name, before) != before, f"{name} is back")
        client.pub("hello", 1)  # held until the broker is back
        bus.ws().close()
        up.end(0)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def its_own_end_ends_all():
    """After a kill -9 of the supervisor its processes end by themselves. The next one need not wait for that: who is still
    leaving serves its clients under another name."""
    topics = [{"match": "#", "history": {"messages": 100}}]
    with Bus(start=False, topics=topics, limits={"drain_time": "1s"}, broker={"backend": "sqlite"}, store={"path": "busbar.db"}) as bus, \
            Up(bus) as up:
        up.wait_log("The bus is up.")
        clients = {kind: getattr(bus, kind)() for kind in ("ws", "tcp")}
        for c in clients.values():
            c.sub("hello", id="s")
        cursor = bus.tcp().pub("hello", 0)
        before = set(up.children().values())
        up.process.kill()
        up.process.wait()
        for _ in range(100):  # the addresses become free when the old ones have heard of it
            again = Up(bus)
            wait_until(lambda: again.process.poll() is not None or "The bus is up." in again.log(), "it starts, or says why not")
            if again.process.poll() is None:
                break
            assert again.process.returncode in (5, 6), again.log()
        with again:
            publisher = bus.tcp()
            for n in range(1, 20):
                publisher.pub("hello", n)
            for kind in clients:
                c = getattr(bus, kind)()
                assert c.sub("hello", since=cursor)["state"] == "recovered"
                assert [m["data"] for m in c.messages(19)] == list(range(1, 20))
            wait_until(lambda: not any(is_alive(pid) for pid in before), "the old processes have ended")
            assert again.log().count("another frontend took the name") <= len(before), again.log()
            publisher.pub("hello", "still")
            again.end(0)


def workers_share_a_port():
    with Bus(start=False, ws={"workers": 2}) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        assert {"ws.1", "ws.2"} <= set(up.children()), up.children()
        clients = [bus.ws() for _ in range(8)]
        for c in clients:
            c.sub("hello")
        bus.tcp().pub("hello", 1)
        for c in clients:
            assert c.message()["data"] == 1
        up.end(0)


def reloads():
    with Bus(start=False) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        client = bus.tcp()
        bus.config["ws"]["ping_interval"] = "5s"
        bus.config["http"]["workers"] = 2
        bus.write_config()
        up.process.send_signal(signal.SIGHUP)
        up.wait_log("these hold after a restart only: http.workers")
        client.pub("hello", 1)
        with open(bus.config_path, "a") as f:
            f.write("wrong\n")
        up.process.send_signal(signal.SIGHUP)
        up.wait_log("nothing was changed")
        client.pub("hello", 2)
        up.end(0)


def what_is_in_the_way_is_named():
    with Bus(start=False) as bus, Up(bus) as up:
        up.wait_log("The bus is up.")
        with Up(bus) as second:
            second.end(5, None)
            assert f"http.listen: another program listens on 127.0.0.1:{bus.http_port} already" in second.log(), second.log()
        others = [f"--set={kind}.listen=127.0.0.1:0" for kind in ("ws", "http", "tcp")]
        with Up(bus, *others) as second:
            second.end(6, None)
            assert f"another bus runs in runtime_dir {bus.runtime_dir}" in second.log(), second.log()
        bus.tcp().pub("hello", 1)  # the first one did not notice
        up.end(0)


if __name__ == "__main__":
    main([works, keeps_it_up, its_own_end_ends_all, workers_share_a_port, reloads, what_is_in_the_way_is_named])
