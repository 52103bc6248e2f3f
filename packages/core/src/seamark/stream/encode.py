"""From records to framed bytes, as producers send them.

Records come in raw form: times as whole microseconds, dates as days, decimals as
two's-complement bytes (`seamark.market.decimals.to_bytes`). Avro's logical types have the
same bytes as what they are written on, and converting to them and back costs as much again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from fastavro import parse_schema, schemaless_writer
from fastavro.validation import ValidationError, validate

from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.errors import RecordInvalid
from seamark.stream.wire import frame_prefix

_SECOND_OF_UNION = b"\x02"
"""Index of a value that is not null in the contract's unions, as Avro writes it."""


class Encoder:
    """Encodes records of one kind under one schema id. Not for use by two threads at a time.

    Where many records have fields alike, as those of one symbol on one connection, their bytes
    are made once: the rest is half of the work. What comes out is the same.
    """

    def __init__(
        self,
        kind: RecordKind,
        schema_id: int,
        constants: Mapping[str, object] | None = None,
        present: Collection[str] = (),
    ) -> None:
        """`constants`: values of fields that every record has alike, not to be given again; None included.

        `present`: nullable fields that are never null.

        Raises:
            RecordInvalid: a constant is of the wrong type, or no field has its name.
        """
        self._kind, self._constants = kind, dict(constants or {})
        lead, parts = _split(kind, self._constants, frozenset(present))
        self._schema = _parsed(kind, parts)
        self._buffer = io.BytesIO()
        self._body_start = self._buffer.write(frame_prefix(schema_id) + lead)

    def encode(self, record: Mapping[str, object]) -> bytes:
        """The framed bytes of a record. Keys are the contract's fields; nullable ones may be absent.

        Raises:
            RecordInvalid: a field is missing or holds what its raw type cannot.
        """
        buffer = self._buffer
        buffer.seek(self._body_start)
        try:
            schemaless_writer(buffer, self._schema, record)
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
            # fastavro raises any of these, and names no field.
            raise RecordInvalid(_complaint(self._kind, {**self._constants, **record}, error)) from error
        buffer.truncate()
        return buffer.getvalue()


def _split(
    kind: RecordKind, constants: Mapping[str, object], present: frozenset[str]
) -> tuple[bytes, tuple[tuple[str, str, bytes], ...]]:
    """(bytes before the first field that varies, then (name, JSON of its type, bytes behind it) of each)."""
    fields = {field["name"]: _without_logical_types(field["type"]) for field in avro_schema(kind)["fields"]}
    if unknown := (constants.keys() | present) - fields.keys():
        raise RecordInvalid(f"{kind.value} has no field {', '.join(sorted(unknown))}")
    lead, varying = b"", list[tuple[str, str, bytes]]()
    for name, avro_type in fields.items():
        if name in constants:
            written = _field_bytes(kind, name, avro_type, constants[name])
        elif name in present:
            written, avro_type = _SECOND_OF_UNION, avro_type[1]
        else:
            written = b""
        if varying:
            before = varying[-1]
            varying[-1] = (*before[:2], before[2] + written)
        else:
            lead += written
        if name not in constants:
            varying.append((name, json.dumps(avro_type), b""))
    return lead, tuple(varying)


@cache
def _parsed(kind: RecordKind, parts: tuple[tuple[str, str, bytes], ...]) -> dict[str, Any]:
    """A schema of the fields that vary. Bytes between them are fields of a fixed size with a default."""
    fields: list[dict[str, Any]] = []
    between: dict[str, bytes] = {}
    for number, (name, avro_type, behind) in enumerate(parts):
        fields.append({"name": name, "type": json.loads(avro_type)})
        if behind:
            fixed = {"type": "fixed", "name": f"Constant{number}", "size": len(behind)}
            fields.append({"name": f"_constant{number}", "type": fixed})
            between[f"_constant{number}"] = behind
    parsed = parse_schema({"type": "record", "name": avro_schema(kind)["name"], "fields": fields})
    assert isinstance(parsed, dict)  # a record is one
    for field in parsed["fields"]:
        if field["name"] in between:
            # Not in the schema as parsed: there a default of fixed size is text.
            field["default"] = between[field["name"]]
    return parsed


def _field_bytes(kind: RecordKind, name: str, avro_type: Any, value: object) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    try:
        schemaless_writer(buffer, parse_schema(avro_type), value)
    except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise RecordInvalid(f"{kind.value}: {name} was {value!r}, must be {json.dumps(avro_type)}") from error
    return buffer.getvalue()


def _complaint(kind: RecordKind, record: Mapping[str, object], error: Exception) -> str:
    try:
        validate(record, parse_schema(_without_logical_types(avro_schema(kind))))
    except ValidationError as invalid:
        return "; ".join(str(one).removeprefix("seamark.market.") for one in invalid.errors)
    return f"{kind.value}: {error}"


def _without_logical_types(node: Any) -> Any:  # noqa: ANN401 - an Avro schema node is any JSON
    if isinstance(node, list):
        return [_without_logical_types(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    if "logicalType" in node:
        return node["type"]
    nested = {"type", "items", "fields"}
    return {key: _without_logical_types(part) if key in nested else part for key, part in node.items()}
