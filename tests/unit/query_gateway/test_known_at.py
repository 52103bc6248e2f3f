"""What was known then, told later: by Kafka's index, by the rows' own append times, or not at all."""

from __future__ import annotations

import pytest

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.query_gateway.header import Missing
from seamark.query_gateway.want import Want
from unit.query_gateway.world import NOW_US, World

P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)
SECOND = 1_000_000


@pytest.fixture
def timed():
    """Record n of partition 0 was appended at second n, of partition 1 at second 2n; 10 and 5 are committed."""
    made = World()
    for at in range(20):
        made.append(0, 1, at * SECOND)
        made.append(1, 1, 2 * at * SECOND)
    made.commit(10, 5)
    made.pin()
    yield made
    made.loop.close()


def known_at(world, instant_us, **more):
    """Opened as the edges do: the time is in the predicate too."""
    predicate = Predicate(known_at_us=instant_us)
    opened = world.open(Want(known_at_us=instant_us, **more), predicate)
    assert opened.known_at_us == instant_us
    return opened, {place[1:] for place in world.given(opened, predicate)}


def meant(instant_us):
    return {
        (partition, offset)
        for partition in (0, 1)
        for offset in range(20)
        if offset % 3 != 2 and offset * (1 + partition) * SECOND <= instant_us
    }


@pytest.mark.parametrize("seconds", [0, 3, 8, 9, 12, 19, 30, 100])
@pytest.mark.parametrize("log", ["all", "retired", "down", "down, and the tail evicted"])
def test_as_known_at_is_what_was_appended_until_then(timed, seconds, log):
    instant_us = seconds * SECOND + 1
    if log == "retired":
        timed.retire(10, 5)
    timed.log.down = log.startswith("down")
    if "evicted" in log:
        timed.evict(10, 5)
    opened, rows = known_at(timed, instant_us)
    assert rows == meant(instant_us)
    unsure = {gone.where for gone in opened.header.missing}
    # Without Kafka nobody knows that no later record will be stamped so early.
    assert unsure == (
        {P0}
        if log.startswith("down") and 19 <= seconds < 38
        else {P0, P1}
        if log.startswith("down") and seconds > 38
        else set()
    )
    if not log.startswith("down"):
        assert opened.freshness_ms <= (NOW_US - instant_us) // 1000


def test_as_known_at_needs_nobody_for_what_the_lake_has(timed):
    timed.log.down, timed.tail.down = True, {0, 1}
    opened, rows = known_at(timed, 5 * SECOND)
    assert (rows, opened.header.missing) == (meant(5 * SECOND), ())


def test_as_known_at_asks_nothing_behind_the_lake_that_is_too_late(timed):
    """The log begins behind H(S), but all of it is later."""
    timed.retire(15, 15)
    timed.tail.down = {0, 1}
    opened, rows = known_at(timed, 5 * SECOND)
    assert (rows, opened.header.missing) == (meant(5 * SECOND), ())


def test_as_known_at_without_kafka_and_tail_says_what_it_cannot_know(timed):
    timed.log.down, timed.tail.down = True, {0, 1}
    opened, rows = known_at(timed, 15 * SECOND)
    assert opened.header.missing == (
        Missing(P0, 10, None, "LOG_UNAVAILABLE"),
        Missing(P1, 5, None, "LOG_UNAVAILABLE"),
    )
    assert rows == {place for place in meant(15 * SECOND) if place[1] < (10, 5)[place[0]]}


def test_a_cursor_of_as_known_at_keeps_its_end(timed):
    instant_us = 12 * SECOND
    first, rows = known_at(timed, instant_us)
    timed.log.down = True
    timed.commit(20, 20)
    timed.pin()
    again, same = known_at(timed, instant_us, end=first.end, revision=99)
    assert (again.end, same) == (first.end, rows)
