"""Footers of data files: where their columns lie, under which names, and between which bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.schema import Schema

from seamark.market.schema import RecordKind, row_schema
from seamark.query_gateway.direct.bounds import piece_schema, tracked
from seamark.query_gateway.direct.errors import DirectReadRefused
from seamark.query_gateway.direct.ranges import Range

_FIELD_ID = b"PARQUET:field_id"
_TELLING = (pa.string(), pa.int32(), pa.int64())
"""Types whose bounds are the values themselves."""
Constant: TypeAlias = str | int


@dataclass(frozen=True, slots=True, eq=False)
class Footer:
    """What is known of a data file."""

    path: str
    size_bytes: int
    metadata: pq.FileMetaData
    names: Mapping[str, str]
    """Names in the file of the columns it has."""
    leaves: Mapping[str, tuple[int, ...]]
    """Numbers of a column's Parquet columns; a nested one has several."""
    groups: pl.DataFrame
    """Row groups, as pieces, with their number as `group`."""
    constants: Sequence[Mapping[str, Constant]]
    """By row group: text and whole numbers that are the same in all of its rows."""

    def stored(self, group: int, columns: Sequence[str]) -> list[str]:
        """Which of some columns of a row group must be read: of the others its one value is known here. One
        at least, which says how many rows there are."""
        known = self.constants[group]
        return [name for name in columns if name not in known] or [*columns[:1]]

    def ranges(self, group: int, columns: Sequence[str]) -> list[Range]:
        """Where lies what must be read for columns of a row group."""
        found = self.metadata.row_group(group)
        ranges = []
        for name in self.stored(group, columns):
            for leaf in self.leaves.get(name, ()):
                chunk = found.column(leaf)
                # A column without a dictionary page may say 0.
                first = chunk.dictionary_page_offset or chunk.data_page_offset
                ranges.append((first, first + chunk.total_compressed_size))
        return ranges


def footer_of(
    kind: RecordKind, schema: Schema, path: str, size_bytes: int, metadata: pq.FileMetaData
) -> Footer:
    """The footer of a file of a table with `schema`.

    Raises:
        DirectReadRefused: its columns cannot be told.
    """
    arrow = metadata.schema.to_arrow_schema()
    names = _names(path, arrow, schema, row_schema(kind).names)
    of_root: dict[str, list[int]] = {}
    for leaf in range(metadata.num_columns):
        of_root.setdefault(metadata.schema.column(leaf).path.partition(".")[0], []).append(leaf)
    leaves = {name: tuple(of_root[found]) for name, found in names.items()}
    groups = _groups(kind, path, size_bytes, metadata, leaves)
    plain = {
        name: places[0]
        for name, places in leaves.items()
        if arrow.field(names[name]).type == row_schema(kind).field(name).type
        and row_schema(kind).field(name).type in _TELLING
    }
    constants = [_constants(metadata.row_group(at), plain) for at in range(metadata.num_row_groups)]
    return Footer(path, size_bytes, metadata, names, leaves, groups, constants)


def _constants(group: pq.RowGroupMetaData, leaves: Mapping[str, int]) -> dict[str, Constant]:
    """Bounds that are equal are exact, however they were cut; they do not tell of nulls."""
    found = {}
    for name, leaf in leaves.items():
        said = group.column(leaf).statistics
        if said is None or not said.has_min_max or not said.has_null_count or said.null_count:
            continue
        least = said.min_raw
        if least == said.max_raw:
            found[name] = _stored(least)
    return found


def _names(path: str, file: pa.Schema, schema: Schema, wanted: Iterable[str]) -> dict[str, str]:
    """Columns by their field id, as Iceberg has it: a file keeps the names of the day it was written."""
    by_id = {
        int(field.metadata[_FIELD_ID]): field.name for field in file if _FIELD_ID in (field.metadata or {})
    }
    if len(by_id) != len(file):
        raise DirectReadRefused(
            f"columns without a field id were {len(file) - len(by_id)} in {path}, must be 0"
        )
    ids = {field.name: field.field_id for field in schema.fields}
    return {name: by_id[ids[name]] for name in wanted if name in ids and ids[name] in by_id}


def _groups(
    kind: RecordKind,
    path: str,
    size_bytes: int,
    metadata: pq.FileMetaData,
    leaves: Mapping[str, tuple[int, ...]],
) -> pl.DataFrame:
    schema = {"group": pl.Int32(), **piece_schema(kind)}
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns["group"].append(number)
        columns["path"].append(path)
        columns["size_bytes"].append(size_bytes)
        columns["rows"].append(group.num_rows)
        columns["sizes"].append(
            [
                sum(group.column(leaf).total_compressed_size for leaf in leaves.get(name, ()))
                for name in row_schema(kind).names
            ]
        )
        for name in tracked(kind):
            statistics = group.column(leaves[name][0]).statistics if name in leaves else None
            if statistics is None or not statistics.has_min_max:
                columns[f"{name}_min"].append(None)
                columns[f"{name}_max"].append(None)
                continue
            columns[f"{name}_min"].append(_stored(statistics.min_raw))
            columns[f"{name}_max"].append(_stored(statistics.max_raw))
    return pl.DataFrame(columns, schema=schema)


def _stored(value: Any) -> str | int:  # noqa: ANN401 - Arrow is untyped
    return value.decode() if isinstance(value, bytes) else value
