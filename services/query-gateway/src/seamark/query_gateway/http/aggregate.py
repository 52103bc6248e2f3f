"""One row over a whole range, put together from bars: exact, because bars are partial states."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from seamark.market.notional import AMOUNT, total, vwap
from seamark.market.schema import DECIMAL_SCALE
from seamark.query_gateway.answer import Answer, whole_answer
from seamark.query_gateway.bars import BARS_SCHEMA

BARS_OF_A_RANGE = "1d"
"""Interval of the bars that are put together: the fewest."""
_NOTIONAL = pa.decimal256(76, 2 * DECIMAL_SCALE)
_TIME = pa.timestamp("us", "UTC")
COLUMNS = {
    "ohlcv": (
        *(pa.field(name, AMOUNT) for name in ("open", "high", "low", "close")),
        BARS_SCHEMA.field("volume"),
        BARS_SCHEMA.field("notional"),
    ),
    "vwap": (pa.field("vwap", AMOUNT),),
    "count": (pa.field("trades", pa.int64(), nullable=False),),
}


def aggregate_schema(functions: Sequence[str]) -> pa.Schema:
    """start, end, and the columns of each function."""
    bounds = [pa.field(name, _TIME, nullable=False) for name in ("start", "end")]
    return pa.schema([*bounds, *(field for name in COLUMNS if name in functions for field in COLUMNS[name])])


async def aggregated(bars: Answer, from_us: int, to_us: int, functions: Sequence[str]) -> Answer:
    """An answer with one row; without trades its prices and average are null."""
    batches = [batch async for batch in bars.batches]
    table = pa.Table.from_batches(batches, bars.schema)
    rows = table.to_pydict()
    some = bool(rows["start"])
    # Not with Decimal's own +: it rounds to 28 digits.
    volume = total(table["volume"])
    notional = total(pa.chunked_array([pa.array(map(Decimal, rows["notional"]), _NOTIONAL)]))
    found = {
        "start": from_us,
        "end": to_us,
        "open": rows["open"][0] if some else None,
        "high": max(rows["high"], default=None),
        "low": min(rows["low"], default=None),
        "close": rows["close"][-1] if some else None,
        "volume": volume,
        "notional": f"{notional:.20f}".rstrip("0").rstrip("."),
        "vwap": vwap(notional, volume) if some else None,
        "trades": sum(rows["trades"]),
    }
    schema = aggregate_schema(functions)
    row = pa.table([pa.array([found[name]], schema.field(name).type) for name in schema.names], schema=schema)
    return whole_answer(bars.header, schema, row)
