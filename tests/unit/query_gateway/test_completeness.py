"""Bars are complete where their minutes have the very ids that the venue counted, however windows cut them."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.query_gateway.closed_minutes import ClosedMinutes
from seamark.query_gateway.completeness import CountedMinutes, completeness, id_runs, united
from unit.query_gateway.rows import rows_of

SECOND = 1_000_000
MINUTE = 60 * SECOND
MINUTES = range(-2, 6)
INTERVALS = (SECOND, 5 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE)
LAW = settings(deadline=None)
GREATEST = 2**63 - 1
IDS = st.one_of(st.integers(0, 12), st.sampled_from([GREATEST, GREATEST - 1, GREATEST - 2]))


def frame_of(trades, **values):
    """Of (minute, second of it, id)."""
    rows = [
        {"timestamp": minute * MINUTE + second * SECOND, "source_sequence": number} | values
        for minute, second, number in trades
    ]
    return rows_of(RecordKind.TRADES, rows, categorical=True)


def counted_of(klines):
    """Of minute -> (first id, last id), or None for no trades."""
    said = sorted(klines.items())
    columns = [
        [minute * MINUTE for minute, _ in said],
        [ids[0] if ids else 0 for _, ids in said],
        [ids[1] if ids else -1 for _, ids in said],
    ]
    return CountedMinutes(*(np.array(column, np.int64) for column in columns))


def by_hand(start, interval, trades, klines, lacking=False):
    """Of one bar."""
    found = defaultdict(set)
    for minute, _, number in trades:
        found[minute].add(number)
    verdicts = []
    for minute in range(start // MINUTE, max(start // MINUTE + 1, (start + interval) // MINUTE)):
        if minute not in klines:
            return None
        ids = klines[minute]
        exact = found[minute] == (set(range(ids[0], ids[1] + 1)) if ids else set())
        if lacking and not exact:
            return None
        verdicts.append(exact)
    return all(verdicts)


@st.composite
def worlds(draw):
    """(trades in order of time, where windows cut them, klines by minute)."""
    trades = draw(st.lists(st.tuples(st.sampled_from(MINUTES), st.integers(0, 59), IDS), max_size=40))
    cuts = sorted(draw(st.sets(st.integers(0, len(trades)), max_size=5)) | {0, len(trades)})
    trades.sort(key=lambda trade: trade[:2])
    klines = {}
    for minute in draw(st.sets(st.sampled_from(MINUTES))):
        ids = sorted(number for at, _, number in trades if at == minute)
        true = (ids[0], ids[-1]) if ids else None  # of which some may not be there
        if true and true[1] - true[0] > 100:
            true = (true[1], true[1])
        klines[minute] = draw(st.sampled_from([true, true, true, None, (0, 3)]))
    return trades, cuts, klines


@LAW
@given(worlds(), st.sampled_from(INTERVALS), st.booleans())
def test_every_verdict_is_that_of_the_definition(world, interval, lacking):
    trades, cuts, klines = world
    parts = [id_runs(frame_of(trades[first:last])) for first, last in pairwise(cuts)] or [
        id_runs(frame_of([]))
    ]
    starts = sorted({(at * MINUTE + second * SECOND) // interval * interval for at, second, _ in trades})
    found = completeness(starts, interval, united(pl.concat(parts)), counted_of(klines), lacking)
    assert found == [by_hand(start, interval, trades, klines, lacking) for start in starts]


@LAW
@given(worlds(), st.randoms())
def test_windows_come_to_the_ids_of_all_rows_in_any_order(world, random):
    trades, cuts, _ = world
    shuffled = random.sample(trades, len(trades))
    parts = [id_runs(frame_of(shuffled[first:last])) for first, last in pairwise(cuts)]
    parts = parts or [id_runs(frame_of([]))]
    together = united(pl.concat([united(pl.concat(parts[:2])), *parts[2:]]))
    found = defaultdict(set)
    for minute, first, last in together.iter_rows():
        assert not found[minute // MINUTE] & {*range(first, last + 1)}
        found[minute // MINUTE] |= {*range(first, last + 1)}
    expected = defaultdict(set)
    for minute, _, number in trades:
        expected[minute].add(number)
    assert found == expected
    # As few runs as there can be: what does not touch.
    runs = sum(number - 1 not in ids for ids in expected.values() for number in ids)
    assert len(together) == runs


def test_ids_that_lie_within_a_run_do_not_end_it():
    windows = ([0, 1, 2, 3, 4, 5], [2], [6], [9], [8])
    parts = [id_runs(frame_of([(0, 0, number) for number in window])) for window in windows]
    assert united(pl.concat(parts)).rows() == [(0, 0, 6), (0, 8, 9)]


def test_a_whole_minute_of_trades_is_one_run():
    runs = id_runs(frame_of([(0, number // 100, number) for number in range(6_000)]))
    assert runs.rows() == [(0, 0, 5_999)]


def verdict(trades, klines, interval=MINUTE, **values):
    ids = id_runs(frame_of(trades, **values))
    return completeness([0], interval, ids, counted_of(klines), lacking=False)


@pytest.mark.parametrize(
    ("trades", "kline", "expected"),
    [
        ([(0, 0, 5), (0, 1, 6)], (5, 6), True),
        ([(0, 0, 6), (0, 0, 5), (0, 9, 6)], (5, 6), True),
        ([(0, 0, 5), (0, 1, 7)], (5, 7), False),
        ([(0, 0, 5)], (5, 6), False),
        ([(0, 0, 5), (0, 1, 6)], (5, 5), False),
        ([(0, 0, 5)], None, False),
    ],
)
def test_a_minute_has_the_ids_of_its_kline_and_no_other(trades, kline, expected):
    assert verdict(trades, {0: kline}) == [expected]


def test_a_longer_bar_needs_the_klines_of_minutes_without_trades_too():
    trades = [(0, 0, 5)]
    assert verdict(trades, {0: (5, 5)}, 2 * MINUTE) == [None]
    assert verdict(trades, {0: (5, 5), 1: None}, 2 * MINUTE) == [True]
    assert verdict(trades, {0: (5, 5), 1: (6, 9)}, 2 * MINUTE) == [False]


def test_what_is_not_known_outweighs_what_is_not_there():
    assert verdict([(0, 0, 5)], {0: (5, 9)}, 2 * MINUTE) == [None]


def test_other_feeds_do_not_count_and_a_trade_without_a_number_is_one_too_many():
    assert verdict([(0, 0, 5)], {0: None}, feed="aggTrade") == [True]
    assert verdict([(0, 0, None)], {0: None}) == [False]


# What klines have said

EVENT = {"kind": "INTERVAL_CLOSED", "feed": "trade", "first_sequence": 3, "last_sequence": 9}


def events_of(*given):
    """Of (symbol, start in minutes, changes)."""
    rows = [
        EVENT
        | {
            "symbol": symbol,
            "venue_timestamp": (minute + 1) * MINUTE,
            "detail": f'{{"start_us":{minute * MINUTE},"trades":7}}',
        }
        | changes
        for symbol, minute, changes in given
    ]
    frame = rows_of(RecordKind.FEED_EVENTS, rows, categorical=True)
    return frame.with_columns(venue_us=pl.col("venue_timestamp").to_physical())


def said(minutes, symbol="AAA", from_minute=0, to_minute=100):
    found = minutes.now([symbol])[symbol].within(from_minute * MINUTE, to_minute * MINUTE)
    return {
        minute // MINUTE: (first, last)
        for minute, first, last in zip(
            found.minute_us.tolist(), found.first.tolist(), found.last.tolist(), strict=True
        )
    }


def test_of_a_minute_that_is_told_again_the_first_word_counts():
    minutes = ClosedMinutes()
    minutes.add(events_of(("AAA", 0, {}), ("BBB", 0, {}), ("AAA", 0, {"last_sequence": 8})))
    for minute in range(1, 20):
        minutes.add(events_of(("AAA", minute, {})))
    minutes.add(events_of(("AAA", 0, {"first_sequence": 1}), ("AAA", 19, {"first_sequence": 1})))
    assert said(minutes) == dict.fromkeys(range(20), (3, 9))
    assert said(minutes, "BBB") == {0: (3, 9)}


def test_what_two_legs_tell_at_once_is_kept_once():
    minutes = ClosedMinutes()
    for minute in range(5):
        minutes.add(events_of(("AAA", minute, {}), ("AAA", minute, {})))
    assert len(minutes) == 5


def test_what_was_known_does_not_change_with_what_is_told_later():
    minutes = ClosedMinutes()
    minutes.add(events_of(("AAA", 1, {})))
    before = minutes.now(["AAA"])["AAA"]
    minutes.add(events_of(("AAA", 0, {}), ("AAA", 2, {})))
    assert before.within(0, 100 * MINUTE).minute_us.tolist() == [MINUTE]
    assert list(said(minutes)) == [0, 1, 2]


def test_only_minutes_that_lie_in_the_range_as_a_whole_are_given():
    minutes = ClosedMinutes()
    minutes.add(events_of(*(("AAA", minute, {}) for minute in range(5))))
    known = minutes.now(["AAA"])["AAA"]
    assert known.within(MINUTE, 3 * MINUTE).minute_us.tolist() == [MINUTE, 2 * MINUTE]
    assert known.within(MINUTE + 1, 3 * MINUTE - 1).minute_us.tolist() == []


def test_a_minute_without_trades_is_told():
    minutes = ClosedMinutes()
    minutes.add(events_of(("AAA", 0, {"first_sequence": None, "last_sequence": None})))
    ((first, last),) = said(minutes).values()
    assert first > last


@pytest.mark.parametrize(
    "changes",
    [
        {"feed": "aggTrade"},
        {"feed": None},
        {"detail": None},
        {"detail": "no JSON"},
        {"detail": '{"start_us":99999999999999999999999}'},
        {"venue_timestamp": 5 * MINUTE},
        {"venue_timestamp": None},
        {"detail": '{"start_us":1}', "venue_timestamp": MINUTE + 1},
    ],
)
def test_what_is_no_minute_of_trades_is_passed_over(changes):
    minutes = ClosedMinutes()
    minutes.add(events_of(("AAA", 0, changes)))
    assert len(minutes) == 0
