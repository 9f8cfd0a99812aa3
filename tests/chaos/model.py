# SPDX-License-Identifier: Apache-2.0
"""What the bus promised and what became of it.

Truth knows every message that anybody saw or had acknowledged: by epoch and seq, which publish it was. Witness keeps what one
subscription was given, in the order in which it was given, with everything that the protocol told it between. judge() compares the
two. The rules, all of them from docs/protocol.md:

- A (epoch, seq) is one message, the same for everybody; a publish stands in an epoch at most once, acknowledged or not.
- A subscription sees growing seqs. From where it began to where it is, every message that matches is there, unless
- `gap` named its topic: then messages of that topic may be missing that were sent before the gap was told, that lie after
  the subscription's position, before the topic's first message that it was given then, and that have so many newer ones on
  their topic that the history's limit was exceeded; or
- `dropped` was told: at most so many, sent before it, of topics with a policy that drops; or
- `reset` was told: then nothing is promised between the old position and the cursor that came with it, and the epoch is new.
  A store that survives its broker never says reset. Nor is a gap told of a topic that keeps everything.
- The acknowledged publishes of one connection stand in the order in which they were sent.
"""
import bisect
import time
from array import array


def parse_cursor(text):
    """(epoch, seq). Clients take a cursor as it is; only a test may look inside."""
    epoch, _, seq = text.partition("-")
    return epoch, int(seq)


def filter_matches(pattern, topic):
    levels, names = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and levels[0] in ("+", "#"):
        return False
    for i, level in enumerate(levels):
        if level == "#":
            return True
        if i >= len(names) or level not in ("+", names[i]):
            return False
    return len(levels) == len(names)


class Setting:
    """What a topic keeps: history, None for everything; whether a slow reader's messages may be dropped."""

    def __init__(self, history=None, may_drop=False):
        self.history, self.may_drop = history, may_drop


class Truth:
    def __init__(self, is_durable=False, setting_of=lambda topic: Setting()):
        self.is_durable, self.setting_of = is_durable, setting_of
        self.epochs = {}      # epoch -> {seq: (topic, publisher, n)}
        self.sent = {}        # (publisher, n) -> when it was first sent
        self.places = {}      # (publisher, n) -> {epoch: seq}
        self.acked = {}       # (publisher, n) -> (epoch, seq)
        self.acked_somewhere = []
        self.refused = set()  # answered by an error that says that it was not done
        self.problems = []
        self.n_acked = 0
        self.by_topic = None

    def problem(self, what):
        if len(self.problems) < 200:
            self.problems.append(what)

    def send(self, publisher, n):
        self.sent.setdefault((publisher, n), time.monotonic())

    def note(self, epoch, seq, topic, publisher, n, who):
        """Somebody says that this message stands there."""
        log = self.epochs.setdefault(epoch, {})
        known = log.get(seq)
        if known is not None:
            if known != (topic, publisher, n):
                self.problem(f"two messages at {epoch}-{seq}: {known}, and for {who} {(topic, publisher, n)}")
            return
        log[seq] = (topic, publisher, n)
        if (publisher, n) not in self.sent:
            self.problem(f"{who} was given {epoch}-{seq} {(topic, publisher, n)}, which nobody published")
        places = self.places.setdefault((publisher, n), {})
        if epoch in places:
            self.problem(f"published once and stands twice: {(topic, publisher, n)} at {epoch}-{places[epoch]} and -{seq}, says {who}")
        elif places and self.is_durable:
            self.problem(f"published once and stands in two epochs: {(topic, publisher, n)} in {places} and {epoch}-{seq}")
        places[epoch] = seq

    def ack(self, publisher, n, topic, cursor):
        epoch, seq = parse_cursor(cursor)
        self.note(epoch, seq, topic, publisher, n, f"the answer to {publisher}")
        if (publisher, n) not in self.acked:
            self.n_acked += 1
        self.acked[(publisher, n)] = (epoch, seq)

    def ack_somewhere(self, publisher, cursor):
        """Acknowledged, but the publisher does not say which of its publishes it was."""
        self.n_acked += 1
        self.acked_somewhere.append((publisher, *parse_cursor(cursor)))

    def close(self):
        """Nothing more is noted; makes the index that the judgement needs."""
        self.by_topic = {}
        for epoch, log in self.epochs.items():
            topics = self.by_topic.setdefault(epoch, {})
            for seq in sorted(log):
                topics.setdefault(log[seq][0], []).append(seq)
        places = set()
        for publisher, epoch, seq in self.acked_somewhere:
            known = self.epochs.get(epoch, {}).get(seq)
            if (epoch, seq) in places or (known is not None and known[1] != publisher) or (known is None and self.is_durable):
                self.problem(f"{publisher} was told that its publish stands at {epoch}-{seq}: there stands {known}")
            places.add((epoch, seq))
        for key in self.refused:
            if key in self.places and key not in self.acked:
                self.problem(f"refused and stands all the same: {key} at {self.places[key]}")

    def check_order(self, publisher, numbers):
        """The numbers of a connection's publishes, in the order in which they were sent."""
        last = {}
        for n in numbers:
            if (publisher, n) not in self.acked:
                continue
            epoch, seq = self.acked[(publisher, n)]
            if seq <= last.get(epoch, (0, 0))[0]:
                self.problem(f"{publisher} sent {last[epoch][1]} before {n} on one connection, but they stand at "
                             f"{epoch}-{last[epoch][0]} and -{seq}")
            last[epoch] = (seq, n)

    def newer(self, epoch, topic, seq):
        """How many messages the topic is known to have above seq."""
        seqs = self.by_topic[epoch][topic]
        return len(seqs) - bisect.bisect_right(seqs, seq)


