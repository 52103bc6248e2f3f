"""Windows of both sides come as one sequence, from any position, and no more of them than are wanted."""

from __future__ import annotations

import threading
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.errors import CatalogUnavailable
from seamark.market.nearest import Nearest
from seamark.market.order import total_order
from seamark.market.predicate import Predicate
from seamark.market.schema import RecordKind
from seamark.query_gateway import ordered_rows as order_module
from seamark.query_gateway.errors import Cancelled, QueryError, Unavailable
from seamark.query_gateway.header import TableHeader
from seamark.query_gateway.merge import position_of
from seamark.query_gateway.ordered_rows import collect, needed_columns, ordered_frames, tail_suffices
from seamark.query_gateway.reading import OpenTable
from seamark.query_gateway.sources import SnapshotGone, Window
from seamark.query_gateway.want import Want
from unit.query_gateway.lake import KIND
from unit.query_gateway.rows import rows_of
from unit.query_gateway.world import COLUMNS, NOW_US, World, places

CUTS = st.lists(st.integers(998, 1_013), max_size=4, unique=True).map(sorted).map(tuple)


@pytest.fixture(scope="module")
def world():
    """20 records in each of two partitions, 10 of them in history."""
    made = World()
    for partition in (0, 1):
        made.append(partition, 20, NOW_US)
    made.commit(10, 10)
    made.pin()
    yield made
    made.loop.close()


@pytest.fixture
def read(world, monkeypatch):
    """Windows of history, as they are read."""
    windows = []
    real = world.history_source.read
    monkeypatch.setattr(
        world.history_source,
        "read",
        lambda plan, window, *rest: windows.append(window) or real(plan, window, *rest),
    )
    return windows


def frames_of(world, opened, plan, **how):
    return ordered_frames(opened, world.history_source, plan, COLUMNS, world.call(), **how)


def open_with(world, cuts, predicate=Predicate(), want=Want()):
    opened = world.open(want, predicate)
    world.history_source.cuts = cuts
    return opened, world.history_source.plan(opened.pin, predicate, COLUMNS)


def in_order(world, opened, predicate=Predicate(), descending=False):
    """All rows of the answer as Python sorts them."""
    keys = {}
    for where in opened.end:
        rows = world.rows(where, 0, 20).select(total_order(KIND))
        keys.update(zip(places(rows), rows.iter_rows(), strict=True))
    return sorted(world.given(opened, predicate), key=keys.__getitem__, reverse=descending)


@settings(deadline=None)
@given(CUTS, st.booleans(), st.sampled_from([(), ("AAA",), ("ZZZ",)]))
def test_all_windows_together_are_the_total_order(world, cuts, descending, symbols):
    predicate = Predicate(symbols=symbols)
    opened, plan = open_with(world, cuts, predicate)
    rows = world.run(collect(frames_of(world, opened, plan, descending=descending)))
    assert (places(rows) if rows is not None else []) == in_order(world, opened, predicate, descending)


@settings(deadline=None, max_examples=40)
@given(CUTS, st.booleans(), st.sampled_from([1, 2, 3, 5, 9, 26, 27]))
def test_pages_over_changing_windows_give_every_row_once(world, cuts, descending, page):
    opened, plan = open_with(world, cuts)
    given_rows, position = [], None
    for number in range(100):
        windows = plan if number % 2 else replace(plan, cuts=())
        frames = frames_of(world, opened, windows, limit=page, descending=descending, position=position)
        rows = world.run(collect(frames))
        if rows is None:
            break
        rows = rows.head(page)
        given_rows += places(rows)
        position = position_of(rows, KIND)
    assert given_rows == in_order(world, opened, descending=descending)


def test_history_that_is_proven_empty_leaves_the_tail(world):
    opened, _ = open_with(world, (), want=Want(end=None))
    rows = world.run(collect(frames_of(world, opened, None)))
    assert {place[2] for place in places(rows)} == {offset for offset in range(10, 20) if offset % 3 != 2}


def test_windows_behind_the_one_that_has_enough_are_not_read(world, read):
    opened, plan = open_with(world, tuple(range(1_000, 1_011)))
    frames = world.run(_all(frames_of(world, opened, plan, limit=1)))
    assert sum(map(len, frames)) > 1  # so that there is known to be a next page
    assert len(read) < 5


@given(
    history=st.lists(st.integers(0, 20), max_size=8),
    tail=st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=3),
    rows=st.integers(1, 6),
    latest=st.booleans(),
    after_us=st.none() | st.integers(0, 30),
)
def test_history_is_left_out_only_where_none_of_it_is_wanted(world, history, tail, rows, latest, after_us):
    opened, plan = open_with(world, ())

    suffices = tail_suffices(
        replace(opened, tail=tuple(map(_at, tail))),
        replace(plan, frame=_at(history)),
        Nearest(rows, latest, after_us),
    )
    # Those that are not of the position's time: which of these are behind it is not known here.
    wanted = [(at, "tail") for times in tail for at in times] + [(at, "history") for at in history]
    wanted = [
        one for one in wanted if after_us is None or (one[0] < after_us if latest else one[0] > after_us)
    ]
    # Of one time, history's may come first.
    first = sorted(wanted, key=lambda one: (-one[0] if latest else one[0], one[1]))[:rows]
    if suffices:
        assert latest
        assert len(first) == rows
        assert {side for _, side in first} == {"tail"}
        assert after_us is None or after_us > max(history)


