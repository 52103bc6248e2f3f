"""A table opened for a question: every row below E once, whoever fails; or the ranges that lack are named."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import ExcludedRange, StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Predicate, filter_of
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import Gone, Stale, Unavailable
from seamark.query_gateway.header import Missing
from seamark.query_gateway.reading import Want
from seamark.query_gateway.running import Call
from unit.query_gateway.lake import KIND, TOPIC
from unit.query_gateway.tables import Tables
from unit.query_gateway.world import COLUMNS, NOW_US, World

PRICE = filter_of(RecordKind.TRADES, "price", Comparison.GE, ("0",))
BID = filter_of(RecordKind.QUOTES, "bid_price", Comparison.GE, ("0",))
P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)
SECOND = 1_000_000


@pytest.fixture
def world():
    """Two partitions: 20 records each, ten of them committed and pinned, all of them in the tail."""
    made = World()
    for partition in (0, 1):
        made.append(partition, 10, NOW_US - 60 * SECOND)
        made.append(partition, 10)
    made.commit(10, 10)
    made.pin()
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


# Modes


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
    assert caught.value.field == "consistency"


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
        with pytest.raises(Stale, match="max_staleness was 1999 ms, the answer would be 2000 ms old"):
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


# as_known_at


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


# One read of the log for all


def test_questions_at_once_share_one_read_of_the_log(world):
    world.tail.down = {0, 1}
    world.log.hold = threading.Event()

    async def ask():
        jobs = [
            asyncio.create_task(world.opener.open(KIND, predicate, COLUMNS, Want(), world.call()))
            for predicate in (Predicate(), Predicate(symbols=("AAA",)), Predicate(symbols=("BBB",)))
        ]
        while not world.log.reads:
            await asyncio.sleep(0.001)
        world.log.hold.set()
        return await asyncio.gather(*jobs)

    whole, *parts = world.run(ask())
    world.judge(whole)
    for opened, symbol in zip(parts, ("AAA", "BBB"), strict=True):
        world.judge(opened, Predicate(symbols=(symbol,)))
    assert sorted(world.log.reads) == [(P0, 10, 20), (P1, 10, 20)]


def test_tables_whose_streams_are_numbered_alike_are_read_apart():
    tables = Tables()
    hold = threading.Event()
    tables.log.hold = hold
    kinds = (RecordKind.TRADES, RecordKind.QUOTES)
    for kind in kinds:
        tables.append(kind, "AAA", symbol="AAA", timestamp=NOW_US)
    tables.tail_down = set(kinds)

    async def ask():
        columns = total_order(KIND)
        jobs = [
            asyncio.create_task(
                tables.opener.open(kind, Predicate(filters=(only,)), columns, Want(), Call("q", "test", "c"))
            )
            for kind, only in zip(kinds, (PRICE, BID), strict=True)
        ]
        while len(tables.log.asked) < 2:
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0.001)
        hold.set()
        return await asyncio.gather(*jobs)

    try:
        for opened in tables.run(ask()):
            assert opened.header.missing == ()
            assert sum(map(len, opened.tail)) == 1
    finally:
        tables.runner.close()


def test_one_who_leaves_does_not_stop_the_read_of_the_others(world):
    world.tail.down = {0, 1}
    world.log.hold = threading.Event()

    async def ask():
        jobs = [
            asyncio.create_task(world.opener.open(KIND, Predicate(), COLUMNS, Want(), world.call()))
            for _ in range(2)
        ]
        while not world.log.reads:
            await asyncio.sleep(0.001)
        jobs[0].cancel()
        world.log.hold.set()
        return await jobs[1]

    world.judge(world.run(ask()))


def test_kafka_that_takes_too_long_leaves_the_range_missing(world):
    world.tail.down = {0}
    world.log.hold = threading.Event()
    opened = world.open(seconds=0.6)
    world.log.hold.set()
    assert [(gone.where, gone.first) for gone in opened.header.missing] == [(P0, 10)]
    assert opened.end == {P0: 10, P1: 20}


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
