# SPDX-License-Identifier: Apache-2.0
"""examples/c-chat with libbusbar as it is installed: two people talk while the frontend is killed under them."""
import os
import subprocess

from tests.support.bus import BUILD, DEADLINE, Bus, main

CHAT = os.path.join(BUILD, "examples", "c-chat", "chat")


def chat(bus, name):
    return subprocess.Popen([CHAT, "chat/room1", name], env=dict(os.environ, BUSBAR_SERVER=f"127.0.0.1:{bus.tcp_port}"),
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def say(person, text):
    person.stdin.write(text + "\n")
    person.stdin.flush()


def test_two_people():
    with Bus(frontends=("tcp",)) as bus:
        ada, ben = chat(bus, "Ada"), chat(bus, "Ben")
        say(ada, "hello")
        assert ben.stdout.readline() == "Ada: hello\n"
        assert ada.stdout.readline() == "Ada: hello\n"
        bus.kill("tcp")
        say(ben, "are you there?")
        bus.start("tcp")
        assert ada.stdout.readline() == "Ben: are you there?\n"
        assert ben.stdout.readline() == "Ben: are you there?\n"
        # Its input ends: it leaves when what it said is acknowledged.
        say(ada, "bye")
        ada.stdin.close()
        assert ben.stdout.readline() == "Ada: bye\n"
        assert ada.wait(DEADLINE) == 0, ada.stderr.read()
        out, err = ben.communicate(timeout=DEADLINE)
        assert ben.returncode == 0 and "-- connected" in err, err
        for stream in (ada.stdout, ada.stderr):
            stream.close()


def test_late_comer():
    with Bus(frontends=("tcp",)) as bus:
        tcp = bus.tcp()
        for i in range(30):
            tcp.pub("chat/room1", f"Ada: {i}")
        late = chat(bus, "Ben")
        assert [late.stdout.readline() for _ in range(20)] == [f"Ada: {i}\n" for i in range(10, 30)]
        late.communicate(timeout=DEADLINE)
        assert late.returncode == 0


if __name__ == "__main__":
    main([test_two_people, test_late_comer])
