"""History, tail and log together hold every offset below E once, whatever each of them has."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.lake.streams import Stream
from seamark.lake.view import TableView
from seamark.query_gateway.errors import Gone, Stale
from seamark.query_gateway.header import Missing
from seamark.query_gateway.pin import Pin
from seamark.query_gateway.seam import (
    Hole,
    asked_ranges,
    check_end,
    check_floor,
    committed_age_ms,
    end_at,
    end_vector,
    excluded_to_name,
    freshness_ms,
    holes,
    shed_since,
    start_of,
    time_travels,
)
from seamark.query_gateway.sources import Coverage

LAW = settings(deadline=None, max_examples=400)
TOPIC = "market.crypto.trades.binance"
CLOSED, OPEN = StreamPartition(1, 0), StreamPartition(2, 0)
VIEW = TableView("u", None, {}, {}, frozenset(), "", None)
OFFSETS = st.integers(0, 12)


def stream(number, partitions, start, succeeds=None):
    return Stream(number, "cluster", f"id-{number}", TOPIC, partitions, start, "{}", "hash", succeeds)


def pin_of(watermark, streams, append_us=None, excluded=(), revision=0):
    return Pin("trades", 7, watermark, append_us or {}, revision, excluded, streams, VIEW)


@dataclass(frozen=True)
class Partition:
    """Where everybody stands. The pin is taken at `old`; while the tail answers, `new` is committed."""

    start: int
    old: int
    new: int
    lo: int
    hi: int
    end: int
    """Of the log."""
    log_start: int
    known: bool
    """Whether the first pin's snapshot names it."""
    asked: int | None
    floor: int
    replica: bool


@st.composite
def partitions(draw):
    end = draw(OFFSETS)
    start, old, new = sorted(draw(st.lists(st.integers(0, end), min_size=3, max_size=3)))
    hi = draw(st.integers(start, end))
    lo = draw(st.integers(start, hi))
    return Partition(
        start,
        old if (known := draw(st.booleans())) else start,
        new,
        lo,
        hi,
        end,
        draw(st.integers(0, end)),
        known,
        draw(st.none() | st.integers(0, end + 2)),
        draw(st.integers(0, end + 2)),
        draw(st.booleans()),
    )


def covered(one, wanted):
    """What the tail-cache says of a range: the part of [first, next) that it holds."""
    to = one.hi if wanted.next is None else wanted.next
    first = min(max(wanted.first, one.lo), max(to, wanted.first))
    return Coverage(wanted.where, first, max(first, min(to, one.hi)), one.lo, one.hi, one.end, one.hi)


