"""Python values to Arrow columns to DuckDB, a bounded batch at a time."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa

from seamark_oracle.contract import DECIMAL_SCALE, Field, Type

DECIMAL_SQL = f"DECIMAL(28,{DECIMAL_SCALE})"
_ACKED = pa.struct([("topic_id", pa.string()), ("partition", pa.int64()), ("next_offset", pa.int64())])

# Times and dates are compared as numbers: no time zone, no calendar.
_ARROW = {
    Type.TEXT: pa.string(),
    Type.TEXTS: pa.list_(pa.string()),
    Type.ENUM: pa.string(),
    Type.INT: pa.int64(),
    Type.LONG: pa.int64(),
    Type.DATE: pa.int64(),
    Type.MICROS: pa.int64(),
    Type.DECIMAL: pa.decimal128(28, DECIMAL_SCALE),
    Type.ACKED: pa.list_(_ACKED),
}
_SQL = {
    Type.TEXT: "VARCHAR",
    Type.TEXTS: "VARCHAR[]",
    Type.ENUM: "VARCHAR",
    Type.INT: "BIGINT",
    Type.LONG: "BIGINT",
    Type.DATE: "BIGINT",
    Type.MICROS: "BIGINT",
    Type.DECIMAL: DECIMAL_SQL,
    Type.ACKED: "STRUCT(topic_id VARCHAR, partition BIGINT, next_offset BIGINT)[]",
}

_WHOLE = ("INTEGER", "BIGINT")
PARQUET_TYPES = MappingProxyType(
    {
        Type.TEXT: ("VARCHAR",),
        Type.ENUM: ("VARCHAR",),
        Type.INT: _WHOLE,
        Type.LONG: _WHOLE,
        Type.DATE: ("DATE",),
        Type.MICROS: ("TIMESTAMP WITH TIME ZONE",),
        Type.DECIMAL: (DECIMAL_SQL,),
    }
)
"""What DuckDB must find in a file: from other types it would round into agreement."""


def sql_type(field: Field) -> str:
    """The DuckDB type in which both sides of a field are compared."""
    return _SQL[field.type]


def lake_expression(field: Field) -> str:
    """SQL that brings a Parquet column of the lake into `sql_type(field)`."""
    match field.type:
        case Type.MICROS:
            return f'epoch_us("{field.name}")'
        case Type.DATE:
            return f"(\"{field.name}\" - DATE '1970-01-01')::BIGINT"
        case Type.DECIMAL:
            return f'"{field.name}"'
        case _:
            return f'"{field.name}"::{sql_type(field)}'


def column(field: Field, values: Sequence[Any]) -> pa.Array:
    """An Arrow array of a field's values."""
    if field.type is not Type.DECIMAL:
        return pa.array(values, _ARROW[field.type])
    # Arrow takes unscaled numbers in no other way than as their 16 bytes.
    data = b"".join([(value or 0).to_bytes(16, "little", signed=True) for value in values])
    present = pa.array([True if value is not None else None for value in values], pa.bool_())
    return pa.Array.from_buffers(
        _ARROW[Type.DECIMAL], len(values), [present.buffers()[0], pa.py_buffer(data)], present.null_count
    )


def create(database: duckdb.DuckDBPyConnection, name: str, table_fields: Sequence[Field]) -> None:
    """An empty DuckDB table of these fields."""
    columns = ", ".join(f'"{field.name}" {sql_type(field)}' for field in table_fields)
    database.execute(f'CREATE TABLE "{name}" ({columns})')


class Inserter:
    """Appends rows to a DuckDB table. Use as a context manager."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        name: str,
        table_fields: Sequence[Field],
        batch_rows: int = 50_000,
    ) -> None:
        self._database, self._name, self._fields = database, name, table_fields
        self._batch_rows = batch_rows
        self._rows: list[Sequence[Any]] = []

    def __enter__(self) -> "Inserter":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    def add(self, row: Sequence[Any]) -> None:
        """A row: one value for each field, in order."""
        self._rows.append(row)
        if len(self._rows) >= self._batch_rows:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        arrays = [
            column(f, values) for f, values in zip(self._fields, zip(*self._rows, strict=True), strict=True)
        ]
        batch = pa.table(arrays, names=[field.name for field in self._fields])
        self._database.register("batch", batch)
        self._database.execute(f'INSERT INTO "{self._name}" SELECT * FROM batch')
        self._database.unregister("batch")
        self._rows.clear()
