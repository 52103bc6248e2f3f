"""The one cursor: which rows an answer had, signed, so that they can be asked for again.

Not encrypted: it holds offsets, a snapshot id and a hash of the question. Signed, because it
chooses what is read: a forged vector would look like an exact answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seamark.lake.checkpoint import StreamPartition
from seamark.query_gateway.errors import Invalid
from seamark.query_gateway.question import Vector

MAX_BYTES = 4096
_VERSION = 1
_SIGNATURE_BYTES = 16


@dataclass(frozen=True, slots=True)
class TableCursor:
    """S, E and R of one table."""

    snapshot_id: int | None
    end: Vector
    revision: int
    known_at_us: int | None = None
    """T of `as_known_at`: rows of history that came later are below E where the log of that time is gone."""


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

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError(f"cursor key was {len(secret)} bytes, must be 16 or more")
        self._secret = secret

    def encode(self, cursor: Cursor) -> str:
        """URL-safe text, at most MAX_BYTES. Raises ValueError above that: too many partitions."""
        document = {
            "v": _VERSION,
            "q": cursor.question,
            "t": {name: _table_json(table) for name, table in cursor.tables.items()},
            "p": cursor.position,
        }
        body = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 6)
        text = _text(self._sign(body) + body)
        if len(text) > MAX_BYTES:
            raise ValueError(f"cursor was {len(text)} bytes, must be at most {MAX_BYTES}")
        return text

    def decode(self, text: str, field: str = "at") -> Cursor:
        """Raises Invalid: not a cursor, or not one that this deployment has signed."""
        refused = Invalid(
            field, f"{field} was {text[:32]!r}…, must be one that an answer of this deployment gave"
        )
        if len(text) > MAX_BYTES:
            raise refused
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise refused from None
        signature, body = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)) or _text(data) != text:
            raise refused
        # From here on it is our own text: only its version can be foreign.
        document = json.loads(zlib.decompress(body))
        if document["v"] != _VERSION:
            raise refused
        position = document["p"]
        return Cursor(
            document["q"],
            {name: _table_from(table) for name, table in document["t"].items()},
            None if position is None else tuple(position),
        )

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _table_json(table: TableCursor) -> list[Any]:
    runs: list[list[int]] = []
    behind: StreamPartition | None = None
    for where, offset in sorted(table.end.items()):
        # A stream's partitions stand side by side: then only their offsets take room.
        if where != behind:
            runs.append([*where])
        runs[-1].append(offset)
        behind = StreamPartition(where.stream_id, where.partition + 1)
    return [table.snapshot_id, table.revision, table.known_at_us, runs]


def _table_from(document: list[Any]) -> TableCursor:
    snapshot_id, revision, known_at_us, runs = document
    end = {
        StreamPartition(stream_id, partition): offset
        for stream_id, first, *offsets in runs
        for partition, offset in enumerate(offsets, first)
    }
    return TableCursor(snapshot_id, end, revision, known_at_us)
