# SPDX-License-Identifier: Apache-2.0
"""Node scripts beside a bus: they say what happens as JSON lines on standard output and take orders as JSON lines on standard
input. What is missing on this machine skips the test, with its reason.
"""
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from tests.support.bus import DEADLINE, SRC

HERE = os.path.join(SRC, "tests", "clients")


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(77)


def need_program(name):
    path = shutil.which(name)
    if path is None:
        skip(f"{name} is not installed")
    return path


def need_node(*modules):
    """Node's path, if it is new enough and these npm packages are installed beside the tests."""
    node = os.environ.get("NODE") or shutil.which("node")
    if not node or not os.access(node, os.X_OK):
        skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if int(version.lstrip("v").split(".")[0] or 0) < 18:
        skip(f"node {version} is older than 18")
    for module in modules:
        if not os.path.isdir(os.path.join(HERE, "node_modules", module)):
            skip(f"the npm package {module} is not installed: run `npm ci` in tests/clients")
    return node


def need_chromium():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path or not os.access(path, os.X_OK):
        skip("chromium is not installed")
    return path


class Node:
    def __init__(self, script, *args, modules=()):
        self.events = []
        self.errors = []
        self.changed = threading.Condition()
        self.popen = subprocess.Popen([need_node(*modules), os.path.join(HERE, script), *map(str, args)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.threads = [threading.Thread(target=self._read, daemon=True), threading.Thread(target=self._read_errors, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.popen.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()
        with self.changed:
            self.events.append({"event": "end"})
            self.changed.notify_all()

    def _read_errors(self):
        for line in self.popen.stderr:
            self.errors.append(line)

    def do(self, what, **order):
        self.popen.stdin.write(json.dumps({"do": what, **order}) + "\n")
        self.popen.stdin.flush()

    def find(self, **fields):
        return [e for e in self.events if all(e.get(k) == v for k, v in fields.items())]

    def wait(self, n=1, deadline=DEADLINE, **fields):
        """Waits for the n-th event with these fields and returns it."""
        end = time.monotonic() + deadline
        with self.changed:
            while len(self.find(**fields)) < n:
                if any(e["event"] == "end" for e in self.events):
                    raise AssertionError(f"the script ended; waited for {n} of {fields} in {self.events[-30:]}\n{self.stderr()}")
                if not self.changed.wait(end - time.monotonic()):
                    raise AssertionError(f"not within {deadline} s: {n} of {fields} in {self.events[-30:]}\n{self.stderr()}")
            return self.find(**fields)[n - 1]

    def stderr(self):
        return "".join(self.errors)[-4000:]

    def close(self):
        """Its input ends, so it ends; anything else is a fault of the script or of a client in it."""
        try:
            self.popen.stdin.close()
            code = self.popen.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            code = self.popen.wait()
        for thread in self.threads:
            thread.join(DEADLINE)
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        code = self.close()
        if kind is None and code != 0:
            raise AssertionError(f"the script ended with {code}:\n{self.stderr()}")
