"""Framing of records on the wire, as Confluent's serializers do it: byte 0, schema id, body."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from seamark.market.schema import RecordKind, avro_schema, stored_schema

FRAME_BYTES = 5
"""Length of the prefix: one zero byte and the schema id, 4 bytes, big-endian."""

FIXED_SCHEMA_IDS = MappingProxyType(
    {
        RecordKind.TRADES: 1,
        RecordKind.QUOTES: 2,
        RecordKind.REFERENCE_DATA: 3,
        RecordKind.FEED_EVENTS: 5,
    }
)
"""Schema ids that are written where no registry is configured. A number once given is never given anew."""

EARLIER_SCHEMAS = MappingProxyType({4: "feed_event_4.avsc"})
"""Ids that are only read any more, and the file of each: 4 has no INTERVAL_CLOSED. An enum that gets a symbol gets
an id, and the schema before stays: a build that does not know the symbol pauses at the id instead of refusing."""

_FIXED_KINDS = {schema_id: kind for kind, schema_id in FIXED_SCHEMA_IDS.items()}


def frame_prefix(schema_id: int) -> bytes:
    """The 5 bytes in front of a body. Raises OverflowError unless 0 <= schema_id < 2**32."""
    return b"\x00" + schema_id.to_bytes(4, "big")


def fixed_schema(schema_id: int) -> Mapping[str, Any] | None:
    """The Avro schema of a fixed id; None where this build does not know the id."""
    if schema_id in EARLIER_SCHEMAS:
        return stored_schema(EARLIER_SCHEMAS[schema_id])
    kind = _FIXED_KINDS.get(schema_id)
    return None if kind is None else avro_schema(kind)
