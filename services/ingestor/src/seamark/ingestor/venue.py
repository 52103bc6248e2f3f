"""What a leg needs of a venue. Everything that is Binance's own stays behind this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from seamark.market.schema import RecordKind


@dataclass(frozen=True, slots=True)
class Instrument:
    """What the venue states about a symbol."""

    symbol: str
    status: str
    base_currency: str
    currency: str
    """Quote currency."""
    tick_size: int | None
    """Unscaled, as `seamark.market.decimals` reads it; so is step_size."""
    step_size: int | None
    stated_us: int
    """Venue time of the statement, microseconds."""
    statement: str
    """All the venue said of it, as JSON text."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordStream:
    """Where the records of one kind and symbol come from. Equal to itself only."""

    kind: RecordKind
    symbol: str
    constants: Mapping[str, object]
    """Fields that every record has alike, in raw form."""
    present: tuple[str, ...]
    """Nullable fields that are never null."""


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A frame that is a record of the contract."""

    stream: RecordStream
    record: dict[str, Any]
    """The fields that the stream's constants do not have, in raw form (see `seamark.stream.encode`)."""
    venue_us: int | None
    """Venue time of what happened, microseconds; None where the frame carries none."""
    published_us: int | None
    """When the venue published the frame."""


class Announced(msgspec.Struct, frozen=True, gc=False):
    """A frame that is a feed event of the contract."""

    key: str
    event: dict[str, Any]
    """In raw form."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A frame that the contract does not allow. What could not be read is None."""

    reason: str
    feed: str | None = None
    symbol: str | None = None
    native_id: str | None = None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """A frame about the connection itself."""

    text: str


class FrameReader(Protocol):
    """Turns frames into records. Pure."""

    def read(
        self, payload: bytes | memoryview, received_us: int
    ) -> Accepted | Announced | Refused | Notice | None:
        """The meaning of one frame, received at `received_us` (microseconds); None: it says nothing to be kept.
        Never raises for its content."""
        ...


class Venue(Protocol):
    """One market of one exchange."""

    exchange: str
    market: str

    def stream_url(self) -> str:
        """Address of one WebSocket that carries everything this leg subscribes to."""
        ...

    async def instruments(self) -> Sequence[Instrument]:
        """What the venue states about the leg's symbols.

        Raises VenueUnavailable: try again; SettingRefused: it does not know one of them.
        """
        ...

    async def time_us(self) -> int:
        """The venue's clock, microseconds. Raises VenueUnavailable."""
        ...

    def frame_reader(self, instruments: Iterable[Instrument]) -> FrameReader:
        """Reader of the frames of these symbols."""
        ...
