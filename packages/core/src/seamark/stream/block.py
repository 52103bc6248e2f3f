"""One Avro block: framed records of one schema, joined, read into columns by polars-avro, and each exactly.

- Joined bodies have no boundaries of their own: a truncated record followed by one with
  leading garbage can decode. A secret boundary stands before every record, read as the
  first field and compared: where all boundaries are where they belong, every record ended
  exactly where its bytes end. The first record is repeated at the end, so that the last
  one has a boundary behind it too.
- Of a union of null and one type, polars-avro takes any branch but 0 for the type's. A third
  branch, which no record has the bytes for, makes it read the number itself.
- polars-avro's public reader loops forever on bytes left behind the last record of a
  block. The reader below asks for one batch of exactly the block's size.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import polars as pl
import pyarrow as pa
from polars_avro import AvroError
from polars_avro._avro_rs import AvroSource
from polars_avro._source import seekable_factory

from seamark.market.schema import RecordKind, avro_schema, unwrap_nullable
from seamark.stream.wire import FRAME_BYTES, frame_prefix

_SECRET = secrets.token_bytes(8)
_BOUNDARY = "__boundary"
_BRANCH = "__branch_of_"
_ENDS_ELSEWHERE = "the record does not end where its bytes end"
_UNREADABLE: Mapping[str, Any] = {"type": "fixed", "name": "Unreadable", "size": 2**31 - 1}


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """What the records of a block were written with."""

    schema_id: int
    text: str
    """The Avro schema as JSON: a record whose unions are fields of their own, ["null", type]."""


class Unreadable(Exception):
    """Bytes that are not exactly the records they should be; the text says why."""


def read_block(schema: WriterSchema, values: Sequence[bytes | None]) -> pl.DataFrame:
    """A row for each of `values`, enums as Categorical. All of them together hold less than 2 GiB.

    Raises:
        Unreadable: at least one of them is not exactly one framed record of `schema`.
    """
    batch = _exact(schema.schema_id, _strict(schema.text), values)
    columns = [_nullable(one) if pa.types.is_union(one.type) else one for one in batch.columns[1:]]
    return pl.DataFrame(pa.RecordBatch.from_arrays(columns, batch.schema.names[1:])[: len(values)])


def readable(schema: WriterSchema, values: Sequence[bytes]) -> bool:
    """Whether `read_block` gives rows."""
    try:
        _exact(schema.schema_id, _strict(schema.text), values)
    except Unreadable:
        return False
    return True


def refusals(schema: WriterSchema, values: Sequence[bytes]) -> dict[int, str]:
    """Why a value is not exactly one framed record of `schema`, by the position of each that is not.

    A value is read alone, so that its reason, too, is its own; what can be read need not be exact.
    """
    reasons: dict[int, str] = {}
    alone: dict[int, pa.RecordBatch] = {}
    for position, value in enumerate(values):
        try:
            alone[position] = _read(schema.text, _SECRET + value, 1)
        except Unreadable as error:
            reasons[position] = str(error)
    if alone and not readable(schema, [values[position] for position in alone]):
        for position, batch in alone.items():
            if (reason := _inexactness(schema, values[position], batch)) is not None:
                reasons[position] = reason
    return reasons


@cache
def no_rows(kind: RecordKind) -> pl.DataFrame:
    """No row, but all columns of a block of `kind`."""
    return pl.DataFrame(_source(json.dumps(avro_schema(kind)), b"", 0).schema()).drop(_BOUNDARY)


def _inexactness(schema: WriterSchema, value: bytes, alone: pa.RecordBatch) -> str | None:
    nulls = frozenset(name for name in alone.schema.names if alone.column(name).null_count)
    try:
        batch = _exact(schema.schema_id, _branches_apart(schema.text, nulls), [value])
    except Unreadable:
        return _ENDS_ELSEWHERE  # alone it can be read
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith(_BRANCH) and (branch := column[0].as_py()) not in (0, 1):
            return f"{name.removeprefix(_BRANCH)}: union branch was {branch}, must be 0 or 1"
    return None


def _exact(schema_id: int, schema: str, values: Sequence[bytes | None]) -> pa.RecordBatch:
    """The boundary and the fields of all `values`, and of the first once more."""
    try:
        body = _SECRET + _SECRET.join((*values, values[0]))  # type: ignore[arg-type]
    except TypeError:
        raise Unreadable("a record without a value") from None
    batch = _read(schema, body, len(values) + 1)
    expected = (_SECRET + frame_prefix(schema_id)) * len(batch)
    if not batch.column(0).buffers()[1].equals(pa.py_buffer(expected)):
        raise Unreadable(_ENDS_ELSEWHERE)
    return batch


def _read(schema: str, body: bytes, count: int) -> pa.RecordBatch:
    # Kept in a name: an iterator that dies while its error is raised takes the error with it.
    batches = _source(schema, body, count).batch_iter(count, None)
    try:
        return pa.record_batch(next(batches))
    except (AvroError, ValueError) as error:
        raise Unreadable(str(error)) from None


def _source(schema: str, body: bytes, count: int) -> AvroSource:
    header, sync = _container(schema)
    data = b"".join((header, _varint(count), _varint(len(body)), body, sync))
    return AvroSource([seekable_factory(io.BytesIO(data))], False, False)


def _nullable(union: pa.UnionArray) -> pa.Array:
    values = union.field(1)
    if len(values) == len(union):
        return values
    if not len(values):
        return pa.nulls(len(union), values.type)
    return values.take(pa.array(union.offsets.to_numpy(), mask=union.type_codes.to_numpy() == 0))


@cache
def _strict(schema: str) -> str:
    """`schema` with unions of three branches."""
    record = json.loads(schema)
    unreadable: Mapping[str, Any] | str = _UNREADABLE
    for field in record["fields"]:
        value_type, nullable = unwrap_nullable(field["type"])
        if nullable:
            field["type"] = ["null", value_type, unreadable]
            unreadable = _UNREADABLE["name"]
    return json.dumps(record)


@lru_cache(maxsize=64)
def _branches_apart(schema: str, nulls: Set[str]) -> str:
    """`schema` with the branch of each union as a field before the value, of which `nulls` have none."""
    record = json.loads(schema)
    fields: list[Mapping[str, Any]] = []
    for field in record["fields"]:
        value_type, nullable = unwrap_nullable(field["type"])
        if nullable:
            fields.append({"name": _BRANCH + field["name"], "type": "long"})
        if field["name"] not in nulls:
            fields.append({"name": field["name"], "type": value_type})
    return json.dumps({**record, "fields": fields})


@lru_cache(maxsize=64)
def _container(schema: str) -> tuple[bytes, bytes]:
    """(file header for `schema` behind a boundary field, sync marker): Avro 1.12, object container files."""
    record = json.loads(schema)
    boundary = {"type": "fixed", "name": "Boundary", "size": len(_SECRET) + FRAME_BYTES}
    record = {**record, "fields": [{"name": _BOUNDARY, "type": boundary}, *record["fields"]]}
    text = json.dumps(record).encode()
    sync = secrets.token_bytes(16)
    name = b"avro.schema"
    header = b"".join(
        (b"Obj\x01", _varint(1), _varint(len(name)), name, _varint(len(text)), text, _varint(0))
    )
    return header + sync, sync


def _varint(number: int) -> bytes:
    """Zigzag varint of a non-negative number."""
    number <<= 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
