"""The one decode function: framed Avro records of one topic to rows.

Writer, tail and keeper all call `decode`, so what one accepts, all accept. The verdict on
a record is a function of its own bytes, never of its neighbours in the batch.

How it is fast: the records are joined, frames and all, into the single block of an Avro
container, which polars-avro reads column by column (bench/decode_fold.py). How it stays
exact:

- Joined bodies have no boundaries of their own: a truncated record followed by one with
  leading garbage can decode. A secret boundary stands before every record, read as the
  first field and compared: where all boundaries are where they belong, every record ended
  exactly where its bytes end. The first record is repeated at the end, so that the last
  one has a boundary behind it too.
- polars-avro's public reader loops forever on bytes left behind the last record of a
  block. The reader below asks for one batch of exactly the block's size.
- A block that fails is bisected down to single records.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from polars_avro import AvroError
from polars_avro._avro_rs import AvroSource
from polars_avro._source import seekable_factory

from seamark.market import decimals
from seamark.market.schema import DECIMAL_PRECISION, RecordKind, avro_schema
from seamark.sequencing.kinds import refusal
from seamark.stream.wire import FRAME_BYTES, fixed_schema, frame_prefix

EARLIEST_US, LATEST_US = 0, 7_258_118_400_000_000  # 1970-01-01 to 2200-01-01, exclusive
"""Timestamps outside are refused: partition transforms and clients' date types end somewhere."""
FIRST_DAY, LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
"""Dates outside are refused: clients' date types hold no others."""

MAX_TEXT_BYTES = 64
_BOUNDARY = "__boundary"
_SECRET = secrets.token_bytes(8)
_IDENTITY = ("exchange", "market", "feed", "symbol")


@dataclass(frozen=True, slots=True)
class Reject:
    """A record whose bytes do not hold what its schema promises."""

    index: int
    """Position in the input."""
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The verdict on a run of records."""

    rows: pl.DataFrame
    """Accepted records in input order: the columns of `arrow_schema(kind)`, enums as Categorical."""
    index: npt.NDArray[np.int64]
    """Position in the input of each row."""
    rejects: tuple[Reject, ...]
    length: int
    """How many records of the input were judged: all, or those before `unresolved`."""
    unresolved: int | None
    """Schema id at position `length` that this build cannot resolve: pause, never reject."""


class Decoder:
    """Decodes the records of one kind.

    `resolve` maps a schema id to an Avro schema (parsed JSON), or None where the id is
    unknown to this build or the registry cannot be reached.
    """

    def __init__(
        self, kind: RecordKind, resolve: Callable[[int], Mapping[str, Any] | None] = fixed_schema
    ) -> None:
        self._kind = kind
        self._resolve = resolve

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Judge framed records in input order. Never raises for their content."""
        if values and isinstance(first := self._schema_of(values[0]), _Resolved):
            # What nearly always holds: one schema id, and nothing wrong.
            block = _read_block(first, values)
            if isinstance(block, pl.DataFrame):
                return self._judge([_Part(block, np.arange(len(values)))], [], len(values), None)
        return self._decode_by_id(values)

    def _decode_by_id(self, values: Sequence[bytes | None]) -> Decoded:
        rejects: list[Reject] = []
        parts: list[_Part] = []
        length, unresolved = len(values), None
        start, current = 0, None
        for position, value in enumerate(values):
            found = self._schema_of(value)
            if found == current:
                continue
            self._bisect(values, start, position, current, parts, rejects)
            start, current = position, found
            if isinstance(found, _Unresolved):
                length, unresolved = position, found.schema_id
                break
        else:
            self._bisect(values, start, length, current, parts, rejects)
        return self._judge(parts, rejects, length, unresolved)

    def _schema_of(self, value: bytes | None) -> _Schema:
        if value is None or len(value) < FRAME_BYTES or value[0] != 0:
            size, shown = (0, "null") if value is None else (len(value), value[:FRAME_BYTES].hex() or "empty")
            return f"frame was {size} bytes ({shown}), must be byte 00, a 4-byte schema id and the Avro body"
        schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
        schema = self._resolve(schema_id)
        if schema is None:
            return _Unresolved(schema_id)
        if schema["name"] != avro_schema(self._kind)["name"]:
            return f"schema id was {schema_id} ({schema['name']}), must be one of {self._kind.value}"
        return _Resolved(schema_id, json.dumps(schema))

    def _bisect(
        self,
        values: Sequence[bytes | None],
        start: int,
        stop: int,
        schema: _Schema | None,
        parts: list[_Part],
        rejects: list[Reject],
    ) -> None:
        if start == stop or isinstance(schema, _Unresolved | None):
            return
        if isinstance(schema, str):
            rejects.extend(Reject(position, schema) for position in range(start, stop))
            return
        block = _read_block(schema, values[start:stop])
        if isinstance(block, pl.DataFrame):
            parts.append(_Part(block, np.arange(start, stop)))
        elif stop - start == 1:
            rejects.append(Reject(start, f"body of schema id {schema.schema_id}: {block}"))
        else:
            middle = (start + stop) // 2
            self._bisect(values, start, middle, schema, parts, rejects)
            self._bisect(values, middle, stop, schema, parts, rejects)

    def _judge(
        self, parts: list[_Part], rejects: list[Reject], length: int, unresolved: int | None
    ) -> Decoded:
        if not parts:
            empty = _empty(self._kind)
            index = np.empty(0, dtype=np.int64)
        elif len(parts) == 1:
            empty, index = parts[0].frame, parts[0].index
        else:
            empty = pl.concat([part.frame for part in parts])
            index = np.concatenate([part.index for part in parts])
        rows, good, found = _check_values(self._kind, empty)
        if found:
            rejects.extend(Reject(int(index[row]), reason) for row, reason in found)
            index = index[good]
        rejects.sort(key=lambda reject: reject.index)
        return Decoded(rows, index, tuple(rejects), length, unresolved)


