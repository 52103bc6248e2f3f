"""Rows for tests: a few values given, the rest as a venue would have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from seamark.market.schema import RecordKind, row_schema

REPEATING = ("exchange", "market", "feed", "symbol")
"""Text that the writer's and the tail's frames hold as Categorical."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT = {
    "exchange": "binance",
    "market": "spot",
    "feed": "trade",
    "symbol": "AAA",
    "currency": "USDT",
    "side": "BUY",
    "origin": "STREAM",
    "asset_class": "crypto",
    "timestamp_source": "RECEIVE",
    "kind": "PROGRESS",
    "event_id": "e",
}


def instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def rows_of(kind: RecordKind, given: Iterable[Mapping[str, Any]], categorical: bool = False) -> pl.DataFrame:
    """A frame of `row_schema(kind)`. Times are given in microseconds, amounts as text or whole numbers."""
    schema = row_schema(kind)
    listed = list(given)
    unknown = {name for one in listed for name in one} - set(schema.names)
    assert not unknown, unknown
    columns = [
        pa.array([_value(field, one) for one in listed], field.type) if listed else pa.array([], field.type)
        for field in schema
    ]
    frame = pl.DataFrame(pa.table(columns, schema=schema))
    if categorical:
        frame = frame.with_columns(
            pl.col(name).cast(pl.Categorical) for name in REPEATING if name in frame.columns
        )
    return frame


def _value(field: pa.Field, given: Mapping[str, Any]) -> Any:
    value = given.get(field.name)
    if value is None and not field.nullable:
        value = _TEXT.get(field.name, "x") if pa.types.is_string(field.type) else 0
    if value is not None and pa.types.is_timestamp(field.type):
        return instant(value)
    if value is not None and pa.types.is_decimal(field.type):
        return Decimal(value)
    return value
