#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands for any program of the bus in the tests of `busbar up`: says what it does in $FAKE_DIR/log, one line each, and
behaves as the file $FAKE_DIR/NAME says: words "exit=N" (at once), "die=N" (once ready), "mute" (never ready),
"deaf" (ignores SIGTERM), "listen=ADDRESS"."""
import os
import signal
import socket
import sys
import time

FAKE_DIR = os.environ["FAKE_DIR"]
args = sys.argv[1:]
name = args[args.index("--instance") + 1]


def say(*words):
    with open(os.path.join(FAKE_DIR, "log"), "a") as f:
        f.write(" ".join([name, *map(str, words)]) + "\n")


def notify(text):
    path = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), "\0" + path[1:] if path[0] == "@" else path)


try:
    with open(os.path.join(FAKE_DIR, name)) as f:
        manners = dict((w.split("=", 1) + [""])[:2] for w in f.read().split())
except FileNotFoundError:
    manners = {}

say("start", os.getpid(), *args)
if "exit" in manners:
    sys.exit(int(manners["exit"]))


def on_signal(number, frame):
    say(signal.Signals(number).name)
    if number != signal.SIGHUP and "deaf" not in manners:
        sys.exit(0)


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, on_signal)
if "listen" in manners:
    notify("X_BUSBAR_LISTEN=" + manners["listen"])
if "mute" not in manners:
    say("ready")  # first: what follows from it comes after it in the log
    notify("READY=1")
if "die" in manners:
    sys.exit(int(manners["die"]))
while True:
    time.sleep(60)
