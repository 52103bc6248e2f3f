"""What the venue's closed klines have said of each minute, as the events come. Pure.

Knows INTERVAL_CLOSED of one market. Must not know how events are read. Of a minute that is told more than
once, as each leg does, the first in the log counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from seamark.query_gateway.completeness import COUNTED_FEED, CountedMinutes, Numbers
from seamark.query_gateway.question import MINUTE_US

_START = r'"start_us"\s*:\s*(\d+)'
"""In the JSON of `detail`. Text that is none must not stop an answer, so nothing parses it."""
_LEGS = 4
"""So many tell of a minute before the next one comes, as a rule: what was told just now is not kept twice."""


@dataclass(slots=True)
class _Told:
    """Of one symbol, in the order of the log. Columns only grow."""

    start_us: array[int] = field(default_factory=lambda: array("q"))
    first: array[int] = field(default_factory=lambda: array("q"))
    last: array[int] = field(default_factory=lambda: array("q"))


class ClosedMinutes:
    """By symbol, numbers side by side: a market closes a minute of each symbol for days."""

    def __init__(self) -> None:
        self._of: dict[str, _Told] = {}

    def __len__(self) -> int:
        """Minutes that are kept, of all symbols."""
        return sum(len(told.start_us) for told in self._of.values())

    def add(self, events: pl.DataFrame) -> None:
        """INTERVAL_CLOSED with symbol, feed, first_sequence, last_sequence, venue_us and detail, in the order of the
        log. Intervals that are no minute of the trade feed are passed over."""
        start_us = pl.col("detail").str.extract(_START).cast(pl.Int64, strict=False)
        minutes = events.select(
            pl.col("symbol").cast(pl.String),
            "feed",
            "first_sequence",
            "last_sequence",
            "venue_us",
            start_us=start_us,
        ).filter(
            pl.col("feed") == COUNTED_FEED,
            pl.col("venue_us") - pl.col("start_us") == MINUTE_US,
            pl.col("start_us") % MINUTE_US == 0,
        )
        kept = minutes.select(
            "symbol", "start_us", pl.col("first_sequence").fill_null(0), pl.col("last_sequence").fill_null(-1)
        )
        for symbol, start, first, last in kept.iter_rows():
            told = self._of.setdefault(symbol, _Told())
            if start not in told.start_us[-_LEGS:]:
                told.first.append(first)
                told.last.append(last)
                told.start_us.append(start)

    def now(self, symbols: Iterable[str]) -> Mapping[str, SymbolMinutes]:
        """What is known of these by the events so far. It does not change with those that are added later."""
        known = ((symbol, self._of[symbol]) for symbol in symbols if symbol in self._of)
        return {symbol: SymbolMinutes(told, len(told.start_us)) for symbol, told in known}


@dataclass(frozen=True, slots=True, eq=False)
class SymbolMinutes:
    """What was known of a symbol at one moment."""

    _told: _Told
    _count: int

    def within(self, from_us: int, to_us: int) -> CountedMinutes:
        """Minutes that lie in [from_us, to_us) as a whole."""
        minutes, at = np.unique(self._until_now(self._told.start_us), return_index=True)
        whole = (minutes >= from_us) & (minutes <= to_us - MINUTE_US)
        first, last = self._until_now(self._told.first), self._until_now(self._told.last)
        return CountedMinutes(minutes[whole], first[at[whole]], last[at[whole]])

    def _until_now(self, column: array[int]) -> Numbers:
        # A copy: a column that somebody looks at could not grow.
        return np.frombuffer(column[: self._count], np.int64)