class Told:
    """A gap or a drop, and where in the stream it was told."""

    def __init__(self, index, position, topics=None, count=0):
        self.index, self.position, self.topics, self.count = index, position, topics, count
        self.at = time.monotonic()
        self.firsts = {}  # topic -> the first of it that was given after

    def names(self, topic, setting):
        """The empty name is for topics that the broker no longer knows: none of which anything is kept."""
        return topic in self.topics or ("" in self.topics and setting.history == 0)

    def first_given(self, topic, seqs, log):
        if topic not in self.firsts:
            self.firsts[topic] = next((s for s in seqs[self.index:] if log[s][0] == topic), None)
        return self.firsts[topic]


class Segment:
    """A stretch of one epoch."""

    def __init__(self, epoch, start, why):
        self.epoch, self.start, self.why = epoch, start, why
        self.position = start
        self.seqs = array("Q")
        self.gaps, self.drops = [], []


class Witness:
    def __init__(self, truth, name, filters):
        self.truth, self.name, self.filters = truth, name, list(filters)
        self.segments = []
        self.n_gaps = self.n_resets = self.n_dropped = self.n_messages = 0
        self.history = []  # the last things that happened, for the report
        self.ends = {}     # topic -> of the final message on it

    @property
    def cursor(self):
        """Where the subscription goes on from; None before it ever stood."""
        return f"{self.segments[-1].epoch}-{self.segments[-1].position}" if self.segments else None

    def remember(self, text):
        self.history.append(f"{time.strftime('%H:%M:%S')} at {self.cursor}: {text}")
        del self.history[:-40]

    def problem(self, what):
        self.truth.problem(f"{self.name} {self.filters}: {what}")

    def live(self, cursor):
        """Began without a cursor."""
        self.remember(f"live from {cursor}")
        if self.segments:
            self.problem(f"was told live though it gave the cursor {self.cursor}")
        self.segments.append(Segment(*parse_cursor(cursor), "live"))

    def begin(self, cursor):
        """Begins with a cursor that it got elsewhere."""
        self.segments.append(Segment(*parse_cursor(cursor), "since"))

    def advance(self, cursor):
        """The server says: everything up to here was sent."""
        epoch, seq = parse_cursor(cursor)
        segment = self.segments[-1]
        if epoch != segment.epoch:
            self.problem(f"is at {self.cursor} and was moved to {cursor} without a reset")
        elif seq < segment.position:
            self.problem(f"is at {self.cursor} and was moved back to {cursor}")
        else:
            segment.position = seq

    def state(self, state, cursor=None, topics=()):
        self.remember(f"told {state} {cursor} {list(topics)}")
        if state == "reset":
            self.n_resets += 1
            if self.truth.is_durable:
                self.problem(f"was told reset to {cursor} at {self.cursor}, though the store survives")
            epoch, seq = parse_cursor(cursor)
            if self.segments and self.segments[-1].epoch == epoch:
                self.problem(f"was told reset to {cursor} at {self.cursor}, which is the same epoch")
            self.segments.append(Segment(epoch, seq, "reset"))
        elif state == "gap":
            self.n_gaps += 1
            segment = self.segments[-1]
            segment.gaps.append(Told(len(segment.seqs), segment.position, frozenset(topics)))
            for topic in topics:
                setting = self.truth.setting_of(topic)
                if topic and setting.history is None and not setting.may_drop:
                    self.problem(f"at {self.cursor} was told a gap of '{topic}', which keeps everything")
            if cursor is not None:
                self.advance(cursor)
        elif state == "recovered":
            if cursor is not None:
                self.advance(cursor)
        elif state == "live":
            self.problem(f"was told live at {self.cursor}")
        else:
            self.problem(f"was told the state '{state}'")

    def dropped(self, count):
        self.remember(f"told dropped {count}")
        self.n_dropped += count
        segment = self.segments[-1]
        segment.drops.append(Told(len(segment.seqs), segment.position, count=count))

    def message(self, cursor, topic, publisher, n):
        epoch, seq = parse_cursor(cursor)
        self.n_messages += 1
        self.truth.note(epoch, seq, topic, publisher, n, self.name)
        if not any(filter_matches(f, topic) for f in self.filters):
            self.problem(f"was given {cursor} of {topic}")
        if not self.segments:
            self.problem(f"was given {cursor} before its subscription was answered")
            self.segments.append(Segment(epoch, seq - 1, "?"))
        segment = self.segments[-1]
        if epoch != segment.epoch:
            self.problem(f"is at {self.cursor} and was given {cursor} without a reset")
            segment = Segment(epoch, seq - 1, "?")
            self.segments.append(segment)
        elif seq <= segment.position:
            kind = "again" if seq in segment.seqs else "out of order"
            self.problem(f"is at {self.cursor} and was given {cursor} {(topic, publisher, n)} {kind}; "
                         f"before: {list(segment.seqs[-6:])}\n    " + "\n    ".join(self.history[-8:]))
            return
        segment.seqs.append(seq)
        segment.position = seq
        if publisher == "end":
            self.ends[topic] = n

    def judge(self):
        """Compares with the truth, which is closed. Returns the number of losses."""
        losses = 0
        for i, segment in enumerate(self.segments):
            losses += self._judge(i, segment)
        return losses

    def _judge(self, number, segment):
        topics = self.truth.by_topic.get(segment.epoch, {})
        log = self.truth.epochs.get(segment.epoch, {})
        seen = set(segment.seqs)
        missing = []
        for topic, seqs in topics.items():
            if any(filter_matches(f, topic) for f in self.filters):
                low, high = bisect.bisect_right(seqs, segment.start), bisect.bisect_right(seqs, segment.position)
                missing += [seq for seq in seqs[low:high] if seq not in seen]
        budget = [[told, told.count] for told in segment.drops]
        losses = [seq for seq in sorted(missing) if not self._is_excused(segment, log, seq, budget)]
        for seq in losses[:3]:
            self._report(number, segment, log, seq)
        return len(losses)

    def _is_excused(self, segment, log, seq, budget):
        topic, publisher, n = log[seq]
        sent = self.truth.sent.get((publisher, n), 0)
        setting = self.truth.setting_of(topic)
        for gap in segment.gaps:
            if not gap.names(topic, setting) or seq <= gap.position or sent > gap.at:
                continue
            given = gap.first_given(topic, segment.seqs, log)
            if given is not None and given < seq:
                continue
            if setting.may_drop or (setting.history is not None and
                                    self.truth.newer(segment.epoch, topic, seq) >= setting.history):
                return True
        if setting.may_drop:
            for entry in budget:
                if entry[1] > 0 and sent <= entry[0].at:
                    entry[1] -= 1
                    return True
        return False

    def _report(self, number, segment, log, seq):
        at = bisect.bisect(segment.seqs, seq)
        matching = [s for s in sorted(log) if any(filter_matches(f, log[s][0]) for f in self.filters)]
        i = matching.index(seq)
        self.problem(
            f"LOST {segment.epoch}-{seq} {log[seq]}, acknowledged: {log[seq][1:] in self.truth.acked}\n"
            f"    expected around it: {matching[max(0, i - 5):i + 6]}\n"
            f"    given around it:    {list(segment.seqs[max(0, at - 5):at + 5])}\n"
            f"    stretch {number} of {len(self.segments)}: {segment.why} from {segment.start} to {segment.position}, "
            f"gaps {[(g.position, sorted(g.topics)) for g in segment.gaps[-5:]]}\n    " + "\n    ".join(self.history[-15:]))