@pytest.mark.parametrize(("rows", "suffices"), [(3, True), (4, False)])
def test_history_is_left_out_where_enough_of_the_tail_is_later(world, rows, suffices):
    opened, plan = open_with(world, ())
    table, plan = replace(opened, tail=(_at([8, 5]), _at([9, 5, 7]))), replace(plan, frame=_at([2, 5]))
    assert tail_suffices(table, plan, Nearest(rows, latest=True)) is suffices


def _at(times):
    return rows_of(KIND, [{"timestamp": at} for at in times])


def test_windows_grow_while_little_matches_and_never_beyond_what_may_be_held(world, read, monkeypatch):
    opened, plan = open_with(world, tuple(range(2_000, 2_060)))
    world.run(_all(frames_of(world, opened, plan)))
    assert [_count_of(one) for one in read] == [1, 4, *[8] * 7]
    monkeypatch.setattr(order_module, "WINDOW_ROWS", 10)
    read.clear()
    world.run(_all(frames_of(world, opened, plan)))
    assert [_count_of(one) for one in read] == [1, 1, 4, *[8] * 6, 7]


@settings(deadline=None)
@given(st.lists(st.integers(998, 1_013), min_size=2, max_size=6, unique=True).map(sorted), st.data())
def test_of_stretches_all_rows_come_in_order_and_no_others(world, edges, data):
    chosen = data.draw(st.lists(st.booleans(), min_size=len(edges) - 1, max_size=len(edges) - 1))
    stretches = [Window(*ends) for ends, taken in zip(pairwise(edges), chosen, strict=True) if taken]
    opened, plan = open_with(world, ())
    rows = world.run(collect(frames_of(world, opened, plan, stretches=stretches)))
    whole = world.run(collect(frames_of(world, opened, plan)))
    at = whole["timestamp"].to_physical()
    inside = pl.Series([any(one.from_us <= time < one.to_us for one in stretches) for time in at])
    assert (places(rows) if rows is not None else []) == places(whole.filter(inside))


def _count_of(window):
    """How many windows of the plan it is, where those are a microsecond wide."""
    first, last = window.from_us or 1_999, window.to_us or 2_060
    return last - first


async def _all(frames):
    return [frame async for frame in frames]


def test_frames_may_be_left_before_they_end(world):
    async def first_of(frames):
        async with aclosing(frames):
            return await anext(frames)

    opened, plan = open_with(world, (1_003, 1_006))
    frame = world.run(first_of(frames_of(world, opened, plan)))
    assert places(frame) == in_order(world, opened)[: len(frame)]


def test_rows_of_the_log_keep_its_order_whatever_windows_there_are(world):
    """Windows are stretches of time, and feed events are not ordered by it."""
    kind = RecordKind.FEED_EVENTS
    columns = needed_columns(kind, ("timestamp",))
    stamped = [{"stream_id": 1, "kafka_offset": at, "timestamp": 1_000 - at} for at in range(10)]
    frame = rows_of(kind, stamped).select(columns)
    opened, plan = open_with(world, (993, 996))
    header = TableHeader(kind.value, 1, 0, 0, {}, {}, {}, (), (), 0)
    table = OpenTable(kind, opened.pin, {}, None, (frame.tail(5),), header, 0)
    whole = type(plan)(plan.pin, Predicate(), tuple(columns), frame.head(5), plan.cuts)
    rows = world.run(collect(ordered_frames(table, world.history_source, whole, columns, world.call())))
    assert rows["kafka_offset"].to_list() == list(range(10))


@pytest.mark.parametrize(
    ("raised", "said"), [(CatalogUnavailable, Unavailable), (SnapshotGone, SnapshotGone)]
)
def test_history_that_fails_is_told_as_such(world, monkeypatch, raised, said):
    def fail(*arguments):
        raise raised("no files")
        yield

    monkeypatch.setattr(world.history_source, "read", fail)
    opened, plan = open_with(world, ())
    with pytest.raises(said, match="no files") as caught:
        world.run(collect(frames_of(world, opened, plan)))
    assert isinstance(caught.value, QueryError)


def test_a_call_that_is_cancelled_gets_no_more_rows(world):
    opened, plan = open_with(world, (1_003, 1_006))
    call = world.call()
    assert isinstance(call.cancelled, threading.Event)

    async def ask():
        got = []
        with pytest.raises(Cancelled):
            async for frame in ordered_frames(opened, world.history_source, plan, COLUMNS, call):
                got.append(frame)
                call.cancelled.set()
        return got

    assert len(world.run(ask())) == 1
