"""How many rows of an order are wanted: all that tail and gateway tell each other about a limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Nearest:
    """What the first `rows` rows in the order of `timestamp` may be among.

    Ties are not decided: with these rows come all that have the last one's timestamp. A source may give more.
    """

    rows: int
    """1 or more."""
    latest: bool = False
    """In descending order."""
    after_us: int | None = None
    """Rows before it (behind it, where `latest`) are not wanted; those at it are, and do not count."""
