"""A predicate as Trino SQL: the same rows as its polars expression. Values travel as parameters, never as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from seamark.market.predicate import Comparison, Filter, Predicate, Value
from seamark.market.schema import DECIMAL_SCALE, RecordKind, row_schema
from seamark.query_gateway.question import Vector
from seamark.query_gateway.sources import Window


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `?` for each parameter."""

    sql: str
    parameters: tuple[object, ...]


def select(
    table: str,
    kind: RecordKind,
    snapshot_id: int,
    columns: Sequence[str],
    predicate: Predicate,
    window: Window,
    below: Vector | None,
) -> Statement:
    """Rows of one snapshot. `table`: catalog.schema.table, from settings.

    Times and decimals come as text, lists as JSON text: nothing is left to the client's types.
    """
    schema = row_schema(kind)
    parts: list[str] = []
    parameters: list[object] = []

    def add(text: str, *values: object) -> None:
        parts.append(text)
        parameters.extend(values)

    if predicate.symbols:
        add(f"symbol IN ({_marks(predicate.symbols)})", *predicate.symbols)
    clock = predicate.clock.value
    for column, bounds in (
        (clock, (predicate.from_us, predicate.to_us)),
        ("timestamp", (window.from_us, window.to_us)),
    ):
        for sign, bound in zip((">=", "<"), bounds, strict=True):
            if bound is not None:
                add(f"{_quoted(column)} {sign} {_TIME}", bound)
    if predicate.known_at_us is not None:
        add(f"kafka_timestamp <= {_TIME}", predicate.known_at_us)
    for one in predicate.filters:
        text, values = _filter(one, schema.field(one.column).type)
        add(text, *values)
    if below is not None:
        text, values = _below(below)
        add(text, *values)
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    shown = ", ".join(_shown(name, schema.field(name).type) for name in columns)
    # A version is a literal in Trino's grammar; it is a number of ours.
    return Statement(
        f"SELECT {shown} FROM {table} FOR VERSION AS OF {int(snapshot_id)}{where}", tuple(parameters)
    )


_TIME = "from_unixtime_nanos(CAST(? AS bigint) * 1000)"
"""Microseconds since 1970 as an instant, exactly."""


def _shown(name: str, arrow: pa.DataType) -> str:
    column = _quoted(name)
    if pa.types.is_timestamp(arrow) or pa.types.is_decimal(arrow):
        return f"CAST({column} AS varchar)"
    if pa.types.is_nested(arrow):
        return f"json_format(CAST({column} AS json))"
    if pa.types.is_date(arrow):
        return f"date_diff('day', DATE '1970-01-01', {column})"
    return column


def _filter(one: Filter, arrow: pa.DataType) -> tuple[str, list[object]]:
    column = _quoted(one.column)
    mark, values = "?", [_value(value, arrow) for value in one.values]
    if pa.types.is_timestamp(arrow):
        mark = _TIME
    elif pa.types.is_date(arrow):
        mark = "date_add('day', ?, DATE '1970-01-01')"
    elif pa.types.is_decimal(arrow):
        mark = f"CAST(? AS decimal({arrow.precision},{arrow.scale}))"
    if one.comparison is Comparison.IN:
        return f"{column} IN ({', '.join([mark] * len(values))})", values
    return f"{column} {one.comparison.value} {mark}", values


def _value(value: Value, arrow: pa.DataType) -> object:
    if pa.types.is_decimal(arrow):
        return str(Decimal(value).scaleb(-DECIMAL_SCALE))
    return value


def _below(vector: Vector) -> tuple[str, list[object]]:
    parts, values = [], list[object]()
    for where, end in sorted(vector.items()):
        parts.append("(stream_id = ? AND kafka_partition = ? AND kafka_offset < ?)")
        values += [where.stream_id, where.partition, end]
    return (f"({' OR '.join(parts)})" if parts else "false"), values


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _quoted(name: str) -> str:
    return f'"{name}"'