@LAW
@given(st.lists(partitions(), min_size=1, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_every_offset_below_the_end_is_given_once_or_named(world, given_end, repinned, log_answers):
    streams = {2: stream(2, len(world), tuple(one.start for one in world))}
    where = [StreamPartition(2, number) for number in range(len(world))]
    old = pin_of({at: one.old for at, one in zip(where, world, strict=True) if one.known}, streams)
    new = pin_of({at: one.new for at, one in zip(where, world, strict=True)}, streams)
    wanted = {at: one.asked for at, one in zip(where, world, strict=True) if one.asked is not None}
    end = wanted if given_end else None
    asked = asked_ranges(
        old, end, {} if given_end else {at: one.floor for at, one in zip(where, world, strict=True)}
    )
    coverage = {
        one.where: covered(world[one.where.partition], one)
        for one in asked
        if world[one.where.partition].replica
    }
    pin = new if repinned else old
    found = holes(pin, asked, coverage, {})
    reached = end_vector(pin, end, coverage)
    missing = []
    times = {at: [0] * 20 for at in where}
    for at, part in coverage.items():
        for offset in range(max(part.first, start_of(pin, at)), part.next):
            times[at][offset] += 1
    for hole in found:
        one = world[hole.where.partition]
        behind = one.end if hole.next is None else hole.next
        if log_answers and one.log_start <= start_of(pin, hole.where) and behind <= one.end:
            for offset in range(hole.first, behind):
                times[hole.where][offset] += 1
            if end is None:
                reached[hole.where] = max(reached[hole.where], behind)
        else:
            missing.append(hole)
    for at, one in zip(where, world, strict=True):
        if given_end and at not in wanted:
            assert reached.get(at) is None  # no part of the answer
            continue
        first, last = start_of(pin, at), reached[at]
        assert last == one.asked if given_end else last >= first
        gone = [
            range(hole.first, 99 if hole.next is None else hole.next) for hole in missing if hole.where == at
        ]
        for offset in range(20):
            named = any(offset in range_ for range_ in gone)
            if offset < min(first, last):
                assert not named, "what history has is not missing"
                continue
            assert times[at][offset] + named <= 1, "twice"
            assert times[at][offset] + named == 1 or not first <= offset < last, "neither given nor named"
            assert not times[at][offset] or offset < last, "given beyond E"
        if not given_end and not missing:
            assert last >= one.floor
            assert last >= (one.hi if one.replica and one.floor <= one.old else 0)


@LAW
@given(partitions())
def test_nothing_is_asked_that_history_has(one):
    pin = pin_of({OPEN: one.old}, {2: stream(2, 1, (one.start,))})
    end = {} if one.asked is None else {OPEN: one.asked}
    for range_ in (*asked_ranges(pin, end, {}), *asked_ranges(pin, None, {OPEN: one.floor})):
        assert range_.first == one.old
        assert range_.next is None or range_.next > range_.first
    assert bool(asked_ranges(pin, end, {})) == (one.asked is not None and one.asked > one.old)
    assert len(asked_ranges(pin, None, {})) == 1


def test_a_closed_stream_ends_at_its_watermark_and_is_not_asked_for():
    pin = pin_of({CLOSED: 5, OPEN: 3}, {1: stream(1, 1, (0,)), 2: stream(2, 1, (2,), succeeds=1)})
    assert [range_.where for range_ in asked_ranges(pin, None, {})] == [OPEN]
    assert [range_.where for range_ in asked_ranges(pin, {CLOSED: 5, OPEN: 9}, {})] == [OPEN]
    assert end_vector(pin, None, {}) == {CLOSED: 5, OPEN: 3}


def test_a_stream_closed_while_the_tail_answered_gives_nothing_behind_its_watermark():
    before = pin_of({CLOSED: 5}, {1: stream(1, 1, (0,))})
    asked = asked_ranges(before, None, {})
    coverage = {CLOSED: Coverage(CLOSED, 5, 9, 0, 9, 9, 0)}
    after = pin_of({CLOSED: 6, OPEN: 0}, {1: stream(1, 1, (0,)), 2: stream(2, 1, (0,), succeeds=1)})
    assert holes(after, asked, coverage, {}) == holes(after, asked, {}, {}) == []
    assert end_vector(after, None, coverage) == {CLOSED: 6, OPEN: 0}


def test_a_stream_that_left_the_registry_while_the_tail_answered_has_no_rows():
    before = pin_of({OPEN: 5}, {2: stream(2, 1, (0,))})
    after = pin_of({CLOSED: 6}, {1: stream(1, 1, (0,))})
    asked = asked_ranges(before, None, {})
    coverage = {OPEN: Coverage(OPEN, 5, 9, 0, 9, 9, 0)}
    assert holes(after, asked, coverage, {}) == []
    assert end_vector(after, None, coverage) == {CLOSED: 6}


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ({CLOSED: 5, OPEN: 99}, True),
        ({CLOSED: 4}, True),
        ({CLOSED: 6}, False),
        ({StreamPartition(3, 0): 1}, False),
    ],
)
def test_an_end_beyond_a_stream_that_takes_no_more_rows_is_gone(end, kept):
    pin = pin_of({CLOSED: 5, OPEN: 3}, {1: stream(1, 1, (0,)), 2: stream(2, 1, (2,), succeeds=1)})
    if kept:
        check_end(pin, end, None)
    else:
        with pytest.raises(Gone, match="takes no more rows"):
            check_end(pin, end, None)


