"""From records to framed bytes, as producers send them.

Records come in raw form: times as whole microseconds, dates as days, decimals as
two's-complement bytes (`seamark.market.decimals.to_bytes`). Avro's logical types have the
same bytes as what they are written on, and converting to them and back is half the cost.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import Any

from fastavro import parse_schema, schemaless_writer
from fastavro.validation import ValidationError, validate

from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.errors import RecordInvalid
from seamark.stream.wire import frame_prefix


class Encoder:
    """Encodes records of one kind under one schema id. Not for use by two threads at a time."""

    def __init__(self, kind: RecordKind, schema_id: int) -> None:
        self._schema = _raw_schema(kind)
        self._buffer = io.BytesIO()
        prefix = frame_prefix(schema_id)
        self._body_start = self._buffer.write(prefix)

    def encode(self, record: Mapping[str, object]) -> bytes:
        """The framed bytes of `record`, whose keys are the contract's fields; nullable ones may be absent.

        Raises:
            RecordInvalid: a field is missing or holds what its raw type cannot.
        """
        buffer = self._buffer
        buffer.seek(self._body_start)
        try:
            schemaless_writer(buffer, self._schema, record)
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
            # fastavro raises any of these, and names no field.
            raise RecordInvalid(self._complaint(record, error)) from error
        buffer.truncate()
        return buffer.getvalue()

    def _complaint(self, record: Mapping[str, object], error: Exception) -> str:
        try:
            validate(record, self._schema)
        except ValidationError as invalid:
            return "; ".join(str(one).removeprefix("seamark.market.") for one in invalid.errors)
        return f"{self._schema['name']}: {error}"


@cache
def _raw_schema(kind: RecordKind) -> dict[str, Any]:
    """The schema of `kind` without logical types, parsed by fastavro."""
    parsed = parse_schema(_without_logical_types(avro_schema(kind)))
    assert isinstance(parsed, dict)  # every contract is a record
    return parsed


def _without_logical_types(node: Any) -> Any:  # noqa: ANN401 - an Avro schema node is any JSON
    if isinstance(node, list):
        return [_without_logical_types(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    if "logicalType" in node:
        return node["type"]
    nested = {"type", "items", "fields"}
    return {key: _without_logical_types(part) if key in nested else part for key, part in node.items()}
