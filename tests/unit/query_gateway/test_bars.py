"""Bars of windows come to the bars of all rows, exact to the last digit."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamark.market.schema import RecordKind
from seamark.query_gateway.bars import BARS_SCHEMA, finished, merged, partial
from unit.query_gateway.rows import instant, rows_of

GREATEST = 10**28 - 1
SCALE = 10**10
AMOUNTS = st.one_of(
    st.sampled_from([0, 1, SCALE, GREATEST, GREATEST - 1, 10**27]),
    st.integers(0, 10**6),
    st.integers(0, GREATEST),
)
USUAL = st.integers(1, 10**15)
INTERVAL_US = 1_000
LAW = settings(deadline=None)


def amount(unscaled):
    return Decimal(f"{unscaled}e-10")


@st.composite
def worlds(draw, prices=AMOUNTS | AMOUNTS.map(lambda value: -value), quantities=AMOUNTS):
    """(rows as (time, price, quantity) in the total order, where they are cut into windows)."""
    times = sorted(draw(st.lists(st.integers(-3_500, 6_000), min_size=1, max_size=30)))
    rows = [(time, draw(prices), draw(quantities)) for time in times]
    cuts = sorted(draw(st.sets(st.integers(1, len(rows)), max_size=6)) - {len(rows)})
    return rows, [0, *cuts, len(rows)]


def frame_of(rows):
    return rows_of(
        RecordKind.TRADES,
        [{"timestamp": time, "price": amount(price), "quantity": amount(size)} for time, price, size in rows],
    )


def by_hand(rows):
    """Bars by their definition, in whole numbers and fractions."""
    found = []
    for start, group in groupby(rows, key=lambda row: row[0] // INTERVAL_US * INTERVAL_US):
        trades = list(group)
        prices = [price for _, price, _ in trades]
        volume = sum(size for _, _, size in trades)
        notional = sum(price * size for _, price, size in trades)
        vwap = round(Fraction(notional, volume)) if volume else None  # Python rounds a half to even
        found.append(
            (start, prices[0], max(prices), min(prices), prices[-1], volume, notional, vwap, len(trades))
        )
    return found


def unscaled(value, scale=SCALE):
    return None if value is None else int(Fraction(value) * scale)


def given_by(state):
    table = finished(state, ["final"] * len(state), [None] * len(state))
    assert table.schema == BARS_SCHEMA
    return [
        (
            round((row["start"] - instant(0)).total_seconds() * 1_000_000),
            *(unscaled(row[name]) for name in ("open", "high", "low", "close", "volume")),
            unscaled(row["notional"], SCALE**2),
            unscaled(row["vwap"]),
            row["trades"],
        )
        for row in table.to_pylist()
    ]


@LAW
@given(worlds())
def test_windows_come_to_the_bars_of_all_rows(world):
    rows, edges = world
    states = [partial(frame_of(rows[first:last]), INTERVAL_US) for first, last in pairwise(edges)]
    assert given_by(merged(states, INTERVAL_US)) == by_hand(rows)


@LAW
@given(worlds(), st.sampled_from([2, 10, INTERVAL_US // 4]))
def test_states_of_parts_of_an_interval_come_to_its_bars(world, parts):
    rows, edges = world
    states = [partial(frame_of(rows[first:last]), INTERVAL_US // parts) for first, last in pairwise(edges)]
    assert given_by(merged(states, INTERVAL_US)) == by_hand(rows)


@LAW
@given(worlds(prices=USUAL, quantities=USUAL))
def test_windows_of_usual_amounts_come_to_the_bars_of_all_rows(world):
    rows, edges = world
    states = [partial(frame_of(rows[first:last]), INTERVAL_US) for first, last in pairwise(edges)]
    assert given_by(merged(states, INTERVAL_US)) == by_hand(rows)


@LAW
@given(worlds(), st.data())
def test_windows_may_be_merged_in_several_steps(world, data):
    rows, edges = world
    states = [partial(frame_of(rows[first:last]), INTERVAL_US) for first, last in pairwise(edges)]
    cut = data.draw(st.integers(1, len(states)))
    steps = [merged(states[:cut], INTERVAL_US), *states[cut:]]
    assert given_by(merged(steps, INTERVAL_US)) == by_hand(rows)


@pytest.mark.parametrize("price", [GREATEST, -GREATEST])
def test_a_sum_beyond_128_bits_is_exact(price):
    rows = [(0, price, GREATEST)] * 1_000
    assert 1_000 * price * GREATEST not in range(-(2**127), 2**127)
    ((*_, notional, vwap, trades),) = given_by(partial(frame_of(rows), INTERVAL_US))
    assert (notional, vwap, trades) == (1_000 * price * GREATEST, price, 1_000)


@pytest.mark.parametrize(
    ("prices", "expected"),
    [((1, 2), 2), ((2, 3), 2), ((-1, -2), -2), ((-2, -3), -2), ((0, 1), 0), ((3, 4), 4)],
)
def test_vwap_rounds_a_half_to_even(prices, expected):
    rows = [(0, price, SCALE) for price in prices]
    assert given_by(partial(frame_of(rows), INTERVAL_US))[0][7] == expected


def test_vwap_of_no_quantity_is_null():
    assert given_by(partial(frame_of([(0, 5, 0), (1, 7, 0)]), INTERVAL_US))[0][5:8] == (0, 0, None)


def test_vwap_that_is_no_price_is_null():
    rows = [(0, GREATEST, SCALE), (1, -GREATEST, 1 - SCALE)]
    assert given_by(partial(frame_of(rows), INTERVAL_US))[0][5:8] == (1, (2 * SCALE - 1) * GREATEST, None)


@LAW
@given(worlds())
def test_notional_is_canonical_text(world):
    rows, _ = world
    state = partial(frame_of(rows), INTERVAL_US)
    table = finished(state, ["final"] * len(state), [True] * len(state))
    for text, bar in zip(table["notional"].to_pylist(), by_hand(rows), strict=True):
        assert re.fullmatch(r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text)
        assert text != "-0"
        assert Fraction(text) == Fraction(bar[6], SCALE**2)


def test_state_and_completeness_are_passed_on():
    state = partial(frame_of([(0, 1, 1), (1_000, 1, 1)]), INTERVAL_US)
    table = finished(state, ["final", "revised"], [True, None])
    assert table["state"].to_pylist() == ["final", "revised"]
    assert table["complete"].to_pylist() == [True, None]
