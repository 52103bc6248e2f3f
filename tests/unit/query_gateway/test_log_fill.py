"""One read of the log for all who want the same, and nobody waits for it beyond his time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.predicate import Comparison, Predicate, filter_of
from seamark.market.schema import RecordKind
from seamark.query_gateway.errors import TooCostly
from seamark.query_gateway.level import Level
from seamark.query_gateway.log_fill import LogBudget, LogFill
from seamark.query_gateway.running import Call
from seamark.query_gateway.seam import Hole
from seamark.query_gateway.want import Want
from unit.query_gateway.lake import KIND
from unit.query_gateway.tables import Tables
from unit.query_gateway.world import COLUMNS, NOW_US, crossing

PRICE = filter_of(RecordKind.TRADES, "price", Comparison.GE, ("0",))
BID = filter_of(RecordKind.QUOTES, "bid_price", Comparison.GE, ("0",))
P0, P1 = StreamPartition(1, 0), StreamPartition(1, 1)


@pytest.fixture
def world():
    made = crossing()
    yield made
    made.loop.close()


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


def test_a_read_that_nobody_waits_for_is_stopped(world):
    world.tail.down = {0, 1}
    world.log.hold = threading.Event()

    async def ask():
        jobs = [
            asyncio.create_task(world.opener.open(KIND, Predicate(), COLUMNS, Want(), world.call()))
            for _ in range(2)
        ]
        while not world.log.reads:
            await asyncio.sleep(0.001)
        for job in jobs:
            job.cancel()
            await asyncio.sleep(0.01)
        [stopped] = world.log.cancelled
        assert stopped.is_set()
        world.log.hold.set()

    world.run(ask())
    world.judge(world.open())


def test_a_read_under_way_serves_who_asks_for_less_of_it(world):
    world.tail.down = {0, 1}
    world.log.hold = threading.Event()
    pin = world.pins.current(KIND)
    holes = [Hole(P0, 10, end, "TAIL_UNAVAILABLE") for end in (20, 14)]

    async def ask():
        fill = LogFill(world.log, LogBudget())
        jobs = []
        for hole in holes:
            by = time.monotonic() + 5
            jobs.append(asyncio.create_task(fill.fill(pin, [hole], Predicate(), COLUMNS, by)))
            while not world.log.reads:
                await asyncio.sleep(0.001)
        for _ in range(50):
            await asyncio.sleep(0.001)
        world.log.hold.set()
        return await asyncio.gather(*jobs)

    whole, part = world.run(ask())
    assert world.log.reads == [(P0, 10, 20)]
    assert [mark.next for mark in (*whole.marks, *part.marks)] == [20, 14]
    [rows] = part.frames
    assert max(rows["kafka_offset"]) < 14
    assert max(whole.frames[0]["kafka_offset"]) >= 14


def test_the_budget_is_for_all_partitions_together():
    world = crossing(budget_rows=15)
    try:
        world.tail.down = {0, 1}
        opened = world.open()
        assert [(gone.where, gone.first, gone.next, gone.reason) for gone in opened.header.missing] == [
            (P1, 10, 20, "OVER_BUDGET")
        ]
        assert opened.end == {P0: 20, P1: 10}
    finally:
        world.loop.close()


def test_where_rows_are_of_no_use_the_log_is_not_read(world):
    world.tail.down = {0, 1}
    opened = world.run(
        world.opener.open(KIND, Predicate(symbols=("",)), COLUMNS, Want(offsets_only=True), world.call())
    )
    assert (opened.end, opened.header.missing) == ({P0: 20, P1: 20}, ())
    assert world.log.reads == []


def test_from_aggressive_on_the_log_is_not_read(world):
    pin = world.pins.current(KIND)

    async def ask(level):
        fill = LogFill(world.log, LogBudget(), lambda: level)
        hole = Hole(P0, 10, 20, "TAIL_UNAVAILABLE")
        return await fill.fill(pin, [hole], Predicate(), COLUMNS, time.monotonic() + 5)

    assert world.run(ask(Level.GRACEFUL)).missing == []
    assert [gone.reason for gone in world.run(ask(Level.AGGRESSIVE)).missing] == ["DEGRADED"]


@pytest.mark.parametrize(("seconds", "kept"), [(100.0, 20.0), (10.0, 2.0), (2.0, 0.5), (0.8, 0.4)])
def test_the_tail_leaves_kafka_its_share_of_the_time(world, seconds, kept):
    call = world.call(seconds)
    world.run(world.opener.open(KIND, Predicate(), COLUMNS, Want(), call))
    assert call.deadline_seconds - world.tail.waited_until == pytest.approx(kept, abs=0.1)


def test_where_the_tail_reads_for_too_many_kafka_is_spared(world):
    world.tail.down, world.tail.down_because = {0}, "TAIL_BUSY"
    with pytest.raises(TooCostly, match="ask again") as refused:
        world.open()
    assert refused.value.retry_after_seconds == 1
    assert world.log.reads == []
