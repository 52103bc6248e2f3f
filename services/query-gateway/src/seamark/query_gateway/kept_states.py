"""Partial states of past minutes, kept from question to question by the files that their rows came from.

A chart asks for the same minutes again and again, and nearly all of them lie in files that never change.
Knows stretches of time, and what history has there. Must not know what a state says.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import polars as pl

from seamark.query_gateway.lru import Lru
from seamark.query_gateway.opening import Opened
from seamark.query_gateway.ordered_rows import WINDOW_ROWS
from seamark.query_gateway.question import MINUTE_US
from seamark.query_gateway.sources import HistoryPlan, Window

States: TypeAlias = tuple[pl.DataFrame, ...]
"""Frames with `start_us`: when each state's interval begins. No interval goes beyond the minute it begins in. Empty
where there are no rows."""

_FIVE_US = 5 * MINUTE_US
_HOUR_US = 60 * MINUTE_US
_PARTS_US = {_HOUR_US: _FIVE_US, _FIVE_US: MINUTE_US}
"""What a stretch may be made of."""
_SETTLED_US = 2 * _HOUR_US
"""So long before history's newest row hours are kept whole: files of them seldom come any more."""
_QUIET_US = 10 * MINUTE_US
"""So long before it five minutes are."""
_LONGEST_US = 31 * 24 * _HOUR_US
"""Of longer questions nothing is kept: it would push out what charts ask for."""
_ENTRY_BYTES, _PIECE_BYTES = 512, 400
"""What an entry takes beside its frames, and each piece of history that it is known by; about."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Minutes whose states may be kept, by all that they follow from."""

    name: Hashable
    first_us: int
    next_us: int
    made_of: frozenset[Hashable]


@dataclass(frozen=True, slots=True)
class Reading:
    """How an answer comes by its states."""

    windows: Sequence[Window] | None = None
    """Times whose rows are read; None: all."""
    known: tuple[States, ...] = ()
    """Of all other times."""
    kept: tuple[_Stretch, ...] = ()
    """What is kept of those that are read."""


class KeptStates:
    """States by minute, of all that was asked for lately. Any thread may ask."""

    def __init__(self, limit_bytes: int) -> None:
        self._known: Lru[_Stretch, States] = Lru(limit_bytes)

    def reading(self, name: Hashable, from_us: int, to_us: int, opened: Opened) -> Reading:
        """What to read for [from_us, to_us) of a table. `name`: whose states they are; of equal ones, of
        equal rows, they are equal."""
        plan, table = opened.plan, opened.table
        newest_us = plan.newest_us if plan is not None else None
        if plan is None or newest_us is None or to_us - from_us > _LONGEST_US:
            return Reading()
        if table.below is not None or table.known_at_us is not None:
            return Reading()  # not all rows of the files
        hours = max(1, (min(to_us, newest_us) - from_us) // _HOUR_US)
        edges = _edges(
            from_us, min(to_us, newest_us + 1), newest_us, plan.estimate.rows > hours * WINDOW_ROWS
        )
        if len(edges) < 2:
            return Reading()
        touched = _touched(edges, table.tail)
        stretches = _stretches(name, plan, edges)
        settled = [stretch for number, stretch in enumerate(stretches) if number not in touched]
        known = {
            stretch: states for stretch in settled if (states := self._states(plan, stretch)) is not None
        }
        windows = [Window(one.first_us, one.next_us) for one in stretches if one not in known]
        return Reading(
            (Window(None, edges[0]), *windows, Window(edges[-1], None)),
            tuple(known.values()),
            tuple(one for one in settled if one not in known),
        )

    def _states(self, plan: HistoryPlan, whole: _Stretch) -> States | None:
        """What is kept of a stretch, or of all its parts; then as one from now on. None: it must be read.

        A piece that may lie in a stretch may lie in one of its parts, so the parts follow from what it follows from.
        """
        if (states := self._known.get(whole)) is not None:
            return states
        part_us = _PARTS_US.get(whole.next_us - whole.first_us)
        if part_us is None:
            return None
        parts = []
        for part in _stretches(whole.name, plan, range(whole.first_us, whole.next_us + 1, part_us)):
            if (found := self._states(plan, part)) is None:
                return None
            parts.append(found)
        joined = tuple(pl.concat(frames) for frames in zip(*filter(None, parts), strict=True))
        self._put(whole, joined)
        return joined

    def learn(self, name: Hashable, plan: HistoryPlan, edges_us: Sequence[int], states: States) -> None:
        """`states`: of all rows from the first edge to the last; kept from each edge to the next."""
        self.keep(Reading(kept=tuple(_stretches(name, plan, edges_us))), states)

    def keep(self, reading: Reading, states: States) -> None:
        """`states`: of all that was read for `reading`, ascending; those of its stretches are kept."""
        starts = [frame["start_us"].to_numpy() for frame in states]
        for stretch in reading.kept:
            ends = [np.searchsorted(at, (stretch.first_us, stretch.next_us)).tolist() for at in starts]
            # Not views: they would hold what the whole question read.
            mine = tuple(
                frame[list(range(first, behind))] for frame, (first, behind) in zip(states, ends, strict=True)
            )
            self._put(stretch, mine if any(map(len, mine)) else ())

    def _put(self, stretch: _Stretch, states: States) -> None:
        size = _ENTRY_BYTES + _PIECE_BYTES * len(stretch.made_of)
        self._known.put(stretch, states, size + sum(int(frame.estimated_size()) for frame in states))


def _stretches(name: Hashable, plan: HistoryPlan, edges: Sequence[int]) -> list[_Stretch]:
    """From each edge to the next."""
    return [
        _Stretch(name, *ends, made_of)
        for ends, made_of in zip(pairwise(edges), plan.made_of(edges), strict=True)
    ]


def _edges(from_us: int, to_us: int, newest_us: int, dense: bool) -> list[int]:
    """Where stretches begin and end, the same for each question that has their times: hours, then five minutes,
    then minutes. `dense`: rows of hours would be too many to hold."""
    at_us = -(-from_us // MINUTE_US) * MINUTE_US
    edges = [at_us]
    while True:
        step_us = MINUTE_US
        if at_us + _FIVE_US <= newest_us - _QUIET_US and at_us % _FIVE_US == 0:
            step_us = _FIVE_US
        if not dense and at_us + _HOUR_US <= newest_us - _SETTLED_US and at_us % _HOUR_US == 0:
            step_us = _HOUR_US
        at_us += step_us
        if at_us > to_us:
            return edges
        edges.append(at_us)


def _touched(edges_us: Sequence[int], tail: Sequence[pl.DataFrame]) -> set[int]:
    """Numbers of the stretches in which rows lie that are not in history."""
    found = set[int]()
    for rows in tail:
        at_us = rows["timestamp"].cast(pl.Int64).to_numpy()
        found.update((np.unique(np.searchsorted(edges_us, at_us, "right")) - 1).tolist())
    return found
