"""Rows to sorted zstd Parquet data files, one per Iceberg partition.

Written by pyarrow directly: pyiceberg's own path casts every batch to plain strings first
and leaves the encoding to a default. Offsets, ids and times are delta-encoded: they rise, and
a dictionary of values that never repeat is work for nothing. Amounts are plain: zstd makes them
smaller than a dictionary does, and reading them is most of what decoding costs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import Table
from pyiceberg.table.locations import load_location_provider

_DELTA = "DELTA_BINARY_PACKED"
ROW_GROUP_ROWS = 64 * 1024
"""Rows of a row group at most: small enough to be skipped by its bounds."""
_FEW_ROWS = 16 * 1024
"""Values of the first sort column with fewer rows share a row group: a small one costs more than it saves."""


def write_data_files(table: Table, rows: pa.Table) -> list[DataFile]:
    """Upload `rows` (sorted as declared, columns by name) and describe the files.

    String columns may be dictionary-encoded. Nothing is visible until a commit names the files.

    Raises:
        OSError: the object store did not take a file.
    """
    if not rows.num_rows:
        return []
    return [_write_file(table, key, part) for key, part in _partitions(table, rows)]


def _partitions(table: Table, rows: pa.Table) -> Iterator[tuple[PartitionKey, pa.Table]]:
    spec, schema = table.spec(), table.schema()
    columns = []
    for field in spec.fields:
        source = schema.find_field(field.source_id)
        column = rows[source.name]
        if pa.types.is_dictionary(column.type):  # pyiceberg transforms plain values alone
            column = column.cast(pa.string())
        columns.append(field.transform.pyarrow_transform(source.field_type)(column))
    values = pa.table(columns, names=[field.name for field in spec.fields])
    distinct = values.group_by(values.column_names).aggregate([]).to_pylist()
    for record in distinct:
        part = rows
        if len(distinct) > 1:
            mask = None
            for name, value in record.items():
                same = pc.equal(values[name], value)
                mask = same if mask is None else pc.and_(mask, same)
            part = rows.filter(mask)
        key = PartitionKey(
            field_values=[PartitionFieldValue(field, record[field.name]) for field in spec.fields],
            partition_spec=spec,
            schema=schema,
        )
        yield key, part


def _write_file(table: Table, key: PartitionKey, rows: pa.Table) -> DataFile:
    schema = table.schema()
    target = schema_to_pyarrow(schema)
    fields, arrays = [], []
    for field in target:
        column = rows[field.name]
        if not pa.types.is_dictionary(column.type) and column.type != field.type:
            column = column.cast(field.type)
        fields.append(pa.field(field.name, column.type, field.nullable, field.metadata))
        arrays.append(column)
    arrow = pa.table(arrays, schema=pa.schema(fields))
    location = load_location_provider(table.location(), table.properties).new_data_location(
        f"{uuid.uuid4()}.parquet", key
    )
    output = table.io.new_output(location)
    delta = {
        field.name: _DELTA
        for field in arrow.schema
        if (pa.types.is_int64(field.type) or pa.types.is_timestamp(field.type))
    }
    with output.create(overwrite=True) as stream:
        with pq.ParquetWriter(
            stream,
            arrow.schema,
            compression="zstd",
            store_schema=False,
            use_dictionary=[
                field.name
                for field in arrow.schema
                if field.name not in delta
                and not pa.types.is_decimal(field.type)
                and not pa.types.is_nested(field.type)
            ],
            column_encoding=delta,
        ) as writer:
            for first, count in _row_groups(table, arrow):
                writer.write_table(arrow.slice(first, count), row_group_size=count)
        metadata = writer.writer.metadata
        size_bytes = stream.tell()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=metadata,
        stats_columns=compute_statistics_plan(schema, table.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=key.partition,
        file_size_in_bytes=size_bytes,
        sort_order_id=table.sort_order().order_id,
        spec_id=table.spec().spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _row_groups(table: Table, rows: pa.Table) -> Iterator[tuple[int, int]]:
    """(first row, rows) of each row group.

    They begin where the first column of the declared order changes: who reads one of its values, a symbol,
    decodes little else.
    """
    changes = [rows.num_rows]
    order = table.sort_order().fields
    if order:
        leading = rows[table.schema().find_field(order[0].source_id).name]
        if not pa.types.is_dictionary(leading.type):
            leading = leading.dictionary_encode()
        codes = leading.unify_dictionaries().combine_chunks().indices.to_numpy()
        changes = [*(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
    first = behind = 0
    for change in changes:
        # A value joins those before it only as long as all of them together are few.
        if behind > first and change - first > _FEW_ROWS:
            yield from _evenly(first, behind)
            first = behind
        behind = change
    yield from _evenly(first, behind)


def _evenly(first: int, behind: int) -> Iterator[tuple[int, int]]:
    """The rows in as few groups as there must be, all about as large."""
    parts = -(-(behind - first) // ROW_GROUP_ROWS)
    edges = [first + (behind - first) * part // parts for part in range(parts + 1)]
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        yield start, end - start