@dataclass(frozen=True, slots=True)
class _Resolved:
    schema_id: int
    text: str


@dataclass(frozen=True, slots=True)
class _Unresolved:
    schema_id: int


_Schema = _Resolved | _Unresolved | str
"""What a record's frame leads to: a schema, an id not known here, or why it is refused."""


@dataclass(frozen=True, slots=True)
class _Part:
    frame: pl.DataFrame
    index: npt.NDArray[np.int64]


def _read_block(schema: _Resolved, values: Sequence[bytes | None]) -> pl.DataFrame | str:
    """All `values` as one block, or why at least one of them is not exactly one record."""
    count = len(values)
    try:
        body = _SECRET + _SECRET.join((*values, values[0]))  # type: ignore[arg-type]
    except TypeError:
        return "a record without a value"
    header, sync = _container(schema.text)
    data = b"".join((header, _varint(count + 1), _varint(len(body)), body, sync))
    source = AvroSource([seekable_factory(io.BytesIO(data))], False, False)
    # Kept in a name: an iterator that dies while its error is raised takes the error with it.
    batches = source.batch_iter(count + 1, None)
    try:
        frame = pl.DataFrame(next(batches))
    except (AvroError, ValueError) as error:
        return str(error)
    boundary = pl.lit(_SECRET + frame_prefix(schema.schema_id))
    if not frame.select((pl.col(_BOUNDARY) == boundary).all()).item():
        return "the record does not end where its bytes end"
    return frame.head(count).drop(_BOUNDARY)


def _check_values(
    kind: RecordKind, frame: pl.DataFrame
) -> tuple[pl.DataFrame, npt.NDArray[np.bool_] | None, list[tuple[int, str]]]:
    """(rows that keep the contract, their mask if any failed, [(row, reason)])."""
    limit = 10**DECIMAL_PRECISION
    failing: list[pl.Expr] = []
    reasons: list[Callable[[int], str]] = []

    def rule(name: str, bad: pl.Expr, allowed: str) -> None:
        failing.append(bad.fill_null(False).alias(str(len(failing))))
        reasons.append(lambda row: f"{name} was {_shown(frame[name], row)}, must be {allowed}")

    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Decimal):
            digits = column.to_physical()
            rule(name, (digits >= limit) | (digits <= -limit), "decimal(28,10)")
        elif isinstance(dtype, pl.Datetime):
            instant = column.to_physical()
            rule(
                name,
                (instant < EARLIEST_US) | (instant >= LATEST_US),
                "microseconds of 1970-01-01 to 2199-12-31",
            )
        elif dtype == pl.Date:
            day = column.to_physical()
            rule(name, (day < FIRST_DAY) | (day > LAST_DAY), "a day of 0001-01-01 to 9999-12-31")
        elif name in _IDENTITY or name == "event_id":
            size = column.str.len_bytes()
            limit_bytes = MAX_TEXT_BYTES if name != "event_id" else 4 * MAX_TEXT_BYTES
            rule(name, (size == 0) | (size > limit_bytes), f"1 to {limit_bytes} bytes")
    if kind.sequenced:
        rule(
            "source_sequence",
            (pl.col("source_sequence") < 0) | pl.col("source_sequence").is_null(),
            "0 or more",
        )
    verdicts = frame.select(failing)
    found: list[tuple[int, str]] = []
    bad = np.zeros(len(frame), dtype=np.bool_)
    if verdicts.select(pl.any_horizontal(pl.all().any())).item() if len(frame) else False:
        for column_number, reason in enumerate(reasons):
            for row in np.flatnonzero(verdicts[:, column_number].to_numpy() & ~bad):
                bad[row] = True
                found.append((int(row), reason(int(row))))
    if kind.sequenced:
        feeds = frame.select("exchange", "market", "feed").unique()
        for exchange, market, feed in feeds.iter_rows():
            if (why := refusal(kind, exchange, market, feed)) is not None:
                same = (
                    (frame["exchange"] == exchange) & (frame["market"] == market) & (frame["feed"] == feed)
                ).to_numpy()
                for row in np.flatnonzero(same & ~bad):
                    bad[row] = True
                    found.append((int(row), why))
    if not found:
        return frame, None, found
    return frame.filter(pl.Series(~bad)), ~bad, found


def _shown(column: pl.Series, row: int) -> str:
    # Python's datetime and date cannot show every instant that a record may hold, and its
    # Decimal rounds what has too many digits.
    value = column.to_physical()[row]
    if isinstance(column.dtype, pl.Decimal):
        text = decimals.text(value)
    else:
        text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= MAX_TEXT_BYTES else f"{text[:MAX_TEXT_BYTES]}… ({len(text)} characters)"


@cache
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


@cache
def _empty(kind: RecordKind) -> pl.DataFrame:
    schema = avro_schema(kind)
    header, sync = _container(json.dumps(schema))
    data = b"".join((header, _varint(0), _varint(0), sync))
    source = AvroSource([seekable_factory(io.BytesIO(data))], False, False)
    return pl.DataFrame(source.schema()).drop(_BOUNDARY)
