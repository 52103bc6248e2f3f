"""How many rows are wanted, and from which end: what the gateway tells the tail of a limit. Pure."""

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
    """Earlier rows (later ones, where `latest`) are not wanted; those of this time are, and do not count."""
