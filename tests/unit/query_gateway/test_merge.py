"""Several frames become one sequence in the total order, which can be cut and taken up at any row."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import total_order
from seamark.market.schema import RecordKind
from seamark.query_gateway.merge import behind, below, inside, ordered, position_of
from seamark.query_gateway.sources import Window
from unit.query_gateway.rows import rows_of

TRADES, EVENTS = RecordKind.TRADES, RecordKind.FEED_EVENTS
GREATEST = 2**63 - 2
LAW = settings(deadline=None)
SYMBOLS = ["AAA", "AAB", "B", "", "é", "z\U0001f600", "ﬀ"]
PLACES = st.tuples(st.integers(0, 2), st.integers(0, 3))
HEAD = st.fixed_dictionaries(
    {
        "timestamp": st.sampled_from([-1, 0, 5, 5_000, 2**52]),
        "exchange": st.sampled_from(["binance", "kraken"]),
        "market": st.sampled_from(["spot", "usdm"]),
        "symbol": st.sampled_from(SYMBOLS),
        "feed": st.sampled_from(["trade", "blockTrade"]),
        "id_epoch": st.integers(0, 2),
    }
)
SEQUENCE = st.none() | st.sampled_from([0, 1, 2, GREATEST])


@st.composite
def worlds(draw):
    """(rows as dictionaries with a position of their own, how they are dealt to frames)."""
    heads = draw(st.lists(HEAD, min_size=1, max_size=4))  # few, so that rows tie
    rows, taken = [], {}
    for _ in range(draw(st.integers(0, 30))):
        row = draw(st.sampled_from(heads)) | {"source_sequence": draw(SEQUENCE)}
        rows.append(row)
        stream, partition = draw(PLACES)
        offset = taken.get((stream, partition), draw(st.sampled_from([0, 2**40])))
        taken[stream, partition] = offset + 1
        row.update(stream_id=stream, kafka_partition=partition, kafka_offset=offset)
    dealt = [draw(st.integers(0, 3)) for _ in rows]
    categorical = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    return rows, dealt, categorical


def key_of(row):
    """The order by its definition: all ascending, nulls last."""
    values = (row[name] for name in total_order(TRADES))
    return tuple((value is None, 0 if value is None else value) for value in values)


def place_of(row):
    return row["stream_id"], row["kafka_partition"], row["kafka_offset"]


def places(frame):
    return [
        place_of(row)
        for row in frame.select("stream_id", "kafka_partition", "kafka_offset").iter_rows(named=True)
    ]


def frames_of(rows, dealt, categorical, kind=TRADES):
    """At least one frame; some may be empty."""
    return [
        rows_of(kind, [row for row, to in zip(rows, dealt, strict=True) if to == frame], categorical[frame])
        for frame in range(4)
    ]


@LAW
@given(worlds(), st.booleans())
def test_frames_are_merged_as_python_sorts_by_the_total_order(world, descending):
    rows, dealt, categorical = world
    columns = ["price", *total_order(TRADES)]
    merged = ordered(frames_of(*world), TRADES, columns, descending)
    assert merged.columns == columns
    assert places(merged) == [place_of(row) for row in sorted(rows, key=key_of, reverse=descending)]


@LAW
@given(worlds(), st.booleans(), st.integers(0, 30))
def test_frames_in_order_stay_as_they_are_unless_the_last_rows_are_not(world, descending, late):
    rows, _, categorical = world
    rows = [row | {"source_sequence": row["source_sequence"] or 0} for row in rows]
    expected = sorted(rows, key=key_of, reverse=descending)
    given_rows = [*expected[late:], *expected[:late]]
    frame = rows_of(TRADES, given_rows, categorical[0])
    assert places(ordered([frame], TRADES, total_order(TRADES), descending)) == [*map(place_of, expected)]


@LAW
@given(worlds(), st.booleans())
def test_feed_events_keep_the_order_of_the_log(world, descending):
    rows, dealt, categorical = world
    only = [{name: row[name] for name in total_order(EVENTS)} for row in rows]
    merged = ordered(frames_of(only, dealt, categorical, EVENTS), EVENTS, total_order(EVENTS), descending)
    assert places(merged) == sorted(map(place_of, only), reverse=descending)


@LAW
@given(worlds(), st.booleans(), st.data())
def test_behind_a_position_is_what_comes_after_its_row(world, descending, data):
    rows, dealt, categorical = world
    merged = ordered(frames_of(*world), TRADES, total_order(TRADES), descending)
    if not len(merged):
        return
    at = data.draw(st.integers(0, len(merged) - 1))
    position = position_of(merged.head(at + 1), TRADES)
    rest = [frame.filter(behind(TRADES, position, descending)) for frame in frames_of(*world)]
    assert sorted(place for frame in rest for place in places(frame)) == sorted(places(merged)[at + 1 :])


@LAW
@given(worlds(), st.booleans(), st.integers(1, 7))
def test_pages_of_any_size_give_every_row_once(world, descending, page):
    frames = frames_of(*world)
    whole = places(ordered(frames, TRADES, total_order(TRADES), descending))
    given_rows, position = [], None
    while True:
        rest = (
            frames
            if position is None
            else [frame.filter(behind(TRADES, position, descending)) for frame in frames]
        )
        taken = ordered(rest, TRADES, total_order(TRADES), descending).head(page)
        if not len(taken):
            break
        given_rows += places(taken)
        position = position_of(taken, TRADES)
    assert given_rows == whole


def test_a_position_is_plain_values_with_times_in_microseconds():
    row = {"timestamp": 1_700_000_000_000_001, "symbol": "AAA", "kafka_offset": 7, "stream_id": 1}
    frame = rows_of(TRADES, [row], categorical=True)
    assert position_of(frame, TRADES) == (
        1_700_000_000_000_001,
        "binance",
        "spot",
        "AAA",
        "trade",
        0,
        None,
        1,
        0,
        7,
    )


@LAW
@given(worlds(), st.dictionaries(PLACES, st.sampled_from([0, 1, 2, 3, 2**40 + 1, 2**63 - 1]), max_size=8))
def test_below_a_vector_is_every_offset_less_than_its_partitions(world, ends):
    rows, dealt, categorical = world
    vector = {StreamPartition(*place): end for place, end in ends.items()}
    kept = [frame.filter(below(vector)) for frame in frames_of(*world)]
    expected = [
        place_of(row)
        for row in rows
        if row["kafka_offset"] < ends.get((row["stream_id"], row["kafka_partition"]), 0)
    ]
    assert sorted(place for frame in kept for place in places(frame)) == sorted(expected)
    dropped = [frame.filter(~below(vector)) for frame in frames_of(*world)]
    assert sum(map(len, kept)) + sum(map(len, dropped)) == len(rows)


@pytest.mark.parametrize("from_us", [None, -1, 0, 5])
@pytest.mark.parametrize("to_us", [None, 0, 5, 6])
def test_a_window_takes_its_start_and_leaves_its_end(from_us, to_us):
    times = [-2, -1, 0, 4, 5, 6]
    frame = rows_of(TRADES, [{"timestamp": time} for time in times])
    condition = inside(Window(from_us, to_us))
    kept = frame if condition is None else frame.filter(condition)
    assert kept["timestamp"].to_physical().to_list() == [
        time for time in times if (from_us is None or time >= from_us) and (to_us is None or time < to_us)
    ]
    assert (condition is None) == (from_us is None and to_us is None)