@pytest.mark.parametrize(
    ("first", "revision", "kept"), [(3, 4, False), (3, 5, True), (8, 4, True), (7, 4, False), (3, None, True)]
)
def test_what_was_taken_out_since_and_touches_the_end_is_gone(first, revision, kept):
    gone = ExcludedRange(OPEN, first, first + 1, "SHED", 5)
    pin = pin_of({OPEN: 9}, {2: stream(2, 1, (0,))}, excluded=(gone,))
    if kept:
        check_end(pin, {OPEN: 8}, revision)
    else:
        with pytest.raises(Gone, match=rf"shed_since: offsets \[{first}, {first + 1}\) of 2.0"):
            check_end(pin, {OPEN: 8}, revision)


@pytest.mark.parametrize(("revision", "before"), [(0, True), (4, True), (5, False), (6, False)])
def test_a_range_that_is_not_repaired_was_visible_before_its_shedding_alone(revision, before):
    assert shed_since(ExcludedRange(OPEN, 3, 5, "SHED", 5), revision) is before


@pytest.mark.parametrize("revision", [4, 7, 8])
def test_a_repaired_range_refuses_nobody_from_before_its_shedding_or_after_its_repair(revision):
    """Shed at 5, repaired at 7: excluded no more. The other range still is."""
    still = ExcludedRange(OPEN, 20, 21, "SHED", 6)
    pin = pin_of({OPEN: 30}, {2: stream(2, 1, (0,))}, excluded=(still,), revision=7)
    check_end(pin, {OPEN: 18}, revision)
    if revision < still.revision:
        with pytest.raises(Gone, match="shed_since"):
            check_end(pin, {OPEN: 30}, revision)
    else:
        check_end(pin, {OPEN: 30}, revision)


def test_ranges_below_the_end_are_named_and_what_a_closed_stream_lost():
    inside, beyond = ExcludedRange(OPEN, 3, 5, "SHED", 1), ExcludedRange(OPEN, 8, 9, "SHED", 1)
    lost = ExcludedRange(CLOSED, 5, -1, "LOST", 2)
    streams = {1: stream(1, 1, (0,)), 2: stream(2, 1, (0,), succeeds=1)}
    pin = pin_of({CLOSED: 5, OPEN: 9}, streams, excluded=(inside, beyond, lost))
    assert excluded_to_name(pin, {CLOSED: 5, OPEN: 8}) == (inside, lost)
    assert excluded_to_name(pin, {CLOSED: 4, OPEN: 3}) == ()
    assert excluded_to_name(pin, {OPEN: 4}) == (inside,)


@pytest.mark.parametrize(
    ("end", "missing", "short"),
    [
        ({OPEN: 5}, [], False),
        ({OPEN: 9}, [Missing(OPEN, 5, 9, "")], False),
        ({OPEN: 4}, [], True),
        ({}, [], True),
        ({OPEN: 5}, [Missing(OPEN, 4, 5, "")], True),
        ({OPEN: 5}, [Missing(OPEN, 0, None, "")], True),
        ({OPEN: 5}, [Missing(CLOSED, 0, None, "")], False),
    ],
)
def test_a_floor_holds_where_all_below_it_is_given(end, missing, short):
    if short:
        with pytest.raises(Stale, match="2.0"):
            check_floor({OPEN: 5}, end, missing)
    else:
        check_floor({OPEN: 5}, end, missing)


def test_history_is_cut_where_it_goes_beyond_the_end():
    pin = pin_of({CLOSED: 5, OPEN: 3}, {})
    assert not time_travels(pin, {CLOSED: 5, OPEN: 3})
    assert not time_travels(pin, {CLOSED: 5, OPEN: 9})
    assert time_travels(pin, {CLOSED: 4, OPEN: 9})
    assert time_travels(pin, {OPEN: 9})


SECOND = 1_000_000
NOW = 10**15


