# SPDX-License-Identifier: Apache-2.0
"""The rules of model.py, one by one: what must be found is found, and what the protocol allows is allowed."""
from tests.chaos.model import Setting, Truth, Witness, filter_matches
from tests.support.bus import main


def setting_of(topic):
    return {"short": Setting(history=2), "none": Setting(history=0), "drop": Setting(may_drop=True)}.get(topic, Setting())


def bus(n=10, topics=("a",), is_durable=True):
    """A truth of n acknowledged publishes, on the topics in turn, at e-1 to e-n."""
    truth = Truth(is_durable, setting_of)
    for i in range(1, n + 1):
        publish(truth, i, topics[(i - 1) % len(topics)])
    return truth


def publish(truth, i, topic="a", epoch="e"):
    truth.send("p", i)
    truth.ack("p", i, topic, f"{epoch}-{i}")


def witness(truth, seqs, filters=("#",), begin="e-0"):
    w = Witness(truth, "w", filters)
    if begin:
        w.begin(begin)
    give(w, seqs)
    return w


def give(w, seqs, epoch="e"):
    for i in seqs:
        w.message(f"{epoch}-{i}", w.truth.epochs[epoch][i][0], "p", i)


def verdict(truth, w):
    """(losses, problems)"""
    truth.close()
    losses = w.judge()
    return losses, len(truth.problems)


def expect(truth, w, losses, problems):
    got = verdict(truth, w)
    assert got == (losses, problems), f"{got}, expected {(losses, problems)}: {truth.problems}"


def filters():
    for pattern, topic, does in (("a/#", "a", True), ("a/#", "a/b/c", True), ("a/+", "a/b", True), ("a/+", "a", False),
                                 ("a/+", "a/b/c", False), ("#", "x", True), ("#", "$sys/x", False), ("+", "$sys", False),
                                 ("+/b", "a/b", True), ("a", "a", True), ("a", "b", False)):
        assert filter_matches(pattern, topic) == does, (pattern, topic)


def everything_is_well():
    t = bus()
    expect(t, witness(t, range(1, 11)), 0, 0)
    t = bus(10, ("a", "b"))
    expect(t, witness(t, (1, 3, 5, 7, 9), ("a",)), 0, 0)
    t = bus()
    expect(t, witness(t, (4, 5, 6), begin="e-3"), 0, 0)  # nothing is expected above where it stands


def a_loss():
    t = bus()
    expect(t, witness(t, (1, 2, 4, 5)), 1, 1)
    t = bus()
    w = witness(t, (1, 2))
    w.state("recovered", "e-5")  # nothing is missing up to there, it says
    expect(t, w, 3, 3)


def a_repeat_and_another_order():
    t = bus()
    expect(t, witness(t, (1, 2, 2, 3)), 0, 1)
    t = bus()
    assert verdict(t, witness(t, (1, 3, 2, 4)))[1] > 0


def one_place_one_message():
    t = bus()
    w = witness(t, (1,))
    w.message("e-2", "a", "p", 9)
    assert verdict(t, w)[1] > 0
    t = bus()
    t.ack("p", 3, "a", "e-30")  # published once, stands twice
    expect(t, witness(t, (1,)), 0, 1)
    t = bus()
    w = witness(t, (1,))
    w.message("e-77", "a", "x", 77)  # never published
    assert verdict(t, w)[1] > 0


def an_unacknowledged_publish_may_stand_once():
    t = bus()
    t.send("q", 1)
    w = witness(t, range(1, 11))
    w.message("e-11", "a", "q", 1)
    expect(t, w, 0, 0)
    t = bus()
    t.send("q", 1)
    w = witness(t, range(1, 11))
    w.message("e-11", "a", "q", 1)
    w.message("e-12", "a", "q", 1)
    expect(t, w, 0, 1)
    t = bus()  # what one saw the others must have
    t.send("q", 1)
    other = witness(t, range(1, 11))
    other.message("e-11", "a", "q", 1)
    publish(t, 12)
    expect(t, witness(t, (*range(1, 11), 12)), 1, 1)


def a_gap_excuses_what_it_names_and_no_more():
    def after_gap(topics, given, told=("short",), n=10, before=()):
        t = bus(n, topics)
        w = witness(t, before)
        w.state("gap", None, told)
        give(w, given)
        return t, w
    expect(*after_gap(("short",), (9, 10)), 0, 0)                 # two are kept
    expect(*after_gap(("short",), (10,)), 1, 1)                   # 9 was kept
    expect(*after_gap(("short",), (8, 10)), 1, 1)                 # nothing is missing after the first that was given
    expect(*after_gap(("short", "a"), (2, 4, 6, 7, 8, 9, 10)), 0, 0)
    expect(*after_gap(("short", "a"), (2, 4, 7, 8, 9, 10)), 1, 1)  # 6 is of another topic
    expect(*after_gap(("short",), (9, 10), told=("none",)), 8, 3)  # it names another; three losses are reported
    expect(*after_gap(("a",), (9, 10), told=("a",)), 8, 4)         # everything of it is kept, so none is due
    expect(*after_gap(("none",), (), told=("none",)), 0, 0)
    expect(*after_gap(("none",), (), told=("",)), 0, 0)            # a topic that the broker forgot
    expect(*after_gap(("a",), (10,), told=("",)), 9, 3)
    t, w = after_gap(("short",), (9, 10), before=(1, 3))           # 2 was missed before the gap was told
    assert verdict(t, w)[0] == 1
    t, w = after_gap(("none",), ())
    w.state("gap", "e-10", ["none"])
    publish(t, 11, "none")                                         # published after the gap was told
    publish(t, 12, "none")
    give(w, (12,))
    expect(t, w, 1, 1)


def drops_are_counted():
    def dropping(count, given):
        t = bus(10, ("drop",))
        w = witness(t, given)
        w.dropped(count)
        return t, w
    expect(*dropping(2, (1, 2, 5, 6, 7, 8, 9, 10)), 0, 0)
    expect(*dropping(2, (1, 2, 6, 7, 8, 9, 10)), 1, 1)


def a_reset():
    t = bus(10, is_durable=False)
    w = witness(t, (1, 2))
    w.state("reset", "f-3")
    for i in (3, 4, 5):
        t.send("q", i)
        t.ack("q", i, "a", f"f-{i}")
    w.message("f-4", "a", "q", 4)
    w.message("f-5", "a", "q", 5)
    expect(t, w, 0, 0)
    t = bus(10, is_durable=True)
    w = witness(t, (1, 2))
    w.state("reset", "f-3")
    expect(t, w, 0, 1)
    t = bus(10, is_durable=False)  # the epoch changed and nobody said so
    w = witness(t, (1, 2))
    t.send("q", 1)
    w.message("f-1", "a", "q", 1)
    expect(t, w, 0, 1)


def acknowledged_in_the_order_sent():
    t = bus()
    t.check_order("p", [1, 2, 3])
    t.check_order("p", [4, 99, 6])
    assert not t.problems
    t.check_order("p", [5, 4])
    assert len(t.problems) == 1


if __name__ == "__main__":
    main([filters, everything_is_well, a_loss, a_repeat_and_another_order, one_place_one_message,
          an_unacknowledged_publish_may_stand_once, a_gap_excuses_what_it_names_and_no_more, drops_are_counted, a_reset,
          acknowledged_in_the_order_sent])
