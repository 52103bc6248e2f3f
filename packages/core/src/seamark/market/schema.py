"""The record contracts: Avro is the source, Arrow is derived from it here, Iceberg in `seamark.lake.schema`.

Each derivation is one function, so that the three cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import pyarrow as pa

DECIMAL_PRECISION = 28
DECIMAL_SCALE = 10


class RecordKind(Enum):
    """What a topic carries. The value is the Iceberg table's name and the topic's data type."""

    TRADES = "trades"
    QUOTES = "quotes"
    REFERENCE_DATA = "reference_data"
    FEED_EVENTS = "feed_events"

    @property
    def sequenced(self) -> bool:
        """Whether first occurrence decides if a record is a row (else every record is one)."""
        return self in (RecordKind.TRADES, RecordKind.QUOTES)


_SOURCES = MappingProxyType(
    {
        RecordKind.TRADES: "trade.avsc",
        RecordKind.QUOTES: "quote.avsc",
        RecordKind.REFERENCE_DATA: "instrument.avsc",
        RecordKind.FEED_EVENTS: "feed_event.avsc",
    }
)

# What the writer adds to every row, forever, in front of the record's own fields.
POSITION_FIELDS: tuple[Mapping[str, Any], ...] = (
    {"name": "stream_id", "type": "int", "doc": "Stream registry entry the record came through."},
    {"name": "kafka_partition", "type": "int", "doc": "Partition of the stream."},
    {"name": "kafka_offset", "type": "long", "doc": "Offset in the partition."},
    {
        "name": "kafka_timestamp",
        "type": {"type": "long", "logicalType": "timestamp-micros"},
        "doc": "Running maximum of the append time in the partition.",
    },
    {"name": "id_epoch", "type": "int", "doc": "How often the venue has reset its ids before this record."},
    {"name": "repair_seq", "type": "int", "doc": "0: original; n: appended by the nth repair."},
    {"name": "asset_class", "type": "string", "doc": "From the topic's name: crypto."},
)


def avro_schema(kind: RecordKind) -> Mapping[str, Any]:
    """The Avro schema of `kind` as parsed JSON: what is written now. Treat as read-only."""
    return stored_schema(_SOURCES[kind])


@cache
def stored_schema(file_name: str) -> Mapping[str, Any]:
    """One file of `schemas/` as parsed JSON: a contract, or what records were written with before it was extended."""
    parsed: Mapping[str, Any] = json.loads(files("seamark.market").joinpath("schemas", file_name).read_text())
    return parsed


@cache
def arrow_schema(kind: RecordKind) -> pa.Schema:
    """Arrow schema of the record's own fields, as decode yields them."""
    return pa.schema([_arrow_field(field) for field in avro_schema(kind)["fields"]])


@cache
def row_schema(kind: RecordKind) -> pa.Schema:
    """Arrow schema of a row: the position fields, then the record's own."""
    return pa.schema([_arrow_field(field) for field in POSITION_FIELDS] + list(arrow_schema(kind)))


def unwrap_nullable(avro_type: Any) -> tuple[Any, bool]:  # noqa: ANN401 - an Avro schema node is any JSON
    """(type without null, nullable). Contracts use ["null", T] and nothing else of unions."""
    if isinstance(avro_type, list):
        if len(avro_type) != 2 or avro_type[0] != "null":
            raise ValueError(f"union was {avro_type!r}, must be ['null', type]")
        return avro_type[1], True
    return avro_type, False


def _arrow_field(field: Mapping[str, Any]) -> pa.Field:
    avro_type, nullable = unwrap_nullable(field["type"])
    return pa.field(field["name"], _arrow_type(avro_type), nullable=nullable)


def _arrow_type(avro_type: Any) -> pa.DataType:  # noqa: ANN401
    match avro_type:
        case "string" | {"type": "enum"}:
            return pa.string()
        case "int":
            return pa.int32()
        case "long":
            return pa.int64()
        case {"type": "long", "logicalType": "timestamp-micros"}:
            return pa.timestamp("us", tz="UTC")
        case {"type": "int", "logicalType": "date"}:
            return pa.date32()
        case {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}:
            return pa.decimal128(precision, scale)
        case {"type": "array", "items": items}:
            return pa.list_(pa.field("element", _arrow_type(items), nullable=False))
        case {"type": "record", "fields": fields}:
            return pa.struct([_arrow_field(field) for field in fields])
        case _:
            raise ValueError(f"Avro type {avro_type!r} has no Arrow counterpart in the contract")