@pytest.mark.parametrize(
    ("end", "mark", "age_ms"),
    [
        (9, (9, 9, 1, 0), 0),  # the replica had all there was
        (9, (9, 9, 50, 0.7), 700),  # nothing came since: all is seen until the end was asked for last
        (9, (9, 9, 1, 40), 1_000),  # the end was asked for long before the last record came
        (9, (9, 9, 3600, 3600), 60_000),  # the replica has stood still for an hour
        (9, (9, 9, 1, 1_000_000_000), 1_000),  # a replica that does not say when
        (9, (9, 12, 1, 0), 1_000),  # it was behind: the last record it had is a second old
        (9, (12, 12, 1, 0), 60_000),  # E was fixed before it came so far: only what H(S) says is sure
        (12, (9, 12, 1, 0), 0),  # the rest came from the log
        (12, (9, 12, 1, -5), 0),  # its clock is ahead
        (9, None, 60_000),
        (4, (12, 12, 1, 0), 1_000 * 86_400_000),  # below H(S): nobody knows
    ],
)
def test_freshness_claims_no_more_than_is_known(end, mark, age_ms):
    pin = pin_of({OPEN: 5}, {2: stream(2, 1, (0,))}, append_us={OPEN: NOW - 60 * SECOND})
    marks = []
    if mark is not None:
        hi, log_end, append_seconds, asked_seconds = mark
        asked_us = int(NOW - asked_seconds * SECOND)
        marks = [Coverage(OPEN, 5, end, 0, hi, log_end, NOW - append_seconds * SECOND, asked_us)]
    assert freshness_ms(pin, {OPEN: end}, marks, NOW) == age_ms
    assert freshness_ms(pin, {OPEN: end}, marks, NOW, NOW - 30 * SECOND) == min(age_ms, 30_000)


def test_the_least_fresh_partition_decides():
    pin = pin_of({OPEN: 5}, {2: stream(2, 2, (0, 0))}, append_us={OPEN: NOW - 60 * SECOND})
    other = StreamPartition(2, 1)
    marks = [Coverage(OPEN, 5, 9, 0, 9, 9, NOW), Coverage(other, 0, 3, 0, 3, 4, NOW - 7 * SECOND, NOW)]
    assert freshness_ms(pin, {OPEN: 9, other: 3}, marks, NOW) == 7_000


def behind(first_seconds, stopped="", hi=9, end=9):
    """A replica whose first record at or beyond H(S) was appended so long ago; None: it has none."""
    append_us = 0 if first_seconds is None else NOW - first_seconds * SECOND
    return Coverage(OPEN, 5, hi, 0, hi, end, NOW, NOW, stopped, append_us)


@pytest.mark.parametrize(
    ("end", "h", "marks", "age_ms"),
    [
        (9, 5, [behind(3)], 3_000),
        (5, 5, [behind(3)], 0),  # E ends where the commit does
        (9, None, [behind(3600)], 3_600_000),  # a writer that never committed
        (9, 5, [behind(0)], 0),  # one fresh record after an idle minute
        (9, 5, [behind(90)], 60_000),  # asked with an older pin: not before what the newer one has
        (9, 5, [behind(3), behind(40)], 40_000),  # part of it came from the log
        (9, 5, [behind(None)], 60_000),
        (9, 5, [], 60_000),
        (9, None, [], 1_000 * 86_400_000),  # nobody knows
        (5, 5, [behind(None, "UNREADABLE", 5, 53)], 60_000),  # there are more, and nobody reads them
        (5, 5, [behind(None, "UNREADABLE", 5, 5)], 0),
        (5, 5, [behind(None, "", 5, 53)], 0),  # they come in a moment
    ],
)
def test_the_committed_age_is_that_of_the_first_record_behind_the_watermark(end, h, marks, age_ms):
    vector, times = ({}, {}) if h is None else ({OPEN: h}, {OPEN: NOW - 60 * SECOND})
    pin = pin_of(vector, {2: stream(2, 1, (0,))}, append_us=times)
    assert committed_age_ms(pin, {OPEN: end}, marks, NOW) == age_ms


