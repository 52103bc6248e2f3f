"""The headers of `market.dlq`: where the bytes came from and why they are here.

The value of a dead letter is the refused bytes as they were, its key the original key. Bytes that
are too many for the topic stay in the log, and the headers say how many and which. The topic is at
least once; the authoritative count of refused records is in the commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from seamark.stream.errors import DeadLetterInvalid

MAX_ERROR_BYTES = 1024
"""Longer reasons are cut: a header is no place for the refused bytes once more."""

Headers = list[tuple[str, bytes]]


class Origin(Enum):
    """Who refused it."""

    LOG = "LOG"
    """A reader of the log: the record is at a position of a stream."""
    LEG = "LEG"
    """A leg: the venue's frame never became a record."""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A record of a market topic that fails under its schema."""

    topic: str
    stream_id: int
    partition: int
    offset: int
    schema_id: int | None
    """None where the frame is too damaged to tell."""


@dataclass(frozen=True, slots=True)
class VenueFrame:
    """A frame that a leg refused. What could not be read out of it is None."""

    exchange: str
    market: str
    session_id: str
    received_us: int
    """Receive time, microseconds."""
    feed: str | None = None
    symbol: str | None = None
    native_id: str | None = None
    """The venue's id, numbers as text: its sequence has a hole that nothing can heal."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The bytes that a letter is about and does not hold: they were too many."""

    value_bytes: int
    sha256: str
    """In hex."""

    @classmethod
    def of(cls, value: bytes) -> LeftOut:
        return cls(len(value), hashlib.sha256(value).hexdigest())


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why bytes were refused, and where they came from."""

    source: LogPosition | VenueFrame
    error: str
    left_out: LeftOut | None = None
    """None: the letter's value is the refused bytes."""


def to_headers(letter: DeadLetter) -> Headers:
    """Headers of the dead letter, text in UTF-8, numbers in decimal; what is None is left out."""
    source = letter.source
    if isinstance(source, LogPosition):
        values: dict[str, str | int | None] = {
            "origin": Origin.LOG.value,
            "topic": source.topic,
            "stream": source.stream_id,
            "partition": source.partition,
            "offset": source.offset,
            "schema_id": source.schema_id,
        }
    else:
        values = {
            "origin": Origin.LEG.value,
            "exchange": source.exchange,
            "market": source.market,
            "session_id": source.session_id,
            "received_us": source.received_us,
            "feed": source.feed,
            "symbol": source.symbol,
            "native_id": source.native_id,
        }
    if letter.left_out is not None:
        values |= {"value_bytes": letter.left_out.value_bytes, "sha256": letter.left_out.sha256}
    headers = [(name, str(value).encode()) for name, value in values.items() if value is not None]
    # A cut may fall into a character; what is left of it is dropped.
    error = letter.error.encode("utf-8", "replace")[:MAX_ERROR_BYTES].decode("utf-8", "ignore")
    return [*headers, ("error", error.encode())]


def from_headers(headers: Iterable[tuple[str, bytes | None]]) -> DeadLetter:
    """The reverse of `to_headers`. Headers of other names are ignored.

    Raises:
        DeadLetterInvalid: a header is missing or holds what it must not.
    """
    texts = {name: value.decode("utf-8", "replace") for name, value in headers if value is not None}

    def text(name: str) -> str:
        if name not in texts:
            raise DeadLetterInvalid(f"header {name!r} is missing, there are {sorted(texts)}")
        return texts[name]

    def number(name: str) -> int:
        if not text(name).isdecimal():
            raise DeadLetterInvalid(f"header {name!r} was {texts[name]!r}, must be a decimal number")
        return int(texts[name])

    left_out = LeftOut(number("value_bytes"), text("sha256")) if "value_bytes" in texts else None
    origin = text("origin")
    if origin == Origin.LOG.value:
        schema_id = number("schema_id") if "schema_id" in texts else None
        position = LogPosition(
            text("topic"), number("stream"), number("partition"), number("offset"), schema_id
        )
        return DeadLetter(position, text("error"), left_out)
    if origin == Origin.LEG.value:
        frame = VenueFrame(
            text("exchange"),
            text("market"),
            text("session_id"),
            number("received_us"),
            texts.get("feed"),
            texts.get("symbol"),
            texts.get("native_id"),
        )
        return DeadLetter(frame, text("error"), left_out)
    raise DeadLetterInvalid(f"header 'origin' was {origin!r}, must be LOG or LEG")
