"""Between decoded records and rows: what the fold sees of them, and what their place in the log adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from seamark.lake.checkpoint import StreamPartition
from seamark.sequencing.fold import Epochs, Mask, Records
from seamark.sequencing.state import SequenceKey
from seamark.stream.topics import parse_market_topic

_KEY = ("exchange", "market", "feed", "symbol")
_REPEATING = ("exchange", "market", "feed", "symbol", "currency", "status", "leg")
"""Text that repeats: four bytes a row while it is buffered, and a dictionary in the file."""

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Positions:
    """Where rows stood in the log."""

    offsets: Offsets
    append_us: Offsets

    def where(self, mask: Mask) -> Positions:
        return Positions(self.offsets[mask], self.append_us[mask])

    def beside(self, rows: pl.DataFrame, epochs: Epochs | None) -> pl.DataFrame:
        """`rows` with kafka_offset, kafka_timestamp and id_epoch, in their buffered form."""
        return rows.with_columns(
            *(pl.col(name).cast(pl.Categorical) for name in _REPEATING if name in rows.columns),
            kafka_offset=pl.Series(self.offsets),
            kafka_timestamp=pl.Series(self.append_us).cast(pl.Datetime("us", "UTC")),
            id_epoch=pl.lit(0, pl.Int32) if epochs is None else pl.Series(epochs),
        )


def records_of(rows: pl.DataFrame) -> Records:
    """What the fold looks at of decoded trades or quotes."""
    head = rows.select(*_KEY[:3]).row(0)
    one_feed = all(bool((rows[name] == value).all()) for name, value in zip(_KEY[:3], head, strict=True))
    columns = [
        rows[name].cast(pl.Categorical).to_physical().to_numpy() for name in (_KEY[3:] if one_feed else _KEY)
    ]
    global_codes = columns[0]
    if not one_feed:
        # By their codes, not by joined text: any character may stand in a name, a separator too.
        global_codes = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    present = np.zeros(int(global_codes.max()) + 1, dtype=np.bool_)
    present[global_codes] = True
    distinct = np.flatnonzero(present)
    local = np.zeros(len(present), dtype=np.uint16 if len(distinct) < 2**16 else np.uint32)
    local[distinct] = np.arange(len(distinct))
    codes = local[global_codes]
    first_rows = np.zeros(len(distinct), dtype=np.int64)
    first_rows[codes[::-1]] = np.arange(len(rows))[::-1]
    keys = tuple(SequenceKey(*row) for row in rows[first_rows].select(*_KEY).iter_rows())
    return Records(
        keys,
        codes,
        rows["source_sequence"].to_numpy(),
        rows["timestamp"].to_physical().to_numpy(),
    )


def with_stream(rows: pl.DataFrame, where: StreamPartition, topic: str) -> pl.DataFrame:
    """`rows` of one partition with the columns that all of them share: then all of `row_schema` are there."""
    return rows.with_columns(
        stream_id=pl.lit(where.stream_id, pl.Int32),
        kafka_partition=pl.lit(where.partition, pl.Int32),
        repair_seq=pl.lit(0, pl.Int32),
        asset_class=pl.lit(parse_market_topic(topic).asset_class).cast(pl.Categorical),
    )
