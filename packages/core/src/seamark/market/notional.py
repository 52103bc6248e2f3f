"""Notional and volume-weighted average price: the one exact way to compute them.

Engines disagree on the product of two decimal(28,10): one raises, one rounds, one
overflows. Here the product and its sum are exact at scale 20, and rounding happens once,
at the end, where a price is asked for.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from seamark.market.schema import DECIMAL_PRECISION, DECIMAL_SCALE

Column: TypeAlias = "pa.Array | pa.ChunkedArray"

AMOUNT = pa.decimal128(DECIMAL_PRECISION, DECIMAL_SCALE)
"""Type of prices and quantities: decimal(28,10)."""
NOTIONAL = pa.decimal256(2 * DECIMAL_PRECISION + 1, 2 * DECIMAL_SCALE)
"""Type of price × quantity: every product of two amounts fits."""

_WIDE = pa.decimal256(DECIMAL_PRECISION, DECIMAL_SCALE)
_EXACT = Context(prec=200)  # more digits than any sum here has


def notional(price: Column, quantity: Column) -> Column:
    """price × quantity of each row, exact; null where either is.

    Takes two columns of AMOUNT of one length, gives one of NOTIONAL.

    Raises:
        TypeError: a column has another type.
    """
    for name, column in (("price", price), ("quantity", quantity)):
        if column.type != AMOUNT:
            raise TypeError(f"{name} was {column.type}, must be {AMOUNT}")
    return pc.multiply(price.cast(_WIDE), quantity.cast(_WIDE))


def total(column: Column) -> Decimal:
    """The exact sum of a decimal column; nulls count as nothing, no rows sum to 0."""
    wide = column.cast(pa.decimal256(76, column.type.scale))  # room for 10**19 rows of NOTIONAL
    value: Decimal | None = pc.sum(wide, min_count=0).as_py()
    return Decimal(0) if value is None else value


def vwap(notional_sum: Decimal, quantity_sum: Decimal) -> Decimal | None:
    """notional_sum / quantity_sum to 10 decimals, half to even; None where no quantity was traded."""
    if not quantity_sum:
        return None
    dividend, divisor = _integers(notional_sum, quantity_sum)
    quotient, rest = divmod(dividend * 10**DECIMAL_SCALE, divisor)
    # `divisor` is positive, so 0 <= rest < divisor whatever the signs were.
    if 2 * rest > divisor or (2 * rest == divisor and quotient % 2):
        quotient += 1
    return scaled(quotient, DECIMAL_SCALE)


def scaled(unscaled: int, scale: int) -> Decimal:
    """unscaled × 10^-scale, exact."""
    return _EXACT.scaleb(Decimal(unscaled), -scale)


def _integers(dividend: Decimal, divisor: Decimal) -> tuple[int, int]:
    """Two integers, the second positive, with the same quotient."""
    above, below = dividend.as_integer_ratio()
    above_too, below_too = divisor.as_integer_ratio()
    numerator, denominator = above * below_too, below * above_too
    return (numerator, denominator) if denominator > 0 else (-numerator, -denominator)
