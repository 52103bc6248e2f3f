"""Whether bars have all the trades that the venue itself has counted. Pure.

Knows ids of trades by minute, and what closed klines say of minutes. Must not know where either was read.

The ids of a minute are kept as runs without holes: a set, so that minutes which windows have cut come together
exactly, and small, since a whole minute is one run. A bar is complete where each minute that it touches has a
closed kline, and the ids of that minute are the kline's, no more and no less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from seamark.query_gateway.question import MINUTE_US

COUNTED_FEED = "trade"
"""The feed that klines count."""
_NO_ID = -1
"""Of a trade without a number: no kline counts it."""

Numbers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class CountedMinutes:
    """What closed klines say of minutes, each once, ascending. Without trades, `first` is greater than `last`."""

    minute_us: Numbers
    """Start of the minute."""
    first: Numbers
    last: Numbers


def id_runs(rows: pl.DataFrame) -> pl.DataFrame:
    """Distinct ids of trades by minute, as runs: start_us (of the minute), first, last, ascending; all from `first` to
    `last` are there, and runs of a minute do not touch.

    `rows`: timestamp, feed and source_sequence, in any order; fastest in the total order.
    """
    counted = rows["timestamp", "feed", "source_sequence"].filter(pl.col("feed") == COUNTED_FEED)
    minutes = counted["timestamp"].to_physical().to_numpy() // MINUTE_US * MINUTE_US
    ids = counted["source_sequence"].fill_null(_NO_ID).to_numpy()
    ascending = (minutes[1:] > minutes[:-1]) | ((minutes[1:] == minutes[:-1]) & (ids[1:] >= ids[:-1]))
    if not ascending.all():
        order = np.lexsort((ids, minutes))
        minutes, ids = minutes[order], ids[order]
    return _joined(minutes, ids, ids)


def united(runs: pl.DataFrame) -> pl.DataFrame:
    """All ids of several such frames, which are one below the other."""
    minutes, first, last = (runs[name].to_numpy() for name in ("start_us", "first", "last"))
    order = np.lexsort((first, minutes))
    minutes, first, last = minutes[order], first[order], last[order]
    # The greatest last id so far, minute by minute: of places in the order of (minute, last id), those of a later
    # minute are always greater.
    by_last = np.lexsort((last, minutes))
    places = np.empty_like(by_last)
    places[by_last] = np.arange(len(by_last))
    return _joined(minutes, first, last[by_last][np.maximum.accumulate(places)])


def completeness(
    starts: Sequence[int], interval_us: int, ids: pl.DataFrame, counted: CountedMinutes, lacking: bool
) -> list[bool | None]:
    """Of bars from `starts` on (multiples of `interval_us`, which divides a minute or is whole minutes).

    None: the kline of a minute is not in `counted`, or it counts an id that is not there while rows are `lacking`.
    """
    minutes, exact = counted.minute_us, _exactly(ids, counted)
    if lacking:
        minutes, exact = minutes[exact], exact[exact]
    begins = np.asarray(starts, np.int64) // MINUTE_US * MINUTE_US
    ends = begins + max(interval_us, MINUTE_US)
    low, high = np.searchsorted(minutes, begins), np.searchsorted(minutes, ends)
    before = np.concatenate(([0], np.cumsum(exact)))
    all_counted = (high - low) * MINUTE_US == ends - begins
    all_exact = before[high] - before[low] == high - low
    return [
        verdict if is_counted else None
        for is_counted, verdict in zip(all_counted.tolist(), all_exact.tolist(), strict=True)
    ]


def _exactly(ids: pl.DataFrame, counted: CountedMinutes) -> npt.NDArray[np.bool_]:
    """For each minute, whether its ids are those counted."""
    minutes, first, last = (ids[name].to_numpy() for name in ("start_us", "first", "last"))
    low = np.searchsorted(minutes, counted.minute_us, "left")
    runs = np.searchsorted(minutes, counted.minute_us, "right") - low
    exact: npt.NDArray[np.bool_] = (runs == 0) & (counted.first > counted.last)
    whole = np.flatnonzero(runs == 1)
    at = low[whole]
    exact[whole] = (first[at] == counted.first[whole]) & (last[at] == counted.last[whole])
    return exact


def _joined(minutes: Numbers, first: Numbers, reach: Numbers) -> pl.DataFrame:
    """Ranges that ascend by minute and first id; `reach`: the greatest id of the minute up to and with each."""
    breaks = np.flatnonzero((minutes[1:] != minutes[:-1]) | (first[1:] - 1 > reach[:-1]))
    begins, ends = (
        np.append(0, breaks + 1)[: len(minutes)],
        np.append(breaks, len(minutes) - 1)[: len(minutes)],
    )
    return pl.DataFrame({"start_us": minutes[begins], "first": first[begins], "last": reach[ends]})
