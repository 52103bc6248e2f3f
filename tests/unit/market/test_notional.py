"""Notional and VWAP against whole-number arithmetic."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seamark.market.notional import AMOUNT, NOTIONAL, notional, total, vwap

EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)
LARGEST = 10**28 - 1
UNSCALED = st.integers(-LARGEST, LARGEST)
AMOUNTS = st.integers(0, LARGEST)


def amount(unscaled, scale=10):
    return EXACT.scaleb(Decimal(unscaled), -scale)


def column(values):
    return pa.array([None if value is None else amount(value) for value in values], AMOUNT)


@given(st.lists(st.tuples(st.none() | UNSCALED, st.none() | UNSCALED), max_size=30))
@example([(LARGEST, LARGEST), (-LARGEST, LARGEST)] * 10)
def test_products_and_their_sum_are_exact(rows):
    prices, quantities = column([p for p, _ in rows]), column([q for _, q in rows])
    products = [None if p is None or q is None else p * q for p, q in rows]
    result = notional(prices, quantities)
    assert result.type == NOTIONAL
    assert result.to_pylist() == [None if p is None else amount(p, 20) for p in products]
    assert total(result) == amount(sum(p for p in products if p is not None), 20)


def test_the_sum_of_many_of_the_largest_is_exact():
    rows = 100_000
    largest = pa.chunked_array([pa.array([amount(LARGEST)] * 10, AMOUNT)] * (rows // 10))
    assert total(notional(largest, largest)) == amount(rows * LARGEST * LARGEST, 20)


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), max_size=20))
def test_vwap_is_the_exact_quotient_rounded_once(rows):
    notional_sum, quantity_sum = sum(p * q for p, q in rows), sum(q for _, q in rows)
    result = vwap(amount(notional_sum, 20), amount(quantity_sum))
    if not quantity_sum:
        assert result is None
        return
    assert result is not None
    assert result == amount(round(Fraction(notional_sum, quantity_sum)))  # rounds half to even
    assert result.as_tuple().exponent == -10


@given(st.integers(-(10**76), 10**76), st.integers(-(10**40), 10**40).filter(bool))
def test_vwap_rounds_negative_sums_as_positive_ones(notional_sum, quantity_sum):
    result = vwap(amount(notional_sum, 20), amount(quantity_sum))
    assert result == amount(round(Fraction(notional_sum, quantity_sum)))


@pytest.mark.parametrize(("half", "even"), [(5, 0), (15, 2), (25, 2), (-5, 0), (-15, -2)])
def test_a_half_goes_to_the_even_neighbour(half, even):
    assert vwap(amount(half, 11), Decimal(1)) == amount(even)


def test_no_rows_sum_to_nothing_and_have_no_price():
    empty = notional(column([]), column([]))
    assert total(empty) == 0
    assert vwap(total(empty), total(column([]))) is None


def test_a_column_of_another_type_is_refused_by_name():
    with pytest.raises(TypeError, match="quantity was double, must be decimal128"):
        notional(column([1]), pa.array([1.0]))
