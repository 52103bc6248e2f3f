"""From buffered rows to what a data file gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.market.order import iceberg_sort_columns, sort_frame
from seamark.market.schema import RecordKind, row_schema
from seamark.stream.rows import with_stream


def batch_rows(
    kind: RecordKind,
    topics: Mapping[int, str],
    frames: Mapping[StreamPartition, Sequence[pl.DataFrame]],
) -> pa.Table:
    """Buffered rows as one table in the declared sort order.

    Columns of `row_schema(kind)`; repeating text as Arrow dictionaries. `topics`: by stream.
    """
    schema = row_schema(kind)
    parts = [
        with_stream(pl.concat(buffered), where, topics[where.stream_id])
        for where, buffered in frames.items()
        if buffered
    ]
    if not parts:
        return schema.empty_table()
    frame = pl.concat(parts).select(schema.names)
    return sort_frame(frame, iceberg_sort_columns(kind)).to_arrow()
