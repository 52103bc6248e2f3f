"""Columns of a row group as the contract has them, from whatever wrote the file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.direct.errors import DirectReadRefused
from seamark.query_gateway.direct.footers import Constant, Footer
from seamark.query_gateway.direct.store import reading

_REPEATING = frozenset(
    (
        *("asset_class", "exchange", "market", "feed", "symbol", "currency", "side", "origin"),
        *("timestamp_source", "status", "kind", "base_currency", "cause", "leg"),
    )
)
"""Text of few different values: Categorical in a frame, decoded a value at a time."""
_PLAIN = {pa.string(): pl.String, pa.int32(): pl.Int32, pa.int64(): pl.Int64}
Rows: TypeAlias = npt.NDArray[np.int64]


def decode(
    source: Any,  # noqa: ANN401 - anything that Arrow reads a file from
    footer: Footer,
    kind: RecordKind,
    wanted: Sequence[tuple[int, Sequence[str], str]],
) -> list[pl.DataFrame]:
    """Of each (row group, columns, symbol): its columns, all rows, or where a symbol is named (and `symbol` is a
    column) only rows of that. A column that the file lacks is null.

    Text that repeats is Categorical. A column of one value holds it once.

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
    decoded = []
    for group, columns, symbol in wanted:
        stored = footer.stored(group, columns)
        present = [footer.names[name] for name in stored if name in footer.names]
        with reading(footer.path):
            table = file.read_row_group(group, columns=present, use_threads=False)
        count = footer.metadata.row_group(group).num_rows
        constants = footer.constants[group]
        arrays = {
            name: _fitting(
                footer,
                schema.field(name),
                table[footer.names[name]] if name in footer.names else None,
                count,
            )
            for name in stored
        }
        if symbol and "symbol" in arrays:
            rows = _rows_of(arrays["symbol"], symbol)
            arrays = {name: _taken(array, rows) for name, array in arrays.items()}
        frame = pl.DataFrame([pl.Series(name, array) for name, array in arrays.items()])
        known = [
            _literal(name, constants[name], schema.field(name).type) for name in columns if name not in arrays
        ]
        decoded.append(frame.with_columns(known) if known else frame)
    return decoded


def _rows_of(column: pa.ChunkedArray, symbol: str) -> Rows:
    """Places of the rows of a symbol, ascending."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    masks = []
    for chunk in column.chunks:
        named = pc.fill_null(pc.equal(chunk.dictionary, symbol), False).to_numpy(zero_copy_only=False)
        # A null has no name: the place behind all names.
        masks.append(np.append(named, False)[chunk.indices.fill_null(len(named)).to_numpy()])
    return np.flatnonzero(np.concatenate(masks)) if masks else np.empty(0, np.int64)


def _taken(array: pa.ChunkedArray, rows: Rows) -> pa.ChunkedArray:
    if not len(rows):
        return array.slice(0, 0)
    first, count = int(rows[0]), len(rows)
    if int(rows[-1]) - first + 1 == count:  # files are sorted by symbol
        return array.slice(first, count)
    return array.take(pa.array(rows))


@lru_cache(maxsize=1_024)
def _literal(name: str, value: Constant, type_: pa.DataType) -> pl.Expr:
    dtype = pl.Categorical if name in _REPEATING else _PLAIN[type_]
    return pl.lit(value, dtype).alias(name)


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
