"""The seam between what the market does and how it reaches clients.

A source is a pure function from a position to events: the same position gives the same events,
byte for byte. That is what makes a restart safe - what a killed run may or may not have sent is
sent again identically, so no id ever stands for two different trades.
"""

from typing import Any, Protocol

from .events import Instrument, Scheduled


class MarketSource(Protocol):
    """An endless market, read forward in chunks."""

    @property
    def identity(self) -> str:
        """Names the market; a state file may only be continued by a source of equal identity."""
        ...

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The symbols it trades, in a fixed order."""
        ...

    def take(self, count: int, shift_us: int) -> list[Scheduled]:
        """The next `count` events by due time, every time moved by `shift_us`.

        Trades of a symbol come in id order; no due time is before the event's own time.
        """
        ...

    def next_due_us(self) -> int:
        """Due time of the next event, not shifted. Does not move the position."""
        ...

    def cursor(self) -> dict[str, Any]:
        """The position as JSON values; `seek` with it makes `take` go on from here."""
        ...

    def seek(self, cursor: dict[str, Any]) -> None:
        """Moves to a position from `cursor`. Raises StateError if it is not one of this source."""
        ...

    def position(self) -> int:
        """Events taken since the market began; goes up by `count` with each `take`."""
        ...
