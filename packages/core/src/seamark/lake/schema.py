"""Iceberg schemas, derived from the Avro contracts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pyiceberg.schema import Schema
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)

from seamark.market.schema import POSITION_FIELDS, RecordKind, avro_schema, unwrap_nullable


@cache
def iceberg_schema(kind: RecordKind) -> Schema:
    """Iceberg schema of a row, field ids in declaration order from 1.

    A catalog may number the fields anew when the table is made: join by name.
    """
    ids = iter(range(1, 1000))
    fields = (*POSITION_FIELDS, *avro_schema(kind)["fields"])
    return Schema(*_iceberg_fields(fields, ids))


def _iceberg_fields(fields: Iterable[Mapping[str, Any]], ids: Iterator[int]) -> list[NestedField]:
    # Iceberg numbers one level before it descends.
    numbered = [(next(ids), field) for field in fields]
    result = []
    for field_id, field in numbered:
        avro_type, nullable = unwrap_nullable(field["type"])
        result.append(
            NestedField(
                field_id,
                field["name"],
                _iceberg_type(avro_type, ids),
                required=not nullable,
                doc=field.get("doc"),
            )
        )
    return result


def _iceberg_type(avro_type: Any, ids: Iterator[int]) -> IcebergType:  # noqa: ANN401
    match avro_type:
        case "string" | {"type": "enum"}:
            return StringType()
        case "int":
            return IntegerType()
        case "long":
            return LongType()
        case {"type": "long", "logicalType": "timestamp-micros"}:
            return TimestamptzType()
        case {"type": "int", "logicalType": "date"}:
            return DateType()
        case {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}:
            return DecimalType(precision, scale)
        case {"type": "array", "items": items}:
            return ListType(next(ids), _iceberg_type(items, ids), element_required=True)
        case {"type": "record", "fields": fields}:
            return StructType(*_iceberg_fields(fields, ids))
        case _:
            raise ValueError(f"Avro type {avro_type!r} has no Iceberg counterpart in the contract")
