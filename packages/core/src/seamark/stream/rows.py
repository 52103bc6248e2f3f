"""Between decoded records and rows: what the fold sees of them, and what their place in the log adds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from seamark.lake.checkpoint import StreamPartition
from seamark.sequencing.fold import Epochs, Mask, Records
from seamark.sequencing.state import SequenceKey
from seamark.stream.topics import parse_market_topic

_KEY = ("exchange", "market", "feed", "symbol")
_SHARED: Mapping[str, tuple[Callable[[StreamPartition, str], int | str], type[pl.DataType]]] = {
    "stream_id": (lambda where, topic: where.stream_id, pl.Int32),
    "kafka_partition": (lambda where, topic: where.partition, pl.Int32),
    "repair_seq": (lambda where, topic: 0, pl.Int32),
    "asset_class": (lambda where, topic: parse_market_topic(topic).asset_class, pl.Categorical),
}
SHARED = frozenset(_SHARED)
"""Columns that all rows of a partition have alike: not kept by row."""
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
        added = (
            pl.Series("kafka_offset", self.offsets),
            pl.Series("kafka_timestamp", self.append_us).cast(pl.Datetime("us", "UTC")),
            pl.Series("id_epoch", np.zeros(len(rows), np.int32) if epochs is None else epochs),
        )
        return pl.DataFrame([*repeating_as_codes(rows).get_columns(), *added])


def repeating_as_codes(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with text that repeats as Categorical."""
    # Column by column: a query over all of them costs more than casting a few rows does.
    return pl.DataFrame(
        [
            column.cast(pl.Categorical) if column.name in _REPEATING else column
            for column in rows.get_columns()
        ]
    )


def records_of(rows: pl.DataFrame) -> Records:
    """What the fold looks at of decoded trades or quotes. There is at least one."""
    # As Arrow a column brings its codes and its few names along; polars asks its engine for either.
    columns = [rows[name].cast(pl.Categorical).to_arrow() for name in _KEY]
    codes_of = [column.indices.to_numpy() for column in columns]
    alike = all(bool((codes == codes[0]).all()) for codes in codes_of[:3])
    if alike:
        global_codes = codes_of[3]
    else:
        # By their codes, not by joined text: any character may stand in a name, a separator too.
        global_codes = np.unique(np.stack(codes_of, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    present = np.zeros(int(global_codes.max()) + 1, dtype=np.bool_)
    present[global_codes] = True
    distinct = np.flatnonzero(present)
    local = np.zeros(len(present), dtype=np.uint16 if len(distinct) < 2**16 else np.uint32)
    local[distinct] = np.arange(len(distinct))
    codes = local[global_codes]
    first_rows = np.zeros(len(distinct), dtype=np.int64)
    first_rows[codes[::-1]] = np.arange(len(rows))[::-1]
    names = [
        column.dictionary.take(pa.array(of_column[first_rows])).to_pylist()
        for column, of_column in zip(columns, codes_of, strict=True)
    ]
    return Records(
        tuple(starmap(SequenceKey, zip(*names, strict=True))),
        codes,
        rows["source_sequence"].to_numpy(),
        rows["timestamp"].cast(pl.Int64).to_numpy(),
    )


def with_stream(rows: pl.DataFrame, where: StreamPartition, topic: str) -> pl.DataFrame:
    """`rows` of one partition with the columns that all of them share: then all of `row_schema` are there."""
    return with_streams(rows, [(where, topic)], [len(rows)])


def with_streams(
    rows: pl.DataFrame,
    parts: Sequence[tuple[StreamPartition, str]],
    counts: Sequence[int],
    names: Collection[str] = SHARED,
) -> pl.DataFrame:
    """As `with_stream`, of several partitions (with their topics), so many rows of each behind each other.
    `names`: those of `SHARED` that are wanted."""
    columns = []
    # Column by column, and without polars' engine: it costs more than the few rows of most answers do.
    for name, (of_part, kind) in _SHARED.items():
        if name in names:
            of_parts = [of_part(*part) for part in parts]
            column = pl.Series(name, of_parts, kind)
            if len(set(of_parts)) == 1:
                columns.append(column.new_from_index(0, len(rows)))
            else:
                columns.append(column[np.repeat(np.arange(len(parts)), counts)])
    return rows.hstack(columns)
