"""Bars as partial states: exact sums that can be merged, window by window. Pure.

A state holds, per interval, the first and last price in the total order, extremes, count, and the
sums of quantity and of price × quantity as whole numbers. Two states of neighbouring windows
merge without loss; division happens once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import polars as pl
import pyarrow as pa

from seamark.market.decimals import INTEGER_DIGITS
from seamark.market.notional import AMOUNT, notional, scaled, total, vwap
from seamark.market.schema import DECIMAL_SCALE

COLUMNS = ("timestamp", "price", "quantity")
_INT128_LIMIT = 2**127
_BEYOND_PRICES = 10**INTEGER_DIGITS

BARS_SCHEMA = pa.schema(
    [
        pa.field("start", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("open", AMOUNT, nullable=False),
        pa.field("high", AMOUNT, nullable=False),
        pa.field("low", AMOUNT, nullable=False),
        pa.field("close", AMOUNT, nullable=False),
        pa.field("volume", pa.decimal128(38, DECIMAL_SCALE), nullable=False),
        pa.field("notional", pa.string(), nullable=False),
        pa.field("vwap", AMOUNT),
        pa.field("trades", pa.int64(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("complete", pa.bool_()),
    ]
)
"""Columns of an answer of bars. `notional` is exact, at scale 20, as text: 128 bits do not hold it."""


def partial(rows: pl.DataFrame, interval_us: int) -> pl.DataFrame:
    """State of rows in the total order: one row per interval, ascending.

    Columns start_us, open, high, low, close (Decimal), volume (Int128, scale 10), notional (whole
    number at scale 20, as text: it may exceed 128 bits), trades.
    """
    frame = rows.select(
        (pl.col("timestamp").to_physical() // interval_us * interval_us).alias("start_us"),
        "price",
        "quantity",
    )
    price, quantity = pl.col("price").to_physical(), pl.col("quantity").to_physical()
    bound = frame.select(
        price.abs().max().alias("price"), quantity.abs().max().alias("quantity"), pl.len().alias("rows")
    ).row(0)
    fits = bound[0] * bound[1] * bound[2] < _INT128_LIMIT
    grouped = frame.group_by("start_us", maintain_order=True).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=quantity.sum(),
        trades=pl.len().cast(pl.Int64),
        notional=(price * quantity).sum() if fits else pl.lit(0, pl.Int128),
    )
    exact = grouped["notional"].to_list() if fits else _wide_notional(frame)
    return grouped.with_columns(notional=pl.Series(list(map(str, exact)), dtype=pl.String))


def _wide_notional(frame: pl.DataFrame) -> list[int]:
    """Sums that 128 bits may not hold, by interval: amounts of 10^9 and more."""
    sums = []
    for rows in frame.partition_by("start_us", maintain_order=True):
        table = rows.select("price", "quantity").to_arrow()
        products = notional(table["price"].cast(AMOUNT), table["quantity"].cast(AMOUNT))
        above, below = total(products).as_integer_ratio()
        sums.append(above * 10 ** (2 * DECIMAL_SCALE) // below)
    return sums


def merged(states: Sequence[pl.DataFrame], interval_us: int) -> pl.DataFrame:
    """One state of several, whose rows were in the total order one behind the other, and whose intervals are the
    same or parts of it."""
    starts = pl.col("start_us") // interval_us * interval_us
    together = pl.concat(states).with_columns(starts)
    if together["start_us"].n_unique() == len(together):
        return together
    sums: dict[int, int] = {}
    for start, text in zip(together["start_us"].to_list(), together["notional"].to_list(), strict=True):
        sums[start] = sums.get(start, 0) + int(text)
    grouped = together.group_by("start_us", maintain_order=True).agg(
        open=pl.col("open").first(),
        high=pl.col("high").max(),
        low=pl.col("low").min(),
        close=pl.col("close").last(),
        volume=pl.col("volume").sum(),
        trades=pl.col("trades").sum(),
    )
    return grouped.with_columns(
        notional=pl.Series([str(sums[start]) for start in grouped["start_us"].to_list()], dtype=pl.String)
    )


def finished(state: pl.DataFrame, states: Sequence[str], complete: Sequence[bool | None]) -> pa.Table:
    """Bars of BARS_SCHEMA. `states`, `complete`: of each row."""
    sums = [int(text) for text in state["notional"].to_list()]
    volumes = state["volume"].to_list()
    averages = [_average(value, volume) for value, volume in zip(sums, volumes, strict=True)]
    prices = (
        state.select("open", "high", "low", "close")
        .to_arrow()
        .cast(pa.schema([pa.field(name, AMOUNT) for name in ("open", "high", "low", "close")]))
    )
    return pa.table(
        [
            pa.array(state["start_us"].to_list(), pa.int64()).cast(pa.timestamp("us", "UTC")),
            *prices.columns,
            pa.array([scaled(volume, DECIMAL_SCALE) for volume in volumes], pa.decimal128(38, DECIMAL_SCALE)),
            pa.array([_text(value) for value in sums], pa.string()),
            pa.array(averages, AMOUNT),
            pa.array(state["trades"].to_list(), pa.int64()),
            pa.array(states, pa.string()),
            pa.array(complete, pa.bool_()),
        ],
        schema=BARS_SCHEMA,
    )


def _average(notional_sum: int, volume: int) -> Decimal | None:
    average = vwap(scaled(notional_sum, 2 * DECIMAL_SCALE), scaled(volume, DECIMAL_SCALE))
    # Quantities below zero, which no venue should send, can make it greater than any price.
    return None if average is None or abs(average) >= _BEYOND_PRICES else average


def _text(value: int) -> str:
    """Canonical text: no exponent, no zeros at the end."""
    whole, fraction = divmod(abs(value), 10 ** (2 * DECIMAL_SCALE))
    text = f"{whole}.{fraction:0{2 * DECIMAL_SCALE}d}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text
