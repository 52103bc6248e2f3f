"""The one decode function: framed Avro records of one topic to rows.

Writer, tail and keeper all call `decode`, so what one accepts, all accept. The verdict on
a record is a function of its own bytes, never of its neighbours in the batch: where a block
of them cannot be read, it is bisected down to the records at fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from seamark.market.schema import RecordKind, avro_schema
from seamark.stream.block import Unreadable, WriterSchema, no_rows, read_block, readable, refusals
from seamark.stream.values import broken_rules
from seamark.stream.wire import FRAME_BYTES, fixed_schema

_FEW = 8
"""Records that are read one by one: to find one bad among them by halves takes nearly as many reads."""


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
        self._known: dict[int, WriterSchema] = {}
        """Schemas by id: an id never means another one."""

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Judge framed records, less than 2 GiB in all, in input order. Never raises for their content."""
        if values and isinstance(first := self._schema_of(values[0]), WriterSchema):
            # What nearly always holds: one schema id, and nothing wrong.
            try:
                block = read_block(first, values)
            except Unreadable:
                return self._decode_apart(values)
            return self._judged(block, np.arange(len(values)), {}, len(values), None)
        return self._decode_apart(values)

    def _decode_apart(self, values: Sequence[bytes | None]) -> Decoded:
        refused: dict[int, str] = {}
        members: dict[WriterSchema, dict[int, bytes]] = {}
        length, unresolved = len(values), None
        for position, value in enumerate(values):
            found = self._schema_of(value)
            if isinstance(found, _Unresolved):
                length, unresolved = position, found.schema_id
                break
            if isinstance(found, str):
                refused[position] = found
            elif value:
                members.setdefault(found, {})[position] = value
        frames, positions = [no_rows(self._kind)], [np.empty(0, dtype=np.int64)]
        for schema, records in members.items():
            places = list(records)
            for at, reason in _bisect(schema, list(records.values())):
                refused[places[at]] = f"body of schema id {schema.schema_id}: {reason}"
                del records[places[at]]
            if records:
                frames.append(read_block(schema, list(records.values())))
                positions.append(np.array(list(records)))
        index = np.concatenate(positions)
        order = np.argsort(index)
        return self._judged(pl.concat(frames)[order], index[order], refused, length, unresolved)

    def _schema_of(self, value: bytes | None) -> WriterSchema | _Unresolved | str:
        """What a record's frame leads to: a schema, an id not known here, or why it is refused."""
        if value is None or len(value) < FRAME_BYTES or value[0] != 0:
            size, shown = (0, "null") if value is None else (len(value), value[:FRAME_BYTES].hex() or "empty")
            return f"frame was {size} bytes ({shown}), must be byte 00, a 4-byte schema id and the Avro body"
        schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
        if (known := self._known.get(schema_id)) is not None:
            return known
        schema = self._resolve(schema_id)
        if schema is None:
            return _Unresolved(schema_id)
        if schema["name"] != avro_schema(self._kind)["name"]:
            return f"schema id was {schema_id} ({schema['name']}), must be one of {self._kind.value}"
        self._known[schema_id] = WriterSchema(schema_id, json.dumps(schema))
        return self._known[schema_id]

    def _judged(
        self,
        frame: pl.DataFrame,
        index: npt.NDArray[np.int64],
        refused: Mapping[int, str],
        length: int,
        unresolved: int | None,
    ) -> Decoded:
        broken = broken_rules(self._kind, frame)
        rejects = [Reject(position, reason) for position, reason in refused.items()]
        if broken:
            rejects.extend(Reject(int(index[row]), reason) for row, reason in broken.items())
            good = np.ones(len(frame), dtype=np.bool_)
            good[list(broken)] = False
            frame, index = frame.filter(pl.Series(good)), index[good]
        rejects.sort(key=lambda reject: reject.index)
        return Decoded(frame, index, tuple(rejects), length, unresolved)


@dataclass(frozen=True, slots=True)
class _Unresolved:
    schema_id: int


def _bisect(schema: WriterSchema, values: Sequence[bytes], start: int = 0) -> Iterator[tuple[int, str]]:
    """(position, counted from `start`; reason) of each bad record of a block that cannot be read."""
    if len(values) <= _FEW:
        yield from ((start + at, reason) for at, reason in refusals(schema, values).items())
        return
    middle = len(values) // 2
    for half, first in ((values[:middle], start), (values[middle:], start + middle)):
        if not readable(schema, half):
            yield from _bisect(schema, half, first)