def test_a_closed_stream_waits_for_no_commit():
    pin = pin_of({CLOSED: 5, OPEN: 9}, {1: stream(1, 1, (0,)), 2: stream(2, 1, (0,), succeeds=1)})
    assert committed_age_ms(pin, {CLOSED: 5, OPEN: 9}, [], NOW) == 0


def test_what_a_replica_reads_no_more_is_a_hole_to_the_logs_end():
    pin = pin_of({OPEN: 5}, {2: stream(2, 1, (0,))})
    asked = asked_ranges(pin, None, {})
    assert holes(pin, asked, {OPEN: behind(1, "LOG_LOST", 9, 12)}, {}) == [Hole(OPEN, 9, 12, "TAIL_STOPPED")]
    assert holes(pin, asked, {OPEN: behind(1, "LOG_LOST", 9, 9)}, {}) == []
    assert holes(pin, asked, {OPEN: behind(1, "", 9, 12)}, {}) == []
    given_end = asked_ranges(pin, {OPEN: 10}, {})
    assert holes(pin, given_end, {OPEN: behind(1, "LOG_LOST", 9, 12)}, {}) == [
        Hole(OPEN, 9, 10, "TAIL_STOPPED")
    ]


@st.composite
def timed(draw):
    """(append times of a log, running; where it begins now; H; how far the tail is)."""
    times = sorted(draw(st.lists(st.integers(1, 9), max_size=10)))
    end = len(times)
    return times, draw(st.integers(0, end)), draw(st.integers(0, end)), draw(st.integers(0, end))


@LAW
@given(timed(), st.integers(0, 10), st.booleans(), st.booleans())
def test_as_known_at_has_what_was_appended_until_then_or_says_that_it_cannot_know(world, instant, log, tail):
    times, log_start, committed, hi = world
    running = lambda offset: times[offset - 1] if offset else 0  # noqa: E731
    pin = pin_of({OPEN: committed}, {2: stream(2, 1, (0,))}, append_us={OPEN: running(committed)})
    later = [at for at, time in enumerate(times) if at >= log_start and time > instant]
    offsets = {OPEN: min(later, default=len(times))} if log else {}
    marks = {OPEN: Coverage(OPEN, 0, 0, 0, hi, hi, running(hi))} if tail and not log else {}
    end, unknown = end_at(pin, instant, offsets, marks)
    meant = {at for at, time in enumerate(times) if time <= instant}
    got = {at for at in range(end[OPEN]) if times[at] <= instant}
    named = {at for gone in unknown for at in range(gone.first, len(times)) if times[at] <= instant}
    assert got | named == meant
    assert not got & named
    if log:
        assert not unknown
        if log_start == 0:
            assert end[OPEN] == len(meant)
        if running(committed) > instant:
            assert end[OPEN] <= committed  # nothing is asked of tail and log that cannot be meant
    assert all(gone.next is None and gone.where == OPEN for gone in unknown)


@pytest.mark.parametrize(("instant", "sure"), [(6, True), (7, False), (8, False)])
def test_a_later_record_may_be_stamped_like_the_last_one_seen(instant, sure):
    pin = pin_of({OPEN: 3}, {2: stream(2, 1, (0,))}, append_us={OPEN: 5})
    end, unknown = end_at(pin, instant, {}, {OPEN: Coverage(OPEN, 3, 9, 0, 9, 9, 7)})
    assert (end, unknown) == ({OPEN: 9}, [] if sure else [Missing(OPEN, 9, None, "LOG_UNAVAILABLE")])


def test_as_known_at_takes_all_of_closed_streams_by_the_rows_append_times():
    pin = pin_of({CLOSED: 5, OPEN: 3}, {1: stream(1, 1, (0,)), 2: stream(2, 1, (2,), succeeds=1)})
    assert end_at(pin, 0, {OPEN: 0}, {}) == ({CLOSED: 5, OPEN: 2}, [])
