"""The one cursor: which rows an answer had, signed, so that they can be asked for again.

Not encrypted: it holds offsets, a snapshot id and a hash of the question. Signed, because it
chooses what is read: a forged vector would look like an exact answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.question import Vector

MAX_BYTES = 4096
_VERSION = 2
_SIGNATURE_BYTES = 16


class CursorTooLong(ValueError):
    """Its vectors do not fit: there are too many partitions."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Streams that take no more rows, all of whose rows are below E."""

    streams: frozenset[int]
    mark: int
    """Of where they end: that no other end is taken for it."""


@dataclass(frozen=True, slots=True)
class TableCursor:
    """S, E and R of one table."""

    snapshot_id: int | None
    end: Vector
    revision: int
    known_at_us: int | None = None
    """T of `as_known_at`: rows of history that came later are below E where the log of that time is gone."""
    ended: Ended | None = None
    """Streams that `end` does not name."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Rows of `tables` below their end vectors that the question with this hash means."""

    question: str
    """Question.hash."""
    tables: Mapping[str, TableCursor]
    position: tuple[str | int | None, ...] | None = None
    """PAGE: total-order key of the last row given; None: the whole answer."""


class CursorCodec:
    """Text of cursors and back, with one secret for all gateways of a deployment."""

    def __init__(self, secret: bytes, most_bytes: int = MAX_BYTES) -> None:
        if len(secret) < 16:
            raise ValueError(f"cursor key was {len(secret)} bytes, must be 16 or more")
        self._secret = secret
        self._most_bytes = most_bytes

    def encode(self, cursor: Cursor) -> str:
        """URL-safe text, at most `most_bytes`. Raises CursorTooLong above that."""
        body = _Writer()
        body.number(_VERSION)
        body.text(cursor.question)
        body.text(json.dumps(cursor.position, separators=(",", ":")))
        body.number(len(cursor.tables))
        for name, table in cursor.tables.items():
            body.text(name)
            _write_table(body, table)
        data = bytes(body.data)
        text = _text(self._sign(data) + data)
        if len(text) > self._most_bytes:
            offsets = sum(len(table.end) for table in cursor.tables.values())
            raise CursorTooLong(
                f"cursor was {len(text)} bytes with the offsets of {offsets} partitions, must be at most {self._most_bytes}"
            )
        return text

    def decode(self, text: str, field: str = "at") -> Cursor:
        """Raises Invalid: not a cursor, or not one that this deployment has signed."""
        refused = Invalid(
            field, f"{field} was {text[:32]!r}…, must be one that an answer of this deployment gave"
        )
        if len(text) > self._most_bytes:
            raise refused
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise refused from None
        signature, body = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)) or _text(data) != text:
            raise refused
        # From here on it is our own text: only its version can be foreign.
        read = _Reader(body)
        if read.number() != _VERSION:
            raise refused
        question, position = read.text(), json.loads(read.text())
        tables = {}
        for _ in range(read.number()):
            name = read.text()
            tables[name] = _read_table(read)
        return Cursor(question, tables, None if position is None else tuple(position))

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(slots=True)
class _Writer:
    """Numbers of seven bits a byte, the last byte below 128; text behind its length."""

    data: bytearray = field(default_factory=bytearray)

    def number(self, value: int) -> None:
        while value > 127:
            self.data.append(value & 127 | 128)
            value >>= 7
        self.data.append(value)

    def optional(self, value: int | None) -> None:
        self.number(0 if value is None else value + 1)

    def text(self, value: str) -> None:
        self.bytes(value.encode())

    def bytes(self, value: bytes) -> None:
        self.number(len(value))
        self.data += value


@dataclass(slots=True)
class _Reader:
    """What `_Writer` has written."""

    data: bytes
    at: int = 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def optional(self) -> int | None:
        value = self.number()
        return value - 1 if value else None

    def text(self) -> str:
        return self.bytes().decode()

    def bytes(self) -> bytes:
        length = self.number()
        self.at += length
        return self.data[self.at - length : self.at]


def _write_table(body: _Writer, table: TableCursor) -> None:
    body.optional(table.snapshot_id)
    body.number(table.revision)
    body.optional(table.known_at_us)
    streams = sorted(table.ended.streams) if table.ended is not None else []
    body.number(len(streams))
    for stream_id in streams:
        body.number(stream_id)
    if table.ended is not None and streams:
        body.number(table.ended.mark)
    runs: list[tuple[StreamPartition, list[int]]] = []
    behind: StreamPartition | None = None
    for where, offset in sorted(table.end.items()):
        # A stream's partitions stand side by side: then only their offsets take room.
        if where != behind:
            runs.append((where, []))
        runs[-1][1].append(offset)
        behind = StreamPartition(where.stream_id, where.partition + 1)
    body.number(len(runs))
    for first, offsets in runs:
        body.number(first.stream_id)
        body.number(first.partition)
        body.number(len(offsets))
        # All of a run in as many bits as the widest distance from the least one takes.
        least = min(offsets)
        width = (max(offsets) - least).bit_length()
        body.number(least)
        body.number(width)
        bits = "".join(f"{offset - least:0{width}b}" for offset in offsets) if width else ""
        body.bytes(int(bits, 2).to_bytes(-(-len(bits) // 8), "big") if bits else b"")


def _read_table(read: _Reader) -> TableCursor:
    snapshot_id, revision, known_at_us = read.optional(), read.number(), read.optional()
    streams = frozenset(read.number() for _ in range(read.number()))
    ended = Ended(streams, read.number()) if streams else None
    end: dict[StreamPartition, int] = {}
    for _ in range(read.number()):
        stream_id, partition, count = read.number(), read.number(), read.number()
        least, width = read.number(), read.number()
        packed = int.from_bytes(read.bytes(), "big")
        bits = f"{packed:0{count * width}b}"
        for number in range(count):
            distance = int(bits[number * width : (number + 1) * width], 2) if width else 0
            end[StreamPartition(stream_id, partition + number)] = least + distance
    return TableCursor(snapshot_id, end, revision, known_at_us, ended)
