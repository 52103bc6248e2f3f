"""Columns of a row group as the contract has them, from whatever wrote the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.direct.errors import DirectReadRefused
from seamark.query_gateway.direct.footers import Footer
from seamark.query_gateway.direct.store import reading

_REPEATING = frozenset(
    (
        *("asset_class", "exchange", "market", "feed", "symbol", "currency", "side", "origin"),
        *("timestamp_source", "status", "kind", "base_currency", "cause", "leg"),
    )
)
"""Text of few different values: Categorical in a frame, decoded a value at a time."""


def decode(
    source: Any,  # noqa: ANN401 - anything that Arrow reads a file from
    footer: Footer,
    kind: RecordKind,
    wanted: Sequence[tuple[int, Sequence[str]]],
) -> list[list[pl.Series]]:
    """Of each (row group, columns): its columns, all rows. A column that the file lacks is null.

    Text that repeats is Categorical.

    Raises:
        SnapshotGone, CatalogUnavailable: the source failed, or what it gave is not Parquet.
        DirectReadRefused: a column that must be there is not, or is of a type that does not fit.
    """
    schema = row_schema(kind)
    with reading(footer.path):
        file = pq.ParquetFile(
            source,
            metadata=footer.metadata,
            read_dictionary=[found for name, found in footer.names.items() if name in _REPEATING],
        )
    decoded: list[list[pl.Series]] = []
    for group, columns in wanted:
        present = [footer.names[name] for name in columns if name in footer.names]
        with reading(footer.path):
            table = file.read_row_group(group, columns=present, use_threads=False)
        count = footer.metadata.row_group(group).num_rows
        series = []
        for name in columns:
            array = table[footer.names[name]] if name in footer.names else None
            fitting = _fitting(footer, schema.field(name), array, count)
            series.append(pl.Series(name, fitting))
        decoded.append(series)
    return decoded


def _fitting(footer: Footer, field: pa.Field, array: pa.ChunkedArray | None, count: int) -> pa.ChunkedArray:
    if array is None:
        if not field.nullable:
            raise DirectReadRefused(f"column {field.name} is missing in {footer.path}, must be there")
        return pa.chunked_array([pa.nulls(count, field.type)])
    if array.type == field.type or pa.types.is_dictionary(array.type):
        return array
    try:
        return array.cast(field.type)
    except pa.ArrowException as error:
        raise DirectReadRefused(
            f"column {field.name} was {array.type} in {footer.path}, must be {field.type}: {error}"
        ) from error
