"""A table opened for a question: every row below E once, whoever fails; or the ranges that lack are named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import StreamPartition
from seamark.market.predicate import Predicate
from seamark.query_gateway.errors import Stale, Unavailable
from seamark.query_gateway.header import Missing
from seamark.query_gateway.want import Want
from unit.query_gateway.lake import TOPIC
from unit.query_gateway.world import NOW_US, World, crossing

P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)
SECOND = 1_000_000


@pytest.fixture
def world():
    made = crossing()
    yield made
    made.loop.close()


def test_history_and_tail_meet_at_the_seam(world):
    opened = world.open()
    assert opened.end == {P0: 20, P1: 20}
    assert opened.header.watermark == {P0: 10, P1: 10}
    assert (opened.header.missing, opened.below, opened.freshness_ms) == ((), None, 0)
    assert world.log.reads == []


def test_a_predicate_holds_on_both_sides(world):
    opened = world.open(predicate=Predicate(symbols=("AAA",), from_us=1_002, to_us=1_008))
    assert opened.end == {P0: 20, P1: 20}
    assert any(len(frame) for frame in opened.tail)


def test_a_tail_that_is_down_is_replaced_by_kafka(world):
    world.tail.down = {0, 1}
    opened = world.open()
    assert (opened.end, opened.header.missing) == ({P0: 20, P1: 20}, ())
    assert opened.freshness_ms == 0  # the log was read to its end
    assert sorted(world.log.reads) == [(P0, 10, 20), (P1, 10, 20)]


def test_a_tail_that_is_down_over_the_budget_leaves_the_range_missing(world):
    world.tail.down = {0, 1}
    world.append_unseen(0, 2_000)
    opened = world.open()
    assert opened.header.missing == (Missing(P0, 10, 2_020, "OVER_BUDGET"),)
    assert opened.end == {P0: 10, P1: 20}
    assert opened.freshness_ms == 60_000


def test_tail_and_kafka_down_leave_an_unknown_end_missing(world):
    world.tail.down, world.log.down = {0, 1}, True
    opened = world.open()
    assert opened.header.missing == (
        Missing(P0, 10, None, "TAIL_UNAVAILABLE"),
        Missing(P1, 10, None, "TAIL_UNAVAILABLE"),
    )
    assert opened.end == opened.header.watermark == {P0: 10, P1: 10}
    assert opened.freshness_ms == 60_000


def test_kafka_that_is_down_is_asked_once(world, monkeypatch):
    """Each question to a broker that does not answer takes seconds."""
    asked = []
    bounds = world.log.bounds
    monkeypatch.setattr(world.log, "bounds", lambda pin, where: asked.append(where) or bounds(pin, where))
    world.tail.down, world.log.down = {0, 1}, True
    world.open()
    assert len(asked) == 1


def test_a_replica_that_comes_as_far_in_time_is_waited_for(world):
    world.append_unseen(0, 5)
    world.tail.comes[0] = 25
    opened = world.open(Want(floor={P0: 23}))
    assert (opened.end, opened.header.missing) == ({P0: 23, P1: 20}, ())
    assert world.log.reads == []


def test_a_replica_behind_is_completed_by_kafka(world):
    world.append_unseen(0, 5)
    opened = world.open(Want(floor={P0: 23}))
    assert (opened.end, opened.header.missing) == ({P0: 23, P1: 20}, ())
    assert world.log.reads == [(P0, 10, 23)]


def test_a_replica_behind_without_kafka_leaves_the_rest_missing(world):
    world.append_unseen(0, 5)
    world.log.down = True
    opened = world.open(Want(floor={P0: 23}))
    assert opened.header.missing == (Missing(P0, 20, 23, "NOT_REACHED"),)


FLOORS = [{}, {P0: 12}, {P0: 25}]


@pytest.mark.parametrize("floor", FLOORS)
def test_what_a_replica_reads_no_more_is_completed_by_kafka(world, floor):
    world.append_unseen(0, 7)
    world.tail.stopped[0] = "UNREADABLE"
    opened = world.open(Want(floor=floor))
    assert (opened.end, opened.header.missing, opened.freshness_ms) == ({P0: 27, P1: 20}, (), 0)
    assert world.log.reads == [(P0, 10, 27)]


@pytest.mark.parametrize("floor", FLOORS)
def test_what_a_replica_reads_no_more_and_kafka_does_not_give_is_named(world, floor):
    world.append_unseen(0, 7)
    world.tail.stopped[0], world.log.down = "LOG_LOST", True
    opened = world.open(Want(floor=floor))
    assert opened.header.missing == (Missing(P0, 20, 27, "TAIL_STOPPED"),)
    assert opened.end == {P0: 20, P1: 20}


def test_a_replica_that_has_stood_still_is_not_fresh(world):
    """Its own end is where it stands: nothing but the age of that says so."""
    world.append_unseen(0, 7)
    world.tail.ends[0] = (20, NOW_US - 3600 * SECOND)
    world.log.down = True
    for one in world.lake.log.topics[TOPIC].records[0][10:20]:
        one.append_us = NOW_US - 30 * SECOND
    opened = world.open()
    assert (opened.end, opened.freshness_ms) == ({P0: 20, P1: 20}, 30_000)
    with pytest.raises(Stale, match="the answer would be 30000 ms old"):
        world.open(Want(max_staleness_ms=2_000))


def test_an_idle_partition_is_as_fresh_as_its_end_was_known(world):
    for one in world.lake.log.topics[TOPIC].records[0][10:20]:
        one.append_us = NOW_US - 30 * SECOND
    world.tail.ends[0] = (20, NOW_US - 900_000)
    opened = world.open(Want(max_staleness_ms=1_000))
    assert opened.freshness_ms == 900


@pytest.mark.parametrize("down", [set(), {0, 1}])
def test_the_committed_age_is_the_oldest_waiting_records(down):
    """Of the tail's rows, or of Kafka's."""
    world = World()
    world.tail.down = down
    world.append(0, 5, NOW_US - 3600 * SECOND)
    assert world.open().header.committed_age_ms == 3_600_000  # never committed
    world.append(1, 2, NOW_US - 3600 * SECOND)
    world.commit(5, 2)
    world.pin()
    assert world.open().header.committed_age_ms == 0
    world.append(0, 1, NOW_US - SECOND)
    assert world.open(predicate=Predicate(symbols=("BBB",))).header.committed_age_ms == (
        # Offset 5 is no row: what only Kafka gave is as old as the last row below H(S).
        3_600_000 if down else 1_000
    )
    world.append(0, 1, NOW_US)
    assert world.open(predicate=Predicate(symbols=("BBB",))).header.committed_age_ms == (0 if down else 1_000)
    world.loop.close()


def test_what_the_log_does_not_have_yet_is_missing(world):
    opened = world.open(Want(floor={P0: 25}))
    assert opened.header.missing == (Missing(P0, 20, 25, "NOT_REACHED"),)
    assert opened.end[P0] == 20


def test_a_floor_that_is_passed_does_not_hold_the_answer_back(world):
    """`last E` of a client: the answer is what there is now."""
    opened = world.open(Want(floor={P0: 12, P1: 3}))
    assert opened.end == {P0: 20, P1: 20}
    assert opened.freshness_ms == 0


def test_an_end_decided_beforehand_stays_while_the_tail_goes_on(world, monkeypatch):
    positions = world.tail.positions

    async def then_more(*arguments):
        found = await positions(*arguments)
        world.append(0, 7, NOW_US + SECOND)
        return found

    monkeypatch.setattr(world.tail, "positions", then_more)
    opened = world.open(Want(floor={P0: 12}))
    assert opened.end == {P0: 20, P1: 20}
    assert opened.freshness_ms == 0


def test_what_cannot_be_judged_from_the_watermark_on_is_missing(world):
    """Which records are rows depends on those before them: the log must reach back to H(S)."""
    world.append_unseen(0, 5)
    world.retire(15, 0)
    opened = world.open(Want(floor={P0: 23}))
    assert opened.header.missing == (Missing(P0, 20, 23, "LOG_GONE"),)
    assert world.log.reads == []


# lo > H


def test_what_the_tail_has_evicted_is_in_the_newest_snapshot(world):
    world.commit(15, 15)
    world.evict(15, 15)
    opened = world.open()
    assert (opened.header.watermark, opened.header.missing) == ({P0: 15, P1: 15}, ())
    assert opened.end == {P0: 20, P1: 20}
    assert world.log.reads == []


def test_what_the_tail_has_evicted_is_read_from_kafka_while_the_catalog_is_down(world):
    world.commit(15, 15)
    world.evict(15, 15)
    world.catalog.down = True
    opened = world.open()
    assert (opened.header.watermark, opened.header.missing) == ({P0: 10, P1: 10}, ())
    assert opened.end == {P0: 20, P1: 20}
    assert sorted(world.log.reads) == [(P0, 10, 15), (P1, 10, 15)]


def test_what_nobody_has_any_more_is_missing(world):
    world.commit(15, 15)
    world.evict(15, 15)
    world.retire(12, 0)
    world.catalog.down = True
    opened = world.open()
    assert opened.header.missing == (Missing(P0, 10, 15, "LOG_GONE"),)
    assert opened.end == {P0: 20, P1: 20}


def test_retention_that_passed_the_watermark_is_no_loss_where_the_tail_has_the_rows(world):
    world.retire(15, 15)
    assert world.open().header.missing == ()


def test_retention_that_passed_the_watermark_of_a_tail_that_is_down_is_missing(world):
    world.retire(15, 15)
    world.tail.down = {0, 1}
    opened = world.open()
    assert opened.header.missing == (Missing(P0, 10, 20, "LOG_GONE"), Missing(P1, 10, 20, "LOG_GONE"))
    assert opened.end == {P0: 10, P1: 10}


def test_a_catalog_that_is_down_is_no_matter_while_the_tail_reaches_the_pin(world):
    world.catalog.down = True
    opened = world.open()
    assert (opened.end, opened.header.missing) == ({P0: 20, P1: 20}, ())
    assert opened.header.pin_age_ms >= 0


def test_a_tail_that_is_down_does_not_ask_the_catalog_for_each_question(world):
    world.tail.down = {0, 1}
    loads = world.catalog.loads
    for _ in range(3):
        world.open()
    assert world.catalog.loads == loads


def test_a_catalog_that_never_answered_is_unavailable():
    made = World()
    made.catalog.down = True
    made.pins._loaded.clear()
    with pytest.raises(Unavailable, match="could not be loaded yet"):
        made.open()
    made.loop.close()


@pytest.mark.parametrize("evict", [False, True])
def test_a_commit_while_the_tail_answers_neither_doubles_nor_loses(world, evict):
    def commit():
        world.commit(18, 13)
        if evict:
            world.tail.down = {0}

    world.evict(12, 10)
    world.tail.meanwhile = commit
    opened = world.open()
    assert opened.header.watermark == {P0: 18, P1: 13}
    assert (opened.end, opened.header.missing) == ({P0: 20, P1: 20}, ())


def test_a_commit_of_what_the_tail_has_not_read_moves_the_end(world):
    world.append_unseen(0, 5)
    world.evict(12, 10)
    world.tail.meanwhile = lambda: world.commit(25, 10)
    opened = world.open()
    assert (opened.end, opened.header.missing) == ({P0: 25, P1: 20}, ())


def test_a_stream_that_ends_while_the_tail_answers_ends_at_its_last_row(world):
    def close():
        world.lake.log.grow(TOPIC)
        world.stream = world.lake.adopt(succeeds=1, lost=True)

    world.evict(12, 10)
    world.tail.meanwhile = close
    opened = world.open()
    assert opened.end[P0] == opened.end[P1] == 10
    assert {gone.where for gone in opened.header.excluded} == {P0, P1}
    assert opened.header.missing == ()


# Any world


@st.composite
def situations(draw):
    """(per partition: record count, H pinned, H by now, lo, hi, log start; who is down; what is wanted)."""
    places = []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 12))
        pinned, now = sorted(draw(st.lists(st.integers(0, count), min_size=2, max_size=2)))
        hi = draw(st.integers(0, count))
        lo = draw(st.integers(0, min(hi, now)))
        places.append((count, pinned, now, lo, hi, draw(st.integers(0, now))))
    down = {name: draw(st.booleans()) for name in ("log", "catalog")}
    down["tail"] = draw(st.sets(st.integers(0, 2)))
    wanted = draw(st.sampled_from(["latest", "floor", "strict", "end"]))
    vector = {
        StreamPartition(1, at): draw(st.integers(0, 14)) for at in range(len(places)) if draw(st.booleans())
    }
    return places, down, wanted, vector, draw(st.booleans()), draw(st.booleans())


@settings(deadline=None, max_examples=150)
@given(situations())
def test_in_any_world_every_row_below_the_end_is_given_once_or_named(situation):
    places, down, wanted, vector, compacted, meanwhile = situation
    world = World(len(places), budget_rows=8)
    try:
        for partition, (count, *_) in enumerate(places):
            world.append_unseen(partition, count, NOW_US - SECOND)
        world.commit(*[one[1] for one in places])
        world.pin()

        def move_on():
            world.commit(*[one[2] for one in places])
            if compacted:
                world.lake.table.compact()

        if meanwhile:
            world.tail.meanwhile = move_on
        else:
            move_on()
        for partition, (_, _, _, lo, hi, start) in enumerate(places):
            world.tail.lo[partition], world.tail.hi[partition] = lo, hi
            world.lake.log.topics[TOPIC].start[partition] = start
        world.tail.down, world.log.down, world.catalog.down = down["tail"], down["log"], down["catalog"]
        want = Want(end=vector, revision=99) if wanted == "end" else Want()
        if wanted in ("floor", "strict"):
            want = Want(floor=vector, strict=wanted == "strict")
        try:
            opened = world.open(want)  # holds rows, E and what is missing against each other
        except Stale:
            assert wanted == "strict"
            return
        assert wanted != "end" or opened.end == vector
        for where, behind in opened.header.watermark.items():
            assert wanted == "end" or opened.end[where] >= behind
        if not down["log"] and not opened.header.missing and wanted != "end":
            assert all(opened.end[where] >= offset for where, offset in want.floor.items())
        if wanted == "strict":
            assert all(opened.end[where] >= offset for where, offset in vector.items())
            assert not any(gone.first < vector.get(gone.where, 0) for gone in opened.header.missing)
        if not down["tail"] and wanted == "latest":
            # Whoever else fails: the tail's end is E, and only what lies between H(S) and lo can lack.
            assert all(
                gone.reason in ("LOG_GONE", "LOG_UNAVAILABLE", "OVER_BUDGET")
                for gone in opened.header.missing
            )
            if not down["catalog"]:
                assert not opened.header.missing
    finally:
        world.loop.close()
