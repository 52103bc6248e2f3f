"""Ages of what waits: never too small, never zero where nothing is known."""

import math

import pytest

from seamark.lake.checkpoint import Checkpoint
from seamark.stream.log import TopicPartition
from seamark.tail_cache.blocks import resident
from seamark.tail_cache.lag import LagExport, lag_of
from seamark.tail_cache.partition import PartitionTail
from seamark.tail_cache.writers import Processed, tiers_of
from unit.tail_cache.observed import TOPIC, WHERE, between
from unit.tail_cache.world import World

SECOND = 1_000_000
NOW = 1_000 * SECOND
ALL = frozenset((1, 2, 3))


def tail(h: int = 10, hi: int = 20, end: int = 20, begun: int = 10) -> PartitionTail:
    """Record n was appended n seconds after the beginning of time."""
    held = PartitionTail(
        WHERE, TOPIC, Checkpoint(begun, 0, "", 0, (begun - 1) * SECOND), begun, begun, 0, 0, end
    )
    held.append(resident(begun, hi, between(begun, hi)), [], hi * SECOND)
    for offset in range(begun, hi):
        held.appends.add(offset, offset * SECOND)
    held.committed = Checkpoint(h, 0, "", 0, (h - 1) * SECOND)
    return held


@pytest.mark.parametrize(
    ("held", "age_seconds"),
    [
        (tail(h=15), 1_000 - 15),
        (tail(h=20), 0),  # all is committed
        (tail(h=20, end=25), 1_000 - 19),  # not read yet: that of the record before
        (tail(h=5, begun=10), 1_000 - 4),  # never read: that of the last record below H
    ],
)
def test_committed_age_is_that_of_the_first_record_not_committed(held, age_seconds):
    assert lag_of(held, None, 1, NOW).committed_age_seconds == age_seconds


@pytest.mark.parametrize(
    ("processed", "offset", "age_seconds"),
    [
        (Processed(17, ALL), 17, 1_000 - 17),
        (Processed(20, ALL), 20, 0),
        (Processed(3, ALL), 12, 1_000 - 12),  # below H all is processed, whatever the group says
        (Processed(23, ALL), 23, 1_000 - 19),
    ],
)
def test_processed_age_is_that_of_the_first_record_not_decoded(processed, offset, age_seconds):
    lag = (
        lag_of(tail(h=12, end=30), processed, 1, NOW)
        if processed.offset != 20
        else lag_of(tail(h=12), processed, 1, NOW)
    )
    assert (lag.processed_offset, lag.processed_age_seconds) == (offset, age_seconds)


def test_what_the_writers_have_not_said_is_unknown_not_zero():
    lag = lag_of(tail(), None, 1, NOW)
    assert all(map(math.isnan, (lag.processed_offset, lag.processed_age_seconds, lag.admitted)))
    assert math.isnan(lag_of(tail(), Processed(15, None), 1, NOW).admitted)


def test_a_dead_writers_ages_grow():
    ages = [lag_of(tail(), Processed(15, ALL), 1, NOW + later * SECOND) for later in (0, 5, 60)]
    assert [lag.committed_age_seconds for lag in ages] == [990, 995, 1_050]
    assert [lag.processed_age_seconds for lag in ages] == [985, 990, 1_045]


@pytest.mark.parametrize(("tier", "admitted"), [(1, 1.0), (2, 0.0), (3, 1.0)])
def test_a_tier_is_admitted_if_the_writers_say_so(tier, admitted):
    assert lag_of(tail(), Processed(15, frozenset((1, 3))), tier, NOW).admitted == admitted


@pytest.mark.parametrize("text", [None, "", "{", "[1]", '{"tiers":[1]}', '{"admitted_tiers":"x"}'])
def test_metadata_of_another_form_says_nothing(text):
    assert tiers_of(text) is None


def test_the_writers_metadata_is_understood():
    assert tiers_of('{"admitted_tiers":[1,2,3]}') == ALL


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "spill")


def series(world, name):
    [family] = [family for family in world.registry.collect() if family.name == f"seamark_tail_{name}"]
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_every_partition_held_has_its_series_and_they_go_with_it(world):
    export = LagExport(
        world.metrics,
        world.store,
        [world.follower],
        lambda: {TopicPartition(world.topic, 0): Processed(2, ALL)},
    )
    world.send("AAA", 5)
    world.settle()
    export.export()
    first, second = ("trades", "1", "0", "1"), ("trades", "1", "1", "1")
    assert series(world, "end_offset") == {first: 5, second: 0}
    assert series(world, "high_offset") == {first: 5, second: 0}
    assert series(world, "processed_offset")[first] == 2
    assert math.isnan(series(world, "processed_offset")[second])
    assert series(world, "committed_age_seconds")[second] == 0
    assert series(world, "committed_age_seconds")[first] > 0
    assert series(world, "rows")[("trades",)] == 5
    world.tail.drop(world.kind, world.view(0).where)
    export.export()
    assert series(world, "end_offset") == {second: 0}
    assert series(world, "rows")[("trades",)] == 0


def test_a_partition_that_cannot_be_read_shows_as_such(world):
    export = LagExport(
        world.metrics,
        world.store,
        [world.follower],
        lambda: {TopicPartition(world.topic, 0): Processed(2, ALL)},
    )
    world.send("AAA", 5)
    world.commit()
    world.log.truncate(TopicPartition(world.topic, 0), 2)
    world.settle()
    export.export()
    assert series(world, "reading") == {("trades", "1", "0", "1"): 0, ("trades", "1", "1", "1"): 1}
