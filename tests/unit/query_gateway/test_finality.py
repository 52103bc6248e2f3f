"""Intervals settle where the definition says, whatever sessions do."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seamark.query_gateway.finality import GRACE_US, LIVE_US, Event, Frontier
from unit.query_gateway.settling import LEGS, by_definition, steps_of

SECOND = 1_000_000
TOPIC = "topic-id"


def opened(at, leg="a", session="1"):
    return Event("SESSION_OPENED", at, leg, f"{leg}{session}", None, ())


def closed(at, leg="a", session="1"):
    return Event("SESSION_CLOSED", at, leg, f"{leg}{session}", None, ())


def progress(at, venue, leg="a", session="1", acked=()):
    places = tuple((TOPIC, partition, offset) for partition, offset in acked)
    return Event("PROGRESS", at, leg, f"{leg}{session}", venue, places)


@st.composite
def histories(draw):
    """Legs that open, say how far they are, fall silent, close, open again; late words of sessions that are over."""
    events, now = [], 100 * SECOND
    sessions = {leg: draw(st.integers(0, 1)) for leg in LEGS}  # 1: it was open before the events begin
    over = {leg: [] for leg in LEGS}
    venue = {}
    for _ in range(draw(st.integers(1, 40))):
        now += draw(st.sampled_from([0, 0, 1, SECOND, 2 * SECOND, 9_999_999, 10 * SECOND, 10_000_001]))
        leg = draw(st.sampled_from(LEGS[: draw(st.integers(1, 3))]))
        what = draw(st.sampled_from([*["progress"] * 8, "open", "close", "late"]))
        number = sessions[leg]
        if what == "open":
            if number:
                over[leg].append(number)
            sessions[leg] = number + len(over[leg]) + 1
            events.append(opened(now, leg, sessions[leg]))
        elif what == "close" and number:
            over[leg].append(number)
            events.append(closed(now, leg, number))
        elif (
            what == "late"
            and over[leg]
            and any(event.leg == leg and event.kind == "SESSION_OPENED" for event in events)
        ):
            events.append(progress(now, now + 10**9, leg, draw(st.sampled_from(over[leg])), ((0, 10**6),)))
        elif what == "progress" and number and number not in over[leg]:
            lag = draw(st.sampled_from([0, 1, SECOND, 30 * SECOND, -SECOND]))
            venue[leg, number] = max(venue.get((leg, number), 0), now - lag)
            acked = draw(st.dictionaries(st.integers(0, 3), st.integers(1, 1_000), max_size=4))
            events.append(progress(now, venue[leg, number], leg, number, tuple(acked.items())))
    return events


@settings(deadline=None, max_examples=200)
@given(histories(), st.lists(st.integers(60 * SECOND, 400 * SECOND), max_size=6))
@example([progress(0, 5 * SECOND), closed(1), progress(2, 9 * SECOND)], [2 * SECOND])
def test_an_interval_settles_where_the_definition_says(events, ends):
    frontier = Frontier()
    for event in events:
        frontier.add(event)
    steps = steps_of(events)
    said = [
        event.venue_us - GRACE_US + step
        for event in events
        if event.venue_us is not None
        for step in (-1, 0, 1)
    ]
    for end_us in {*ends, *said}:
        assert frontier.settled(end_us) == by_definition(steps, end_us), end_us


@settings(deadline=None)
@given(histories(), st.data())
def test_what_is_settled_is_never_taken_back(events, data):
    frontier = Frontier()
    settled: dict[int, object] = {}
    for event in events:
        frontier.add(event)
        for end_us, vector in settled.items():
            assert frontier.settled(end_us) == vector
        end_us = data.draw(st.integers(60 * SECOND, 400 * SECOND))
        if (vector := frontier.settled(end_us)) is not None:
            settled[end_us] = vector


def frontier_of(*events):
    frontier = Frontier()
    for event in events:
        frontier.add(event)
    return frontier


def test_the_slowest_live_leg_decides():
    fast, slow = progress(1, 5 * SECOND), progress(0, 3 * SECOND, "b")
    assert frontier_of(slow, fast).settled(SECOND) is not None
    assert frontier_of(slow, fast).settled(SECOND + 1) is None
    assert frontier_of(opened(0, "b"), fast).settled(SECOND + 1) is not None  # b has said nothing yet


@pytest.mark.parametrize(("silent_us", "counts"), [(LIVE_US, True), (LIVE_US + 1, False)])
def test_a_leg_silent_for_more_than_ten_seconds_does_not_count(silent_us, counts):
    events = [progress(0, SECOND, "b"), progress(silent_us, 9 * SECOND)]
    assert (frontier_of(*events).settled(5 * SECOND) is None) == counts


def test_any_record_of_the_shard_may_be_the_one_that_settles():
    """When a slow leg closes, the others' words stand at once."""
    events = [progress(0, SECOND, "b"), progress(1, 9 * SECOND, acked=((0, 7),))]
    assert frontier_of(*events).settled(5 * SECOND) is None
    assert frontier_of(*events, closed(2, "b")).settled(5 * SECOND) == {(TOPIC, 0): 7}


def test_vectors_of_live_legs_are_joined_by_their_maximum():
    slow = progress(0, 9 * SECOND, acked=((0, 7), (1, 5)))
    fast = progress(1, 20 * SECOND, "b", acked=((0, 6), (2, 1)))
    later = progress(2, 10 * SECOND, acked=((0, 8), (1, 5)))
    settled = frontier_of(slow, fast, later).settled(8 * SECOND)
    assert settled == {(TOPIC, 0): 8, (TOPIC, 1): 5, (TOPIC, 2): 1}


def test_a_session_that_opens_takes_its_legs_place():
    events = [
        opened(0),
        progress(1, SECOND),
        opened(2, session="2"),
        progress(3, 20 * SECOND),
        progress(4, 9 * SECOND, session="2"),
    ]
    frontier = frontier_of(*events)
    assert frontier.settled(7 * SECOND) is not None
    assert frontier.settled(7 * SECOND + 1) is None


def test_an_event_told_twice_counts_once():
    events = [opened(0), progress(1, SECOND), progress(2, 9 * SECOND), progress(3, SECOND), opened(4)]
    assert frontier_of(*events, progress(5, 9 * SECOND, "b")).settled(7 * SECOND) is not None
    assert frontier_of(*events, closed(5), opened(6), progress(7, 30 * SECOND)).settled(20 * SECOND) is None
    both = [progress(1, SECOND), progress(1, SECOND, "b"), progress(2, 9 * SECOND, "b")]
    again = [progress(3, SECOND, "b"), progress(4, 9 * SECOND)]
    assert frontier_of(*both, *again).settled(7 * SECOND) is not None


def test_of_sessions_whose_openings_are_not_seen_the_one_heard_last_stands():
    events = [progress(1, SECOND), progress(2, 9 * SECOND, session="2"), progress(3, 30 * SECOND)]
    assert frontier_of(*events).settled(7 * SECOND) is not None
    assert frontier_of(*events).settled(20 * SECOND) is None


def test_nobody_live_settles_nothing():
    assert frontier_of(opened(0), closed(1)).settled(-GRACE_US) is None
    assert Frontier().settled(0) is None
