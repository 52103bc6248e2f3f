"""PROGRESS never claims what is not acknowledged."""

from collections import deque
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seamark.ingestor.progress import AckedOffsets, Claim, Progress

TOPICS = ("trades", "quotes")


@dataclass(frozen=True)
class Report:
    """A delivery report as the producer gives it."""

    topic_name: str
    partition_number: int
    offset_number: int

    def topic(self):
        return self.topic_name

    def partition(self):
        return self.partition_number

    def offset(self):
        return self.offset_number


class ProgressModel(RuleBasedStateMachine):
    """A leg over partitions that acknowledge in order each, and in any order among them."""

    def __init__(self):
        super().__init__()
        self.offsets = AckedOffsets()
        self.progress = Progress(self.offsets)
        self.sent = []  # (venue time or None) of each record received, in order
        self.acked = set()  # numbers of records acknowledged
        self.in_flight = {}  # partition -> records of it that wait, oldest first
        self.ends = {}  # partition -> next offset of its log
        self.placed = {}  # partition -> offset behind the last acknowledged record
        self.lost = False
        self.clock = 1_000
        self.last_claim_us = None

    @rule(
        topic=st.sampled_from(TOPICS),
        partition=st.integers(0, 1),
        step=st.none() | st.integers(-3, 5),
        others=st.integers(0, 2),
    )
    def receive(self, topic, partition, step, others):
        venue_us = None if step is None else self.clock + step
        if venue_us is not None:
            self.clock = max(self.clock, venue_us)
            self.progress.received(venue_us)
        self.progress.interval.sent += 1
        where = (topic, partition)
        # Other producers write to the same partition: offsets have gaps.
        offset = self.ends.get(where, 0) + others
        self.ends[where] = offset + 1
        waiting = self.in_flight.setdefault(where, deque())
        waiting.append((len(self.sent), self.progress.interval.on_delivery, offset))
        self.sent.append(venue_us)

    @precondition(lambda self: any(self.in_flight.values()))
    @rule(data=st.data(), count=st.integers(1, 5))
    def acknowledge(self, data, count):
        where = data.draw(st.sampled_from([w for w, waiting in self.in_flight.items() if waiting]))
        waiting = self.in_flight[where]
        for _ in range(min(count, len(waiting))):
            number, on_delivery, offset = waiting.popleft()
            on_delivery(None, Report(where[0], where[1], offset))
            self.acked.add(number)
            self.placed[where] = offset + 1

    @precondition(lambda self: any(self.in_flight.values()))
    @rule(data=st.data())
    def fail(self, data):
        where = data.draw(st.sampled_from([w for w, waiting in self.in_flight.items() if waiting]))
        _, on_delivery, _ = self.in_flight[where].popleft()
        on_delivery("message timed out", Report(where[0], where[1], -1001))
        self.lost = True

    @rule()
    def mark(self):
        self.progress.mark()

    @rule()
    def claim(self):
        claim = self.progress.claim()
        if claim is None:
            return
        # Whatever was received up to the first record at or beyond the claimed time is acknowledged.
        times = [venue_us for venue_us in self.sent if venue_us is not None]
        assert claim.venue_us <= max(times)
        reached = next(n for n, venue_us in enumerate(self.sent) if venue_us == claim.venue_us)
        unacked = set(range(len(self.sent))) - self.acked
        assert all(number > reached for number in unacked)
        assert claim.acked == self.placed
        assert self.last_claim_us is None or claim.venue_us >= self.last_claim_us
        self.last_claim_us = claim.venue_us

    @invariant()
    def a_loss_is_noticed(self):
        assert self.progress.failed or not self.lost


ProgressModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_progress_never_overtakes_acknowledgements = ProgressModel.TestCase


def sent(progress, venue_us):
    progress.received(venue_us)
    progress.interval.sent += 1
    return progress.interval.on_delivery


def test_a_claim_stands_once_all_before_its_mark_is_acknowledged_though_more_is_on_the_way():
    progress = Progress(AckedOffsets())
    first, second = sent(progress, 100), sent(progress, 101)
    progress.mark()
    third = sent(progress, 102)
    second(None, Report("trades", 1, 7))
    third(None, Report("trades", 1, 8))
    assert progress.claim() is None
    first(None, Report("trades", 0, 3))
    assert progress.claim() == Claim(101, {("trades", 0): 4, ("trades", 1): 9})
    assert progress.claim() is None


def test_several_marks_that_stand_make_one_claim():
    progress = Progress(AckedOffsets())
    for venue_us in (100, 200, 300):
        sent(progress, venue_us)(None, Report("trades", 0, venue_us))
        progress.mark()
    assert progress.claim() == Claim(300, {("trades", 0): 301})


def test_nothing_is_claimed_behind_a_loss():
    progress = Progress(AckedOffsets())
    sent(progress, 100)(None, Report("trades", 0, 0))
    progress.mark()
    progress.lost()
    progress.mark()
    sent(progress, 300)(None, Report("trades", 0, 1))
    progress.mark()
    assert progress.claim() == Claim(100, {("trades", 0): 2})
    assert progress.claim() is None
    assert progress.failed


def test_without_any_venue_time_there_is_nothing_to_claim():
    progress = Progress(AckedOffsets())
    progress.interval.sent += 1
    progress.interval.on_delivery(None, Report("quotes", 0, 0))
    progress.mark()
    assert progress.claim() is None


def test_a_refused_frame_must_be_in_the_dead_letters_before_a_claim():
    progress = Progress(AckedOffsets())
    sent(progress, 100)(None, Report("trades", 0, 0))
    progress.interval.sent += 1
    report = progress.interval.on_beside
    progress.mark()
    assert progress.claim() is None
    report(None, Report("market.dlq", 0, 5))
    assert progress.claim() == Claim(100, {("trades", 0): 1})


def test_a_new_session_still_claims_what_older_ones_have_sent():
    offsets = AckedOffsets()
    sent(Progress(offsets), 100)(None, Report("trades", 1, 41))
    progress = Progress(offsets)
    sent(progress, 200)(None, Report("trades", 0, 9))
    progress.mark()
    assert progress.claim() == Claim(200, {("trades", 0): 10, ("trades", 1): 42})


def test_a_claim_waits_while_the_place_of_an_acknowledged_record_is_unknown():
    progress = Progress(AckedOffsets())
    sent(progress, 100)(None, Report("trades", 0, -1001))
    progress.mark()
    assert progress.claim() is None
    sent(progress, 101)(None, Report("trades", 0, 12))
    assert progress.claim() == Claim(100, {("trades", 0): 13})


def test_a_restarted_leg_claims_what_its_earlier_life_has_sent():
    progress = Progress(AckedOffsets({("trades", 0): 7, ("trades", 1): 0}))
    report = sent(progress, 100)
    report(None, Report("trades", 0, 9))
    progress.mark()
    assert dict(progress.claim().acked) == {("trades", 0): 10, ("trades", 1): 0}
