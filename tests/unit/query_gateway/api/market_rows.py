"""Rows for the twin: as the contract has them, in the order in which they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from seamark.market.schema import RecordKind, row_schema

T0_US = 1_723_161_255_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = {
    "exchange": "binance",
    "market": "spot",
    "feed": "trade",
    "symbol": "BTCUSDT",
    "side": "BUY",
    "currency": "USDT",
    "status": "TRADING",
    "kind": "GAP_OPEN",
    "timestamp_source": "RECEIVE",
    "origin": "STREAM",
    "asset_class": "crypto",
}


def _usual(name: str, arrow: pa.DataType, at: int) -> Any:
    if name in ("timestamp", "ingestion_timestamp", "kafka_timestamp"):
        return _EPOCH + timedelta(microseconds=T0_US + at * 1_000)
    if name in ("kafka_offset", "source_sequence"):
        return at
    if name in ("stream_id",):
        return 1
    if pa.types.is_decimal(arrow):
        return Decimal(at + 1) / 8
    if pa.types.is_integer(arrow):
        return 0
    if pa.types.is_date(arrow):
        return date(2024, 8, 8)
    return _TEXTS.get(name, f"{name}-{at}")


def rows(kind: RecordKind, many: int, given: Sequence[Mapping[str, Any]] = ()) -> pl.DataFrame:
    """`many` rows, a millisecond apart, offsets from 0; `given` replaces values of the first ones."""
    schema = row_schema(kind)
    columns = {}
    for column in schema:
        values = [
            None
            if column.nullable and column.name != "source_sequence"
            else _usual(column.name, column.type, at)
            for at in range(many)
        ]
        if column.name == "symbol":
            values = ["BTCUSDT" if at % 2 == 0 else "ETHUSDT" for at in range(many)]
        for at, row in enumerate(given):
            if column.name in row:
                values[at] = row[column.name]
        columns[column.name] = pa.array(values, column.type)
    return pl.DataFrame(pa.table(columns, schema=schema))
