"""How much of the log an answer is to have: the latest, a floor, a snapshot, a given end."""

from __future__ import annotations

import pytest

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.query_gateway.errors import Gone, Stale
from seamark.query_gateway.want import Want
from unit.query_gateway.lake import KIND, TOPIC
from unit.query_gateway.world import NOW_US, World, crossing

P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)
SECOND = 1_000_000


@pytest.fixture
def world():
    made = crossing()
    yield made
    made.loop.close()


def test_offsets_that_were_reached_are_in_the_answer(world):
    assert world.open(Want(floor={P0: 20, P1: 1}, strict=True)).end == {P0: 20, P1: 20}
    world.append_unseen(0, 5)
    world.tail.comes[0] = 25
    assert world.open(Want(floor={P0: 25}, strict=True)).end[P0] == 25


def test_an_idle_partition_does_not_hold_a_wait(world):
    made = World()
    made.append(0, 3)
    assert made.open(Want(floor={P0: 3, P1: 0}, strict=True)).end == {P0: 3, P1: 0}
    made.loop.close()


@pytest.mark.parametrize("why", ["behind", "unwritten", "down", "budget", "gone", "unknown"])
def test_offsets_that_are_not_reached_are_stale(world, why):
    world.append_unseen(0, 5)
    world.log.down = why == "behind"
    world.tail.down = {0} if why in ("down", "budget", "gone") else set()
    if why == "down":
        world.log.down = True
    if why == "budget":
        world.append_unseen(0, 2_000)
    if why == "gone":
        world.retire(15)
    floors = {"unwritten": {P0: 26}, "unknown": {StreamPartition(9, 0): 1}, "budget": {P0: 1_500}}
    floor = floors.get(why, {P0: 24})
    with pytest.raises(Stale, match="min_offsets of") as caught:
        world.open(Want(floor=floor, strict=True))
    assert caught.value.field == "min_offsets"


def test_offsets_of_a_stream_adopted_since_the_pin_are_looked_for(world):
    world.commit(20, 20)
    world.lake.log.grow(TOPIC)
    world.stream = world.lake.adopt(succeeds=1)
    world.append(2, 4)
    new = StreamPartition(2, 2)
    opened = world.open(Want(floor={new: 4}, strict=True))
    assert (opened.end[new], opened.end[P0]) == (4, 20)


@pytest.mark.parametrize(("allowed_ms", "fresh"), [(30_000, True), (1_999, False), (2_000, True)])
def test_an_answer_older_than_allowed_is_stale(world, allowed_ms, fresh):
    world.append(0, 1, NOW_US - 2 * SECOND)
    world.append_unseen(0, 1)
    want = Want(max_staleness_ms=allowed_ms)
    if fresh:
        assert world.open(want).freshness_ms == 2_000
    else:
        with pytest.raises(Stale, match="max_staleness_ms was 1999, the answer would be 2000 ms old"):
            world.open(want)


def test_an_answer_from_kafka_is_as_fresh_as_kafka(world):
    world.tail.down = {0, 1}
    assert world.open(Want(max_staleness_ms=0)).end == {P0: 20, P1: 20}


def test_a_snapshot_is_history_alone(world):
    old = world.lake.head
    world.commit(15, 15)
    world.pin()
    opened = world.open(Want(snapshot_id=old))
    assert (opened.pin.snapshot_id, opened.end) == (old, {P0: 10, P1: 10})
    assert (opened.tail, opened.below, world.tail.asked) == ((), None, [])


def test_a_snapshot_newer_than_the_pin_is_looked_for(world):
    new = world.commit(15, 15)
    assert world.open(Want(snapshot_id=new)).end == {P0: 15, P1: 15}
    with pytest.raises(Gone, match="not kept any more"):
        world.open(Want(snapshot_id=999))


def test_an_end_behind_the_tail_is_the_same_rows_again(world):
    want = Want(end={P0: 14, P1: 10}, revision=world.pins.current(KIND).revision)
    opened = world.open(want)
    assert (opened.end, opened.below) == ({P0: 14, P1: 10}, None)
    first = sorted(world.given(opened))
    world.commit(18, 18)
    world.pin()
    world.evict(18, 18)
    again = world.open(want)
    assert again.below == {P0: 14, P1: 10}
    assert (again.tail, again.header.missing) == ((), ())
    assert sorted(world.given(again)) == first


def test_an_end_that_the_tail_has_evicted_comes_from_the_newest_snapshot(world):
    world.commit(18, 18)
    world.evict(18, 18)
    opened = world.open(Want(end={P0: 14, P1: 10}, revision=1))
    assert (opened.below, opened.header.missing) == ({P0: 14, P1: 10}, ())


def test_partitions_that_an_end_does_not_name_are_no_part_of_the_answer(world):
    opened = world.open(Want(end={P0: 14}, revision=1))
    assert opened.below == {P0: 14}
    assert {place[1] for place in world.given(opened)} == {0}


def test_an_end_over_ranges_shed_since_is_gone(world):
    revision = world.lake.view.revision
    shed = ExcludedRange(P0, 10, 15, "SHED", revision + 1)
    world.lake.commit(15, 10, lost=(shed,))
    world.pin()
    assert world.open(Want(end={P0: 10, P1: 12}, revision=revision)).header.excluded == ()
    with pytest.raises(Gone, match="shed_since"):
        world.open(Want(end={P0: 11, P1: 10}, revision=revision))
    assert world.open(Want(end={P0: 18, P1: 10}, revision=revision + 1)).header.excluded == (shed,)


def test_an_end_over_ranges_shed_while_the_tail_answered_is_gone(world):
    revision = world.lake.view.revision
    shed = ExcludedRange(P0, 10, 15, "SHED", revision + 1)
    world.evict(12, 10)
    world.tail.meanwhile = lambda: world.lake.commit(15, 10, lost=(shed,))
    with pytest.raises(Gone, match="shed_since"):
        world.open(Want(end={P0: 18, P1: 10}, revision=revision))


def test_an_end_of_a_stream_that_is_not_known_any_more_is_gone(world):
    with pytest.raises(Gone, match="takes no more rows"):
        world.open(Want(end={StreamPartition(7, 0): 5}, revision=99))


def test_an_end_outlives_its_stream(world):
    world.commit(20, 20)
    world.lake.log.grow(TOPIC)
    world.stream = world.lake.adopt(succeeds=1)
    opened = world.open(Want(end={P0: 15, P1: 20}, revision=99))
    assert (opened.end, opened.header.missing) == ({P0: 15, P1: 20}, ())
