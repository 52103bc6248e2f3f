"""The order of rows: in answers, and in files.

Two thirds of spot trades share their millisecond with another, and healed trades arrive
late: only the venue's own number puts trades into the venue's order.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from seamark.market.schema import RecordKind

_POSITION = ("stream_id", "kafka_partition", "kafka_offset")
_MARKET_DATA = (
    "timestamp",
    "exchange",
    "market",
    "symbol",
    "feed",
    "id_epoch",
    "source_sequence",
    *_POSITION,
)


def total_order(kind: RecordKind) -> tuple[str, ...]:
    """Columns that put rows into the one order of answers. All ascending, nulls last.

    Feed events and reference data keep the order of the log.
    """
    return _MARKET_DATA if kind.sequenced else _POSITION


def iceberg_sort_columns(kind: RecordKind) -> tuple[str, ...]:
    """Columns of the declared and written order of files. All ascending, nulls last.

    Symbol first, so that a reader of one symbol skips most of a file; then the total order.
    """
    order = total_order(kind)
    if not kind.sequenced:
        return order
    return ("symbol", *(column for column in order if column != "symbol"))


def sort_frame(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """`frame` sorted by `columns`, ascending, nulls last; text by its bytes."""
    return frame.sort(columns, nulls_last=True)


def sort_table(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """`table` sorted by `columns`, ascending, nulls last; text by its bytes."""
    # Arrow puts nulls last unless told otherwise.
    return table.sort_by([(column, "ascending") for column in columns])
